//! What can be said about one Redis server, and its configuration file.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::certificates::Certificates;
use crate::ports;

/// One server. [`RedisOptions::new`] gives a plain one on a free port, with an open default user.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// Configuration file, log and data; made if it is not there.
    pub folder: PathBuf,
    pub address: SocketAddr,
    /// A second port, with TLS; clients need no certificate.
    pub tls: Option<(SocketAddr, Certificates)>,
    /// Of the default user, and of the primary if this is a replica.
    pub password: Option<String>,
    /// Users beside the default one.
    pub users: Vec<RedisUser>,
    /// Keep everything on disk, synced with each write.
    pub appendonly: bool,
    pub replica_of: Option<SocketAddr>,
    /// Further directives of the configuration file, which come last.
    pub extra: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct RedisUser {
    pub name: String,
    pub password: String,
    /// In Redis's own words: `~skywave:* +@all`.
    pub rules: String,
}

impl RedisOptions {
    pub fn new(folder: impl Into<PathBuf>) -> anyhow::Result<Self> {
        Ok(Self {
            folder: folder.into(),
            address: ports::free()?,
            tls: None,
            password: None,
            users: Vec::new(),
            appendonly: false,
            replica_of: None,
            extra: Vec::new(),
        })
    }

    /// Adds a port with TLS and makes certificates for it.
    pub fn with_tls(mut self) -> anyhow::Result<Self> {
        let certificates = Certificates::make(&self.folder.join("certificates"), &[])?;
        self.tls = Some((ports::free()?, certificates));
        Ok(self)
    }

    pub(super) fn file(&self) -> String {
        let mut file = String::new();
        let mut set = |key: &str, value: &dyn std::fmt::Display| _ = writeln!(file, "{key} {value}");
        let quoted = |text: &dyn std::fmt::Display| format!("{:?}", text.to_string());
        set("bind", &self.address.ip());
        set("port", &self.address.port());
        set("dir", &quoted(&self.folder.display()));
        set("save", &"\"\"");
        set("appendonly", if self.appendonly { &"yes" } else { &"no" });
        set("appendfsync", &"always");
        // A replica is given the data at once, not after gathering others for five seconds.
        set("repl-diskless-sync-delay", &"0");
        if let Some((address, certificates)) = &self.tls {
            set("tls-port", &address.port());
            set("tls-cert-file", &quoted(&certificates.server.display()));
            set("tls-key-file", &quoted(&certificates.server_key.display()));
            set("tls-ca-cert-file", &quoted(&certificates.authority.display()));
            set("tls-auth-clients", &"no");
        }
        if let Some(password) = &self.password {
            set("requirepass", &quoted(password));
            set("masterauth", &quoted(password));
        }
        for user in &self.users {
            set(
                "user",
                &format!("{} on {} {}", user.name, quoted(&format!(">{}", user.password)), user.rules),
            );
        }
        if let Some(primary) = self.replica_of {
            set("replicaof", &format!("{} {}", primary.ip(), primary.port()));
        }
        for line in &self.extra {
            let _ = writeln!(file, "{line}");
        }
        file
    }
}
