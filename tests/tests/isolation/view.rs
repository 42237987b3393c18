//! I3, I11: what a program sees of the machine, and what it leaves there.

use crate::world::{Canary, Level, World, source};
use std::{fs, path::Path};
use tests::{soak, wait_until};

/// Paths that no program may read, list or write: credentials, history, other folders, sockets of services.
fn forbidden(world: &World, level: Level, other: &str) -> Vec<String> {
    let master = world.cluster.data();
    let slave = world.data(level);
    let agent = world.agent(level);
    let mut paths: Vec<String> = Vec::new();
    for folder in [master.clone(), master.join("identity"), slave.clone(), slave.join("identity")] {
        paths.push(folder.display().to_string());
        paths.extend(
            fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path().display().to_string()),
        );
    }
    // What languages there are is no secret.
    paths.retain(|path| !path.ends_with("/languages.json"));
    // What leads to the programs' own folders is there, with nothing else in it.
    let ways = [Path::new(other), &world.cluster.outside()].map(Path::to_owned);
    paths.retain(|path| !ways.iter().any(|way| way.starts_with(path)));
    paths.push(other.to_owned());
    paths.extend(["environ", "root", "cwd", "mem"].map(|name| format!("/proc/{agent}/{name}")));
    paths.extend(["/proc/1/environ", "/proc/1/root", "/proc/1/cwd"].map(str::to_owned));
    paths.extend(
        ["/etc/shadow", "/run/docker.sock", "/run/dbus/system_bus_socket", "/root", "/dev/kmsg", "/dev/mem"]
            .map(str::to_owned),
    );
    paths
}

#[test]
fn i3_credentials_history_and_other_programs_are_out_of_reach() {
    let world = World::shared();
    for level in world.levels() {
        let other = world.submit_shell(*level, &[], "echo folder $(pwd); echo mine >file; exec sleep 600");
        let other_folder = world.printed(&other, "folder ");
        let canary = Canary::of(*level);
        let mut paths = forbidden(&world, *level, &other_folder);
        paths.push(format!("{other_folder}/file"));
        paths.push(format!("{}/secret", canary.path()));
        // What everybody may read by its permissions is out of reach, too, unless the slave's owner chose otherwise.
        if *level != Level::Plain {
            paths.extend(["", "/open", "/inner", "/inner/file"].map(|name| format!("{}{name}", canary.path())));
        }
        let words: Vec<_> = paths.iter().map(String::as_str).collect();
        let text = world.run(*level, source!("view.sh"), &[], &words).expect(0).out();
        let reached: Vec<_> = text
            .lines()
            .filter(|line| ["read ", "listed ", "wrote ", "made "].iter().any(|start| line.starts_with(start)))
            // Where programs have the machine's own files, everybody may write there.
            .filter(|line| *level != Level::Plain || *line != "wrote /var/tmp/.planted-by-a-test")
            .collect();
        assert!(reached.is_empty(), "{level:?}: {reached:#?}");
        let tried: usize = text.lines().find_map(|line| line.strip_prefix("tried ")?.parse().ok()).unwrap();
        assert_eq!(tried, paths.len() + 15, "{text}");
        canary.assert_untouched();
        world.admin().run(["cancel", &other]).expect(0);
    }
}

#[test]
fn i3_a_program_sees_the_system_read_only_its_own_folder_and_its_own_processes() {
    let world = World::shared();
    for level in [Level::Root, Level::User] {
        if !world.has(level) || !world.guard(level, "private-files") {
            crate::not_exercised(&format!("a view of its own at `{}`", level.slave()));
            continue;
        }
        let text = world.run(level, source!("view.sh"), &[], &[]).expect(0).out();
        let words = |start: &str| -> Vec<String> {
            let line = text.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_else(|| panic!("{text}"));
            line.split_whitespace().map(str::to_owned).collect()
        };
        let mine = world.shell(level, &[], "pwd").expect(0).out();
        let top_of_mine =
            Path::new(mine.trim()).components().nth(1).unwrap().as_os_str().to_string_lossy().into_owned();
        for name in words("top ") {
            let known = ["bin", "dev", "etc", "lib", "lib32", "lib64", "libx32", "opt", "proc", "sbin", "tmp", "usr"];
            assert!(known.contains(&name.as_str()) || name == top_of_mine, "{level:?}: `/{name}` is seen");
        }
        for name in words("devices ") {
            let known = [
                "null", "zero", "full", "random", "urandom", "fd", "stdin", "stdout", "stderr", "shm", "tty", "pts",
                "ptmx",
            ];
            assert!(known.contains(&name.as_str()), "{level:?}: `/dev/{name}` is seen");
        }
        // What leads to its folder leads there alone.
        for line in text.lines().filter_map(|line| line.strip_prefix("inside ")) {
            let (folder, names) = line.split_once(' ').unwrap();
            for name in names.split_whitespace() {
                let path = Path::new(folder).join(name);
                let leads = Path::new(mine.trim()).parent().unwrap().starts_with(&path);
                let slot = path.starts_with(Path::new(mine.trim()).parent().unwrap());
                assert!(
                    leads || slot || world.cluster.outside().starts_with(&path),
                    "{level:?}: {} is seen",
                    path.display()
                );
            }
        }
        // Process 1 is the keeper.
        assert!(!words("numbers ").contains(&"1".to_owned()), "{level:?}: {text}");
        let processes: usize = words("processes ")[0].parse().unwrap();
        assert!(processes <= 4, "{level:?}: {processes} processes are seen");
        for line in text.lines() {
            if let Some(place) = line.strip_prefix("writable ") {
                let own = mine.trim().starts_with(place) && place.contains("slot-");
                let outside = world.cluster.outside();
                let private = [
                    "/tmp",
                    "/proc",
                    "/dev",
                    "/dev/null",
                    "/dev/zero",
                    "/dev/full",
                    "/dev/random",
                    "/dev/urandom",
                    "/dev/tty",
                    "/dev/pts",
                ];
                assert!(
                    own || Path::new(place) == outside || private.contains(&place),
                    "{level:?}: {place} is writable"
                );
            }
        }
    }
}

#[test]
fn i11_what_a_program_leaves_is_removed_and_nothing_else() {
    let world = World::shared();
    for (place, level) in world.levels().iter().copied().enumerate() {
        // What cleans up is the same at each level: one is enough for the large numbers.
        let (deep, many) = match (place, soak()) {
            (0, true) => (10_000, 1_000_000),
            (0, false) => (10_000, 20_000),
            _ => (500, 1_500),
        };
        let canary = Canary::of(level);
        let arguments = [canary.path(), &deep.to_string(), &many.to_string()];
        let options = ["--disk", "64G", "--wall-time", "10m"];
        let id = world.submit(level, source!("litter.c"), &options, &arguments);
        let shown = world.end_of(&id);
        assert_eq!(
            (&shown["outcome"]["kind"], &shown["outcome"]["exit_code"]),
            (&"exited".into(), &0.into()),
            "{shown}"
        );
        let text = world.output(&id);
        assert!(text.ends_with("\nleft\n"), "{level:?}: {text}");
        let folder = text.lines().find_map(|line| line.strip_prefix("folder ")).unwrap();
        // Removing goes on in the background.
        wait_until(&format!("{level:?}: {folder} is removed"), || (!Path::new(folder).exists()).then_some(()));
        canary.assert_untouched();
        world.works(level);
    }
}
