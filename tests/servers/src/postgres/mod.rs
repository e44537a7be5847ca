//! A real Postgres: one server with its data folder, password and port, that a test may kill, freeze, start again, copy
//! ([`Postgres::replica`]) and promote.
//!
//! Synced writes are on unless a test says otherwise. Postgres refuses to run as root: then server and data belong to the
//! user `postgres` (or `nobody`). It listens on loopback alone, has no Unix socket, and asks everybody for the password.
//! Dropping it ends every one of its processes and removes a temporary folder.

mod replica;
mod user;

use std::ffi::OsStr;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::family;
use crate::install;
use crate::ports;
use crate::process::Process;
use user::User;

/// The superuser, and the database that always is there.
pub const SUPERUSER: &str = "postgres";

/// How a server is to be started. The default: a new server in a temporary folder on a free port, with synced writes.
#[derive(Debug, Clone, Default)]
pub struct PostgresOptions {
    /// Where data, log and password are; kept when the server ends, and used again as it is when it holds a server's
    /// data already. `None`: temporary.
    pub folder: Option<PathBuf>,
    /// `None`: a free one.
    pub address: Option<SocketAddr>,
    /// `None`: the folder's, or a fixed one for a new folder.
    pub password: Option<String>,
    /// Do not sync: faster, and good only for tests that kill nothing.
    pub unsynced: bool,
    /// More settings, as in `postgresql.conf`.
    pub settings: Vec<(String, String)>,
}

impl PostgresOptions {
    #[must_use]
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }
}

/// A server: running, frozen or down.
pub struct Postgres {
    process: Process,
    binaries: PathBuf,
    user: Option<User>,
    address: SocketAddr,
    password: String,
    folder: PathBuf,
    /// Started again with the same ones, and so is a replica.
    options: PostgresOptions,
    /// Removed last.
    temporary: Option<TempDir>,
}

impl Postgres {
    /// A new server in a temporary folder.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(PostgresOptions::default())
    }

    /// Makes what the folder lacks, starts the server and waits until it takes queries.
    pub fn start_with(options: PostgresOptions) -> anyhow::Result<Self> {
        let mut server = Self::prepare(options)?;
        server.restart()?;
        Ok(server)
    }

    /// Makes what the folder lacks; nothing runs yet.
    pub fn prepare(options: PostgresOptions) -> anyhow::Result<Self> {
        let server = Self::place(options)?;
        if !server.data().join("PG_VERSION").exists() {
            server.initialise()?;
        }
        Ok(server)
    }

    /// Whether the server at this address takes queries.
    pub fn takes_queries(address: SocketAddr) -> bool {
        let Ok(binaries) = install::postgres::binaries() else { return false };
        TcpStream::connect(address).is_ok() && {
            let (host, port) = (address.ip().to_string(), address.port().to_string());
            let asked =
                Command::new(binaries.join("pg_isready")).args(["-q", "-h", &host, "-p", &port]).status();
            asked.is_ok_and(|status| status.success())
        }
    }

    /// Everything but data and process.
    fn place(options: PostgresOptions) -> anyhow::Result<Self> {
        let binaries = install::postgres::binaries()?;
        let user = User::for_server()?;
        let temporary = match options.folder {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("skywave-postgres-").tempdir()?),
        };
        let folder = match (&options.folder, &temporary) {
            (Some(folder), _) => std::path::absolute(folder)?,
            (None, Some(temporary)) => temporary.path().to_owned(),
            (None, None) => unreachable!("a folder is given or temporary"),
        };
        fs::create_dir_all(&folder)?;
        if let Some(user) = &user {
            user.take(&folder)?;
        }
        let password = password(&folder, options.password.as_deref())?;
        let address = options.address.map_or_else(ports::free, Ok)?;
        let process = process(&binaries, &folder, address, user.as_ref(), &options);
        Ok(Self { process, binaries, user, address, password, folder, options, temporary })
    }

    fn initialise(&self) -> anyhow::Result<()> {
        let mut command = self.command("initdb");
        command.arg("--pgdata").arg(self.data()).arg("--pwfile").arg(self.folder.join("password"));
        command.args(["--username", SUPERUSER, "--auth", "scram-sha-256"]);
        command.args(["--encoding", "UTF8", "--no-locale"]);
        if self.options.unsynced {
            command.arg("--no-sync");
        }
        run(&mut command).map(drop)
    }

    /// One of the programs, run as the server's user.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        command.current_dir(&self.folder).env("PGPASSWORD", &self.password).stdin(Stdio::null());
        if let Some(user) = &self.user {
            user.run(&mut command);
        }
        command
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn password(&self) -> &str {
        &self.password
    }

    /// For the superuser and the database that always is there.
    pub fn url(&self) -> String {
        self.url_of(SUPERUSER)
    }

    /// For the superuser and a database.
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}:{}@{}/{database}", self.password, self.address)
    }

    /// Makes a database; returns its URL.
    pub fn create_database(&self, name: &str) -> anyhow::Result<String> {
        self.sql(SUPERUSER, &format!(r#"CREATE DATABASE "{}""#, name.replace('"', "\"\"")))?;
        Ok(self.url_of(name))
    }

    /// Runs statements as the superuser; returns the rows, one a line, columns separated by `|`.
    pub fn sql(&self, database: &str, statements: &str) -> anyhow::Result<String> {
        let mut command = self.command("psql");
        command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]);
        command.args(["--set", "ON_ERROR_STOP=1", "--dbname", &self.url_of(database)]);
        Ok(run(command.args(["--command", statements]))?.trim_end().to_owned())
    }

    /// Starts the server (again) on the same port and data, and waits until it takes queries: after a kill, that is when
    /// it has recovered.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.process.start()?;
        let address = self.address;
        self.process.wait_ready(|| Self::takes_queries(address))
    }

    pub fn is_running(&self) -> bool {
        self.process.is_running()
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Ends the server and all its children without a chance to say good-bye; returns when none of them is left, so that
    /// port and shared memory are free.
    pub fn kill9(&mut self) -> anyhow::Result<()> {
        let children = family::freeze(self.process.pid()?)?;
        family::kill(&children);
        self.process.kill9()?;
        family::wait_gone(&children)
    }

    /// Ends the server in good order, without waiting for clients to leave.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        // "Fast": clients are disconnected. The second signal, of "smart", changes nothing then.
        self.process.signal(Signal::INT)?;
        self.process.stop().map(drop)
    }

    /// Freezes the server with all its children.
    pub fn pause(&self) -> anyhow::Result<()> {
        family::freeze(self.process.pid()?).map(drop)
    }

    /// Thaws the server with all its children.
    pub fn resume(&self) -> anyhow::Result<()> {
        family::thaw(self.process.pid()?)
    }

    /// Lets a server that has a folder of its own run on after this program has ended; returns its process id.
    pub fn detach(mut self) -> anyhow::Result<u32> {
        anyhow::ensure!(self.temporary.is_none(), "a server in a temporary folder cannot be left alone");
        let nothing = Process::new("postgres", self.binaries.join("postgres"), self.process.log_file());
        std::mem::replace(&mut self.process, nothing).detach()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let was_running = self.is_running();
        if was_running {
            // Already gone is fine.
            let _ = self.kill9();
            if std::thread::panicking() {
                eprintln!("--- log of {}:\n{}---", self.process.name(), self.process.log());
            }
        }
        if was_running || self.temporary.is_some() {
            free_shared_memory(&self.data());
        }
    }
}

