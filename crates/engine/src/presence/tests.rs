//! What presence must do, by cases and by laws (I12).

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use skywave_protocol::UserId;
use skywave_protocol::inner::PresenceChange;

use super::*;

const CONFIG: PresenceConfig = PresenceConfig { beat_ms: 1_000, lease_ms: 3_500 };

fn channel() -> ChannelName {
    ChannelName::parse("chat:1").unwrap()
}

fn node(name: &str) -> NodeId {
    NodeId::parse(name).unwrap()
}

fn member(client: &str, user: Option<&str>) -> Member {
    let client = ClientId::parse(client).unwrap();
    Member { client, user: user.map(|user| UserId::parse(user).unwrap()) }
}

fn client(name: &str) -> ClientId {
    ClientId::parse(name).unwrap()
}

/// What came out: news for watchers, and what was published.
fn take(presence: &mut Presence) -> (Vec<String>, Vec<PresenceDelta>) {
    let (mut news, mut deltas) = (Vec::new(), Vec::new());
    while let Some(output) = presence.poll_output() {
        let name = |member: Member| member.user.map_or(member.client.to_string(), |user| user.to_string());
        match output {
            PresenceOutput::Publish { delta, .. } => deltas.push(delta),
            PresenceOutput::Join { member, .. } => news.push(format!("+{}", name(member))),
            PresenceOutput::Leave { member, .. } => news.push(format!("-{}", name(member))),
        }
    }
    (news, deltas)
}

fn watching(name: &str) -> Presence {
    let mut presence = Presence::new(node(name), CONFIG);
    presence.watch(0, &channel());
    take(&mut presence);
    presence
}

fn clients(presence: &Presence) -> Vec<String> {
    presence.members(&channel()).iter().map(|member| member.client.to_string()).collect()
}

#[test]
fn the_first_connection_joins_and_the_last_one_leaves() {
    let mut presence = watching("a");
    for (step, news) in [
        (("1", Some("ann"), true), vec!["+ann"]),
        (("2", Some("ann"), true), vec![]),
        (("2", Some("ann"), true), vec![]),
        (("1", None, false), vec![]),
        (("1", None, false), vec![]),
        (("2", None, false), vec!["-ann"]),
    ] {
        match step {
            (name, user, true) => presence.enter(0, &channel(), member(name, user)),
            (name, _, false) => presence.leave(0, &channel(), &client(name)),
        }
        assert_eq!(take(&mut presence).0, news, "{step:?}");
    }
}

#[test]
fn anonymous_connections_count_for_themselves() {
    let mut presence = watching("a");
    presence.enter(0, &channel(), member("1", None));
    presence.enter(0, &channel(), member("2", None));
    presence.leave(0, &channel(), &client("1"));
    assert_eq!(take(&mut presence).0, ["+1", "+2", "-1"]);
}

#[test]
fn a_user_on_two_nodes_is_one_user() {
    let (mut a, mut b) = (watching("a"), Presence::new(node("b"), CONFIG));
    a.enter(0, &channel(), member("1", Some("ann")));
    take(&mut a);
    b.enter(0, &channel(), member("2", Some("ann")));
    for delta in take(&mut b).1 {
        a.handle_delta(0, &channel(), delta);
    }
    a.leave(1, &channel(), &client("1"));
    assert_eq!(take(&mut a).0, [""; 0], "she is still on b");
    assert_eq!(clients(&a), ["2"]);
    b.leave(2, &channel(), &client("2"));
    for delta in take(&mut b).1 {
        a.handle_delta(2, &channel(), delta);
    }
    assert_eq!(take(&mut a).0, ["-ann"]);
}

#[test]
fn a_missed_change_makes_it_ask_and_the_answer_repairs() {
    let (mut a, mut b) = (watching("a"), Presence::new(node("b"), CONFIG));
    b.enter(0, &channel(), member("1", None));
    take(&mut b);
    b.enter(0, &channel(), member("2", None));
    b.leave(0, &channel(), &client("1"));
    let deltas = take(&mut b).1;
    a.handle_delta(600, &channel(), deltas[1].clone());
    let (news, asked) = take(&mut a);
    assert_eq!((news.len(), asked[0].change.clone()), (0, PresenceChange::Ask));
    b.handle_delta(600, &channel(), asked[0].clone());
    let answer = take(&mut b).1;
    assert!(matches!(&answer[0].change, PresenceChange::All(members) if members.len() == 1));
    a.handle_delta(600, &channel(), answer[0].clone());
    assert_eq!(take(&mut a).0, ["+2"]);
    a.handle_delta(600, &channel(), deltas[0].clone());
    assert_eq!(clients(&a), ["2"], "what comes late is known already");
}

