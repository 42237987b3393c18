//! What a slave says of its own protection, what it refuses to do without it, and what it refuses whoever asks (I18,
//! I19): real slaves, as root and as an ordinary user, and a master that means harm.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod rogue;

use serde_json::Value;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use tests::{
    binaries,
    cluster::{Cluster, SlaveStart},
    wait_until,
};

/// An ordinary user that no machine has.
const STRANGER: &str = "65533";

/// A folder that strangers can reach, with the slave's program in it.
struct Place {
    folder: tempfile::TempDir,
    /// Words before its command line.
    before: Vec<String>,
}

impl Place {
    fn new(stranger: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("ruche-doctor-").tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        binaries::copy(&binaries::path("ruche-slave"), &folder.path().join("ruche-slave"));
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let mut before = Vec::new();
        if stranger {
            let number = STRANGER.parse().unwrap();
            std::os::unix::fs::chown(&data, Some(number), Some(number)).unwrap();
            let words = ["setpriv", "--reuid", STRANGER, "--regid", STRANGER, "--clear-groups"];
            before.extend(words.map(str::to_owned));
        }
        Self { folder, before }
    }

    /// As root and as an ordinary user, where this test may choose; else as who it is.
    fn each() -> Vec<Self> {
        let may_choose = nix::unistd::geteuid().is_root();
        if may_choose { vec![Self::new(false), Self::new(true)] } else { vec![Self::new(false)] }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn config(&self, text: &str) -> String {
        let path = self.folder.path().join("slave.toml");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = tests::cluster::through(&self.before, &self.folder.path().join("ruche-slave"));
        command.args(words).env_remove("RUCHE_JOIN").current_dir("/");
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn guard<'a>(of: &'a Value, name: &str) -> &'a Value {
    of["guards"].as_array().unwrap().iter().find(|guard| guard["name"] == name).unwrap_or(&Value::Null)
}

/// The lines of a slave's audit.
fn audit(data: &Path) -> Vec<Value> {
    let text = fs::read_to_string(data.join("audit.log")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn i19_doctor_says_of_each_guard_and_limit_how_or_why_not_and_what_to_do() {
    for place in Place::each() {
        let told = place.run(&["doctor", "--json"]);
        assert!(told.status.success(), "{told:?}");
        let told: Value = serde_json::from_slice(&told.stdout).unwrap();
        let guards = told["guards"].as_array().unwrap();
        for name in slave::config::GUARDS {
            let found = guard(&told, name);
            assert!(found["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{name}: {found}");
            assert!(found["on"] == true || found["advice"].is_string(), "{name}: {found}");
        }
        assert_eq!(guards.len(), slave::config::GUARDS.len(), "each once: {told}");
        let is_root = place.before.is_empty() && nix::unistd::geteuid().is_root();
        assert_eq!(guard(&told, "own-user")["on"], is_root);
        let limits = told["limits"].as_array().unwrap();
        let names: Vec<_> = limits.iter().map(|limit| limit["name"].as_str().unwrap()).collect();
        let expected = ["wall-time", "cpu-time", "memory", "processes", "output", "file-size", "disk", "open-files"];
        assert_eq!(names, expected);
        assert!(limits.iter().all(|limit| !limit["detail"].as_str().unwrap().is_empty()), "{told}");
        // The table for people says the same.
        let table = text(&place.run(&["doctor"]).stdout);
        assert!(table.starts_with(&format!("Isolation: {} (", told["level"].as_str().unwrap())), "{table}");
        for found in guards {
            let (sign, word) = if found["on"] == true { ("✓", "on") } else { ("✗", "off") };
            let line = table.lines().find(|line| line.split_whitespace().nth(1) == found["name"].as_str()).unwrap();
            let words: Vec<_> = line.split_whitespace().collect();
            assert_eq!((words[0], words[2]), (sign, word), "{line}");
            // The rest may hold the name of a group that was made for this look alone.
            let begin: String = found["detail"].as_str().unwrap().chars().take(20).collect();
            assert!(line.contains(&begin), "{line}");
        }
    }
}

#[test]
fn i19_plain_is_told_as_a_choice() {
    for place in Place::each() {
        let told: Value =
            serde_json::from_slice(&place.run(&["doctor", "--json", "--isolation", "plain"]).stdout).unwrap();
        assert_eq!(told["level"], "plain");
        let found = guard(&told, "process-namespace");
        assert_eq!(found["on"], false);
        assert!(found["detail"].as_str().unwrap().contains("--isolation plain"), "{found}");
    }
}

#[test]
fn i19_a_slave_without_a_required_guard_does_not_start_and_names_it() {
    for place in Place::each() {
        // Nothing turns it on, so it is missing on every machine.
        let config = place.config("require = [\"network-on-request\", \"no-new-privileges\"]\n");
        let told = place.run(&["doctor", "--json", "--config", &config]);
        assert_eq!(told.status.code(), Some(1), "{told:?}");
        assert!(text(&told.stderr).starts_with("E-ISOLATION-MISSING: "), "{told:?}");
        let said: Value = serde_json::from_slice(&told.stdout).unwrap();
        assert_eq!(said["missing"], serde_json::json!(["network-on-request"]));
        assert_eq!(guard(&said, "network-on-request")["required"], true);
        let data = place.data();
        let words = ["run", "--data", data.to_str().unwrap(), "--config", &config, "--join", &rogue::a_join_string()];
        let ended = place.run(&words);
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let error = text(&ended.stderr);
        assert!(error.contains("E-ISOLATION-MISSING: ") && error.contains("`network-on-request` ("), "{error}");
        assert!(!error.contains("`no-new-privileges`"), "only what is missing: {error}");
        let lines = audit(&data);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0]["event"], "not-started");
        assert!(lines[0]["text"].as_str().unwrap().contains("network-on-request"));
    }
}

#[test]
fn i19_what_is_masked_is_told_by_the_slave_and_shown_by_the_master() {
    let mut cluster = Cluster::new();
    let config = cluster.slave_config("masked", "without = [\"seccomp\", \"memory-limit\"]\n");
    let options = vec!["--config".to_owned(), config];
    cluster.slave_started(SlaveStart { name: "masked".into(), slots: 1, options, ..SlaveStart::default() });
    let admin = cluster.admin();
    let slaves = admin.run(["slaves", "--json"]).expect(0).json();
    let isolation = &slaves[0]["isolation"];
    for name in ["seccomp", "memory-limit"] {
        let found = guard(isolation, name);
        assert_eq!(found["on"], false, "{isolation}");
        assert!(found["detail"].as_str().unwrap().contains("by configuration"), "{found}");
    }
    assert_eq!(guard(isolation, "no-new-privileges")["on"], true, "the others stay: {isolation}");
    let table = admin.run(["slaves"]).expect(0).out();
    let line = table.lines().find(|line| line.starts_with("masked")).unwrap();
    assert!(line.contains("without") && line.contains("seccomp"), "{table}");
    // And it runs programs all the same, as nothing is required.
    admin.run(["run", "--", "true"]).expect(0);
}

#[test]
fn i18_programs_go_only_where_the_ceiling_allows_them() {
    let mut cluster = Cluster::new();
    let config = cluster.slave_config("low", "[ceiling]\nwall_time = \"1m\"\nmemory = \"256M\"\n");
    let options = vec!["--config".to_owned(), config];
    cluster.slave_started(SlaveStart { name: "low".into(), slots: 2, options, ..SlaveStart::default() });
    let admin = cluster.admin();
    let slaves = admin.run(["slaves", "--json"]).expect(0).json();
    assert_eq!(
        (&slaves[0]["ceiling"]["wall_time_ms"], &slaves[0]["ceiling"]["network"]),
        (&60_000.into(), &false.into())
    );
    let within = ["--wall-time", "1m", "--memory", "256M"];
    let words = |options: &[&'static str], rest: &[&'static str]| [&["run"], options, &["--"], rest].concat();
    admin.run(words(&within, &["true"])).expect(0);
    // Beyond the only slave: it ends at once, and says which limit and what is allowed.
    let refused = admin.run(words(&["--wall-time", "61s", "--memory", "256M"], &["true"])).expect(127).err();
    assert!(refused.starts_with("E-BEYOND-CEILING: ") && refused.contains("`low` refuses a wall time of"), "{refused}");
    let refused = admin.run(words(&["--slave", "low"], &["true"])).expect(127).err();
    assert!(refused.contains("at most"), "the default is beyond it as well: {refused}");
    // With another slave it goes there.
    cluster.slave("high", 1);
    let id = admin.run(["submit", "--", "true"]).expect(0).out().trim().to_owned();
    admin.run(["wait", &id]).expect(0);
    assert_eq!(admin.run(["show", "--json", &id]).expect(0).json()["slave_name"], "high");
    // And waits for it when it takes nothing, while the other is free; why says so.
    admin.run(["set", "max-processes", "0", "--slave", "high"]).expect(0);
    let id = admin.run(["submit", "--wall-time", "2m", "--", "true"]).expect(0).out().trim().to_owned();
    let why = admin.run(["why", &id]).expect(0).out();
    assert!(why.contains("ceiling") && why.contains("2 min") && why.contains("at most 1 min"), "{why}");
    admin.run(words(&within, &["true"])).expect(0);
    assert_eq!(admin.run(["show", "--json", &id]).expect(0).json()["state"], "waiting");
    admin.run(["set", "max-processes", "1", "--slave", "high"]).expect(0);
    admin.run(["wait", &id]).expect(0);
    assert_eq!(admin.run(["show", "--json", &id]).expect(0).json()["slave_name"], "high");
}

#[test]
fn i18_the_master_cannot_make_a_slave_exceed_its_ceiling() {
    for place in Place::each() {
        rogue::all_is_refused(&place);
    }
}

#[test]
fn e9_mistakes_in_the_settings_of_isolation_stop_the_start_and_are_named() {
    let place = Place::new(false);
    for (config, named) in [
        ("isolation = \"loose\"", "`strongest` or `plain`"),
        ("require = [\"firewall\"]", "there are own-user"),
        ("[ceiling]\nmemory = \"lots\"", "`lots` is not a size"),
        ("[ceiling]\nheight = 3", "height"),
        ("read_only = [\"/root\"]", "never shown"),
    ] {
        let config = place.config(config);
        for words in [vec!["doctor", "--config", &config], vec!["run", "--data", "/nonexistent", "--config", &config]] {
            let ended = place.run(&words);
            assert_eq!(ended.status.code(), Some(1), "{ended:?}");
            let error = text(&ended.stderr);
            assert!(error.contains("E-CONFIG-INVALID") && error.contains(named), "{error}");
        }
    }
    let ended = place.run(&["doctor", "--isolation", "loose"]);
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    // The slave's own folder is never shown to programs.
    let data = place.data();
    let config = place.config(&format!("read_only = [\"{}\"]\n", data.display()));
    let ended =
        place.run(&["run", "--data", data.to_str().unwrap(), "--config", &config, "--join", &rogue::a_join_string()]);
    assert!(text(&ended.stderr).contains("data folder"), "{ended:?}");
    let _nothing_left: () = wait_until("nothing of it runs", || {
        let own = fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .any(|entry| fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe.starts_with(place.folder.path())));
        (!own).then_some(())
    });
}

#[test]
fn i19_after_a_restart_with_other_settings_nothing_starts_behind_the_guards_of_before() {
    let mut cluster = Cluster::new();
    let config = cluster.slave_config("s1", "isolation = \"plain\"\n");
    let options = vec!["--config".to_owned(), config];
    cluster.slave_started(SlaveStart { name: "s1".into(), slots: 1, options, ..SlaveStart::default() });
    let admin = cluster.admin();
    let network = || admin.run(["run", "--", "readlink", "/proc/self/ns/net"]).expect(0).out();
    let of_machine = fs::read_link("/proc/self/ns/net").unwrap().to_str().unwrap().to_owned() + "\n";
    assert_eq!(network(), of_machine, "plain: the machine's own");
    let level = || admin.run(["slaves", "--json"]).expect(0).json()[0]["isolation"]["level"].clone();
    if level() != "plain" {
        panic!("it was told to be plain");
    }
    let _path = cluster.slave_config("s1", "isolation = \"strongest\"\n");
    // Its keeper lives on over this.
    cluster.slaves[0].signal(nix::sys::signal::Signal::SIGHUP);
    wait_until("the new agent has registered", || (cluster.slaves[0].count_lines("connected to ") == 2).then_some(()));
    if wait_until("it is connected", || Some(level())) == "plain" {
        // A machine without namespaces: there is nothing to compare.
        return;
    }
    for _ in 0..3 {
        assert_ne!(network(), of_machine, "shut in as the slave tells");
    }
}
