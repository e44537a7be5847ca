//! Runs the built binary: servers on free ports that end with their test, and commands with their output.

#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The longest any step of a test may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The binary, without settings of whoever runs the tests.
pub(crate) fn skywave(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_skywave"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SKYWAVE_") {
            command.env_remove(name);
        }
    }
    command.env_remove("RUST_LOG").args(args).stdin(Stdio::null());
    command
}

pub(crate) fn run(args: &[&str]) -> Output {
    skywave(args).output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs a command with bytes on its standard input.
pub(crate) fn run_with_input(args: &[&str], input: &[u8]) -> Output {
    let mut child =
        skywave(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    // A command that ends early closes its input: its exit code says enough.
    let _ = writer.join().unwrap();
    output
}

/// A running relay; killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts a relay and waits for its banner.
    pub(crate) fn start(listen: SocketAddr, data: &Path) -> Self {
        Self::start_with(listen, data, &[])
    }

    pub(crate) fn start_with(listen: SocketAddr, data: &Path, more: &[&str]) -> Self {
        let listen = listen.to_string();
        let mut args = vec!["dev", "--listen", &listen, "--data", data.to_str().unwrap()];
        args.extend(more);
        let mut child = skywave(&args).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let address = banner(&mut lines);
        // Somebody must read on, or the server's log would fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        Self { child, address }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the exit code it leads to.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        let done = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(done.success());
        wait(&mut self.child).code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn banner(lines: &mut BufReader<ChildStderr>) -> SocketAddr {
    let mut said = String::new();
    let mut line = String::new();
    while lines.read_line(&mut line).unwrap() > 0 {
        if let Some((_, url)) = line.split_once("ws://") {
            return url.split('/').next().unwrap().parse().unwrap();
        }
        said.push_str(&line);
        line.clear();
    }
    panic!("the server did not start: {said}");
}

/// A port that nobody listens on and that no outgoing connection is given: it stays free while a server is away. Each is
/// given once.
pub(crate) fn free_port() -> SocketAddr {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let addresses = std::iter::repeat_with(|| {
        let step = std::process::id().wrapping_mul(97).wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed));
        SocketAddr::from(([127, 0, 0, 1], 10_000 + (step % 2_000) as u16))
    });
    let is_free = |at: &SocketAddr| TcpListener::bind(at).is_ok() && UdpSocket::bind(at).is_ok();
    addresses.take(2_000).find(is_free).expect("a free port")
}

pub(crate) fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Waits for a child to end; kills it and fails when that takes too long.
pub(crate) fn wait(child: &mut Child) -> std::process::ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let mut said = String::new();
            if let Some(mut stderr) = child.stderr.take() {
                let _ = stderr.read_to_string(&mut said);
            }
            panic!("a process did not end: {said}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until a condition holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
