//! The contract of [`Log`].

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use super::check;
use crate::log::{Assignment, Log, LogEntry, LogError, LogPosition, LogReader};

/// Runs every check; `open` opens the log of a name (see the module above).
pub async fn suite<L: Log>(open: impl AsyncFn(&str) -> L) {
    check("an empty log begins and ends at 0", empty(&open("empty").await)).await;
    check("positions are dense and readers see them in order", dense(&open("dense").await)).await;
    check("appends started in order stand in order", started_in_order(&open("started").await)).await;
    check("concurrent appends each stand where they were told", concurrent(open("concurrent").await)).await;
    check("a reader waits for what is appended", reader_waits(open("waits").await)).await;
    check("next is cancel-safe", cancel_safe(open("cancel").await)).await;
    check("next gives at least one and at most max", at_most_max(&open("max").await)).await;
    check("a reader may begin anywhere", begins_anywhere(&open("anywhere").await)).await;
    check("readers are independent and slow no append", lagging_reader(&open("lagging").await)).await;
    check("what was acknowledged is there after a restart", survives_restart(&open)).await;
    check("a trimmed position is refused, the rest is kept", trimmed(&open)).await;
    check("positions go on after everything was trimmed", goes_on_after_trim(&open)).await;
    check("a reader overtaken by a trim is told", overtaken(&open("overtaken").await)).await;
    check("a record that is too large is refused and leaves nothing", too_large(&open("large").await)).await;
    check("an unknown partition is refused", unknown_partition(&open("unknown").await)).await;
    check("partitions do not share positions", partitions_are_apart(&open("apart").await)).await;
    check("a group's partitions are shared, each owned by one member", shares(&open("shares").await)).await;
}

async fn append(log: &impl Log, value: impl Into<Bytes>) -> LogPosition {
    log.append(0, Bytes::from_static(b"key"), value.into()).await.expect("an append")
}

/// The next `count` entries.
async fn collect(reader: &mut dyn LogReader, count: usize) -> Vec<LogEntry> {
    let mut entries = Vec::new();
    while entries.len() < count {
        entries.extend(reader.next(count - entries.len()).await.expect("a read"));
    }
    entries
}

async fn read(log: &impl Log, from: LogPosition, count: usize) -> Vec<LogEntry> {
    collect(&mut *log.read(0, from).await.expect("a reader"), count).await
}

fn value(n: u64) -> Bytes {
    Bytes::from(format!("record {n}"))
}

fn entries(range: std::ops::Range<u64>) -> Vec<LogEntry> {
    range.map(|n| LogEntry { position: n, value: value(n) }).collect()
}

async fn empty(log: &impl Log) {
    assert!(log.partitions() > 0 && log.record_bytes() > 0);
    for partition in 0..log.partitions() {
        assert_eq!(log.bounds(partition).await, Ok((0, 0)));
    }
}

async fn dense(log: &impl Log) {
    for n in 0..50 {
        assert_eq!(append(log, value(n)).await, n);
    }
    assert_eq!(log.bounds(0).await, Ok((0, 50)));
    assert_eq!(read(log, 0, 50).await, entries(0..50));
    assert_eq!(append(log, Bytes::new()).await, 50, "an empty value is a value");
    assert_eq!(read(log, 50, 1).await[0].value, Bytes::new());
}

async fn started_in_order(log: &impl Log) {
    let mut appends: Vec<_> =
        (0..2_000).map(|n| log.append(0, Bytes::from_static(b"key"), value(n))).collect();
    let mut positions = vec![None; appends.len()];
    let mut started = false;
    poll_fn(|context| {
        // The first round polls them in order, later ones from the other end: nothing but the first poll can be what
        // orders them.
        for step in 0..appends.len() {
            let at = if started { appends.len() - 1 - step } else { step };
            if positions[at].is_none()
                && let Poll::Ready(position) = appends[at].as_mut().poll(context)
            {
                positions[at] = Some(position.expect("an append"));
            }
        }
        started = true;
        if positions.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    assert_eq!(positions, (0..2_000).map(Some).collect::<Vec<_>>());
}

async fn concurrent(log: impl Log) {
    let log = Arc::new(log);
    let writers: Vec<_> = (0..20u64)
        .map(|writer| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let mut told = Vec::new();
                for n in 0..50 {
                    let value = value(writer * 1_000 + n);
                    told.push((append(&*log, value.clone()).await, value));
                }
                assert!(told.is_sorted_by_key(|(position, _)| *position), "each writer's own order");
                told
            })
        })
        .collect();
    let mut told = Vec::new();
    for writer in writers {
        told.extend(writer.await.expect("a writer"));
    }
    told.sort();
    let got = read(&*log, 0, 1_000).await;
    let got: Vec<_> = got.into_iter().map(|entry| (entry.position, entry.value)).collect();
    assert_eq!(got, told);
    assert_eq!(log.bounds(0).await, Ok((0, 1_000)));
}

