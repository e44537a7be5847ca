//! Telling everybody, and not only once.
//!
//! A notice is published, stored in the region's shared state (and stored again until that has worked), and then published
//! again at growing intervals for as long as it is worth it. Whoever has heard of it does the same, so that it
//! outlives the node that was asked; of several, the first one speaks and the others, who hear it, wait for the next turn.
//!
//! Owns: when which notice is due. Never: acts upon one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use skywave_ports::StateError;
use skywave_protocol::inner::{Control, Notice};
use skywave_protocol::{ErrorCode, Subject, WireError};
use tokio::time::{Instant, sleep_until};

use super::{OUTGOING, Waiting, Way, act, feed};
use crate::auth::revocation;
use crate::shared::Shared;

/// When a notice is published again, in seconds after it was made.
const REPEATS: [u64; 17] =
    [1, 3, 10, 30, 60, 120, 180, 240, 300, 420, 540, 900, 1_200, 1_800, 2_400, 3_000, 3_600];
/// After these, while a revoked token is valid, again and again.
const FOR_LONG: Duration = Duration::from_secs(3_600);
/// What concerns a moment is repeated for so long.
const MOMENT: Duration = Duration::from_secs(60);
/// The part of a turn's length after which a node speaks: first the one that was asked; the others let it pass, so that they
/// hear who speaks before them.
const OWN_TURN: std::ops::Range<f64> = 0.0..0.1;
const OTHERS_TURN: std::ops::Range<f64> = 0.3..0.8;
/// Somebody of the region is likely to store what all of it has heard: the others look first whether it is done.
const PASS_ON: std::ops::Range<Duration> = Duration::from_millis(100)..Duration::from_millis(1_000);

/// A notice that is not done with.
pub(super) struct Outgoing {
    notice: Notice,
    /// It is in the region's shared state.
    stored: bool,
    /// When it was as old as it says.
    since: Instant,
    way: Way,
    /// Its age at the beginning of the next turn …
    turn: Duration,
    /// … and when this node speaks in it, unless another one has.
    speak_at: Instant,
    /// When another node was last heard to publish it.
    heard: Option<Instant>,
}

/// What the announcing task is told.
pub(super) enum Order {
    Take(Box<Outgoing>),
    /// Somebody has published this one.
    Heard(u128),
}

/// Tells every edge, this one included. Errors: neither the bus nor the shared state takes it; for a revocation already when
/// the shared state does not, because a node that starts now would not know of it.
pub(crate) async fn announce(shared: &Shared, control: Control) -> Result<(), WireError> {
    let lasting = matches!(control, Control::RevokeToken { .. });
    let notice = Notice::new(rand::random(), control);
    // The bus first: it never waits, and the shared state may have to be waited for.
    let published = shared.ports.bus.publish(&Subject::control(), notice.encode());
    act(shared, &notice, (shared.now_ms(), Duration::ZERO), Way::Own).await;
    let stored = store(shared, &notice).await;
    let outcome = match (&stored, &published) {
        (Err(error), _) if lasting => {
            let message =
                format!("told, but a node that starts now will not know until the state is back: {error}");
            Err(WireError::new(ErrorCode::StoreUnavailable, message).retry_after_ms(1_000))
        }
        (Err(_), Err(error)) => {
            Err(WireError::new(ErrorCode::Internal, error.to_string()).retry_after_ms(1_000))
        }
        _ => Ok(()),
    };
    pass_on(shared, notice, Way::Own, stored.is_ok());
    outcome
}

/// Sees to it that a notice is in this region's shared state (unless it is `stored`), and repeated.
pub(super) fn pass_on(shared: &Shared, notice: Notice, way: Way, stored: bool) {
    let outgoing = Outgoing::new(notice, stored, way, Instant::now());
    if shared.control.orders.try_send(Order::Take(Box::new(outgoing))).is_err() {
        tracing::warn!("too many notices at once; one is told only once");
    }
}

/// Somebody has published a notice that was known.
pub(super) fn heard(shared: &Shared, id: u128) {
    // Lost, the notice is published once too often.
    let _ = shared.control.orders.try_send(Order::Heard(id));
}

