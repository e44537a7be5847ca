//! A real `skywave` process: started on free ports with its own data folder, stopped when dropped.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::http;
use skywave_servers::ports;
use skywave_servers::wait::PATIENCE;

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// TOML beyond the listener and the data folder.
    pub config: String,
    /// Data folder; without one a temporary one is made, and removed at the end.
    pub data: Option<PathBuf>,
    /// Also listen for TLS, on a free port.
    pub tls: bool,
}

impl Options {
    /// Defaults with this much TOML added.
    pub fn config(config: &str) -> Self {
        Self { config: config.to_owned(), ..Self::default() }
    }
}

/// One server, over as many processes as the test likes: the address and the data stay.
pub struct Server {
    child: Option<Child>,
    address: SocketAddr,
    tls_address: Option<SocketAddr>,
    options: Options,
    folder: TempDir,
    log: Arc<Mutex<Log>>,
    /// Read the running process's pipes into `log`; end with it.
    followers: Vec<JoinHandle<()>>,
}

/// What all processes of a server have said; the oldest part is forgotten.
#[derive(Debug, Default)]
struct Log {
    text: String,
}

/// Bytes of log that are kept for the report of a failure.
const LOG_BYTES: usize = 256 * 1024;

impl Server {
    /// Starts a server with the defaults of `skywave dev` and waits until it is ready.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(Options::default())
    }

    /// Starts a server and waits until it is ready.
    pub fn start_with(options: Options) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("skywave-test-").tempdir()?;
        let log = Arc::default();
        let tls_address = if options.tls { Some(ports::free()?) } else { None };
        let address = ports::free()?;
        let mut server =
            Self { child: None, address, tls_address, options, folder, log, followers: Vec::new() };
        server.run()?;
        Ok(server)
    }

    /// Starts the process again after [`Self::kill9`] or [`Self::wait_exit`], and waits until it is ready.
    pub fn run(&mut self) -> anyhow::Result<()> {
        self.launch()?;
        self.wait_ready()
    }

    /// Starts the process without waiting for anything.
    pub fn launch(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.child.is_none(), "the server is already running");
        let file = self.folder.path().join("skywave.toml");
        let tls =
            self.tls_address.map_or(String::new(), |address| format!("[edge]\ntls_listen = \"{address}\"\n"));
        std::fs::write(&file, format!("{tls}{}", self.options.config))?;
        let mut command = Command::new(binary()?);
        command.arg("dev").arg("--config").arg(&file).arg("--data").arg(self.data());
        command.arg("--listen").arg(self.address.to_string());
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SKYWAVE_"))
        {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("starting skywave")?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        self.followers.extend(out.map(|pipe| follow(pipe, self.log.clone())));
        self.followers.extend(err.map(|pipe| follow(pipe, self.log.clone())));
        self.child = Some(child);
        Ok(())
    }

    /// Waits until the server says that it is ready.
    pub fn wait_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.as_mut().context("the server is not running")?.try_wait()? {
                self.child = None;
                self.hear_out();
                anyhow::bail!("the server ended before it was ready: {status}\n{}", self.log());
            }
            if http::get(self.address, "/health/ready").is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "the server is not ready after {PATIENCE:?}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// HTTP and WebSocket address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// HTTPS and secure WebSocket address, when [`Options::tls`] was set.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// `http://…` for clients.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.options.data.clone().unwrap_or_else(|| self.folder.path().join("data"))
    }

    /// What the server has logged, newest part.
    pub fn log(&self) -> String {
        self.log.lock().text.clone()
    }

    /// Ends the process without a chance to say good-bye.
    pub fn kill9(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("the server is not running")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// `kill -9`, then a new process on the same data and address.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.kill9()?;
        self.run()
    }

    /// Freezes the process (SIGSTOP).
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Thaws it (SIGCONT).
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Asks it to leave (SIGTERM); see [`Self::wait_exit`].
    pub fn terminate(&self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Waits until the process has ended by itself.
    pub fn wait_exit(&mut self) -> anyhow::Result<ExitStatus> {
        let child = self.child.as_mut().context("the server is not running")?;
        let status = skywave_servers::wait::until("the server's end", || child.try_wait().transpose())??;
        self.child = None;
        self.hear_out();
        Ok(status)
    }

    /// Waits for the last words of a process that has ended.
    fn hear_out(&mut self) {
        for follower in self.followers.drain(..) {
            // One that panicked has nothing more to add.
            let _ = follower.join();
        }
    }

    /// The sum of a metric over all its labels. A counter's `_total` is left out.
    pub fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let answer = http::get(self.address, "/metrics")?;
        anyhow::ensure!(answer.status == 200, "/metrics answers {}", answer.status);
        let text = answer.text();
        anyhow::ensure!(text.contains(&format!("# HELP {name}")), "there is no metric {name}");
        let samples = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
            let (key, value) = line.rsplit_once(' ')?;
            let family = key.split('{').next().unwrap_or(key);
            (family.trim_end_matches("_total") == name).then(|| value.parse::<f64>().ok())?
        });
        Ok(samples.sum())
    }

    /// Anonymous resident memory of the process, in bytes.
    pub fn memory(&self) -> anyhow::Result<u64> {
        let pid = self.child.as_ref().context("the server is not running")?.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
        Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let child = self.child.as_ref().context("the server is not running")?;
        Ok(kill_process(Pid::from_child(child), signal)?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Already gone is fine. A frozen process dies of SIGKILL too.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of the server on {}:\n{}---", self.address, self.log());
        }
    }
}

/// Collects what a pipe says; ends with the process that writes it.
fn follow(pipe: impl Read + Send + 'static, log: Arc<Mutex<Log>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut log = log.lock();
            log.text.push_str(&line);
            log.text.push('\n');
            if log.text.len() > 2 * LOG_BYTES {
                let from = log.text.len() - LOG_BYTES;
                let cut = (from..log.text.len()).find(|at| log.text.is_char_boundary(*at)).unwrap_or(from);
                log.text.drain(..cut);
            }
        }
    })
}

/// The debug build beside the test that runs; `cargo xtask test` builds it first.
pub fn binary() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folders = test.ancestors().skip(1).take(2).map(Path::to_path_buf);
    let found = folders.map(|folder| folder.join("skywave")).find(|file| file.is_file());
    found.context("no skywave binary beside the tests: run `cargo build --workspace` first")
}
