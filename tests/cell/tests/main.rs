//! One cell on real servers: nats-server, Kafka, Postgres, Redis, two cores and two edges, each a process of its own.
//!
//! Starting them takes longer than most of the tests, so all tests share one cell and run one after the other, in the
//! order below: quiet ones first, then those that break something. Arguments that are no flags choose tests by parts of
//! their names.
#![allow(clippy::print_stdout, reason = "a test program says what it does")]

mod backend;
mod cell;
mod everyday;
mod failing;
mod live_json;
mod rights;
mod starting;

use std::process::ExitCode;
use std::time::Instant;

use cell::Cell;

type Test = (&'static str, fn(&Cell) -> anyhow::Result<()>);

const TESTS: &[Test] = &[
    ("a_publication_reaches_subscribers_of_another_edge", everyday::another_edge),
    ("what_is_acknowledged_can_be_read_at_once_at_every_edge", everyday::history),
    ("a_client_goes_on_at_another_edge_where_it_was", everyday::recovery),
    ("a_past_that_one_edge_has_read_the_other_finds_in_redis", everyday::the_past),
    ("who_is_there_is_known_at_every_edge", everyday::presence),
    ("health_says_what_each_node_does", everyday::health),
    ("a_backend_on_nats_is_answered_every_question", rights::backend_asks),
    ("a_backend_on_nats_cannot_pass_for_a_node", rights::backend_is_no_node),
    ("a_backend_hears_each_publication_once_as_json", live_json::once),
    ("a_backend_that_follows_the_rule_misses_nothing", live_json::all_of_it),
    ("what_users_and_nodes_do_is_told_on_kafka", backend::relay_events),
    ("each_record_of_a_backend_is_published_once_through_kills", backend::topics),
    ("a_log_record_that_cannot_be_read_becomes_a_dead_letter", backend::unreadable),
    ("without_redis_an_edge_is_degraded_and_serves", failing::redis_away),
    ("a_core_that_leaves_hands_over_and_comes_back_as_a_member", failing::leaving),
    ("publishing_goes_on_when_a_core_is_killed", failing::core_killed),
    ("subscribers_go_on_when_an_edge_is_killed", failing::edge_killed),
    ("a_command_goes_on_at_the_other_edge_it_knows_and_where_it_is_routed", failing::command),
    ("cores_restart_one_after_the_other_under_load", failing::rolling),
    ("a_core_that_slept_through_a_rebalance_does_no_harm", failing::zombie),
    ("postgres_may_be_away_until_too_much_waits_for_it", failing::postgres_away),
    ("a_core_waits_for_a_log_that_starts_later", starting::log_later),
    ("a_second_signal_ends_a_core_at_once", starting::second_signal),
];

fn main() -> ExitCode {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if std::env::args().any(|argument| argument == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    let chosen: Vec<&Test> = TESTS.iter().filter(|(name, _)| is_wanted(name)).collect();
    if chosen.is_empty() {
        return ExitCode::SUCCESS;
    }
    match run(&chosen) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            println!("\n{failed} of {} tests failed", chosen.len());
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("the cell did not come up: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// How many failed. The first one that leaves a broken cell behind ends the run.
fn run(tests: &[&Test]) -> anyhow::Result<usize> {
    let begin = Instant::now();
    let cell = Cell::start()?;
    println!("the cell is up after {:.1} s", begin.elapsed().as_secs_f64());
    let mut failed = 0;
    for (name, test) in tests {
        let begin = Instant::now();
        let outcome = test(&cell).and_then(|()| cell.wait_whole()).and_then(|()| rights::kept(&cell));
        let took = begin.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => println!("test {name} ... ok ({took:.1} s)"),
            Err(error) => {
                failed += 1;
                println!("test {name} ... FAILED ({took:.1} s)\n{error:#}");
                if cell.wait_whole().is_err() {
                    println!("the cell is broken; {}", cell.last_words());
                    break;
                }
            }
        }
    }
    Ok(failed)
}