#[test]
fn a_silent_node_is_dead_after_its_lease_and_alive_again_when_it_speaks() {
    let (mut a, mut b) = (watching("a"), Presence::new(node("b"), CONFIG));
    b.enter(0, &channel(), member("1", Some("ann")));
    for delta in take(&mut b).1 {
        a.handle_delta(0, &channel(), delta);
    }
    assert_eq!(take(&mut a).0, ["+ann"]);
    let dead_at = a.poll_timeout().unwrap();
    assert_eq!(dead_at, CONFIG.lease_ms);
    a.handle_timeout(dead_at - 1);
    assert_eq!(clients(&a), ["1"]);
    a.handle_timeout(dead_at);
    assert_eq!((take(&mut a).0, clients(&a).len()), (vec!["-ann".to_owned()], 0));
    b.handle_timeout(4_000);
    let beat = take(&mut b).1;
    assert_eq!(beat[0].change, PresenceChange::Beat);
    a.handle_delta(4_000, &channel(), beat[0].clone());
    let (_, asked) = take(&mut a);
    b.handle_delta(4_000, &channel(), asked[0].clone());
    for delta in take(&mut b).1 {
        a.handle_delta(4_000, &channel(), delta);
    }
    assert_eq!(take(&mut a).0, ["+ann"]);
}

#[test]
fn beats_keep_a_node_alive_and_old_ones_do_not() {
    let (mut a, mut b) = (watching("a"), Presence::new(node("b"), CONFIG));
    b.enter(0, &channel(), member("1", None));
    let old = take(&mut b).1;
    a.handle_delta(0, &channel(), old[1].clone());
    b.enter(10, &channel(), member("2", None));
    a.handle_delta(10, &channel(), take(&mut b).1[0].clone());
    for _ in 0..20 {
        let at = b.poll_timeout().unwrap();
        b.handle_timeout(at);
        for delta in take(&mut b).1 {
            a.handle_delta(at, &channel(), delta);
        }
        a.handle_timeout(at);
        assert_eq!(clients(&a).len(), 2);
    }
    let last = b.poll_timeout().unwrap();
    a.handle_delta(last + CONFIG.lease_ms - 1, &channel(), old[1].clone());
    a.handle_timeout(last + CONFIG.lease_ms);
    assert_eq!(clients(&a), [""; 0], "a straggler is no sign of life");
    a.handle_delta(last + CONFIG.lease_ms, &channel(), old[1].clone());
    assert_eq!(clients(&a), [""; 0], "and does not raise the dead");
}

#[test]
fn a_channel_left_and_entered_again_goes_on_counting() {
    let (mut a, mut b) = (watching("a"), Presence::new(node("b"), CONFIG));
    let mut exchange = |b: &mut Presence| {
        for delta in take(b).1 {
            a.handle_delta(0, &channel(), delta);
        }
        clients(&a)
    };
    b.enter(0, &channel(), member("1", None));
    b.leave(0, &channel(), &client("1"));
    assert_eq!(exchange(&mut b), [""; 0]);
    assert!(!b.is_tracked(&channel()));
    b.enter(0, &channel(), member("2", None));
    assert_eq!(exchange(&mut b), ["2"]);
}

#[test]
fn many_questions_are_answered_together() {
    let mut b = Presence::new(node("b"), CONFIG);
    b.enter(0, &channel(), member("1", None));
    take(&mut b);
    let ask = |name: &str| PresenceDelta { node: node(name), version: 0, change: PresenceChange::Ask };
    for n in 0..50 {
        b.handle_delta(100, &channel(), ask(&format!("n{n}")));
    }
    assert_eq!(take(&mut b).1.len(), 1);
    let later = b.poll_timeout().unwrap();
    b.handle_timeout(later);
    assert_eq!(take(&mut b).1.len(), 1, "those who asked after the first answer get one more");
}

