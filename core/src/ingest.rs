//! Takes durable publishes from the bus to the log. Stateless: any core of the cell serves any channel.
//!
//! - A request is decoded, stamped with its record time, and appended; appends of one publisher are started in the order
//!   of its requests, so they stand in the log in that order.
//! - While requests are few and the log would not begin an append anyway ([`Log::next_begin`](skywave_ports::Log::next_begin)), they
//!   stay in the queue and are taken together: a wake-up for each would cost more than the request itself.
//! - The publisher is answered from here only when the append fails; otherwise the sequencer answers.
//! - A core that is a process of its own has a subject of its own beside the cell's (`announcing`); what comes there is numbered,
//!   and taken in that order only (`engine::lanes`).
//!
//! Back-pressure: at most `appends_in_flight` publishes wait for the log, and none is taken while the partition's owner,
//! here or in another core, has stalled (`news`); what comes beyond is refused at once with `log_unavailable` and a time to
//! retry. Nothing refused was published.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use skywave_engine::lanes::{Receiver, Turn};
use skywave_ports::{BusError, BusMessage, Inbox, LogError, LogPosition, Subscription};
use skywave_protocol::inner::{CoreAnswer, CorePhase, CoreReply, CoreRequest, LogRecord, ReplyTo};
use skywave_protocol::{ErrorCode, Subject, WireError};
use tokio::sync::mpsc;
use tokio::task::unconstrained;

use crate::announcing::Announcing;
use crate::service::Shared;
use crate::stop::StopSignal;

/// Members of this group share the requests of a cell.
pub(crate) const GROUP: &str = "core";
/// Requests taken from the bus at a time.
const READ_REQUESTS: usize = 256;

/// Fewer requests than this at a time are worth waiting for company; more of them have it.
const FEW: usize = 32;
/// Longest time between two takes that is spent waiting for company, however long the log may gather: the queue is bounded.
const COMPANY: Duration = Duration::from_millis(10);

type Append = BoxFuture<'static, (Option<ReplyTo>, Result<LogPosition, LogError>)>;

pub(crate) struct Ingest {
    shared: Arc<Shared>,
    requests: mpsc::Receiver<BusMessage>,
    /// Ended first at a stop, so that requests go to other cores or are refused by the edge.
    subscription: Option<Subscription>,
    /// `None`: this core is alone, in the process of its only edge.
    announcing: Option<Announcing>,
    receiver: Receiver,
    /// Bounded by `appends_in_flight`; requests beyond it are refused.
    appends: FuturesUnordered<Append>,
}

impl Ingest {
    /// Subscribes; requests are taken as soon as [`Ingest::run`] runs.
    pub(crate) async fn subscribe(shared: Arc<Shared>) -> Result<Self, BusError> {
        let (inbox, requests) = Inbox::new(shared.config.request_queue);
        let subject = Subject::ingest(&shared.config.cell);
        let subscription = Some(shared.bus.subscribe(&subject, Some(GROUP), &inbox).await?);
        let announcing = match &shared.config.announced {
            Some(id) => Some(Announcing::subscribe(&shared, id.clone(), &inbox).await?),
            None => None,
        };
        let (receiver, appends) = (Receiver::default(), FuturesUnordered::new());
        Ok(Self { shared, requests, subscription, announcing, receiver, appends })
    }

