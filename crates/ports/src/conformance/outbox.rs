//! The contract of [`Outbox`].

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use skywave_protocol::{Epoch, Payload};

use super::check;
use crate::outbox::{Mark, Outbox, OutboxRow, OutboxTurn, RowId, Settlement};

/// An outbox with the application's side of it.
#[async_trait]
pub trait Tested: Outbox {
    /// Writes rows (channel, message id, publisher, data) in one transaction.
    async fn write(&self, rows: &[(&str, &str, Option<&str>, Payload)]);
    /// Message ids and reasons of the rows that were refused, in the order of the rows.
    async fn refused(&self) -> Vec<(String, String)>;
}

/// Runs every check; `open` opens the outbox of a name (see the module above).
pub async fn suite<O: Tested>(open: impl AsyncFn(&str) -> O) {
    check("rows come as they were written, oldest first", faithful(&open("faithful").await)).await;
    check("rows stay until they are settled", stay(&open("stay").await)).await;
    check("marks survive a restart and are not replaced", marks(&open)).await;
    check("settled rows are gone, refused ones kept aside", settled(&open)).await;
    check("rows that are gone are passed over", gone(&open("gone").await)).await;
    check("only one has the turn", turns(&open)).await;
    check("many rows are taken at once", many(&open("many").await)).await;
}

fn json(text: &str) -> Payload {
    Payload::Json(Bytes::copy_from_slice(text.as_bytes()))
}

async fn write(outbox: &impl Tested, ids: &[&str]) {
    let rows: Vec<_> = ids.iter().map(|id| ("c:1", *id, None, json("1"))).collect();
    outbox.write(&rows).await;
}

async fn turn(outbox: &impl Outbox) -> Box<dyn OutboxTurn> {
    outbox.turn().await.expect("a turn")
}

async fn rows(turn: &mut Box<dyn OutboxTurn>, max: usize) -> Vec<OutboxRow> {
    turn.rows(max).await.expect("rows")
}

fn ids(rows: &[OutboxRow]) -> Vec<&str> {
    rows.iter().map(|row| row.message_id.as_str()).collect()
}

fn mark(epoch: &str, after: u64) -> Mark {
    Mark { epoch: Epoch::parse(epoch).expect("an epoch"), after }
}

