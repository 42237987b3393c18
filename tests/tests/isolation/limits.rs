//! I13 to I16: each limit ends whoever exceeds it, says so with what was measured, and harms nobody else.

use crate::world::{Level, World, source};
use serde_json::Value;

#[track_caller]
fn assert_limit(level: Level, shown: &Value, limit: &str) {
    let outcome = &shown["outcome"];
    assert_eq!((&outcome["kind"], &outcome["limit"]), (&"limit".into(), &limit.into()), "{level:?}: {shown}");
    let detail = outcome["detail"].as_str().unwrap();
    assert!(detail.chars().any(|character| character.is_ascii_digit()), "{level:?}: no measured value: {detail}");
}

#[test]
fn i13_memory_is_limited_for_the_whole_tree_and_for_files_in_memory() {
    let world = World::shared();
    for level in world.levels() {
        let sibling = world.submit_shell(*level, &["--memory", "64M"], "echo up; read line </dev/null; sleep 600");
        world.printed(&sibling, "up");
        let mut ways: Vec<&[&str]> = vec![&["here"], &["children"]];
        // A private /tmp is in memory, and counts. At the plain level it is the machine's own.
        let private = world.guard(*level, "private-files");
        if private {
            ways.extend([&["file", "/tmp/file"][..], &["file", "/dev/shm/file"]]);
        }
        for way in ways {
            let options = ["--memory", "96M", "--wall-time", "1m", "--disk", "1G"];
            let shown = world.end_of(&world.submit(*level, source!("memory.c"), &options, way));
            let outcome = &shown["outcome"];
            if way[0] == "file" && outcome["limit"] != "memory" {
                // The room of the private /tmp may be less than the limit on memory: an ordinary error. It counts.
                assert!(outcome["exit_code"] == 5 || outcome["limit"] == "disk", "{level:?} {way:?}: {shown}");
                let peak = shown["usage"]["memory_peak_bytes"].as_u64().unwrap();
                let counted = world.guard(*level, "memory-limit");
                assert!(!counted || peak >= 64 << 20, "{level:?} {way:?}: a peak of {peak}: /tmp does not count");
                continue;
            }
            assert_limit(*level, &shown, "memory");
            let peak = shown["usage"]["memory_peak_bytes"].as_u64().unwrap();
            assert!(peak >= 80 << 20, "{level:?} {way:?}: a peak of {peak}");
            if world.guard(*level, "memory-limit") {
                assert!(peak <= 112 << 20, "{level:?} {way:?}: a peak of {peak}");
            }
        }
        assert_eq!(world.admin().show(&sibling)["state"], "running", "{level:?}: the sibling is untouched");
        world.admin().run(["cancel", &sibling]).expect(0);
        world.works(*level);
    }
}

#[test]
fn i13_a_file_in_tmp_that_stays_within_the_limit_is_gone_with_its_program() {
    let world = World::shared();
    for level in [Level::Root, Level::User] {
        if !world.has(level) || !world.guard(level, "private-files") {
            continue;
        }
        for _ in 0..6 {
            let text = world
                .shell(level, &[], "ls -A /tmp /dev/shm | grep -v : ; head -c 8M /dev/zero >/tmp/big")
                .expect(0)
                .out();
            assert_eq!(text.trim(), "", "{level:?}");
        }
    }
}

#[test]
fn i14_cpu_time_and_wall_time_end_a_program_and_are_told_apart() {
    let world = World::shared();
    for level in world.levels() {
        for (arguments, source, options, limit, at_least_ms) in [
            (&["1"][..], source!("spin.c"), ["--cpu-time", "700ms"], "cpu-time", 700),
            (&["4"], source!("spin.c"), ["--cpu-time", "700ms"], "cpu-time", 700),
        ] {
            let shown = world.end_of(&world.submit(*level, source, &options, arguments));
            assert_limit(*level, &shown, limit);
            let used = shown["usage"]["cpu_ms"].as_u64().unwrap();
            assert!(used >= at_least_ms, "{level:?} {arguments:?}: ended after {used} ms of processor time");
        }
        for script in ["sleep 600", "kill -STOP $$; sleep 600", "trap '' TERM INT HUP; while :; do sleep 1; done"] {
            let shown = world.end_of(&world.submit_shell(*level, &["--wall-time", "700ms"], script));
            assert_limit(*level, &shown, "wall-time");
            let wall = shown["usage"]["wall_ms"].as_u64().unwrap();
            assert!(wall >= 700, "{level:?} {script}: ended after {wall} ms");
        }
    }
}

