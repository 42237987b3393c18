//! F4: a master whose disk fails stops rather than lies.

use tests::{
    checker::Rules,
    nemesis::{
        Nemesis, Plan, Workload,
        image::{check_image, told, watched},
        judge,
        machine::can_compile,
        power::{Unsynced, after_power_loss},
        shim::{Number, Operation},
    },
    soak, wait_until,
    witness::Witness,
};

#[test]
fn f04_after_a_failed_sync_or_write_nothing_is_acknowledged_and_the_master_leaves() {
    if !can_compile("syncs and writes that fail") {
        return;
    }
    let mut nemesis = Nemesis::new("f04", 4);
    let (mut cluster, shim) = watched();
    cluster.slave("pc-01", 2);
    let witness = Witness::new(&cluster.outside());
    let plan = Plan { programs: 10_000, pause_ms: 1..40, run_ms: 1..300, ..Plan::default() };
    let load = Workload::start(&cluster, &witness, &plan, nemesis.seed(), None);
    let mut left = Vec::new();
    for round in 1..=if soak() { 60 } else { 4 } {
        load.wait_for_more(10);
        let (number, what) = if round % 2 == 1 { (Number::FailSync, "sync") } else { (Number::FailWrite, "write") };
        let after = nemesis.random.within(1..30);
        nemesis.note(&format!("round {round}: {what} {after} from now fails"));
        shim.set(number, i64::try_from(after).unwrap());
        let master = cluster.master.as_mut().unwrap();
        wait_until("it has failed", || (shim.get(Number::Faults) >= round).then_some(()));
        let log = shim.log();
        let fault = log.iter().rposition(|record| record.operation == Operation::Fault).unwrap();
        nemesis.note(&format!("{} has failed", log[fault].path.display()));
        let status = wait_until("the master leaves", || master.ended());
        assert_ne!(status.code(), Some(0), "it leaves with an error");
        nemesis.note(&format!("the master ended with {status}"));
        left.push(transport::clock::boot_now().0);
        cluster.start_master();
    }
    load.wait_for_more(10);
    let calls = load.stop();
    judge(&cluster, &witness, calls.clone(), &Rules::STRICT);
    // The failed sync lost what it was to make durable: nothing of it was acknowledged, before or after.
    let log = shim.log();
    let faults: Vec<_> = log.iter().enumerate().filter(|(_, record)| record.operation == Operation::Fault).collect();
    assert_eq!(faults.len(), left.len());
    for ((at, _), left) in faults.into_iter().zip(left) {
        let what = format!("after the fault at operation {at}");
        check_image(
            &cluster,
            &after_power_loss(&log[..at], Unsynced::Lost, &mut nemesis.random),
            &told(&calls, left),
            &what,
        );
    }
}