fn process(
    binaries: &Path,
    folder: &Path,
    address: SocketAddr,
    user: Option<&User>,
    options: &PostgresOptions,
) -> Process {
    let fixed = [
        ("listen_addresses", address.ip().to_string()),
        ("port", address.port().to_string()),
        ("unix_socket_directories", String::new()),
        // In the data folder: a killed server leaves nothing in /dev/shm.
        ("dynamic_shared_memory_type", "mmap".to_owned()),
        // After a kill: one call, and not one a file.
        ("recovery_init_sync_method", "syncfs".to_owned()),
        ("fsync", if options.unsynced { "off" } else { "on" }.to_owned()),
    ];
    let fixed = fixed.into_iter().map(|(name, value)| (name.to_owned(), value));
    let settings = fixed.chain(options.settings.iter().cloned());
    let arguments = settings.flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]);
    let name = format!("postgres on {address}");
    let process = Process::new(&name, binaries.join("postgres"), folder.join("log"))
        .args([OsStr::new("-D"), folder.join("data").as_os_str()])
        .args(arguments);
    match user {
        Some(user) => process.user(user.uid, user.gid),
        None => process,
    }
}

/// The folder's password; a new folder gets the given one.
fn password(folder: &Path, given: Option<&str>) -> anyhow::Result<String> {
    let file = folder.join("password");
    match fs::read_to_string(&file) {
        Ok(kept) => Ok(kept.trim_end().to_owned()),
        Err(_) => {
            let password = given.unwrap_or("for-tests-only");
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            anyhow::ensure!(password.bytes().all(plain), "a password of letters, digits, - and _ is needed");
            fs::write(&file, format!("{password}\n"))?;
            Ok(password.to_owned())
        }
    }
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().to_owned();
    let output = command.output().with_context(|| format!("starting {program:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{program:?} failed: {said}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Removes the lock segment of a server that was killed; a server that starts again does it by itself.
pub fn free_shared_memory(data: &Path) {
    let Ok(lock) = fs::read_to_string(data.join("postmaster.pid")) else { return };
    // The seventh line holds key and id.
    let id = lock.lines().nth(6).and_then(|line| line.split_whitespace().nth(1));
    if let Some(id) = id.filter(|id| id.parse::<u32>().is_ok()) {
        // Best effort: it is 56 bytes.
        let _ = Command::new("ipcrm").args(["-m", id]).output();
    }
}

#[cfg(test)]
mod tests;
