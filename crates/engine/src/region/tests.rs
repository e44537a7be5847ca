//! The ring of a region case by case, and by laws among nodes that come, die and drain over a bus that loses.

use proptest::prelude::*;

use super::*;

const CONFIG: RegionConfig = RegionConfig {
    beat_ms: 1_000,
    lease_ms: 4_000,
    settle_ms: 5_000,
    virtual_nodes: 100,
    candidates: 3,
    bound_percent: 125,
    bound_least: 32,
    nodes: 100,
};

fn id(name: &str) -> NodeId {
    NodeId::parse(name).unwrap()
}

fn url(name: &str) -> Arc<str> {
    format!("https://{name}.example").into()
}

fn region(name: &str) -> Region {
    Region::new(0, id(name), url(name), 10_000, CONFIG)
}

fn beat(name: &str, sequence: u64, connections: u32) -> NodeBeat {
    NodeBeat { node: id(name), url: url(name), sequence, connections, capacity: 10_000, draining: false }
}

fn outputs(region: &mut Region) -> Vec<RegionOutput> {
    std::iter::from_fn(|| region.poll_output()).collect()
}

fn first(region: &Region, key: &str) -> String {
    region.route(KeyDigest::of(key)).first().map(|place| place.node.to_string()).unwrap_or_default()
}

fn keys(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("user-{n}"))
}

/// How many of the keys go where.
fn shares(region: &Region, count: usize) -> BTreeMap<String, usize> {
    keys(count).fold(BTreeMap::new(), |mut shares, key| {
        *shares.entry(first(region, &key)).or_default() += 1;
        shares
    })
}

#[test]
fn alone_a_node_serves_every_key_and_says_that_it_is_there() {
    let mut region = region("a");
    region.handle_timeout(0, 7);
    let said = outputs(&mut region);
    assert_eq!(said, [RegionOutput::Publish(beat("a", 1, 7))]);
    assert_eq!(region.poll_timeout(), 1_000);
    region.handle_timeout(1_000, 8);
    assert_eq!(outputs(&mut region), [RegionOutput::Publish(beat("a", 2, 8))]);
    assert!(keys(50).all(|key| first(&region, &key) == "a" && region.is_mine(KeyDigest::of(&key))));
}

#[test]
fn keys_are_spread_evenly_and_every_node_agrees() {
    let names = ["a", "b", "c", "d"];
    let regions: Vec<Region> = names
        .map(|name| {
            let mut region = region(name);
            names.iter().for_each(|other| region.handle_beat(1, beat(other, 1, 0)));
            region
        })
        .into();
    let spread = shares(&regions[0], 4_000);
    assert!(spread.len() == 4 && spread.values().all(|share| (700..1_400).contains(share)), "{spread:?}");
    for region in &regions[1..] {
        assert_eq!(shares(region, 4_000), spread);
    }
    for key in keys(100) {
        let places = regions[0].route(KeyDigest::of(&key));
        assert_eq!(places.len(), 3);
        let mine = regions.iter().filter(|region| region.is_mine(KeyDigest::of(&key))).count();
        assert_eq!(mine, 1, "{key} has one node");
    }
}

#[test]
fn a_silent_node_is_gone_after_its_lease_and_only_its_keys_move() {
    let mut region = region("a");
    for name in ["b", "c"] {
        region.handle_beat(0, beat(name, 1, 0));
    }
    let before: Vec<String> = keys(500).map(|key| first(&region, &key)).collect();
    region.handle_beat(3_000, beat("b", 2, 0));
    region.handle_timeout(3_999, 0);
    assert_eq!(region.serving_nodes(), 3);
    region.handle_timeout(4_000, 0);
    assert_eq!(region.serving_nodes(), 2);
    for (key, was) in keys(500).zip(before) {
        let is = first(&region, &key);
        assert!(is == was || was == "c", "{key} went from {was} to {is}");
        assert_ne!(is, "c");
    }
}

#[test]
fn of_those_that_remain_one_says_that_a_node_is_lost() {
    let lost = |name: &str, draining: bool| {
        let mut region = region(name);
        let others = ["a", "b", "c"].into_iter().filter(|other| *other != name);
        others.for_each(|other| region.handle_beat(1, beat(other, 1, 0)));
        region.handle_beat(1, NodeBeat { draining, ..beat("d", 1, 0) });
        ["a", "b", "c"].iter().for_each(|other| region.handle_beat(3_000, beat(other, 2, 0)));
        region.handle_timeout(4_001, 0);
        let said = outputs(&mut region).into_iter();
        said.filter(|said| matches!(said, RegionOutput::Lost(_))).collect::<Vec<_>>()
    };
    assert_eq!(lost("a", false), [RegionOutput::Lost(id("d"))]);
    assert_eq!(lost("b", false), []);
    assert_eq!(lost("a", true), [], "it had said that it leaves");
}

