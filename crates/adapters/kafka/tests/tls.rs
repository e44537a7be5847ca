//! TLS and SCRAM, in a build that has them.
#![cfg(feature = "tls")]

mod kafka;

use std::time::Duration;

use bytes::Bytes;
use kafka::{addresses, config};
use prometheus_client::registry::Registry;
use skywave_kafka::{KafkaConfig, KafkaError, KafkaLog, Mechanism, Password, Sasl, Security, Tls};
use skywave_ports::log::Log;
use skywave_servers::kafka::{PASSWORD, USER};
use skywave_servers::{Kafka, KafkaOptions};

#[tokio::test]
async fn a_trusted_broker_is_spoken_to_and_another_is_not() {
    let kafka = Kafka::start_with(&KafkaOptions { tls: true, ..KafkaOptions::default() }).expect("a broker");
    let at = |ca| KafkaConfig {
        brokers: addresses(&kafka.bootstrap_tls()),
        security: Security { tls: Some(Tls { ca, ..Tls::default() }), sasl: None },
        start_timeout: Duration::from_secs(5),
        ..config(&kafka, "tls")
    };
    let log = kafka::open(at(kafka.certificate().map(Into::into))).await;
    assert_eq!(log.append(0, Bytes::new(), Bytes::new()).await, Ok(0));
    let error = KafkaLog::connect(at(None), &mut Registry::default()).await.err().expect("it is refused");
    assert!(matches!(error, KafkaError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("certificate verify failed"), "{error}");
}

#[tokio::test]
async fn scram_takes_the_right_password_only() {
    let kafka = Kafka::start_with(&KafkaOptions { sasl: true, ..KafkaOptions::default() }).expect("a broker");
    let at = |password: &str| {
        let password = Password(password.into());
        let sasl = Sasl { mechanism: Mechanism::ScramSha512, user: USER.into(), password };
        KafkaConfig {
            brokers: addresses(&kafka.bootstrap_sasl()),
            security: Security { tls: None, sasl: Some(sasl) },
            ..config(&kafka, "scram")
        }
    };
    let log = kafka::open(at(PASSWORD)).await;
    assert_eq!(log.append(0, Bytes::new(), Bytes::new()).await, Ok(0));
    let error = KafkaLog::connect(at("wrong"), &mut Registry::default()).await.err().expect("it is refused");
    assert!(matches!(error, KafkaError::Credentials { .. }), "{error}");
}
