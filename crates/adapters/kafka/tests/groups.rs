//! Who owns which partition when members come, go, die and freeze.
//!
//! A member that dies or freezes is a process of its own: this program again, with [`MEMBER`] set.

mod kafka;

use std::collections::BTreeSet;
use std::io::Write;
use std::time::{Duration, Instant};

use skywave_kafka::KafkaConfig;
use skywave_ports::log::{Assignment, Assignments, Log, LogError, Partition};
use skywave_servers::{Kafka, KafkaOptions, Process, wait};

/// `brokers cell` for the member process.
const MEMBER: &str = "SKYWAVE_TEST_MEMBER";
const PARTITIONS: u32 = 8;

fn config(kafka: &Kafka, cell: &str) -> KafkaConfig {
    KafkaConfig { partitions: PARTITIONS, ..kafka::config(kafka, cell) }
}

/// Not a test: what the member process runs.
#[test]
#[ignore = "run by the other tests as a process of its own"]
fn member() {
    let Ok(given) = std::env::var(MEMBER) else { return };
    let (brokers, cell) = given.split_once(' ').expect("brokers and cell");
    let config = KafkaConfig {
        brokers: kafka::addresses(brokers),
        cell: cell.into(),
        partitions: PARTITIONS,
        replication: 1,
        min_insync: 1,
        ..KafkaConfig::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let log = kafka::open(config).await;
        let mut assignments = log.join("owners").await.expect("joining");
        let mut say = std::io::stdout();
        loop {
            let line = match assignments.next().await.expect("an assignment") {
                Assignment::Assigned(partition) => format!("+{partition}"),
                Assignment::Revoked(partition) => format!("-{partition}"),
            };
            writeln!(say, "{line}").and_then(|()| say.flush()).expect("it is written");
        }
    });
}

struct OtherProcess {
    process: Process,
    _folder: tempfile::TempDir,
}

impl OtherProcess {
    fn start(kafka: &Kafka, cell: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let program = std::env::current_exe().expect("this program");
        let mut process = Process::new("member", program, folder.path().join("log"))
            .args(["--exact", "member", "--ignored", "--nocapture"])
            .env(MEMBER, format!("{} {cell}", kafka.bootstrap()));
        process.start().expect("a process");
        Self { process, _folder: folder }
    }

    /// What it says to own, by its changes in order.
    fn owned(&self) -> BTreeSet<Partition> {
        let mut owned = BTreeSet::new();
        for line in self.process.log().lines() {
            if let Some(partition) = line.strip_prefix('+').and_then(|number| number.parse().ok()) {
                assert!(owned.insert(partition), "assigned twice");
            } else if let Some(partition) = line.strip_prefix('-').and_then(|number| number.parse().ok()) {
                assert!(owned.remove(&partition), "revoked without being owned");
            }
        }
        owned
    }

    fn owns(&self, what: &str, condition: impl Fn(&BTreeSet<Partition>) -> bool) {
        wait::until(what, || condition(&self.owned()).then_some(())).expect("ownership");
    }
}

/// A member in this process.
struct Member {
    assignments: Box<dyn Assignments>,
    owned: BTreeSet<Partition>,
}

impl Member {
    async fn join(log: &impl Log) -> Self {
        Self { assignments: log.join("owners").await.expect("joining"), owned: BTreeSet::new() }
    }

    async fn step(&mut self) {
        match self.assignments.next().await.expect("an assignment") {
            Assignment::Assigned(partition) => assert!(self.owned.insert(partition), "assigned twice"),
            Assignment::Revoked(partition) => {
                assert!(self.owned.remove(&partition), "revoked without being owned")
            }
        }
    }

    async fn until(&mut self, what: &str, condition: impl Fn(&BTreeSet<Partition>) -> bool) {
        let steps = async {
            while !condition(&self.owned) {
                self.step().await;
            }
        };
        tokio::time::timeout(wait::PATIENCE, steps)
            .await
            .unwrap_or_else(|_| panic!("waited in vain for {what}"));
    }

    async fn owns_all(&mut self) {
        self.until("everything", |owned| owned.len() == PARTITIONS as usize).await;
    }
}

#[tokio::test]
async fn what_a_killed_member_owned_goes_to_another() {
    let kafka = Kafka::start().expect("a broker");
    let mut other = OtherProcess::start(&kafka, "killed");
    other.owns("everything", |owned| owned.len() == PARTITIONS as usize);
    let log = kafka::open(config(&kafka, "killed")).await;
    let mut member = Member::join(&log).await;
    member.until("a share", |owned| owned.len() == PARTITIONS as usize / 2).await;
    other.owns("the rest", |owned| owned.len() == PARTITIONS as usize / 2);
    let killed = Instant::now();
    other.process.kill9().expect("a kill");
    member.owns_all().await;
    eprintln!("a killed member's partitions were taken over after {:?}", killed.elapsed());
}