#[test]
fn old_beats_prove_nothing_and_bring_nobody_back() {
    let mut region = region("a");
    region.handle_beat(0, beat("b", 5, 0));
    region.handle_beat(3_000, beat("b", 5, 0));
    region.handle_beat(3_500, beat("b", 4, 0));
    region.handle_timeout(4_000, 0);
    assert_eq!(region.serving_nodes(), 1);
    let mut region = self::region("a");
    region.handle_beat(0, NodeBeat { draining: true, ..beat("b", 6, 0) });
    region.handle_beat(1, beat("b", 5, 0));
    assert_eq!(region.serving_nodes(), 1, "it is leaving, whatever an older beat says");
}

#[test]
fn a_node_that_leaves_is_out_of_everybodys_way_at_once() {
    let (mut a, mut b) = (region("a"), region("b"));
    a.handle_beat(0, beat("b", 1, 0));
    b.handle_beat(0, beat("a", 1, 0));
    for region in [&mut a, &mut b] {
        region.handle_timeout(1, 0);
        outputs(region);
    }
    a.leave(2);
    let said = outputs(&mut a);
    let [RegionOutput::Publish(beat)] = &said[..] else { panic!("{said:?}") };
    assert!(beat.draining);
    b.handle_beat(3, beat.clone());
    assert!(keys(50).all(|key| first(&a, &key) == "b" && first(&b, &key) == "b"));
    b.leave(4);
    a.handle_beat(5, {
        let RegionOutput::Publish(beat) = outputs(&mut b).pop().unwrap() else { panic!() };
        beat
    });
    assert_eq!(a.route(KeyDigest::of("x")), [], "nobody is left to name");
}

#[test]
fn one_hot_key_does_not_overload_its_node() {
    let mut region = region("z");
    for name in ["a", "b", "c", "d"] {
        region.handle_beat(0, beat(name, 1, 0));
    }
    let hot = KeyDigest::of("hot");
    let mut sent: BTreeMap<NodeId, u32> = BTreeMap::new();
    for _ in 0..1_000 {
        let place = region.route(hot).remove(0);
        region.sent(&place.node);
        *sent.entry(place.node).or_default() += 1;
    }
    assert_eq!(sent.len(), 3, "its candidates share it: {sent:?}");
    assert!(sent.values().all(|count| *count <= 400), "{sent:?}");
}

#[test]
fn a_full_node_is_passed_over_and_a_loaded_one_is_last() {
    let mut region = region("a");
    region.handle_beat(0, beat("b", 1, 100));
    region.handle_beat(0, NodeBeat { capacity: 50, ..beat("c", 1, 50) });
    for key in keys(200) {
        let places = region.route(KeyDigest::of(&key));
        assert_eq!(places[0].node, id("a"), "{key}: {places:?}");
        assert_eq!(places[2].node, id("c"), "{key}: {places:?}");
    }
}

#[test]
fn who_joins_is_told_of_the_others_soon() {
    let mut region = region("a");
    region.handle_timeout(0, 0);
    outputs(&mut region);
    region.handle_beat(10, beat("b", 1, 0));
    let due = region.poll_timeout();
    assert!(due < 10 + CONFIG.beat_ms / 4, "{due}");
    region.handle_timeout(due, 0);
    assert!(matches!(&outputs(&mut region)[..], [RegionOutput::Publish(_)]));
    region.handle_beat(due + 1, beat("b", 2, 0));
    assert_eq!(region.poll_timeout(), due + CONFIG.beat_ms, "but only once");
}

/// What `region` says has moved until `until`, while `others` go on beating.
fn moved(region: &mut Region, others: &[&str], from: Millis, until: Millis) -> Option<MovedRanges> {
    let mut moved = None;
    for (now, sequence) in (from..=until).step_by(500).zip(100 + from..) {
        for other in others {
            region.handle_beat(now, beat(other, sequence, 0));
        }
        region.handle_timeout(now, 0);
        for output in outputs(region) {
            if let RegionOutput::Moved(ranges) = output {
                assert!(moved.is_none(), "told once");
                moved = Some(ranges);
            }
        }
    }
    moved
}

#[test]
fn what_a_new_node_takes_over_is_told_when_things_have_settled() {
    let mut region = region("a");
    assert_eq!(moved(&mut region, &["b"], 0, 10_000), None, "those who were here before take nothing away");
    assert!(region.is_settled());
    let before: Vec<bool> = keys(2_000).map(|key| region.is_mine(KeyDigest::of(&key))).collect();
    let early = moved(&mut region, &["b", "c"], 10_500, 15_000);
    assert_eq!(early, None);
    assert!(!region.is_settled());
    let moved = moved(&mut region, &["b", "c"], 15_500, 20_000).unwrap();
    let mut followed = 0;
    for (key, was_mine) in keys(2_000).zip(before) {
        let key = KeyDigest::of(&key);
        let expected = was_mine && !region.is_mine(key);
        assert_eq!(moved.contains(key), expected, "{key:?}");
        followed += usize::from(expected);
    }
    assert!((120..500).contains(&followed), "about a sixth: {followed}");
}

