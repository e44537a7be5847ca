//! The checker of the fault tests finds what it is there to find.

mod kafka;

use kafka::history::{History, value};
use skywave_ports::log::{LogEntry, LogError};

/// Three acknowledged, one unknown, one refused.
fn history() -> History {
    let unknown = LogError::Unavailable(String::new());
    History::of(vec![Ok(0), Ok(1), Err(unknown), Err(LogError::Refused(String::new())), Ok(2)])
}

fn log(numbers: &[usize]) -> Vec<LogEntry> {
    numbers
        .iter()
        .zip(0..)
        .map(|(number, position)| LogEntry { position, value: value(1, *number) })
        .collect()
}

#[test]
fn what_is_right_passes() {
    history().check(1, &log(&[0, 1, 4]));
    history().check(1, &log(&[0, 1, 4, 2]));
}

#[test]
#[should_panic = "record 4 was acknowledged"]
fn a_lost_record_is_found() {
    history().check(1, &log(&[0, 1]));
}

#[test]
#[should_panic = "record 1 stands at"]
fn a_doubled_record_is_found() {
    history().check(1, &log(&[0, 1, 4, 1]));
}

#[test]
#[should_panic = "record 2 stands at"]
fn a_doubled_unknown_record_is_found() {
    history().check(1, &log(&[0, 1, 4, 2, 2]));
}

#[test]
#[should_panic = "record 0 was acknowledged"]
fn swapped_records_are_found() {
    history().check(1, &log(&[1, 0, 4]));
}

#[test]
#[should_panic = "record 3 was refused"]
fn a_refused_record_is_found() {
    history().check(1, &log(&[0, 1, 4, 3]));
}

#[test]
#[should_panic = "in the order of starting"]
fn acknowledgements_out_of_order_are_found() {
    History::of(vec![Ok(1), Ok(0)]).check(1, &log(&[1, 0]));
}
