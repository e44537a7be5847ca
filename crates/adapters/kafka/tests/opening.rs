//! What an operator is told when the log cannot be opened, and what it needs to be allowed.

mod kafka;

use std::time::Duration;

use bytes::Bytes;
use kafka::{addresses, config};
use prometheus_client::registry::Registry;
use skywave_kafka::{KafkaConfig, KafkaError, KafkaLog, Mechanism, Password, Sasl, Security};
use skywave_ports::log::{Assignment, Log, LogError};
use skywave_servers::kafka::{PASSWORD, USER};
use skywave_servers::{Kafka, KafkaOptions, ports};

async fn refusal(config: KafkaConfig) -> KafkaError {
    KafkaLog::connect(config, &mut Registry::default()).await.err().expect("it is refused")
}

fn sasl(user: &str, password: &str) -> Security {
    let sasl = Sasl { mechanism: Mechanism::Plain, user: user.into(), password: Password(password.into()) };
    Security { tls: None, sasl: Some(sasl) }
}

#[tokio::test]
async fn nobody_at_the_address_is_said_with_the_reason() {
    let nobody = ports::free().expect("a port").to_string();
    let config = KafkaConfig {
        brokers: vec![nobody.clone()],
        start_timeout: Duration::from_secs(3),
        request_timeout: Duration::from_secs(1),
        ..KafkaConfig::default()
    };
    let error = refusal(config).await;
    assert!(matches!(&error, KafkaError::Unreachable { brokers, .. } if *brokers == nobody), "{error}");
    assert!(error.to_string().contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn wrong_credentials_are_said_at_once() {
    let kafka = Kafka::start_with(&KafkaOptions { sasl: true, ..KafkaOptions::default() }).expect("a broker");
    let start_timeout = Duration::from_secs(3_600);
    let at = |security| KafkaConfig {
        brokers: addresses(&kafka.bootstrap_sasl()),
        security,
        start_timeout,
        ..config(&kafka, "sasl")
    };
    let error = refusal(at(sasl(USER, "wrong"))).await;
    assert!(matches!(&error, KafkaError::Credentials { .. }), "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");
    kafka::open(at(sasl(USER, PASSWORD))).await.close().await;
}

#[tokio::test]
async fn a_topic_that_does_not_fit_is_refused() {
    let kafka = Kafka::start().expect("a broker");
    kafka::open(config(&kafka, "fits")).await.close().await;
    let error = refusal(KafkaConfig { partitions: 5, ..config(&kafka, "fits") }).await;
    assert!(matches!(error, KafkaError::Partitions { found: 3, configured: 5, .. }), "{error}");
    let error = refusal(KafkaConfig { record_bytes: 2_000_000, ..config(&kafka, "fits") }).await;
    assert!(matches!(error, KafkaError::Topic { key: "max.message.bytes", .. }), "{error}");
    let start_timeout = Duration::from_secs(5);
    let error = refusal(KafkaConfig { replication: 3, start_timeout, ..config(&kafka, "copies") }).await;
    assert!(matches!(error, KafkaError::Create { .. }), "{error}");
    let topic = |cell: &str, setting: &str| {
        let name = format!("skywave.log.{cell}");
        let bootstrap = kafka.bootstrap();
        let arguments = [
            "--bootstrap-server",
            &bootstrap,
            "--create",
            "--topic",
            &name,
            "--partitions",
            "3",
            "--config",
            setting,
        ];
        kafka.tool("org.apache.kafka.tools.TopicCommand", &arguments).expect("the tool");
    };
    topic("compacted", "cleanup.policy=compact");
    let error = refusal(config(&kafka, "compacted")).await;
    assert!(matches!(error, KafkaError::Topic { key: "cleanup.policy", .. }), "{error}");
    // Made by an operator with Kafka's own defaults: that will do.
    topic("defaults", "retention.ms=-1");
    kafka::open(config(&kafka, "defaults")).await.close().await;
}

#[tokio::test]
async fn a_missing_topic_is_made_once_by_several_at_once() {
    let kafka = Kafka::start().expect("a broker");
    let open = || kafka::open(config(&kafka, "race"));
    let (first, second, third) = tokio::join!(open(), open(), open());
    for (log, position) in [first, second, third].iter().zip(0..) {
        assert_eq!(log.append(0, Bytes::new(), Bytes::new()).await, Ok(position));
    }
}

#[tokio::test]
async fn the_documented_rights_are_enough_and_fewer_are_not() {
    let options = KafkaOptions { sasl: true, authorize: true, ..KafkaOptions::default() };
    let kafka = Kafka::start_with(&options).expect("a broker");
    let bootstrap = kafka.bootstrap();
    let allow = |arguments: &[&str]| {
        let principal = format!("User:{USER}");
        let begin = ["--bootstrap-server", &bootstrap, "--add", "--allow-principal", &principal];
        kafka.tool("org.apache.kafka.tools.AclCommand", &[&begin, arguments].concat()).expect("the tool");
    };
    let config = KafkaConfig {
        brokers: addresses(&kafka.bootstrap_sasl()),
        security: sasl(USER, PASSWORD),
        start_timeout: Duration::from_secs(5),
        ..config(&kafka, "rights")
    };
    let error = refusal(config.clone()).await;
    assert!(matches!(error, KafkaError::Create { .. }), "{error}");
    // docs/kafka.md says so.
    let topic = ["--topic", "skywave.log.", "--resource-pattern-type", "prefixed"];
    let operations = ["Create", "Describe", "DescribeConfigs", "Read", "Write", "Delete"];
    let operations: Vec<_> =
        operations.into_iter().flat_map(|operation| ["--operation", operation]).collect();
    allow(&[&operations[..], &topic[..]].concat());
    let group = ["--group", "skywave.rights.", "--resource-pattern-type", "prefixed"];
    let log = kafka::open(config).await;
    let mut assignments = log.join("owners").await.expect("joining");
    let refused = assignments.next().await;
    assert!(matches!(&refused, Err(LogError::Unavailable(_))), "without the group: {refused:?}");
    drop(assignments);
    allow(&[&["--operation", "Read"], &group[..]].concat());
    assert_eq!(log.append(0, Bytes::new(), Bytes::from_static(b"value")).await, Ok(0));
    let mut reader = log.read(0, 0).await.expect("a reader");
    assert_eq!(reader.next(1).await.expect("a record")[0].value, Bytes::from_static(b"value"));
    log.trim(0, 1).await.expect("a trim");
    assert_eq!(log.bounds(0).await, Ok((1, 1)));
    let mut assignments = log.join("owners").await.expect("joining");
    assert!(matches!(assignments.next().await, Ok(Assignment::Assigned(_))));
}

#[cfg(not(feature = "tls"))]
#[tokio::test]
async fn a_build_without_tls_says_so() {
    let security = Security { tls: Some(skywave_kafka::Tls::default()), sasl: None };
    assert_eq!(refusal(KafkaConfig { security, ..KafkaConfig::default() }).await, KafkaError::NoTls);
}
