//! Leaving without a loss: clients are asked to move in waves spread over the drain time, each with a jittered slot, so
//! that the nodes that take them in are not hit all at once. A client that does not go in its time is closed with a code
//! that says "come back elsewhere".

use std::rc::Rc;
use std::time::Duration;

use rand::Rng;
use rand::seq::SliceRandom;

use crate::reporting::Happening;
use crate::shared::Shared;
use crate::worker::Worker;

/// Time between two waves.
const WAVE: Duration = Duration::from_millis(100);

/// When each of `count` connections is asked, as (wave, milliseconds it then has): within half the time all are asked,
/// within the whole time all have gone.
fn slots(count: usize, within: Duration, random: &mut impl Rng) -> Vec<(u32, u32)> {
    let within_ms = within.as_millis().max(1) as u64;
    let waves = (within_ms / 2 / WAVE.as_millis() as u64).max(1);
    let mut slots: Vec<(u32, u32)> = (0..count as u64)
        .map(|n| {
            let wave = n * waves / count.max(1) as u64;
            let left = within_ms.saturating_sub(wave * WAVE.as_millis() as u64);
            // The later half of what is left, so that a client always has time to connect elsewhere first.
            let within = random.random_range(left / 2..=left.max(1));
            (wave as u32, within as u32)
        })
        .collect();
    slots.shuffle(random);
    slots
}

/// Asks the worker's connections to leave `within` the time. Returns when all have been asked.
async fn ask(worker: Rc<Worker>, within: Duration) {
    let keys = worker.state().keys();
    let mut plan: Vec<((u32, u32), u64)> =
        slots(keys.len(), within, &mut rand::rng()).into_iter().zip(keys).collect();
    plan.sort_unstable_by_key(|((wave, _), _)| std::cmp::Reverse(*wave));
    let mut wave = 0;
    while let Some(((at, _), _)) = plan.last() {
        if *at > wave {
            tokio::time::sleep(WAVE * (*at - wave)).await;
            wave = *at;
        }
        let mut state = worker.state();
        while let Some(((_, within_ms), key)) = plan.pop_if(|((at, _), _)| *at <= wave) {
            state.ask_to_move(key, within_ms);
        }
        state.flush();
    }
}

/// Drains the whole edge: no new connections from now on; returns when all connections are gone, or a little after the
/// time is over.
pub(crate) async fn drain(shared: &Shared, within: Duration) {
    shared.begin_drain();
    shared.reporter.report(Happening::Node("draining"));
    if let Some(region) = &shared.region {
        // The others must know before clients ask them where to go.
        region.leave(&shared.reporter);
        tokio::time::sleep(WAVE).await;
    }
    for worker in shared.workers.iter() {
        // A worker that has stopped has nobody to ask.
        let _ = worker
            .run(move |worker| {
                tokio::task::spawn_local(ask(worker.clone(), within));
            })
            .await;
    }
    let grace = shared.config.timing.close + Duration::from_secs(1);
    let _ = tokio::time::timeout(within + grace, async {
        while shared.admission.connections() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn waves_are_even_and_everybody_has_gone_in_time() {
        let within = Duration::from_secs(10);
        let slots = slots(1_000, within, &mut StdRng::seed_from_u64(1));
        assert_eq!(slots.len(), 1_000);
        let mut per_wave = std::collections::BTreeMap::new();
        for (wave, within_ms) in &slots {
            *per_wave.entry(*wave).or_insert(0) += 1;
            let asked = u64::from(*wave) * WAVE.as_millis() as u64;
            assert!(asked <= 5_000 && asked + u64::from(*within_ms) <= 10_000, "{wave} {within_ms}");
            assert!(*within_ms >= 2_500, "time to connect elsewhere first: {within_ms}");
        }
        assert_eq!(per_wave.len(), 50);
        assert!(per_wave.values().all(|n| *n == 20), "{per_wave:?}");
    }

    #[test]
    fn no_time_and_nobody_are_fine() {
        let mut random = StdRng::seed_from_u64(1);
        assert!(slots(0, Duration::from_secs(1), &mut random).is_empty());
        assert_eq!(slots(3, Duration::ZERO, &mut random).len(), 3);
    }
}
