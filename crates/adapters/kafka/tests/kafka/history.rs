//! What a writer was told, held against what the log has.

use std::collections::{BTreeMap, HashMap};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use skywave_ports::log::{Log, LogEntry, LogError, LogPosition, LogReader, Partition};

/// Appends under way at a time.
const IN_FLIGHT: usize = 64;

/// What a writer was told of each of its records, in the order in which they were started.
#[derive(Default)]
pub(crate) struct History(Vec<Result<LogPosition, LogError>>);

type Append<'a> = Pin<Box<dyn Future<Output = (usize, Result<LogPosition, LogError>)> + Send + 'a>>;

/// One writer's record number `number`.
pub(crate) fn value(writer: u32, number: usize) -> Bytes {
    Bytes::from(format!("{writer}:{number}"))
}

/// Appends to `partition` until `enough` says so (given how many were started and acknowledged), then waits for all
/// answers.
pub(crate) async fn write(
    log: &dyn Log,
    partition: Partition,
    writer: u32,
    mut enough: impl FnMut(&History) -> bool,
) -> History {
    let mut history = History::default();
    let mut under_way: Vec<Append<'_>> = Vec::new();
    let mut ended = false;
    loop {
        ended |= enough(&history);
        if ended && under_way.is_empty() {
            return history;
        }
        let mut refused = false;
        while !ended && under_way.len() < IN_FLIGHT && !refused {
            let number = history.0.len();
            history.0.push(Err(LogError::Unavailable("still under way".into())));
            let append = log.append(partition, Bytes::from_static(b"key"), value(writer, number));
            let mut append: Append<'_> = Box::pin(async move { (number, append.await) });
            // The first poll is what orders them.
            match poll_fn(|context| Poll::Ready(append.as_mut().poll(context))).await {
                Poll::Ready((number, result)) => {
                    refused = result.is_err();
                    history.0[number] = result;
                }
                Poll::Pending => under_way.push(append),
            }
        }
        if refused || under_way.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let done = poll_fn(|context| {
            let mut done = Vec::new();
            under_way.retain_mut(|append| match append.as_mut().poll(context) {
                Poll::Ready(result) => {
                    done.push(result);
                    false
                }
                Poll::Pending => true,
            });
            if done.is_empty() && !under_way.is_empty() && !refused {
                Poll::Pending
            } else {
                Poll::Ready(done)
            }
        });
        for (number, result) in done.await {
            history.0[number] = result;
        }
    }
}

impl History {
    pub(crate) fn of(told: Vec<Result<LogPosition, LogError>>) -> Self {
        Self(told)
    }

    pub(crate) fn started(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.0.iter().filter(|result| result.is_ok()).count()
    }

    pub(crate) fn unknown(&self) -> usize {
        self.0.iter().filter(|result| matches!(result, Err(LogError::Unavailable(_)))).count()
    }

    pub(crate) fn refused(&self) -> usize {
        self.started() - self.acknowledged() - self.unknown()
    }

    pub(crate) fn summary(&self) -> String {
        let (started, acknowledged) = (self.started(), self.acknowledged());
        format!(
            "{started} started: {acknowledged} acknowledged, {} unknown, {} refused",
            self.unknown(),
            self.refused()
        )
    }

    /// Every acknowledged record stands where it was told, in the order of starting; an unknown one stands there once or not
    /// at all; a refused one does not.
    pub(crate) fn check(&self, writer: u32, entries: &[LogEntry]) {
        let mut positions: HashMap<&[u8], Vec<LogPosition>> = HashMap::new();
        for entry in entries {
            positions.entry(&entry.value).or_default().push(entry.position);
        }
        let mut acknowledged = BTreeMap::new();
        for (number, result) in self.0.iter().enumerate() {
            let found = positions.get(&value(writer, number)[..]).map_or(&[][..], Vec::as_slice);
            assert!(found.len() <= 1, "record {number} stands at {found:?}");
            match result {
                Ok(position) => {
                    assert_eq!(found, [*position], "record {number} was acknowledged at {position}");
                    acknowledged.insert(number, *position);
                }
                Err(LogError::Unavailable(_)) => {}
                Err(error) => {
                    assert!(found.is_empty(), "record {number} was refused ({error}) and stands at {found:?}")
                }
            }
        }
        assert!(acknowledged.values().is_sorted(), "acknowledged records stand in the order of starting");
    }
}

/// Everything a partition has.
pub(crate) async fn read_all(log: &dyn Log, partition: Partition) -> Vec<LogEntry> {
    let (first, end) = log.bounds(partition).await.expect("bounds");
    let mut reader = log.read(partition, first).await.expect("a reader");
    read_until(&mut *reader, first, end).await
}

pub(crate) async fn read_until(
    reader: &mut dyn LogReader,
    first: LogPosition,
    end: LogPosition,
) -> Vec<LogEntry> {
    let mut entries = Vec::new();
    while entries.len() < (end - first) as usize {
        entries.extend(reader.next(1_000).await.expect("a read"));
    }
    for (entry, position) in entries.iter().zip(first..) {
        assert_eq!(entry.position, position, "a hole");
    }
    entries
}
