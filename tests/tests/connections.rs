//! F13, F14: connections that are reset all the time, and answers that never arrive.

use tests::{
    Cluster,
    checker::{Phase, Rules},
    nemesis::{Nemesis, Plan, Workload, judge, proxy::Proxy},
    soak,
    witness::Witness,
};

/// A cluster whose slaves reach their master through a proxy, and a proxy for its clients.
fn through_proxies() -> (Cluster, Proxy, Proxy) {
    let mut cluster = Cluster::new();
    let (clients, slaves) = (Proxy::new(cluster.address()), Proxy::new(cluster.address()));
    cluster.surroundings().host = slaves.address();
    cluster.slave("pc-01", 2);
    cluster.slave("pc-02", 2);
    (cluster, clients, slaves)
}

#[test]
fn f13_connections_that_are_reset_all_the_time_hold_nothing_up_and_repeat_nothing() {
    let mut nemesis = Nemesis::new("f13", 13);
    let (cluster, clients, slaves) = through_proxies();
    let witness = Witness::new(&cluster.outside());
    // Much output in small pieces: a reset meets it in the middle.
    let plan =
        Plan { programs: 10_000, pause_ms: 50..350, bytes: 1_000..200_000, run_ms: 50..1_000, ..Plan::default() };
    slaves.piece(1_000);
    let load = Workload::start(&cluster, &witness, &plan, nemesis.seed(), Some(&clients.address()));
    for reset in 1..=if soak() { 600 } else { 7 } {
        nemesis.hold_for_some(300..if soak() { 3_000 } else { 1_000 });
        nemesis.note(&format!("reset {reset}, {} acknowledged", load.acknowledged()));
        slaves.reset();
        if nemesis.random.one_in(2) {
            clients.reset();
        }
    }
    slaves.piece(usize::MAX);
    let calls = load.stop();
    judge(&cluster, &witness, calls, &Rules { acknowledged_min: 0.7, ..Rules::STRICT });
}

#[test]
fn f14_lost_answers_to_submits_cancels_and_results_change_nothing() {
    let mut nemesis = Nemesis::new("f14", 14);
    let (cluster, clients, slaves) = through_proxies();
    let witness = Witness::new(&cluster.outside());
    // No submit is given up: each repeat must find the one program that the first one made.
    let plan = Plan {
        programs: 10_000,
        pause_ms: 1..30,
        run_ms: 20..200,
        cancel_one_in: 3,
        abandon_one_in: 0,
        ..Plan::default()
    };
    let load = Workload::start(&cluster, &witness, &plan, nemesis.seed(), Some(&clients.address()));
    let wanted = if soak() { 400 } else { 12 };
    for round in 1..=wanted {
        load.wait_for_more(3);
        nemesis.hold_for_some(1..60);
        let which = if nemesis.random.one_in(2) { ("a client", &clients) } else { ("a slave", &slaves) };
        nemesis.note(&format!("answer {round} is swallowed: of {}", which.0));
        let before = which.1.swallowed();
        which.1.swallow(1);
        tests::wait_until("the answer is swallowed", || (which.1.swallowed() > before).then_some(()));
    }
    load.wait_for_more(5);
    let calls = load.stop();
    let unanswered = calls.iter().filter(|call| call.phase == Phase::Info).count();
    assert!(unanswered > 0, "some submit was not answered");
    let report = judge(&cluster, &witness, calls, &Rules::STRICT);
    assert_eq!(report.reruns, 0, "no result was asked for twice");
}
