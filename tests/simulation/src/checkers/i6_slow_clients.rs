//! I6: a slow client costs only itself: what waits for it is bounded, and then it is closed with a code that tells it to
//! come back; nobody is closed as slow for whom little was waiting.

use std::collections::BTreeMap;

use skywave_protocol::CloseCode;
use skywave_protocol::close::Reconnect;

use super::{Verdict, broken};
use crate::history::{ConnectionId, Fact, History};

/// One frame is taken by an empty outbox whatever its size; none of a run is larger.
const LARGEST_FRAME: usize = 1_300;

pub(super) fn check(history: &History) -> Verdict {
    let limit = history.outbox_limit;
    let mut queued: BTreeMap<ConnectionId, usize> = BTreeMap::new();
    for entry in &history.entries {
        match &entry.fact {
            Fact::Queued { connection, bytes } => {
                queued.insert(*connection, *bytes);
                if *bytes > limit {
                    let what = format!("{bytes} bytes wait for connection {connection}, {limit} are allowed");
                    return broken("I6", entry.time, what);
                }
            }
            Fact::Disconnected { connection, code: Some(CloseCode::Slow), .. } => {
                if CloseCode::Slow.reconnect() != Reconnect::Resume {
                    return broken("I6", entry.time, "a slow client is not told to resume");
                }
                let bytes = queued.get(connection).copied().unwrap_or(0);
                if bytes + LARGEST_FRAME < limit {
                    let what =
                        format!("connection {connection} was closed as slow with {bytes} bytes waiting");
                    return broken("I6", entry.time, what);
                }
            }
            _ => {}
        }
    }
    Ok(())
}
