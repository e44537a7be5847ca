//! Real Kafka brokers (KRaft, each broker also a controller while there are at most three).
//!
//! Owns the brokers' ports, data and configuration, which stay the same when a broker is killed and started again.
//! Replication factors and timeouts are those of a test: small.

mod options;
mod wire;

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::{Process, install, ports};
pub use options::{KafkaOptions, Listener, PASSWORD, USER};

/// Cluster id: sixteen bytes in base64.
const CLUSTER: &str = "c2t5d2F2ZS1rYWZrYS0wMA";

/// A running Kafka cluster; its brokers end on drop, and so does its data unless a folder was given.
pub struct Kafka {
    brokers: Vec<Broker>,
    jars: PathBuf,
    certificate: Option<PathBuf>,
    folder: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

struct Broker {
    process: Process,
    addresses: Addresses,
}

/// Where a broker listens.
#[derive(Clone, Copy)]
pub(crate) struct Addresses {
    plain: SocketAddr,
    controller: SocketAddr,
    sasl: SocketAddr,
    tls: SocketAddr,
}

impl Kafka {
    /// One broker with the settings of a test.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(&KafkaOptions::default())
    }

    pub fn start_with(options: &KafkaOptions) -> anyhow::Result<Self> {
        let temporary = tempfile::Builder::new().prefix("skywave-kafka-").tempdir()?;
        let mut kafka = Self::start_in(temporary.path(), options)?;
        kafka._temporary = Some(temporary);
        Ok(kafka)
    }

    /// Data, configuration and logs go to `folder`; what an earlier cluster of as many brokers has left there goes on.
    pub fn start_in(folder: &Path, options: &KafkaOptions) -> anyhow::Result<Self> {
        let mut kafka = Self::prepare(folder, options)?;
        for broker in &mut kafka.brokers {
            broker.process.start()?;
        }
        for broker in 0..kafka.brokers.len() {
            kafka.wait_ready(broker)?;
        }
        Ok(kafka)
    }

    /// Writes the configurations and formats new data; nothing runs yet.
    pub fn prepare(folder: &Path, options: &KafkaOptions) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let jars = install::kafka::jars()?;
        let certificate = options.tls.then(|| options::certificate(folder)).transpose()?;
        let addresses = addresses(options)?;
        let mut brokers = Vec::new();
        for at in 0..addresses.len() {
            let home = folder.join(format!("broker-{}", at + 1));
            std::fs::create_dir_all(&home)?;
            let properties = home.join("server.properties");
            std::fs::write(
                &properties,
                options::properties(options, at, &addresses, &home, certificate.as_deref()),
            )?;
            if !home.join("data/meta.properties").exists() {
                format(&jars, &properties, options)?;
            }
            let process = Process::new(&format!("kafka {}", at + 1), "java", home.join("broker.log"))
                .args(java(&jars, options.heap_mb, options.optimised))
                .args([OsStr::new("kafka.Kafka"), properties.as_os_str()]);
            brokers.push(Broker { process, addresses: addresses[at] });
        }
        Ok(Self { brokers, jars, certificate, folder: folder.into(), _temporary: None })
    }

    /// Whether the broker at this address takes part in its cluster.
    pub fn takes_part(address: SocketAddr) -> bool {
        wire::broker_ports(address).is_ok_and(|ports| ports.contains(&address.port()))
    }

    pub fn brokers(&self) -> usize {
        self.brokers.len()
    }

    /// The `bootstrap.servers` of clients: every broker, without encryption or authentication.
    pub fn bootstrap(&self) -> String {
        self.list(|addresses| addresses.plain)
    }

    /// As [`Kafka::bootstrap`], for SASL (PLAIN and SCRAM-SHA-512) as [`USER`] with [`PASSWORD`]; `options.sasl` only.
    pub fn bootstrap_sasl(&self) -> String {
        self.list(|addresses| addresses.sasl)
    }

    /// As [`Kafka::bootstrap`], for TLS (see [`Kafka::certificate`]); `options.tls` only.
    pub fn bootstrap_tls(&self) -> String {
        self.list(|addresses| addresses.tls)
    }

    fn list(&self, address: impl Fn(&Addresses) -> SocketAddr) -> String {
        let addresses: Vec<_> =
            self.brokers.iter().map(|broker| address(&broker.addresses).to_string()).collect();
        addresses.join(",")
    }

    /// The certificate (PEM) that clients of the TLS listener are to trust.
    pub fn certificate(&self) -> Option<&Path> {
        self.certificate.as_deref()
    }

    /// Waits until broker `broker` (from 0) answers that it takes part in the cluster.
    pub fn wait_ready(&mut self, broker: usize) -> anyhow::Result<()> {
        let Broker { process, addresses } = self.broker(broker)?;
        let address = addresses.plain;
        let mut ready = || process.wait_ready(|| Self::takes_part(address));
        // Several virtual machines that start at once on a busy machine take longer than anything else does. One that has
        // ended fails each time at once.
        ready().or_else(|_| ready()).or_else(|_| ready())
    }

    pub fn kill9(&mut self, broker: usize) -> anyhow::Result<()> {
        self.broker(broker)?.process.kill9()
    }

    /// Asks it to leave (SIGTERM) and waits until it has.
    pub fn stop(&mut self, broker: usize) -> anyhow::Result<()> {
        self.broker(broker)?.process.stop()?;
        Ok(())
    }

    pub fn pause(&mut self, broker: usize) -> anyhow::Result<()> {
        self.broker(broker)?.process.pause()
    }

    pub fn resume(&mut self, broker: usize) -> anyhow::Result<()> {
        self.broker(broker)?.process.resume()
    }

    /// Starts a broker that was ended, on the same ports and data, and waits until it is ready.
    pub fn restart(&mut self, broker: usize) -> anyhow::Result<()> {
        self.broker(broker)?.process.start()?;
        self.wait_ready(broker)
    }

    /// Where a broker keeps the records of `partition` of `topic`.
    pub fn partition_folder(&self, broker: usize, topic: &str, partition: u32) -> PathBuf {
        self.folder.join(format!("broker-{}/data/{topic}-{partition}", broker + 1))
    }

    /// The process of a broker, for what is not offered here.
    pub fn process(&mut self, broker: usize) -> anyhow::Result<&mut Process> {
        Ok(&mut self.broker(broker)?.process)
    }

    /// Runs one of Kafka's command-line tools by its class (`org.apache.kafka.tools.TopicCommand`, …) to its end, and
    /// gives what it said.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let arguments: Vec<OsString> = java(&self.jars, 128, false)
            .into_iter()
            .chain([class.into()])
            .chain(arguments.iter().map(OsString::from))
            .collect();
        let arguments: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
        install::run("java", &arguments, &self.folder)
    }

    /// Lets the brokers run on after this program has ended, and gives their process ids.
    pub fn detach(mut self) -> anyhow::Result<Vec<u32>> {
        if let Some(temporary) = self._temporary.take() {
            let _ = temporary.keep();
        }
        self.brokers.into_iter().map(|broker| broker.process.detach()).collect()
    }

    fn broker(&mut self, broker: usize) -> anyhow::Result<&mut Broker> {
        self.brokers.get_mut(broker).with_context(|| format!("there is no broker {broker}"))
    }
}

