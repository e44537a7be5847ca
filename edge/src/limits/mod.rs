//! Rates that hold for one user, or one address, over all nodes of a region.
//!
//! Each node has an [`Allowance`] for whoever is active on it, which borrows tokens in batches from the bucket in the shared
//! state: a publish costs a lock and no round trip. Without the shared state the same rate holds on each node alone, and
//! what is let through so is counted.
//!
//! Owns: the allowances of this node, and the loans under way. Never: waits for the shared state on behalf of a client.

mod metrics;

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use hashbrown::{DefaultHashBuilder, HashMap};
use parking_lot::Mutex;
use skywave_engine::time::Millis;
use skywave_engine::{Allowance, Rate};
use skywave_ports::SharedState;
use skywave_protocol::UserId;

use crate::config::EdgeLimits;
pub(crate) use metrics::LimitsCollector;
use metrics::{Counts, Loan};

/// Shards of the table: workers rarely meet.
const SHARDS: usize = 16;
/// Allowances kept. Whoever comes when it is full of others that are in use has one of his own: it borrows from the same
/// bucket, only less thriftily.
const ACCOUNTS: usize = 200_000;
/// A shard is searched for what can be forgotten when it has grown to twice what the last search left, but not below this.
const SWEEP_FROM: usize = 256;
/// Loans under way at once. Beyond it the shared state counts as away.
const LOANS: usize = 8_192;
/// Stands for "never" where somebody is told when to come back.
const DAY_MS: Millis = 86_400_000;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Limit {
    /// Publications over connections.
    Publishes,
    /// Requests over HTTP.
    HttpRequests,
    /// New connections.
    Handshakes,
}

impl Limit {
    pub(crate) const ALL: [Self; 3] = [Self::Publishes, Self::HttpRequests, Self::Handshakes];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Publishes => "publishes",
            Self::HttpRequests => "http",
            Self::Handshakes => "handshakes",
        }
    }
}

/// Whom a rate counts for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    User(UserId),
    /// Anonymous clients of one network (see [`crate::admission::network`]).
    Network(IpAddr),
}

pub(crate) struct RegionLimits {
    state: Arc<dyn SharedState>,
    rates: [Option<Rate>; Limit::ALL.len()],
    hasher: DefaultHashBuilder,
    accounts: Vec<Mutex<Shard>>,
    loans: AtomicUsize,
    counts: Counts,
    /// Zero of the milliseconds.
    started: Instant,
}

#[derive(Default)]
struct Shard {
    accounts: HashMap<(Limit, Who), Arc<Account>>,
    sweep_at: usize,
}

/// One user's or address's part in one limit on this node.
pub(crate) struct Account {
    limit: Limit,
    rate: Rate,
    /// Of the bucket in the shared state.
    key: String,
    allowance: Mutex<Allowance>,
}

impl RegionLimits {
    pub(crate) fn new(limits: &EdgeLimits, state: Arc<dyn SharedState>, started: Instant) -> Arc<Self> {
        let rates = Limit::ALL.map(|limit| match limit {
            Limit::Publishes => limits.user_publishes,
            Limit::HttpRequests => limits.http_requests,
            Limit::Handshakes => limits.region_address_handshakes,
        });
        Arc::new(Self {
            state,
            rates,
            hasher: DefaultHashBuilder::default(),
            accounts: (0..SHARDS).map(|_| Mutex::default()).collect(),
            loans: AtomicUsize::new(0),
            counts: Counts::default(),
            started,
        })
    }

    pub(crate) fn is_set(&self, limit: Limit) -> bool {
        self.rates[limit as usize].is_some()
    }

