//! Hears the server's warnings during one statement.
//!
//! A commit whose wait for a synchronous standby is cut short succeeds, with a warning: the transaction is committed here
//! and perhaps nowhere else. The driver passes warnings on to the log only, so that is where they are listened for.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::LazyLock;

use sqlx::{Executor, PgConnection};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber, dispatcher};

use crate::error::Failure;

const TARGET: &str = "sqlx::postgres::notice";

static LISTENER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Listener));

thread_local! {
    /// Heard on this thread since the statement was polled.
    static HEARD: Cell<Option<String>> = const { Cell::new(None) };
}

/// Commits the transaction that is open. `Warned`: it is committed, and perhaps not where it should be as well.
pub(crate) async fn commit(connection: &mut PgConnection) -> Result<(), Failure> {
    let (committed, warning) = during(connection.execute("COMMIT")).await;
    committed?;
    warning.map_or(Ok(()), |warning| Err(Failure::Warned(warning)))
}

/// Runs a statement; returns what it came to, and the last warning if there was one.
async fn during<T>(statement: impl Future<Output = T>) -> (T, Option<String>) {
    let mut statement = pin!(statement);
    let mut heard = None;
    let result = poll_fn(|context| {
        let poll = dispatcher::with_default(&LISTENER, || statement.as_mut().poll(context));
        heard = HEARD.take().or(heard.take());
        poll
    });
    (result.await, heard)
}

struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET && *metadata.level() <= Level::WARN
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        HEARD.set(Some(message.0));
    }

    // Spans are of no interest.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
