//! Somebody who tries all the time to get at what is not his: another user's private channel, and a connection with a token that
//! has expired. Every try is recorded as turned down or not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use crate::history::{Kind, Pen, Recorder};
use crate::participant::Places;
use crate::socket::Socket;

/// Private to a user that the intruder is not.
const CHANNEL: &str = "user:somebody-else";
const PAUSE: Duration = Duration::from_millis(100);
/// Rounds of tries on one connection.
const ROUNDS: usize = 5;
/// Answers that say nothing about rights.
const FOR_THE_MOMENT: &[&str] =
    &["timeout", "log_unavailable", "store_unavailable", "rate_limited", "draining"];

/// Ends when dropped.
pub struct Intruder {
    dropped: Arc<AtomicBool>,
    denied: Arc<AtomicU64>,
}

impl Intruder {
    /// `token` is good and gives no special rights; `expired` is not good any more.
    pub fn start(
        places: impl Into<Places>,
        recorder: &Recorder,
        name: &str,
        token: String,
        expired: String,
    ) -> Self {
        let (dropped, denied) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut work = Intruding {
            places: places.into(),
            pen: recorder.process(name),
            token,
            expired,
            dropped: dropped.clone(),
            denied: denied.clone(),
        };
        std::thread::spawn(move || work.run());
        Self { dropped, denied }
    }

    /// How often it was turned down so far.
    pub fn denied(&self) -> u64 {
        self.denied.load(Ordering::Relaxed)
    }
}

impl Drop for Intruder {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::Relaxed);
    }
}

struct Intruding {
    places: Places,
    pen: Pen,
    token: String,
    expired: String,
    dropped: Arc<AtomicBool>,
    denied: Arc<AtomicU64>,
}

impl Intruding {
    fn run(&mut self) {
        while !self.done() {
            // A broken connection is what the run is about.
            if self.round().is_err() {
                self.places.move_on();
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn done(&self) -> bool {
        self.dropped.load(Ordering::Relaxed)
    }

    fn round(&self) -> anyhow::Result<()> {
        let mut late = Socket::open(self.places.here())?;
        let answer = late.request("connect", json!({ "token": self.expired }))?;
        self.judge("connecting with an expired token", &answer)?;
        let mut socket = Socket::connect(self.places.here(), Some(&self.token))?;
        for round in 0..ROUNDS {
            if self.done() {
                break;
            }
            let tries = [
                ("subscribe", json!({ "channel": CHANNEL })),
                ("history", json!({ "channel": CHANNEL, "limit": 1 })),
                ("publish", json!({ "channel": CHANNEL, "id": format!("intruder-{round}"), "data": 1 })),
            ];
            for (verb, body) in tries {
                let answer = socket.request(verb, body)?;
                self.judge(verb, &answer)?;
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn judge(&self, what: &str, answer: &Value) -> anyhow::Result<()> {
        let what = what.to_owned();
        match answer.get("error") {
            None => self.pen.record(Kind::Admitted { what: format!("{what}: {answer}") }),
            Some(error) => {
                let code = error["code"].as_str().context("an error without a code")?.to_owned();
                if !FOR_THE_MOMENT.contains(&code.as_str()) {
                    self.pen.record(Kind::Denied { what, code });
                    self.denied.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }
}
