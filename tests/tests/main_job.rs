//! E1–E13: the product's one sentence, through its real programs.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use serde_json::Value;
use std::{collections::BTreeMap, fs};
use tests::{Cluster, wait_until};

#[test]
fn e1_a_source_file_and_a_command_run_on_a_slave_and_bring_back_output_and_exit_code() {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 2);
    let alice = cluster.user("alice", "submitter");

    let file = cluster.file(
        "greet.py",
        "import sys\nprint('hello', *sys.argv[1:])\nprint('to stderr', file=sys.stderr)\nsys.exit(7)\n",
    );
    let ran = alice.run(["run", &file, "a b", "--count"]).expect(7);
    assert_eq!(ran.out(), "hello a b --count\n");
    assert!(ran.err().starts_with("to stderr\n"), "{}", ran.err());

    let ran = alice.run(["run", "--", "printf", "%s|", "x y", "z"]).expect(0);
    assert_eq!((ran.out().as_str(), ran.err().as_str()), ("x y|z|", ""));

    let input = cluster.file("input.txt", "line one\nline two\n");
    let ran = alice
        .run(["run", "--stdin", &input, "--env", "GREETING=hi there", "--", "sh", "-c", "cat; echo $GREETING"])
        .expect(0);
    assert_eq!(ran.out(), "line one\nline two\nhi there\n");
}

#[test]
fn e7_show_names_the_slave_that_ran_it_and_every_field_of_the_interface_is_there() {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 1);
    let alice = cluster.user("alice", "submitter");
    let file = cluster.file("three.sh", "echo one; echo two >&2; exit 3\n");
    let id = alice.submit(["--name", "my name", "--priority", "70", &file]);
    alice.run(["wait", &id]).expect(0);
    let shown = alice.show(&id);
    let slave = &cluster.admin().slaves()[0];
    let keys: Vec<_> = shown.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys[..19],
        [
            "id",
            "name",
            "language",
            "state",
            "outcome",
            "slave_id",
            "slave_name",
            "client",
            "user",
            "attempt",
            "priority",
            "progress_percent",
            "submitted_at",
            "started_at",
            "ended_at",
            "usage",
            "output_bytes",
            "error_bytes",
            "output_truncated"
        ]
    );
    assert_eq!(shown["id"], id.as_str());
    assert_eq!(
        (&shown["name"], &shown["language"], &shown["state"]),
        (&"my name".into(), &"Bash".into(), &"failed".into())
    );
    assert_eq!((&shown["outcome"]["kind"], &shown["outcome"]["exit_code"]), (&"exited".into(), &3.into()));
    assert_eq!(
        shown["outcome"].as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>(),
        ["kind", "exit_code", "signal", "limit", "by", "detail"]
    );
    assert_eq!((&shown["slave_id"], &shown["slave_name"]), (&slave["id"], &"pc-01".into()));
    assert_eq!((&shown["user"], &shown["attempt"], &shown["priority"]), (&"alice".into(), &1.into(), &70.into()));
    assert_eq!(
        (&shown["output_bytes"], &shown["error_bytes"], &shown["output_truncated"]),
        (&4.into(), &4.into(), &false.into())
    );
    for field in ["submitted_at", "started_at", "ended_at"] {
        let time = shown[field].as_str().unwrap();
        assert!(time.ends_with('Z') && time.contains('T'), "{field}: {time}");
    }
    for field in ["wall_ms", "cpu_ms", "memory_peak_bytes"] {
        assert!(shown["usage"][field].is_u64(), "{field}: {shown}");
    }
    assert_eq!(alice.run(["output", &id]).expect(0).out(), "one\n");
    assert_eq!(alice.run(["output", &id, "--stderr"]).expect(0).out(), "two\n");
}

/// One small program a language: the file's name, its text, and what it prints.
const SAMPLES: [(&str, &str, &str); 13] = [
    ("Python", "a.py", "print(6 * 7)\n"),
    ("C", "a.c", "#include <stdio.h>\nint main(void) { printf(\"%d\\n\", 6 * 7); return 0; }\n"),
    ("C++", "a.cpp", "#include <iostream>\nint main() { std::cout << 6 * 7 << '\\n'; }\n"),
    ("Rust", "a.rs", "fn main() { println!(\"{}\", 6 * 7); }\n"),
    (
        "Java",
        "Answer.java",
        "public class Answer { public static void main(String[] a) { System.out.println(6 * 7); } }\n",
    ),
    ("JavaScript", "a.js", "console.log(6 * 7)\n"),
    ("Bash", "a.sh", "echo $((6 * 7))\n"),
    ("Perl", "a.pl", "print 6 * 7, \"\\n\";\n"),
    ("Ruby", "a.rb", "puts 6 * 7\n"),
    ("PHP", "a.php", "<?php echo 6 * 7, \"\\n\";\n"),
    ("Lua", "a.lua", "print(6 * 7)\n"),
    ("Tcl", "a.tcl", "puts [expr {6 * 7}]\n"),
    ("Go", "a.go", "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(6 * 7) }\n"),
];

