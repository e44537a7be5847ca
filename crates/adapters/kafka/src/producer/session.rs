//! One producer of the library, and the appends that were given to it.
//!
//! An append takes a place of the [`Queue`], waits for its turn ([`Turns`]), then goes to the library; the session's thread
//! hears what became of it, and hands over what waited for that.
//!
//! Within a session Kafka keeps order and drops what is sent twice, for as long as the library does not begin a new epoch
//! on its own. It does that when a record's time is over while others may or may not have arrived, and then sends those
//! again. So that never happens here: the library's own timeout is longer than ours, and a session with a record that
//! waits too long, or with any error that leaves doubt, is given up as a whole ([`Session::give_up`]). Each record is
//! given to one session only; hence it is in the log at most once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError as ClientError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext, PurgeConfig};
use rdkafka::statistics::Statistics;
use skywave_ports::log::{LogError, LogPosition, Partition};
use tokio::sync::{Notify, oneshot};

use super::gate::{Clock, Gate};
use super::queue::{self, Place, Queue};
use super::turns::{Batch, Turns};
use crate::admin::reason;
use crate::client::{self, Complaint, Ear, millis};
use crate::config::KafkaConfig;
use crate::error::KafkaError;
use crate::metrics::{KafkaMetrics, PartitionLabel};
use crate::reader::own::{Own, UnderWay};

/// What the library's own timeout is longer by than ours.
const NEVER_FIRST: Duration = Duration::from_secs(30);
/// How long the thread listens until it looks whether it should end.
const LISTEN: Duration = Duration::from_millis(100);

pub(super) type Answer = Result<LogPosition, LogError>;

/// An append on its way.
pub(super) struct Pending {
    partition: Partition,
    started: Instant,
    /// Until the library has a copy.
    key: Bytes,
    value: Bytes,
    done: oneshot::Sender<Answer>,
    _place: Place,
    _under_way: UnderWay,
}

pub(super) struct Session {
    library: Arc<BaseProducer<Deliveries>>,
    ended: Arc<AtomicBool>,
    /// `None` only at its end.
    thread: Option<JoinHandle<()>>,
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
        let (records, bytes) =
            (share(config.queue_records), share(config.queue_bytes).max(config.message_bytes()));
        settings
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("linger.ms", (config.linger.as_secs_f64() * 1e3).to_string())
            .set("request.timeout.ms", millis(config.request_timeout))
            .set("message.timeout.ms", millis(config.abandon_after + NEVER_FIRST))
            .set("message.max.bytes", config.message_bytes().to_string())
            // Never reached: the queue before it has the same bounds.
            .set("queue.buffering.max.messages", records.to_string())
            .set("queue.buffering.max.kbytes", bytes.div_ceil(1024).to_string());
        let deliveries = Deliveries {
            topic: config.topic().into(),
            message_bytes: config.message_bytes(),
            ear: Ear::new("producer", metrics.clone()),
            queue: Queue::new(records, bytes, metrics.clone()),
            turns: Turns::new(gates.len()),
            gates,
            clock,
            metrics,
            spoiled: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            trouble,
            own,
            library: OnceLock::new(),
        };
        let failed = |error: &dyn std::fmt::Display| KafkaError::Client(error.to_string());
        let library: Arc<BaseProducer<Deliveries>> =
            Arc::new(settings.create_with_context(deliveries).map_err(|error| failed(&error))?);
        let _ = library.context().library.set(Arc::downgrade(&library));
        let ended = Arc::new(AtomicBool::new(false));
        let (listener, end) = (Arc::clone(&library), Arc::clone(&ended));
        let thread = thread::Builder::new().name("kafka-appends".into()).spawn(move || {
            while !end.load(Ordering::Relaxed) {
                listener.poll(LISTEN);
                listener.context().go_past();
            }
        });
        let thread = thread.map_err(|error| failed(&error))?;
        Ok(Self { library, ended, thread: Some(thread) })
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
        self.library.client()
    }

    fn deliveries(&self) -> &Deliveries {
        self.library.context()
    }

    /// Takes a record, in the order of calls. An error is certain: it was not appended.
    pub(super) fn send(
        &self,
        partition: Partition,
        key: Bytes,
        value: Bytes,
    ) -> Result<oneshot::Receiver<Answer>, LogError> {
        let deliveries = self.deliveries();
        let bytes = key.len() + value.len();
        let place = deliveries.queue.enter(bytes)?;
        let (done, answer) = oneshot::channel();
        let pending = Box::new(Pending {
            partition,
            started: Instant::now(),
            key,
            value,
            done,
            _place: place,
            _under_way: deliveries.own.begin(partition),
        });
        deliveries.hand_over(deliveries.turns.enter(deliveries.clock.now(), partition, bytes, pending));
        Ok(answer)
    }

    /// Waits until everything was answered, at most for `timeout`. Blocks.
    pub(super) fn flush(&self, timeout: Duration) {
        // What is not answered by then is unknown, and answered as such by `give_up`.
        self.deliveries().queue.wait_until_empty(timeout);
    }

    /// Sends nothing more: what was sent and is not acknowledged is answered as unknown, what was not sent as refused.
    pub(super) fn give_up(&self) {
        self.deliveries().given_up.store(true, Ordering::Relaxed);
        self.library.purge(PurgeConfig::default().queue().inflight());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has no way to fail but a panic, which has been reported.
            let _ = thread.join();
        }
    }
}