#[test]
fn nobody_waits_long_for_an_answer_however_slow_the_beat() {
    let mut b = Presence::new(node("b"), PresenceConfig::default());
    b.enter(0, &channel(), member("1", None));
    let ask = |name: &str| PresenceDelta { node: node(name), version: 0, change: PresenceChange::Ask };
    for (at, name) in [(20_000, "a"), (20_010, "c")] {
        b.handle_delta(at, &channel(), ask(name));
    }
    take(&mut b);
    let due = b.poll_timeout().unwrap();
    assert!(due <= 20_200, "{due}");
    b.handle_timeout(due);
    assert!(matches!(take(&mut b).1[0].change, PresenceChange::All(_)));
}

/// `b` with so many members, and what it answers when it is asked.
fn crowd(members: usize) -> (Presence, Vec<PresenceDelta>) {
    let mut b = Presence::new(node("b"), CONFIG);
    for n in 0..members {
        b.enter(0, &channel(), member(&format!("client-{n:06}"), Some(&format!("user-{n:06}"))));
    }
    take(&mut b);
    let ask = PresenceDelta { node: node("a"), version: 0, change: PresenceChange::Ask };
    b.handle_delta(10_000, &channel(), ask);
    let told = take(&mut b).1;
    (b, told)
}

#[test]
fn a_crowd_of_50_000_is_told_in_parts_of_which_each_fits_a_message() {
    let (mut b, told) = crowd(50_000);
    assert!(told.len() > 5, "{}", told.len());
    for delta in &told {
        let live = skywave_protocol::inner::Live::Presence { channel: channel(), delta: delta.clone() };
        assert!(live.encode().len() < 256 * 1024);
    }
    let mut a = Presence::new(node("a"), CONFIG);
    a.watch(10_000, &channel());
    take(&mut a);
    let (last, first) = told.split_last().unwrap();
    for delta in first {
        a.handle_delta(10_000, &channel(), delta.clone());
        assert_eq!(clients(&a).len(), 0, "nothing counts before all is there");
    }
    a.handle_delta(10_000, &channel(), last.clone());
    let (news, asked) = take(&mut a);
    assert_eq!((news.len(), asked.len()), (50_000, 0));
    assert_eq!(a.members(&channel()), b.members(&channel()));
    // It goes on from there, and a second telling, for somebody else, changes nothing.
    b.leave(10_001, &channel(), &client("client-000000"));
    for delta in take(&mut b).1.into_iter().chain(told) {
        a.handle_delta(10_001, &channel(), delta);
    }
    assert_eq!(take(&mut a), (vec!["-user-000000".to_owned()], vec![]));
    assert_eq!(clients(&a).len(), 49_999);
}

#[test]
fn a_part_that_is_lost_is_asked_for_and_one_that_comes_twice_is_not() {
    let (mut b, told) = crowd(20_000);
    assert!(told.len() >= 3);
    for lost in 0..told.len() {
        let mut a = watching("a");
        for (part, delta) in told.iter().enumerate().filter(|(part, _)| *part != lost) {
            a.handle_delta(10_000, &channel(), delta.clone());
            if part + 1 != told.len() {
                a.handle_delta(10_000, &channel(), delta.clone());
            }
        }
        // Without the last one, nothing but the next beat tells that something is missing.
        let (beat, at) = (b.poll_timeout().unwrap(), 40_000);
        b.handle_timeout(at.max(beat));
        let mut news = take(&mut b).1;
        assert_eq!(news.len(), 1);
        a.handle_delta(at, &channel(), news.remove(0));
        let (_, asked) = take(&mut a);
        assert!(asked.iter().any(|delta| delta.change == PresenceChange::Ask), "lost {lost}");
        assert_eq!(clients(&a).len(), 0);
        for delta in &told {
            a.handle_delta(at, &channel(), delta.clone());
        }
        assert_eq!(clients(&a).len(), 20_000, "lost {lost}");
        b = crowd(20_000).0;
    }
}

