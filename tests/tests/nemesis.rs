//! F1, F9, F17, F20, F23, F24: real programs killed, stopped and starved under load, judged by the checker.

use nix::sys::signal::Signal;
use std::{process::Command, time::Duration};
use tests::{
    Cluster,
    checker::Rules,
    nemesis::{Nemesis, Plan, Workload, judge, single},
    soak, wait_until,
    witness::{Mark, Witness},
};

/// Short, so that a fault outlasts it.
const LEASE: Duration = Duration::from_secs(4);

#[test]
fn f01_kill_9_of_the_master_under_load_loses_nothing_and_runs_nothing_twice() {
    let mut nemesis = Nemesis::new("f01", 1);
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 2);
    cluster.slave("pc-02", 2);
    let witness = Witness::new(&cluster.outside());
    let kills = if soak() { 200 } else { 4 };
    let plan = Plan { programs: 10_000, run_ms: 50..500, ..Plan::default() };
    let load = Workload::start(&cluster, &witness, &plan, nemesis.seed(), None);
    for kill in 1..=kills {
        let more = nemesis.random.count(2..15);
        load.wait_for_more(more);
        nemesis.hold_for_some(0..100);
        nemesis.note(&format!("kill {kill} of the master, {} acknowledged", load.acknowledged()));
        cluster.kill_master();
        nemesis.hold_for_some(0..400);
        cluster.start_master();
    }
    load.wait_for_more(5);
    let calls = load.stop();
    let report = judge(&cluster, &witness, calls, &Rules::STRICT);
    println!("f01: {kills} kills: {report}");
}

#[test]
fn f09_a_master_that_was_stopped_for_longer_than_the_lease_loses_no_result() {
    let mut nemesis = Nemesis::new("f09", 9);
    let mut cluster = Cluster::with_config(&format!("lease = \"{}s\"\n", LEASE.as_secs()));
    cluster.slave("pc-01", 2);
    cluster.slave("pc-02", 2);
    let witness = Witness::new(&cluster.outside());
    // Shorter than the lease: whatever runs when the master is stopped comes to its end.
    let plan = Plan { programs: 10_000, run_ms: 50..1_000, ..Plan::default() };
    let load = Workload::start(&cluster, &witness, &plan, nemesis.seed(), None);
    for stop in 1..=if soak() { 30 } else { 1 } {
        load.wait_for_more(10);
        nemesis.note(&format!("stop {stop} of the master"));
        let master = cluster.master.as_ref().unwrap();
        master.signal(Signal::SIGSTOP);
        nemesis.hold(LEASE * 2);
        master.signal(Signal::SIGCONT);
        nemesis.note("the master goes on");
        load.wait_for_more(5);
    }
    let calls = load.stop();
    judge(&cluster, &witness, calls, &Rules::STRICT);
}

#[test]
fn f17_a_cancel_at_any_step_ends_a_program_once_though_the_master_is_killed() {
    let mut nemesis = Nemesis::new("f17", 17);
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 3);
    let witness = Witness::new(&cluster.outside());
    let plan =
        Plan { programs: 10_000, pause_ms: 1..60, run_ms: 1..300, bytes: 0..600, cancel_one_in: 1, ..Plan::default() };
    let load = Workload::start(&cluster, &witness, &plan, nemesis.seed(), None);
    for kill in 1..=if soak() { 60 } else { 3 } {
        load.wait_for_more(20);
        nemesis.hold_for_some(0..60);
        nemesis.note(&format!("kill {kill} of the master"));
        cluster.kill_master();
        cluster.start_master();
    }
    load.wait_for_more(10);
    let calls = load.stop();
    let report = judge(&cluster, &witness, calls, &Rules::STRICT);
    assert!(report.cancelled > 0 && report.done > 0, "cancels came in time and too late: {report}");
}

#[test]
fn f20_a_second_master_on_the_same_folder_is_refused() {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 1);
    let mut second = cluster.master_command();
    let refused = tests::cli::finish(&mut second, b"");
    assert_ne!(refused.code, 0);
    assert!(refused.err().contains("E-DATA-LOCKED"), "{refused:?}");
    assert_eq!(cluster.admin().run(["run", "--", "echo", "on"]).expect(0).out(), "on\n", "the first one goes on");
    // The lock is the process's, not the file's: after a kill nothing has to be removed.
    cluster.kill_master();
    cluster.start_master();
}

#[test]
fn f23_a_master_and_a_slave_with_few_descriptors_refuse_what_is_new_and_keep_what_they_have() {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 2);
    let witness = Witness::new(&cluster.outside());
    let long = single::submit(&cluster, &witness, 1_500, &[]);
    single::wait_for_line(&witness, &long, "it runs", |_| true);
    let admin = cluster.admin();
    let limit = |pid: nix::unistd::Pid, count: &str| {
        let words = ["--pid", &pid.to_string(), &format!("--nofile={count}:4096")];
        assert!(Command::new("prlimit").args(words).status().unwrap().success());
    };
    let used = |pid: nix::unistd::Pid| std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let (master, slave) = (cluster.master.as_ref().unwrap().id(), cluster.slaves[0].id());
    let (free_of_master, free_of_slave) = (used(master) + 6, used(slave) + 4);
    limit(master, &free_of_master.to_string());
    limit(slave, &free_of_slave.to_string());
    // More connections than there are descriptors: the last ones are not served.
    let address: std::net::SocketAddr = cluster.address().parse().unwrap();
    let strangers: Vec<_> = (0..24).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    wait_until("the master has no descriptor left", || (used(master) >= free_of_master).then_some(()));
    let end = single::wait_for_line(&witness, &long, "what ran came to its end", |line| line.mark == Mark::End);
    assert_eq!(end.attempt, 1);
    drop(strangers);
    limit(master, "4096");
    limit(slave, "4096");
    admin.run(["wait", &long]).expect(0);
    assert_eq!((admin.show(&long)["state"].clone(), cluster.master.as_mut().unwrap().runs()), ("done".into(), true));
    assert!(cluster.slaves[0].runs());
    assert_eq!(admin.run(["run", "--", "echo", "on"]).expect(0).out(), "on\n", "both serve as before");
    assert_eq!(admin.slaves()[0]["state"], "connected");
}

#[test]
fn f24_a_graceful_stop_under_load_exits_0_and_loses_nothing() {
    let mut nemesis = Nemesis::new("f24", 24);
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 2);
    let other = cluster.slave("pc-02", 2);
    let witness = Witness::new(&cluster.outside());
    let plan = Plan { programs: 10_000, ..Plan::default() };
    let load = Workload::start(&cluster, &witness, &plan, nemesis.seed(), None);
    for stop in 1..=if soak() { 40 } else { 2 } {
        load.wait_for_more(10);
        nemesis.note(&format!("stop {stop} of the master"));
        assert_eq!(cluster.master.as_mut().unwrap().stop(), Some(0));
        cluster.start_master();
        load.wait_for_more(8);
        nemesis.note(&format!("stop {stop} of a slave"));
        assert_eq!(cluster.slaves[other].stop(), Some(0));
        cluster.restart_slave(other);
        cluster.slaves[other].line("connected to ");
    }
    load.wait_for_more(5);
    let calls = load.stop();
    judge(&cluster, &witness, calls, &Rules::STRICT);
}
