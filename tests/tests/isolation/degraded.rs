//! I19: where a guard is missing, the slave says so, and its owner's policy decides; never silently weaker.

use crate::world::{Canary, Level, STRANGER, World, as_stranger, cluster, guard, slave_named};
use serde_json::Value;
use std::path::Path;
use tests::{Cluster, Finished, binaries, cli::finish, cluster::SlaveStart};

const GUARDS: [&str; 13] = [
    "own-user",
    "process-namespace",
    "private-files",
    "no-network",
    "private-messages",
    "private-names",
    "landlock",
    "seccomp",
    "no-new-privileges",
    "memory-limit",
    "process-limit",
    "cgroup-kill",
    "cgroup-freeze",
];

fn doctor(start: &SlaveStart) -> Finished {
    let program = start.program.clone().unwrap_or_else(|| binaries::path("ruche-slave"));
    let mut command = tests::cluster::through(&start.before, &program);
    command.args(["doctor", "--json"]).args(&start.options);
    finish(&mut command, b"")
}

fn guards(doctor: &Finished) -> Vec<(String, bool, String)> {
    let json = doctor.json();
    let list = json["guards"].as_array().unwrap_or_else(|| panic!("{json}"));
    list.iter()
        .map(|guard| {
            let detail = guard["detail"].as_str().unwrap_or_default().to_owned();
            (guard["name"].as_str().unwrap().to_owned(), guard["on"].as_bool().unwrap(), detail)
        })
        .collect()
}

/// Whether this machine lets an ordinary user make namespaces.
fn may_make_namespaces() -> bool {
    let id = STRANGER.to_string();
    let own = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"].map(str::to_owned);
    let words = if nix::unistd::geteuid().is_root() { &own[..] } else { &[] };
    let mut command = tests::cluster::through(words, Path::new("unshare"));
    command
        .args(["--user", "--mount", "--net", "--pid", "--fork", "true"])
        .status()
        .is_ok_and(|status| status.success())
}

#[test]
fn i19_every_guard_is_told_with_how_or_why_not() {
    let world = World::shared();
    for level in world.levels() {
        let slave = world.slave(*level);
        let told = slave["isolation"]["guards"].as_array().unwrap_or_else(|| panic!("{slave}"));
        for name in GUARDS {
            let found = told.iter().find(|guard| guard["name"] == name);
            let found = found.unwrap_or_else(|| panic!("{level:?}: `{name}` is not told"));
            assert!(found["on"] == true || !found["detail"].as_str().unwrap().is_empty(), "{level:?}: {found}");
        }
        let word = slave["isolation"]["level"].as_str().unwrap_or_else(|| panic!("{slave}"));
        match level {
            Level::Root => assert_eq!(word, "root"),
            Level::User if may_make_namespaces() => assert!(["user-namespaces", "delegated"].contains(&word), "{word}"),
            Level::User => assert_eq!(word, "plain"),
            Level::Fallback | Level::Plain => assert_eq!(word, "plain"),
        }
    }
}

#[test]
fn i19_what_the_slave_tells_is_what_its_programs_find() {
    let world = World::shared();
    for level in world.levels() {
        let slave = world.slave(*level);
        let text = world.shell(*level, &[], "cat /proc/self/status /proc/net/dev").expect(0).out();
        assert_eq!(guard(&slave, "seccomp"), text.contains("Seccomp:\t2"), "{level:?}: {text}");
        assert_eq!(guard(&slave, "no-new-privileges"), text.contains("NoNewPrivs:\t1"), "{level:?}: {text}");
        // In a namespace of its own a program's number is small; outside, the machine's numbers are not.
        let number = text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse::<u32>().ok()).unwrap();
        if guard(&slave, "process-namespace") {
            assert!(number < 10_000, "{level:?}: {number}");
        }
        // What everybody may read is read where neither a view of its own nor Landlock stands before it.
        let canary = Canary::of(*level);
        let open = world.shell(*level, &[], &format!("cat {}/open", canary.path())).code == 0;
        let shut = guard(&slave, "private-files") || guard(&slave, "landlock");
        assert_eq!(open, !shut, "{level:?}: {slave}");
        let names = text.lines().filter_map(|line| Some(line.trim().split_once(':')?.0));
        let interfaces: Vec<_> =
            names.filter(|name| std::path::Path::new("/sys/class/net").join(name).exists()).collect();
        if guard(&slave, "no-network") && guard(&slave, "process-namespace") {
            assert_eq!(interfaces, ["lo"], "{level:?}: {text}");
        }
    }
}

/// Starts a slave that must not start.
fn refused(cluster: &Cluster, start: &SlaveStart) -> Finished {
    let program = start.program.clone().unwrap_or_else(|| binaries::path("ruche-slave"));
    let mut command = tests::cluster::through(&start.before, &program);
    command.arg("run").arg("--data").arg(cluster.path().join(&start.name)).args(&start.options);
    command.args(["--name", &start.name, "--slots", "1", "--join", &cluster.join_string()]);
    finish(&mut command, b"")
}

