//! Keeps those who follow one key up to date: a watch of the bucket, and now and then a look, in case the watch has missed
//! something. Ends when nobody follows any more.

use std::time::Duration;

use futures_util::StreamExt;
use skywave_ports::{Held, RegisterKey};
use tokio::sync::watch;
use tokio::time::sleep;

use super::metrics::{Outcome, Request};
use super::{NatsRegister, PAUSE, held};
use crate::reconnect::draw;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(10);

pub(super) async fn run(register: NatsRegister, key: RegisterKey, newest: watch::Sender<Option<Held>>) {
    let follow = async {
        for attempt in 1.. {
            attend(&register, &key, &newest).await;
            // Nothing came for a while: the servers are away, or have no leader.
            register.metrics.follows_again.inc();
            sleep(draw(attempt, PAUSE)).await;
        }
    };
    tokio::select! {
        () = newest.closed() => {}
        () = follow => {}
    }
}

/// Watches until the watch breaks.
async fn attend(register: &NatsRegister, key: &RegisterKey, newest: &watch::Sender<Option<Held>>) {
    // The watch is there before the first look, so that nothing falls between them.
    let Ok(mut changes) = register.store.watch(key.as_str()).await else { return };
    loop {
        let look = register.look(key).await;
        register.metrics.count(Request::Follow, Outcome::of(&look));
        match look {
            Ok(held) => offer(newest, held),
            Err(_) => return,
        }
        let quiet = sleep(LOOK);
        tokio::pin!(quiet);
        loop {
            tokio::select! {
                () = &mut quiet => break,
                change = changes.next() => match change {
                    Some(Ok(entry)) => offer(newest, held(entry)),
                    // It is made anew by itself, and may have missed something meanwhile.
                    Some(Err(_)) => break,
                    None => return,
                },
            }
        }
    }
}

/// A look may be older than what the watch has told.
fn offer(newest: &watch::Sender<Option<Held>>, held: Held) {
    newest.send_if_modified(|newest| {
        let is_newer = newest.as_ref().is_none_or(|newest| newest.revision < held.revision);
        if is_newer {
            *newest = Some(held);
        }
        is_newer
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_is_not_told() {
        let (newest, mut heard) = watch::channel(None);
        for (revision, told) in [(0, true), (0, false), (3, true), (2, false), (3, false), (4, true)] {
            offer(&newest, Held { revision, value: None });
            assert_eq!(heard.has_changed().unwrap(), told, "{revision}");
            heard.mark_unchanged();
        }
    }
}
