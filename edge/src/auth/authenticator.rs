//! Authorisation of one client: the verifier, and around it what needs waiting.
//!
//! - A token with an unknown `kid` makes the key set be read again, rarely; those that ask meanwhile wait for that read.
//! - A token with an id (`jti`) is looked up among the revoked ones: this node's memory, then the shared state.
//!
//! Owns: the refresh of the key set ([`Authenticator::keep_keys_fresh`] is the task that does it). Never: performs I/O
//! that a token could direct, or lets the failure of a source end a service: the last good keys stay in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use skywave_engine::session::Authorization;
use skywave_ports::SharedState;

use super::config::AuthConfig;
use super::error::{AuthConfigError, AuthError};
use super::fetch::Source;
use super::jwks::RefreshPlan;
use super::origin::Origins;
use super::revocation::{self, Revocations, TokenEnd, Unchecked};
use super::verifier::Verifier;

/// Longest wait for the shared state when a token is checked; after it the token counts as not revoked until it can be looked
/// up.
const STATE_PATIENCE: Duration = Duration::from_millis(500);

/// Decides who may connect. Shared by all workers.
pub struct Authenticator {
    verifier: Verifier,
    anonymous: bool,
    origins: Origins,
    rotating: Option<Rotating>,
    revocations: Revocations,
    unchecked: Unchecked,
    state: Arc<dyn SharedState>,
}

/// A key set that is read again from time to time.
struct Rotating {
    source: Source,
    started: Instant,
    plan: Mutex<RefreshPlan>,
    /// Held by whoever reads the set; the others wait for it.
    flight: tokio::sync::Mutex<()>,
    /// There has been a good read.
    loaded: AtomicBool,
}

impl Authenticator {
    /// Checks the configuration and reads keys from files; a set behind a URL is read by
    /// [`Authenticator::keep_keys_fresh`], or when the first token asks for it.
    pub fn new(config: &AuthConfig, state: Arc<dyn SharedState>) -> Result<Self, AuthConfigError> {
        let verifier = Verifier::new(config)?;
        let rotating = match &config.jwks {
            None => None,
            Some(jwks) => {
                let source = Source::new(jwks)?;
                let loaded = match &source {
                    Source::File(_) => {
                        verifier
                            .rotate(source.read().map_err(|error| AuthConfigError::Jwks(error.to_string()))?);
                        true
                    }
                    Source::Url { .. } => false,
                };
                Some(Rotating {
                    source,
                    started: Instant::now(),
                    plan: Mutex::new(RefreshPlan::new(
                        0,
                        jwks.refresh_seconds,
                        jwks.unknown_kid_seconds,
                        loaded,
                    )),
                    flight: tokio::sync::Mutex::default(),
                    loaded: AtomicBool::new(loaded),
                })
            }
        };
        Ok(Self {
            verifier,
            anonymous: config.anonymous,
            origins: Origins::new(config)?,
            rotating,
            revocations: Revocations::default(),
            unchecked: Unchecked::default(),
            state,
        })
    }

    /// Which pages may connect.
    pub fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Whether clients without a token may connect.
    pub fn allows_anonymous(&self) -> bool {
        self.anonymous
    }

    /// What a client with this token (or without one) may do. `unix_now_s`: seconds since the Unix epoch.
    pub async fn authorize(&self, token: Option<&str>, unix_now_s: u64) -> Result<Authorization, AuthError> {
        let Some(token) = token else {
            return if self.anonymous { Ok(anonymous()) } else { Err(AuthError::Missing) };
        };
        let authorization = match self.verifier.verify(token, unix_now_s) {
            Err(AuthError::UnknownKey) => self.verify_after_rotation(token, unix_now_s).await?,
            other => other?,
        };
        let ends = authorization.expires_at_s.unwrap_or(u64::MAX);
        match &authorization.token_id {
            Some(id) if self.is_revoked(id, ends, unix_now_s).await => Err(AuthError::Revoked),
            _ => Ok(authorization),
        }
    }

