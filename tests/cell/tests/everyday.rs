//! What a cell does when nothing fails: one relay, whichever edge a client comes to.

use anyhow::Context;
use serde_json::{Value, json};
use skywave_harness::{Socket, wait};

use crate::cell::{CORES, Cell, EDGES};

pub(crate) fn another_edge(cell: &Cell) -> anyhow::Result<()> {
    let (mut here, mut there) = (cell.connect(EDGES[0], "ada")?, cell.connect(EDGES[1], "bob")?);
    // Sixty-four channels: some on every partition, so on both cores.
    for number in 0..64 {
        let channel = format!("chat:everyday-{number}");
        there.subscribe(&channel)?;
        let published = here.publish(&channel, "m-1", json!({ "number": number }))?;
        anyhow::ensure!(published["offset"] == 1, "{published}");
        let publication = there.push()?["pub"].clone();
        anyhow::ensure!(publication["channel"] == channel.as_str(), "{publication}");
        anyhow::ensure!(publication["offset"] == 1 && publication["from"] == "ada", "{publication}");
        anyhow::ensure!(publication["data"] == json!({ "number": number }), "{publication}");
    }
    there.subscribe("live:everyday")?;
    here.publish("live:everyday", "c-1", json!("typing"))?;
    let publication = there.push()?["pub"].clone();
    anyhow::ensure!(publication["data"] == "typing" && publication.get("offset").is_none(), "{publication}");
    Ok(())
}

/// An acknowledged publication is read at once, at either edge, whichever core the question reaches: the tail that is not
/// stored yet is the owner's.
pub(crate) fn history(cell: &Cell) -> anyhow::Result<()> {
    let (mut here, mut there) = (cell.connect(EDGES[0], "ada")?, cell.connect(EDGES[1], "bob")?);
    for number in 1..=100_u64 {
        let channel = format!("chat:history-{}", number % 10);
        let published = here.publish(&channel, &format!("m-{number}"), json!(number))?;
        let offset = published["offset"].as_u64().context("no offset")?;
        for socket in [&mut here, &mut there] {
            let answer = socket.request("history", json!({ "channel": channel, "after": offset - 1 }))?;
            let page = &answer["history"];
            anyhow::ensure!(page["offset"] == offset, "{answer}");
            anyhow::ensure!(page["publications"][0]["data"] == number, "{answer}");
        }
    }
    for core in CORES {
        let passed = cell.metric(core, "skywave_core_history_passed_on_total")?;
        let answered = cell.metric(core, "skywave_core_history_reads_total")?;
        anyhow::ensure!(passed > 0.0 && answered > 0.0, "{core} passed {passed} on and answered {answered}");
    }
    Ok(())
}

pub(crate) fn recovery(cell: &Cell) -> anyhow::Result<()> {
    let channel = "chat:recovery";
    let mut here = cell.connect(EDGES[0], "ada")?;
    here.subscribe(channel)?;
    let seen = here.publish(channel, "m-0", json!(0))?;
    drop(here);
    let mut publisher = cell.connect(EDGES[0], "bob")?;
    for number in 1..=20 {
        publisher.publish(channel, &format!("m-{number}"), json!(number))?;
    }
    let mut there = cell.connect(EDGES[1], "ada")?;
    let recover = json!({ "epoch": seen["epoch"], "offset": seen["offset"] });
    let answer = there.request("subscribe", json!({ "channel": channel, "recover": recover }))?;
    anyhow::ensure!(answer["subscribed"]["recovery"] == "exact", "{answer}");
    for number in 1..=20 {
        let push = there.push()?;
        anyhow::ensure!(push["pub"]["data"] == number, "instead of {number}: {push}");
    }
    Ok(())
}