fn offered(slave: &Value) -> Vec<String> {
    let languages = slave["languages"].as_array().unwrap();
    languages.iter().map(|language| language["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn e12_every_language_that_a_slave_offers_works() {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 2);
    let alice = cluster.user("alice", "submitter");
    let offered = offered(&cluster.admin().slaves()[0]);
    let mut exercised = Vec::new();
    for (language, name, text) in SAMPLES {
        if !offered.iter().any(|offer| offer == language) {
            eprintln!("not exercised on this machine: {language}");
            continue;
        }
        let file = cluster.file(name, text);
        let ran = alice.run(["run", &file]).expect(0);
        assert_eq!(ran.out(), "42\n", "{language}");
        exercised.push(language);
    }
    assert!(exercised.len() >= 6, "only {exercised:?} of {offered:?} could be exercised");
}

#[test]
fn e3_four_slaves_share_two_hundred_programs_in_eight_languages_of_three_clients_evenly() {
    let mut cluster = Cluster::new();
    for name in ["pc-01", "pc-02", "pc-03", "pc-04"] {
        cluster.slave(name, 2);
    }
    let offered = offered(&cluster.admin().slaves()[0]);
    let samples: Vec<_> =
        SAMPLES.iter().filter(|(language, ..)| offered.iter().any(|offer| offer == language)).take(8).collect();
    assert_eq!(samples.len(), 8, "eight languages are needed; this machine offers {offered:?}; see scripts/setup");
    let files: Vec<_> = samples.iter().map(|(_, name, text)| cluster.file(name, text)).collect();
    let users: Vec<_> = ["anna", "ben", "carl"].map(|name| cluster.user(name, "submitter")).into_iter().collect();
    let watcher = cluster.admin();

    let mut most_running: BTreeMap<String, u64> = BTreeMap::new();
    std::thread::scope(|scope| {
        let submitters: Vec<_> = users
            .iter()
            .enumerate()
            .map(|(turn, user)| {
                let files = &files;
                scope.spawn(move || {
                    let many = if turn == 0 { 68 } else { 66 };
                    (0..many).map(|n| user.submit([&files[(n + turn) % files.len()]])).collect::<Vec<_>>().len()
                })
            })
            .collect();
        wait_until("all 200 programs have ended", || {
            for slave in watcher.slaves() {
                let running = slave["running"].as_u64().unwrap();
                assert!(running <= 2, "{slave} runs more than its slots");
                let most = most_running.entry(slave["name"].as_str().unwrap().to_owned()).or_default();
                *most = running.max(*most);
            }
            let all = watcher.list(&[]);
            (all.len() == 200 && all.iter().all(|row| !row["ended_at"].is_null())).then_some(())
        });
        assert_eq!(submitters.into_iter().map(|submitter| submitter.join().unwrap()).sum::<usize>(), 200);
    });

    let all = watcher.list(&[]);
    let mut ran: BTreeMap<String, u32> = BTreeMap::new();
    for row in &all {
        assert_eq!(row["state"], "done", "{row}");
        *ran.entry(row["slave_name"].as_str().unwrap().to_owned()).or_default() += 1;
        assert_eq!(watcher.run(["output", row["id"].as_str().unwrap()]).expect(0).out(), "42\n", "{row}");
    }
    // Compiled and interpreted programs take different times, so the counts need not be equal.
    assert_eq!(ran.len(), 4, "{ran:?}");
    assert!(ran.values().all(|count| (25..=90).contains(count)), "not spread evenly: {ran:?}");
    assert_eq!(most_running.values().copied().collect::<Vec<_>>(), [2, 2, 2, 2], "every slave had both slots in use");
}

#[test]
fn e3_the_least_loaded_slave_is_chosen_by_running_count() {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 4);
    cluster.slave("pc-02", 4);
    cluster.slave("pc-03", 4);
    let admin = cluster.admin();
    // Each program waits until it is cancelled, so that the counts stand still while they are read.
    for n in 1..=9_u64 {
        let id = admin.submit(["--", "sleep", "600"]);
        wait_until("it runs", || (admin.show(&id)["state"] == "running").then_some(()));
        let mut running: Vec<_> = admin.slaves().iter().map(|slave| slave["running"].as_u64().unwrap()).collect();
        running.sort_unstable();
        let expected: Vec<_> = (0..3).map(|place| (n + place) / 3).collect();
        assert_eq!(running, expected, "after {n} programs");
    }
    let running: Vec<_> =
        admin.list(&["--state", "running"]).iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    let mut cancel = vec!["cancel"];
    cancel.extend(running.iter().map(String::as_str));
    admin.run(cancel).expect(0);
    wait_until("all are cancelled", || (admin.list(&["--state", "cancelled"]).len() == 9).then_some(()));
}

#[test]
fn e4_max_processes_changes_while_programs_run() {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 4);
    let admin = cluster.admin();
    admin.run(["set", "max-processes", "1"]).expect(0);
    let id = admin.run(["submit", "--count", "6", "--", "sleep", "600"]).expect(0).out();
    assert_eq!(id.lines().count(), 6);
    let running = || admin.slaves()[0]["running"].as_u64().unwrap();
    wait_until("one runs", || (running() == 1).then_some(()));
    assert_eq!(admin.slaves()[0]["slots"], 1);
    admin.run(["set", "max-processes", "3", "--slave", "pc-01"]).expect(0);
    wait_until("three run", || (running() == 3).then_some(()));
    assert_eq!(admin.list(&["--state", "waiting"]).len(), 3);
    let mut cancel = vec!["cancel"];
    cancel.extend(id.lines());
    admin.run(cancel).expect(0);
    admin.run(["wait", "--all"]).expect(0);
    assert_eq!(admin.list(&["--state", "cancelled"]).len(), 6);
}