async fn reader_waits(log: impl Log) {
    let log = Arc::new(log);
    let mut reader = log.read(0, 0).await.expect("a reader");
    let reading = tokio::spawn(async move { collect(&mut *reader, 3).await });
    for n in 0..3 {
        tokio::task::yield_now().await;
        append(&*log, value(n)).await;
    }
    assert_eq!(reading.await.expect("the reader"), entries(0..3));
}

async fn cancel_safe(log: impl Log) {
    let log = Arc::new(log);
    let writer = {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            for n in 0..200 {
                append(&*log, value(n)).await;
            }
        })
    };
    let mut reader = log.read(0, 0).await.expect("a reader");
    let mut got = Vec::new();
    while got.len() < 200 {
        // A wait of zero gives up at the first point where it can.
        let patience = Duration::from_micros(if got.len() % 2 == 0 { 0 } else { 300 });
        if let Ok(entries) = tokio::time::timeout(patience, reader.next(7)).await {
            got.extend(entries.expect("a read"));
        }
        tokio::task::yield_now().await;
    }
    writer.await.expect("the writer");
    assert_eq!(got, entries(0..200));
}

async fn at_most_max(log: &impl Log) {
    for n in 0..30 {
        append(log, value(n)).await;
    }
    let mut reader = log.read(0, 0).await.expect("a reader");
    let mut got = Vec::new();
    while got.len() < 30 {
        let some = reader.next(4).await.expect("a read");
        assert!(!some.is_empty() && some.len() <= 4, "{} entries", some.len());
        got.extend(some);
    }
    assert_eq!(got, entries(0..30));
}

async fn begins_anywhere(log: &impl Log) {
    // Two appends at a time, so that a log which stores batches has positions inside of them.
    for n in (0..20).step_by(2) {
        let first = log.append(0, Bytes::new(), value(n));
        let second = log.append(0, Bytes::new(), value(n + 1));
        let (first, second) = tokio::join!(first, second);
        assert_eq!((first, second), (Ok(n), Ok(n + 1)));
    }
    for from in 0..20 {
        assert_eq!(read(log, from, (20 - from) as usize).await, entries(from..20));
    }
}

/// Megabytes of backlog: more than a log should keep in memory for its readers.
async fn lagging_reader(log: &impl Log) {
    const COUNT: u64 = 400;
    let large = |n: u64| Bytes::from(vec![n as u8; 100_000.min(log.record_bytes())]);
    let mut lagging = log.read(0, 0).await.expect("a reader");
    let mut prompt = log.read(0, 0).await.expect("a reader");
    for n in 0..COUNT {
        assert_eq!(append(log, large(n)).await, n);
        let got = collect(&mut *prompt, 1).await;
        assert_eq!(got, [LogEntry { position: n, value: large(n) }]);
    }
    let got = collect(&mut *lagging, COUNT as usize).await;
    for (n, entry) in (0..).zip(got) {
        assert!(entry == LogEntry { position: n, value: large(n) }, "entry {n} is another");
    }
    // Having caught up it goes on as any other.
    append(log, value(COUNT)).await;
    assert_eq!(collect(&mut *lagging, 1).await, entries(COUNT..COUNT + 1));
}

async fn survives_restart<L: Log>(open: &impl AsyncFn(&str) -> L) {
    for round in 0..3 {
        let log = open("restart").await;
        let from = round * 10;
        assert_eq!(log.bounds(0).await, Ok((0, from)));
        for n in from..from + 10 {
            assert_eq!(append(&log, value(n)).await, n);
        }
        assert_eq!(read(&log, 0, (from + 10) as usize).await, entries(0..from + 10));
    }
}