/// Hears what became of the appends, on the session's own thread.
pub(super) struct Deliveries {
    topic: Box<str>,
    message_bytes: usize,
    ear: Ear,
    queue: Queue,
    turns: Turns<Box<Pending>>,
    /// Of each partition.
    gates: Vec<Gate>,
    clock: Clock,
    metrics: KafkaMetrics,
    spoiled: AtomicBool,
    given_up: AtomicBool,
    trouble: Arc<Notify>,
    own: Own,
    /// What hears this: set once, and gone before it ends.
    library: OnceLock<Weak<BaseProducer<Deliveries>>>,
}

impl Deliveries {
    /// Gives an append to the library, which sends it as soon as it can. An error is certain.
    fn give(
        &self,
        library: &BaseProducer<Self>,
        mut pending: Box<Pending>,
    ) -> Result<(), (LogError, Box<Pending>)> {
        let (partition, key, value) =
            (pending.partition, std::mem::take(&mut pending.key), pending.value.clone());
        let got = key.len() + value.len();
        let record = BaseRecord::with_opaque_to(&self.topic, pending)
            .partition(partition.cast_signed())
            .key(&key[..])
            .payload(&value[..]);
        let Err((error, record)) = library.send(record) else { return Ok(()) };
        let code = error.rdkafka_error_code();
        // A topic that is out of sight takes no new records; of earlier ones it says nothing.
        if is_spoiling(code) && !client::is_out_of_sight(code) {
            self.spoil();
        }
        let refusal = match code {
            Some(RDKafkaErrorCode::QueueFull) => queue::full(),
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                LogError::TooLarge { limit: self.message_bytes, got }
            }
            _ => LogError::Refused(reason(&error)),
        };
        Err((refusal, record.delivery_opaque))
    }

    /// Gives the library what is to be sent now. What cannot be given is answered, and the next ones take its turn.
    fn hand_over(&self, mut batch: Option<Batch<Box<Pending>>>) {
        while let Some(Batch { partition, appends }) = batch {
            let library = self.library.get().and_then(Weak::upgrade);
            let library = library
                .filter(|_| !self.spoiled.load(Ordering::Relaxed) && !self.given_up.load(Ordering::Relaxed));
            let (count, mut refused) = (appends.len(), 0);
            for append in appends {
                let given = match &library {
                    Some(library) => self.give(library, append),
                    None => Err((LogError::Refused("the producer is being made anew".into()), append)),
                };
                if let Err((refusal, pending)) = given {
                    self.gates[partition as usize].withdrawn();
                    refused += 1;
                    // Somebody who has given up waiting needs no answer.
                    let _ = pending.done.send(Err(refusal));
                }
            }
            if refused < count {
                self.metrics.append_batches.inc();
            }
            batch = self.turns.answered(self.clock.now(), partition, refused);
        }
    }

    /// Goes past turns that take too long.
    fn go_past(&self) {
        while let Some(batch) = self.turns.overdue(self.clock.now()) {
            self.hand_over(Some(batch));
        }
    }

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
        let partition = pending.partition;
        let answer = match result {
            Ok(message) => {
                self.metrics.append_seconds.observe(pending.started.elapsed().as_secs_f64());
                self.acknowledged(&pending, message.offset())
            }
            Err((error, _)) => self.failed(partition, error),
        };
        let _ = pending.done.send(answer);
        self.hand_over(self.turns.answered(self.clock.now(), partition, 1));
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.ear.log(level, facility, line);
    }

    fn stats(&self, statistics: Statistics) {
        for partition in statistics.topics.values().flat_map(|topic| topic.partitions.values()) {
            // The library's own, of records without a partition, is none.
            if let Ok(number) = Partition::try_from(partition.partition)
                && (number as usize) < self.gates.len()
            {
                self.turns.led(number, (partition.leader >= 0).then_some(partition.leader));
            }
        }
        self.go_past();
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