#[test]
fn e8_connected_clients_and_slaves_are_listed_with_their_fields() {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 2);
    let alice = cluster.user("alice", "submitter");
    let mut follower = alice.start(["run", "--", "sleep", "600"]);
    let admin = cluster.admin();
    let clients = wait_until("alice's program runs", || {
        let clients = admin.run(["clients", "--json"]).expect(0).json();
        let found =
            clients.as_array().unwrap().iter().any(|client| client["user"] == "alice" && client["running"] == 1);
        found.then_some(clients)
    });
    let alice_row = clients.as_array().unwrap().iter().find(|client| client["user"] == "alice").unwrap();
    for key in ["id", "user", "address", "kind", "connected_since", "running"] {
        assert!(!alice_row[key].is_null(), "{key}: {alice_row}");
    }
    assert_eq!(alice_row["kind"], "cli");
    let slave = &admin.slaves()[0];
    for key in ["id", "name", "address", "state", "running", "slots", "languages", "connected_since"] {
        assert!(!slave[key].is_null(), "{key}: {slave}");
    }
    assert_eq!((&slave["state"], &slave["slots"], &slave["running"]), (&"connected".into(), &2.into(), &1.into()));
    assert!(slave["languages"][0]["name"].is_string() && slave["languages"][0]["version"].is_string(), "{slave}");
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
fn e13_copies_know_their_index_and_ids_are_version_7() {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 2);
    let admin = cluster.admin();
    let ids = admin
        .run([
            "submit",
            "--count",
            "5",
            "--",
            "sh",
            "-c",
            "echo $RUCHE_INDEX $RUCHE_ATTEMPT $RUCHE_FENCE $RUCHE_PROGRAM_ID",
        ])
        .expect(0)
        .out();
    admin.run(["wait", "--all"]).expect(0);
    for (index, id) in ids.lines().enumerate() {
        assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 7);
        let printed = admin.run(["output", id]).expect(0).out();
        let words: Vec<_> = printed.split_whitespace().collect();
        assert_eq!((words[0], words[1], words[3]), (index.to_string().as_str(), "1", id));
        assert!(words[2].parse::<u64>().is_ok(), "{printed}");
    }
}

#[test]
fn e5_a_program_has_a_private_folder_and_a_clean_environment() {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 1);
    let admin = cluster.admin();
    let environment = admin.run(["run", "--", "env"]).expect(0).out();
    let mut names: Vec<_> = environment.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "HOME",
            "LANG",
            "PATH",
            "RUCHE_ATTEMPT",
            "RUCHE_FENCE",
            "RUCHE_INDEX",
            "RUCHE_PROGRAM_ID",
            "RUCHE_PROGRESS",
            "TMPDIR"
        ]
    );
    let folder = admin.run(["run", "--", "sh", "-c", "pwd -P; echo $HOME; ls -A; touch left-over"]).expect(0).out();
    let lines: Vec<_> = folder.lines().collect();
    assert!(fs::canonicalize(lines[1]).is_err(), "the folder is removed with the program: {folder}");
    let descriptors = admin.run(["run", "--", "sh", "-c", "ls /proc/$$/fd"]).expect(0).out();
    assert_eq!(descriptors.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2"], "no descriptor is inherited");
}

#[test]
fn e6_output_streams_while_the_program_runs_and_progress_is_shown() {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 1);
    let admin = cluster.admin();
    let id = admin.submit(["--", "sh", "-c", "echo first; echo '40 reading files' > $RUCHE_PROGRESS; exec sleep 600"]);
    wait_until("the first line is there while it runs", || {
        (admin.run(["output", &id]).expect(0).out() == "first\n").then_some(())
    });
    wait_until("its progress is shown", || (admin.show(&id)["progress_percent"].as_f64() == Some(40.0)).then_some(()));
    assert_eq!(admin.show(&id)["state"], "running");
    admin.run(["cancel", &id]).expect(0);
    let waited = admin.run(["wait", &id]).expect(0);
    assert_eq!(admin.show(&id)["outcome"]["kind"], "cancelled", "{waited:?}");
    assert_eq!(admin.show(&id)["outcome"]["by"], "admin");
    assert_eq!(admin.run(["output", &id]).expect(0).out(), "first\n", "output is kept");
}
