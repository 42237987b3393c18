//! I6, I8, I12: programs beside one another, and what a program starts.

use crate::world::{Level, World, processes_with, source};
use tests::wait_until;

#[test]
fn i6_two_programs_cannot_find_signal_or_talk_to_each_other() {
    let world = World::shared();
    for level in [Level::Root, Level::User, Level::Fallback] {
        if !world.has(level) {
            continue;
        }
        let first = world.submit(level, source!("neighbour.c"), &[], &["wait"]);
        let left = world.printed(&first, "left ");
        let second = world.run(level, source!("neighbour.c"), &[], &["look"]).expect(0).out();
        // Without namespaces of their own, objects with names are found by whoever knows the name and has the right
        // to; signals and abstract sockets are not.
        let told =
            |line: &&str| level != Level::Fallback || line.starts_with("signalled") || *line == "seen abstract socket";
        let found: Vec<_> = second.lines().filter(|line| *line != "looked").filter(told).collect();
        assert!(found.is_empty(), "{level:?}: {found:?}");
        assert!(second.ends_with("looked\n"), "{second}");
        assert!(left.split(' ').next().unwrap().parse::<u32>().unwrap() >= 4, "{level:?}: too little was left: {left}");
        world.admin().run(["cancel", &first]).expect(0);
    }
}

#[test]
fn i6_nothing_that_a_program_left_is_found_by_the_next_one_in_its_slot() {
    let world = World::shared();
    for level in [Level::Root, Level::User] {
        if !world.has(level) || !world.guard(level, "private-messages") {
            crate::not_exercised(&format!("private messages at `{}`", level.slave()));
            continue;
        }
        // As many as there are slots and more, so that each slot has a second one.
        for _ in 0..6 {
            let left = world.run(level, source!("neighbour.c"), &[], &["leave"]).expect(0).out();
            assert!(left.starts_with("left "), "{left}");
            let found = world.run(level, source!("neighbour.c"), &[], &["look"]).expect(0).out();
            assert_eq!(found, "looked\n", "{level:?}");
        }
    }
}

#[test]
fn i6_a_signal_to_everybody_reaches_nobody_else() {
    let world = World::shared();
    for level in world.levels() {
        let other = world.submit_shell(*level, &[], "echo up; exec sleep 600");
        world.printed(&other, "up");
        let agent = world.agent(*level);
        world.shell(*level, &[], "kill -9 -1; exit 0");
        assert_eq!(world.admin().show(&other)["state"], "running", "{level:?}");
        assert!(tests::process::Relative::of(agent).is_some(), "{level:?}: the agent is gone");
        world.works(*level);
        assert_eq!(world.admin().show(&other)["state"], "running", "{level:?}");
        world.admin().run(["cancel", &other]).expect(0);
    }
}

#[test]
fn i8_a_fork_bomb_is_limited_and_gone_and_the_slave_does_not_notice() {
    let world = World::shared();
    for level in world.levels() {
        let since = world.slave(*level)["connected_since"].clone();
        let name = format!("ruche-bomb-{}", uuid::Uuid::new_v4());
        let options = ["--processes", "64", "--wall-time", "3s"];
        let id = world.submit(*level, source!("fork_bomb.c"), &options, &[&name]);
        let mut most = 0;
        wait_until("it has ended", || {
            most = processes_with(&name).len().max(most);
            (!world.admin().show(&id)["ended_at"].is_null()).then_some(())
        });
        let shown = world.admin().show(&id);
        // Where the kernel counts there is never one more; where the keeper watches, what its user may have bounds it.
        let bound = if world.guard(*level, "process-limit") { 64 } else { 64 + 512 };
        assert!(most <= bound, "{level:?}: {most} processes at once");
        assert!(processes_with(&name).is_empty(), "{level:?}: some are left");
        let limit = shown["outcome"]["limit"].as_str().unwrap_or_default();
        // One that was ended at its limit may be gone before anybody has counted.
        let went_off = limit == "processes" || (limit == "wall-time" && most >= 2);
        assert!(went_off, "{level:?}: {most} processes at once, {shown}");
        world.works(*level);
        let now = world.slave(*level);
        assert_eq!((&now["state"], &now["connected_since"]), (&"connected".into(), &since), "{level:?}");
    }
}

#[test]
fn i12_children_that_leave_their_parents_sessions_and_groups_end_with_the_program() {
    let world = World::shared();
    for level in world.levels() {
        for (end, options, stay) in
            [("by itself", &[][..], false), ("cancelled", &[][..], true), ("limit", &["--wall-time", "1s"], true)]
        {
            let name = format!("ruche-daemon-{}", uuid::Uuid::new_v4());
            let words = [name.as_str(), "10", if stay { "stay" } else { "leave" }];
            let id = world.submit(*level, source!("daemon.c"), options, &words);
            if end == "cancelled" {
                world.printed(&id, "started");
                wait_until("they run", || (processes_with(&name).len() >= 11).then_some(()));
                world.admin().run(["cancel", &id]).expect(0);
            }
            let shown = world.end_of(&id);
            let expected = match end {
                "cancelled" => "cancelled",
                "limit" => "limit",
                _ => "exited",
            };
            assert_eq!(shown["outcome"]["kind"], expected, "{level:?} {end}: {shown}");
            // The result is told only when the whole tree is gone.
            let left = processes_with(&name);
            assert!(left.iter().all(|process| !process.lives()), "{level:?} {end}: {left:?}");
            assert_eq!(world.output(&id), "started\n", "{level:?} {end}");
        }
    }
}
