//! The contract of [`Bus`].

use bytes::Bytes;
use skywave_protocol::{ChannelName, Subject};
use tokio::sync::mpsc::Receiver;

use super::check;
use crate::bus::{Bus, BusMessage, Inbox};

/// Runs every check; `open` makes a bus.
pub async fn suite<B: Bus>(open: impl AsyncFn(&str) -> B) {
    let bus = &open("bus").await;
    check("a message reaches every subscription", reaches_everyone(bus)).await;
    check("a message reaches only its own subject", reaches_its_subject_only(bus)).await;
    check("messages of one publisher on one subject keep their order", keeps_order(bus)).await;
    check("a queue group shares messages", group_shares(bus)).await;
    check("groups and plain subscriptions each get a copy", groups_are_independent(bus)).await;
    check("a full inbox drops for itself only and counts", full_inbox(bus)).await;
    check("dropping the guard ends the subscription", dropping_ends(bus)).await;
    check("one inbox may carry many subjects", shared_inbox(bus)).await;
    check("publishing to nobody succeeds", to_nobody(bus)).await;
    check("a gone receiver disturbs nobody", gone_receiver(bus)).await;
}

fn subject(name: &str) -> Subject {
    Subject::live(&ChannelName::parse(name).expect("a test names its channels well"))
}

fn number(n: u32) -> Bytes {
    Bytes::copy_from_slice(&n.to_be_bytes())
}

async fn next(receiver: &mut Receiver<BusMessage>) -> BusMessage {
    receiver.recv().await.expect("the inbox stays open while a subscription holds it")
}

/// Everything that arrived before a mark that the same publisher sends last.
async fn until_mark(bus: &impl Bus, subject: &Subject, receiver: &mut Receiver<BusMessage>) -> Vec<Bytes> {
    let mark = Bytes::from_static(b"mark");
    bus.publish(subject, mark.clone()).expect("a connected bus");
    let mut got = Vec::new();
    loop {
        let message = next(receiver).await;
        if message.payload == mark {
            return got;
        }
        got.push(message.payload);
    }
}

async fn reaches_everyone(bus: &impl Bus) {
    let to = subject("bus:everyone");
    let (first, mut first_messages) = Inbox::new(8);
    let (second, mut second_messages) = Inbox::new(8);
    let _a = bus.subscribe(&to, None, &first).await.expect("subscribe");
    let _b = bus.subscribe(&to, None, &second).await.expect("subscribe");
    bus.publish(&to, number(7)).expect("publish");
    for receiver in [&mut first_messages, &mut second_messages] {
        let message = next(receiver).await;
        assert_eq!((message.subject, message.payload), (to.clone(), number(7)));
    }
}

async fn reaches_its_subject_only(bus: &impl Bus) {
    let (inbox, mut messages) = Inbox::new(8);
    let mine = subject("bus:mine");
    let _a = bus.subscribe(&mine, None, &inbox).await.expect("subscribe");
    for other in ["bus:mine2", "bus:min", "bus:mine.x", "bus"] {
        bus.publish(&subject(other), number(1)).expect("publish");
    }
    assert!(until_mark(bus, &mine, &mut messages).await.is_empty());
}

async fn keeps_order(bus: &impl Bus) {
    let to = subject("bus:order");
    let (inbox, mut messages) = Inbox::new(1_000);
    let _a = bus.subscribe(&to, None, &inbox).await.expect("subscribe");
    for n in 0..500 {
        bus.publish(&to, number(n)).expect("publish");
    }
    let got = until_mark(bus, &to, &mut messages).await;
    assert_eq!(got, (0..500).map(number).collect::<Vec<_>>());
}

async fn group_shares(bus: &impl Bus) {
    let to = subject("bus:group");
    let (first, mut first_messages) = Inbox::new(1_000);
    let (second, mut second_messages) = Inbox::new(1_000);
    let _a = bus.subscribe(&to, Some("core"), &first).await.expect("subscribe");
    let _b = bus.subscribe(&to, Some("core"), &second).await.expect("subscribe");
    for n in 0..400 {
        bus.publish(&to, number(n)).expect("publish");
    }
    let (mut got, mut shares) = (Vec::new(), [0, 0]);
    while got.len() < 400 {
        tokio::select! {
            message = next(&mut first_messages) => { shares[0] += 1; got.push(message.payload) }
            message = next(&mut second_messages) => { shares[1] += 1; got.push(message.payload) }
        }
    }
    got.sort();
    assert_eq!(got, (0..400).map(number).collect::<Vec<_>>(), "each exactly once");
    assert!(shares.iter().all(|share| *share > 50), "nobody is left out: {shares:?}");
}

