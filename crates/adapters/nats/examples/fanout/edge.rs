//! An edge: a process of its own that takes orders on its standard input.
//!
//! `subscribe COUNT`, `listen SECONDS`, `churn PER_SECOND SECONDS`; each is answered with one line.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use prometheus_client::registry::Registry;
use skywave_nats::{NatsBus, NatsConfig};
use skywave_ports::{Bus, BusMessage, Inbox, Subscription};
use tokio::sync::mpsc::Receiver;
use tokio::time::{interval, sleep_until};

use crate::latency::{Latencies, age};
use crate::{Outcome, channel, raw};

/// Subscriptions on their way at a time.
const AT_ONCE: usize = 512;

/// The starter's side.
pub(crate) struct Edge {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Edge {
    pub(crate) fn start(url: &str, way: &str, from: u32) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--as-edge", url, "--way", way, "--from", &from.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (orders, answers) = child.stdin.take().zip(child.stdout.take()).ok_or("no pipes")?;
        let mut edge = Self { child, orders, answers: BufReader::new(answers) };
        edge.answer()?;
        Ok(edge)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn order(&mut self, order: &str) -> Outcome<()> {
        Ok(writeln!(self.orders, "{order}")?)
    }

    pub(crate) fn answer(&mut self) -> Outcome<String> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err("the edge has ended".into());
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Which channels are taken: a run of numbers at first; then one that was given up a while ago for each that is given up.
pub(crate) struct Rounds {
    next: u32,
    given_up: VecDeque<u32>,
}

impl Rounds {
    /// How many others are given up in between.
    const REST: usize = 250;

    pub(crate) fn new(from: u32) -> Self {
        Self { next: from, given_up: VecDeque::new() }
    }

    pub(crate) fn first(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    pub(crate) fn exchange(&mut self, given_up: u32) -> u32 {
        self.given_up.push_back(given_up);
        if self.given_up.len() <= Self::REST {
            return self.first();
        }
        self.given_up.pop_front().unwrap_or_else(|| self.first())
    }
}

/// The process itself.
pub(crate) fn run(url: &str, way: &str, from: u32) -> Outcome<()> {
    if way == "raw" {
        return raw::run(url, from);
    }
    let exact_subscriptions = match way {
        "exact" => usize::MAX,
        "wildcard" => 0,
        _ => NatsConfig::default().exact_subscriptions,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let servers = vec![url.to_owned()];
        let config = NatsConfig {
            servers,
            exact_subscriptions,
            subscribe_timeout: Duration::from_secs(120),
            ..NatsConfig::default()
        };
        let mut registry = Registry::default();
        let bus = NatsBus::connect(config, &mut registry).await?;
        let (inbox, messages) = Inbox::new(100_000);
        let mut node =
            Node { bus, registry, inbox, messages, held: VecDeque::new(), rounds: Rounds::new(from) };
        println!("ready");
        for line in std::io::stdin().lines() {
            let line = line?;
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["subscribe", count] => node.subscribe(count.parse()?).await?,
                ["listen", seconds] => println!("{}", node.listen(0, seconds.parse()?).await?),
                ["churn", rate, seconds] => {
                    println!("{}", node.listen(rate.parse()?, seconds.parse()?).await?)
                }
                _ => return Err(format!("what is {line:?}?").into()),
            }
        }
        Ok(())
    })
}

struct Node {
    bus: NatsBus,
    registry: Registry,
    inbox: Inbox,
    messages: Receiver<BusMessage>,
    held: VecDeque<(u32, Subscription)>,
    rounds: Rounds,
}

impl Node {
    async fn subscribe(&mut self, count: u32) -> Outcome<()> {
        let mut under_way = FuturesUnordered::new();
        for _ in 0..count {
            if under_way.len() >= AT_ONCE
                && let Some((number, subscription)) = under_way.next().await
            {
                self.held.push_back((number, subscription?));
            }
            let (bus, inbox, number) = (&self.bus, &self.inbox, self.rounds.first());
            under_way.push(async move { (number, bus.subscribe(&channel(number), None, inbox).await) });
        }
        while let Some((number, subscription)) = under_way.next().await {
            self.held.push_back((number, subscription?));
        }
        println!("subscribed");
        Ok(())
    }

    /// Counts what arrives; meanwhile gives up `churn` subscriptions a second and takes them again.
    async fn listen(&mut self, churn: u32, seconds: u64) -> Outcome<String> {
        let (received, unwanted) = (self.metric("received"), self.metric("unwanted"));
        let (began, mut exchanged) = (Instant::now(), 0);
        let end = tokio::time::Instant::now() + Duration::from_secs(seconds);
        let (mut arrived, mut confirmed) = (Latencies::default(), Latencies::default());
        let mut under_way = FuturesUnordered::new();
        let mut tick = interval(Duration::from_millis(1));
        loop {
            tokio::select! {
                Some(message) = self.messages.recv() => {
                    if let Some(age) = age(&message.payload) {
                        arrived.add(age);
                    }
                }
                Some(result) = under_way.next() => {
                    let (asked, number, subscription): (Instant, u32, Result<Subscription, _>) = result;
                    confirmed.add(asked.elapsed());
                    self.held.push_back((number, subscription?));
                }
                _ = tick.tick(), if churn > 0 && under_way.len() < AT_ONCE => {
                    let due = (began.elapsed().as_secs_f64() * f64::from(churn)) as u32;
                    while exchanged < due && under_way.len() < AT_ONCE {
                        let Some((number, given_up)) = self.held.pop_front() else { break };
                        drop(given_up);
                        let (bus, inbox, number) = (self.bus.clone(), self.inbox.clone(), self.rounds.exchange(number));
                        under_way.push(async move {
                            let asked = Instant::now();
                            (asked, number, bus.subscribe(&channel(number), None, &inbox).await)
                        });
                        exchanged += 1;
                    }
                }
                () = sleep_until(end) => break,
            }
        }
        while let Some((_, number, subscription)) = under_way.next().await {
            self.held.push_back((number, subscription?));
        }
        let mut line = format!(
            "{} wanted of {} received ({} unwanted), {}",
            arrived.count(),
            self.metric("received") - received,
            self.metric("unwanted") - unwanted,
            arrived.show(),
        );
        line.push_str(&format!(
            "; {} subscriptions exchanged, {}; {} exact, {} wildcards, {} dropped",
            confirmed.count(),
            confirmed.show(),
            self.metric("subscriptions{kind=\"exact\"}"),
            self.metric("subscriptions{kind=\"wildcard\"}"),
            self.inbox.dropped() + self.metric("overflowed"),
        ));
        Ok(line)
    }

    fn metric(&self, name: &str) -> u64 {
        let mut text = String::new();
        if prometheus_client::encoding::text::encode(&mut text, &self.registry).is_err() {
            return 0;
        }
        let value = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
        };
        value(&format!("skywave_nats_{name}_total"))
            .or(value(&format!("skywave_nats_{name}")))
            .unwrap_or_default()
    }
}