async fn faithful(outbox: &impl Tested) {
    let written = [
        ("c:1", "a", Some("ada"), json(r#"{"b": [1,2],"a":"\u0000'\"\\"}"#)),
        ("c:2", "b", None, Payload::Binary(Bytes::from((0..=255).collect::<Vec<u8>>()))),
        ("c", "c", Some("世 界"), Payload::Binary(Bytes::new())),
        ("c:1", "d", None, json("null")),
    ];
    outbox.write(&written[..1]).await;
    outbox.write(&written[1..]).await;
    let rows = rows(&mut turn(outbox).await, 10).await;
    assert!(rows.windows(2).all(|pair| pair[0].id < pair[1].id));
    assert_eq!(rows.len(), written.len());
    for (row, (channel, id, publisher, data)) in rows.iter().zip(&written) {
        let got = (row.channel.as_str(), row.message_id.as_str(), row.publisher.as_deref(), &row.data);
        assert_eq!(got, (*channel, *id, *publisher, data));
        assert_eq!(row.mark, None);
    }
}

async fn stay(outbox: &impl Tested) {
    write(outbox, &["1", "2", "3"]).await;
    let mut first = turn(outbox).await;
    assert_eq!(ids(&rows(&mut first, 2).await), ["1", "2"]);
    assert_eq!(ids(&rows(&mut first, 2).await), ["1", "2"], "reading changes nothing");
    write(outbox, &["4"]).await;
    assert_eq!(ids(&rows(&mut first, 9).await), ["1", "2", "3", "4"]);
}

async fn marks<O: Tested>(open: &impl AsyncFn(&str) -> O) {
    let outbox = open("marks").await;
    write(&outbox, &["1", "2", "3"]).await;
    let mut first = turn(&outbox).await;
    let found: Vec<RowId> = rows(&mut first, 9).await.iter().map(|row| row.id).collect();
    first.mark(vec![(found[0], mark("e", 0)), (found[1], mark("e", 77))]).await.expect("marks");
    first.mark(vec![(found[1], mark("f", 99)), (found[2], mark("f", u64::MAX >> 1))]).await.expect("marks");
    first.mark(Vec::new()).await.expect("none");
    drop((first, outbox));
    let kept = rows(&mut turn(&open("marks").await).await, 9).await;
    let kept: Vec<_> = kept.into_iter().map(|row| row.mark).collect();
    assert_eq!(kept, [Some(mark("e", 0)), Some(mark("e", 77)), Some(mark("f", u64::MAX >> 1))]);
}

async fn settled<O: Tested>(open: &impl AsyncFn(&str) -> O) {
    let outbox = open("settled").await;
    write(&outbox, &["1", "2", "3", "4"]).await;
    let mut first = turn(&outbox).await;
    let found: Vec<RowId> = rows(&mut first, 9).await.iter().map(|row| row.id).collect();
    let refused = |why: &str| Settlement::Refused(why.to_owned());
    let settled = vec![
        (found[0], Settlement::Published),
        (found[1], refused("no 'such' channel")),
        (found[3], refused("late")),
    ];
    first.settle(settled).await.expect("settled");
    assert_eq!(ids(&rows(&mut first, 9).await), ["3"]);
    drop((first, outbox));
    let again = open("settled").await;
    assert_eq!(ids(&rows(&mut turn(&again).await, 9).await), ["3"]);
    let refused = again.refused().await;
    let refused: Vec<_> = refused.iter().map(|(id, why)| (id.as_str(), why.as_str())).collect();
    assert_eq!(refused, [("2", "no 'such' channel"), ("4", "late")]);
}

async fn gone(outbox: &impl Tested) {
    write(outbox, &["1", "2"]).await;
    let mut first = turn(outbox).await;
    let found: Vec<RowId> = rows(&mut first, 9).await.iter().map(|row| row.id).collect();
    first.settle(vec![(found[0], Settlement::Published)]).await.expect("settled");
    first.mark(vec![(found[0], mark("e", 1)), (found[1], mark("e", 2))]).await.expect("marks");
    let again = vec![(found[0], Settlement::Refused("late".into())), (found[1], Settlement::Published)];
    first.settle(again).await.expect("settled");
    assert_eq!(rows(&mut first, 9).await.len(), 0);
    assert_eq!(outbox.refused().await.len(), 0);
}

async fn turns<O: Tested>(open: &impl AsyncFn(&str) -> O) {
    let outbox = open("turns").await;
    let other = open("turns").await;
    write(&outbox, &["1"]).await;
    let first = turn(&outbox).await;
    {
        let mut waiting = std::pin::pin!(other.turn());
        // The only thing that can be seen of somebody who waits is that nothing comes.
        assert!(tokio::time::timeout(Duration::from_millis(300), &mut waiting).await.is_err());
        drop(first);
        let mut second = waiting.await.expect("the next turn");
        assert_eq!(ids(&rows(&mut second, 9).await), ["1"]);
    }
    assert_eq!(ids(&rows(&mut turn(&outbox).await, 9).await), ["1"]);
}

async fn many(outbox: &impl Tested) {
    let names: Vec<String> = (0..2_000).map(|n| n.to_string()).collect();
    write(outbox, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let mut first = turn(outbox).await;
    let found = rows(&mut first, 1_500).await;
    assert!(ids(&found).iter().eq(names[..1_500].iter()), "in order");
    first.mark(found.iter().map(|row| (row.id, mark("e", 5))).collect()).await.expect("marks");
    first.settle(found.iter().map(|row| (row.id, Settlement::Published)).collect()).await.expect("settled");
    assert_eq!(rows(&mut first, 5_000).await.len(), 500);
}
