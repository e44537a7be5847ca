//! One child process that a test may kill, freeze and start again on the same command line.
//!
//! The line is a value of its own ([`CommandLine`]): who keeps it can start the process again from another program.
//! What it says goes to a file, so that it may outlive its starter ([`Process::detach`]). Ended with `kill -9` on drop,
//! and its log is shown when the test is failing.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use crate::stat::{stands_still, stat};
use crate::wait;

/// Bytes of log that are shown for a failure.
const SHOWN: u64 = 32 * 1024;

/// What is run, by whom, and where what it says goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    pub name: String,
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    /// Beside what is inherited.
    pub environment: Vec<(OsString, OsString)>,
    /// Variables whose names begin so are not inherited.
    pub hidden: Option<String>,
    /// Run as this user and group: some servers refuse to be root.
    pub user: Option<(u32, u32)>,
    /// Appended to.
    pub log: PathBuf,
}

/// A command line, and the process that runs it (if one does).
pub struct Process {
    line: CommandLine,
    child: Option<Child>,
}

impl From<CommandLine> for Process {
    fn from(line: CommandLine) -> Self {
        Self { line, child: None }
    }
}

impl Process {
    /// Nothing runs yet; `log` is appended to.
    pub fn new(name: &str, program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self::from(CommandLine {
            name: name.to_owned(),
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            hidden: None,
            user: None,
            log: log.into(),
        })
    }

    pub fn line(&self) -> &CommandLine {
        &self.line
    }

    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.line.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.line.environment.push((name.into(), value.into()));
        self
    }

    /// Does not pass on variables whose names begin so.
    #[must_use]
    pub fn hide(mut self, prefix: &str) -> Self {
        self.line.hidden = Some(prefix.to_owned());
        self
    }

    #[must_use]
    pub fn user(mut self, uid: u32, gid: u32) -> Self {
        self.line.user = Some((uid, gid));
        self
    }

    /// Starts it again, killing it first if it runs; returns without waiting for anything.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        if self.is_running() {
            self.kill9()?;
        }
        self.start()
    }

    /// Starts it; returns without waiting for anything.
    pub fn start(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.child.is_none(), "{} is already running", self.line.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.line.log)?;
        let mut command = Command::new(&self.line.program);
        if let Some(prefix) = &self.line.hidden {
            let inherited = std::env::vars_os().map(|(name, _)| name);
            for name in inherited.filter(|name| name.to_string_lossy().starts_with(prefix.as_str())) {
                command.env_remove(name);
            }
        }
        command
            .args(&self.line.arguments)
            .envs(self.line.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // Out of the starter's group: a Ctrl-C there is not meant for it.
        command.process_group(0);
        if let Some((uid, gid)) = self.line.user {
            command.uid(uid).gid(gid);
        }
        let child = command.spawn();
        self.child =
            Some(child.with_context(|| format!("starting {} ({:?})", self.line.name, self.line.program))?);
        Ok(())
    }

    /// Waits until `ready` is true; fails at once when the process ends before.
    pub fn wait_ready(&mut self, mut ready: impl FnMut() -> bool) -> anyhow::Result<()> {
        let outcome = wait::until(&format!("{} to be ready", self.line.name), || {
            let child = self.child.as_mut()?;
            match child.try_wait() {
                Ok(None) => ready().then_some(Ok(())),
                Ok(Some(status)) => Some(Err(anyhow::anyhow!("{} ended: {status}", self.line.name))),
                Err(error) => Some(Err(error.into())),
            }
        });
        outcome.and_then(|inner| inner).with_context(|| format!("--- its log:\n{}---", self.log()))
    }

    pub fn name(&self) -> &str {
        &self.line.name
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Process id, while it runs.
    pub fn pid(&self) -> anyhow::Result<u32> {
        Ok(self.child.as_ref().with_context(|| format!("{} is not running", self.line.name))?.id())
    }

    pub fn log_file(&self) -> &Path {
        &self.line.log
    }

    /// The newest part of what it has said.
    pub fn log(&self) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = std::fs::File::open(&self.line.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(SHOWN)))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read()
            .map_or_else(|error| format!("(no log: {error})"), |bytes| String::from_utf8_lossy(&bytes).into())
    }

    /// Ends it without a chance to say good-bye.
    pub fn kill9(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().with_context(|| format!("{} is not running", self.line.name))?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Asks it to leave (SIGTERM) and waits until it has.
    pub fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let child = self.child.as_mut().context("it was signalled")?;
        let status =
            wait::until(&format!("the end of {}", self.line.name), || child.try_wait().transpose())??;
        self.child = None;
        Ok(status)
    }

    /// Freezes it (SIGSTOP), and returns when none of its threads runs any more.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)?;
        let process = self.pid()?;
        // One that has died is not frozen, though it stands still.
        let is_frozen = || stat(process).is_some_and(|stat| stat.state == 'T') && stands_still(process);
        wait::until(&format!("{} to stand still", self.line.name), || is_frozen().then_some(()))
    }

    /// Thaws it (SIGCONT).
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let child = self.child.as_ref().with_context(|| format!("{} is not running", self.line.name))?;
        Ok(kill_process(Pid::from_child(child), signal)?)
    }

    /// Lets it run on after this program has ended, and gives its process id.
    pub fn detach(mut self) -> anyhow::Result<u32> {
        let pid = self.pid()?;
        self.child = None;
        Ok(pid)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Already gone is fine. A frozen process dies of SIGKILL too.
            let _ = child.kill();
            let _ = child.wait();
            if std::thread::panicking() {
                eprintln!("--- log of {}:\n{}---", self.line.name, self.log());
            }
        }
    }
}
