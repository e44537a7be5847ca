//! Clients that are slow, silent, or too many.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;
use skywave_harness::{Options, Server, Socket, wait};

#[test]
fn a_byte_a_time_is_cut_off_at_the_deadline() -> anyhow::Result<()> {
    let server = Server::start_with(Options::config("[timing]\nhead_seconds = 1\nconnect_seconds = 1\n"))?;
    let mut stream = TcpStream::connect(server.address())?;
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    let head = b"GET /v1/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    let mut bytes = head.iter().cycle();
    wait::until("the end of a connection that sends a byte at a time", || {
        let sent = bytes.next().is_some_and(|byte| stream.write_all(&[*byte]).is_ok());
        let mut answer = [0; 1024];
        match stream.read(&mut answer) {
            Ok(0) => Some(()),
            Ok(_) => None,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && sent => None,
            Err(_) => Some(()),
        }
    })?;
    // The same after the upgrade: silence where `connect` is due.
    let mut silent = Socket::open(server.address())?;
    assert_eq!(silent.wait_close()?, Some(4503));
    Ok(())
}

#[test]
fn whoever_does_not_connect_first_is_told_so() -> anyhow::Result<()> {
    let server = Server::start()?;
    let mut socket = Socket::open(server.address())?;
    socket.start("subscribe", json!({"channel": "chat:x"}))?;
    assert_eq!(socket.wait_close()?, Some(4503));
    Ok(())
}

#[test]
fn a_flood_of_connects_is_refused_with_a_time_to_come_back() -> anyhow::Result<()> {
    let config = "[limits]\naddress_handshakes_per_second = 5\naddress_handshake_burst = 20\n";
    let server = Server::start_with(Options::config(config))?;
    let mut early = Socket::connect(server.address(), None)?;
    let (mut served, mut refused) = (Vec::new(), 0);
    for _ in 0..60 {
        match Socket::upgrade(server.address(), &[]) {
            Ok(socket) if socket.status == 101 => served.push(socket),
            Ok(socket) => {
                assert!([429, 503].contains(&socket.status), "{}", socket.status);
                refused += 1;
            }
            // Closed without an answer is a refusal as well.
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 20, "{} served, {refused} refused", served.len());
    assert!(server_refused(&mut early)?, "whoever was connected before is served");
    Ok(())
}

fn server_refused(early: &mut Socket) -> anyhow::Result<bool> {
    Ok(early.publish("chat:early", "e-1", json!(1))?["offset"] == 1)
}

#[test]
fn a_full_server_says_so_and_serves_those_it_has() -> anyhow::Result<()> {
    let server = Server::start_with(Options::config("[limits]\nconnections = 10\n"))?;
    let mut served = Vec::new();
    let mut refused = 0;
    for _ in 0..20 {
        match Socket::connect(server.address(), None) {
            Ok(socket) => served.push(socket),
            Err(_) => refused += 1,
        }
    }
    assert!((5..=10).contains(&served.len()), "{} served", served.len());
    assert!(refused >= 10, "{refused} refused");
    let first = served.first_mut().ok_or_else(|| anyhow::anyhow!("nobody served"))?;
    first.publish("chat:full", "f-1", json!(1))?;
    served.clear();
    wait::until("a place to become free", || Socket::connect(server.address(), None).ok())?;
    Ok(())
}
