//! TCP over a link.
//!
//! A connection is accepted at once (the kernel does it) and dialled on when its opening would have arrived: on a cut line,
//! either way, not before it is healed. Then each way is a [`pipe`]. A refused dial, a reset and a half-close reach the
//! other end as late as everything else.

mod pipe;

use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

use crate::forward::Forward;
use pipe::{Pipe, Reset};

/// Connections of one forward, waiting ones included; more are reset.
const CONNECTIONS: u64 = 4_096;

/// How often a connection that waits for a cut line is asked whether its client is still there.
const STILL_THERE: Duration = Duration::from_secs(1);

/// Carries connections for as long as it is polled.
pub(crate) async fn run(forward: Rc<Forward>, listener: TcpListener) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if forward.open.get() < CONNECTIONS => {
                    connections.spawn_local(carry(forward.clone(), stream));
                }
                Ok((stream, _)) => {
                    forward.refuse();
                    reset(stream);
                }
                // Out of files, most likely: others must end first.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn carry(forward: Rc<Forward>, client: TcpStream) {
    let _entered = forward.enter();
    let swept = forward.sweep.notified();
    tokio::pin!(swept);
    let server = tokio::select! {
        dialled = dial(&forward, &client) => dialled,
        () = &mut swept => None,
    };
    let Some(server) = server else {
        forward.refuse();
        return reset(client);
    };
    let ended = tokio::select! {
        ended = relay(&forward, &client, &server) => ended,
        () = swept => Err(Reset),
    };
    if ended.is_err() {
        reset(client);
        reset(server);
    }
}

/// The connection to the target, once the line lets its opening pass; `None` when there is none to be had.
async fn dial(forward: &Forward, client: &TcpStream) -> Option<TcpStream> {
    // What is sent to either end goes out at once: the delays are the line's.
    client.set_nodelay(true).ok()?;
    forward.clock.sleep_until(forward.out.opening(&forward.back, Instant::now())).await;
    while forward.out.is_cut() || forward.back.is_cut() {
        forward.out.count(|counters| counters.held += 1);
        if has_left(client) {
            return None;
        }
        let (out, back) = (forward.out.changed(), forward.back.changed());
        tokio::select! {
            () = out => {}
            () = back => {}
            () = tokio::time::sleep(STILL_THERE) => {}
        }
    }
    match TcpStream::connect(forward.spec.target).await {
        Ok(server) => server.set_nodelay(true).ok().map(|()| server),
        Err(_) => {
            forward.clock.sleep_until(forward.back.opening(&forward.out, Instant::now())).await;
            None
        }
    }
}

async fn relay(forward: &Forward, client: &TcpStream, server: &TcpStream) -> Result<(), Reset> {
    let there = Pipe::new(&forward.clock, &forward.out, &forward.back);
    let here = Pipe::new(&forward.clock, &forward.back, &forward.out);
    let ((), (), (), ()) = tokio::try_join!(
        there.fill(client),
        there.drain(server, &here),
        here.fill(server),
        here.drain(client, &there),
    )?;
    Ok(())
}

/// The client has closed its end. One that has only finished sending counts too: on a line that carries nothing the two look
/// alike, and the connections that clients gave up must not pile up here.
fn has_left(client: &TcpStream) -> bool {
    let mut asked = [PollFd::new(client, PollFlags::RDHUP)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut asked, Some(&at_once)).is_ok_and(|found| found > 0)
}

/// Closes with a reset instead of an orderly end.
fn reset(stream: TcpStream) {
    // Without the option it is closed all the same.
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}
