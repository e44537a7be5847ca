//! What a backend hears of channels on NATS: each publication once, as JSON, and by the documented rule all of them in order,
//! whatever is killed meanwhile.

use anyhow::Context;
use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use serde_json::{Value, json};
use skywave_harness::{Socket, wait};

use crate::cell::{CORES, Cell, EDGES};
use crate::rights::Backend;

/// Settings of edges and cores.
pub(crate) const SETTINGS: &str =
    "[namespaces.chat]\nlive_json = true\n[namespaces.live]\nlive_json = true\n";

struct Listener<'a> {
    backend: &'a Backend,
    messages: Subscriber,
}

impl<'a> Listener<'a> {
    fn open(backend: &'a Backend, subject: &str) -> anyhow::Result<Self> {
        let messages = backend.runtime.block_on(async {
            let messages = backend.client.subscribe(subject.to_owned()).await?;
            backend.client.flush().await?;
            anyhow::Ok(messages)
        })?;
        Ok(Self { backend, messages })
    }

    fn next(&mut self) -> anyhow::Result<(String, Value)> {
        let next = async { tokio::time::timeout(wait::PATIENCE, self.messages.next()).await };
        let Message { subject, payload, .. } =
            self.backend.runtime.block_on(next).context("nothing is heard")?.context("the end")?;
        Ok((subject.to_string(), serde_json::from_slice(&payload)?))
    }
}

/// The very message, of either kind of channel, and once although both edges follow the channel.
pub(crate) fn once(cell: &Cell) -> anyhow::Result<()> {
    let backend = Backend::connect(&cell.cluster)?;
    let (channel, typing) = ("chat:json/1", "live:json");
    let mut durable = Listener::open(&backend, "sw.json.chat.chat:json=2F1")?;
    let mut ephemeral = Listener::open(&backend, "sw.json.live.*")?;
    let mut heads = Listener::open(&backend, "sw.head.chat.chat:json=2F1")?;
    // Not asked for: nothing of it goes out.
    let mut private = Listener::open(&backend, "sw.json.user.*")?;
    let mut readers = Vec::new();
    for edge in EDGES {
        let mut socket = cell.connect(edge, "reader")?;
        socket.subscribe(channel)?;
        readers.push(socket);
    }
    let mut publisher = cell.connect(EDGES[1], "ada")?;
    publisher.publish("user:ada", "u-1", json!("private"))?;
    let mut epoch = Value::Null;
    for number in 1..=50_u64 {
        let published = publisher.publish(channel, &format!("j-{number}"), json!({ "n": number }))?;
        epoch = published["epoch"].clone();
        publisher.publish(typing, &format!("t-{number}"), json!([number]))?;
    }
    // A second time under the same id: no second publication.
    publisher.publish(channel, "j-50", json!({ "n": 50 }))?;
    publisher.publish(channel, "j-51", json!({ "n": 51 }))?;
    for number in 1..=51_u64 {
        let (subject, heard) = durable.next()?;
        anyhow::ensure!(subject == "sw.json.chat.chat:json=2F1", "{subject}");
        let pushed = readers[0].push()?["pub"].clone();
        // The epoch need not be repeated to a client that knows it.
        let mut expected = pushed.clone();
        expected["epoch"] = epoch.clone();
        anyhow::ensure!(heard == expected, "{heard} instead of {expected}");
        anyhow::ensure!(heard["offset"] == number && heard["data"]["n"] == number, "{heard}");
        anyhow::ensure!(heard["id"] == format!("j-{number}") && heard["from"] == "ada", "{heard}");
    }
    for number in 1..=50_u64 {
        let (_, heard) = ephemeral.next()?;
        anyhow::ensure!(heard["channel"] == typing && heard["data"] == json!([number]), "{heard}");
        anyhow::ensure!(heard.get("offset").is_none() && heard["time"].is_u64(), "{heard}");
    }
    // The newest position is told a little later, for whoever has lost the last publication.
    wait::until("the head", || {
        let (_, head) = heads.next().ok()?;
        (head == json!({ "channel": channel, "epoch": epoch, "offset": 51 })).then_some(())
    })?;
    backend.runtime.block_on(backend.client.flush())?;
    let stray = backend.runtime.block_on(async {
        let soon = std::time::Duration::from_millis(100);
        tokio::time::timeout(soon, private.messages.next()).await.ok().flatten()
    });
    anyhow::ensure!(stray.is_none(), "{stray:?}");
    let counted: f64 =
        CORES.iter().map(|core| cell.metric(core, "skywave_core_live_json_total").unwrap_or(0.0)).sum();
    anyhow::ensure!(counted >= 51.0, "{counted} counted");
    Ok(())
}