async fn groups_are_independent(bus: &impl Bus) {
    let to = subject("bus:groups");
    let (one, mut one_messages) = Inbox::new(8);
    let (two, mut two_messages) = Inbox::new(8);
    let (plain, mut plain_messages) = Inbox::new(8);
    let _a = bus.subscribe(&to, Some("one"), &one).await.expect("subscribe");
    let _b = bus.subscribe(&to, Some("two"), &two).await.expect("subscribe");
    let _c = bus.subscribe(&to, None, &plain).await.expect("subscribe");
    bus.publish(&to, number(1)).expect("publish");
    for receiver in [&mut one_messages, &mut two_messages, &mut plain_messages] {
        assert_eq!(next(receiver).await.payload, number(1));
    }
}

async fn full_inbox(bus: &impl Bus) {
    let to = subject("bus:full");
    let (small, mut small_messages) = Inbox::new(2);
    let (large, mut large_messages) = Inbox::new(100);
    let _a = bus.subscribe(&to, None, &small).await.expect("subscribe");
    let _b = bus.subscribe(&to, None, &large).await.expect("subscribe");
    for n in 0..10 {
        bus.publish(&to, number(n)).expect("publish");
    }
    let got = until_mark(bus, &to, &mut large_messages).await;
    assert_eq!(got.len(), 10, "the other inbox has everything");
    // The small inbox may be served by another task: wait until it has dropped what it cannot hold.
    while small.dropped() < 9 {
        tokio::task::yield_now().await;
    }
    assert_eq!(next(&mut small_messages).await.payload, number(0), "what fitted stays, in order");
    assert_eq!(next(&mut small_messages).await.payload, number(1));
    assert_eq!((small.dropped(), large.dropped()), (9, 0), "eight numbers and the mark");
    bus.publish(&to, number(99)).expect("publish");
    assert_eq!(next(&mut small_messages).await.payload, number(99), "an emptied inbox goes on");
}

async fn dropping_ends(bus: &impl Bus) {
    let to = subject("bus:ends");
    let (inbox, mut messages) = Inbox::new(8);
    let (other, mut other_messages) = Inbox::new(8);
    let ended = bus.subscribe(&to, None, &inbox).await.expect("subscribe");
    let _stays = bus.subscribe(&to, None, &other).await.expect("subscribe");
    drop(ended);
    drop(inbox);
    bus.publish(&to, number(1)).expect("publish");
    assert_eq!(next(&mut other_messages).await.payload, number(1));
    assert!(messages.recv().await.is_none(), "the bus lets go of the inbox");
}

async fn shared_inbox(bus: &impl Bus) {
    let (inbox, mut messages) = Inbox::new(16);
    let subjects = ["bus:s1", "bus:s2", "bus:s3"].map(subject);
    let mut guards = Vec::new();
    for to in &subjects {
        guards.push(bus.subscribe(to, None, &inbox).await.expect("subscribe"));
    }
    for (n, to) in (0..).zip(&subjects) {
        bus.publish(to, number(n)).expect("publish");
    }
    let mut got = Vec::new();
    for _ in 0..3 {
        let message = next(&mut messages).await;
        got.push((message.subject, message.payload));
    }
    got.sort();
    let mut sent: Vec<_> = subjects.into_iter().zip((0..).map(number)).collect();
    sent.sort();
    assert_eq!(got, sent);
}

async fn to_nobody(bus: &impl Bus) {
    assert_eq!(bus.publish(&subject("bus:nobody"), number(1)), Ok(()));
}

async fn gone_receiver(bus: &impl Bus) {
    let to = subject("bus:gone");
    let (gone, receiver) = Inbox::new(8);
    let (alive, mut messages) = Inbox::new(8);
    let _a = bus.subscribe(&to, None, &gone).await.expect("subscribe");
    let _b = bus.subscribe(&to, None, &alive).await.expect("subscribe");
    drop(receiver);
    bus.publish(&to, number(1)).expect("publish");
    assert_eq!(next(&mut messages).await.payload, number(1));
}