    /// The account of `who`; `None`: there is no such limit.
    pub(crate) fn account(&self, limit: Limit, who: Who) -> Option<Arc<Account>> {
        let rate = self.rates[limit as usize]?;
        let name = (limit, who);
        let mut shard = self.accounts[(self.hasher.hash_one(&name) >> 32) as usize % SHARDS].lock();
        if let Some(account) = shard.accounts.get(&name) {
            return Some(account.clone());
        }
        let now = self.now();
        let key = match &name.1 {
            Who::User(user) => format!("limit:{}:user:{user}", limit.name()),
            Who::Network(address) => format!("limit:{}:address:{address}", limit.name()),
        };
        let account = Arc::new(Account { limit, rate, key, allowance: Mutex::new(Allowance::new(now)) });
        if shard.has_room(now) {
            shard.accounts.insert(name, account.clone());
        }
        Some(account)
    }

    /// Spends `cost` from an account, or says after how many milliseconds it is worth trying again. Must run inside a
    /// runtime: it may begin a loan.
    pub(crate) fn take(self: &Arc<Self>, account: &Arc<Account>, cost: u32) -> Result<(), Millis> {
        let now = self.now();
        let mut allowance = account.allowance.lock();
        let outcome = allowance.take(now, account.rate, cost);
        let wanted = allowance.wanted(now, account.rate);
        let alone = allowance.is_alone();
        drop(allowance);
        match outcome {
            Err(_) => self.counts.refused(account.limit),
            Ok(()) if alone => self.counts.alone(account.limit),
            Ok(()) => {}
        }
        if let Some(tokens) = wanted {
            self.borrow(account, tokens);
        }
        outcome.map_err(|wait_ms| wait_ms.min(DAY_MS))
    }

    /// As [`RegionLimits::take`], for who has no account at hand.
    pub(crate) fn take_from(self: &Arc<Self>, limit: Limit, who: Who, cost: u32) -> Result<(), Millis> {
        match self.account(limit, who) {
            Some(account) => self.take(&account, cost),
            None => Ok(()),
        }
    }

    fn borrow(self: &Arc<Self>, account: &Arc<Account>, tokens: u32) {
        if self.loans.fetch_add(1, Ordering::Relaxed) >= LOANS {
            self.loans.fetch_sub(1, Ordering::Relaxed);
            self.counts.loan(Loan::Unavailable);
            return account.allowance.lock().unreachable(self.now(), account.rate);
        }
        let (limits, account) = (self.clone(), account.clone());
        tokio::spawn(async move {
            let Rate { burst, per_minute } = account.rate;
            let per_second = f64::from(per_minute) / 60.0;
            let loan = limits.state.borrow_tokens(&account.key, tokens, burst, per_second).await;
            limits.loans.fetch_sub(1, Ordering::Relaxed);
            let now = limits.now();
            let mut allowance = account.allowance.lock();
            match loan {
                Ok(loan) if loan.tokens >= tokens => {
                    limits.counts.loan(Loan::Whole);
                    allowance.lent(now, loan.tokens, None);
                }
                Ok(loan) => {
                    limits.counts.loan(Loan::Short);
                    allowance.lent(now, loan.tokens, Some(loan.wait.as_millis() as Millis));
                }
                Err(error) => {
                    tracing::debug!(%error, "a limit is kept by this node alone");
                    limits.counts.loan(Loan::Unavailable);
                    allowance.unreachable(now, account.rate);
                }
            }
        });
    }

    fn now(&self) -> Millis {
        self.started.elapsed().as_millis() as Millis
    }
}

impl Shard {
    /// Forgets what can be when it is time to look; `false`: all that are kept are in use.
    fn has_room(&mut self, now: Millis) -> bool {
        let most = ACCOUNTS / SHARDS;
        if self.accounts.len() >= self.sweep_at.clamp(SWEEP_FROM, most) {
            self.accounts.retain(|_, account| {
                // A connection holds its account: what it owes must not be forgotten by coming back for another one.
                Arc::strong_count(account) > 1 || !account.allowance.lock().is_idle(now)
            });
            self.sweep_at = self.accounts.len() * 2;
        }
        self.accounts.len() < most
    }
}

#[cfg(test)]
mod tests;