/// A slave of an ordinary user who can make no namespaces, as on hosts that forbid them; none where that cannot be had.
fn masked(cluster: &Cluster, lines: &str) -> Option<SlaveStart> {
    if !nix::unistd::geteuid().is_root() {
        crate::not_exercised("a host without user namespaces: this is not root");
        return None;
    }
    let config = cluster.slave_config("masked", lines);
    let options = vec!["--config".into(), config];
    let plain = SlaveStart { name: "masked".into(), slots: 1, options, ..SlaveStart::default() };
    let mut slave = as_stranger(cluster, plain);
    // In a user namespace of the test's own, where none may be made below it.
    let mask = "echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --ambient-caps=-all --inh-caps=-all \"$@\"";
    let inner = ["unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c", mask, "sh"];
    slave.before.extend(inner.map(str::to_owned));
    let works = tests::cluster::through(&slave.before, Path::new("true")).status();
    if !works.is_ok_and(|status| status.success()) {
        crate::not_exercised("a host without user namespaces: they cannot be masked here");
        return None;
    }
    Some(slave)
}

#[test]
fn i19_a_slave_that_lacks_what_it_requires_does_not_start() {
    let cluster = cluster();
    let required = ["own-user", "private-files", "seccomp", "process-namespace"];
    let Some(start) = masked(&cluster, &format!("require = {required:?}\n")) else { return };
    let ran = refused(&cluster, &start);
    assert_ne!(ran.code, 0);
    assert!(ran.err().contains("E-ISOLATION-MISSING"), "{}", ran.err());
    for guard in required {
        assert_eq!(ran.err().contains(guard), guard != "seccomp", "{guard}: {}", ran.err());
    }
    // The same is told beforehand, with the reason of each.
    let told = doctor(&start);
    assert_eq!(told.code, 1, "{told:?}");
    for (name, on, detail) in guards(&told) {
        if required.contains(&name.as_str()) {
            assert_eq!(on, name == "seccomp", "{name}: {detail}");
            assert!(!detail.is_empty(), "{name}");
        }
    }
}

#[test]
fn i19_a_policy_that_cannot_be_meant_is_no_policy() {
    let cluster = cluster();
    for (lines, told) in [
        ("require = [\"moat\"]\n", "moat"),
        ("without = [\"moat\"]\n", "moat"),
        ("require = [\"landlock\"]\nwithout = [\"landlock\"]\n", "landlock"),
        ("isolation = \"weakest\"\n", "weakest"),
        ("read_only = [\"/\"]\n", "/"),
    ] {
        let options = vec!["--config".into(), cluster.slave_config("odd", lines)];
        let ran = refused(&cluster, &SlaveStart { name: "odd".into(), options, ..SlaveStart::default() });
        assert!(ran.code != 0 && ran.err().contains("E-CONFIG-INVALID"), "{lines}: {}", ran.err());
        assert!(ran.err().contains(told), "{lines}: {}", ran.err());
    }
}

#[test]
fn i19_what_is_left_out_is_told_as_left_out() {
    let world = World::shared();
    if !world.has(Level::Fallback) {
        return;
    }
    let slave = world.slave(Level::Fallback);
    for name in ["process-namespace", "private-files", "private-messages", "private-names"] {
        let told = slave["isolation"]["guards"].as_array().unwrap().iter().find(|guard| guard["name"] == name).unwrap();
        assert!(told["on"] == false && told["detail"].as_str().unwrap().contains("configuration"), "{told}");
    }
}

#[test]
fn i19_a_host_without_user_namespaces_is_told_and_still_refuses_the_network() {
    let mut cluster = cluster();
    let Some(slave) = masked(&cluster, "") else { return };
    cluster.slave_started(slave);
    let told = slave_named(&cluster, "masked");
    assert_eq!(told["isolation"]["level"], "plain", "{told}");
    for (name, on) in [("process-namespace", false), ("private-files", false), ("no-network", true), ("seccomp", true)]
    {
        assert_eq!(guard(&told, name), on, "{name}: {told}");
    }
    let admin = cluster.admin();
    let ran = admin.run(["run", "--", "cat", "/proc/self/status"]).expect(0).out();
    assert!(ran.contains("Seccomp:\t2") && ran.contains("NoNewPrivs:\t1"), "{ran}");
    let ran =
        admin.run(["run", "--", "bash", "-c", &format!("exec 3<>/dev/tcp/{}", cluster.address().replace(':', "/"))]);
    assert_ne!(ran.code, 0, "it reached the master");
}

#[test]
fn i19_plain_is_told_as_the_choice_that_it_is() {
    let world = World::shared();
    if !world.has(Level::Plain) {
        return;
    }
    let slave = world.slave(Level::Plain);
    let off: Vec<&Value> =
        slave["isolation"]["guards"].as_array().unwrap().iter().filter(|guard| guard["on"] == false).collect();
    for name in ["process-namespace", "private-files", "no-network", "landlock"] {
        let found =
            off.iter().find(|guard| guard["name"] == name).unwrap_or_else(|| panic!("`{name}` is not off: {slave}"));
        assert!(found["detail"].as_str().unwrap().contains("plain"), "{found}");
    }
}