    /// Runs until told to stop; then every append that was started is waited for, unless the stop is immediate.
    pub(crate) async fn run(mut self, mut stop: StopSignal) {
        let mut stop_now = stop.clone();
        let mut batch = Vec::with_capacity(READ_REQUESTS);
        let (mut taken, mut taken_at) = (0, Instant::now());
        loop {
            let company = if taken < FEW { self.company(taken_at) } else { None };
            tokio::select! {
                biased;
                _ = stop.requested(), if self.subscription.is_some() => {
                    // The queue's remaining requests are still served: their publishers wait.
                    self.subscription = None;
                    if let Some(announcing) = &mut self.announcing {
                        announcing.leave();
                    }
                }
                () = stop_now.now() => return,
                () = Announcing::next(&mut self.announcing) => {}
                Some((reply, result)) = self.appends.next() => {
                    self.appended(reply, result);
                    // What else the same commit has brought, and be it more than a task's turn: what lingers here would
                    // count as in flight, and publishes be refused for it.
                    while let Some(Some((reply, result))) = unconstrained(self.appends.next()).now_or_never() {
                        self.appended(reply, result);
                    }
                }
                () = sleep_until(company), if company.is_some() => {}
                taken_now = self.requests.recv_many(&mut batch, READ_REQUESTS), if company.is_none() => {
                    (taken, taken_at) = (taken_now, Instant::now());
                    if taken == 0 {
                        break;
                    }
                    let time_ms = unix_now_ms();
                    for message in batch.drain(..) {
                        self.accept(message.payload, time_ms).await;
                    }
                }
            }
            self.shared.metrics.appends_in_flight.set(self.appends.len() as i64);
        }
        loop {
            tokio::select! {
                append = self.appends.next() => match append {
                    Some((reply, result)) => self.appended(reply, result),
                    None => break,
                },
                () = stop_now.now() => return,
            }
        }
        if let Some(announcing) = &self.announcing {
            announcing.say(CorePhase::Gone);
        }
    }

    /// Until when requests may wait for each other, if at all; `taken_at`: when the last ones were taken.
    fn company(&self, taken_at: Instant) -> Option<Instant> {
        let until = self.shared.log.next_begin()?.min(taken_at + COMPANY);
        (until > Instant::now()).then_some(until)
    }

    async fn accept(&mut self, request: Bytes, time_ms: u64) {
        let mut record = match CoreRequest::decode(request) {
            Ok(CoreRequest::Publish(record)) => record,
            Ok(CoreRequest::Numbered { link, number, record }) => {
                if !self.is_its_turn(link, number, &record) {
                    return;
                }
                record
            }
            Ok(CoreRequest::Check { link, next, reply }) => {
                let missing = self.receiver.check(self.shared.now(), &reply.subject, link, next);
                if let Some(number) = missing {
                    self.tell_missing(&reply.subject, link, number);
                }
                return;
            }
            Ok(CoreRequest::History { reply, .. }) => {
                let error = WireError::new(ErrorCode::BadRequest, "history is asked for on another subject");
                return self.shared.answer(&reply, Err(error));
            }
            Err(error) => {
                // There is nobody to answer: the reply address is inside.
                self.shared.metrics.requests_malformed.inc();
                tracing::debug!(%error, "a publish request cannot be read");
                return;
            }
        };
        record.time_ms = time_ms;
        if let Some(reason) = self.busy(&record) {
            self.shared.metrics.refuse(reason);
            if let Some(reply) = &record.reply {
                let error = WireError::new(ErrorCode::LogUnavailable, reason);
                self.shared.answer(reply, Err(error.retry_after_ms(self.shared.config.retry_after_ms)));
            }
            return;
        }
        self.append(record).await;
    }

    /// Whether a publish is the next one of its link. What is not taken is sent again by its edge.
    fn is_its_turn(&mut self, link: u64, number: u64, record: &LogRecord) -> bool {
        let Some(reply) = &record.reply else {
            self.shared.metrics.requests_malformed.inc();
            return false;
        };
        match self.receiver.numbered(self.shared.now(), &reply.subject, link, number) {
            Turn::Take => return true,
            Turn::Drop => {}
            Turn::Missing(number) => self.tell_missing(&reply.subject, link, number),
        }
        false
    }

    fn tell_missing(&self, requester: &Subject, link: u64, number: u64) {
        self.shared.metrics.holes.inc();
        let reply = ReplyTo { subject: requester.clone(), correlation: 0 };
        self.shared.answer(&reply, Ok(CoreAnswer::Missing { link, number }));
    }

