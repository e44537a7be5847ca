//! The contract of [`Events`].

use bytes::Bytes;

use super::check;
use crate::events::{
    DEAD_LETTER, Event, EventStream, Events, EventsError, NewEvent, SYSTEM_EVENTS, dead_letter,
};

/// Runs every check; `open` opens the events of a name, where [`SYSTEM_EVENTS`] and [`DEAD_LETTER`] can be published to (see
/// the module above).
pub async fn suite<E: Events>(open: impl AsyncFn(&str) -> E) {
    check("an event arrives whole", whole(&open("whole").await)).await;
    check("events of a key come in order", in_order(&open("order").await)).await;
    check("next gives at least one and at most max, and is cancel-safe", at_most_max(&open("max").await))
        .await;
    check("every group is given everything, from the oldest on", groups(&open("groups").await)).await;
    check("what was confirmed does not come again, the rest does", confirms(&open)).await;
    check("a member that leaves leaves its events to another", takes_over(&open("members").await)).await;
    check("topics are apart", topics(&open("topics").await)).await;
    check("an event that is too large is refused", too_large(&open("large").await)).await;
}

fn event(key: &'static str, n: u64) -> NewEvent {
    let (key, value) = (Bytes::from_static(key.as_bytes()), Bytes::from(format!("{key} {n}")));
    NewEvent { topic: SYSTEM_EVENTS.into(), key, value, headers: Vec::new() }
}

async fn publish(events: &impl Events, event: NewEvent) {
    events.publish(event).await.expect("a publish");
}

async fn subscribe(events: &impl Events, group: &str) -> Box<dyn EventStream> {
    events.subscribe(group, &[SYSTEM_EVENTS]).await.expect("a subscription")
}

async fn collect(stream: &mut dyn EventStream, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        events.extend(stream.next(count - events.len()).await.expect("events"));
    }
    events
}

/// Their values, in an order that does not depend on that of different keys.
fn sorted(events: &[Event]) -> Vec<Bytes> {
    let mut values: Vec<_> = events.iter().map(|event| event.value.clone()).collect();
    values.sort();
    values
}

async fn whole(events: &impl Events) {
    let empty = NewEvent { value: Bytes::new(), ..event("empty", 0) };
    publish(events, empty.clone()).await;
    let letter = dead_letter(
        "log 3 at 14",
        "it cannot be read",
        Bytes::from_static(b"key"),
        Bytes::from_static(b"\0\xff"),
    );
    publish(events, letter.clone()).await;
    let mut stream = events.subscribe("whole", &[SYSTEM_EVENTS, DEAD_LETTER]).await.expect("a subscription");
    for got in collect(&mut *stream, 2).await {
        let sent = if got.topic == DEAD_LETTER { &letter } else { &empty };
        assert_eq!((&got.key, &got.value, &got.headers), (&sent.key, &sent.value, &sent.headers));
        assert_eq!((&got.topic, got.offset), (&sent.topic, 0));
    }
}

async fn in_order(events: &impl Events) {
    for n in 0..50 {
        for key in ["a", "b", "c"] {
            publish(events, event(key, n)).await;
        }
    }
    let mut stream = subscribe(events, "order").await;
    let got = collect(&mut *stream, 150).await;
    for key in ["a", "b", "c"] {
        let values: Vec<_> =
            got.iter().filter(|event| event.key == key).map(|event| event.value.clone()).collect();
        assert_eq!(values, (0..50).map(|n| event(key, n).value).collect::<Vec<_>>());
        let places = got.iter().filter(|event| event.key == key).map(|event| (event.partition, event.offset));
        assert!(
            places.is_sorted_by(|one, next| one.0 == next.0 && one.1 < next.1),
            "a key has one partition"
        );
    }
}

async fn at_most_max(events: &impl Events) {
    for n in 0..30 {
        publish(events, event("key", n)).await;
    }
    let mut stream = subscribe(events, "max").await;
    let mut got = Vec::new();
    while got.len() < 30 {
        tokio::select! {
            biased;
            some = stream.next(4) => {
                let some = some.expect("events");
                assert!(!some.is_empty() && some.len() <= 4, "{} events", some.len());
                got.extend(some);
            }
            () = tokio::time::sleep(std::time::Duration::from_micros(50)) => {}
        }
    }
    assert_eq!(sorted(&got), sorted_values("key", 0..30));
}

fn sorted_values(key: &'static str, range: std::ops::Range<u64>) -> Vec<Bytes> {
    let mut values: Vec<_> = range.map(|n| event(key, n).value).collect();
    values.sort();
    values
}

async fn groups(events: &impl Events) {
    for n in 0..10 {
        publish(events, event("key", n)).await;
    }
    for group in ["first", "second"] {
        let mut stream = subscribe(events, group).await;
        assert_eq!(sorted(&collect(&mut *stream, 10).await), sorted_values("key", 0..10));
    }
}

async fn confirms<E: Events>(open: &impl AsyncFn(&str) -> E) {
    {
        let events = open("confirm").await;
        for n in 0..10 {
            publish(&events, event("key", n)).await;
        }
        let mut stream = subscribe(&events, "confirm").await;
        collect(&mut *stream, 4).await;
        stream.confirm().await.expect("a confirmation");
        collect(&mut *stream, 3).await;
    }
    let events = open("confirm").await;
    let mut stream = subscribe(&events, "confirm").await;
    assert_eq!(sorted(&collect(&mut *stream, 6).await), sorted_values("key", 4..10));
}

async fn takes_over(events: &impl Events) {
    for n in 0..10 {
        publish(events, event("key", n)).await;
    }
    let mut first = subscribe(events, "members").await;
    collect(&mut *first, 10).await;
    let mut second = subscribe(events, "members").await;
    drop(first);
    assert_eq!(
        sorted(&collect(&mut *second, 10).await),
        sorted_values("key", 0..10),
        "nothing was confirmed"
    );
}

async fn topics(events: &impl Events) {
    publish(events, event("key", 0)).await;
    publish(events, NewEvent { topic: DEAD_LETTER.into(), ..event("key", 1) }).await;
    let mut stream = events.subscribe("topics", &[DEAD_LETTER]).await.expect("a subscription");
    assert_eq!(collect(&mut *stream, 1).await[0].value, event("key", 1).value);
    publish(events, event("key", 2)).await;
    publish(events, NewEvent { topic: DEAD_LETTER.into(), ..event("key", 3) }).await;
    assert_eq!(collect(&mut *stream, 1).await[0].value, event("key", 3).value);
}

async fn too_large(events: &impl Events) {
    let limit = events.event_bytes();
    let large = |bytes| NewEvent { value: Bytes::from(vec![7; bytes]), ..event("key", 0) };
    let refused = events.publish(large(limit + 1)).await;
    assert_eq!(refused, Err(EventsError::TooLarge { limit, got: limit + 1 }));
    publish(events, large(limit)).await;
    let mut stream = subscribe(events, "large").await;
    assert_eq!(collect(&mut *stream, 1).await[0].value.len(), limit);
}