    /// Refuses a token id from now on, on this node. `until_s`: when the token expires anyway.
    pub fn revoke(&self, token_id: String, until_s: u64, unix_now_s: u64) {
        self.revocations.add(token_id, until_s, unix_now_s);
    }

    /// The revocations this node knows of, with their ends in seconds since the Unix epoch.
    pub(crate) fn revoked(&self, unix_now_s: u64) -> Vec<TokenEnd> {
        self.revocations.all(unix_now_s)
    }

    /// Tokens that were let in unchecked, to be looked up now; `true`: there were more than could be kept.
    pub(crate) fn take_unchecked(&self) -> (Vec<TokenEnd>, bool) {
        self.unchecked.take()
    }

    pub(crate) fn put_unchecked(&self, tokens: Vec<TokenEnd>) {
        self.unchecked.add(tokens);
    }

    /// Reads the key set whenever it is due; for ever. Nothing to do without one.
    pub async fn keep_keys_fresh(&self) {
        let Some(rotating) = &self.rotating else { return };
        if !rotating.loaded.load(Ordering::Relaxed) {
            self.read_keys(rotating).await;
        }
        loop {
            let due = rotating.plan.lock().due();
            let at = rotating.started + Duration::from_millis(due);
            tokio::time::sleep_until(at.into()).await;
            if rotating.plan.lock().due() <= rotating.now_ms() {
                self.read_keys(rotating).await;
            }
        }
    }

    async fn verify_after_rotation(&self, token: &str, unix_now_s: u64) -> Result<Authorization, AuthError> {
        let Some(rotating) = &self.rotating else { return Err(AuthError::UnknownKey) };
        let allowed = rotating.plan.lock().take_unknown_kid(rotating.now_ms());
        if allowed {
            self.read_keys(rotating).await;
        } else {
            // Somebody may be reading right now: wait for that, not for another one.
            drop(rotating.flight.lock().await);
        }
        match self.verifier.verify(token, unix_now_s) {
            Err(AuthError::UnknownKey) if !rotating.loaded.load(Ordering::Relaxed) => {
                Err(AuthError::KeysUnavailable)
            }
            other => other,
        }
    }

    async fn read_keys(&self, rotating: &Rotating) {
        let _flight = rotating.flight.lock().await;
        let source = rotating.source.clone();
        let read = tokio::task::spawn_blocking(move || source.read()).await;
        let good = match read {
            Ok(Ok(keys)) => {
                tracing::debug!(keys = keys.len(), "read the key set");
                self.verifier.rotate(keys);
                rotating.loaded.store(true, Ordering::Relaxed);
                true
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "cannot read the key set; the last good one stays in use");
                false
            }
            // Only at shutdown: the blocking pool is going away.
            Err(_) => false,
        };
        rotating.plan.lock().done(rotating.now_ms(), good);
    }

    async fn is_revoked(&self, token_id: &str, ends: u64, unix_now_s: u64) -> bool {
        if self.revocations.holds(token_id, unix_now_s) {
            return true;
        }
        let key = revocation::state_key(token_id);
        let remembered = match tokio::time::timeout(STATE_PATIENCE, self.state.is_remembered(&key)).await {
            Ok(Ok(revoked)) => revoked,
            Ok(Err(error)) => {
                tracing::debug!(%error, "cannot look for revocations; going by what this node has heard");
                self.unchecked.add([(token_id.to_owned(), ends)]);
                false
            }
            Err(_) => {
                tracing::debug!("looking for revocations takes too long; going by what this node has heard");
                self.unchecked.add([(token_id.to_owned(), ends)]);
                false
            }
        };
        // The news may have come meanwhile, when there was no connection yet that it could have closed.
        remembered || self.revocations.holds(token_id, unix_now_s)
    }
}

impl Rotating {
    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

/// What a client without a token is: nobody, with what the namespaces allow to everyone.
fn anonymous() -> Authorization {
    Authorization::default()
}
