//! Starting an edge: sockets first, then one thread per worker, then ready.
//!
//! Everything that can fail (a port in use, no file descriptor, no bus) fails here, before the handle is given out.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use skywave_engine::session::SessionConfig;
use skywave_ports::{BusMessage, Inbox};
use skywave_runtime::Shutdown;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::config::{EdgeConfig, ListenerConfig};
use crate::control::{self, ControlCollector};
use crate::delivery::Delivery;
use crate::front::{self, Listener};
use crate::handle::{EdgeHandle, Parts};
use crate::hub::{self, HubCommand};
use crate::limits::LimitsCollector;
use crate::metrics::EdgeCollector;
use crate::ports::EdgePorts;
use crate::region::{self, RegionCollector};
use crate::relay::Relay;
use crate::reporting::{self, Happening};
use crate::shared::Shared;
use crate::transport::webtransport;
use crate::worker::{self, Inputs, Job, Remote, Worker};

/// Connections the kernel keeps for us until they are accepted, per listening socket.
const BACKLOG: i32 = 4_096;
/// Bytes of a UDP socket's buffers in the kernel.
const DATAGRAM_BUFFER: usize = 4 * 1024 * 1024;
/// Answers to its own history reads a hub shard has room for.
const HISTORIES: usize = 1_024;

/// Starts edges.
pub struct Edge;

/// Why an edge did not start.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("listener {0} wants TLS, but there is no certificate")]
    NoCertificate(SocketAddr),
    #[error("cannot start a worker: {0}")]
    Worker(#[source] std::io::Error),
    #[error("cannot subscribe on the bus: {0}")]
    Bus(#[from] skywave_ports::BusError),
    #[error("a worker ended while it was starting")]
    Ended,
}

/// A worker's ends of all queues, before its thread exists.
struct Seed {
    index: u16,
    jobs: mpsc::Receiver<Job>,
    deliveries: mpsc::Receiver<Delivery>,
    commands: mpsc::Receiver<HubCommand>,
    listeners: Vec<Listener>,
    /// For WebTransport.
    datagrams: Option<UdpSocket>,
}

/// The sending ends, the same for every worker.
#[derive(Clone)]
struct Lines {
    deliveries: Vec<mpsc::Sender<Delivery>>,
    hubs: Vec<mpsc::Sender<HubCommand>>,
}

impl Edge {
    /// Binds, starts the workers and serves. `shutdown`: the graceful phase drains over `timing.drain` and then stops,
    /// the immediate one stops at once.
    pub async fn start(
        config: EdgeConfig,
        ports: EdgePorts,
        shutdown: Shutdown,
    ) -> Result<EdgeHandle, EdgeError> {
        let count = config.worker_count();
        let (mut sockets, addresses) = bind_all(&config, count)?;
        let (mut datagrams, webtransport) = bind_webtransport(&config, &ports, &addresses, count)?;
        let session_config = Arc::new(session_config(&config));
        let queue = config.limits.queue;
        let (mut remotes, mut jobs) = (Vec::new(), Vec::new());
        let mut lines = Lines { deliveries: Vec::new(), hubs: Vec::new() };
        let (mut deliveries, mut commands) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (remote, receiver) = Remote::new();
            remotes.push(remote);
            jobs.push(receiver);
            let (sender, receiver) = mpsc::channel(queue);
            lines.deliveries.push(sender);
            deliveries.push(receiver);
            let (sender, receiver) = mpsc::channel(queue);
            lines.hubs.push(sender);
            commands.push(receiver);
        }
        let listeners = config.listeners.clone();
        let (shared, loose) = Shared::new(config, ports, remotes.into(), webtransport);
        let shared = Arc::new(shared);
        register_metrics(&shared);
        let mut threads = Vec::new();
        let (failed, failures) = mpsc::channel(count);
        for (index, ((jobs, deliveries), commands)) in
            jobs.into_iter().zip(deliveries).zip(commands).enumerate()
        {
            let listeners = with_tls(&shared, &listeners, sockets.remove(0))?;
            let datagrams = datagrams.pop();
            let seed = Seed { index: index as u16, jobs, deliveries, commands, listeners, datagrams };
            threads.push(spawn(&shared, &session_config, &lines, seed, failed.clone()).await?);
        }
        let mut subscriptions = vec![control::run(&shared, loose.notices).await?];
        // Last: from the first beat on, others send clients here.
        subscriptions.extend(region::run(&shared, loose.changes).await?);
        let reporting = reporting::run(&shared, loose.reports);
        shared.reporter.report(Happening::Node("up"));
        let parts = Parts { addresses, threads, failures, subscriptions, reporting };
        Ok(EdgeHandle::new(shared, parts, shutdown))
    }
}

