//! Lanes and links case by case, and by laws in worlds drawn by chance (`world`).

use proptest::prelude::*;
use skywave_protocol::NodeId;
use skywave_protocol::inner::CorePhase;

use super::*;

mod world;

const CONFIG: LanesConfig = LanesConfig { silent_ms: 2_000, check_ms: 500, patience_ms: 1_500 };

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

fn beat(core: &str, phase: CorePhase) -> CoreBeat {
    CoreBeat { core: NodeId::parse(core).unwrap(), phase, partitions: 0, owned: Vec::new() }
}

struct Fixture {
    lanes: Lanes,
    now: Millis,
}

impl Fixture {
    /// A worker that has heard of these cores.
    fn new(cores: &[&str]) -> Self {
        let mut fixture = Self { lanes: Lanes::new(0, "main", CONFIG), now: 0 };
        fixture.hear(cores);
        fixture
    }

    fn hear(&mut self, cores: &[&str]) {
        cores.iter().for_each(|core| _ = self.say(core, CorePhase::Serving));
    }

    fn say(&mut self, core: &str, phase: CorePhase) -> usize {
        self.lanes.beat(self.now, &beat(core, phase))
    }

    /// The core says that it owns these of eight partitions.
    fn own(&mut self, core: &str, owned: &[u32]) {
        let owned = owned.to_vec();
        self.lanes.beat(self.now, &CoreBeat { partitions: 8, owned, ..beat(core, CorePhase::Serving) });
    }

    /// A channel of that core.
    fn channel_of(&self, core: &str) -> ChannelName {
        let mut names = (0..).map(|n| channel(&format!("chat:{n}")));
        let is_its = |name: &ChannelName| {
            let key = self.lanes.cores.choose(name).and_then(|key| self.lanes.cores.get(key));
            key.is_some_and(|it| it.link.subject.as_str().ends_with(core))
        };
        names.find(is_its).unwrap()
    }

    fn publish(&mut self, request: u64, channel: &ChannelName) -> Vec<String> {
        self.lanes.publish(self.now, request, channel, true);
        self.said()
    }

    fn ended(&mut self, request: u64) -> Vec<String> {
        self.lanes.ended(self.now, request);
        self.said()
    }

    /// What goes out: `request>core link.number`.
    fn said(&mut self) -> Vec<String> {
        let last = |subject: Subject| subject.as_str().rsplit('.').next().unwrap().to_owned();
        let outputs = std::iter::from_fn(|| self.lanes.poll_output());
        outputs
            .map(|output| match output {
                LanesOutput::Send { request, way: Way::Anyone } => format!("{request}>anyone"),
                LanesOutput::Send { request, way: Way::Link { subject, link, number } } => {
                    format!("{request}>{} {link}.{number}", last(subject))
                }
                LanesOutput::Check { subject, link, next } => format!("?{} {link}.{next}", last(subject)),
            })
            .collect()
    }
}

#[test]
fn the_choice_stands_while_something_is_out_and_is_made_anew_after() {
    let mut it = Fixture::new(&["a"]);
    let name = (0..).map(|n| channel(&format!("chat:{n}"))).find(|name| {
        let both = Fixture::new(&["a", "b"]);
        both.lanes.cores.choose(name) == Some(1)
    });
    let name = name.unwrap();
    assert_eq!(it.publish(1, &name), ["1>a 1.1"]);
    it.hear(&["b"]);
    assert_eq!(it.publish(2, &name), ["2>a 1.2"]);
    it.ended(1);
    assert_eq!(it.publish(3, &name), ["3>a 1.3"]);
    it.ended(3);
    it.ended(2);
    assert_eq!(it.publish(4, &name), ["4>b 2.1"]);
}

#[test]
fn what_a_silent_core_has_goes_to_another_in_order_and_new_ones_follow() {
    let mut it = Fixture::new(&["a", "b"]);
    let name = it.channel_of("a");
    it.publish(1, &name);
    it.lanes.publish(0, 2, &name, false);
    it.said();
    it.publish(3, &name);
    it.now = 1_500;
    it.hear(&["b"]);
    assert_eq!(it.lanes.tick(1_999), 0);
    it.said();
    it.now = 2_000;
    assert_eq!(it.lanes.tick(2_000), 2);
    assert_eq!(it.said(), ["1>b 2.1", "3>b 2.2"], "one without an id cannot be sent twice");
    assert_eq!(it.publish(4, &name), ["4>b 2.3"]);
    assert!([1, 2, 3, 4].map(|request| it.ended(request).len()) == [0; 4]);
    assert!(it.lanes.lanes.is_empty() && it.lanes.requests.is_empty(), "nothing is left");
}

