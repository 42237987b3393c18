//! F1, F7–F9, F17, F18, F20, F24: real programs killed and stopped under load, judged by the checker.

use tests::{
    Cluster,
    checker::Rules,
    nemesis::{Nemesis, Plan, Workload, judge},
    soak,
    witness::Witness,
};

#[test]
fn f01_kill_9_of_the_master_under_load_loses_nothing_and_runs_nothing_twice() {
    let mut nemesis = Nemesis::new("f01", 1);
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 2);
    cluster.slave("pc-02", 2);
    let witness = Witness::new(cluster.path());
    let kills = if soak() { 200 } else { 4 };
    let plan = Plan { programs: 10_000, ..Plan::default() };
    let load = Workload::start(&cluster, &witness, &plan, nemesis.seed(), None);
    for kill in 1..=kills {
        let more = nemesis.random.within(2..15);
        load.wait_for_more(usize::try_from(more).unwrap());
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
