//! F2, F3, F5: what a master acknowledged is there after any loss of power; on a full disk it refuses by name.

use tests::{
    Cluster,
    checker::{Call, Phase, Rules},
    cluster::Surroundings,
    nemesis::{
        Nemesis, Plan, Workload,
        image::{check_image, told, watched},
        judge,
        machine::{can_compile, can_divide},
        network::Space,
        power::{Unsynced, after_power_loss},
        shim::Record,
    },
    soak, wait_until,
    witness::Witness,
};

/// A run under load whose every storage operation is known.
fn recorded_run(nemesis: &Nemesis, submits: usize) -> (Cluster, Vec<Record>, Vec<Call>) {
    let (mut cluster, shim) = watched();
    cluster.slave("pc-01", 3);
    let witness = Witness::new(&cluster.outside());
    let plan = Plan { programs: 10_000, pause_ms: 1..40, run_ms: 1..200, bytes: 1..40_000, ..Plan::default() };
    let load = Workload::start(&cluster, &witness, &plan, nemesis.seed(), None);
    load.wait_for_more(submits);
    let calls = load.stop();
    judge(&cluster, &witness, calls.clone(), &Rules::STRICT);
    let log = shim.log();
    (cluster, log, calls)
}

#[test]
fn f02_f03_whatever_a_loss_of_power_leaves_holds_everything_that_was_acknowledged() {
    if !can_compile("loss of power") {
        return;
    }
    let mut nemesis = Nemesis::new("f02", 2);
    let (cluster, log, calls) = recorded_run(&nemesis, if soak() { 400 } else { 60 });
    let begun = calls[0].at;
    let first = log.iter().position(|record| record.at >= begun).unwrap();
    nemesis.note(&format!("{} storage operations, {} of them under load", log.len(), log.len() - first));
    for case in 1..=if soak() { 1_000 } else { 24 } {
        let prefix = nemesis.random.count(first..log.len());
        let unsynced = *nemesis.random.pick(&[Unsynced::Lost, Unsynced::Kept, Unsynced::ByChance, Unsynced::ByChance]);
        // What a client heard before the next operation began, it heard before the power went.
        let told = told(&calls, log[prefix].at);
        let what = format!("case {case}: {prefix} operations, unsynced {unsynced:?}, {} accepted", told.accepted.len());
        nemesis.note(&what);
        check_image(&cluster, &after_power_loss(&log[..prefix], unsynced, &mut nemesis.random), &told, &what);
    }
}

#[test]
fn f05_a_full_disk_refuses_submits_by_name_keeps_results_on_the_slaves_and_resumes_alone() {
    if !can_divide("a full disk", &["unshare", "nsenter", "mount"]) {
        return;
    }
    let mut nemesis = Nemesis::new("f05", 5);
    let folder = tempfile::Builder::new().prefix("ruche-test-").tempdir().unwrap();
    let data = folder.path().join("master").to_str().unwrap().to_owned();
    let mount = format!("mkdir -m 700 {data}; mount -t tmpfs -o size=64m,mode=700 none {data}");
    let disk = Space::new(&["--mount", "--propagation", "private"], &mount);
    let surroundings = Surroundings { master: disk.enter("mnt"), ..Surroundings::default() };
    let mut cluster = Cluster::inside(folder, "", surroundings);
    cluster.slave("pc-01", 2);
    let witness = Witness::new(&cluster.outside());
    let plan = Plan { programs: 10_000, pause_ms: 20..150, run_ms: 50..600, ..Plan::default() };
    let load = Workload::start(&cluster, &witness, &plan, nemesis.seed(), None);
    for round in 1..=if soak() { 10 } else { 1 } {
        load.wait_for_more(15);
        nemesis.note(&format!("round {round}: the disk is filled"));
        let refused = || load.recorder().calls().iter().filter(|call| call.phase == Phase::Fail).count();
        let before = refused();
        disk.run("mnt", &["sh", "-c", &format!("dd if=/dev/zero of={data}/filler bs=4k 2>/dev/null || true")]);
        wait_until("submits are refused", || (refused() > before + 5).then_some(()));
        nemesis.note("submits are refused");
        let words = format!("remount,size={}m", 64 + 64 * round);
        disk.run("mnt", &["mount", "-o", &words, &data]);
        nemesis.note("the disk is larger");
        load.wait_for_more(10);
        nemesis.note("submits are accepted");
    }
    assert!(cluster.master.as_mut().unwrap().runs(), "it never left");
    let calls = load.stop();
    let report = judge(&cluster, &witness, calls, &Rules { acknowledged_min: 0.3, ..Rules::STRICT });
    assert_eq!(report.reruns, 0, "results waited on the slave");
}
