//! How the service tells its parts to end, and in which way.

use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    No,
    /// Finish: what the log holds by now is sequenced and stored.
    Finish,
    /// Somebody else takes over: store what is sequenced if the store is quick, and let go.
    HandOver,
    /// End now: the log is replayed later.
    Now,
}

/// The telling side. Parts whose teller is gone end now.
pub(crate) struct Stopper(watch::Sender<Stop>);

/// The listening side; cheap to clone.
#[derive(Clone)]
pub(crate) struct StopSignal(watch::Receiver<Stop>);

pub(crate) fn channel() -> (Stopper, StopSignal) {
    let (sender, receiver) = watch::channel(Stop::No);
    (Stopper(sender), StopSignal(receiver))
}

impl Stopper {
    /// Never goes back to something milder.
    pub(crate) fn stop(&self, how: Stop) {
        self.0.send_if_modified(|stop| {
            let harder = how > *stop;
            if harder {
                *stop = how;
            }
            harder
        });
    }
}

impl StopSignal {
    /// Returns as soon as a stop of any kind is asked for. Cancel-safe.
    pub(crate) async fn requested(&mut self) -> Stop {
        self.0.wait_for(|stop| *stop != Stop::No).await.map_or(Stop::Now, |stop| *stop)
    }

    /// Returns as soon as an immediate stop is asked for. Cancel-safe.
    pub(crate) async fn now(&mut self) {
        // An error means that the teller is gone, which says the same.
        let _ = self.0.wait_for(|stop| *stop == Stop::Now).await;
    }
}
