//! Thousands of clusters, each broken in its own way: every invariant holds, every kind of fault has really happened, and
//! the same seed is the same run.

use std::thread;

use skywave_simulation::world::{FAULTS, Setup, Tally};

/// Seeds per run; `SKYWAVE_SEEDS` asks for more.
const SEEDS: u64 = 2_000;

fn seeds() -> u64 {
    std::env::var("SKYWAVE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS)
}

/// One thread's share of the seeds: what failed, and what was broken on purpose.
fn share(first: u64, step: u64, last: u64) -> (Vec<String>, Tally) {
    let (mut failed, mut total) = (Vec::new(), Tally::default());
    for seed in (first..=last).step_by(step as usize) {
        let setup = Setup { seed, ..Setup::default() };
        let (outcome, violations) = skywave_simulation::run(setup);
        if !violations.is_empty() {
            failed.push(skywave_simulation::report(setup, &violations));
        }
        for (what, times) in outcome.tally.0 {
            total.add(what, times);
        }
    }
    (failed, total)
}

#[test]
fn invariants_hold_under_every_fault() {
    let seeds = seeds();
    let threads = thread::available_parallelism().map_or(1, |threads| threads.get().min(4)) as u64;
    let (mut failed, mut total) = (Vec::new(), Tally::default());
    thread::scope(|scope| {
        let shares: Vec<_> =
            (1..=threads).map(|first| scope.spawn(move || share(first, threads, seeds))).collect();
        for handle in shares {
            let (more, tally) = handle.join().expect("a simulated cluster does not panic");
            failed.extend(more);
            for (what, times) in tally.0 {
                total.add(what, times);
            }
        }
    });
    assert!(failed.is_empty(), "{} of {seeds} seeds failed\n{}", failed.len(), failed.join("\n"));
    // Each seed breaks something else; over hundreds of them everything must have been broken.
    if seeds >= 500 {
        for fault in FAULTS.iter().chain(&["copies of the past used"]) {
            let times = total.0.get(*fault).copied().unwrap_or(0);
            assert!(times >= seeds / 100, "{fault}: {times} times in {seeds} seeds");
        }
    }
}

#[test]
fn a_seed_is_a_run() {
    for seed in 1..=40 {
        let run = || {
            let (outcome, _) = skywave_simulation::run(Setup { seed, ..Setup::default() });
            (outcome.digest, outcome.events, outcome.tally)
        };
        assert_eq!(run(), run(), "seed {seed}");
    }
    let digest = |seed| skywave_simulation::run(Setup { seed, ..Setup::default() }).0.digest;
    assert_ne!(digest(1), digest(2));
}
