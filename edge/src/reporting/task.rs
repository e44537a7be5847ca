//! The task that sends what was reported.

use std::sync::Arc;
use std::time::Duration;

use skywave_protocol::Subject;
use skywave_protocol::inner::RelayEvents;
use tokio::task::JoinHandle;

use super::{Report, Reports};
use crate::shared::Shared;

/// Happenings in one message …
const BATCH: usize = 256;
/// … and how long it waits for more of them.
const GATHER: Duration = Duration::from_millis(100);
/// For the last ones to be sent.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The running task; `None`: nothing is to be told.
pub(crate) struct Reporting(Option<JoinHandle<()>>);

/// Sends reports until [`Reporting::finish`].
pub(crate) fn run(shared: &Arc<Shared>, reports: Reports) -> Reporting {
    let wanted = shared.config.events;
    if !wanted.activity && !wanted.system {
        return Reporting(None);
    }
    Reporting(Some(tokio::spawn(send_all(shared.clone(), reports))))
}

impl Reporting {
    /// Returns when everything that was reported is sent, or a little later.
    pub(crate) async fn finish(self, shared: &Shared) {
        shared.reporter.end();
        if let Self(Some(task)) = self {
            let _ = tokio::time::timeout(LAST_WORDS, task).await;
        }
    }
}

async fn send_all(shared: Arc<Shared>, Reports(mut reports): Reports) {
    let mut over = shared.reporter.over.subscribe();
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        tokio::select! {
            _ = reports.recv_many(&mut batch, BATCH) => {}
            _ = over.wait_for(|over| *over) => break,
        }
        if batch.len() < BATCH {
            let _ = tokio::time::timeout(GATHER, over.wait_for(|over| *over)).await;
            while batch.len() < BATCH
                && let Ok(report) = reports.try_recv()
            {
                batch.push(report);
            }
        }
        send(&shared, &mut batch);
    }
    while let Ok(report) = reports.try_recv() {
        batch.push(report);
        if batch.len() == BATCH {
            send(&shared, &mut batch);
        }
    }
    send(&shared, &mut batch);
}

fn send(shared: &Shared, batch: &mut Vec<Report>) {
    if batch.is_empty() {
        return;
    }
    let (config, counts) = (&shared.config, &shared.reporter.counts);
    let events = RelayEvents(batch.drain(..).map(|report| report.encode(config)).collect());
    let count = events.0.len() as u64;
    match shared.ports.bus.publish(&Subject::events(&config.cell), events.encode()) {
        Ok(()) => _ = counts.sent.inc_by(count),
        Err(error) => {
            counts.dropped.inc_by(count);
            tracing::debug!(%error, count, "events were not told");
        }
    }
}
