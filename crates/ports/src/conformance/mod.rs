//! One suite per contract. An adapter's tests call `suite` with a function that opens the adapter; every sentence of the
//! contract is one named check, and a failing one panics with its name.
//!
//! The function is given a name: opening a name again, after what it gave before was dropped, must find what was left
//! there (a restart); another name is another, empty place.

pub mod bus;
pub mod events;
pub mod log;
pub mod outbox;
pub mod register;
pub mod state;
pub mod store;

use std::time::Duration;

/// Bounds every wait of a suite, so that a lost message fails a check instead of hanging it. Never waited for in full
/// by an adapter that conforms.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs one check and names it if it fails.
async fn check<T>(name: &str, check: impl Future<Output = T>) -> T {
    let named = Named(name);
    let result = tokio::time::timeout(PATIENCE, check).await;
    let result = result.unwrap_or_else(|_| panic!("nothing happened for {PATIENCE:?}"));
    drop(named);
    result
}

struct Named<'a>(&'a str);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("contract broken: {}", self.0);
        }
    }
}