async fn trimmed<L: Log>(open: &impl AsyncFn(&str) -> L) {
    let check = async |log: &L| {
        let (first, end) = log.bounds(0).await.expect("bounds");
        assert!(first <= 60, "only what stands before the asked position may go");
        assert_eq!(end, 100);
        assert_eq!(read(log, 60, 40).await, entries(60..100));
        assert_eq!(read(log, first, (end - first) as usize).await, entries(first..end));
        if first > 0 {
            let refused = log.read(0, first - 1).await.err();
            assert_eq!(refused, Some(LogError::Trimmed { asked: first - 1, first }));
        }
    };
    let log = open("trim").await;
    for n in 0..100 {
        append(&log, value(n)).await;
    }
    log.trim(0, 60).await.expect("a trim");
    check(&log).await;
    log.trim(0, 10).await.expect("trimming what is gone succeeds");
    check(&log).await;
    drop(log);
    check(&open("trim").await).await;
}

async fn goes_on_after_trim<L: Log>(open: &impl AsyncFn(&str) -> L) {
    let log = open("trim-all").await;
    for n in 0..10 {
        append(&log, value(n)).await;
    }
    log.trim(0, 10).await.expect("a trim");
    drop(log);
    let log = open("trim-all").await;
    assert_eq!(append(&log, value(10)).await, 10);
    assert_eq!(read(&log, 10, 1).await, entries(10..11));
}

async fn overtaken(log: &impl Log) {
    let large = Bytes::from(vec![7; 50_000.min(log.record_bytes())]);
    let mut reader = log.read(0, 0).await.expect("a reader");
    for _ in 0..400 {
        append(log, large.clone()).await;
    }
    log.trim(0, 399).await.expect("a trim");
    let (first, _) = log.bounds(0).await.expect("bounds");
    assert!(first > 0, "a trim of nearly everything frees something");
    let mut next = 0;
    loop {
        // It may still be served from what is at hand, but never past a hole.
        match reader.next(1_000).await {
            Ok(entries) => {
                assert_eq!(entries[0].position, next);
                next += entries.len() as u64;
                assert!(next < first, "it has read what is said to be gone");
            }
            Err(error) => {
                assert!(matches!(error, LogError::Trimmed { asked, .. } if asked == next), "{error}");
                break;
            }
        }
    }
}

async fn too_large(log: &impl Log) {
    let limit = log.record_bytes();
    let refused = log.append(0, Bytes::new(), Bytes::from(vec![0; limit + 1])).await;
    assert_eq!(refused, Err(LogError::TooLarge { limit, got: limit + 1 }));
    assert_eq!(log.bounds(0).await, Ok((0, 0)));
    assert_eq!(append(log, vec![1; limit]).await, 0, "the limit itself fits");
    assert_eq!(read(log, 0, 1).await[0].value.len(), limit);
}

async fn unknown_partition(log: &impl Log) {
    let unknown = log.partitions();
    let error = Some(LogError::NoPartition(unknown));
    assert_eq!(log.append(unknown, Bytes::new(), Bytes::new()).await.err(), error);
    assert_eq!(log.bounds(unknown).await.err(), error);
    assert_eq!(log.read(unknown, 0).await.err(), error);
    assert_eq!(log.trim(unknown, 0).await.err(), error);
}

async fn partitions_are_apart(log: &impl Log) {
    for partition in 0..log.partitions() {
        for n in 0..u64::from(partition) + 1 {
            let position = log.append(partition, Bytes::new(), value(u64::from(partition))).await;
            assert_eq!(position, Ok(n));
        }
    }
    for partition in 0..log.partitions() {
        let mut reader = log.read(partition, 0).await.expect("a reader");
        for entry in collect(&mut *reader, partition as usize + 1).await {
            assert_eq!(entry.value, value(u64::from(partition)));
        }
    }
}

async fn shares(log: &impl Log) {
    let everything = log.partitions() as usize;
    let mut first = log.join("sharing").await.expect("joining");
    let mut owned = std::collections::BTreeSet::new();
    while owned.len() < everything {
        match first.next().await.expect("an assignment") {
            Assignment::Assigned(partition) => assert!(owned.insert(partition), "assigned twice"),
            Assignment::Revoked(partition) => {
                assert!(owned.remove(&partition), "revoked without being owned")
            }
        }
    }
    let mut other_group = log.join("another").await.expect("joining");
    assert!(matches!(other_group.next().await, Ok(Assignment::Assigned(_))), "groups are independent");

    let mut second = log.join("sharing").await.expect("joining");
    drop(first);
    let mut taken = std::collections::BTreeSet::new();
    while taken.len() < everything {
        match second.next().await.expect("an assignment") {
            Assignment::Assigned(partition) => assert!(taken.insert(partition), "assigned twice"),
            Assignment::Revoked(partition) => {
                assert!(taken.remove(&partition), "revoked without being owned")
            }
        }
    }
}
