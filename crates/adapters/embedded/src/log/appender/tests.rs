//! What becomes of a batch whose commit has failed.

use super::*;

async fn appender(folder: &std::path::Path) -> Appender {
    let place = Place::take(folder, "log.db").await.unwrap();
    let room = Arc::new(Semaphore::new(1_000_000));
    Appender::open(place, Arc::new(LogOptions::default()), room).await.unwrap().0
}

fn batch(base: LogPosition, text: &'static str) -> Batch {
    Batch { base, values: vec![Bytes::from_static(text.as_bytes()); 3] }
}

fn waiting() -> (Waiting, oneshot::Receiver<Result<LogPosition, LogError>>) {
    let (done, answer) = oneshot::channel();
    (Waiting { value: Bytes::from_static(b"new"), permits: 0, done }, answer)
}

/// As after a commit whose answer was lost.
fn in_doubt(appender: &mut Appender, unresolved: Batch) {
    appender.connection = None;
    appender.ail("lost".into(), Some(unresolved));
    appender.ailment.as_mut().unwrap().heal_at = Instant::now();
}

#[tokio::test]
async fn a_batch_that_did_get_in_is_neither_lost_nor_doubled() {
    let folder = tempfile::tempdir().unwrap();
    let mut appender = appender(folder.path()).await;
    appender.insert(&batch(0, "kept")).await.unwrap();
    in_doubt(&mut appender, batch(0, "kept"));
    let (append, answer) = waiting();
    appender.append(vec![append]).await;
    assert_eq!(answer.await.unwrap(), Ok(3), "the next record stands behind it");
    assert_eq!(appender.tail.bounds(), (0, 4));
}

#[tokio::test]
async fn a_batch_that_did_not_get_in_leaves_its_positions_to_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut appender = appender(folder.path()).await;
    appender.commit(vec![waiting().0]).await;
    in_doubt(&mut appender, batch(1, "lost"));
    let (append, answer) = waiting();
    appender.append(vec![append]).await;
    assert_eq!(answer.await.unwrap(), Ok(1));
}

#[tokio::test]
async fn while_it_is_not_known_nothing_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let mut appender = appender(folder.path()).await;
    in_doubt(&mut appender, batch(0, "lost"));
    let hidden = folder.path().join("hidden.db");
    std::fs::rename(folder.path().join("log.db"), &hidden).unwrap();
    let (append, answer) = waiting();
    appender.append(vec![append]).await;
    assert!(matches!(answer.await.unwrap(), Err(LogError::Full(_))), "certainly not appended");
    std::fs::rename(&hidden, folder.path().join("log.db")).unwrap();
    let (append, answer) = waiting();
    appender.append(vec![append]).await;
    assert!(matches!(answer.await.unwrap(), Err(LogError::Full(_))), "not tried with every append");
    appender.ailment.as_mut().unwrap().heal_at = Instant::now();
    let (append, answer) = waiting();
    appender.append(vec![append]).await;
    assert_eq!(answer.await.unwrap(), Ok(0));
}

#[tokio::test]
async fn somebody_elses_writing_is_never_built_upon() {
    let folder = tempfile::tempdir().unwrap();
    let mut appender = appender(folder.path()).await;
    appender.insert(&batch(0, "other")).await.unwrap();
    in_doubt(&mut appender, batch(0, "mine"));
    let (append, answer) = waiting();
    appender.append(vec![append]).await;
    let error = answer.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("somebody else"), "{error}");
}

#[tokio::test]
async fn a_commit_that_fails_in_doubt_is_resolved_before_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    let mut appender = appender(folder.path()).await;
    // Its place is taken: the insert fails, and what is there is another batch.
    appender.insert(&batch(0, "other")).await.unwrap();
    let (append, answer) = waiting();
    appender.append(vec![append]).await;
    assert!(matches!(answer.await.unwrap(), Err(LogError::Unavailable(_))), "its fate is unknown");
    // The same when what is there is the batch itself.
    let mut own = Batch { base: 0, values: vec![Bytes::from_static(b"new")] };
    let folder = tempfile::tempdir().unwrap();
    let mut appender = super::tests::appender(folder.path()).await;
    appender.insert(&own).await.unwrap();
    let (append, answer) = waiting();
    appender.append(vec![append]).await;
    assert_eq!(answer.await.unwrap(), Ok(0));
    own.base = 1;
    assert_eq!(appender.tail.end(), 1);
}

#[tokio::test(start_paused = true)]
async fn rare_commits_are_due_at_once_and_frequent_ones_are_spaced() {
    let interval = Duration::from_millis(5);
    let mut pace = Pace::new(interval);
    tokio::time::advance(Duration::from_secs(1)).await;
    let mut at_once = 0;
    while pace.due() <= Instant::now() {
        pace.committed(Instant::now());
        at_once += 1;
    }
    assert_eq!(at_once, Pace::BURST);
    for _ in 0..5 {
        assert_eq!(pace.due(), Instant::now() + interval);
        tokio::time::advance(interval).await;
        pace.committed(Instant::now());
    }
}
