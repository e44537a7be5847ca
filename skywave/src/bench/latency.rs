//! How long single publications take to their acknowledgement and to subscribers elsewhere.
//!
//! One clock: publisher and subscribers are threads of this process, blocked in a read until something comes.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::crowd::Crowd;
use super::dialog::Dialog;
use super::speech::Speech;

/// Enough that every partition has some.
pub(super) const CHANNELS: usize = 64;
/// Publishes a second.
pub(super) const RATE: u32 = 200;
const SETTLE: Duration = Duration::from_secs(1);
/// Number of the first publish's request; those before it were the connection's.
const FIRST_REQUEST: u32 = 1_000;

/// Where what is measured goes in, and comes out.
pub(super) struct Way<'a> {
    pub(super) publisher: SocketAddr,
    pub(super) subscribers: &'a [SocketAddr],
    pub(super) speech: Speech,
    /// Number of the first channel; nobody else uses the [`CHANNELS`] from it on.
    pub(super) base: usize,
}

/// Times of one round, in milliseconds, publication by publication.
pub(super) struct Times {
    pub(super) acknowledged: Vec<f64>,
    /// By subscriber.
    pub(super) delivered: Vec<Vec<f64>>,
}

type Moments = Vec<Option<Instant>>;

/// Publishes at [`RATE`] for so long, after a second to warm up. Every publication must arrive at every subscriber.
pub(super) fn measure(way: &Way<'_>, duration: Duration) -> anyhow::Result<Times> {
    let count = RATE + (duration.as_secs_f64() * f64::from(RATE)) as u32;
    let mut subscribers = Vec::new();
    for address in way.subscribers {
        let mut subscriber = Dialog::open(*address, &way.speech)?;
        for channel in way.base..way.base + CHANNELS {
            // The first step connects, which it has.
            let subscribe = way.speech.subscriber(channel).pop().context("no subscription")?;
            subscriber.send(&subscribe)?;
            subscriber.answer()?;
        }
        subscribers.push(subscriber);
    }
    // Other regions learn of a subscription a moment after it stands; what comes earlier would be repaired, which is another
    // time, or, if it is ephemeral, be missing.
    std::thread::sleep(SETTLE);
    let mut publisher = Dialog::open(way.publisher, &way.speech)?;
    let mut hand = publisher.hand()?;

    std::thread::scope(|scope| {
        let delivered: Vec<_> = subscribers
            .into_iter()
            .map(|mut subscriber| {
                scope.spawn(move || -> anyhow::Result<Moments> {
                    let mut moments = vec![None; count as usize];
                    for _ in 0..count {
                        let (number, at) = subscriber.publication()?;
                        *moments.get_mut(number).context("a publication that is not ours")? = Some(at);
                    }
                    Ok(moments)
                })
            })
            .collect();
        let acknowledged = scope.spawn(move || -> anyhow::Result<Moments> {
            let mut moments = vec![None; count as usize];
            for _ in 0..count {
                let (id, at) = publisher.answered()?;
                let number = id.checked_sub(FIRST_REQUEST).context("an answer to nothing")?;
                *moments.get_mut(number as usize).context("an answer to nothing")? = Some(at);
            }
            Ok(moments)
        });
        let mut sent = Vec::with_capacity(count as usize);
        let begin = Instant::now();
        let mut frame = Vec::new();
        for number in 0..count {
            let due = begin + Duration::from_secs(1) * number / RATE;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            frame.clear();
            let channel = way.base + number as usize % CHANNELS;
            way.speech.publish(channel, number.into(), FIRST_REQUEST + number, &mut frame);
            sent.push(Instant::now());
            hand.send(&frame)?;
        }
        let acknowledged = since(&sent, &joined(acknowledged)?)?;
        let mut times = Times { acknowledged, delivered: Vec::new() };
        for subscriber in delivered {
            times.delivered.push(since(&sent, &joined(subscriber)?)?);
        }
        Ok(times)
    })
}

fn joined(thread: ScopedJoinHandle<'_, anyhow::Result<Moments>>) -> anyhow::Result<Moments> {
    thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked")))
}

/// What each took, without the first second's.
fn since(sent: &[Instant], moments: &Moments) -> anyhow::Result<Vec<f64>> {
    let took = sent.iter().zip(moments).skip(RATE as usize);
    took.map(|(sent, at)| Ok((at.context("one never came, another twice")? - *sent).as_secs_f64() * 1e3))
        .collect()
}

/// Runs `work` while the crowd publishes at a rate (not at all at zero), and answers the rate it reached.
pub(super) fn under_load<T: Send>(
    crowd: &mut Crowd,
    rate: f64,
    work: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<(T, f64)> {
    if rate <= 0.0 {
        return Ok((work()?, 0.0));
    }
    let stop = AtomicBool::new(false);
    let stop = &stop;
    std::thread::scope(|scope| {
        let work = scope.spawn(move || {
            let done = work();
            stop.store(true, Ordering::Relaxed);
            done
        });
        let reached = crowd.pace(rate, stop);
        // It ends by itself: what it waits for has a deadline.
        let done = work.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a measurement panicked")));
        Ok((done?, reached?))
    })
}
