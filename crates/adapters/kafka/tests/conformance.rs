//! The contract of the log, against a real broker.

mod kafka;

use skywave_servers::Kafka;

#[tokio::test]
async fn conforms() {
    let broker = Kafka::start().expect("a broker");
    let open = async |name: &str| kafka::open(kafka::config(&broker, name)).await;
    skywave_ports::conformance::log::suite(open).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms_on_several_threads_and_brokers() {
    let options = skywave_servers::KafkaOptions { brokers: 3, ..Default::default() };
    let brokers = Kafka::start_with(&options).expect("brokers");
    let open = async |name: &str| {
        let config = kafka::config(&brokers, name);
        kafka::open(skywave_kafka::KafkaConfig { replication: 3, min_insync: 2, ..config }).await
    };
    skywave_ports::conformance::log::suite(open).await;
}
