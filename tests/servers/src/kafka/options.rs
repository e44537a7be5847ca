//! What a cluster of a test may choose, and the configuration files that come of it.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::Addresses;

/// Who may use the SASL listener.
pub const USER: &str = "skywave";
pub const PASSWORD: &str = "skywave-secret";

/// Controllers form a quorum; more than three are of no use on one machine.
const CONTROLLERS: usize = 3;

#[derive(Debug, Clone)]
pub struct KafkaOptions {
    pub brokers: usize,
    /// Where the brokers listen; a free port for each that is not named.
    pub addresses: Vec<SocketAddr>,
    /// Further listeners without encryption or authentication.
    pub listeners: Vec<Listener>,
    /// Sync after each batch: what survives a power cut without replicas.
    pub flush_each: bool,
    /// A second listener with SASL, PLAIN and SCRAM-SHA-512.
    pub sasl: bool,
    /// A further listener with TLS.
    pub tls: bool,
    /// Who comes over SASL may do only what access control lists allow.
    pub authorize: bool,
    pub heap_mb: u32,
    /// As Kafka's own scripts start it, with the optimising compiler and short collections: for measurements. It is slow at first.
    pub optimised: bool,
    /// Further lines of `server.properties`; they win over what is set here.
    pub extra: Vec<(String, String)>,
}

/// One more way to the brokers, that may lead through a proxy.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Capitals, digits and underscores.
    pub name: String,
    /// For each broker, where it listens and what it tells clients to use instead.
    pub addresses: Vec<(SocketAddr, SocketAddr)>,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            brokers: 1,
            addresses: Vec::new(),
            listeners: Vec::new(),
            flush_each: false,
            sasl: false,
            tls: false,
            authorize: false,
            heap_mb: 256,
            optimised: false,
            extra: Vec::new(),
        }
    }
}

/// The `server.properties` of broker `at`.
pub(super) fn properties(
    options: &KafkaOptions,
    at: usize,
    addresses: &[Addresses],
    home: &Path,
    certificate: Option<&Path>,
) -> String {
    let mut lines = Vec::new();
    let mut set = |key: &str, value: &dyn std::fmt::Display| lines.push((key.to_owned(), value.to_string()));
    let Addresses { plain, controller, sasl, tls } = addresses[at];
    let mut listeners = vec![format!("PLAINTEXT://{plain}")];
    if options.sasl {
        listeners.push(format!("SASL_PLAINTEXT://{sasl}"));
        let plain_users = format!(
            "org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";"
        );
        set("listener.name.sasl_plaintext.plain.sasl.jaas.config", &plain_users);
        set(
            "listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config",
            &"org.apache.kafka.common.security.scram.ScramLoginModule required;",
        );
        set("sasl.enabled.mechanisms", &"PLAIN,SCRAM-SHA-512");
    }
    if let Some(certificate) = certificate {
        listeners.push(format!("SSL://{tls}"));
        set("ssl.keystore.type", &"PEM");
        set("ssl.keystore.location", &certificate.with_extension("keystore").display());
    }
    if options.authorize {
        set("authorizer.class.name", &"org.apache.kafka.metadata.authorizer.StandardAuthorizer");
        set("super.users", &"User:ANONYMOUS");
    }
    let mut advertised = listeners.clone();
    let mut protocols = PROTOCOLS.to_owned();
    for Listener { name, addresses } in &options.listeners {
        if let Some((listen, told)) = addresses.get(at) {
            listeners.push(format!("{name}://{listen}"));
            advertised.push(format!("{name}://{told}"));
            let _ = write!(protocols, ",{name}:PLAINTEXT");
        }
    }
    set("advertised.listeners", &advertised.join(","));
    let voters = addresses.iter().take(CONTROLLERS).zip(1..);
    let voters: Vec<_> = voters.map(|(addresses, id)| format!("{id}@{}", addresses.controller)).collect();
    set("controller.quorum.voters", &voters.join(","));
    set("controller.listener.names", &"CONTROLLER");
    if at < CONTROLLERS {
        set("process.roles", &"broker,controller");
        listeners.push(format!("CONTROLLER://{controller}"));
    } else {
        set("process.roles", &"broker");
    }
    set("listeners", &listeners.join(","));
    set("listener.security.protocol.map", &protocols);
    set("inter.broker.listener.name", &"PLAINTEXT");
    set("node.id", &(at + 1));
    set("log.dirs", &home.join("data").display());
    let replicas = addresses.len().min(3);
    for topic in ["offsets.topic", "transaction.state.log", "share.coordinator.state.topic"] {
        set(&format!("{topic}.replication.factor"), &replicas);
        set(&format!("{topic}.min.isr"), &(replicas / 2 + 1));
        set(&format!("{topic}.num.partitions"), &4);
    }
    if options.flush_each {
        set("log.flush.interval.messages", &1);
    }
    for (key, value) in SETTINGS {
        set(key, value);
    }
    for (key, value) in &options.extra {
        set(key, value);
    }
    // Of two lines with one key the last one counts.
    lines.iter().fold(String::new(), |mut file, (key, value)| {
        let _ = writeln!(file, "{key}={value}");
        file
    })
}

const PROTOCOLS: &str = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL";

const SETTINGS: &[(&str, &str)] = &[
    ("auto.create.topics.enable", "false"),
    // Membership of groups: joined at once, and lost as soon as a test wants.
    ("group.initial.rebalance.delay.ms", "0"),
    ("group.min.session.timeout.ms", "500"),
    ("group.consumer.min.session.timeout.ms", "500"),
    ("group.consumer.session.timeout.ms", "2000"),
    ("group.consumer.min.heartbeat.interval.ms", "100"),
    ("group.consumer.heartbeat.interval.ms", "400"),
    // A broker that was killed may register again so soon; others find it gone as soon.
    ("broker.session.timeout.ms", "3000"),
    ("broker.heartbeat.interval.ms", "500"),
    // Little memory and few threads.
    ("log.cleaner.dedupe.buffer.size", "4194304"),
    ("num.network.threads", "2"),
    ("num.io.threads", "4"),
];

/// A certificate for 127.0.0.1 and localhost, and beside it the file with its key that brokers read.
pub(super) fn certificate(folder: &Path) -> anyhow::Result<PathBuf> {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()])
        .context("making a certificate")?;
    let path = folder.join("kafka.pem");
    std::fs::write(&path, made.cert.pem())?;
    let keystore = format!("{}{}", made.signing_key.serialize_pem(), made.cert.pem());
    std::fs::write(path.with_extension("keystore"), keystore)?;
    Ok(path)
}
