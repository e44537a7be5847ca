//! Children that are killed under load.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use skywave_embedded::{LogOptions, SqliteLog, SqliteStore, StoreOptions, random_epoch};
use skywave_ports::Log;

const FOLDER: &str = "SKYWAVE_TEST_CHILD_FOLDER";
/// Appenders of a child, each with its own sequence.
const WRITERS: u64 = 32;

pub async fn open_log(folder: &Path) -> SqliteLog {
    SqliteLog::open(folder, LogOptions::default()).await.expect("the log opens")
}

pub async fn open_store(folder: &Path) -> SqliteStore {
    let fresh = random_epoch(&mut rand::rng());
    SqliteStore::open(folder, StoreOptions::default(), fresh).await.expect("the store opens")
}

/// In a child: the folder to work in. `None` in the parent, where a child's test does nothing.
pub fn child_folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// Says something to the parent, at once.
pub fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    // The parent may be gone already.
    let _ = out.write_all(format!("\n>{line}\n").as_bytes());
    let _ = out.flush();
}

/// This test binary again, running one test as a child's main function.
pub struct Told {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Told {
    pub fn start(test: &str, folder: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(FOLDER, folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if let Some(line) = line.strip_prefix('>') {
                    let _ = sender.send(line.to_owned());
                }
            }
        });
        Self { child, lines }
    }

    /// Waits until the child has said so many things.
    pub fn wait_for(&mut self, count: usize) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut said = Vec::new();
        while said.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            said.push(self.lines.recv_timeout(left).expect("the child goes on"));
        }
        said
    }

    /// Stops every thread of the child where it is. A sync that is under way ends first: the power cut below tells one
    /// that it cuts into that all is well (a plain write and fsync loop shows the same).
    pub fn freeze(&self) {
        let pid = self.child.id().to_string();
        run("kill", &["-STOP", &pid]).unwrap();
        let tasks = format!("/proc/{pid}/task");
        let stopped = || {
            std::fs::read_dir(&tasks).unwrap().all(|task| {
                let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
                stat.rsplit(") ").next().unwrap().starts_with('T')
            })
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !stopped() {
            assert!(Instant::now() < deadline, "the child does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Kills the child with SIGKILL and returns the rest of what it had said.
    pub fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.iter().collect()
    }
}

/// A child's main: many writers append for ever, each telling what was acknowledged.
pub async fn append_for_ever(folder: &Path) {
    let log = Arc::new(open_log(folder).await);
    let (_, life) = log.bounds(0).await.unwrap();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                for n in 0u64.. {
                    let value = format!("{life}/{writer}/{n}/{}", "x".repeat((n as usize * 37) % 900));
                    if let Ok(position) = log.append(0, Bytes::new(), value.clone().into()).await {
                        tell(&format!("{position} {value}"));
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

/// What was acknowledged, by position.
pub fn acknowledged(told: &[String]) -> BTreeMap<u64, String> {
    let mut acknowledged = BTreeMap::new();
    for line in told {
        let (position, value) = line.split_once(' ').unwrap();
        let before = acknowledged.insert(position.parse().unwrap(), value.to_owned());
        assert_eq!(before, None, "one position was given twice");
    }
    acknowledged
}

/// Every acknowledged record is at its position, the log is dense, and each writer's records stand in its order, each
/// once.
pub async fn check_log(log: &SqliteLog, acknowledged: &BTreeMap<u64, String>) {
    let (first, end) = log.bounds(0).await.unwrap();
    assert_eq!(first, 0);
    let mut reader = log.read(0, 0).await.unwrap();
    let mut newest = BTreeMap::<(String, String), u64>::new();
    let mut next = 0;
    let mut found = 0;
    while next < end {
        for entry in reader.next(1_000).await.unwrap() {
            assert_eq!(entry.position, next, "dense");
            next += 1;
            let value = String::from_utf8(entry.value.to_vec()).unwrap();
            if let Some(told) = acknowledged.get(&entry.position) {
                assert_eq!(*told, value);
                found += 1;
            }
            let mut parts = value.split('/').map(str::to_owned);
            let writer = (parts.next().unwrap(), parts.next().unwrap());
            let number: u64 = parts.next().unwrap().parse().unwrap();
            let before = newest.insert(writer, number);
            assert!(before.is_none_or(|before| before < number), "in order and once");
        }
    }
    assert_eq!(found, acknowledged.len(), "every acknowledged record is there");
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output =
        Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
