//! A cluster under load: in every region publishers and subscribers of the same channels, each of which goes to another
//! edge of its region when its own fails.

use std::time::{Duration, Instant};

use anyhow::Context;
use parking_lot::Mutex;
use serde_json::json;
use skywave_cluster::{Cluster, Kind};
use skywave_harness::checkers::Violation;
use skywave_harness::intruder::Intruder;
use skywave_harness::participant::{Places, Publisher, Subscriber, read_history};
use skywave_harness::{History, Kind as Happened, Part, Recorder, Socket, checkers, token};
use skywave_servers::volume::Volume;

use crate::attendance::Attendance;
use crate::measure::Figures;
use crate::trouble;

const CHANNELS: usize = 2;
/// Between two publishes of one publisher: faults are to be met in flight, not to be drowned in load.
const PAUSE: Duration = Duration::from_millis(20);
/// Acknowledgements in all, and publications each subscriber must have seen, before a fault and after it.
const PROGRESS: u64 = 100;
/// Longest wait for the cluster to serve again; only a failure waits so long.
const RECOVERY: Duration = Duration::from_secs(120);

/// What a publication may take to somebody else while a client is stuck: tells waiting for that client, which would last
/// until it is closed, from a busy machine.
const WAITS_FOR_NOBODY: Duration = Duration::from_secs(20);

/// A cluster with the load of one run.
pub struct Stage<'a> {
    pub cluster: &'a Cluster,
    /// The disk of its own that one of the servers has.
    pub volume: Option<&'a Volume>,
    recorder: Recorder,
    secret: String,
    run: String,
    publishers: Vec<Publisher>,
    subscribers: Vec<(usize, Subscriber)>,
    intruders: Vec<Intruder>,
    attendance: Attendance,
    /// Clients that do not read, by choice of the fault.
    stuck: Mutex<Vec<&'static str>>,
}

impl<'a> Stage<'a> {
    /// Puts the load on, and returns when all of it flows. `run` names the channels, so that runs do not meet.
    pub fn begin(cluster: &'a Cluster, run: &str) -> anyhow::Result<Self> {
        let secret = std::fs::read_to_string(cluster.secret_file())?.trim_end().to_owned();
        let regions = cluster.regions()?;
        let places = regions.iter().map(|region| Ok((region.clone(), edges(cluster, region)?)));
        let places: Vec<_> = places.collect::<anyhow::Result<_>>()?;
        let present = ["here", "there"].map(|rest| format!("chat:{run}-{rest}")).into();
        let attendance = Attendance::begin(&places, present, |user| sign(user, &secret));
        let mut stage = Self {
            cluster,
            volume: None,
            recorder: Recorder::default(),
            secret,
            run: run.to_owned(),
            publishers: Vec::new(),
            subscribers: Vec::new(),
            intruders: Vec::new(),
            attendance,
            stuck: Mutex::default(),
        };
        for region in &regions {
            let edges = stage.edges(region)?;
            for (number, _) in edges.iter().enumerate() {
                for channel in 0..CHANNELS {
                    let name = format!("s-{region}-{number}-{channel}");
                    let places = turned(&edges, number);
                    let token = Some(stage.token(&name));
                    let subscriber =
                        Subscriber::start(places, &stage.recorder, &name, &stage.channel(channel), token);
                    stage.subscribers.push((channel, subscriber));
                }
            }
        }
        stage.wait("every subscriber", |stage| stage.subscribers.iter().all(|(_, it)| it.is_ready()))?;
        // Somebody publishes in every region and to every channel.
        for at in 0..regions.len().max(CHANNELS) {
            let region = &regions[at % regions.len()];
            let edges = stage.edges(region)?;
            let name = format!("p-{region}-{at}");
            let (places, token) = (turned(&edges, at), Some(stage.token(&name)));
            let channel = stage.channel(at % CHANNELS);
            let publisher = Publisher::start_paced(places, &stage.recorder, &name, &channel, token, PAUSE);
            stage.publishers.push(publisher);
            let (token, expired) = (stage.token("intruder"), expired("intruder", &stage.secret));
            let name = format!("x-{region}");
            let intruder = Intruder::start(turned(&edges, at), &stage.recorder, &name, token, expired);
            stage.intruders.push(intruder);
        }
        stage.wait("everybody to be present", |stage| stage.attendance.is_settled())?;
        stage.attendance.move_about();
        stage.goes_on("the load to flow")?;
        stage.wait("every intruder to be turned down", |stage| {
            stage.intruders.iter().all(|intruder| intruder.denied() > 0)
        })?;
        Ok(stage)
    }

