//! What the probe finds.

use crate::kit::is_root;
use common::view::IsolationLevel;
use launcher::{
    cgroup::Base,
    isolation::{Facts, Wish, probe, usual_system_folders},
    protocol::{Namespaces, NetworkGuard},
};
use std::process::Command;

fn wish() -> Wish {
    let network = Some(NetworkGuard { ports: vec![7_463] });
    Wish { own_users: is_root(), system: usual_system_folders(), network, ..Wish::default() }
}

fn without(name: &str) -> Facts {
    let wish = Wish { without: [name.to_owned()].into(), ..wish() };
    probe(&wish, &Base::none("not asked for"))
}

#[track_caller]
fn check(facts: &Facts, name: &str, is_on: bool, words: &str) {
    let guard = facts.told.iter().find(|guard| guard.name == name).unwrap();
    assert_eq!((guard.on, guard.detail.contains(words)), (is_on, true), "{guard:?}");
}

#[test]
fn i19_this_machine_has_every_guard() {
    let groups = Base::prepare(&format!("ruche-isolation-{}", std::process::id()));
    let facts = probe(&wish(), &groups);
    let missing: Vec<_> = facts.told.iter().filter(|guard| !guard.on).collect();
    if is_root() {
        assert_eq!(facts.level, IsolationLevel::Root);
        assert_eq!(facts.guards.namespaces, Namespaces::Own);
        let by_groups = |name: &str| name.ends_with("-limit") || name.starts_with("cgroup-");
        let missing: Vec<_> = missing.iter().filter(|guard| !by_groups(&guard.name)).collect();
        let network = groups.slot(0).identity.is_some();
        assert!(missing.iter().all(|guard| guard.name == "network-on-request" && !network), "{missing:?}");
    } else {
        assert_eq!(facts.guards.namespaces, Namespaces::OfUser, "{missing:?}");
    }
    groups.remove();
}

#[test]
fn i19_a_guard_that_is_masked_is_told_as_off_and_why() {
    let facts = without("process-namespace");
    assert_eq!((facts.level, facts.guards.namespaces), (IsolationLevel::Plain, Namespaces::None));
    check(&facts, "process-namespace", false, "by configuration");
    check(&facts, "private-files", false, "comes with `process-namespace`");
    check(&facts, "no-network", true, "refused");
    check(&facts, "landlock", true, "files");
    assert!(facts.guards.sockets_refused && facts.guards.landlock && facts.guards.seccomp);
    let facts = without("landlock");
    assert!(!facts.guards.landlock && facts.guards.seccomp);
    check(&facts, "landlock", false, "by configuration");
    let facts = without("seccomp");
    assert!(facts.guards.landlock && !facts.guards.seccomp);
    check(&facts, "seccomp", false, "by configuration");
    check(&facts, "network-on-request", false, if is_root() { "seccomp" } else { "root" });
}

#[test]
fn i19_plain_leaves_files_and_network_to_the_user() {
    let facts = probe(&Wish { plain: true, ..wish() }, &Base::none("not asked for"));
    assert_eq!(facts.level, IsolationLevel::Plain);
    for name in ["process-namespace", "private-files", "no-network", "landlock"] {
        check(&facts, name, false, "by `--isolation plain`");
    }
    check(&facts, "seccomp", true, "refused");
    assert!(!facts.guards.sockets_refused && !facts.guards.landlock);
}

/// What a slave finds after these commands in mounts of its own; none where there are no such mounts.
fn found_after(commands: &str) -> Option<String> {
    let script = format!("{commands} && exec \"$0\" probe");
    let program = env!("CARGO_BIN_EXE_launcher-for-tests");
    let done = Command::new("unshare").args(["--mount", "sh", "-ec", &script, program]).output();
    let told = done.as_ref().map(|done| String::from_utf8_lossy(&done.stdout).into_owned()).unwrap_or_default();
    if is_root() && !told.is_empty() {
        return Some(told);
    }
    #[expect(clippy::print_stderr, reason = "whoever reads the test's output shall know")]
    {
        eprintln!("not exercised: mounts of its own need root and `unshare`: {done:?}");
    }
    None
}

#[test]
fn i19_folders_on_mounts_of_their_own_take_no_guard_away() {
    let mounts = ["/var/tmp", "/var", "/tmp"].map(|path| format!("mount -t tmpfs none {path} && mkdir -p /var/tmp"));
    // As `PrivateTmp=` of systemd does.
    let private = "mkdir -p /var/tmp/p && mount --bind /var/tmp/p /var/tmp".to_owned();
    let private = format!("mount -t tmpfs none /var/tmp && {private}");
    for commands in mounts.into_iter().chain([private]) {
        let Some(told) = found_after(&commands) else { return };
        assert!(told.starts_with("Root\n"), "{commands}: {told}");
        assert!(!told.contains("private-files"), "{commands}: {told}");
    }
}

#[test]
fn i19_names_in_a_folder_of_everybody_take_no_guard_away() {
    // Any local user can make them before the slave does.
    let taken = "mount -t tmpfs none /var/tmp && mount -t tmpfs none /tmp && \
                 for folder in /var/tmp /tmp; do for number in $(seq $$ $(($$ + 200))); do \
                 : >$folder/ruche-trial-$number; done; done";
    let Some(told) = found_after(taken) else { return };
    assert!(told.starts_with("Root\n"), "{told}");
}