/// `[worker][listener]` sockets, and the address of each listener.
type Bound = (Vec<Vec<TcpListener>>, Vec<SocketAddr>);

fn bind_all(config: &EdgeConfig, workers: usize) -> Result<Bound, EdgeError> {
    let mut sockets: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
    let mut addresses = Vec::new();
    for ListenerConfig { address, .. } in &config.listeners {
        let listen = |source| EdgeError::Listen { address: *address, source };
        // SO_REUSEPORT would let a second process share the port unnoticed: an exclusive socket proves that it is free,
        // and names it if the kernel is to choose.
        let probe = bind(*address, false).map_err(listen)?;
        let address = probe.local_addr().map_err(listen)?;
        if workers == 1 {
            sockets[0].push(probe);
        } else {
            drop(probe);
            for socket in &mut sockets {
                socket.push(bind(address, true).map_err(listen)?);
            }
        }
        addresses.push(address);
    }
    Ok((sockets, addresses))
}

fn bind(address: SocketAddr, share: bool) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    // Small frames must not wait for each other. What is accepted inherits this, which saves a system call each.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// One UDP socket a worker: the kernel keeps the datagrams of one client address together.
fn bind_webtransport(
    config: &EdgeConfig,
    ports: &EdgePorts,
    listeners: &[SocketAddr],
    workers: usize,
) -> Result<(Vec<UdpSocket>, Option<SocketAddr>), EdgeError> {
    let Some(mut address) = config.webtransport else { return Ok((Vec::new(), None)) };
    if ports.tls.is_none() {
        return Err(EdgeError::NoCertificate(address));
    }
    if let (0, Some(first)) = (address.port(), listeners.first()) {
        address.set_port(first.port());
    }
    let listen = |source| EdgeError::Listen { address, source };
    let probe = bind_udp(address, false).map_err(listen)?;
    let bound = probe.local_addr().map_err(listen)?;
    if workers == 1 {
        return Ok((vec![probe], Some(bound)));
    }
    drop(probe);
    let sockets = (0..workers).map(|_| bind_udp(bound, true).map_err(listen)).collect::<Result<_, _>>()?;
    Ok((sockets, Some(bound)))
}

fn bind_udp(address: SocketAddr, share: bool) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if share {
        socket.set_reuse_port(true)?;
    }
    // As much as the system allows: a burst of datagrams finds the worker busy with a delivery round.
    let _ = socket.set_recv_buffer_size(DATAGRAM_BUFFER);
    let _ = socket.set_send_buffer_size(DATAGRAM_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn with_tls(
    shared: &Shared,
    listeners: &[ListenerConfig],
    sockets: Vec<TcpListener>,
) -> Result<Vec<Listener>, EdgeError> {
    let certificate = &shared.ports.tls;
    let listeners =
        listeners.iter().zip(sockets).map(|(listener, socket)| match (listener.tls, certificate) {
            (false, _) => Ok(Listener { socket, tls: None }),
            (true, Some(tls)) => Ok(Listener { socket, tls: Some(tls.clone()) }),
            (true, None) => Err(EdgeError::NoCertificate(listener.address)),
        });
    listeners.collect()
}

fn session_config(config: &EdgeConfig) -> SessionConfig {
    let seconds = |duration: std::time::Duration| duration.as_secs().max(1) as u32;
    SessionConfig {
        namespaces: config.namespaces.clone(),
        connect_timeout_ms: config.timing.connect.as_millis() as u64,
        ping_seconds: seconds(config.timing.ping),
        pong_timeout_seconds: seconds(config.timing.pong),
        message_bytes: config.limits.message_bytes as u32,
        subscriptions: config.limits.subscriptions,
        requests: config.limits.pending_requests,
        publish_rate: config.limits.publishes,
        request_rate: config.limits.requests,
        expiry_warning_ms: config.timing.expiry_warning.as_millis() as u64,
        ..SessionConfig::new(config.region.clone(), config.node.clone())
    }
}

fn register_metrics(shared: &Arc<Shared>) {
    let collector = EdgeCollector { workers: shared.metrics.clone(), latency: shared.latency.clone() };
    let mut registry = shared.ports.registry.lock();
    shared.reporter.register(&mut registry);
    registry.register_collector(Box::new(collector));
    registry.register_collector(Box::new(LimitsCollector(shared.limits.clone())));
    registry.register_collector(Box::new(RegionCollector(Arc::downgrade(shared))));
    registry.register_collector(Box::new(ControlCollector(Arc::downgrade(shared))));
}

async fn spawn(
    shared: &Arc<Shared>,
    session_config: &Arc<SessionConfig>,
    lines: &Lines,
    seed: Seed,
    failed: mpsc::Sender<u16>,
) -> Result<thread::JoinHandle<()>, EdgeError> {
    let (started, start) = oneshot::channel();
    let (shared, session_config, lines) = (shared.clone(), session_config.clone(), lines.clone());
    let index = seed.index;
    let thread = thread::Builder::new()
        .name(format!("edge-{index}"))
        .spawn(move || {
            let runtime =
                match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        let _ = started.send(Err(EdgeError::Worker(error)));
                        return;
                    }
                };
            let alarm = Alarm { worker: index, failed: Some(failed) };
            if runtime.block_on(work(shared, session_config, lines, seed, started)).is_ok() {
                alarm.silence();
            }
        })
        .map_err(EdgeError::Worker)?;
    start.await.unwrap_or(Err(EdgeError::Ended))?;
    Ok(thread)
}

