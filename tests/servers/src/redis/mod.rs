//! Real Redis servers: one, or one with replicas.
//!
//! Owns the server's ports, data and configuration, which stay the same when it is killed and started again. Without
//! [`RedisOptions::appendonly`] it keeps nothing on disk: after a kill it comes back empty.

mod options;
mod wire;

use std::net::SocketAddr;

use crate::certificates::Certificates;
use crate::{Process, install, wait};
pub use options::{RedisOptions, RedisUser};

/// Takes everything out of a Redis that asks for no password.
pub fn flush(address: SocketAddr) -> anyhow::Result<()> {
    let answer = wire::ask(address, None, &["FLUSHALL"])?;
    anyhow::ensure!(answer == "OK", "Redis was not flushed: {answer:?}");
    Ok(())
}

/// A running Redis; it ends on drop.
pub struct Redis {
    options: RedisOptions,
    process: Process,
}

impl Redis {
    /// Writes the configuration; nothing runs yet.
    pub fn prepare(options: RedisOptions) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&options.folder)?;
        let file = options.folder.join("redis.conf");
        std::fs::write(&file, options.file())?;
        let name = format!("redis {}", options.address.port());
        let log = options.folder.join("redis.log");
        let process = Process::new(&name, install::redis::redis_server()?, log).args([file]);
        Ok(Self { options, process })
    }

    /// Starts it and waits until it answers.
    pub fn start(options: RedisOptions) -> anyhow::Result<Self> {
        let mut redis = Self::prepare(options)?;
        redis.process.start()?;
        redis.wait_ready()?;
        Ok(redis)
    }

    /// Whether a server without a password answers there.
    pub fn answers(address: SocketAddr) -> bool {
        wire::ask(address, None, &["PING"]).is_ok()
    }

    pub fn options(&self) -> &RedisOptions {
        &self.options
    }

    /// Where it listens without encryption.
    pub fn address(&self) -> SocketAddr {
        self.options.address
    }

    /// `redis://HOST:PORT`, without a user or a password.
    pub fn url(&self) -> String {
        format!("redis://{}", self.options.address)
    }

    /// `rediss://HOST:PORT` of the port with TLS, and who vouches for it; with `options.tls` only.
    pub fn tls(&self) -> Option<(String, &Certificates)> {
        let (address, certificates) = self.options.tls.as_ref()?;
        Some((format!("rediss://{address}"), certificates))
    }

    /// Says one command as the default user and gives the answer as text, each element of an array on its own line.
    pub fn ask(&self, command: &[&str]) -> anyhow::Result<String> {
        wire::ask(self.options.address, self.options.password.as_deref(), command)
    }

    /// One number of its `INFO`.
    pub fn count(&self, name: &str) -> anyhow::Result<u64> {
        let info = self.ask(&["INFO"])?;
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map_or_else(|| anyhow::bail!("no {name} in INFO"), |value| Ok(value.trim().parse()?))
    }

    /// Waits until it answers (and has loaded what it keeps on disk).
    pub fn wait_ready(&mut self) -> anyhow::Result<()> {
        let (address, password) = (self.options.address, self.options.password.clone());
        self.process.wait_ready(|| wire::ask(address, password.as_deref(), &["PING"]).is_ok())
    }

    /// Waits until a replica has all that its primary had when it joined.
    pub fn wait_synced(&self) -> anyhow::Result<()> {
        wait::until(&format!("{} to have its primary's data", self.process.name()), || {
            let info = self.ask(&["INFO", "replication"]).ok()?;
            info.contains("master_link_status:up").then_some(())
        })
    }

    /// Ends it without a chance to say good-bye or to write anything.
    pub fn kill9(&mut self) -> anyhow::Result<()> {
        self.process.kill9()
    }

    /// Freezes it: its sockets stay open, nothing answers.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.process.pause()
    }

    pub fn resume(&self) -> anyhow::Result<()> {
        self.process.resume()
    }

    /// Starts it again on the same ports and files, killing it first if it runs, and waits until it answers.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.process.start_again()?;
        self.wait_ready()
    }

    pub fn process(&self) -> &Process {
        &self.process
    }

    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Lets it run on after this program has ended, and gives its process id.
    pub fn detach(self) -> anyhow::Result<u32> {
        self.process.detach()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_server_comes_back_on_the_same_port_with_what_it_had_appended() {
        let folder = tempfile::tempdir().unwrap();
        let options = RedisOptions { appendonly: true, ..RedisOptions::new(folder.path()).unwrap() };
        let mut redis = Redis::start(options).unwrap();
        redis.ask(&["SET", "kept", "yes"]).unwrap();
        redis.kill9().unwrap();
        assert!(redis.ask(&["PING"]).is_err());
        redis.restart().unwrap();
        assert_eq!(redis.ask(&["GET", "kept"]).unwrap(), "yes");
        redis.pause().unwrap();
        redis.resume().unwrap();
        assert_eq!(redis.ask(&["PING"]).unwrap(), "PONG");
    }

    #[test]
    fn a_replica_has_what_its_primary_has() {
        let folder = tempfile::tempdir().unwrap();
        let password = Some("s p\"ace".to_owned());
        let options = |name: &str| RedisOptions::new(folder.path().join(name));
        let primary =
            Redis::start(RedisOptions { password: password.clone(), ..options("primary").unwrap() }).unwrap();
        let replica_of = Some(primary.address());
        let replica =
            Redis::start(RedisOptions { password, replica_of, ..options("replica").unwrap() }).unwrap();
        primary.ask(&["SET", "shared", "yes"]).unwrap();
        replica.wait_synced().unwrap();
        wait::until("the key", || replica.ask(&["GET", "shared"]).ok().filter(|value| value == "yes"))
            .unwrap();
    }

    #[test]
    fn a_user_may_do_what_its_rules_allow() {
        let folder = tempfile::tempdir().unwrap();
        let user = RedisUser {
            name: "edge".into(),
            password: "secret".into(),
            rules: "~skywave:* +@read +@write".into(),
        };
        let options = RedisOptions { users: vec![user], ..RedisOptions::new(folder.path()).unwrap() };
        let redis = Redis::start(options.with_tls().unwrap()).unwrap();
        let users = redis.ask(&["ACL", "LIST"]).unwrap();
        assert!(users.contains("user edge on") && users.contains("~skywave:*"), "{users}");
        assert!(redis.tls().is_some_and(|(url, _)| url.starts_with("rediss://127.0.0.1:")));
    }
}