#[tokio::test]
async fn a_frozen_member_that_wakes_up_learns_what_it_owns_no_more() {
    let kafka = Kafka::start().expect("a broker");
    let other = OtherProcess::start(&kafka, "frozen");
    other.owns("everything", |owned| owned.len() == PARTITIONS as usize);
    let log = kafka::open(config(&kafka, "frozen")).await;
    let mut member = Member::join(&log).await;
    member.until("a share", |owned| !owned.is_empty()).await;
    other.process.pause().expect("a pause");
    member.owns_all().await;
    other.process.resume().expect("it goes on");
    member.until("a share again", |owned| owned.len() == PARTITIONS as usize / 2).await;
    let mine = member.owned.clone();
    other.owns("exactly the rest", |theirs| {
        theirs.len() + mine.len() == PARTITIONS as usize && theirs.is_disjoint(&mine)
    });
}

#[tokio::test]
async fn a_member_that_leaves_hands_over_at_once() {
    let kafka = Kafka::start().expect("a broker");
    let (leaving, staying) =
        (kafka::open(config(&kafka, "leaving")).await, kafka::open(config(&kafka, "leaving")).await);
    let mut first = Member::join(&leaving).await;
    first.owns_all().await;
    let mut second = Member::join(&staying).await;
    second.until("a share", |owned| !owned.is_empty()).await;
    let left = Instant::now();
    drop(first);
    // Closing has told the group.
    leaving.close().await;
    second.owns_all().await;
    eprintln!("a leaving member's partitions were taken over after {:?}", left.elapsed());
}

#[tokio::test]
async fn after_a_storm_of_joins_and_leaves_everything_is_owned_once() {
    let kafka = Kafka::start().expect("a broker");
    let log = kafka::open(config(&kafka, "storm")).await;
    let mut steady = Member::join(&log).await;
    steady.owns_all().await;
    for round in 0..6 {
        let mut others = Vec::new();
        for _ in 0..=round % 3 {
            others.push(Member::join(&log).await);
        }
        // Some leave before they ever had anything.
        if round % 2 == 0 {
            let share = others.last_mut().expect("one joined");
            tokio::select! {
                () = share.until("a share", |owned| !owned.is_empty()) => {}
                () = async { loop { steady.step().await } } => {}
            }
        }
    }
    steady.owns_all().await;
    let mut other = Member::join(&log).await;
    other.until("half", |owned| owned.len() == PARTITIONS as usize / 2).await;
    steady.until("the other half", |owned| owned.len() == PARTITIONS as usize / 2).await;
    assert!(steady.owned.is_disjoint(&other.owned));
}

#[tokio::test]
async fn a_restart_of_the_broker_moves_nothing() {
    let mut kafka = Kafka::start().expect("a broker");
    let config = KafkaConfig { grace: Duration::from_secs(60), ..config(&kafka, "restart") };
    let log = kafka::open(config).await;
    let mut member = Member::join(&log).await;
    member.owns_all().await;
    kafka.kill9(0).expect("a kill");
    // Longer than a session: the member knows that it was cut off.
    tokio::time::sleep(Duration::from_secs(3)).await;
    kafka.restart(0).expect("a restart");
    // A second member gets its half only when the first is a member again, and then the first has exactly the rest.
    let mut other = Member::join(&log).await;
    let mut changes = 0;
    let both = async {
        while other.owned.len() < PARTITIONS as usize / 2 || member.owned.len() > PARTITIONS as usize / 2 {
            tokio::select! {
                () = member.step() => changes += 1,
                () = other.step() => {}
            }
        }
    };
    tokio::time::timeout(wait::PATIENCE, both).await.expect("both have their halves");
    assert_eq!(changes, PARTITIONS / 2, "nothing but the half that has moved");
}

#[tokio::test]
async fn a_member_that_is_cut_off_for_good_owns_nothing_after_its_grace() {
    let mut kafka = Kafka::start().expect("a broker");
    let config = KafkaConfig { grace: Duration::from_millis(100), ..config(&kafka, "cut-off") };
    let log = kafka::open(config).await;
    let mut member = Member::join(&log).await;
    member.owns_all().await;
    kafka.kill9(0).expect("a kill");
    member.until("nothing", BTreeSet::is_empty).await;
}

#[tokio::test]
async fn a_session_that_the_brokers_do_not_allow_is_a_clear_error() {
    let extra = vec![("group.min.session.timeout.ms".to_owned(), "6000".to_owned())];
    let kafka = Kafka::start_with(&KafkaOptions { extra, ..KafkaOptions::default() }).expect("a broker");
    let log = kafka::open(config(&kafka, "session")).await;
    let mut assignments = log.join("owners").await.expect("joining");
    let answer = tokio::time::timeout(wait::PATIENCE, assignments.next()).await.expect("an answer");
    assert!(
        matches!(&answer, Err(LogError::Unavailable(reason)) if reason.contains("group.min.session.timeout.ms")),
        "{answer:?}"
    );
}
