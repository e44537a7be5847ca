use skywave_simulation::checkers;
use skywave_simulation::world::{Setup, World};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let from: u64 = a[1].parse().unwrap();
    let to: u64 = a.get(2).and_then(|s| s.parse().ok()).unwrap_or(from);
    let trace = std::env::args().any(|a| a == "--trace");
    let mut bad = 0;
    let sab = std::env::args().find_map(|a| a.strip_prefix("--sabotage=").map(|s| s.to_string()));
    let sabotage =
        skywave_simulation::sabotage::Sabotage::ALL.into_iter().find(|s| Some(format!("{s:?}")) == sab);
    let mut by = std::collections::BTreeMap::new();
    let mut tally = std::collections::BTreeMap::new();
    for seed in from..=to {
        let out = World::run(Setup { seed, sabotage, trace });
        let v = checkers::check_all(&out.history);
        if !v.is_empty() {
            bad += 1;
            for v in &v {
                *by.entry(v.invariant).or_insert(0) += 1;
            }
            if bad < 12 && sab.is_none() {
                println!("{seed}: ");
                for v in v {
                    println!("    {v}");
                }
            }
        }
        for (k, n) in &out.tally.0 {
            *tally.entry(*k).or_insert(0) += n;
        }
        if from == to {
            println!("{:?} {} {}", out.tally, out.digest, out.events);
        }
    }
    println!("{sab:?} bad {bad} {by:?}");
    if sab.is_none() {
        println!("{tally:#?}");
        for f in skywave_simulation::world::FAULTS {
            if tally.get(f).copied().unwrap_or(0) == 0 {
                println!("NEVER {f}");
            }
        }
    }
}
