//! Durable publishes a second: many channels, several publishers, each publish answered only after it is on the disk.

use crate::bench::Bench;
use crate::bench::crowd::{Crowd, WINDOW};
use crate::bench::report::{Aim, Row, median};
use crate::bench::rows::relay::{self, Setting};
use crate::bench::speech::Speech;

const CHANNELS: u64 = 1_000;
const PAYLOAD: usize = 200;
const AIM: f64 = 20_000.0;

pub(in crate::bench) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let data = bench.data()?;
    let server = relay::start(bench, data.path(), &Setting::default())?;
    let speech = Speech::Product { namespace: "chat", token: None, payload: PAYLOAD };
    let mut crowd = Crowd::open(&[server.address], speech, 0..CHANNELS)?;
    crowd.publish_for(bench.round())?;
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    for _ in 0..bench.options.rounds {
        let cpu = server.cpu()?;
        let (answered, took) = crowd.publish_for(bench.round())?;
        rates.push(answered as f64 / took.as_secs_f64());
        costs.push((server.cpu()? - cpu).as_secs_f64() * 1e6 / answered as f64);
    }
    let details = vec![("server CPU per publish µs", median(costs)), ("in flight", WINDOW as f64)];
    let name = format!("durable publishes, {PAYLOAD} B, {CHANNELS} channels, synced to disk");
    bench.report(Row::new(name, median(rates), "/s", Aim::AtLeast(AIM), details))
}
