//! Reaching a worker from another thread: a bounded queue of jobs that run with the worker at hand.
//!
//! REST handlers, SSE posts, `sw.control` and drain use it; the hot path does not.

use std::rc::Rc;

use tokio::sync::{mpsc, oneshot};

use super::Worker;

/// Jobs that may wait for one worker. When full, [`Remote::run`] waits and [`Remote::try_run`] refuses.
const JOBS: usize = 1_024;

pub(crate) type Job = Box<dyn FnOnce(&Rc<Worker>) + Send>;

/// A handle on one worker, for any thread.
#[derive(Clone)]
pub struct Remote {
    jobs: mpsc::Sender<Job>,
}

/// The worker has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the worker has stopped")]
pub struct WorkerStopped;

impl Remote {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Job>) {
        let (jobs, receiver) = mpsc::channel(JOBS);
        (Self { jobs }, receiver)
    }

    /// Runs `job` on the worker's thread, inside its runtime (it may `spawn_local`), and gives back what it returns.
    /// Waits while the queue is full. Must not be awaited on a path that the worker itself waits for.
    pub async fn run<R: Send + 'static>(
        &self,
        job: impl FnOnce(&Rc<Worker>) -> R + Send + 'static,
    ) -> Result<R, WorkerStopped> {
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |worker| {
            // The asker may have gone meanwhile; then nobody wants the result.
            let _ = sender.send(job(worker));
        });
        self.jobs.send(job).await.map_err(|_| WorkerStopped)?;
        receiver.await.map_err(|_| WorkerStopped)
    }

    /// The same without waiting for room or result. `false`: the queue is full or the worker has stopped.
    pub fn try_run(&self, job: impl FnOnce(&Rc<Worker>) + Send + 'static) -> bool {
        self.jobs.try_send(Box::new(job)).is_ok()
    }
}
