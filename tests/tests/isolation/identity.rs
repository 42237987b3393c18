//! I1, I2, I4, I5: who a program is, and what it finds in its hands.

use crate::{
    not_exercised,
    world::{Level, World, processes_with, source},
};
use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path, process::Command};
use tests::{process::descendants, wait_until};

/// A line of `/proc/self/status`.
fn status(text: &str, name: &str) -> Vec<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no `{name}` in {text}")).split_whitespace().map(str::to_owned).collect()
}

#[test]
fn i1_a_program_is_an_unprivileged_user_without_capabilities() {
    let world = World::shared();
    for level in world.levels() {
        let text = world.shell(*level, &[], "cat /proc/self/status").expect(0).out();
        let uids: BTreeSet<_> = status(&text, "Uid").into_iter().chain(status(&text, "Gid")).collect();
        assert_eq!(uids.len(), 1, "{level:?}: one user and its group: {text}");
        assert!(!uids.contains("0"), "{level:?}: {text}");
        let root = !matches!(level, Level::User | Level::Fallback);
        assert!(!root || status(&text, "Groups").is_empty(), "{level:?}: {text}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(status(&text, set), ["0000000000000000"], "{level:?} {set}: {text}");
        }
        // Only who has them can give them up; without new privileges they are never given.
        if matches!(level, Level::Root | Level::User) {
            assert_eq!(status(&text, "CapBnd"), ["0000000000000000"], "{level:?}: {text}");
        }
        assert_eq!(status(&text, "NoNewPrivs"), ["1"], "{level:?}: {text}");
        assert_eq!(status(&text, "Seccomp"), ["2"], "{level:?}: {text}");
        // Nothing is held back for it, or arrives at it, that the slave had set up for itself.
        assert_eq!(status(&text, "SigBlk"), ["0000000000000000"], "{level:?}: {text}");
        assert_eq!(status(&text, "SigIgn"), ["0000000000000000"], "{level:?}: {text}");
    }
}

#[test]
fn i1_programs_that_run_at_once_are_different_users() {
    let world = World::shared();
    for level in [Level::Root, Level::Plain] {
        if !world.has(level) {
            continue;
        }
        let ids = [(); 2].map(|()| world.submit_shell(level, &[], "echo user $(id -u); exec sleep 600"));
        let users = ids.each_ref().map(|id| world.printed(id, "user "));
        assert_ne!(users[0], users[1], "{level:?}");
        world.admin().run(["cancel", &ids[0], &ids[1]]).expect(0);
    }
}

/// A program of the machine that becomes root, or gets capabilities, where nothing prevents it.
fn plant(folder: &Path) {
    fs::copy("/usr/bin/id", folder.join("planted")).unwrap();
    fs::set_permissions(folder.join("planted"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::copy("/bin/cat", folder.join("planted-cat")).unwrap();
    fs::set_permissions(folder.join("planted-cat"), fs::Permissions::from_mode(0o755)).unwrap();
    match Command::new("setcap").arg("cap_dac_override,cap_sys_admin+ep").arg(folder.join("planted-cat")).status() {
        Ok(status) if status.success() => {}
        _ => not_exercised("a file with capabilities: there is no `setcap`"),
    }
}

#[test]
fn i2_setuid_programs_and_file_capabilities_give_nothing() {
    let world = World::shared();
    for level in [Level::Root, Level::Plain] {
        if !world.has(level) {
            continue;
        }
        let script = "echo folder $(pwd); until [ -e go ]; do sleep 0.02; done; \
            echo user $(./planted -u); ./planted-cat /proc/self/status 2>/dev/null | grep CapEff || echo CapEff: 0000000000000000; \
            cp /bin/sh own; chmod 6755 own; echo own $(./own -c 'id -u'); \
            echo | su -c 'id -u' 2>/dev/null; echo | newgrp root 2>/dev/null </dev/null; echo real $(id -u)";
        let id = world.submit_shell(level, &[], script);
        let folder = world.printed(&id, "folder ");
        plant(Path::new(&folder));
        fs::write(Path::new(&folder).join("go"), "").unwrap();
        assert_eq!(world.end_of(&id)["outcome"]["exit_code"], 0);
        let text = world.output(&id);
        let words = |start: &str| text.lines().find_map(|line| line.strip_prefix(start)).unwrap().trim().to_owned();
        assert_eq!(words("user "), words("real "), "{level:?}: {text}");
        assert_eq!(words("own "), words("real "), "{level:?}: {text}");
        assert_eq!(words("CapEff:"), "0000000000000000", "{level:?}: {text}");
        assert!(!text.lines().any(|line| line == "0"), "{level:?}: su worked: {text}");
    }
}

#[test]
fn i4_only_three_descriptors_are_inherited_and_the_folder_is_its_own() {
    let world = World::shared();
    for level in world.levels() {
        let text = world.run(*level, source!("descriptors.c"), &[], &[]).expect(0).out();
        assert_eq!(text, "open 0\nopen 1\nopen 2\nfolder own\n", "{level:?}");
    }
}

#[test]
fn i5_the_agent_its_launcher_and_the_keepers_cannot_be_touched() {
    let world = World::shared();
    for level in world.levels() {
        // Its slot has a keeper now.
        world.works(*level);
        let agent = world.agent(*level);
        let started = descendants(agent);
        let mut pids = vec![agent.to_string()];
        pids.extend(started.iter().map(|process| process.pid.to_string()));
        let pids: Vec<_> = pids.iter().map(String::as_str).collect();
        let ran = world.run(*level, source!("touch_process.c"), &[], &pids);
        // Where it ends its keeper after all, there is no result to speak of.
        let text = ran.out();
        let reached: Vec<_> = text.lines().filter(|line| line.starts_with("reached")).collect();
        assert!(reached.is_empty(), "{level:?} {pids:?}: {text}{}", ran.err());
        let tried: usize = text.lines().find_map(|line| line.strip_prefix("tried ")?.parse().ok()).unwrap();
        assert!(tried >= 80 * pids.len(), "{level:?}: {text}");
        assert_eq!(ran.code, 0, "{level:?}: {}", ran.err());
        for process in started.iter().take(2) {
            assert!(process.lives(), "{level:?}: {} was ended by a program", process.pid);
        }
        world.works(*level);
    }
}

#[test]
fn i5_the_files_of_the_product_cannot_be_written_through_a_running_process() {
    let world = World::shared();
    let binary = tests::binaries::path("ruche-slave");
    let before = fs::metadata(&binary).unwrap().modified().unwrap();
    for level in world.levels() {
        let script = "for exe in /proc/[0-9]*/exe; do \
            if [ $exe != /proc/$$/exe ] && true 2>/dev/null >>$exe; then echo wrote $exe; fi; done; echo tried";
        assert_eq!(world.shell(*level, &[], script).expect(0).out(), "tried\n", "{level:?}");
    }
    assert_eq!(fs::metadata(&binary).unwrap().modified().unwrap(), before);
    wait_until("nothing is left", || processes_with("tried").is_empty().then_some(()));
}
