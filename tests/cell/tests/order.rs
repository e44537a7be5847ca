//! Clients that send many publishes before they wait keep their order, while cores are killed, frozen, join and leave.
//!
//! A cell of its own with three cores and two edges. Each client publishes to a few channels, twenty at once, up to a hundred on
//! their way; what is refused or unknown it sends again under the same id. Subscribers at both edges must see what a client
//! published to a channel in that client's order, each once.
#![allow(clippy::print_stdout, reason = "a test program says what it does")]

use std::collections::{BTreeMap, VecDeque};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use skywave_cluster::{Cluster, ClusterOptions};
use skywave_harness::socket::Received;
use skywave_harness::{Socket, token, wait};

const NAME: &str = "clients_keep_their_order_while_cores_die_freeze_join_and_leave";
const CORES: [&str; 3] = ["eu-core-1", "eu-core-2", "eu-core-3"];
const EDGES: [&str; 2] = ["eu-edge-1", "eu-edge-2"];
const CHANNELS: [&str; 3] = ["chat:order-1", "chat:order-2", "chat:order-3"];
const CLIENTS: usize = 4;
/// Publishes sent at once, and those on their way at most.
const BATCH: u64 = 20;
const WINDOW: usize = 100;
const PAUSE: Duration = Duration::from_millis(40);
const AGAIN: Duration = Duration::from_millis(300);
const FROZEN: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        println!("{NAME}: test");
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if !wanted.is_empty() && !wanted.iter().any(|part| NAME.contains(part.as_str())) {
        return ExitCode::SUCCESS;
    }
    match run() {
        Ok(()) => {
            println!("test {NAME} ... ok");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("test {NAME} ... FAILED\n{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What all clients share.
struct Crowd {
    stop: AtomicBool,
    acknowledged: [AtomicU64; CLIENTS],
    failed: AtomicBool,
}

/// What a client has done.
#[derive(Default)]
struct Client {
    /// Publishes to each channel, all of which were acknowledged.
    published: [u64; CHANNELS.len()],
    errors: BTreeMap<String, u64>,
    /// The longest time in which something was on its way and nothing was acknowledged.
    stood: Duration,
}

fn run() -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("skywave-order-").tempdir()?;
    let options = ClusterOptions {
        regions: vec!["eu".into()],
        cores: CORES.len(),
        ..ClusterOptions::new(folder.path().join("cell"))
    };
    let cluster = Cluster::up(&options)?;
    let secret = std::fs::read_to_string(cluster.secret_file())?;
    let connect = |edge: &str, user: &str| {
        let claims = json!({ "sub": user, "iat": token::now(), "exp": token::now() + 3_600 });
        let token = token::signed(&claims, secret.trim_end());
        Socket::connect(cluster.member(edge)?.address("http")?, Some(&token))
    };
    let mut subscribers = Vec::new();
    for edge in EDGES {
        let mut socket = connect(edge, "reader")?;
        CHANNELS.iter().try_for_each(|channel| socket.subscribe(channel).map(drop))?;
        subscribers.push(socket);
    }
    let mut sockets = Vec::new();
    for index in 0..CLIENTS {
        sockets.push(connect(EDGES[index % EDGES.len()], &format!("client-{index}"))?);
    }

    let crowd = Crowd {
        stop: AtomicBool::new(false),
        acknowledged: Default::default(),
        failed: AtomicBool::new(false),
    };
    let total = AtomicU64::new(u64::MAX);
    let (crowd, total) = (&crowd, &total);
    let outcome = std::thread::scope(|scope| -> anyhow::Result<()> {
        let readers: Vec<_> = subscribers
            .into_iter()
            .map(|socket| scope.spawn(move || guarded(crowd, || read(socket, total))))
            .collect();
        let clients: Vec<_> = sockets
            .into_iter()
            .enumerate()
            .map(|(index, socket)| scope.spawn(move || guarded(crowd, || publish(index, socket, crowd))))
            .collect();

        let outcome = play(&cluster, crowd);
        crowd.stop.store(true, Ordering::SeqCst);
        let mut published = Vec::new();
        for client in clients {
            let client = client.join().map_err(|_| anyhow::anyhow!("a client panicked"))?;
            published.push(client.context("a client")?);
        }
        let count = published.iter().flat_map(|client| &client.published).sum();
        total.store(count, Ordering::SeqCst);
        outcome?;
        println!("{count} publications");
        for (index, client) in published.iter().enumerate() {
            let (errors, stood) = (&client.errors, client.stood.as_secs_f64());
            println!("  client {index} stood still for {stood:.1} s at most; refused or unknown: {errors:?}");
        }
        for (edge, reader) in EDGES.iter().zip(readers) {
            let seen = reader.join().map_err(|_| anyhow::anyhow!("a subscriber panicked"))?;
            judge(&published, &seen.context("a subscriber")?).with_context(|| format!("at {edge}"))?;
        }
        Ok(())
    });
    if outcome.is_err() {
        for edge in EDGES {
            let log = std::fs::read_to_string(cluster.member(edge)?.log()).unwrap_or_default();
            println!("--- {edge}\n{log}");
        }
    }
    outcome?;
    cluster.down()
}

/// Tells the others when one has failed, so that nobody waits for it.
fn guarded<T>(crowd: &Crowd, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let outcome = work();
    if outcome.is_err() {
        crowd.failed.store(true, Ordering::SeqCst);
    }
    outcome
}

/// The faults, each followed by all clients' getting on.
fn play(cluster: &Cluster, crowd: &Crowd) -> anyhow::Result<()> {
    let begin = Instant::now();
    let get_on = |what: &str| {
        let before: Vec<u64> = crowd.acknowledged.iter().map(|count| count.load(Ordering::SeqCst)).collect();
        wait::until(what, || {
            let now = crowd.acknowledged.iter().map(|count| count.load(Ordering::SeqCst));
            let all = now.zip(&before).all(|(now, before)| now >= before + 2 * WINDOW as u64);
            (all || crowd.failed.load(Ordering::SeqCst)).then_some(())
        })?;
        println!("  {:5.1} s: {what}", begin.elapsed().as_secs_f64());
        Ok::<_, anyhow::Error>(())
    };
    get_on("publishing")?;
    cluster.kill9(CORES[0])?;
    get_on("a core was killed")?;
    cluster.restart(CORES[0])?;
    get_on("it joined again")?;
    cluster.pause(CORES[1])?;
    std::thread::sleep(FROZEN);
    get_on("another one is frozen")?;
    cluster.resume(CORES[1])?;
    get_on("it woke up")?;
    cluster.terminate(CORES[2])?;
    get_on("one left")?;
    cluster.restart(CORES[2])?;
    get_on("it joined again")?;
    cluster.pause(CORES[0])?;
    cluster.kill9(CORES[1])?;
    get_on("one was frozen and one killed together")?;
    cluster.resume(CORES[0])?;
    cluster.restart(CORES[1])?;
    get_on("both are back")
}

fn publish(index: usize, mut socket: Socket, crowd: &Crowd) -> anyhow::Result<Client> {
    let mut client = Client::default();
    let mut open: BTreeMap<u32, (usize, u64)> = BTreeMap::new();
    let mut again: VecDeque<(Instant, usize, u64)> = VecDeque::new();
    let (mut turn, mut moved) = (0, Instant::now());
    loop {
        let stop = crowd.stop.load(Ordering::SeqCst);
        if stop && open.is_empty() && again.is_empty() {
            return Ok(client);
        }
        anyhow::ensure!(moved.elapsed() < wait::PATIENCE, "nothing is acknowledged any more");
        while let Some((_, channel, number)) = again.pop_front_if(|(at, ..)| *at <= Instant::now()) {
            let id = start(&mut socket, index, channel, number)?;
            open.insert(id, (channel, number));
        }
        if !stop && open.len() + again.len() + BATCH as usize <= WINDOW {
            if open.is_empty() {
                moved = Instant::now();
            }
            for _ in 0..BATCH {
                let number = client.published[turn];
                client.published[turn] += 1;
                let id = start(&mut socket, index, turn, number)?;
                open.insert(id, (turn, number));
            }
            turn = (turn + 1) % CHANNELS.len();
        }
        let until = Instant::now() + PAUSE;
        while let Some(received) = socket.receive_within(until.saturating_duration_since(Instant::now()))? {
            let Received::Message(message) = received else {
                anyhow::bail!("instead of an answer: {received:?}")
            };
            let id = message["id"].as_u64().and_then(|id| u32::try_from(id).ok()).unwrap_or_default();
            let Some((channel, number)) = open.remove(&id) else { continue };
            if message.get("published").is_some() {
                client.stood = client.stood.max(moved.elapsed());
                moved = Instant::now();
                crowd.acknowledged[index].fetch_add(1, Ordering::SeqCst);
            } else {
                let code = message["error"]["code"].as_str().unwrap_or_default().to_owned();
                anyhow::ensure!(message["error"]["retry_after_ms"].is_u64(), "refused for good: {message}");
                *client.errors.entry(code).or_default() += 1;
                again.push_back((Instant::now() + AGAIN, channel, number));
            }
        }
    }
}

fn start(socket: &mut Socket, client: usize, channel: usize, number: u64) -> anyhow::Result<u32> {
    let (name, id) = (CHANNELS[channel], format!("{client}-{channel}-{number}"));
    socket.start("publish", json!({ "channel": name, "id": id, "data": [client, number] }))
}

/// By channel, what has come, in order: who published it and its number.
type Seen = BTreeMap<String, Vec<(u64, u64)>>;

fn read(mut socket: Socket, total: &AtomicU64) -> anyhow::Result<Seen> {
    let (mut seen, mut count, mut last) = (Seen::new(), 0, Instant::now());
    while count < total.load(Ordering::SeqCst) {
        let Some(received) = socket.receive_within(PAUSE)? else {
            // Whoever publishes has failed, or something does not come: the verdict says what.
            if last.elapsed() > 2 * wait::PATIENCE {
                break;
            }
            continue;
        };
        let Received::Message(message) = received else { anyhow::bail!("instead of a push: {received:?}") };
        let publication = message.get("pub").with_context(|| format!("no publication: {message}"))?;
        let channel = publication["channel"].as_str().unwrap_or_default().to_owned();
        let number = |value: &Value| value.as_u64().context("no number");
        let data = &publication["data"];
        seen.entry(channel).or_default().push((number(&data[0])?, number(&data[1])?));
        (count, last) = (count + 1, Instant::now());
    }
    Ok(seen)
}

fn judge(published: &[Client], seen: &Seen) -> anyhow::Result<()> {
    for (index, client) in published.iter().enumerate() {
        for (channel, count) in CHANNELS.iter().zip(client.published) {
            let all = seen.get(*channel).map(Vec::as_slice).unwrap_or_default();
            let its = all.iter().filter(|(from, _)| *from == index as u64).map(|(_, number)| *number);
            let its: Vec<u64> = its.collect();
            let wrong = (0..).zip(&its).find(|(due, number)| due != *number);
            if let Some((due, _)) = wrong {
                let around = &its[(due as usize).saturating_sub(3)..(due as usize + 5).min(its.len())];
                anyhow::bail!("{channel}: client {index}'s publication {due} is out of order: {around:?}");
            }
            anyhow::ensure!(
                its.len() as u64 == count,
                "{channel}: {} of {count} of client {index}",
                its.len()
            );
        }
    }
    Ok(())
}
