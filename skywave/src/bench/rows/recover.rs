//! Everyone comes back at once: the relay is killed and started again, then every client connects and recovers what was
//! published before the crash. No hub holds anything yet, so each channel must be read from the log, once.

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::bench::Bench;
use crate::bench::dialog::Dialog;
use crate::bench::fleet::Fleet;
use crate::bench::report::{Aim, Row};
use crate::bench::rows::relay::{self, Setting};
use crate::bench::speech::Speech;

const CHANNELS: usize = 100;
const MISSED: u64 = 10;
const SECONDS_AIM: f64 = 4.0;
const PATIENCE: Duration = Duration::from_secs(60);

pub(in crate::bench) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let clients = bench.options.clients;
    let data = bench.data()?;
    let server = relay::start(bench, data.path(), &Setting::default())?;
    let speech = Speech::Product { namespace: "chat", token: None, payload: 128 };
    let positions = publish(&mut Dialog::open(server.address, &speech)?, &speech)?;
    let address = server.address;
    server.kill()?;
    let server = relay::start(bench, data.path(), &Setting { address: Some(address), ..Setting::default() })?;

    let (reads, cpu, begin) = (server.metric("skywave_core_history_reads")?, server.cpu()?, Instant::now());
    let mut fleet = Fleet::new(speech.message())?;
    for client in 0..clients {
        let channel = client % CHANNELS;
        let (epoch, offset) = &positions[channel];
        fleet.open(address, speech.recoverer(channel, epoch, *offset), 1)?;
    }
    let expected = clients as u64 * MISSED;
    fleet.poll_until(PATIENCE, |fleet| fleet.counts.deliveries >= expected && fleet.ready() == clients)?;
    let took = begin.elapsed().as_secs_f64();
    let cpu = (server.cpu()? - cpu).as_secs_f64();
    let counts = fleet.counts;
    let reads = (server.metric("skywave_core_history_reads")? - reads) / CHANNELS as f64;
    let wrong = counts.lost + counts.doubled + counts.deliveries.abs_diff(expected);

    let details = vec![
        ("lost or doubled", wrong as f64),
        ("server CPU s", cpu),
        ("server CPU per client µs", cpu * 1e6 / clients as f64),
    ];
    let name = format!("{clients} clients reconnect and recover {MISSED} messages each");
    let mut row = Row::new(name, took, "s", Aim::AtMost(SECONDS_AIM), details);
    row.reached &= wrong == 0;
    bench.report(row)?;
    bench.report(Row::new("  log reads per channel", reads, "", Aim::AtMost(1.0), Vec::new()))
}

/// One message that everyone has seen, then the ones to be missed; answers the position of the first by channel.
fn publish(dialog: &mut Dialog, speech: &Speech) -> anyhow::Result<Vec<(String, u64)>> {
    let mut positions = Vec::with_capacity(CHANNELS);
    for channel in 0..CHANNELS {
        let mut frames = Vec::new();
        (0..=MISSED).for_each(|number| speech.publish(channel, number, 2 + number as u32, &mut frames));
        dialog.send(&frames)?;
        for number in 0..=MISSED {
            let answer = dialog.answer()?;
            let published = &answer["published"];
            let epoch = published["epoch"].as_str().context("an answer without epoch")?;
            let offset = published["offset"].as_u64().context("an answer without offset")?;
            if answer["id"] == 2 {
                positions.push((epoch.to_owned(), offset));
            }
            anyhow::ensure!(positions.len() == channel + 1 || number > 0, "answers out of order");
        }
    }
    Ok(positions)
}
