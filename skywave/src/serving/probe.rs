//! Asks log, store and shared state now and then whether they are there, so that health says it before anybody's work
//! fails.

use std::sync::Arc;
use std::time::Duration;

use skywave_ports::{Log, SharedState, Store};
use skywave_protocol::ChannelName;
use skywave_protocol::message::HistoryQuery;
use tokio::sync::watch;

/// Between two questions, and the longest an answer may take.
const EVERY: Duration = Duration::from_secs(2);

/// How something is: `None` while it answers, else why not.
pub(crate) type Condition = watch::Receiver<Option<String>>;

/// Follows the log's condition for as long as anybody wants to know.
pub(crate) fn log(log: Arc<dyn Log>) -> Condition {
    follow(move || {
        let log = Arc::clone(&log);
        async move { log.bounds(0).await.map(drop).map_err(|error| error.to_string()) }
    })
}

/// The same of the store.
pub(crate) fn store(store: Arc<dyn Store>) -> Condition {
    // Any name will do: it is one look into an index.
    let channel = ChannelName::parse("skywave:probe");
    follow(move || {
        let (store, channel) = (Arc::clone(&store), channel.clone());
        async move {
            let channel = channel.map_err(|error| error.to_string())?;
            let query = HistoryQuery { channel, after: 0, before: 0, limit: 1, reverse: true };
            store.history(&query).await.map(drop).map_err(|error| error.to_string())
        }
    })
}

/// The same of what a region shares.
pub(crate) fn state(state: Arc<dyn SharedState>) -> Condition {
    follow(move || {
        let state = Arc::clone(&state);
        async move { state.is_remembered("probe").await.map(drop).map_err(|error| error.to_string()) }
    })
}

fn follow<F>(ask: impl Fn() -> F + Send + Sync + 'static) -> Condition
where
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let (condition, listening) = watch::channel(None);
    tokio::spawn(async move {
        let asking = async {
            loop {
                let now = match tokio::time::timeout(EVERY, ask()).await {
                    Ok(answer) => answer.err(),
                    Err(_) => Some(format!("no answer within {EVERY:?}")),
                };
                condition.send_if_modified(|before| std::mem::replace(before, now.clone()) != now);
                tokio::time::sleep(EVERY).await;
            }
        };
        tokio::select! {
            () = asking => {}
            () = condition.closed() => {}
        }
    });
    listening
}

#[cfg(test)]
mod tests {
    use skywave_ports::memory::{Failure, MemoryStore};
    use skywave_protocol::Epoch;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_store_that_goes_away_and_comes_back_is_noticed() {
        let memory = MemoryStore::new(Epoch::parse("e").unwrap());
        let mut condition = store(Arc::new(memory.clone()));
        memory.fail(Some(Failure::Down));
        condition.wait_for(Option::is_some).await.unwrap();
        memory.fail(None);
        condition.wait_for(Option::is_none).await.unwrap();
    }
}