#[test]
fn who_hears_nobody_gives_nobody_up_and_is_patient_when_it_hears_again() {
    let mut it = Fixture::new(&["a", "b"]);
    let name = it.channel_of("a");
    it.publish(1, &name);
    it.now = 10_000;
    it.lanes.tick(10_000);
    it.hear(&["b"]);
    it.lanes.tick(10_100);
    it.said();
    assert_eq!(it.publish(2, &name), ["2>a 1.2"], "it may be heard in a moment");
    it.now = 11_000;
    it.hear(&["b"]);
    assert_eq!(it.lanes.tick(11_999), 0);
    it.now = 12_000;
    it.hear(&["b"]);
    assert_eq!(it.lanes.tick(12_000), 2);
}

#[test]
fn a_new_core_takes_over_from_the_only_one() {
    let mut it = Fixture::new(&["a"]);
    it.publish(1, &channel("chat:1"));
    it.now = 3_000;
    it.hear(&["b"]);
    it.lanes.tick(3_000);
    assert_eq!(it.said(), ["1>b 2.1"]);
}

#[test]
fn a_core_that_leaves_is_sent_nothing_new_and_what_is_out_is_waited_for() {
    let mut it = Fixture::new(&["a", "b"]);
    let name = it.channel_of("a");
    it.publish(1, &name);
    it.say("a", CorePhase::Leaving);
    assert_eq!(it.publish(2, &name), [""; 0]);
    assert_eq!(it.publish(3, &name), [""; 0]);
    assert_eq!(it.ended(1), ["2>b 2.1", "3>b 2.2"]);
    assert_eq!(it.say("a", CorePhase::Gone), 0);
}

#[test]
fn what_a_core_had_when_it_went_is_sent_again_before_what_was_held_back() {
    let mut it = Fixture::new(&["a", "b"]);
    let name = it.channel_of("a");
    it.publish(1, &name);
    it.say("a", CorePhase::Leaving);
    it.publish(2, &name);
    assert_eq!(it.say("a", CorePhase::Gone), 1);
    assert_eq!(it.said(), ["1>b 2.1", "2>b 2.2"]);
}

#[test]
fn what_the_bus_lost_is_sent_again_from_the_hole_on_under_a_new_link() {
    let mut it = Fixture::new(&["a"]);
    let names = ["chat:1", "chat:2", "chat:1", "chat:2"].map(channel);
    (1..).zip(&names).for_each(|(request, name)| _ = it.publish(request, name));
    assert_eq!(it.lanes.missing(0, 1, 2), 3);
    assert_eq!(it.said(), ["2>a 2.1", "3>a 2.2", "4>a 2.3"]);
    assert_eq!(it.lanes.missing(0, 1, 2), 0, "told twice");
    assert_eq!(it.lanes.missing(0, 2, 2), 2);
}

#[test]
fn a_repeated_one_does_not_fall_behind_when_it_was_missing() {
    let mut it = Fixture::new(&["a"]);
    let name = channel("chat:1");
    it.publish(1, &name);
    it.publish(2, &name);
    assert!(it.lanes.repeat(0, 1));
    assert_eq!(it.said(), ["1>a 1.3"]);
    it.lanes.missing(0, 1, 1);
    assert_eq!(it.said(), ["1>a 3.1", "2>a 3.2"].map(|text| text.replace("3.", "2.")));
}

#[test]
fn a_core_that_does_not_answer_is_asked_what_it_misses() {
    let mut it = Fixture::new(&["a"]);
    it.publish(1, &channel("chat:1"));
    it.lanes.tick(499);
    assert_eq!(it.said(), [""; 0]);
    it.lanes.tick(500);
    it.lanes.tick(999);
    assert_eq!(it.said(), ["?a 1.2"]);
    it.lanes.tick(1_000);
    assert_eq!(it.said(), ["?a 1.2"]);
    it.ended(1);
    it.lanes.tick(5_000);
    assert_eq!(it.said(), [""; 0]);
}