    /// Why nothing can be taken now.
    fn busy(&self, record: &LogRecord) -> Option<&'static str> {
        if self.appends.len() >= self.shared.config.appends_in_flight {
            return Some("too many publishes wait for the log");
        }
        let stalled = self.shared.is_stalled(self.shared.partition_of(&record.channel));
        stalled.then_some("the store takes nothing and too much waits for it")
    }

    async fn append(&mut self, record: LogRecord) {
        let partition = self.shared.partition_of(&record.channel);
        let key = Bytes::copy_from_slice(record.channel.as_str().as_bytes());
        let value = record.encode();
        let reply = record.reply;
        let log = Arc::clone(&self.shared.log);
        let mut append: Append = Box::pin(async move { (reply, log.append(partition, key, value).await) });
        // Started here and now, for the first poll decides the order.
        match poll_fn(|context| Poll::Ready(append.as_mut().poll(context))).await {
            Poll::Ready((reply, result)) => self.appended(reply, result),
            Poll::Pending => self.appends.push(append),
        }
    }

    fn appended(&self, reply: Option<ReplyTo>, result: Result<LogPosition, LogError>) {
        let error = match result {
            Ok(_) => {
                self.shared.metrics.appended.inc();
                return;
            }
            Err(error) => error,
        };
        self.shared.metrics.refuse(reason(&error));
        tracing::debug!(%error, "a publish was not appended");
        if let Some(reply) = reply {
            self.shared.answer(&reply, Err(wire_error(error, self.shared.config.retry_after_ms)));
        }
    }
}

async fn sleep_until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}

fn reason(error: &LogError) -> &'static str {
    match error {
        LogError::Full(_) => "the log has no room",
        LogError::Refused(_) => "the log takes no appends",
        LogError::TooLarge { .. } => "too large for the log",
        LogError::Unavailable(_) => "the log is unavailable",
        LogError::Trimmed { .. } | LogError::NoPartition(_) => "internal",
    }
}

/// What the publisher is told. `log_unavailable` says that nothing was published; where that is not certain it is
/// `timeout`.
fn wire_error(error: LogError, retry_after_ms: u64) -> WireError {
    match error {
        LogError::Full(_) => {
            WireError::new(ErrorCode::LogUnavailable, "the log has no room").retry_after_ms(retry_after_ms)
        }
        LogError::Refused(_) => {
            WireError::new(ErrorCode::LogUnavailable, "the log takes no publishes at present")
                .retry_after_ms(retry_after_ms)
        }
        LogError::Unavailable(_) => {
            WireError::new(ErrorCode::Timeout, "the log has not answered; retry with the same id")
                .retry_after_ms(retry_after_ms)
        }
        LogError::TooLarge { .. } => WireError::new(ErrorCode::TooLarge, error.to_string()),
        LogError::Trimmed { .. } | LogError::NoPartition(_) => {
            WireError::new(ErrorCode::Internal, "the publish could not be routed to its log")
        }
    }
}

/// Wall clock, for record times only; before 1970 counts as 1970.
pub(crate) fn unix_now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

impl Shared {
    /// Answers a request. An answer that the bus loses is a timeout to the requester, who tries again.
    pub(crate) fn answer(&self, to: &ReplyTo, result: Result<CoreAnswer, WireError>) {
        let reply = CoreReply { correlation: to.correlation, result }.encode();
        match self.bus.publish(&to.subject, reply) {
            Ok(()) => {}
            // It would be asked for again and again.
            Err(error @ BusError::TooLarge(_)) => {
                tracing::warn!(subject = %to.subject, %error, "not answered; is core.history_page_bytes below the bus's limit?");
            }
            Err(error) => tracing::debug!(subject = %to.subject, %error, "not answered"),
        }
    }
}
