//! The lease: programs end when it does, whatever has become of the agent.

use crate::{
    agent::House,
    kit::{Kit, command, is_running, marker, shell, wait_until, wait_until_running},
};
use common::{Duration, outcome::Outcome};
use nix::sys::signal::Signal;
use transport::clock::boot_now;

/// Long enough to start a program on a busy machine.
const LEASE: Duration = Duration::from_millis(4_000);
const LOST: &str = "cut off from the master for longer than its lease";

/// A program with a child of its own and one that hides.
fn tree(marker: &str) -> common::ProgramSpec {
    shell(&format!("sleep {marker} & setsid sleep {marker} & trap '' TERM; echo runs; wait; wait"))
}

#[test]
fn f08_a_stopped_agent_does_not_keep_its_programs_alive() {
    let house = House::new();
    let mut agent = house.agent();
    let program = marker("311");
    let until = boot_now().plus(LEASE);
    agent.lease(LEASE);
    agent.start(&house, tree(&program), "watched");
    agent.wait_for("output watched 0");
    wait_until_running(&program);
    agent.signal(Signal::SIGSTOP);
    wait_until("the end of the program", || !is_running(&program));
    assert!(boot_now() >= until, "the program ended too early");
    agent.signal(Signal::SIGCONT);
    let told = house.told("watched");
    assert!(told.outcome.starts_with("Lost") && told.outcome.contains(LOST), "{}", told.outcome);
    assert_eq!(told.output, b"runs\n");
    agent.stop();
    house.assert_all_gone();
}

#[test]
fn f08_a_lease_that_grows_ends_nothing() {
    let house = House::new();
    let mut agent = house.agent();
    let gate = house.open("gate");
    let script = format!("echo runs; while [ ! -e {} ]; do sleep 0.01; done; echo end", gate.display());
    agent.lease(Duration::from_millis(1_500));
    agent.start(&house, shell(&script), "leased");
    let begun = boot_now();
    // The first lease would be over long before the last is told.
    while boot_now().since(begun) < Duration::from_millis(3_000) {
        agent.lease(Duration::from_millis(1_500));
    }
    std::fs::write(&gate, b"").unwrap();
    let told = house.told("leased");
    assert_eq!((told.outcome.as_str(), told.output.as_slice()), ("Exited { code: 0 }", b"runs\nend\n".as_slice()));
    agent.stop();
    house.assert_all_gone();
}

#[test]
fn f08_without_an_agent_everything_ends_with_the_lease() {
    let house = House::new();
    let mut agent = house.agent();
    let program = marker("312");
    let until = boot_now().plus(LEASE);
    agent.lease(LEASE);
    agent.start(&house, tree(&program), "left");
    wait_until_running(&program);
    agent.kill();
    house.assert_all_gone();
    assert!(!is_running(&program));
    assert!(boot_now() >= until, "the program ended too early");
}

/// The next agent has no lease of its own yet: the launcher keeps that of the one before.
#[test]
fn f08_the_next_agent_does_not_make_a_lease_longer() {
    let house = House::new();
    let mut agent = house.agent();
    let program = marker("313");
    agent.lease(LEASE);
    agent.start(&house, tree(&program), "adopted");
    wait_until_running(&program);
    agent.kill();
    let mut agent = house.agent();
    let told = house.told("adopted");
    assert!(told.outcome.contains(LOST), "{}", told.outcome);
    assert!(!is_running(&program));
    // With a new one there is new work.
    agent.lease(Duration::from_secs(60));
    agent.start(&house, shell("sleep 0.1; echo again"), "again");
    let told = house.told("again");
    assert_eq!((told.outcome.as_str(), told.output.as_slice()), ("Exited { code: 0 }", b"again\n".as_slice()));
    agent.stop();
    house.assert_all_gone();
}

#[test]
fn f08_nothing_starts_past_the_lease() {
    let mut kit = Kit::new();
    kit.run(shell("exit 0")).assert_exit(0);
    let before = boot_now();
    kit.executor().set_lease(before);
    let ran = kit.run(shell("echo ran"));
    match &ran.end.outcome {
        Outcome::Lost { detail } => assert!(detail.contains(LOST), "{detail}"),
        other => panic!("{other:?}"),
    }
    assert!(ran.output.is_empty());
}

/// Leases end and begin while one program follows another: none is ended by a lease that is over.
#[test]
fn f08_a_lease_that_is_over_does_not_end_what_starts_in_the_next() {
    let mut kit = Kit::new();
    for round in 0..1_500_u64 {
        // Ends while the keeper starts a program, ends one, or has none.
        kit.executor().set_lease(boot_now().plus(Duration(37 * round % 2_500)));
        let early = kit.run(command("true", &[])).end.outcome;
        assert!(matches!(early, Outcome::Exited { code: 0 } | Outcome::Lost { .. }), "{early:?}");
        kit.executor().set_lease(boot_now().plus(Duration::from_secs(60)));
        kit.run(command("true", &[])).assert_exit(0);
    }
}