/// Follows a channel by the rule of `docs/backends.md`: smaller offsets are copies, a larger one is a hole to be read.
struct Follower {
    last: u64,
    seen: Vec<String>,
    copies: usize,
    read: usize,
}

impl Follower {
    fn heard(&mut self, backend: &Backend, channel: &str, publication: &Value) -> anyhow::Result<()> {
        let offset = publication["offset"].as_u64().context("no offset")?;
        if offset <= self.last {
            self.copies += 1;
            return Ok(());
        }
        if offset > self.last + 1 {
            self.fill(backend, channel, offset)?;
        }
        self.take(publication)
    }

    /// Everything before an offset.
    fn fill(&mut self, backend: &Backend, channel: &str, before: u64) -> anyhow::Result<()> {
        while self.last + 1 < before {
            let question = json!({ "channel": channel, "after": self.last, "before": before });
            // While a partition changes its owner, nobody can read.
            let page = wait::until("history", || backend.ask("history.chat", &question).ok())?;
            let publications = page["publications"].as_array().context("no page")?.clone();
            for publication in &publications {
                self.take(publication)?;
            }
            self.read += publications.len();
        }
        Ok(())
    }

    fn take(&mut self, publication: &Value) -> anyhow::Result<()> {
        anyhow::ensure!(publication["offset"] == self.last + 1, "after {}: {publication}", self.last);
        self.last += 1;
        self.seen.push(publication["id"].as_str().unwrap_or_default().to_owned());
        Ok(())
    }
}

/// A core is killed while it has much to sequence: its successor repeats some, and the backend's connection, which is cut as well,
/// loses some.
pub(crate) fn all_of_it(cell: &Cell) -> anyhow::Result<()> {
    const CHANNEL: &str = "chat:json-all";
    const ALL: u64 = 400;
    let backend = Backend::connect(&cell.cluster)?;
    let mut follower = Follower { last: 0, seen: Vec::new(), copies: 0, read: 0 };
    let mut listener = Listener::open(&backend, "sw.json.chat.chat:json-all")?;
    let mut publisher = cell.connect(EDGES[0], "ada")?;
    let mut published = 0;
    let publish = |publisher: &mut Socket, until: u64, published: &mut u64| {
        while *published < until {
            let body = json!({ "channel": CHANNEL, "id": format!("a-{published}"), "data": *published });
            wait::until("an acknowledgement", || {
                publisher.request("publish", body.clone()).ok()?.get("published").map(|_| ())
            })?;
            *published += 1;
        }
        anyhow::Ok(())
    };
    publish(&mut publisher, 100, &mut published)?;
    while follower.last < 50 {
        let (_, publication) = listener.next()?;
        follower.heard(&backend, CHANNEL, &publication)?;
    }
    for core in CORES {
        cell.cluster.kill9(core)?;
        publish(&mut publisher, published + 100, &mut published)?;
        cell.cluster.restart(core)?;
    }
    // What comes while nobody listens is lost to the backend, and found by the next offset.
    drop(listener);
    backend.runtime.block_on(backend.client.flush())?;
    publish(&mut publisher, published + 50, &mut published)?;
    let mut listener = Listener::open(&backend, "sw.json.chat.chat:json-all")?;
    publish(&mut publisher, ALL, &mut published)?;
    while follower.last < ALL {
        let (_, publication) = listener.next()?;
        follower.heard(&backend, CHANNEL, &publication)?;
    }
    let expected: Vec<String> = (0..ALL).map(|number| format!("a-{number}")).collect();
    anyhow::ensure!(follower.seen == expected, "{:?}", follower.seen);
    anyhow::ensure!(follower.read > 0, "there was no hole to read");
    println!("  {ALL} in order: {} copies dropped, {} read from history", follower.copies, follower.read);
    Ok(())
}
