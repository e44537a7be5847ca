//! Clients that ask where to go.

use super::*;

/// Addresses asked for a route, and for whom.
fn questions(script: &Script) -> Vec<(String, Option<String>)> {
    let asked = script.outputs.iter().filter_map(|output| match output {
        Output::Route { url, key, .. } => Some((url.clone(), key.as_ref().map(|key| key.to_string()))),
        _ => None,
    });
    asked.collect()
}

fn routed() -> Settings {
    let key = Some(PlacementKey::parse("room").unwrap());
    Settings { urls: vec!["http://common".into()], routed: true, key, ..settings() }
}

/// The last `connect`: its key, and whether it says that the client was sent.
fn greeting(script: &mut Script) -> (Option<String>, bool) {
    let link = script.opened();
    script.machine.handle_opened(script.now, link);
    let Request::Connect(connect) = script.request(link).request else { panic!("connect comes first") };
    (connect.key.map(|key| key.to_string()), connect.placed)
}

fn name(script: &mut Script, urls: &[&str]) {
    script.machine.handle_route(script.now, Ok(urls.iter().map(|url| (*url).to_owned()).collect()));
    script.drain();
}

#[test]
fn a_routed_client_goes_where_it_is_sent_and_says_so() {
    let mut script = Script::new(routed());
    assert_eq!(questions(&script), [("http://common".to_owned(), Some("room".to_owned()))]);
    assert!(script.opens().is_empty());
    name(&mut script, &["http://n1", "http://n2"]);
    assert_eq!(script.opens().last().unwrap().1, "http://n1");
    assert_eq!(greeting(&mut script), (Some("room".into()), true));
    // An answer that comes twice is one too many.
    name(&mut script, &["http://n3"]);
    assert_eq!(script.opens().len(), 1);
}

#[test]
fn nodes_that_do_not_answer_are_passed_over_at_once_and_the_common_address_comes_last() {
    let mut script = Script::new(routed());
    name(&mut script, &["http://n1", "http://n2"]);
    for expected in ["http://n2", "http://common"] {
        let link = script.opened();
        let hopeless = Broken { reason: "404".into(), hopeless: true, ..Broken::default() };
        script.machine.handle_broken(script.now, link, hopeless);
        script.drain();
        assert_eq!((script.opens().last().unwrap().1.as_str(), script.now), (expected, 0));
        assert!(greeting(&mut script).1, "it was sent elsewhere in vain: it must not be sent again");
    }
    let link = script.opened();
    script.lose(link, None);
    assert!(script.machine.poll_timeout().unwrap() > 0, "now it waits");
    while questions(&script).len() == 1 {
        script.wait();
    }
    assert_eq!(script.opens().len(), 3, "and then asks anew");
}

#[test]
fn without_an_answer_the_client_connects_as_if_it_had_not_asked() {
    let mut script = Script::new(routed());
    script.machine.handle_route(0, Err("404".into()));
    script.drain();
    assert_eq!(script.opens().last().unwrap().1, "http://common");
    assert_eq!(greeting(&mut script), (Some("room".into()), false));
}

#[test]
fn after_a_loss_the_client_asks_again() {
    let mut script = Script::new(routed());
    name(&mut script, &["http://n1", "http://n2"]);
    let link = script.opened();
    script.accept(link);
    script.now = 60_000;
    script.lose(link, None);
    while questions(&script).len() == 1 {
        script.wait();
    }
    name(&mut script, &["http://n2"]);
    assert_eq!(script.opens().last().unwrap().1, "http://n2");
}

#[test]
fn a_client_that_is_moved_says_that_it_was_sent() {
    let (mut script, link) = Script::connected();
    script.say(link, ServerMessage::Push(Push::Move { target: Some("http://n2".into()), within_ms: 1_000 }));
    script.wait();
    assert_eq!(script.opens().last().unwrap().1, "http://n2");
    assert_eq!(greeting(&mut script), (None, true));
}

#[test]
fn a_refused_client_does_not_go_from_node_to_node() {
    let mut script = Script::new(routed());
    name(&mut script, &["http://n1", "http://n2"]);
    let link = script.opened();
    script.lose(link, Some(CloseCode::Forbidden));
    assert!(script.machine.is_closed());
    assert_eq!(script.opens().len(), 1);
}
