//! One producer of the library, and the appends that were given to it.
//!
//! Within a session Kafka keeps order and drops what is sent twice, for as long as the library does not begin a new epoch
//! on its own. It does that when a record's time is over while others may or may not have arrived, and then sends those
//! again. So that never happens here: the library's own timeout is longer than ours, and a session with a record that
//! waits too long, or with any error that leaves doubt, is given up as a whole ([`Session::give_up`]). Each record is
//! given to one session only; hence it is in the log at most once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer};
use rdkafka::statistics::Statistics;
use skywave_ports::log::{LogError, LogPosition, Partition};
use tokio::sync::{Notify, oneshot};

use super::gate::{Clock, Gate};
use crate::admin::reason;
use crate::client::{self, Complaint, Ear, millis};
use crate::config::KafkaConfig;
use crate::error::KafkaError;
use crate::metrics::{KafkaMetrics, PartitionLabel};
use crate::reader::own::Own;

/// What the library's own timeout is longer by than ours.
const NEVER_FIRST: Duration = Duration::from_secs(30);

pub(super) type Answer = Result<LogPosition, LogError>;

/// An append on its way.
pub(super) struct Pending {
    partition: Partition,
    started: Instant,
    value: Bytes,
    done: oneshot::Sender<Answer>,
}

pub(super) struct Session {
    producer: ThreadedProducer<Deliveries>,
    topic: Arc<str>,
}

impl Session {
    /// Contacts nobody yet. `trouble` is told when the session is spoiled.
    pub(super) fn open(
        config: &KafkaConfig,
        gates: Vec<Gate>,
        clock: Clock,
        metrics: KafkaMetrics,
        trouble: Arc<Notify>,
        own: Own,
    ) -> Result<Self, KafkaError> {
        let mut settings = client::settings(config, "producer");
        // The bounds are those of all producers together, but one record fits into each.
        let share = |bound: usize| bound.div_ceil(config.producers() as usize);
        settings
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", (config.linger.as_secs_f64() * 1e3).to_string())
            .set("request.timeout.ms", millis(config.request_timeout))
            .set("message.timeout.ms", millis(config.abandon_after + NEVER_FIRST))
            .set("message.max.bytes", config.message_bytes().to_string())
            .set("queue.buffering.max.messages", share(config.queue_records).to_string())
            .set(
                "queue.buffering.max.kbytes",
                share(config.queue_bytes).max(config.message_bytes()).div_ceil(1024).to_string(),
            );
        let deliveries = Deliveries {
            ear: Ear::new("producer", metrics.clone()),
            gates,
            clock,
            metrics,
            spoiled: AtomicBool::new(false),
            trouble,
            own,
        };
        let producer = settings
            .create_with_context(deliveries)
            .map_err(|error| KafkaError::Client(error.to_string()))?;
        Ok(Self { producer, topic: config.topic().into() })
    }

    pub(super) fn complaint(&self) -> Arc<Complaint> {
        self.deliveries().ear.complaint()
    }

    pub(super) fn gates(&self) -> &[Gate] {
        &self.deliveries().gates
    }

    pub(super) fn is_spoiled(&self) -> bool {
        self.deliveries().spoiled.load(Ordering::Relaxed)
    }

    pub(super) fn client(&self) -> &rdkafka::client::Client<Deliveries> {
        self.producer.client()
    }

    fn deliveries(&self) -> &Deliveries {
        self.producer.client().context()
    }

