//! I5 whatever the distance: a subscriber that is fifty thousand publications behind gets every one of them, also when the
//! server dies again and again on the way.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::Context;
use serde_json::{Value, json};
use skywave_harness::participant::{Publisher, Subscriber, fill, read_history};
use skywave_harness::{Kind, Options, Recorder, Server, Socket, checkers, server, wait};

const DISTANCE: u64 = 50_000;
const KILLS: usize = 12;

fn start() -> anyhow::Result<Server> {
    Server::start_with(Options::config("[namespaces.chat]\nhistory_size = 200000\n"))
}

/// Waits until `seen` has grown by `more`.
fn until_further(what: &str, seen: impl Fn() -> u64, more: u64) -> anyhow::Result<()> {
    let before = seen();
    wait::until(what, || (seen() >= (before + more).min(DISTANCE)).then_some(()))
}

/// Lets everything come, however long it takes, as long as it keeps coming.
fn until_through(what: &str, seen: impl Fn() -> u64) -> anyhow::Result<()> {
    while seen() < DISTANCE {
        until_further(what, &seen, 1_000)?;
    }
    Ok(())
}

#[test]
fn a_subscriber_fifty_thousand_behind_gets_everything_through_kills() -> anyhow::Result<()> {
    let mut server = start()?;
    let (address, recorder, channel) = (server.address(), Recorder::default(), "chat:far");
    let begin = fill(address, &recorder, channel, DISTANCE)?;
    let subscriber = Subscriber::start_after(address, &recorder, "far", channel, None, Some(begin));
    for _ in 0..KILLS {
        // One page of progress a life is enough.
        until_further("the subscriber to get on", || subscriber.seen(), 1)?;
        server.restart()?;
    }
    let publisher = Publisher::start(address, &recorder, "p", channel, None);
    until_through("the past", || subscriber.seen())?;
    publisher.finish()?;
    let head = read_history(address, &recorder, channel, None)?;
    subscriber.finish(head)?;
    let history = recorder.history();
    checkers::assert_holds(&history)?;
    let recoveries = history.events.iter().filter(|event| {
        matches!(&event.kind, Kind::Subscribed { asked: Some(asked), position, .. }
            if position.offset > asked.offset + 10_000)
    });
    assert!(recoveries.count() >= 3, "the distance was never great");
    Ok(())
}

#[test]
fn the_rust_client_gets_everything_through_kills() -> anyhow::Result<()> {
    let mut server = start()?;
    fill(server.address(), &Recorder::default(), "chat:far", DISTANCE)?;
    let mut child = Command::new(server::binary()?)
        .args(["sub", "chat:far", "--json", "--from", "1", "--url", &server.url()])
        .args(["--count", &DISTANCE.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    let mut next = 1;
    let mut read_up_to = |offset: u64| -> anyhow::Result<()> {
        while next <= offset {
            let line = lines.next().context("the output ends")??;
            let publication: Value = serde_json::from_str(&line)?;
            anyhow::ensure!(publication["offset"] == next, "{line} where {next} was due");
            anyhow::ensure!(publication["data"]["n"] == next - 1, "{line}");
            next += 1;
        }
        Ok(())
    };
    for kill in 1..=KILLS as u64 {
        // Its output is read on demand, so it is somewhere further on when the server dies.
        read_up_to(kill * 2_000)?;
        server.restart()?;
    }
    read_up_to(DISTANCE)?;
    let status = wait::until("the end of `skywave sub`", || child.try_wait().transpose())??;
    assert!(status.success(), "{status}");
    Ok(())
}

/// Position 0 of a channel that has lost its oldest publications to retention: the rest, behind one gap, at any distance.
#[test]
fn what_retention_has_taken_is_one_gap_and_the_rest_comes() -> anyhow::Result<()> {
    let server = Server::start_with(Options::config("[namespaces.chat]\nhistory_size = 20000\n"))?;
    let begin = fill(server.address(), &Recorder::default(), "chat:far", 30_000)?;
    let oldest = wait::until("retention to take the oldest", || {
        let answer = Socket::connect(server.address(), None)
            .and_then(|mut socket| socket.request("history", json!({"channel": "chat:far", "limit": 1})))
            .ok()?;
        let first = answer["history"]["publications"][0]["offset"].as_u64()?;
        (first == 10_001).then_some(first)
    })?;
    let mut socket = Socket::connect(server.address(), None)?;
    let recover = json!({"channel": "chat:far", "recover": begin});
    let answer = socket.request("subscribe", recover)?;
    let gap = &answer["subscribed"]["gap"];
    assert_eq!(answer["subscribed"]["recovery"], "gap", "{answer}");
    assert_eq!((&gap["from"], &gap["to"], &gap["reason"]), (&json!(1), &json!(10_000), &json!("retention")));
    for offset in oldest..=30_000 {
        assert_eq!(socket.push()?["pub"]["offset"], offset);
    }
    Ok(())
}
