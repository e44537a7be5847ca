//! The log's contract, its opening, and its journal.

use std::time::Instant;

use super::*;

/// Small enough that batches, queue and tail all meet their limits.
fn tight() -> LogOptions {
    LogOptions {
        record_bytes: 200_000,
        queue_records: 64,
        queue_bytes: 300_000,
        batch_records: 16,
        batch_bytes: 100_000,
        commit_interval: Duration::from_micros(100),
        commit_records: 8,
        tail_bytes: 50_000,
        journal_bytes: 500_000,
    }
}

#[tokio::test]
async fn conforms() {
    for options in [LogOptions::default(), tight()] {
        let folder = tempfile::tempdir().unwrap();
        let open =
            async |name: &str| SqliteLog::open(&folder.path().join(name), options.clone()).await.unwrap();
        skywave_ports::conformance::log::suite(open).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_on_several_threads() {
    let folder = tempfile::tempdir().unwrap();
    let open = async |name: &str| SqliteLog::open(&folder.path().join(name), tight()).await.unwrap();
    skywave_ports::conformance::log::suite(open).await;
}

#[tokio::test]
async fn the_log_says_until_when_it_gathers() {
    let folder = tempfile::tempdir().unwrap();
    let hour = Duration::from_secs(3_600);
    let options = LogOptions { commit_interval: hour, ..LogOptions::default() };
    let log = SqliteLog::open(folder.path(), options).await.unwrap();
    assert!(log.next_begin() <= Some(Instant::now()), "the first append is begun at once");
    log.append(0, Bytes::new(), Bytes::from_static(b"1")).await.unwrap();
    assert!(log.next_begin() > Some(Instant::now() + hour / 2));
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _log = SqliteLog::open(folder.path(), LogOptions::default()).await.unwrap();
    let error = SqliteLog::open(folder.path(), LogOptions::default()).await.err().unwrap();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(SqliteLog::open(folder.path(), LogOptions::default()).await.unwrap());
    {
        let _place = Place::take(folder.path(), "log.db").await.unwrap();
        let mut connection =
            crate::sqlite::connect_writer(&folder.path().join("log.db"), false).await.unwrap();
        sqlx::raw_sql("PRAGMA user_version = 9").execute(&mut connection).await.unwrap();
    }
    let error = SqliteLog::open(folder.path(), LogOptions::default()).await.err().unwrap();
    assert!(matches!(error, OpenError::Newer { found: 9, known: 1, .. }), "{error}");
}

#[tokio::test]
async fn other_files_are_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("log.db");
    let noise = vec![0x5a; 10_000];
    std::fs::write(&file, &noise).unwrap();
    let error = SqliteLog::open(folder.path(), LogOptions::default()).await.err().unwrap();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), noise);
    std::fs::remove_file(&file).unwrap();
    let mut other = crate::sqlite::connect_writer(&file, true).await.unwrap();
    sqlx::raw_sql("CREATE TABLE theirs (x)").execute(&mut other).await.unwrap();
    sqlx::Connection::close(other).await.unwrap();
    let error = SqliteLog::open(folder.path(), LogOptions::default()).await.err().unwrap();
    assert!(error.to_string().contains("another application"), "{error}");
}

#[tokio::test]
async fn a_damaged_last_batch_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let log = SqliteLog::open(folder.path(), LogOptions::default()).await.unwrap();
    log.append(0, Bytes::new(), Bytes::from_static(b"x")).await.unwrap();
    drop(log);
    {
        let _place = Place::take(folder.path(), "log.db").await.unwrap();
        let mut connection =
            crate::sqlite::connect_writer(&folder.path().join("log.db"), false).await.unwrap();
        sqlx::raw_sql("UPDATE batches SET count = 2").execute(&mut connection).await.unwrap();
    }
    let error = SqliteLog::open(folder.path(), LogOptions::default()).await.err().unwrap();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn what_waits_goes_in_one_commit() {
    let folder = tempfile::tempdir().unwrap();
    let log = SqliteLog::open(folder.path(), LogOptions::default()).await.unwrap();
    let appends = (0..1_000).map(|_| log.append(0, Bytes::new(), Bytes::from_static(b"x")));
    let mut appends: Vec<_> = appends.collect();
    std::future::poll_fn(|context| {
        let pending =
            appends.iter_mut().filter_map(|append| append.as_mut().poll(context).is_pending().then_some(()));
        assert_eq!(pending.count(), 1_000);
        std::task::Poll::Ready(())
    })
    .await;
    for (at, append) in (0..).zip(appends) {
        assert_eq!(append.await, Ok(at));
    }
    let mut reader = crate::sqlite::connect_reader(&folder.path().join("log.db")).await.unwrap();
    let row = sqlx::query("SELECT count(*) FROM batches").fetch_one(&mut reader).await.unwrap();
    assert_eq!(sqlx::Row::get::<i64, _>(&row, 0), 1);
}

/// Neither the journal nor the database grows with what was trimmed.
#[tokio::test]
async fn the_files_stay_small_under_load_with_trimming() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        LogOptions { journal_bytes: 1_000_000, commit_interval: Duration::ZERO, ..LogOptions::default() };
    let log = SqliteLog::open(folder.path(), options).await.unwrap();
    let record = Bytes::from(vec![7; 20_000]);
    let started = Instant::now();
    for round in 0..60 {
        for _ in 0..25 {
            log.append(0, Bytes::new(), record.clone()).await.unwrap();
        }
        log.trim(0, round * 25).await.unwrap();
    }
    let size = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().len();
    let (database, journal) = (size("log.db"), size("log.db-wal"));
    assert!(
        database < 3_000_000 && journal < 9_000_000,
        "{database} {journal} after {:?}",
        started.elapsed()
    );
}