#[test]
fn a_node_that_comes_back_at_once_moves_nobody() {
    let mut region = region("a");
    assert_eq!(moved(&mut region, &["b"], 0, 10_000), None);
    // Its successor has another id and the same address.
    let successor = |sequence| NodeBeat { node: id("b2"), ..beat("b", sequence, 0) };
    let mut lost = false;
    for (now, sequence) in (14_500..40_000).step_by(500).zip(1..) {
        region.handle_beat(now, successor(sequence));
        region.handle_timeout(now, 0);
        for output in outputs(&mut region) {
            assert!(!matches!(output, RegionOutput::Moved(_)), "{output:?}");
            lost |= output == RegionOutput::Lost(id("b"));
        }
    }
    assert!(region.is_settled() && lost, "the dead one is lost all the same");
    assert_eq!(region.serving_nodes(), 2);
}

#[test]
fn strangers_are_bounded() {
    let mut region = region("a");
    for n in 0..1_000 {
        region.handle_beat(0, beat(&format!("n{n}"), 1, 0));
    }
    assert_eq!(region.serving_nodes(), CONFIG.nodes + 1);
}

/// A region of nodes over a bus that loses, doubles and delays, in which nodes die, drain and are born.
struct World {
    now: Millis,
    random: u64,
    alive: BTreeMap<String, Region>,
    born: usize,
    in_flight: Vec<(Millis, NodeBeat)>,
    loss_percent: u64,
}

impl World {
    fn random(&mut self, below: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    fn birth(&mut self) {
        let name = format!("n{}", self.born);
        self.born += 1;
        let region = Region::new(self.now, id(&name), url(&name), 10_000, CONFIG);
        self.alive.insert(name, region);
    }

    fn pick(&mut self) -> Option<String> {
        let at = self.random(self.alive.len().max(1) as u64) as usize;
        self.alive.keys().nth(at).cloned()
    }

    fn step(&mut self) {
        self.now += 50;
        let now = self.now;
        let (due, later) = std::mem::take(&mut self.in_flight).into_iter().partition(|(at, _)| *at <= now);
        self.in_flight = later;
        for (_, beat) in due as Vec<(Millis, NodeBeat)> {
            for region in self.alive.values_mut() {
                region.handle_beat(now, beat.clone());
            }
        }
        let mut said = Vec::new();
        for region in self.alive.values_mut() {
            if region.poll_timeout() <= now {
                region.handle_timeout(now, 0);
            }
            said.extend(outputs(region));
        }
        for output in said {
            let RegionOutput::Publish(beat) = output else { continue };
            for _ in 0..1 + u64::from(self.random(10) == 0) {
                if self.random(100) >= self.loss_percent {
                    let delay = self.random(300);
                    self.in_flight.push((now + delay, beat.clone()));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn after_any_troubles_all_nodes_agree_on_every_key(seed in any::<u64>(), loss_percent in 0u64..60) {
        let mut world = World {
            now: 0, random: seed, alive: BTreeMap::new(), born: 0, in_flight: Vec::new(), loss_percent,
        };
        (0..3).for_each(|_| world.birth());
        for _ in 0..600 {
            match world.random(60) {
                0 if world.alive.len() < 7 => world.birth(),
                1 if world.alive.len() > 1 => {
                    let victim = world.pick().unwrap();
                    world.alive.remove(&victim);
                }
                2 if world.alive.len() > 2 => {
                    let leaver = world.pick().unwrap();
                    let now = world.now;
                    world.alive.get_mut(&leaver).unwrap().leave(now);
                }
                _ => {}
            }
            world.step();
        }
        world.loss_percent = 0;
        let until = world.now + CONFIG.lease_ms + CONFIG.beat_ms + CONFIG.settle_ms + 1_000;
        while world.now < until {
            world.step();
        }
        let serving: Vec<NodeId> =
            world.alive.values().filter(|region| !region.me.beat.draining).map(|region| region.me.beat.node.clone()).collect();
        let mut answers: Vec<_> = world.alive.values().map(|region| {
            prop_assert!(region.is_settled());
            let routes: Vec<_> = keys(40).map(|key| region.route(KeyDigest::of(&key))).collect();
            for place in routes.iter().flatten() {
                prop_assert!(serving.contains(&place.node), "{place:?} is not there any more");
            }
            Ok(routes)
        }).collect::<Result<_, _>>()?;
        answers.dedup();
        prop_assert_eq!(answers.len(), 1, "all give the same answers");
    }
}
