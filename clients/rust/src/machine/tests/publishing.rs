//! Publishes: their order, their retries, their bounds.

use super::*;

#[test]
fn unanswered_publishes_go_out_again_in_order_under_their_ids() {
    let (mut script, link) = Script::connected();
    for ticket in 1..=5 {
        script.publish(ticket);
    }
    let sent = script.sent(link);
    assert_eq!(published_ids(&sent), ["m1", "m2", "m3", "m4", "m5"]);
    let published = Published { position: Some(position(1)), duplicate: false };
    script.reply(link, sent[0].id, Reply::Published(published.clone()));
    assert!(script.outputs.contains(&Output::Published { ticket: 1, result: Ok(published) }));
    script.lose(link, None);
    let link = script.reconnect();
    assert_eq!(published_ids(&script.sent(link)), ["m2", "m3", "m4", "m5"]);
}

#[test]
fn a_publish_that_gets_no_answer_costs_the_connection() {
    let (mut script, link) = Script::connected();
    script.publish(1);
    script.sent(link);
    script.wait();
    assert_eq!(script.now, 20_000);
    assert!(script.outputs.contains(&Output::Shut(link)));
    let link = script.reconnect();
    assert_eq!(published_ids(&script.sent(link)), ["m1"]);
}

#[test]
fn what_is_too_large_for_the_server_is_not_sent() {
    let (mut script, link) = Script::connected();
    script.machine.publish(Outgoing {
        ticket: 1,
        channel: channel("c"),
        id: None,
        data: Payload::Json(bytes::Bytes::from(format!("\"{}\"", "x".repeat(70_000)))),
        durable: true,
        deadline: None,
    });
    script.publish(2);
    assert_eq!(published_ids(&script.sent(link)), ["m2"]);
    let refused = script.outputs.iter().any(|output| {
        matches!(output, Output::Published { ticket: 1, result: Err(PublishError::Refused(error)) }
            if error.code == ErrorCode::TooLarge)
    });
    assert!(refused, "{:?}", script.outputs);
}

#[test]
fn a_batch_holds_no_more_requests_than_the_server_takes() {
    let mut script = Script::new(Settings { window: 1_000, ..settings() });
    let link = script.opened();
    script.accept(link);
    for ticket in 0..200 {
        script.publish(ticket);
    }
    let mut sizes = Vec::new();
    while let Some(frame) = script.machine.transmit(0, link) {
        sizes.push(json::split(&frame).count());
    }
    assert_eq!(sizes, [64, 64, 64, 8]);
}
