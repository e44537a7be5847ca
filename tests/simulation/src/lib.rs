//! A seeded simulation of a whole Skywave cell: edges, a bus that misbehaves, the log, core, the store and clients, over
//! virtual time in one thread, with the engine's real state machines inside.
//!
//! - [`world`] runs a seed: it wires `Hub`, `Presence`, `Session`, `Outbox` and `Sequencer` into simulated processes, breaks
//!   things on purpose, heals everything, and lets it come to rest.
//! - [`history`] is what was recorded: what clients did and saw, and what was kept at the end.
//! - [`checkers`] judge the history, one per invariant of the design (I1–I7, I12), and know nothing else.
//! - [`sabotage`] bends the wiring in ways the checkers must catch.
//!
//! The same seed gives the same run, byte for byte. A failing seed is replayed with
//! `cargo run -p skywave-simulation -- --seed N [--trace]`. More in `docs/simulation.md`.
//!
//! Never: a clock, a thread, a socket, a random number that does not come from the seed.

pub mod checkers;
pub mod history;
pub mod random;
pub mod sabotage;
pub mod world;

use checkers::Violation;
use world::{Outcome, Setup, World};

/// Runs a seed and judges it.
pub fn run(setup: Setup) -> (Outcome, Vec<Violation>) {
    let outcome = World::run(setup);
    let violations = checkers::check_all(&outcome.history);
    (outcome, violations)
}

/// What to tell about a seed that failed.
pub fn report(setup: Setup, violations: &[Violation]) -> String {
    let found: Vec<String> = violations.iter().map(|violation| format!("  {violation}")).collect();
    let sabotage = setup.sabotage.map_or_else(String::new, |sabotage| format!(" --sabotage {sabotage:?}"));
    let seed = setup.seed;
    format!(
        "seed {seed} failed:\n{}\nreplay: cargo run -p skywave-simulation -- --seed {seed}{sabotage} --trace",
        found.join("\n")
    )
}