    /// Gives a record to the producer, in the order of calls. An error is certain: it was not appended.
    pub(super) fn send(
        &self,
        partition: Partition,
        key: &Bytes,
        value: &Bytes,
    ) -> Result<oneshot::Receiver<Answer>, ClientError> {
        let (done, answer) = oneshot::channel();
        let pending = Box::new(Pending { partition, started: Instant::now(), value: value.clone(), done });
        let record = BaseRecord::with_opaque_to(&self.topic, pending)
            .partition(partition.cast_signed())
            .key(&key[..])
            .payload(&value[..]);
        match self.producer.send(record) {
            Ok(()) => {
                self.deliveries().metrics.appends_in_flight.inc();
                Ok(answer)
            }
            Err((error, _)) => {
                // A topic that is out of sight takes no new records; of earlier ones it says nothing.
                let code = error.rdkafka_error_code();
                if is_spoiling(code) && !client::is_out_of_sight(code) {
                    self.deliveries().spoil();
                }
                Err(error)
            }
        }
    }

    /// Waits until everything was answered, at most for `timeout`. Blocks.
    pub(super) fn flush(&self, timeout: Duration) {
        // What is not answered by then is unknown, and answered as such by `give_up`.
        let _ = self.producer.flush(timeout);
    }

    /// Sends nothing more: what is not acknowledged is answered as unknown.
    pub(super) fn give_up(&self) {
        self.producer.purge(PurgeConfig::default().queue().inflight());
    }
}

/// Hears what became of the appends, on the session's own thread.
pub(super) struct Deliveries {
    ear: Ear,
    gates: Vec<Gate>,
    clock: Clock,
    metrics: KafkaMetrics,
    spoiled: AtomicBool,
    trouble: Arc<Notify>,
    own: Own,
}

impl Deliveries {
    fn spoil(&self) {
        if !self.spoiled.swap(true, Ordering::Relaxed) {
            self.trouble.notify_one();
        }
    }

    fn acknowledged(&self, pending: &Pending, offset: i64) -> Answer {
        let partition = pending.partition;
        let gate = &self.gates[partition as usize];
        gate.acknowledged(self.clock.now());
        if gate.say(false) {
            tracing::info!(partition, "Kafka acknowledges appends again");
            self.metrics.refusing.get_or_create(&PartitionLabel { partition }).set(0);
        }
        // Kafka has it, but forgot where: so it says of a record that was sent again long after it had been taken.
        let position = LogPosition::try_from(offset)
            .map_err(|_| LogError::Unavailable("appended, nobody knows where".into()))?;
        self.own.acknowledged(partition, position, &pending.value, pending.started);
        Ok(position)
    }

    fn failed(&self, partition: Partition, error: &ClientError) -> Answer {
        self.gates[partition as usize].failed();
        let code = error.rdkafka_error_code();
        if client::is_refusal(code) {
            return Err(LogError::Refused(reason(error)));
        }
        if is_spoiling(code) {
            tracing::warn!(partition, %error, "an append failed; the producer is given up for a new one");
            self.spoil();
        }
        Err(LogError::Unavailable(reason(error)))
    }
}

/// Whether a session is of no more use after this error. What we purge ourselves is no error, nor is a refusal or a full
/// queue. A topic that the library takes for gone leaves doubt: it fails what was sent and not answered like what never was.
fn is_spoiling(code: Option<RDKafkaErrorCode>) -> bool {
    use RDKafkaErrorCode as Code;
    !client::is_refusal(code)
        && !matches!(code, Some(Code::QueueFull | Code::PurgeQueue | Code::PurgeInflight))
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Pending>;

    fn delivery(&self, result: &DeliveryResult<'_>, pending: Box<Pending>) {
        self.metrics.appends_in_flight.dec();
        let answer = match result {
            Ok(message) => {
                self.metrics.append_seconds.observe(pending.started.elapsed().as_secs_f64());
                self.acknowledged(&pending, message.offset())
            }
            Err((error, _)) => self.failed(pending.partition, error),
        };
        // Somebody who has given up waiting needs no answer.
        let _ = pending.done.send(answer);
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.ear.log(level, facility, line);
    }

    fn stats(&self, statistics: Statistics) {
        self.ear.stats(statistics);
    }

    fn error(&self, error: ClientError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            tracing::warn!(reason, "the producer met a fatal error and is given up for a new one");
            self.spoil();
        }
        self.ear.error(error, reason);
    }
}