    /// Waits until every publisher has been acknowledged more, and every subscriber has been delivered more. Answers how
    /// long that took.
    pub fn goes_on(&self, what: &str) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        let acknowledged: Vec<u64> = self.publishers.iter().map(Publisher::acknowledged).collect();
        let seen: Vec<u64> = self.subscribers.iter().map(|(_, it)| it.seen()).collect();
        let share = PROGRESS / self.publishers.len().max(1) as u64;
        self.wait(what, |stage| {
            let published = stage
                .publishers
                .iter()
                .zip(&acknowledged)
                .all(|(it, before)| it.acknowledged() > before + share);
            let followed =
                stage.subscribers.iter().zip(&seen).all(|((_, it), before)| it.seen() > before + share);
            published && followed
        })?;
        Ok(begin.elapsed())
    }

    /// Waits for something else that is to happen, as long as for the cluster to serve again.
    pub fn wait_for(&self, what: &str, happened: impl Fn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let mut trouble = Ok(());
        self.wait(what, |_| match happened() {
            Ok(happened) => happened,
            Err(error) => {
                trouble = Err(error);
                true
            }
        })?;
        trouble
    }

    /// Acknowledgements so far.
    pub fn acknowledged(&self) -> u64 {
        self.publishers.iter().map(Publisher::acknowledged).sum()
    }

    /// Says that from now on, until [`Self::is_back`], this part does nothing. Of the log: what is published meanwhile cannot
    /// be acknowledged.
    pub fn is_away(&self, part: Part) {
        self.recorder.process("stage").record(Happened::Away { part });
    }

    pub fn is_back(&self, part: Part) {
        self.recorder.process("stage").record(Happened::Back { part });
    }

    /// Says that a client of this name does not read: nobody else may wait for it, or be closed (I6).
    pub fn is_stuck(&self, name: &'static str) {
        self.stuck.lock().push(name);
    }

    /// Everybody who writes to the same history as the load does.
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Takes the load off and judges the run: I1–I5, I7 and I11 over the whole history, read back at an edge of the last region;
    /// I6 where somebody was stuck; and I12 by what every edge answers in the end.
    pub fn judge(self) -> anyhow::Result<(Figures, History)> {
        let Self {
            cluster,
            recorder,
            secret,
            run,
            publishers,
            subscribers,
            intruders,
            attendance,
            stuck,
            volume: _,
        } = self;
        drop(intruders);
        let every_edge =
            cluster.regions()?.iter().map(|region| edges(cluster, region)).collect::<Result<Vec<_>, _>>()?;
        let (settled, presence) = std::thread::scope(|scope| {
            // Leases run out while the rest settles.
            let presence = scope.spawn(|| attendance.judge(every_edge.concat(), &secret));
            let settled = settle(cluster, &recorder, &secret, &run, publishers, subscribers);
            (settled, presence.join())
        });
        let history = recorder.history();
        let presence = presence.map_err(|_| anyhow::anyhow!("the judge of presence panicked"))?;
        let found = [violations(&history, &stuck.into_inner()), presence].concat();
        settled
            .and_then(|()| checkers::assert_none(&history, &found))
            .map_err(|error| anyhow::anyhow!("{error:#}\n{}", trouble::clients(&history)))?;
        Ok((Figures::of(&history), history))
    }

    /// A raw connection to the first edge of a region.
    pub fn connect(&self, region: &str, user: &str) -> anyhow::Result<Socket> {
        let edges = self.edges(region)?;
        Socket::connect(edges[0], Some(&self.token(user)))
    }

    pub fn edges(&self, region: &str) -> anyhow::Result<Vec<std::net::SocketAddr>> {
        edges(self.cluster, region)
    }

    pub fn token(&self, user: &str) -> String {
        sign(user, &self.secret)
    }

    /// A channel of this run beside those of the load.
    pub fn side_channel(&self, rest: &str) -> String {
        format!("chat:{}-{rest}", self.run)
    }

    fn channel(&self, number: usize) -> String {
        name(&self.run, number)
    }

    fn wait(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + RECOVERY;
        while !holds(self) {
            if Instant::now() >= deadline {
                let acknowledged: Vec<u64> = self.publishers.iter().map(Publisher::acknowledged).collect();
                let seen: Vec<u64> = self.subscribers.iter().map(|(_, it)| it.seen()).collect();
                let (history, file) = so_far(self);
                let saw = Figures::of(&history).seen();
                anyhow::bail!(
                    "waited {RECOVERY:?} in vain for {what}: acknowledged {acknowledged:?}, seen {seen:?}; clients saw \
                     {saw}; history in {}\n{}",
                    file.display(),
                    trouble::clients(&history)
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

/// Lets everybody get what is outstanding, up to the head of each channel.
fn settle(
    cluster: &Cluster,
    recorder: &Recorder,
    secret: &str,
    run: &str,
    publishers: Vec<Publisher>,
    subscribers: Vec<(usize, Subscriber)>,
) -> anyhow::Result<()> {
    publishers.into_iter().try_for_each(Publisher::finish)?;
    let region = cluster.regions()?.pop().context("a cluster without regions")?;
    let edge = edges(cluster, &region)?.pop().context("a region without edges")?;
    let reader = sign("reader", secret);
    let mut heads = Vec::new();
    for channel in 0..CHANNELS {
        heads.push(read_history(edge, recorder, &name(run, channel), Some(&reader))?);
    }
    for (channel, subscriber) in subscribers {
        subscriber.finish(heads[channel])?;
    }
    Ok(())
}

fn violations(history: &History, stuck: &[&str]) -> Vec<Violation> {
    let mut found = checkers::check(history);
    found.extend(checkers::outages_are_survived(history));
    found.extend(checkers::nobody_gets_in(history));
    if !stuck.is_empty() {
        found.extend(checkers::slow_costs_only_itself(history, stuck, WAITS_FOR_NOBODY));
    }
    found
}

/// The history so far, and the file it was written to.
fn so_far(stage: &Stage<'_>) -> (History, std::path::PathBuf) {
    let history = stage.recorder.history();
    let file =
        std::env::temp_dir().join(format!("skywave-history-{}-{}.jsonl", std::process::id(), stage.run));
    if let Err(error) = std::fs::write(&file, history.to_lines()) {
        eprintln!("the history cannot be written to {}: {error}", file.display());
    }
    (history, file)
}

fn name(run: &str, channel: usize) -> String {
    format!("chat:{run}-{channel}")
}

fn edges(cluster: &Cluster, region: &str) -> anyhow::Result<Vec<std::net::SocketAddr>> {
    cluster.of_kind(region, Kind::Edge)?.iter().map(|edge| edge.address("http")).collect()
}

/// The edges, beginning with another one.
fn turned(edges: &[std::net::SocketAddr], by: usize) -> Places {
    let mut edges = edges.to_vec();
    let by = by % edges.len().max(1);
    edges.rotate_left(by);
    Places::new(edges)
}

fn sign(user: &str, secret: &str) -> String {
    token::signed(&json!({ "sub": user, "iat": token::now(), "exp": token::now() + 24 * 3600 }), secret)
}

/// For nobody any more.
fn expired(user: &str, secret: &str) -> String {
    token::signed(&json!({ "sub": user, "iat": token::now() - 7200, "exp": token::now() - 3600 }), secret)
}
