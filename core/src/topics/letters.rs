//! Records that can never be published, kept for people to look at.

use skywave_ports::Event;
use skywave_ports::events::{NewEvent, dead_letter};

use super::Consumer;
use super::mapping::Refusal;
use crate::backoff::Backoff;
use crate::dead_letters;

/// What a header of the record is called in its letter.
const ORIGINAL: &str = "original.";

impl Consumer {
    /// Writes a dead letter; returns when it is kept, however long that takes: it may come twice, and is never lost.
    pub(super) async fn bury(&self, event: &Event, refusal: &Refusal) {
        let events = &*self.ports.events;
        let mut letter = letter(event, &refusal.reason);
        let mut backoff = Backoff::default();
        loop {
            match dead_letters::write(events, &mut letter).await {
                Ok(()) => break,
                Err(error) => {
                    self.trouble.met(&error);
                    self.metrics.retries.inc();
                    backoff.wait().await;
                }
            }
        }
        self.trouble.over();
        self.metrics.dead_letter(&event.topic, refusal.kind);
        tracing::warn!(
            record = event.place(),
            reason = refusal.reason,
            "a record cannot be published: a dead letter"
        );
    }
}

fn letter(event: &Event, reason: &str) -> NewEvent {
    let mut letter = dead_letter(&event.place(), reason, event.key.clone(), event.value.clone());
    let originals = event.headers.iter().map(|(name, value)| (format!("{ORIGINAL}{name}"), value.clone()));
    letter.headers.extend(originals);
    letter
}
