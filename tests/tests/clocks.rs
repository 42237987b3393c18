//! F15: the wall clock jumps on master and slave; leases, limits and the order of a program's times stay.

use std::time::Duration;
use tests::{
    Cluster,
    checker::Rules,
    cluster::Surroundings,
    nemesis::{
        Nemesis, Plan, Workload,
        machine::can_compile,
        reading::{Reader, judge_with_clock},
        shim::{Number, Shim},
    },
    soak,
    witness::Witness,
};

const HOUR: i64 = 3_600_000_000;
const YEAR: i64 = 365 * 24 * HOUR;

#[test]
fn f15_jumps_of_the_wall_clock_change_no_lease_and_no_order_of_times() {
    if !can_compile("jumps of the wall clock") {
        return;
    }
    let mut nemesis = Nemesis::new("f15", 15);
    let folder = tempfile::Builder::new().prefix("ruche-test-").tempdir().unwrap();
    let shims = ["master", "pc-01"].map(|name| Shim::new(&folder.path().join(name), &format!("{name}-shim")));
    let surroundings = Surroundings { master_environment: shims[0].environment(), ..Surroundings::default() };
    // Shorter than every jump: one that reached a lease would end it.
    let mut cluster = Cluster::inside(folder, "lease = \"6s\"\n", surroundings);
    let variables = shims[1].environment().into_iter().map(|(name, value)| format!("{name}={}", value.display()));
    let before: Vec<_> = std::iter::once("env".to_owned()).chain(variables).collect();
    cluster.slave_within("pc-01", 3, &before);
    let witness = Witness::new(&cluster.outside());
    let plan = Plan { programs: 10_000, pause_ms: 100..400, run_ms: 50..1_000, ..Plan::default() };
    let load = Workload::start(&cluster, &witness, &plan, nemesis.seed(), None);
    for jump in 1..=if soak() { 100 } else { 6 } {
        load.wait_for_more(5);
        let (which, what) = if nemesis.random.one_in(2) { (0, "master") } else { (1, "slave") };
        let ahead = *nemesis.random.pick(&[HOUR, -HOUR, YEAR, 0, -1_000_000, 86_400_000_000]);
        nemesis.note(&format!("jump {jump}: the clock of the {what} is {} s ahead", ahead / 1_000_000));
        shims[which].set(Number::ClockAhead, ahead);
        nemesis.hold(Duration::from_millis(700));
    }
    let calls = load.stop();
    let report = judge_with_clock(&cluster, &witness, calls, &Rules::STRICT, false);
    assert_eq!(report.reruns, 0, "no lease ended");
    for row in Reader::new(&cluster).rows().unwrap() {
        let ended = row.ended_at.unwrap();
        let started = row.started_at.unwrap_or(row.submitted_at);
        assert!(row.submitted_at <= started && started <= ended, "the times of {} are out of order: {row:?}", row.id);
    }
}
