//! How exact the links are: what a perfect one adds to a round trip, how far a delayed one is off, and how much passes.
//! `cargo run -p skywave-wan --example precision`; figures in `docs/cluster.md`.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement for people to read")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use skywave_wan::{Change, ForwardSpec, LocalWan, Protocol};

const ROUNDS: usize = 5_000;

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let wan = LocalWan::start(folder.path(), 1)?;
    let mut control = wan.control()?;
    control.link("a", "b")?;
    let (tcp, udp) = (tcp_echo()?, udp_echo()?);
    let mut forward = |name: &str, protocol, target| {
        let (from, to) = ("a".into(), "b".into());
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        control.forward(ForwardSpec { name: name.into(), protocol, from, to, listen, target })
    };
    let (tcp_far, udp_far) = (forward("tcp", Protocol::Tcp, tcp)?, forward("udp", Protocol::Udp, udp)?);

    println!("round trips of 100 bytes, microseconds            p50     p99");
    show("TCP direct", tcp_trips(tcp, ROUNDS)?);
    show("TCP over a perfect link", tcp_trips(tcp_far, ROUNDS)?);
    show("UDP direct", udp_trips(udp, ROUNDS)?);
    show("UDP over a perfect link", udp_trips(udp_far, ROUNDS)?);
    println!("{:<45} {:>6.0} MB/s", "TCP over a perfect link", throughput(tcp_far)?);

    control.shape("a", "b", Change { delay_ms: Some(20.0), ..Change::default() })?;
    let beyond =
        |trips: Vec<Duration>| trips.into_iter().map(|trip| trip - Duration::from_millis(40)).collect();
    show("TCP, 20 ms each way: beyond 40 ms", beyond(tcp_trips(tcp_far, 300)?));
    show("UDP, 20 ms each way: beyond 40 ms", beyond(udp_trips(udp_far, 300)?));
    Ok(())
}

fn show(name: &str, mut trips: Vec<Duration>) {
    trips.sort();
    let at = |share: usize| trips[trips.len() * share / 100].as_secs_f64() * 1e6;
    println!("{name:<45} {:>7.0} {:>7.0}", at(50), at(99));
}

fn tcp_echo() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                stream.set_nodelay(true).unwrap();
                let mut buffer = [0; 65_536];
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..read]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(address)
}

fn udp_echo() -> anyhow::Result<SocketAddr> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let address = socket.local_addr()?;
    std::thread::spawn(move || {
        let mut buffer = [0; 2_048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
        }
    });
    Ok(address)
}

fn tcp_trips(address: SocketAddr, rounds: usize) -> anyhow::Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut trip = || {
        let begin = Instant::now();
        stream.write_all(&[1; 100])?;
        stream.read_exact(&mut [0; 100])?;
        Ok(begin.elapsed())
    };
    (0..rounds).map(|_| trip()).collect()
}

fn udp_trips(address: SocketAddr, rounds: usize) -> anyhow::Result<Vec<Duration>> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let trip = || {
        let begin = Instant::now();
        socket.send(&[1; 100])?;
        socket.recv(&mut [0; 100])?;
        Ok(begin.elapsed())
    };
    (0..rounds).map(|_| trip()).collect()
}

/// Megabytes a second each way of an echoed stream.
fn throughput(address: SocketAddr) -> anyhow::Result<f64> {
    const BYTES: usize = 400_000_000;
    let stream = TcpStream::connect(address)?;
    let begin = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let chunk = vec![1; 1 << 20];
            let mut left = BYTES;
            while left > 0 {
                let part = left.min(chunk.len());
                (&stream).write_all(&chunk[..part]).unwrap();
                left -= part;
            }
        });
        let mut buffer = vec![0; 1 << 20];
        let mut read = 0;
        while read < BYTES {
            read += (&stream).read(&mut buffer).unwrap();
        }
    });
    Ok(BYTES as f64 / 1e6 / begin.elapsed().as_secs_f64())
}