#[test]
fn i15_a_full_working_folder_ends_its_program_and_the_slave_goes_on() {
    let world = World::shared();
    for level in world.levels() {
        for way in ["many", "deep", "empty"] {
            let options = ["--disk", "32M", "--wall-time", "2m", "--file-size", "1G"];
            let shown = world.end_of(&world.submit(*level, source!("fill.c"), &options, &[way]));
            assert_limit(*level, &shown, "disk");
            world.works(*level);
        }
        // Room that is not taken does not count, and one large file has a limit of its own.
        let ran = world.run(*level, source!("fill.c"), &["--disk", "32M"], &["sparse"]);
        assert_eq!(ran.expect(0).out(), "made\n", "{level:?}");
        let one = "exec dd if=/dev/zero of=big bs=64k count=1000 2>/dev/null";
        let shown = world.end_of(&world.submit_shell(*level, &["--disk", "16M"], one));
        assert_limit(*level, &shown, "disk");
        let shown = world.end_of(&world.submit_shell(*level, &["--file-size", "1M"], one));
        assert_limit(*level, &shown, "file-size");
    }
}

#[test]
fn i15_a_file_without_a_name_takes_room_within_limits() {
    let world = World::shared();
    for level in world.levels() {
        // It cannot be seen in the folder, and takes room there all the same.
        let options = ["--disk", "16M", "--file-size", "1G", "--wall-time", "1m"];
        let shown = world.end_of(&world.submit(*level, source!("fill.c"), &options, &["deleted"]));
        assert_limit(*level, &shown, "disk");
        world.works(*level);
    }
}

#[test]
fn i16_descriptors_locked_memory_and_queues_are_bounded_and_there_is_no_core() {
    let world = World::shared();
    for level in world.levels() {
        let text = world.run(*level, source!("exhaust.c"), &["--open-files", "200"], &[]).out();
        let number = |name: &str| -> u64 {
            let line =
                text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {text}"));
            line.split_whitespace().next().unwrap().parse().unwrap()
        };
        assert_eq!(number("descriptors-hard"), 200, "{level:?}: {text}");
        // With a limit of one byte even a handler of cores gets none.
        assert!(number("core-hard") <= 1, "{level:?}: {text}");
        assert!(number("queues") <= 200, "{level:?}: {text}");
        assert!(number("locked") <= 64, "{level:?}: {text}");
        assert!(number("descriptors ") <= 200 && text.contains("EMFILE"), "{level:?}: {text}");
        let ran = world.shell(*level, &[], "ulimit -c unlimited 2>/dev/null; sh -c 'kill -SEGV $$'; ls -A").out();
        assert_eq!(ran.lines().filter(|line| line.contains("core")).count(), 0, "{level:?}: {ran}");
        world.works(*level);
    }
}

#[test]
fn i16_a_program_that_fails_for_want_of_descriptors_is_told_why() {
    let world = World::shared();
    for level in world.levels() {
        // It fails once it is seen at the limit: whoever looks from outside must have had the time.
        let script = "my @held; while (open my $one, '<', '/dev/null') { push @held, $one; } sleep 2; exit 9;";
        let words = ["--slave", level.slave(), "--open-files", "32", "--", "perl", "-e", script];
        let shown = world.end_of(&world.admin().submit(words));
        assert_limit(*level, &shown, "open-files");
        assert!(shown["outcome"]["detail"].as_str().unwrap().contains("32"), "{level:?}: {shown}");
    }
}
