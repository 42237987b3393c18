//! F7, F8, F18: agents of slaves that are killed, stopped or brought down, judged by the checker.

use nix::sys::signal::Signal;
use tests::{
    Cluster,
    checker::Rules,
    nemesis::{Nemesis, Plan, Workload, judge, single},
    process::Relative,
    soak, wait_until,
    witness::Witness,
};

#[test]
fn f07_kill_9_of_an_agent_keeps_its_programs_and_the_next_agent_takes_them_over() {
    let mut nemesis = Nemesis::new("f07", 7);
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 2);
    cluster.slave("pc-02", 2);
    let witness = Witness::new(&cluster.outside());
    let plan = Plan { programs: 10_000, pause_ms: 20..200, run_ms: 50..1_500, ..Plan::default() };
    let load = Workload::start(&cluster, &witness, &plan, nemesis.seed(), None);
    for kill in 1..=if soak() { 100 } else { 4 } {
        let more = nemesis.random.count(2..12);
        load.wait_for_more(more);
        let place = nemesis.random.count(0..2);
        nemesis.note(&format!("kill {kill}: the agent of slave {place}"));
        cluster.slaves[place].kill();
        nemesis.hold_for_some(0..400);
        cluster.restart_slave(place);
        cluster.slaves[place].line("connected to ");
    }
    load.wait_for_more(5);
    let calls = load.stop();
    let report = judge(&cluster, &witness, calls, &Rules::STRICT);
    assert_eq!(report.reruns, 0, "every program went on where it was");
}

#[test]
fn f08_a_stopped_agent_has_its_programs_killed_at_the_lease_and_its_late_report_changes_nothing() {
    let mut nemesis = Nemesis::new("f08", 8);
    let mut cluster = Cluster::with_config("lease = \"4s\"\n");
    let witness = Witness::new(&cluster.outside());
    let stopped = cluster.slave("pc-01", 1);
    let id = single::submit(&cluster, &witness, 60_000, &["--retry", "1"]);
    single::wait_for_line(&witness, &id, "it runs", |_| true);
    cluster.slave("pc-02", 1);
    let programs: Vec<_> = cluster.slaves[stopped]
        .descendants()
        .into_iter()
        .filter(|process| {
            std::fs::read_link(format!("/proc/{}/exe", process.pid)).is_ok_and(|exe| exe == witness.program())
        })
        .collect();
    assert_eq!(programs.len(), 1, "the program is below its slave");
    cluster.slaves[stopped].signal(Signal::SIGSTOP);
    nemesis.note("the agent is stopped");
    wait_until("nothing of the program is left, though its agent is stopped", || (!programs[0].lives()).then_some(()));
    nemesis.note("the program is dead");
    assert!(witness.lines_of(&id).iter().all(|line| line.attempt == 1), "dead before it begins elsewhere");
    let second = single::wait_for_line(&witness, &id, "it runs elsewhere", |line| line.attempt == 2);
    nemesis.note("it runs elsewhere");
    let last = witness.lines_of(&id).into_iter().filter(|line| line.attempt == 1).map(|line| line.at).max();
    assert!(last < Some(second.at));
    assert_eq!(second.node, "pc-02");
    cluster.slaves[stopped].signal(Signal::SIGCONT);
    let admin = cluster.admin();
    wait_until("the slave is back", || admin.slaves().iter().all(|slave| slave["state"] == "connected").then_some(()));
    nemesis.note("the agent goes on and has reported");
    let row = admin.show(&id);
    assert_eq!((&row["state"], &row["attempt"]), (&"running".into(), &2.into()), "its report is stale: {row}");
    admin.run(["cancel", &id]).expect(0);
    let row = wait_until("it has ended", || Some(admin.show(&id)).filter(|row| !row["ended_at"].is_null()));
    assert_eq!((&row["state"], &row["attempt"]), (&"cancelled".into(), &2.into()), "{row}");
}

