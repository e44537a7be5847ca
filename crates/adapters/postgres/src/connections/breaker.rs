//! A circuit breaker: after some failures in a row nothing is sent for a while, then one operation tries; when that one
//! is answered, all may go again. So a server that is down costs callers nothing, and one that comes back is not met by
//! all of them at once.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::Rng;

use crate::config::PostgresConfig;
use crate::error::Failure;
use crate::metrics::PoolGauges;

const FIRST_PAUSE: Duration = Duration::from_millis(250);

pub(super) struct Breaker {
    name: &'static str,
    failures: u32,
    pause_max: Duration,
    state: Mutex<State>,
    gauges: PoolGauges,
}

#[derive(Debug, Clone, Default)]
struct State {
    /// Failures since the last answer.
    failures: u32,
    /// Pauses since the last answer.
    pauses: u32,
    /// Open until then (and after it, until a probe is answered).
    open: Option<Open>,
}

#[derive(Debug, Clone)]
struct Open {
    until: Instant,
    reason: String,
    probing: bool,
}

/// The state as the metric shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Circuit {
    Closed = 0,
    HalfOpen = 1,
    Open = 2,
}

/// Leave to run one operation; its user says how it ended. Dropped without that (the caller gave up), it says nothing
/// about the server.
pub(super) struct Admission<'a> {
    breaker: &'a Breaker,
    probe: bool,
}

impl Breaker {
    pub(super) fn new(name: &'static str, config: &PostgresConfig, gauges: PoolGauges) -> Self {
        Self {
            name,
            failures: config.circuit_failures,
            pause_max: config.circuit_pause_max,
            state: Mutex::default(),
            gauges,
        }
    }

    pub(super) fn admit(&self) -> Result<Admission<'_>, Failure> {
        let mut state = self.state.lock();
        let Some(open) = &mut state.open else { return Ok(Admission { breaker: self, probe: false }) };
        if open.probing || Instant::now() < open.until {
            self.gauges.refused.inc();
            return Err(Failure::CircuitOpen(open.reason.clone()));
        }
        open.probing = true;
        self.gauges.circuit(Circuit::HalfOpen);
        Ok(Admission { breaker: self, probe: true })
    }

    fn answered(&self) {
        let mut state = self.state.lock();
        if state.open.is_some() {
            tracing::info!(pool = self.name, "Postgres answers again");
            self.gauges.circuit(Circuit::Closed);
        }
        *state = State::default();
    }

    fn failed(&self, failure: &Failure, probe: bool) {
        let mut state = self.state.lock();
        state.failures = state.failures.saturating_add(1);
        // While open only the probe counts: the others were under way before.
        let opens = match &state.open {
            Some(_) => probe,
            None => state.failures >= self.failures,
        };
        if !opens {
            return;
        }
        if state.open.is_none() {
            tracing::warn!(pool = self.name, error = %failure, "Postgres fails; pausing");
            self.gauges.opened.inc();
        }
        let pause = pause(state.pauses, self.pause_max, rand::rng().random());
        state.pauses = state.pauses.saturating_add(1);
        state.open =
            Some(Open { until: Instant::now() + pause, reason: failure.to_string(), probing: false });
        self.gauges.circuit(Circuit::Open);
    }

    fn given_up(&self) {
        if let Some(open) = &mut self.state.lock().open {
            open.probing = false;
            self.gauges.circuit(Circuit::Open);
        }
    }
}

/// Doubles with each pause in a row; jittered by half, so that many cores do not try together.
fn pause(before: u32, most: Duration, random: f64) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << before.min(16)).min(most).mul_f64(0.5 + random / 2.0)
}

impl Admission<'_> {
    pub(super) fn answered(mut self) {
        self.probe = false;
        self.breaker.answered();
    }

    pub(super) fn failed(mut self, failure: &Failure) {
        self.breaker.failed(failure, std::mem::take(&mut self.probe));
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        if self.probe {
            self.breaker.given_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    fn breaker() -> Breaker {
        let config = PostgresConfig {
            circuit_failures: 2,
            circuit_pause_max: Duration::ZERO,
            ..PostgresConfig::default()
        };
        Breaker::new("test", &config, Metrics::default().pool("test"))
    }

    fn fail(breaker: &Breaker) {
        breaker.admit().unwrap().failed(&Failure::TimedOut(Duration::from_secs(1)));
    }

    fn open_until(breaker: &Breaker) -> Option<Instant> {
        breaker.state.lock().open.as_ref().map(|open| open.until)
    }

    #[test]
    fn it_opens_after_failures_in_a_row_only() {
        let breaker = breaker();
        fail(&breaker);
        breaker.admit().unwrap().answered();
        fail(&breaker);
        assert!(open_until(&breaker).is_none());
        fail(&breaker);
        assert!(open_until(&breaker).is_some());
    }

    #[test]
    fn one_probe_at_a_time_closes_it_or_keeps_it_open() {
        let breaker = breaker();
        fail(&breaker);
        fail(&breaker);
        let probe = breaker.admit().unwrap();
        let refused = breaker.admit().err().unwrap().to_string();
        assert!(refused.contains("no answer from Postgres within 1s"), "{refused}");
        drop(probe);
        fail(&breaker);
        assert!(open_until(&breaker).is_some());
        breaker.admit().unwrap().answered();
        let (one, two) = (breaker.admit(), breaker.admit());
        assert!(one.is_ok() && two.is_ok());
    }

    #[test]
    fn while_it_is_open_nothing_is_sent() {
        let breaker = Breaker { pause_max: Duration::from_secs(3_600), ..breaker() };
        fail(&breaker);
        fail(&breaker);
        assert!(matches!(breaker.admit(), Err(Failure::CircuitOpen(_))));
    }

    #[test]
    fn pauses_double_up_to_the_most_and_are_jittered() {
        let most = Duration::from_secs(5);
        assert_eq!(pause(0, most, 1.0), FIRST_PAUSE);
        assert_eq!(pause(2, most, 1.0), FIRST_PAUSE * 4);
        assert_eq!(pause(60, most, 0.0), most / 2);
    }
}
