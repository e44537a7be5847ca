//! A core without log and store: sequences in memory, answers history, and can be told to be silent or to lose messages.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use skywave_ports::memory::MemoryBus;
use skywave_ports::{Bus, Inbox, Subscription};
use skywave_protocol::inner::{CoreAnswer, CoreReply, CoreRequest, HistoryAnswer, Live, LogRecord};
use skywave_protocol::message::HistoryQuery;
use skywave_protocol::{ChannelName, Epoch, Payload, Position, Publication, Subject};

#[derive(Clone)]
pub struct FakeCore {
    inner: Arc<Inner>,
}

struct Inner {
    bus: MemoryBus,
    channels: Mutex<HashMap<ChannelName, Vec<Arc<Publication>>>>,
    /// The oldest that is kept, where that is not 1.
    firsts: Mutex<HashMap<ChannelName, u64>>,
    /// History reads answered so far.
    reads: AtomicUsize,
    silent: AtomicBool,
    /// Sequences, but the live message is lost on the bus.
    losing: AtomicBool,
    _subscriptions: Mutex<Vec<Subscription>>,
}

impl FakeCore {
    pub async fn start(bus: &MemoryBus) -> Self {
        let (inbox, mut requests) = Inbox::new(100_000);
        let core = Self {
            inner: Arc::new(Inner {
                bus: bus.clone(),
                channels: Mutex::default(),
                firsts: Mutex::default(),
                reads: AtomicUsize::new(0),
                silent: AtomicBool::new(false),
                losing: AtomicBool::new(false),
                _subscriptions: Mutex::default(),
            }),
        };
        for subject in [Subject::ingest("main"), Subject::history("main")] {
            let subscription = bus.subscribe(&subject, Some("core"), &inbox).await.unwrap();
            core.inner._subscriptions.lock().push(subscription);
        }
        let task = core.clone();
        tokio::spawn(async move {
            while let Some(message) = requests.recv().await {
                if task.inner.silent.load(Ordering::SeqCst) {
                    continue;
                }
                match CoreRequest::decode(message.payload).unwrap() {
                    CoreRequest::Publish(record) => task.sequence(record),
                    CoreRequest::History { query, reply } => {
                        task.inner.reads.fetch_add(1, Ordering::SeqCst);
                        let answer = CoreReply {
                            correlation: reply.correlation,
                            result: Ok(CoreAnswer::History(task.history(&query))),
                        };
                        task.inner.bus.publish(&reply.subject, answer.encode()).unwrap();
                    }
                    other => panic!("this core announces nothing: {other:?}"),
                }
            }
        });
        core
    }

    pub fn epoch() -> Epoch {
        Epoch::parse("e1").unwrap()
    }

    pub fn reads(&self) -> usize {
        self.inner.reads.load(Ordering::SeqCst)
    }

    pub fn be_silent(&self, silent: bool) {
        self.inner.silent.store(silent, Ordering::SeqCst);
    }

    pub fn lose_live(&self, losing: bool) {
        self.inner.losing.store(losing, Ordering::SeqCst);
    }

    /// Gives a channel publications that nobody has been sent.
    pub fn fill(&self, channel: &str, count: u64, bytes: usize) {
        let data = Payload::from_json(format!("\"{}\"", "x".repeat(bytes)).as_bytes()).unwrap();
        let publication =
            |offset| Arc::new(Publication { offset, id: None, from: None, time_ms: 1, data: data.clone() });
        let channel = ChannelName::parse(channel).unwrap();
        self.inner.channels.lock().insert(channel, (1..=count).map(publication).collect());
    }

    /// History begins with `first` from now on.
    pub fn forget(&self, channel: &str, first: u64) {
        let channel = ChannelName::parse(channel).unwrap();
        self.inner.firsts.lock().insert(channel, first);
    }

    fn sequence(&self, record: LogRecord) {
        let LogRecord { channel, time_ms, from, id, data, reply, .. } = record;
        let mut channels = self.inner.channels.lock();
        let publications = channels.entry(channel.clone()).or_default();
        let offset = publications.len() as u64 + 1;
        let publication = Arc::new(Publication { offset, id, from, time_ms, data });
        publications.push(publication.clone());
        let epoch = Self::epoch();
        let subject = Subject::live(&channel);
        let live = Live::Publication { channel, epoch: Some(epoch.clone()), publication };
        if !self.inner.losing.load(Ordering::SeqCst) {
            self.inner.bus.publish(&subject, live.encode()).unwrap();
        }
        if let Some(reply) = reply {
            let answer = CoreAnswer::Published { position: Position { epoch, offset }, duplicate: false };
            let answer = CoreReply { correlation: reply.correlation, result: Ok(answer) };
            self.inner.bus.publish(&reply.subject, answer.encode()).unwrap();
        }
    }

    fn history(&self, query: &HistoryQuery) -> HistoryAnswer {
        let channels = self.inner.channels.lock();
        let all = channels.get(&query.channel).map_or(&[][..], Vec::as_slice);
        let first = self.inner.firsts.lock().get(&query.channel).copied().unwrap_or(1);
        let inside = |p: &&Arc<Publication>| {
            p.offset > query.after && p.offset >= first && (query.before == 0 || p.offset < query.before)
        };
        let limit = query.limit as usize;
        let publications = if query.reverse {
            all.iter().rev().filter(inside).take(limit).cloned().collect()
        } else {
            all.iter().filter(inside).take(limit).cloned().collect()
        };
        HistoryAnswer {
            channel: query.channel.clone(),
            head: Position { epoch: Self::epoch(), offset: all.len() as u64 },
            first,
            publications,
            gap: None,
        }
    }
}
