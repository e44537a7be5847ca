//! The feed of notices in the region's shared state: read on from where this node stands, a few times a second.
//!
//! What the bus has lost is found here within a moment, also after a partition of any length: the shared state says when notices
//! have gone that were never read. Then, and for tokens that were let in while the shared state was away, each token that is
//! connected is looked up. A shared state that was emptied is told again what this node knows.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use skywave_ports::{FeedPosition, Notices, StateError};
use skywave_protocol::inner::{Control, Notice};

use super::{Way, act, announce};
use crate::auth::revocation::{self, TokenEnd};
use crate::shared::Shared;

pub(super) const NAME: &str = "control";
/// How long a notice can be read.
pub(super) const KEPT: Duration = Duration::from_secs(3_600);
/// Time between two looks, with a part of chance. A revocation that the bus has lost is closed everywhere after at most this.
const PAUSE: Duration = Duration::from_millis(300);
/// Tokens that are looked up at the same time.
const LOOK_UPS: usize = 64;

/// Reads for ever.
pub(super) async fn follow(shared: Arc<Shared>) {
    let mut position = FeedPosition::default();
    // A look-up that failed: again with the next read that succeeds.
    let mut owed = false;
    loop {
        tokio::time::sleep(PAUSE.mul_f64(rand::random_range(0.7..1.0))).await;
        match shared.ports.state.read_notices(NAME, position).await {
            Ok(read) => {
                if read.missed {
                    tracing::warn!("notices were missed; looking up every connected token");
                    shared.control.counts.missed();
                    owed = true;
                }
                position = take(&shared, read).await;
                owed = catch_up(&shared, owed).await.is_err();
            }
            Err(error) => tracing::debug!(%error, "cannot read notices"),
        }
    }
}

async fn take(shared: &Arc<Shared>, read: Notices) -> FeedPosition {
    let now = shared.now_ms();
    for notice in read.notices {
        match Notice::decode(notice.payload) {
            Ok(decoded) => {
                let age = notice.age + decoded.age();
                if act(shared, &decoded, (now, age), Way::Feed).await {
                    tracing::debug!(?decoded, ?age, "a notice that the bus did not bring");
                    announce::pass_on(shared, decoded.aged(notice.age), Way::Feed, true);
                }
            }
            Err(error) => tracing::warn!(%error, "a notice cannot be read; dropped"),
        }
    }
    read.position
}

/// Looks up tokens that may have been revoked without this node's knowing; `all`: every connected one, and tells the shared
/// state what this node knows, in case it has lost that.
async fn catch_up(shared: &Arc<Shared>, all: bool) -> Result<(), StateError> {
    let auth = &shared.ports.auth;
    let (mut tokens, overflow) = auth.take_unchecked();
    if all || overflow {
        for worker in shared.workers.iter() {
            tokens.extend(worker.run(|worker| worker.state().tokens()).await.unwrap_or_default());
        }
    }
    let outcome = look_up(shared, &tokens).await;
    if outcome.is_err() {
        auth.put_unchecked(tokens);
    }
    outcome?;
    if all { put_back(shared).await } else { Ok(()) }
}

async fn look_up(shared: &Arc<Shared>, tokens: &[TokenEnd]) -> Result<(), StateError> {
    for some in tokens.chunks(LOOK_UPS) {
        let answers = join_all(some.iter().map(|(token, _)| {
            let (state, key) = (shared.ports.state.clone(), revocation::state_key(token));
            async move { state.is_remembered(&key).await }
        }));
        for ((token, ends), revoked) in some.iter().zip(answers.await) {
            if revoked? {
                let control = Control::RevokeToken { token_id: token.clone(), until: *ends };
                act(
                    shared,
                    &Notice::new(rand::random(), control),
                    (shared.now_ms(), Duration::ZERO),
                    Way::Feed,
                )
                .await;
            }
        }
    }
    Ok(())
}

async fn put_back(shared: &Arc<Shared>) -> Result<(), StateError> {
    let now_s = shared.ports.clock.unix_ms() / 1_000;
    let known = shared.ports.auth.revoked(now_s);
    for some in known.chunks(LOOK_UPS) {
        let outcomes = join_all(some.iter().map(|(token, until)| {
            let (state, token, until) = (shared.ports.state.clone(), token.clone(), *until);
            async move { revocation::remember(&*state, &token, until, now_s).await }
        }));
        outcomes.await.into_iter().collect::<Result<Vec<()>, _>>()?;
    }
    Ok(())
}
