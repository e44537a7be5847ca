//! Asking edges who is there, until all of them tell the truth.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::judge::{Answer, judge};
use super::roll::{Roll, Snapshot};
use crate::checkers::Violation;
use crate::{http, token};

/// Between two rounds of questions.
const AGAIN: Duration = Duration::from_millis(20);

/// Who is asked about what.
pub struct Audit<'a> {
    pub roll: &'a Roll,
    pub edges: Vec<SocketAddr>,
    pub channels: &'a [String],
    /// What tokens are signed with.
    pub secret: &'a str,
}

impl Audit<'_> {
    /// Who an edge says is in a channel.
    pub fn ask(&self, edge: SocketAddr, channel: &str) -> Option<Answer> {
        let claims = json!({ "sub": "auditor", "admin": true, "exp": token::now() + 3_600 });
        let bearer = format!("Bearer {}", token::signed(&claims, self.secret));
        let path = format!("/v1/channels/{channel}/presence");
        let answer = http::request(edge, "GET", &path, &[("Authorization", &bearer)], b"").ok()?;
        let answer = answer.json().ok()?;
        let member = |member: &Value| {
            let text = |name: &str| member[name].as_str().unwrap_or_default().to_owned();
            (text("client"), text("user"))
        };
        let members = answer["members"].as_array()?.iter().map(member).collect();
        Some(Answer { edge, channel: channel.to_owned(), members })
    }

    /// Waits until every edge tells the truth about every channel. `is_settled`: whether everybody is where it is wanted to
    /// be. Otherwise answers what was wrong the last time that all were settled.
    pub fn agree(&self, within: Duration, is_settled: impl Fn() -> bool) -> Vec<Violation> {
        let deadline = Instant::now() + within;
        let mut found =
            vec![Violation { invariant: "I12", what: "clients never were where they were wanted".into() }];
        loop {
            if let Some(now) = self.look(&is_settled) {
                found = now;
            }
            if found.is_empty() || Instant::now() >= deadline {
                return found;
            }
            std::thread::sleep(AGAIN);
        }
    }

    /// `None`: somebody came or went meanwhile.
    fn look(&self, is_settled: &impl Fn() -> bool) -> Option<Vec<Violation>> {
        let settled = || is_settled().then(|| self.roll.snapshot());
        let before = settled()?.standing();
        let ask =
            |edge: &SocketAddr| self.channels.iter().filter_map(|channel| self.ask(*edge, channel)).collect();
        let answers: Vec<Answer> = self.edges.iter().flat_map(|edge| -> Vec<Answer> { ask(edge) }).collect();
        let snapshot: Snapshot = settled()?;
        (snapshot.standing() == before).then(|| judge(&snapshot, &self.edges, &answers))
    }
}