/// Puts a notice where nodes find it that miss it now, or start later.
async fn store(shared: &Shared, notice: &Notice) -> Result<(), StateError> {
    let state = &*shared.ports.state;
    if let Control::RevokeToken { token_id, until } = &notice.control {
        let now_s = shared.ports.clock.unix_ms() / 1_000;
        revocation::remember(state, token_id, *until, now_s).await?;
    }
    let mark = format!("notice:{:032x}", notice.id);
    if state.is_remembered(&mark).await? {
        return Ok(());
    }
    state.append_notice(feed::NAME, notice.encode(), feed::KEPT).await?;
    state.remember(&mark, feed::KEPT).await
}

/// What is to be done, by when.
#[derive(Default)]
struct Plan {
    /// The number tells two of one moment apart.
    due: BTreeMap<(Instant, u64), u128>,
    notices: HashMap<u128, Outgoing>,
    number: u64,
}

/// Stores and repeats, for ever.
pub(super) async fn carry_on(shared: Arc<Shared>, mut waiting: Waiting) {
    let mut plan = Plan::default();
    loop {
        let next = plan.due.first_key_value().map(|((at, _), _)| *at);
        tokio::select! {
            Some(order) = waiting.0.recv() => match order {
                Order::Take(outgoing) => plan.take(*outgoing),
                Order::Heard(id) => plan.heard(id),
            },
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                let Some(((_, _), id)) = plan.due.pop_first() else { continue };
                let Some(mut outgoing) = plan.notices.remove(&id) else { continue };
                if outgoing.go_on(&shared).await {
                    plan.take(outgoing);
                }
            }
        }
    }
}

impl Plan {
    fn take(&mut self, outgoing: Outgoing) {
        let id = outgoing.notice.id;
        if self.notices.contains_key(&id) {
            return;
        }
        if self.notices.len() >= OUTGOING
            && let Some((_, latest)) = self.due.pop_last()
        {
            // The one that is longest not due has been told most often.
            self.notices.remove(&latest);
        }
        self.number += 1;
        self.due.insert((outgoing.due(), self.number), id);
        self.notices.insert(id, outgoing);
    }

    fn heard(&mut self, id: u128) {
        if let Some(outgoing) = self.notices.get_mut(&id) {
            outgoing.heard = Some(Instant::now());
        }
    }
}

impl Outgoing {
    fn new(notice: Notice, stored: bool, way: Way, now: Instant) -> Self {
        let turn = Duration::ZERO;
        let mut outgoing = Self { notice, stored, since: now, way, turn, speak_at: now, heard: None };
        outgoing.next_turn(now);
        outgoing
    }

    fn age(&self, now: Instant) -> Duration {
        self.notice.age() + now.duration_since(self.since)
    }

    fn next_turn(&mut self, now: Instant) {
        let age = self.age(now);
        let behind = REPEATS.map(Duration::from_secs).into_iter().take_while(|at| *at <= age).last();
        let behind = behind.unwrap_or_default();
        let next = REPEATS.map(Duration::from_secs).into_iter().find(|at| *at > age);
        self.turn = next.unwrap_or(age + FOR_LONG);
        let length = self.turn - if next.is_some() { behind } else { age };
        let wait = match self.way {
            Way::Own => OWN_TURN,
            Way::Bus | Way::Feed => OTHERS_TURN,
        };
        self.speak_at = now + (self.turn - age) + length.mul_f64(rand::random_range(wait));
    }

    fn due(&self) -> Instant {
        if self.stored {
            return self.speak_at;
        }
        self.speak_at.min(Instant::now() + rand::random_range(PASS_ON))
    }

    /// Whether somebody has spoken in this turn.
    fn is_told(&self) -> bool {
        self.heard.is_some_and(|heard| self.age(heard) >= self.turn)
    }

