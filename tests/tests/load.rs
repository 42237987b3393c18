//! L1 to L10 and L14: scale and overload, scaled down; `cargo xtask soak` runs the whole counts.
//!
//! One at a time: each has the machine for itself as far as this file goes, and they measure memory.

use std::sync::{Mutex, PoisonError};
use tests::load::{SCENARIOS, Scale, run};

static ONE: Mutex<()> = Mutex::new(());

fn check(name: &str) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let scenario = SCENARIOS.iter().find(|(other, ..)| *other == name).expect("the scenario is listed");
    run(scenario, &Scale::of_tests());
}

#[test]
fn l01_tiny_programs_are_acknowledged_run_once_and_finished() {
    check("l01");
}

#[test]
fn l02_l03_l04_many_slaves_come_rest_and_come_back_after_a_crash() {
    check("l02");
}

#[test]
fn l05_a_long_queue_is_held_in_bounded_memory() {
    check("l05");
}

#[test]
fn l06_slow_and_greedy_readers_cost_the_master_nothing() {
    check("l06");
}

#[test]
fn l07_a_stopped_reader_is_cut_and_the_outputs_are_complete() {
    check("l07");
}

#[test]
fn l08_overload_is_refused_by_name_and_nothing_accepted_is_lost() {
    check("l08");
}

#[test]
fn l09_a_long_queue_of_one_user_does_not_shut_out_another() {
    check("l09");
}

#[test]
fn l10_a_storm_of_output_loses_no_byte_and_no_slave() {
    check("l10");
}

#[test]
fn l10_limits_of_output_are_exact_when_many_programs_write() {
    check("l10r");
}

#[test]
fn l14_a_storm_of_logins_disturbs_no_session() {
    check("l14");
}