/// Two clients were away for so long that the ring of their edge is not enough: the first one's edge asks the core for what they
/// missed, and the second one's, another edge, finds it in the region's Redis.
pub(crate) fn the_past(cell: &Cell) -> anyhow::Result<()> {
    const MISSED: u64 = 700;
    let channel = "chat:the-past";
    let (mut here, mut there) = (cell.connect(EDGES[0], "ada")?, cell.connect(EDGES[1], "bob")?);
    let seen = here.subscribe(channel)?;
    there.subscribe(channel)?;
    let mut publisher = cell.connect(EDGES[0], "eve")?;
    for number in 1..=MISSED {
        publisher
            .start("publish", json!({ "channel": channel, "id": format!("m-{number}"), "data": number }))?;
        if number % 100 == 0 {
            for _ in 0..100 {
                let (_, answer) = publisher.any_answer()?;
                anyhow::ensure!(answer.get("published").is_some(), "{answer}");
            }
        }
    }
    for edge in EDGES {
        let hits = || cell.metric(edge, "skywave_edge_history_cache_hits_total");
        let before = hits()?;
        let come_back = || -> anyhow::Result<()> {
            let mut client = cell.connect(edge, "mallory")?;
            let recover = json!({ "epoch": seen["epoch"], "offset": 20 });
            let answer = client.request("subscribe", json!({ "channel": channel, "recover": recover }))?;
            anyhow::ensure!(answer["subscribed"]["recovery"] == "exact", "{answer}");
            for number in 21..=MISSED {
                let push = client.push()?;
                anyhow::ensure!(push["pub"]["data"] == number, "instead of {number}: {push}");
            }
            Ok(())
        };
        come_back()?;
        if edge == EDGES[0] {
            // What it has read is put there meanwhile.
            wait::until("the past to lie in Redis", || {
                (come_back().is_ok() && hits().ok()? > before).then_some(())
            })?;
        } else {
            anyhow::ensure!(hits()? > before, "{edge} asked the core for all of it");
        }
    }
    Ok(())
}

fn members(socket: &mut Socket, channel: &str) -> anyhow::Result<Vec<String>> {
    let answer = socket.request("presence", json!({ "channel": channel }))?;
    let members = answer["presence"]["members"].as_array().cloned().unwrap_or_default();
    let mut users: Vec<String> =
        members.iter().filter_map(|member| member["user"].as_str()).map(str::to_owned).collect();
    users.sort();
    Ok(users)
}

fn enter(cell: &Cell, edge: &str, user: &str, channel: &str) -> anyhow::Result<Socket> {
    let mut socket = cell.connect(edge, user)?;
    let answer = socket.request("subscribe", json!({ "channel": channel, "presence": true }))?;
    anyhow::ensure!(answer.get("subscribed").is_some(), "{answer}");
    Ok(socket)
}

fn news(socket: &mut Socket, verb: &str, user: &str) -> anyhow::Result<()> {
    let push: Value = socket.push()?;
    anyhow::ensure!(push[verb]["user"] == user, "instead of {verb} of {user}: {push}");
    Ok(())
}

pub(crate) fn presence(cell: &Cell) -> anyhow::Result<()> {
    let channel = "chat:presence";
    let mut watcher = enter(cell, EDGES[0], "watcher", channel)?;
    news(&mut watcher, "join", "watcher")?;
    let mut ada = enter(cell, EDGES[1], "ada", channel)?;
    news(&mut watcher, "join", "ada")?;
    for socket in [&mut watcher, &mut ada] {
        wait::until("both members to be known", || {
            members(socket, channel).ok().filter(|members| *members == ["ada", "watcher"])
        })?;
    }
    // A second tab at the other edge changes nothing, and the first one's end does not either.
    let second = enter(cell, EDGES[0], "ada", channel)?;
    drop(ada);
    wait::until("the first tab to be gone", || {
        members(&mut watcher, channel).ok().filter(|members| members.len() == 2)
    })?;
    drop(second);
    news(&mut watcher, "leave", "ada")?;

    // The members of an edge that is killed leave with its lease.
    let _ghost = enter(cell, EDGES[1], "ghost", channel)?;
    news(&mut watcher, "join", "ghost")?;
    cell.cluster.kill9(EDGES[1])?;
    news(&mut watcher, "leave", "ghost")?;
    cell.cluster.restart(EDGES[1])
}

pub(crate) fn health(cell: &Cell) -> anyhow::Result<()> {
    for edge in EDGES {
        let (status, body) = cell.health(edge)?;
        anyhow::ensure!(status == 200 && body["status"] == "ready", "{body}");
    }
    for core in CORES {
        // A core that looked for the application's topic before it was made looks again a little later.
        let body = wait::until(&format!("{core} to be ready"), || {
            let (status, body) = cell.health(core).ok()?;
            (status == 200 && body["status"] == "ready").then_some(body)
        })?;
        let names: Vec<&str> = body["components"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|it| it["name"].as_str())
            .collect();
        anyhow::ensure!(names == ["bus", "log", "store", "partitions", "topics"], "{names:?}");
        anyhow::ensure!(cell.metric(core, "process_threads")? > 0.0, "no metrics");
        anyhow::ensure!(cell.metric(core, "skywave_kafka_appended_total")? > 0.0, "no metrics of the log");
    }
    Ok(())
}
