//! Waking at an exact time. The runtime's own timer counts in milliseconds, a link in microseconds: here the kernel's
//! high-resolution timer (timerfd) wakes who is due.
//!
//! Owns one timer and the list of who waits. Lives on one thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

pub(crate) struct Clock {
    timer: AsyncFd<OwnedFd>,
    /// Who waits, by time. Bounded by the number of tasks: each waits for one moment at most.
    waiting: RefCell<BTreeMap<(Instant, u64), Waker>>,
    /// What the timer is set to.
    armed: Cell<Option<Instant>>,
    next: Cell<u64>,
}

impl Clock {
    /// Needs a runtime; [`Self::run`] must be polled for anyone to be woken.
    pub(crate) fn new() -> std::io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe; what is asked of a caller holds: `timer` is owned"
        )]
        let timer = AsyncFd::new(timer)?;
        Ok(Self { timer, waiting: RefCell::default(), armed: Cell::new(None), next: Cell::new(0) })
    }

    /// Wakes those who are due, for ever.
    pub(crate) async fn run(&self) -> std::io::Result<()> {
        loop {
            let mut ready = self.timer.readable().await?;
            // How often it has expired does not matter; EAGAIN means that it was set anew meanwhile.
            let _ = rustix::io::read(&self.timer, &mut [0_u8; 8]);
            ready.clear_ready();
            self.armed.set(None);
            let now = Instant::now();
            loop {
                let mut waiting = self.waiting.borrow_mut();
                match waiting.first_entry() {
                    Some(first) if first.key().0 <= now => first.remove().wake(),
                    _ => break,
                }
            }
            self.arm()?;
        }
    }

    /// Returns at `deadline`, or at once if that is over.
    pub(crate) fn sleep_until(&self, deadline: Instant) -> Sleep<'_> {
        Sleep { clock: self, deadline, key: None }
    }

    /// Sets the timer to the first who waits.
    fn arm(&self) -> std::io::Result<()> {
        let Some(first) = self.waiting.borrow().keys().next().map(|key| key.0) else { return Ok(()) };
        if self.armed.get().is_some_and(|armed| armed <= first) {
            return Ok(());
        }
        // Zero would switch it off.
        let left = first.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let it_value = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval, it_value })?;
        self.armed.set(Some(first));
        Ok(())
    }
}

/// See [`Clock::sleep_until`].
pub(crate) struct Sleep<'a> {
    clock: &'a Clock,
    deadline: Instant,
    key: Option<u64>,
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.deadline {
            return Poll::Ready(());
        }
        let clock = self.clock;
        let key = *self.key.get_or_insert_with(|| clock.next.replace(clock.next.get() + 1));
        let mut waiting = self.clock.waiting.borrow_mut();
        waiting
            .entry((self.deadline, key))
            .and_modify(|waker| waker.clone_from(context.waker()))
            .or_insert_with(|| context.waker().clone());
        drop(waiting);
        match self.clock.arm() {
            Ok(()) => Poll::Pending,
            // A timer that cannot be set would hold the line for ever; late by nothing is the better fault.
            Err(_) => Poll::Ready(()),
        }
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.clock.waiting.borrow_mut().remove(&(self.deadline, key));
        }
    }
}
