//! E13: status and results survive a restart of the master and a lost connection.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use nix::sys::signal::Signal;
use std::{collections::BTreeSet, fs, os::unix::fs::OpenOptionsExt as _};
use tests::{Cluster, wait_until};

/// A file outside the product to which programs add a line at their start: what really ran.
fn witness(cluster: &Cluster) -> String {
    let path = cluster.outside().join("witness");
    fs::OpenOptions::new().create(true).append(true).mode(0o666).open(&path).unwrap();
    let shared = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    fs::set_permissions(&path, shared).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn e13_every_acknowledged_program_survives_kill_9_of_the_master_and_runs_once() {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 2);
    cluster.slave("pc-02", 2);
    let witness = witness(&cluster);
    let script = format!("echo $RUCHE_PROGRAM_ID >> {witness}; sleep 0.05; echo done");
    let mut acknowledged = BTreeSet::new();
    for _ in 0..3 {
        let admin = cluster.admin();
        for _ in 0..4 {
            let ids = admin.run(["submit", "--count", "10", "--", "sh", "-c", &script]).expect(0).out();
            acknowledged.extend(ids.lines().map(str::to_owned));
        }
        cluster.kill_master();
        cluster.start_master();
    }
    let admin = cluster.admin();
    assert_eq!(acknowledged.len(), 120);
    let rows = wait_until("every program has ended", || {
        let rows = admin.list(&[]);
        rows.iter().all(|row| !row["ended_at"].is_null()).then_some(rows)
    });
    let shown: BTreeSet<_> = rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(shown, acknowledged, "nothing acknowledged is lost and nothing else appears");
    for row in &rows {
        assert_eq!((&row["state"], &row["attempt"]), (&"done".into(), &1.into()), "{row}");
    }
    let started = fs::read_to_string(&witness).unwrap();
    let started: Vec<_> = started.lines().collect();
    assert_eq!(started.len(), 120, "each ran exactly once");
    assert_eq!(started.iter().collect::<BTreeSet<_>>().len(), 120);
    // A second look shows the same.
    assert_eq!(admin.list(&[]), rows);
}

#[test]
fn e13_a_running_program_and_its_output_survive_a_restart_of_the_master() {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 1);
    let gate = cluster.outside().join("gate");
    let script =
        format!("i=0; while [ ! -e {} ]; do i=$((i+1)); echo line $i; sleep 0.02; done; echo end $i", gate.display());
    let id = cluster.admin().submit(["--", "sh", "-c", &script]);
    let admin = cluster.admin();
    wait_until("it has printed something", || admin.run(["output", &id]).out().contains("line 5").then_some(()));
    cluster.kill_master();
    cluster.start_master();
    let admin = cluster.admin();
    wait_until("its slave is back", || (admin.slaves().first()?["state"] == "connected").then_some(()));
    fs::write(&gate, "").unwrap();
    admin.run(["wait", &id]).expect(0);
    let row = admin.show(&id);
    assert_eq!((&row["state"], &row["attempt"]), (&"done".into(), &1.into()));
    let output = admin.run(["output", &id]).expect(0).out();
    let lines: Vec<_> = output.lines().collect();
    for (n, line) in lines[..lines.len() - 1].iter().enumerate() {
        assert_eq!(*line, format!("line {}", n + 1), "no byte is missing or repeated");
    }
    assert_eq!(lines[lines.len() - 1], format!("end {}", lines.len() - 1));
}

#[test]
fn e13_results_that_ended_while_the_master_was_away_arrive() {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 2);
    let path = witness(&cluster);
    let id = cluster.admin().submit([
        "--",
        "sh",
        "-c",
        &format!("echo started >> {path}; sleep 0.3; echo result; echo ended >> {path}; exit 5"),
    ]);
    wait_until("it has started", || fs::read_to_string(&path).unwrap().contains("started").then_some(()));
    cluster.kill_master();
    wait_until("it has ended", || fs::read_to_string(&path).unwrap().contains("ended").then_some(()));
    cluster.start_master();
    let admin = cluster.admin();
    let row = wait_until("its result is there", || Some(admin.show(&id)).filter(|row| !row["ended_at"].is_null()));
    assert_eq!((&row["outcome"]["kind"], &row["outcome"]["exit_code"]), (&"exited".into(), &5.into()), "{row}");
    assert_eq!(admin.run(["output", &id]).expect(0).out(), "result\n");
}

#[test]
fn e13_a_slave_that_never_comes_back_loses_its_programs_after_the_lease() {
    let mut cluster = Cluster::with_config("lease = \"6s\"\n");
    cluster.slave("pc-01", 1);
    let admin = cluster.admin();
    let id = admin.submit(["--", "sleep", "600"]);
    wait_until("it runs", || (admin.show(&id)["state"] == "running").then_some(()));
    cluster.slaves[0].kill();
    wait_until("its slave is shown as unreachable", || {
        (admin.slaves().first()?["state"] == "unreachable").then_some(())
    });
    assert_eq!(admin.show(&id)["state"], "running", "what cannot be known yet is not guessed");
    let row = wait_until("it is lost", || Some(admin.show(&id)).filter(|row| row["state"] != "running"));
    assert_eq!((&row["state"], &row["outcome"]["kind"]), (&"lost".into(), &"lost".into()), "{row}");
}

#[test]
fn s3_a_graceful_stop_keeps_everything() {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 1);
    let admin = cluster.admin();
    let ids = admin.run(["submit", "--count", "20", "--", "sh", "-c", "sleep 0.02; echo $RUCHE_INDEX"]).expect(0).out();
    assert_eq!(cluster.master.as_mut().unwrap().stop(), Some(0));
    cluster.master = None;
    cluster.start_master();
    let admin = cluster.admin();
    admin.run(["wait", "--all"]).expect(0);
    for (index, id) in ids.lines().enumerate() {
        assert_eq!(admin.run(["output", id]).expect(0).out(), format!("{index}\n"));
    }
    assert_eq!(cluster.slaves[0].stop(), Some(0), "the slave stops as well");
    cluster.master.take().unwrap().stop();
    let checked = cluster.administer(&["check"], "");
    assert_eq!(checked.code, 0, "{checked:?}");
}

#[test]
fn e13_a_stopped_slave_process_is_noticed_and_comes_back() {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 1);
    let admin = cluster.admin();
    cluster.slaves[0].signal(Signal::SIGSTOP);
    wait_until("it is shown as unreachable", || (admin.slaves()[0]["state"] == "unreachable").then_some(()));
    cluster.slaves[0].signal(Signal::SIGCONT);
    wait_until("it is connected again", || (admin.slaves()[0]["state"] == "connected").then_some(()));
    assert_eq!(admin.run(["run", "--", "echo", "back"]).expect(0).out(), "back\n");
}
