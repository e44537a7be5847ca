//! `skywave-wan`: serves links until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use skywave_wan::Request;

/// Wide-area links between regions of one machine
#[derive(Parser)]
#[command(max_term_width = 110, after_help = EXAMPLES)]
struct Arguments {
    /// Unix socket on which requests are taken, a JSON object a line
    #[arg(long, value_name = "FILE")]
    control: PathBuf,
    /// Requests that are done first, a line each
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Where the generator of chance begins
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

const EXAMPLES: &str = r#"Requests:
  {"do":"link","a":"eu","b":"us"}
  {"do":"forward","name":"web","protocol":"tcp","from":"eu","to":"us","listen":"127.0.0.1:0","target":"127.0.0.1:8080"}
  {"do":"shape","from":"eu","to":"us","change":{"delay_ms":40,"jitter_ms":5,"loss":0.01}}
  {"do":"shape","from":"eu","to":"us","one_way":true,"change":{"cut":true}}
  {"do":"sweep","a":"eu","b":"us"}        resets connections, forgets UDP peers
  {"do":"remove","name":"web"}
  {"do":"status"}
  {"do":"stop"}
Changes: delay_ms, jitter_ms, loss (0 to 1), duplicate (0 to 1), mtu (bytes, 0: none), rate_kbit (0: none), cut."#;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skywave-wan: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let plan = match &arguments.plan {
        Some(file) => {
            let text =
                std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
            let request = |(at, line): (usize, &str)| {
                serde_json::from_str(line).with_context(|| format!("{}:{}", file.display(), at + 1))
            };
            text.lines().enumerate().map(request).collect::<anyhow::Result<Vec<Request>>>()?
        }
        None => Vec::new(),
    };
    skywave_wan::serve(&arguments.control, plan, arguments.seed)
}