#[test]
fn untracked_channels_cost_nothing() {
    let mut a = Presence::new(node("a"), CONFIG);
    let change = PresenceChange::All(vec![member("1", None)]);
    a.handle_delta(0, &channel(), PresenceDelta { node: node("b"), version: 1, change });
    assert_eq!((clients(&a).len(), a.poll_timeout(), a.is_tracked(&channel())), (0, None, false));
}

#[derive(Debug, Clone)]
enum Step {
    Enter(usize, u8),
    Leave(usize, u8),
    /// Delivers, loses, doubles or holds back a message on the bus.
    Deliver(usize),
    Lose(usize),
    Double(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0usize..3, 0u8..6).prop_map(|(node, client)| Step::Enter(node, client)),
        2 => (0usize..3, 0u8..6).prop_map(|(node, client)| Step::Leave(node, client)),
        6 => (0usize..64).prop_map(Step::Deliver),
        2 => (0usize..64).prop_map(Step::Lose),
        1 => (0usize..64).prop_map(Step::Double),
        2 => (1u64..2_500).prop_map(Step::Wait),
    ]
}

/// Three nodes, all watching, on a bus that does what it likes.
struct Nodes {
    nodes: Vec<Presence>,
    now: Millis,
    bus: Vec<(usize, PresenceDelta)>,
    truth: BTreeMap<String, Option<String>>,
    told: Vec<BTreeSet<String>>,
}

impl Nodes {
    fn new() -> Self {
        let nodes: Vec<Presence> = (0..3).map(|n| watching(&format!("n{n}"))).collect();
        Self { nodes, now: 0, bus: Vec::new(), truth: BTreeMap::new(), told: vec![BTreeSet::new(); 3] }
    }

    fn collect(&mut self) {
        for from in 0..3 {
            let (news, deltas) = take(&mut self.nodes[from]);
            for delta in deltas {
                self.bus.extend((0..3).filter(|to| *to != from).map(|to| (to, delta.clone())));
            }
            for item in news {
                let (sign, who) = item.split_at(1);
                let fits = match sign {
                    "+" => self.told[from].insert(who.to_owned()),
                    _ => self.told[from].remove(who),
                };
                assert!(fits, "{item} was told twice");
            }
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Enter(at, n) => {
                // Clients belong to one node; users may be on several.
                let (name, user) = (format!("{at}-{n}"), (n < 4).then(|| format!("user{}", n % 2)));
                self.nodes[at].enter(self.now, &channel(), member(&name, user.as_deref()));
                self.truth.insert(name, user);
            }
            Step::Leave(at, n) => {
                let name = format!("{at}-{n}");
                self.nodes[at].leave(self.now, &channel(), &client(&name));
                self.truth.remove(&name);
            }
            Step::Deliver(_) | Step::Lose(_) | Step::Double(_) if self.bus.is_empty() => {}
            Step::Deliver(which) => {
                let (to, delta) = self.bus.remove(which % self.bus.len());
                self.nodes[to].handle_delta(self.now, &channel(), delta);
            }
            Step::Lose(which) => drop(self.bus.remove(which % self.bus.len())),
            Step::Double(which) => {
                let copy = self.bus[which % self.bus.len()].clone();
                self.bus.push(copy);
            }
            Step::Wait(ms) => {
                self.now += ms;
                self.nodes.iter_mut().for_each(|node| node.handle_timeout(self.now));
            }
        }
        self.collect();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever the bus does: once it works again all nodes agree within a few beats, and watchers were told exactly the
    /// comings and goings that lead there.
    #[test]
    fn all_nodes_agree_in_the_end(steps in prop::collection::vec(step(), 0..150)) {
        let mut nodes = Nodes::new();
        for step in steps {
            nodes.apply(step);
        }
        for _ in 0..60 {
            nodes.apply(Step::Wait(250));
            while !nodes.bus.is_empty() {
                nodes.apply(Step::Deliver(0));
            }
        }
        let all: Vec<String> = nodes.truth.keys().cloned().collect();
        let users: BTreeSet<String> = nodes
            .truth
            .iter()
            .map(|(client, user)| user.clone().unwrap_or_else(|| client.clone()))
            .collect();
        for (node, told) in nodes.nodes.iter().zip(&nodes.told) {
            prop_assert_eq!(&clients(node), &all);
            prop_assert_eq!(told, &users);
        }
    }
}