fn addresses(options: &KafkaOptions) -> anyhow::Result<Vec<Addresses>> {
    let address = |at: usize| -> anyhow::Result<Addresses> {
        let plain = options.addresses.get(at).copied().map_or_else(ports::free, Ok)?;
        Ok(Addresses { plain, controller: ports::free()?, sasl: ports::free()?, tls: ports::free()? })
    };
    (0..options.brokers.max(1)).map(address).collect()
}

/// How the virtual machine is started. Unless `optimised` with the quick compiler alone, for a start in a few seconds on a busy
/// machine.
fn java(jars: &Path, heap_mb: u32, optimised: bool) -> Vec<OsString> {
    let mut classes = jars.as_os_str().to_owned();
    classes.push("/*");
    let mut logging = OsString::from("-Dlog4j2.configurationFile=");
    logging.push(jars.join("log4j2.properties"));
    let manner: &[&str] = match optimised {
        true => &["-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35"],
        false => &["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"],
    };
    let mut arguments = vec![OsString::from(format!("-Xmx{heap_mb}m"))];
    arguments.extend(manner.iter().map(OsString::from));
    arguments.extend([logging, "-cp".into(), classes]);
    arguments
}

fn format(jars: &Path, properties: &Path, options: &KafkaOptions) -> anyhow::Result<()> {
    let mut arguments = java(jars, 128, false);
    arguments.extend(["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c"].map(OsString::from));
    arguments.push(properties.into());
    if options.sasl {
        arguments.extend([
            "--add-scram".into(),
            format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]").into(),
        ]);
    }
    let arguments: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
    install::run("java", &arguments, jars)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_killed_broker_comes_back_on_the_same_port_with_its_topics() {
        let mut kafka = Kafka::start().expect("a broker");
        let bootstrap = kafka.bootstrap();
        let topics = |kafka: &Kafka, arguments: &[&str]| {
            let bootstrap = ["--bootstrap-server", &bootstrap];
            kafka
                .tool("org.apache.kafka.tools.TopicCommand", &[&bootstrap, arguments].concat())
                .expect("the tool")
        };
        topics(&kafka, &["--create", "--topic", "kept", "--partitions", "3"]);
        kafka.kill9(0).expect("a kill");
        assert!(wire::broker_ports(kafka.brokers[0].addresses.plain).is_err());
        kafka.restart(0).expect("a restart");
        assert!(topics(&kafka, &["--list"]).contains("kept"));
        kafka.pause(0).expect("a pause");
        kafka.resume(0).expect("a resume");
        kafka.wait_ready(0).expect("it answers again");
    }
}
