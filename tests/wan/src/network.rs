//! All links and forwards of one process, and what a request does to them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::Context;
use socket2::SockRef;
use tokio::task::AbortHandle;

use crate::clock::Clock;
use crate::control::{Answer, ForwardSpec, Protocol, Request, Status, WayStatus};
use crate::direction::Direction;
use crate::forward::Forward;
use crate::{tcp, udp};

/// What the kernel may keep of a burst of datagrams until it is read, if it allows so much.
const BURST: usize = 4 * 1024 * 1024;

/// Lives on one thread, inside a `LocalSet`.
pub(crate) struct Network {
    clock: Rc<Clock>,
    /// What chance decides is decided alike under the same seed.
    seed: u64,
    /// By where from and where to; both ways of a link are made together.
    ways: RefCell<BTreeMap<(String, String), Rc<Direction>>>,
    forwards: RefCell<BTreeMap<String, (Rc<Forward>, AbortHandle)>>,
}

impl Network {
    pub(crate) fn new(clock: Rc<Clock>, seed: u64) -> Self {
        Self { clock, seed, ways: RefCell::default(), forwards: RefCell::default() }
    }

    /// Does what is asked before it returns; an error changes nothing.
    pub(crate) fn handle(&self, request: Request) -> anyhow::Result<Answer> {
        match request {
            Request::Link { a, b } => self.link(&a, &b)?,
            Request::Forward(spec) => return self.forward(spec).map(Answer::Listening),
            Request::Remove { name } => self.remove(&name)?,
            Request::Shape { from, to, one_way, change } => {
                let way = self.way(&from, &to)?;
                let conditions = change.apply(way.conditions())?;
                if !one_way {
                    let back = self.way(&to, &from)?;
                    back.set(change.apply(back.conditions())?);
                }
                way.set(conditions);
            }
            Request::Sweep { a, b } => self.sweep(&a, &b)?,
            Request::Status => return Ok(Answer::Status(self.status())),
            // The process's, not the network's.
            Request::Stop => {}
        }
        Ok(Answer::Done)
    }

    fn link(&self, a: &str, b: &str) -> anyhow::Result<()> {
        anyhow::ensure!(a != b, "a link joins two places, not {a} with itself");
        let mut ways = self.ways.borrow_mut();
        for (from, to) in [(a, b), (b, a)] {
            let seed = self.seed.wrapping_add(ways.len() as u64);
            ways.entry((from.into(), to.into())).or_insert_with(|| Rc::new(Direction::new(seed)));
        }
        Ok(())
    }

    fn way(&self, from: &str, to: &str) -> anyhow::Result<Rc<Direction>> {
        let ways = self.ways.borrow();
        ways.get(&(from.into(), to.into())).cloned().with_context(|| {
            let links = ways.keys().filter(|(a, b)| a < b).map(|(a, b)| format!("{a} {b}"));
            format!("no link {from} {to}; links: {}", links.collect::<Vec<_>>().join(", "))
        })
    }

    fn forward(&self, spec: ForwardSpec) -> anyhow::Result<SocketAddr> {
        let name = spec.name.clone();
        anyhow::ensure!(!self.forwards.borrow().contains_key(&name), "there is a forward {name} already");
        let (out, back) = (self.way(&spec.from, &spec.to)?, self.way(&spec.to, &spec.from)?);
        let cannot = || format!("{name} cannot listen on {}", spec.listen);
        let (listen, protocol) = (spec.listen, spec.protocol);
        let made = |address| {
            Rc::new(Forward::new(
                ForwardSpec { listen: address, ..spec.clone() },
                self.clock.clone(),
                out,
                back,
            ))
        };
        let (forward, task) = match protocol {
            Protocol::Tcp => {
                let listener = std::net::TcpListener::bind(listen).with_context(cannot)?;
                listener.set_nonblocking(true)?;
                let forward = made(listener.local_addr()?);
                let listener = tokio::net::TcpListener::from_std(listener)?;
                (forward.clone(), tokio::task::spawn_local(tcp::run(forward, listener)))
            }
            Protocol::Udp => {
                let socket = std::net::UdpSocket::bind(listen).with_context(cannot)?;
                socket.set_nonblocking(true)?;
                // The kernel gives what it allows.
                let _ = SockRef::from(&socket).set_recv_buffer_size(BURST);
                let forward = made(socket.local_addr()?);
                let socket = tokio::net::UdpSocket::from_std(socket)?;
                (forward.clone(), tokio::task::spawn_local(udp::run(forward, socket)))
            }
        };
        let address = forward.spec.listen;
        self.forwards.borrow_mut().insert(name, (forward, task.abort_handle()));
        Ok(address)
    }

    fn remove(&self, name: &str) -> anyhow::Result<()> {
        let mut forwards = self.forwards.borrow_mut();
        let Some((forward, task)) = forwards.remove(name) else {
            let names: Vec<&str> = forwards.keys().map(String::as_str).collect();
            anyhow::bail!("no forward {name}; forwards: {}", names.join(", "));
        };
        forward.sweep.notify_waiters();
        task.abort();
        Ok(())
    }

    fn sweep(&self, a: &str, b: &str) -> anyhow::Result<()> {
        self.way(a, b)?;
        for (forward, _) in self.forwards.borrow().values() {
            let (from, to) = (forward.spec.from.as_str(), forward.spec.to.as_str());
            if (from, to) == (a, b) || (from, to) == (b, a) {
                forward.sweep.notify_waiters();
            }
        }
        Ok(())
    }

    fn status(&self) -> Status {
        let ways = self.ways.borrow();
        let ways = ways.iter().map(|((from, to), way)| WayStatus {
            from: from.clone(),
            to: to.clone(),
            conditions: way.conditions(),
            counters: way.counters(),
        });
        let forwards = self.forwards.borrow();
        Status {
            ways: ways.collect(),
            forwards: forwards.values().map(|(forward, _)| forward.status()).collect(),
        }
    }
}
