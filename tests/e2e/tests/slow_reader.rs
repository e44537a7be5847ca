//! I6: a client that never reads costs only itself.

use std::time::Duration;

use serde_json::json;
use skywave_harness::participant::{Publisher, Subscriber, read_history};
use skywave_harness::{Options, Recorder, Server, Socket, checkers, wait};

#[test]
fn a_client_that_never_reads_is_closed_and_nobody_else_waits() -> anyhow::Result<()> {
    let server = Server::start_with(Options::config("[limits]\noutbox_bytes = 65536\n"))?;
    let recorder = Recorder::default();
    let mut stuck = Socket::connect(server.address(), None)?;
    stuck.subscribe("chat:slow")?;
    let subscriber = Subscriber::start(server.address(), &recorder, "bystander", "chat:slow", None);
    wait::until("the bystander", || subscriber.is_ready().then_some(()))?;
    let publisher = Publisher::start(server.address(), &recorder, "p", "chat:slow", None);
    let before = server.memory()?;
    // Until the kernel's buffers are full and the outbox's bound is reached, whatever they hold.
    let mut flood = Socket::connect(server.address(), None)?;
    let big = "x".repeat(30_000);
    let mut sent = 0;
    while server.metric("skywave_edge_slow_disconnects")? < 1.0 {
        for _ in 0..20 {
            flood.publish("live:slow", &format!("f-{sent}"), json!(big))?;
            flood.publish("chat:slow-big", &format!("f-{sent}"), json!(big))?;
            sent += 1;
        }
        if sent == 20 {
            stuck.start("subscribe", json!({"channel": "chat:slow-big"}))?;
        }
        assert!(sent < 4_000, "the client that never reads is still connected");
    }
    let grown = server.memory()?.saturating_sub(before);
    assert!(grown < 256 * 1024 * 1024, "the server grew by {grown} bytes");
    publisher.finish()?;
    let head = read_history(server.address(), &recorder, "chat:slow", None)?;
    subscriber.finish(head)?;
    let history = recorder.history();
    checkers::assert_holds(&history)?;
    let violations = checkers::slow_costs_only_itself(&history, &["stuck"], Duration::from_secs(10));
    assert!(violations.is_empty(), "{violations:?}");
    // What it missed is there when it comes back.
    let mut back = Socket::connect(server.address(), None)?;
    let answer = back.request(
        "subscribe",
        json!({"channel": "chat:slow", "recover": {"epoch": back_epoch(&mut flood)?, "offset": 0}}),
    )?;
    assert_eq!(answer["subscribed"]["recovery"], "exact", "{answer}");
    Ok(())
}

fn back_epoch(socket: &mut Socket) -> anyhow::Result<String> {
    Ok(socket.subscribe("chat:epoch")?["epoch"].as_str().unwrap_or_default().to_owned())
}