/// Says that a worker has failed when its thread ends without having been told to, also by a panic: a node with a dead
/// worker must not live on, it holds a part of the connections and channels.
struct Alarm {
    worker: u16,
    /// `None`: the worker has come to its proper end.
    failed: Option<mpsc::Sender<u16>>,
}

impl Alarm {
    fn silence(mut self) {
        self.failed = None;
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(failed) = &self.failed {
            tracing::error!(worker = self.worker, "a worker has failed");
            // There is room for every worker's.
            let _ = failed.try_send(self.worker);
        }
    }
}

/// A worker's whole life.
async fn work(
    shared: Arc<Shared>,
    session_config: Arc<SessionConfig>,
    lines: Lines,
    seed: Seed,
    started: oneshot::Sender<Result<(), EdgeError>>,
) -> Result<(), worker::WorkerFailed> {
    let Seed { index, jobs, deliveries, commands, listeners, datagrams } = seed;
    let queue = shared.config.limits.queue;
    let (history_sender, histories) = mpsc::channel(HISTORIES);
    let (live_inbox, live) = Inbox::new(queue);
    let (answer_inbox, answers): (Inbox, mpsc::Receiver<BusMessage>) =
        Inbox::new(shared.config.limits.core_requests);
    let router = crate::http::router(Relay::new(shared.clone()), index);
    let worker = Worker::new(index, shared.clone(), session_config, lines.hubs, history_sender, router);
    let subjects = worker.state().core.subjects();
    let mut answering = Vec::new();
    for subject in subjects {
        match shared.ports.bus.subscribe(&subject, None, &answer_inbox).await {
            Ok(subscription) => answering.push(subscription),
            Err(error) => {
                let _ = started.send(Err(error.into()));
                return Ok(());
            }
        }
    }
    let mut accepting = JoinSet::new();
    for listener in listeners {
        let worker: Rc<Worker> = worker.clone();
        accepting.spawn_local(async move {
            if let Err(error) = front::accept(worker, listener).await {
                tracing::error!(%error, "a listener cannot be used");
            }
        });
    }
    if let (Some(socket), Some(tls)) = (datagrams, shared.ports.tls.clone()) {
        let worker = worker.clone();
        accepting.spawn_local(async move {
            if let Err(error) = webtransport::serve(worker, socket, tls).await {
                tracing::error!(%error, "the WebTransport socket cannot be used");
            }
        });
    }
    let hub = hub::Queues { live, inbox: live_inbox, commands, histories };
    let inputs =
        Inputs { deliveries, hub, to_workers: lines.deliveries, answers, answering, jobs, accepting };
    let _ = started.send(Ok(()));
    worker::run(worker, inputs).await
}
