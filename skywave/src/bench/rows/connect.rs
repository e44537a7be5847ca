//! Server CPU for one client to come in: accept, upgrade, `connect` with an HS256 token, `subscribe`; plain WebSocket,
//! each step after the answer to the one before.

use std::time::Duration;

use crate::bench::Bench;
use crate::bench::fleet::Fleet;
use crate::bench::report::{Aim, Row, median};
use crate::bench::rows::relay::{self, Setting};
use crate::bench::speech::Speech;

const CHANNELS: usize = 100;
const AIM: f64 = 80.0;
/// Every client presents a token of its own: a cache of checked tokens does not help here.
const USERS: usize = 1_000_000;
const PATIENCE: Duration = Duration::from_secs(60);

pub(in crate::bench) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let clients = bench.options.connections;
    let data = bench.data()?;
    let secret = relay::secret();
    let setting = Setting { secret: Some(secret.clone()), ..Setting::default() };
    let server = relay::start(bench, data.path(), &setting)?;
    let (mut figures, mut rates) = (Vec::new(), Vec::new());
    // The first round warms up and does not count. Fewer rounds than elsewhere: each is thousands of samples.
    for round in 0..=bench.options.rounds.min(3) {
        let mut fleet = Fleet::new(0)?;
        let tokens = (0..clients)
            .map(|client| relay::token(&secret, &format!("user-{}", (round * clients + client) % USERS)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let (cpu, begin) = (server.cpu()?, std::time::Instant::now());
        for (client, token) in tokens.into_iter().enumerate() {
            let speech = Speech::Product { namespace: "chat", token: Some(token), payload: 0 };
            fleet.open(server.address, speech.subscriber(client % CHANNELS), 0)?;
        }
        fleet.settle(PATIENCE)?;
        let (cpu, took) = (server.cpu()? - cpu, begin.elapsed());
        if round > 0 {
            figures.push(cpu.as_secs_f64() * 1e6 / clients as f64);
            rates.push(clients as f64 / took.as_secs_f64());
        }
        drop(fleet);
        relay::wait_empty(&server, PATIENCE)?;
    }
    let name = "connect + authenticate (HS256) + subscribe, plain ws";
    let details = vec![("clients/s", median(rates)), ("clients per round", clients as f64)];
    bench.report(Row::new(name, median(figures), "µs CPU", Aim::AtMost(AIM), details))
}