#[test]
fn f08_a_result_that_comes_after_the_next_attempt_began_changes_nothing() {
    let mut nemesis = Nemesis::new("f08-late", 8);
    let mut cluster = Cluster::with_config("lease = \"4s\"\n");
    let witness = Witness::new(&cluster.outside());
    let stopped = cluster.slave("pc-01", 1);
    let gate = cluster.outside().join("gate");
    // The first attempt ends well when it may, the next one runs on.
    let program = witness.program().display().to_string();
    let words = witness.arguments(60_000, 100).join(" ");
    let script = format!(
        "[ $RUCHE_ATTEMPT = 1 ] || exec {program} {words}; while [ ! -e {} ]; do sleep 0.05; done",
        gate.display()
    );
    let admin = cluster.admin();
    let id = admin.submit(["--retry", "1", "--memory", "256M", "--", "sh", "-c", &script]);
    // It prints nothing: no byte of it is on its way, which a late result would have to wait for.
    wait_until("it runs", || (admin.show(&id)["state"] == "running").then_some(()));
    cluster.slave("pc-02", 1);
    let running = cluster.slaves[stopped].descendants();
    cluster.slaves[stopped].signal(Signal::SIGSTOP);
    std::fs::write(&gate, "").unwrap();
    wait_until("the first attempt has ended by itself", || {
        running.iter().any(|process| !process.lives()).then_some(())
    });
    nemesis.note("the first attempt has ended, and its agent cannot say so");
    single::wait_for_line(&witness, &id, "it runs elsewhere", |line| line.attempt == 2);
    cluster.slaves[stopped].signal(Signal::SIGCONT);
    nemesis.note("the agent goes on");
    wait_until("the slave is back", || admin.slaves().iter().all(|slave| slave["state"] == "connected").then_some(()));
    // What comes after its report has been heard: so has the report.
    assert_eq!(admin.run(["run", "--slave", "pc-01", "--", "echo", "on"]).expect(0).out(), "on\n");
    let row = admin.show(&id);
    assert_eq!((&row["state"], &row["attempt"]), (&"running".into(), &2.into()), "the late result counts: {row}");
    admin.run(["cancel", &id]).expect(0);
    let row = wait_until("it has ended", || Some(admin.show(&id)).filter(|row| !row["ended_at"].is_null()));
    assert_eq!((&row["state"], &row["attempt"]), (&"cancelled".into(), &2.into()), "{row}");
}

#[test]
fn f18_a_program_that_brings_down_its_slave_is_given_up_after_five_crashes() {
    let mut nemesis = Nemesis::new("f18", 18);
    let mut cluster = Cluster::with_config("lease = \"2s\"\n");
    cluster.slave("pc-01", 2);
    let witness = Witness::new(&cluster.outside());
    let poison = single::submit(&cluster, &witness, 60_000, &["--retry", "100"]);
    let admin = cluster.admin();
    let mut crashes = 0;
    let row = loop {
        // It runs for a further time, or it is given up.
        let begun = || witness.lines_of(&poison).iter().any(|line| line.attempt > crashes);
        let row = wait_until("it runs again or is given up", || {
            let row = admin.show(&poison);
            (!row["ended_at"].is_null() || begun()).then_some(row)
        });
        if !row["ended_at"].is_null() {
            break row;
        }
        crashes = witness.lines_of(&poison).iter().map(|line| line.attempt).max().unwrap();
        assert!(crashes <= 5, "tried more than five times");
        nemesis.note(&format!("attempt {crashes} brings down its slave"));
        let mut slave: Vec<_> = cluster.slaves[0].descendants();
        cluster.slaves[0].kill();
        slave.drain(..).for_each(Relative::kill);
        cluster.restart_slave(0);
        cluster.slaves[0].line("connected to ");
    };
    assert_eq!((&row["state"], &row["attempt"]), (&"lost".into(), &5.into()), "{row}");
    let good = single::submit(&cluster, &witness, 50, &[]);
    admin.run(["wait", &good]).expect(0);
    assert_eq!(admin.show(&good)["state"], "done", "the slave still runs other programs");
}
