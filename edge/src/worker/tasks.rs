//! The tasks every worker runs besides its connections: delivery, its hub shard, answers of core, jobs from other
//! threads, the ticker, and the way out for commands a shard had no room for.

use std::rc::Rc;
use std::time::Duration;

use skywave_ports::{BusMessage, Subscription};
use skywave_protocol::inner::{CoreBeat, CoreReply};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::timers::TICK_MS;
use super::{Job, Worker};
use crate::delivery::{self, Delivery};
use crate::hub;

/// Everything a worker receives.
pub(crate) struct Inputs {
    pub(crate) deliveries: mpsc::Receiver<Delivery>,
    pub(crate) hub: hub::Queues,
    /// The ways from this worker's shard to every worker.
    pub(crate) to_workers: Vec<mpsc::Sender<Delivery>>,
    pub(crate) answers: mpsc::Receiver<BusMessage>,
    /// Keeps the answers coming.
    pub(crate) answering: Vec<Subscription>,
    pub(crate) jobs: mpsc::Receiver<Job>,
    /// The listeners' tasks, which end when the node drains.
    pub(crate) accepting: JoinSet<()>,
}

/// One of the worker's own tasks ended, which none does by itself, or one that accepts has panicked: a defect, and the worker is of no use any more.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("a task of the worker failed")]
pub(crate) struct WorkerFailed;

/// Runs the worker's own tasks until the edge stops.
pub(crate) async fn run(worker: Rc<Worker>, inputs: Inputs) -> Result<(), WorkerFailed> {
    let Inputs { deliveries, hub, to_workers, answers, answering, mut jobs, mut accepting } = inputs;
    let mut stop = worker.shared().stop.subscribe();
    let mut tasks = JoinSet::new();
    tasks.spawn_local(delivery::run(worker.clone(), deliveries));
    tasks.spawn_local(hub::run(worker.clone(), hub, to_workers));
    tasks.spawn_local(take_answers(worker.clone(), answers));
    tasks.spawn_local(tick(worker.clone()));
    tasks.spawn_local(carry_overflow(worker.clone()));
    let outcome = loop {
        tokio::select! {
            Some(job) = jobs.recv() => job(&worker),
            _ = stop.wait_for(|stop| *stop) => break Ok(()),
            _ = tasks.join_next() => break Err(WorkerFailed),
            Some(ended) = accepting.join_next() => if ended.is_err() {
                break Err(WorkerFailed);
            },
        }
    };
    drop(answering);
    outcome
}

/// Answers of core taken at once.
const TURN: usize = 256;

async fn take_answers(worker: Rc<Worker>, mut answers: mpsc::Receiver<BusMessage>) {
    let mut turn = Vec::with_capacity(TURN);
    while answers.recv_many(&mut turn, TURN).await > 0 {
        let mut state = worker.state();
        let state = &mut *state;
        let now = state.now();
        for message in turn.drain(..) {
            if state.core.is_beat(&message.subject) {
                match CoreBeat::decode(message.payload) {
                    Ok(beat) => state.core.beat(now, &beat, &state.metrics),
                    Err(error) => tracing::warn!(%error, "the beat of a core cannot be read; dropped"),
                }
                continue;
            }
            match CoreReply::decode(message.payload) {
                Ok(reply) => {
                    let latency = &state.shared.latency;
                    if let Some(answered) = state.core.answered(now, reply, latency, &state.metrics) {
                        state.core_answered(answered);
                    }
                }
                Err(error) => tracing::warn!(%error, "an answer of core cannot be read; dropped"),
            }
        }
        state.flush();
    }
}

async fn tick(worker: Rc<Worker>) {
    let mut interval = tokio::time::interval(Duration::from_millis(TICK_MS));
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        interval.tick().await;
        worker.state().tick();
    }
}

/// Moves commands a full shard queue did not take, in order, as it gets room.
async fn carry_overflow(worker: Rc<Worker>) {
    let overflowing = worker.state().overflowing.clone();
    loop {
        overflowing.notified().await;
        loop {
            let behind = worker.state().hubs.iter().position(|line| !line.overflow.is_empty());
            let Some(shard) = behind else { break };
            let sender = worker.state().hubs[shard].sender.clone();
            let Ok(permit) = sender.reserve().await else { return };
            let command = worker.state().hubs[shard].overflow.pop_front();
            if let Some(command) = command {
                permit.send(command);
            }
        }
        worker.state().drained.notify_waiters();
    }
}
