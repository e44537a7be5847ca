//! I12: what edges answer is who is there, and what connections were told fits.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::roll::{Snapshot, Stay};
use crate::checkers::Violation;

/// A connection counts as standing at an edge only so long before and after: clients learn late of their edge's mind.
const LATE: Duration = Duration::from_secs(2);

/// What an edge answered when it was asked who is in a channel: clients with their users.
#[derive(Debug, Clone)]
pub struct Answer {
    pub edge: SocketAddr,
    pub channel: String,
    pub members: Vec<(String, String)>,
}

/// Judges the answers that were given while nobody came or went, and all news up to then. Each of `edges` has to have
/// answered for each channel there was somebody in.
pub fn judge(snapshot: &Snapshot, edges: &[SocketAddr], answers: &[Answer]) -> Vec<Violation> {
    let mut found = answers_are_true(snapshot, answers);
    found.extend(all_have_answered(snapshot, edges, answers));
    found.extend(news_fit(snapshot));
    found
}

fn violation(what: String) -> Violation {
    Violation { invariant: "I12", what }
}

fn answers_are_true(snapshot: &Snapshot, answers: &[Answer]) -> Vec<Violation> {
    let mut found = Vec::new();
    for Answer { edge, channel, members } in answers {
        let standing = snapshot.stays.iter().filter(|stay| stay.to.is_none() && stay.channel == *channel);
        let truth: BTreeSet<(&str, &str)> = standing.map(|stay| (&*stay.client, &*stay.user)).collect();
        let told: BTreeSet<(&str, &str)> =
            members.iter().map(|(client, user)| (client.as_str(), user.as_str())).collect();
        if told.len() != members.len() {
            found.push(violation(format!("{edge} names somebody twice in {channel}: {members:?}")));
        }
        for (client, user) in truth.difference(&told) {
            found.push(violation(format!("{edge} does not see {user} ({client}) in {channel}")));
        }
        for (client, user) in told.difference(&truth) {
            found.push(violation(format!("{edge} sees {user} ({client}) in {channel}, who is not there")));
        }
    }
    found
}

/// Silence proves nothing.
fn all_have_answered(snapshot: &Snapshot, edges: &[SocketAddr], answers: &[Answer]) -> Vec<Violation> {
    let channels: BTreeSet<&str> = snapshot.stays.iter().map(|stay| &*stay.channel).collect();
    if channels.is_empty() || edges.is_empty() {
        return vec![violation("nobody was ever there, or nobody was asked".into())];
    }
    let missing = edges.iter().flat_map(|edge| channels.iter().map(move |channel| (edge, *channel))).filter(
        |(edge, channel)| !answers.iter().any(|answer| answer.edge == **edge && answer.channel == *channel),
    );
    missing.map(|(edge, channel)| violation(format!("{edge} was not asked about {channel}"))).collect()
}

/// Nobody is told twice in a row that a user came, or went; nor that one left who stood at the same edge all the time.
fn news_fit(snapshot: &Snapshot) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut told: BTreeMap<(&str, &str, &str), bool> = BTreeMap::new();
    for news in &snapshot.news {
        let verb = if news.came { "came" } else { "left" };
        let key = (&*news.client, &*news.channel, &*news.user);
        if told.insert(key, news.came) == Some(news.came) {
            let what = format!("{} was told twice that {} {verb} ({})", news.client, news.user, news.channel);
            found.push(violation(what));
        }
        let stayed = |stay: &&Stay| {
            stay.edge == news.edge
                && stay.user == news.user
                && stay.channel == news.channel
                && stay.from + LATE < news.at
                && stay.to.is_none_or(|to| to > news.at + LATE)
        };
        if !news.came
            && let Some(stay) = snapshot.stays.iter().find(stayed)
        {
            let what = format!(
                "{} was told that {} left {}, but {} stayed at the same edge",
                news.client, news.user, news.channel, stay.client
            );
            found.push(violation(what));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::roll::News;
    use super::*;

    fn edge(number: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], number))
    }

    fn stay(user: &str, client: &str, at: u16, begin: Instant) -> Stay {
        let (channel, user, client) = ("room:1".to_owned(), user.to_owned(), client.to_owned());
        Stay { channel, user, client, edge: edge(at), from: begin, to: None }
    }

    fn news(user: &str, came: bool, at: Instant) -> News {
        let (channel, client) = ("room:1".to_owned(), "a1".to_owned());
        News { channel, client, edge: edge(1), user: user.to_owned(), came, at }
    }

    /// Ada with two tabs and bob at two edges; eve was there and left.
    fn good() -> (Snapshot, Vec<Answer>) {
        let begin = Instant::now();
        let second = Duration::from_secs(1);
        let mut eve = stay("eve", "e1", 2, begin);
        eve.to = Some(begin + 10 * second);
        let stays =
            vec![stay("ada", "a1", 1, begin), stay("ada", "a2", 1, begin), stay("bob", "b1", 2, begin), eve];
        let told =
            vec![news("bob", true, begin), news("eve", true, begin), news("eve", false, begin + 10 * second)];
        let members = [("a1", "ada"), ("a2", "ada"), ("b1", "bob")];
        let members: Vec<(String, String)> =
            members.iter().map(|(client, user)| ((*client).to_owned(), (*user).to_owned())).collect();
        let answer =
            |number| Answer { edge: edge(number), channel: "room:1".into(), members: members.clone() };
        (Snapshot { stays, news: told }, vec![answer(1), answer(2)])
    }

    fn found(change: impl FnOnce(&mut Snapshot, &mut Vec<Answer>)) -> String {
        let (mut snapshot, mut answers) = good();
        change(&mut snapshot, &mut answers);
        let found = judge(&snapshot, &[edge(1), edge(2)], &answers);
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_good_run_passes() {
        assert_eq!(found(|_, _| {}), "");
    }

    #[test]
    fn each_thing_that_may_go_wrong_is_found() {
        let missing = found(|_, answers| drop(answers[1].members.pop()));
        assert_eq!(missing, "I12: 127.0.0.1:2 does not see bob (b1) in room:1");
        let ghost = found(|_, answers| answers[0].members.push(("e1".into(), "eve".into())));
        assert_eq!(ghost, "I12: 127.0.0.1:1 sees eve (e1) in room:1, who is not there");
        let another = found(|_, answers| answers[0].members[2].1 = "eve".into());
        assert!(another.contains("does not see bob") && another.contains("sees eve"), "{another}");
        let twice = found(|_, answers| {
            let first = answers[0].members[0].clone();
            answers[0].members.push(first);
        });
        assert!(twice.contains("names somebody twice"), "{twice}");
        assert!(found(|_, answers| drop(answers.pop())).contains("127.0.0.1:2 was not asked"));
        assert!(
            found(|snapshot, answers| {
                snapshot.stays.clear();
                snapshot.news.clear();
                answers.clear();
            })
            .contains("nobody was ever there")
        );
        let came_twice = found(|snapshot, _| {
            let again = snapshot.news[0].clone();
            snapshot.news.push(again);
        });
        assert_eq!(came_twice, "I12: a1 was told twice that bob came (room:1)");
        let first_tab = found(|snapshot, _| {
            let at = snapshot.stays[0].from + 3 * LATE;
            snapshot.stays[1].to = Some(at);
            snapshot.news.push(news("ada", false, at));
        });
        assert!(first_tab.contains("told that ada left room:1, but a1 stayed"), "{first_tab}");
    }
}
