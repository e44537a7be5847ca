//! `kill -9` again and again under load: I1–I5 hold over the whole run.

use std::time::{Duration, Instant};

use skywave_harness::participant::{Publisher, Subscriber, read_history};
use skywave_harness::{Kind, Recorder, Server, checkers, wait};

const KILLS: usize = 50;
const CHANNELS: usize = 3;

/// Fifty kills, each once publishes have been acknowledged since the last one, at a moment that moves through the
/// server's work. Two publishers and two subscribers a channel, all of them through raw sockets.
#[test]
fn fifty_kills_in_a_row_lose_nothing_double_nothing_and_keep_the_order() -> anyhow::Result<()> {
    let mut server = Server::start()?;
    let recorder = Recorder::default();
    let address = server.address();
    let channel = |at: usize| format!("chat:kill-{at}");
    let subscribers: Vec<(usize, Subscriber)> = (0..2 * CHANNELS)
        .map(|at| {
            (
                at % CHANNELS,
                Subscriber::start(address, &recorder, &format!("s{at}"), &channel(at % CHANNELS), None),
            )
        })
        .collect();
    wait::until("every subscriber", || subscribers.iter().all(|(_, it)| it.is_ready()).then_some(()))?;
    let publishers: Vec<Publisher> = (0..2 * CHANNELS)
        .map(|at| Publisher::start(address, &recorder, &format!("p{at}"), &channel(at % CHANNELS), None))
        .collect();
    let acknowledged = || publishers.iter().map(Publisher::acknowledged).sum::<u64>();

    let mut in_flight = 0;
    for kill in 0..KILLS {
        let before = acknowledged();
        wait::until("acknowledgements after a restart", || (acknowledged() > before + 20).then_some(()))?;
        // Kills hit recoveries too, and nobody is let through on purpose. Not a wait for anything: it moves the kill to another point of the server's work.
        let moment = Instant::now() + Duration::from_millis((kill as u64 * 37) % 150);
        while Instant::now() < moment {
            std::thread::yield_now();
        }
        server.kill9()?;
        in_flight += usize::from(unanswered(&recorder) > 0);
        server.run()?;
    }
    publishers.into_iter().try_for_each(Publisher::finish)?;

    let mut heads = Vec::new();
    for at in 0..CHANNELS {
        heads.push(read_history(address, &recorder, &channel(at), None)?);
    }
    for (at, subscriber) in subscribers {
        subscriber.finish(heads[at])?;
    }
    let history = recorder.history();
    checkers::assert_holds(&history)?;
    assert!(in_flight > KILLS / 2, "only {in_flight} of {KILLS} kills hit a publish in mid-flight");
    let recoveries =
        history.events.iter().filter(|event| matches!(event.kind, Kind::Subscribed { asked: Some(_), .. }));
    assert!(recoveries.count() >= KILLS, "the subscribers were hardly disturbed");
    eprintln!("{} events, heads {heads:?}, {in_flight} kills in mid-publish", history.events.len());
    Ok(())
}

/// Publishes without an answer at this moment.
fn unanswered(recorder: &Recorder) -> usize {
    let history = recorder.history();
    let count = |is: fn(&Kind) -> bool| history.events.iter().filter(|event| is(&event.kind)).count();
    count(|kind| matches!(kind, Kind::Published { .. }))
        .saturating_sub(count(|kind| matches!(kind, Kind::Acknowledged { .. })))
}

/// A server that is frozen and thawed serves on as if nothing had been.
#[test]
fn a_pause_loses_nothing() -> anyhow::Result<()> {
    let server = Server::start()?;
    let recorder = Recorder::default();
    let subscriber = Subscriber::start(server.address(), &recorder, "s", "chat:pause", None);
    wait::until("the subscriber", || subscriber.is_ready().then_some(()))?;
    let publisher = Publisher::start(server.address(), &recorder, "p", "chat:pause", None);
    for _ in 0..3 {
        let before = publisher.acknowledged();
        wait::until("acknowledgements", || (publisher.acknowledged() > before + 50).then_some(()))?;
        server.pause()?;
        std::thread::sleep(Duration::from_millis(500));
        server.resume()?;
    }
    publisher.finish()?;
    let head = read_history(server.address(), &recorder, "chat:pause", None)?;
    subscriber.finish(head)?;
    checkers::assert_holds(&recorder.history())
}
