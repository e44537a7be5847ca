//! Builds that are broken on purpose are caught: a simulation that finds nothing in them would prove nothing.

use skywave_simulation::sabotage::Sabotage;
use skywave_simulation::world::Setup;

/// Runs seeds until one of the named invariants is found broken.
fn caught(sabotage: Sabotage, invariants: &[&str], within: u64) {
    for seed in 1..=within {
        let (_, violations) = skywave_simulation::run(Setup { seed, sabotage: Some(sabotage), trace: false });
        if violations.iter().any(|violation| invariants.contains(&violation.invariant)) {
            return;
        }
    }
    panic!("{sabotage:?} broke none of {invariants:?} within {within} seeds");
}

#[test]
fn every_sabotage_is_caught() {
    for sabotage in Sabotage::ALL {
        let (invariants, within): (&[&str], u64) = match sabotage {
            Sabotage::DedupOff => (&["I4"], 5),
            Sabotage::DedupForgottenOnRestore => (&["I4"], 50),
            Sabotage::GapCheckOff => (&["I2"], 5),
            Sabotage::AckBeforeDurable => (&["I1", "I3"], 300),
            Sabotage::RecoveryOffByOne => (&["I2"], 20),
            Sabotage::SeamOpen => (&["I2"], 30),
            Sabotage::HeadsSilent => (&["I2"], 300),
            Sabotage::TornCommit => (&["I1"], 10),
            Sabotage::NoLeases => (&["I12"], 50),
            Sabotage::TabsCountApart => (&["I12"], 20),
            Sabotage::OutboxUnbounded => (&["I6"], 20),
            Sabotage::GapsSilent => (&["I2"], 100),
            Sabotage::PagesOffByOne => (&["I2"], 20),
            Sabotage::LiveWhileBehind => (&["I2"], 20),
        };
        caught(sabotage, invariants, within);
    }
}
