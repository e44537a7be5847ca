//! Replays seeds: `skywave-simulation --seed N [--count M] [--sabotage NAME] [--trace]`.
//!
//! Prints each failing seed with its violations, and at the end how often each fault happened. Exits with 1 if any failed.

use std::process::ExitCode;

use skywave_simulation::sabotage::Sabotage;
use skywave_simulation::world::{Setup, Tally};

const USAGE: &str = "usage: skywave-simulation --seed N [--count M] [--sabotage NAME] [--trace]";

struct Arguments {
    seed: u64,
    count: u64,
    sabotage: Option<Sabotage>,
    trace: bool,
}

#[expect(clippy::print_stdout, reason = "a command line")]
fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            println!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let Arguments { seed, count, sabotage, trace } = arguments;
    let (mut failed, mut total) = (0u64, Tally::default());
    for seed in seed..seed.saturating_add(count) {
        let setup = Setup { seed, sabotage, trace };
        let (outcome, violations) = skywave_simulation::run(setup);
        for (what, times) in outcome.tally.0 {
            total.add(what, times);
        }
        if count == 1 {
            println!("seed {seed}: {} events, digest {:016x}", outcome.events, outcome.digest);
        }
        if !violations.is_empty() {
            failed += 1;
            println!("{}", skywave_simulation::report(setup, &violations));
        }
    }
    for (what, times) in &total.0 {
        println!("{times:>9} {what}");
    }
    println!("{failed} of {count} seeds failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments { seed: 1, count: 1, sabotage: None, trace: false };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let number = |text: String| text.parse().map_err(|_| format!("{text:?} is no number"));
        match word.as_str() {
            "--seed" => arguments.seed = number(value()?)?,
            "--count" => arguments.count = number(value()?)?,
            "--sabotage" => arguments.sabotage = Some(sabotage(&value()?)?),
            "--trace" => arguments.trace = true,
            _ => return Err(format!("{word:?} is unknown")),
        }
    }
    Ok(arguments)
}

fn sabotage(name: &str) -> Result<Sabotage, String> {
    let known = Sabotage::ALL.into_iter().find(|sabotage| format!("{sabotage:?}") == name);
    known.ok_or_else(|| format!("{name:?} is none of {:?}", Sabotage::ALL))
}