    /// Whether repeating it is still worth it.
    fn lasts(&self, age: Duration, now_s: u64) -> bool {
        match self.notice.control {
            Control::RevokeToken { until, .. } => until > now_s,
            Control::DisconnectUser { .. } => age <= feed::KEPT,
            // Of two that contradict each other, the one that comes last wins: they must not come late.
            Control::Subscribe { .. } | Control::Unsubscribe { .. } => age <= MOMENT,
        }
    }

    /// Does what is due; `true`: there is more to come.
    async fn go_on(&mut self, shared: &Shared) -> bool {
        let now = Instant::now();
        let (age, aged) = (self.age(now), self.notice.aged(now.duration_since(self.since)));
        let lasts = self.lasts(age, shared.ports.clock.unix_ms() / 1_000);
        if !self.stored {
            self.stored = store(shared, &aged).await.is_ok();
        }
        if now >= self.speak_at {
            if lasts && !self.is_told() {
                // Lost, it comes again.
                let _ = shared.ports.bus.publish(&Subject::control(), aged.encode());
                shared.control.counts.repeated();
            }
            self.next_turn(now);
        }
        lasts || (!self.stored && age < feed::KEPT)
    }
}

#[cfg(test)]
mod tests {
    use skywave_protocol::UserId;

    use super::*;

    fn outgoing(way: Way, control: Control) -> Outgoing {
        Outgoing::new(Notice::new(1, control), true, way, Instant::now())
    }

    fn revocation() -> Control {
        Control::RevokeToken { token_id: "t".into(), until: 10_000 }
    }

    #[test]
    fn the_one_that_was_asked_speaks_before_the_others_who_then_wait_for_the_next_turn() {
        for _ in 0..100 {
            let (mut own, mut other) = (outgoing(Way::Own, revocation()), outgoing(Way::Bus, revocation()));
            for turn in REPEATS.map(Duration::from_secs) {
                assert_eq!((own.turn, other.turn), (turn, turn));
                assert!(own.speak_at + Duration::from_millis(100) < other.speak_at, "{turn:?}");
                own.next_turn(own.speak_at);
                other.next_turn(other.speak_at);
            }
            assert!(own.turn >= Duration::from_secs(7_200), "and so on");
        }
        let (own, mut other) = (outgoing(Way::Own, revocation()), outgoing(Way::Bus, revocation()));
        other.heard = Some(Instant::now());
        assert!(!other.is_told(), "the first publication is not the first repeat");
        other.heard = Some(own.speak_at + Duration::from_millis(1));
        assert!(other.is_told());
        other.next_turn(other.speak_at);
        assert!(!other.is_told());
    }

    #[test]
    fn a_revocation_is_repeated_until_its_token_ends_and_a_membership_for_a_moment() {
        let user = || UserId::parse("ada").unwrap();
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        let revoked = outgoing(Way::Bus, revocation());
        assert!(revoked.lasts(hours(100), 9_999));
        assert!(!revoked.lasts(Duration::ZERO, 10_000));
        let disconnected = outgoing(Way::Bus, Control::DisconnectUser { user: user() });
        assert!(disconnected.lasts(hours(1), 0) && !disconnected.lasts(hours(2), 0));
        let channel = skywave_protocol::ChannelName::parse("chat:1").unwrap();
        let put = outgoing(Way::Bus, Control::Subscribe { user: user(), channel });
        assert!(put.lasts(MOMENT, 0) && !put.lasts(2 * MOMENT, 0));
    }

    #[test]
    fn a_flood_makes_those_wait_no_longer_that_were_told_most_often() {
        let mut plan = Plan::default();
        let old = Notice { id: u128::MAX, age_ms: 3_000_000, control: revocation() };
        plan.take(Outgoing::new(old, true, Way::Own, Instant::now()));
        for id in 0..OUTGOING as u128 + 10 {
            let notice = Notice::new(id, revocation());
            plan.take(Outgoing::new(notice, true, Way::Own, Instant::now()));
        }
        assert_eq!((plan.notices.len(), plan.due.len()), (OUTGOING, OUTGOING));
        assert!(!plan.notices.contains_key(&u128::MAX));
        assert!(plan.notices.contains_key(&(OUTGOING as u128 + 9)));
    }
}
