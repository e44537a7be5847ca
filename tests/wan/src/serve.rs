//! Serving links: in a process of their own, or in a thread of a test.

use std::io::ErrorKind;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread::JoinHandle;

use anyhow::Context;

use crate::clock::Clock;
use crate::control::{Control, Request, listen};
use crate::network::Network;

/// Serves links on the control socket until it is told to stop; those of `plan` are there before anyone can ask.
///
/// One thread is enough (`docs/cluster.md` has figures), and makes what happens happen in order.
pub fn serve(socket: &Path, plan: Vec<Request>, seed: u64) -> anyhow::Result<()> {
    // A socket that nobody answers at was left behind by a process that was killed.
    anyhow::ensure!(Control::connect(socket).is_err(), "links are served at {} already", socket.display());
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("removing {}", socket.display()));
        }
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let outcome = local.block_on(&runtime, async {
        let clock = Rc::new(Clock::new()?);
        let network = Rc::new(Network::new(clock.clone(), seed));
        for request in plan {
            let shown = format!("{request:?}");
            network.handle(request).with_context(|| format!("in the plan: {shown}"))?;
        }
        let listener =
            UnixListener::bind(socket).with_context(|| format!("listening on {}", socket.display()))?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::UnixListener::from_std(listener)?;
        tokio::select! {
            () = listen(network, listener) => Ok(()),
            ended = clock.run() => ended.context("the timer"),
        }
    });
    // Best effort: the next one removes it otherwise.
    let _ = std::fs::remove_file(socket);
    outcome
}

/// Links that are served by a thread of this process, and end with this value.
pub struct LocalWan {
    socket: PathBuf,
    /// Open all the time: the socket's folder may go before this does.
    own: Control,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

impl LocalWan {
    /// Serves links at a socket in `folder`.
    pub fn start(folder: &Path, seed: u64) -> anyhow::Result<Self> {
        let socket = folder.join("wan.sock");
        let thread = std::thread::Builder::new().name("wan".into()).spawn({
            let socket = socket.clone();
            move || serve(&socket, Vec::new(), seed)
        })?;
        let mut thread = Some(thread);
        let own = loop {
            if let Ok(control) = Control::connect(&socket) {
                break control;
            }
            if let Some(ended) = thread.take_if(|thread| thread.is_finished()) {
                ended.join().unwrap_or_else(|_| Err(anyhow::anyhow!("panicked")))?;
                anyhow::bail!("the links ended before they were ready");
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        };
        Ok(Self { socket, own, thread })
    }

    pub fn control(&self) -> anyhow::Result<Control> {
        Control::connect(&self.socket)
    }
}

impl Drop for LocalWan {
    fn drop(&mut self) {
        // A thread that has ended already has said why.
        let _ = self.own.stop();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
