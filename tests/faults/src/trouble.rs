//! What a failure leaves for somebody who has nothing but the log of the run: how every process stands and what it said last,
//! and what clients met beside deliveries.

use std::fmt::Write as _;

use skywave_cluster::Cluster;
use skywave_harness::{History, Kind};
use skywave_servers::State;

/// So many events are shown.
const EVENTS: usize = 60;

/// Every process: whether it runs, whether it is ready, and the end of its log.
pub fn processes(cluster: &Cluster) -> String {
    let members = match cluster.members() {
        Ok(members) => members,
        Err(error) => return format!("nothing is known of the processes: {error:#}\n"),
    };
    let mut text = String::new();
    for member in members {
        let standing = member.standing();
        let state = match standing.state {
            State::Running => "runs",
            State::Stopped => "is frozen",
            State::Gone => "is gone",
        };
        let ready = if standing.ready { "ready" } else { "not ready" };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "--- {} {state}, {ready}; {}", member.name, member.last_words());
    }
    text
}

/// The newest events that are neither publishes, acknowledgements nor deliveries.
pub fn clients(history: &History) -> String {
    let told = |kind: &Kind| {
        !matches!(
            kind,
            Kind::Published { .. }
                | Kind::Acknowledged { .. }
                | Kind::Delivered { .. }
                | Kind::Stored { .. }
                | Kind::Denied { .. }
        )
    };
    let events: Vec<_> = history.events.iter().filter(|event| told(&event.kind)).collect();
    let mut text = String::new();
    for event in &events[events.len().saturating_sub(EVENTS)..] {
        let _ = writeln!(text, "{:8.3} s {}: {:?}", event.at.as_secs_f64(), event.process, event.kind);
    }
    text
}

#[cfg(test)]
mod tests {
    use skywave_harness::history::{Event, Message, Position};

    use super::*;

    #[test]
    fn what_went_well_is_left_out_and_the_newest_is_kept() {
        let message = Message { channel: "c".into(), publisher: None, id: "1".into(), hash: "h".into() };
        let position = Position { epoch: "e".into(), offset: 1 };
        let mut events = vec![Kind::Delivered { message: message.clone(), position }];
        events.extend((0..100).map(|code| Kind::Closed { code: Some(code) }));
        events.push(Kind::Refused { message, code: "timeout".into() });
        let event = |kind| Event { at: std::time::Duration::ZERO, process: "p".into(), kind };
        let text = clients(&History { events: events.into_iter().map(event).collect() });
        assert_eq!(text.lines().count(), EVENTS);
        assert!(!text.contains("Delivered") && text.ends_with("code: \"timeout\" }\n"), "{text}");
    }
}
