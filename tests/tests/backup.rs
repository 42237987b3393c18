//! F22: a backup made under load holds everything that was acknowledged before it, and what runs after its
//! restore is fenced off from what ran before.

use tests::{
    Cluster,
    nemesis::{
        Nemesis, Plan, Workload,
        image::{check_told, told},
        reading::Reader,
        single,
    },
    wait_until,
    witness::{Mark, Witness},
};

#[test]
fn f22_a_backup_made_under_load_holds_what_was_acknowledged_and_its_restore_reuses_no_fence() {
    let mut nemesis = Nemesis::new("f22", 22);
    let mut cluster = Cluster::with_config("lease = \"6s\"\n");
    cluster.slave("pc-01", 3);
    let witness = Witness::new(&cluster.outside());
    let plan = Plan { programs: 10_000, pause_ms: 1..40, run_ms: 1..300, bytes: 1..30_000, ..Plan::default() };
    let load = Workload::start(&cluster, &witness, &plan, nemesis.seed(), None);
    load.wait_for_more(30);
    let long = single::submit(&cluster, &witness, 60_000, &["--retry", "1"]);
    single::wait_for_line(&witness, &long, "it runs", |_| true);
    let begun = transport::clock::boot_now().0;
    let file = cluster.path().join("ruche.backup");
    cluster.administer(&["backup", "--to", file.to_str().unwrap()], "").expect(0);
    nemesis.note("the backup is made");
    load.wait_for_more(10);
    let calls = load.stop();
    cluster.kill_master();
    nemesis.note("the master is gone with its folder");
    let last_before = witness.lines().last().map_or(0, |line| line.at);

    cluster.set_data(cluster.path().join("restored"));
    cluster.administer(&["restore", "--from", file.to_str().unwrap()], "").expect(0);
    cluster.start_master();
    let admin = cluster.log_in("admin");
    let reader = Reader::new(&cluster);
    let now = transport::clock::boot_now().0;
    let mut later = told(&calls, now);
    later.also(&long, 500);
    check_told(&reader, &told(&calls, begun), &later, "restored");
    nemesis.note("everything from before the backup is there");

    // The slave drops what it holds of the old history; a start that was left is used, under a greater fence.
    let again = single::wait_for_line(&witness, &long, "it runs again", |line| line.attempt == 2);
    let lines = witness.lines_of(&long);
    let first: Vec<_> = lines.iter().filter(|line| line.attempt == 1).collect();
    assert!(first.iter().all(|line| line.fence < again.fence && line.at < again.at), "{lines:?}");
    assert!(again.fence >> 32 > 1, "another history");
    admin.run(["cancel", &long]).expect(0);
    let fresh = single::submit(&cluster, &witness, 10, &[]);
    admin.run(["wait", &fresh]).expect(0);
    let end = single::wait_for_line(&witness, &fresh, "a new one ends", |line| line.mark == Mark::End);
    assert!(end.fence >> 32 == again.fence >> 32 && end.at > last_before);
    wait_until("everything has ended", || admin.list(&[]).iter().all(|row| !row["ended_at"].is_null()).then_some(()));
    let checked = cluster.administer(&["check"], "");
    assert_eq!(checked.code, 0, "{checked:?}");
}
