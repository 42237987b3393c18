//! I20: how a program ended is told exactly.

use crate::world::{Level, World};
use serde_json::Value;
use std::collections::BTreeMap;

/// Runs `count` copies of a command and gives each one's end by its index.
fn copies(world: &World, level: Level, count: usize, options: &[&str], command: &[&str]) -> BTreeMap<u64, Value> {
    let mut words = vec!["run", "--json", "--slave", level.slave(), "--count"];
    let number = count.to_string();
    words.push(&number);
    words.extend(options);
    words.push("--");
    words.extend(command);
    let rows = world.admin().run(words).json();
    let rows = rows.as_array().unwrap().iter();
    let found: BTreeMap<_, _> = rows.map(|row| (row["index"].as_u64().unwrap(), row.clone())).collect();
    assert_eq!(found.len(), count);
    found
}

#[test]
fn i20_every_exit_code_is_told_exactly() {
    let world = World::shared();
    for level in world.levels() {
        for (index, row) in copies(&world, *level, 256, &[], &["sh", "-c", "exit $RUCHE_INDEX"]) {
            let outcome = &row["outcome"];
            assert_eq!(
                (&outcome["kind"], &outcome["exit_code"]),
                (&"exited".into(), &index.into()),
                "{level:?}: {row}"
            );
            assert_eq!(row["state"], if index == 0 { "done" } else { "failed" }, "{level:?}: {row}");
        }
    }
}

#[test]
fn i20_every_signal_is_told_by_its_name() {
    let world = World::shared();
    for level in world.levels() {
        // Signal 0 tests whether somebody is there. The four that stop, and those that are ignored unless wanted:
        let (stops, ignored) = ([19, 20, 21, 22], [0, 17, 18, 23, 28]);
        let script = "kill -$RUCHE_INDEX $$; sleep 0.2; exit 7";
        for (index, row) in copies(&world, *level, 65, &["--wall-time", "2s"], &["sh", "-c", script]) {
            let outcome = &row["outcome"];
            let number = i32::try_from(index).unwrap();
            if stops.contains(&number) {
                // In a group without a terminal only SIGSTOP stops for sure.
                let limited = outcome["limit"] == "wall-time";
                assert!(limited || (number != 19 && outcome["exit_code"] == 7), "{level:?} {index}: {row}");
            } else if ignored.contains(&number) || [32, 33].contains(&number) && outcome["kind"] == "exited" {
                assert_eq!(outcome["exit_code"], 7, "{level:?} {index}: {row}");
            } else {
                let name = common::outcome::signal_name(number);
                assert_eq!(
                    (&outcome["kind"], &outcome["signal"]),
                    (&"signalled".into(), &name.as_str().into()),
                    "{level:?} {index}: {row}"
                );
            }
        }
    }
}

#[test]
fn i20_what_cannot_be_executed_is_told_with_the_reason() {
    let world = World::shared();
    for level in world.levels() {
        for (command, reasons) in [
            ("no-such-command-anywhere", &["no-such-command-anywhere"][..]),
            ("/no/such/folder/program", &["/no/such/folder/program"]),
            ("/etc/passwd", &["ermission", "denied"]),
            ("/etc", &["ermission", "denied", "directory"]),
        ] {
            let ran = world.admin().run(["run", "--slave", level.slave(), "--", command]).expect(127);
            assert!(reasons.iter().any(|reason| ran.err().contains(reason)), "{level:?} {command}: {}", ran.err());
        }
        // A file that is neither a program nor names one: ENOEXEC, which no shell may paper over.
        let script = "printf 'no program' >odd; chmod +x odd; ./odd; echo $?; exec ./odd";
        let ran = world.admin().run(["run", "--slave", level.slave(), "--", "perl", "-e", "open F, '>odd'; print F qq(\\x01\\x02); close F; chmod 0755, 'odd'; exec {'./odd'} './odd'; exit($!{ENOEXEC} ? 8 : 9)"]);
        assert!(ran.code == 8 || ran.code == 127, "{level:?} {script}: {} {}", ran.code, ran.err());
    }
}

#[test]
fn i20_standard_output_that_is_closed_early_or_held_open_changes_no_result() {
    let world = World::shared();
    for level in world.levels() {
        let ran = world.shell(*level, &[], "echo said; exec 1>&- 2>&-; sleep 0.1; exit 3").expect(3);
        assert_eq!(ran.out(), "said\n", "{level:?}");
        // Somebody who is left behind holds the pipes.
        let ran = world.shell(*level, &[], "sleep 600 & echo said; exit 4").expect(4);
        assert_eq!(ran.out(), "said\n", "{level:?}");
        let ran = world.shell(*level, &[], "exec 0<&-; echo said; kill -9 $$").expect(137);
        assert_eq!(ran.out(), "said\n", "{level:?}");
    }
}
