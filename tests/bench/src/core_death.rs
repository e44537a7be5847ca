//! A core dies: how long until publishing goes on in every channel, those of its partitions included.
//!
//! Publishers and subscribers are those of the fault tests, so that their checkers (I1–I5) judge every round: nothing that was
//! acknowledged is lost, nothing comes twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::json;
use skywave_cluster::{Cluster, Kind};
use skywave_harness::participant::{Places, Publisher, Subscriber, read_history};
use skywave_harness::{History, Kind as Event, Recorder, checkers, token};
use skywave_servers::wait::until;

use crate::Arguments;
use crate::generator::Row;
use crate::table::median;

/// Each core owns about half of them.
const CHANNELS: usize = 16;
const PAUSE: Duration = Duration::from_millis(20);
/// Acknowledgements of every publisher that show that it goes on.
const PROGRESS: u64 = 50;
const AIM_S: f64 = 5.0;

pub(crate) fn row(arguments: &Arguments, cluster: &Cluster) -> anyhow::Result<Row> {
    let cores = cluster.of_kind("eu", Kind::Core)?;
    let mut pauses = Vec::new();
    for round in 0..arguments.rounds {
        let core = &cores[round % cores.len()].name;
        let (times, acknowledged) = round_of(cluster, core, round)?;
        println!(
            "{core} died: the last channel went on after {:.2} s; {acknowledged} acknowledged, none lost",
            times.last().copied().unwrap_or_default()
        );
        pauses.push(times);
        cluster.restart(core)?;
    }
    let last: Vec<f64> = pauses.iter().filter_map(|times| times.last().copied()).collect();
    let worst = last.iter().copied().fold(0.0, f64::max);
    let middle = pauses.iter().map(|times| times[times.len() / 2]).collect();
    let details = vec![
        ("median channel".into(), median(middle)),
        ("worst round".into(), worst),
        ("lost or doubled".into(), 0.0),
        ("rounds".into(), pauses.len() as f64),
    ];
    let name = format!("a core dies: the last of {CHANNELS} channels is acknowledged again");
    Ok(Row::at_most(&name, median(last), "s", AIM_S, details))
}

/// How long each channel's publisher was acknowledged nothing around the death, ascending, in seconds; and how many
/// publishes were acknowledged in all.
fn round_of(cluster: &Cluster, core: &str, round: usize) -> anyhow::Result<(Vec<f64>, usize)> {
    let secret = std::fs::read_to_string(cluster.secret_file())?.trim_end().to_owned();
    let edges: Vec<_> = cluster
        .of_kind("eu", Kind::Edge)?
        .iter()
        .map(|edge| edge.address("http"))
        .collect::<Result<_, _>>()?;
    let sign = |user: &str| {
        token::signed(&json!({ "sub": user, "iat": token::now(), "exp": token::now() + 3600 }), &secret)
    };
    let begin = Instant::now();
    let recorder = Recorder::default();
    let channels: Vec<String> =
        (0..CHANNELS).map(|number| format!("chat:death-{}-{round}-{number}", std::process::id())).collect();
    let (mut publishers, mut subscribers) = (Vec::new(), Vec::new());
    for (number, channel) in channels.iter().enumerate() {
        let mut places = edges.clone();
        places.rotate_left(number % edges.len());
        let places = Places::new(places);
        let name = format!("s-{number}");
        let subscriber = Subscriber::start(places.clone(), &recorder, &name, channel, Some(sign(&name)));
        until("a subscriber", || subscriber.is_ready().then_some(()))?;
        subscribers.push(subscriber);
        let name = format!("p-{number}");
        let token = Some(sign(&name));
        publishers.push(Publisher::start_paced(places, &recorder, &name, channel, token, PAUSE));
    }
    progress(&publishers)?;
    let died = begin.elapsed();
    cluster.kill9(core)?;
    progress(&publishers)?;
    publishers.into_iter().try_for_each(Publisher::finish)?;
    let reader = sign("reader");
    for (subscriber, channel) in subscribers.into_iter().zip(&channels) {
        subscriber.finish(read_history(edges[0], &recorder, channel, Some(&reader))?)?;
    }
    let history = recorder.history();
    checkers::assert_holds(&history)?;
    let acknowledged =
        history.events.iter().filter(|event| matches!(event.kind, Event::Acknowledged { .. })).count();
    Ok((pauses(&history, died)?, acknowledged))
}

fn progress(publishers: &[Publisher]) -> anyhow::Result<()> {
    let before: Vec<u64> = publishers.iter().map(Publisher::acknowledged).collect();
    until("every channel to go on", || {
        let all = publishers.iter().zip(&before).all(|(it, before)| it.acknowledged() >= before + PROGRESS);
        all.then_some(())
    })
}

/// The longest time between two acknowledgements that ended after the death, publisher by publisher.
fn pauses(history: &History, died: Duration) -> anyhow::Result<Vec<f64>> {
    let mut last: HashMap<Arc<str>, Duration> = HashMap::new();
    let mut longest: HashMap<Arc<str>, Duration> = HashMap::new();
    for event in &history.events {
        if !matches!(event.kind, Event::Acknowledged { .. }) {
            continue;
        }
        let before = last.insert(event.process.clone(), event.at);
        if let Some(before) = before.filter(|_| event.at > died) {
            let pause = longest.entry(event.process.clone()).or_default();
            *pause = (*pause).max(event.at - before);
        }
    }
    let mut pauses: Vec<f64> = longest.values().map(Duration::as_secs_f64).collect();
    pauses.sort_by(f64::total_cmp);
    anyhow::ensure!(pauses.len() == CHANNELS, "only {} channels went on", pauses.len());
    pauses.last().context("no channel")?;
    Ok(pauses)
}