#[test]
fn who_has_never_heard_of_a_core_waits_for_a_moment_and_then_asks_anyone() {
    let mut it = Fixture::new(&[]);
    let name = channel("chat:1");
    assert_eq!(it.publish(1, &name), [""; 0]);
    it.now = 1_500;
    it.lanes.tick(1_500);
    assert_eq!(it.said(), ["1>anyone"]);
    it.hear(&["a"]);
    assert_eq!(it.publish(2, &name), ["2>anyone"]);
    it.ended(1);
    it.ended(2);
    assert_eq!(it.publish(3, &name), ["3>a 1.1"]);
}

#[test]
fn channels_are_shared_evenly_and_only_those_of_a_core_that_goes_move() {
    let all = Fixture::new(&["a", "b", "c"]);
    let mut less = Fixture::new(&["a", "b", "c"]);
    less.say("c", CorePhase::Gone);
    let mut counts = [0; 3];
    for n in 0..3_000 {
        let name = channel(&format!("chat:{n}"));
        let key = all.lanes.cores.choose(&name).unwrap();
        counts[key as usize] += 1;
        let now = less.lanes.cores.choose(&name).unwrap();
        assert!(key == 2 || key == now);
    }
    assert!(counts.iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
}

/// A channel of the first of eight partitions, which is hashed to that core while nobody says that it is his.
fn in_the_first_partition(it: &Fixture, core: CoreKey) -> ChannelName {
    let mut names = (0..).map(|n| channel(&format!("chat:{n}")));
    names
        .find(|name| crate::partition::of(name, 8) == 0 && it.lanes.cores.choose(name) == Some(core))
        .unwrap()
}

#[test]
fn a_channel_goes_to_the_owner_of_its_partition_when_nothing_of_it_is_out() {
    let mut it = Fixture::new(&["a", "b"]);
    let name = in_the_first_partition(&it, 0);
    it.own("b", &[1, 0]);
    it.own("a", &[2, 3]);
    assert_eq!(it.publish(1, &name), ["1>b 1.1"]);
    it.own("b", &[1]);
    it.own("a", &[2, 3, 0]);
    assert_eq!(it.publish(2, &name), ["2>b 1.2"], "the first one is out");
    it.ended(1);
    it.ended(2);
    assert_eq!(it.publish(3, &name), ["3>a 2.1"]);
}

#[test]
fn of_two_cores_that_own_a_partition_the_one_that_says_so_last_is_believed() {
    let mut it = Fixture::new(&["a", "b"]);
    let name = in_the_first_partition(&it, 0);
    it.own("a", &[0]);
    it.own("b", &[0]);
    assert_eq!(it.lanes.cores.choose(&name), Some(1));
    it.own("a", &[0, 1]);
    assert_eq!(it.lanes.cores.choose(&name), Some(0));
    it.own("a", &[1]);
    it.own("b", &[0]);
    assert_eq!(it.lanes.cores.choose(&name), Some(1));
}

#[test]
fn an_owner_that_leaves_or_falls_silent_or_owns_nothing_any_more_is_no_owner() {
    let mut it = Fixture::new(&["a", "b"]);
    let name = in_the_first_partition(&it, 0);
    it.own("b", &[0]);
    let leaving = CoreBeat { partitions: 8, owned: vec![0], ..beat("b", CorePhase::Leaving) };
    it.lanes.beat(0, &leaving);
    assert_eq!(it.lanes.cores.choose(&name), Some(0));
    it.own("b", &[0]);
    assert_eq!(it.lanes.cores.choose(&name), Some(1));
    it.own("b", &[]);
    assert_eq!(it.lanes.cores.choose(&name), Some(0));
    it.own("b", &[0]);
    it.now = 1_500;
    it.own("a", &[]);
    it.lanes.tick(2_000);
    assert_eq!(it.lanes.cores.choose(&name), Some(0), "it was given up");
    // Back again it is another one, and owns what it says.
    it.own("b", &[]);
    assert_eq!(it.lanes.cores.choose(&name), Some(0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 400 } else { 20_000 }))]

    #[test]
    fn publishes_of_a_channel_keep_their_order_whatever_happens_to_cores_and_bus(seed: u64) {
        world::run(seed, world::Faults::All);
    }

    #[test]
    fn those_without_an_id_do_too_and_come_once_while_cores_only_join_and_leave(seed: u64) {
        world::run(seed, world::Faults::JoinsAndLeaves);
    }

    #[test]
    fn those_without_an_id_do_too_and_come_once_when_the_bus_loses(seed: u64) {
        world::run(seed, world::Faults::Loss);
    }
}
