//! E9, E5: what bad programs, bad files and bad peers get: a named outcome or a clear error,
//! nothing else disturbed, nothing lost.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};
use tests::{Cluster, wait_until};

fn small_cluster() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 2);
    cluster
}

#[test]
fn e9_programs_that_cannot_run_say_why() {
    let cluster = small_cluster();
    let admin = cluster.admin();

    let ran = admin.run(["run", "--", "no-such-command-here"]).expect(127);
    assert!(ran.err().contains("no-such-command-here"), "{}", ran.err());

    let broken = cluster.file("broken.c", "#include <stdio.h>\nint main(void) { return undefined_name; }\n");
    let ran = admin.run(["run", &broken]).expect(126);
    assert!(ran.err().contains("broken.c:2") && ran.err().contains("undefined_name"), "{}", ran.err());

    let broken = cluster.file("broken.py", "print('never')\ndef f(:\n");
    let ran = admin.run(["run", &broken]).expect(126);
    assert!(ran.err().contains("broken.py") && ran.err().contains("line 2") && ran.out().is_empty(), "{}", ran.err());

    let unknown = cluster.file("words.unknown-extension", "hello\n");
    let ran = admin.run(["run", &unknown]).expect(127);
    assert!(ran.err().contains("E-LANGUAGE-UNKNOWN") && ran.err().contains("hint: "), "{}", ran.err());

    let foreign = cluster.file("words.kt", "fun main() {}\n");
    let ran = admin.run(["run", "--language", "Kotlin", &foreign]).expect(127);
    assert!(ran.err().contains("Kotlin"), "{}", ran.err());

    let empty = cluster.file("empty.py", "");
    assert!(admin.run(["run", &empty]).expect(125).err().contains("E-SOURCE-EMPTY"));
    let binary = cluster.file("binary.py", b"\x7fELF\0\0\0");
    assert!(admin.run(["run", &binary]).expect(125).err().contains("E-SOURCE-NOT-TEXT"));
    let ran = admin.run(["run", "no/such/file.py"]).expect(125);
    assert!(ran.err().contains("no/such/file.py") && ran.err().contains("E-FILE-UNREADABLE"), "{}", ran.err());
}

#[test]
fn e5_each_limit_is_an_outcome_of_its_own() {
    let cluster = small_cluster();
    let admin = cluster.admin();
    let limit_of = |options: &[&str], program: &[&str], code: i32| {
        let mut args = vec!["run"];
        args.extend(options);
        args.push("--");
        args.extend(program);
        let ran = admin.run(&args).expect(code);
        let row = admin.run(["list", "--json", "--limit", "1"]).expect(0).json()[0].clone();
        assert_eq!(row["outcome"]["kind"], "limit", "{args:?}: {row}\n{}", ran.err());
        assert!(ran.err().contains("limit"), "{args:?}: {}", ran.err());
        (row["outcome"]["limit"].as_str().unwrap().to_owned(), row)
    };
    let (limit, row) = limit_of(&["--wall-time", "300ms"], &["sleep", "600"], 124);
    assert_eq!(limit, "wall-time");
    assert!(row["usage"]["wall_ms"].as_u64().unwrap() >= 300, "{row}");
    let (limit, _) = limit_of(&["--cpu-time", "500ms"], &["sh", "-c", "while :; do :; done"], 124);
    assert_eq!(limit, "cpu-time");
    let (limit, row) =
        limit_of(&["--memory", "64M"], &["python3", "-c", "x = bytearray(300 << 20); print(len(x))"], 137);
    assert_eq!(limit, "memory");
    assert!(row["usage"]["memory_peak_bytes"].as_u64().unwrap() > 32 << 20, "{row}");
    let (limit, row) = limit_of(&["--output", "1M"], &["sh", "-c", "yes | head -c 1073741824"], 125);
    assert_eq!(limit, "output");
    assert_eq!((&row["output_truncated"], &row["output_bytes"]), (&true.into(), &(1 << 20).into()));
    let (limit, _) =
        limit_of(&["--file-size", "1M"], &["sh", "-c", "exec dd if=/dev/zero of=big bs=64k count=100"], 125);
    assert_eq!(limit, "file-size");
    let (limit, _) =
        limit_of(&["--processes", "20", "--wall-time", "60s"], &["bash", "-c", ":(){ :|:& };:; sleep 600"], 125);
    assert_eq!(limit, "processes");
    assert_eq!(admin.run(["run", "--", "echo", "still here"]).expect(0).out(), "still here\n");
}

#[test]
fn e5_exit_codes_and_signals_are_exact() {
    let cluster = small_cluster();
    let admin = cluster.admin();
    for code in [0, 1, 2, 99, 127, 255] {
        admin.run(["run", "--", "sh", "-c", &format!("exit {code}")]).expect(code);
    }
    for (signal, number) in [("TERM", 15), ("KILL", 9), ("SEGV", 11), ("USR1", 10)] {
        let ran = admin.run(["run", "--", "sh", "-c", &format!("kill -{signal} $$")]).expect(128 + number);
        let row = admin.run(["list", "--json", "--limit", "1"]).expect(0).json()[0].clone();
        assert_eq!(row["outcome"]["kind"], "signalled", "{row} {}", ran.err());
        assert_eq!(row["outcome"]["signal"], format!("SIG{signal}"), "{row}");
    }
}

#[test]
fn e5_a_hundred_thousand_arguments_and_a_deleted_folder_end_cleanly() {
    let cluster = small_cluster();
    let admin = cluster.admin();
    let mut args = vec!["run".to_owned(), "--".into(), "sh".into(), "-c".into(), "echo $#".into(), "sh".into()];
    args.extend((0..100_000).map(|n| n.to_string()));
    assert_eq!(admin.run(&args).expect(0).out(), "100000\n");
    let ran = admin
        .run([
            "run",
            "--",
            "sh",
            "-c",
            "rm -rf \"$HOME\" 2>/dev/null; cat missing 2>&1; pwd >/dev/null 2>&1; echo survived",
        ])
        .expect(0);
    assert!(ran.out().ends_with("survived\n"), "{}", ran.out());
}

#[test]
fn e5_nothing_of_a_program_outlives_it() {
    let cluster = small_cluster();
    let admin = cluster.admin();
    let marker = format!("6{:08}", std::process::id());
    let ran = admin
        .run([
            "run",
            "--",
            "sh",
            "-c",
            &format!("setsid sleep {marker} >/dev/null 2>&1 & setsid sleep {marker} & echo parent ends"),
        ])
        .expect(0);
    assert_eq!(ran.out(), "parent ends\n");
    wait_until("no left-over runs", || {
        let alive = std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            std::fs::read(entry.path().join("cmdline"))
                .is_ok_and(|line| line.starts_with(format!("sleep\0{marker}").as_bytes()))
        });
        (!alive).then_some(())
    });
}

#[test]
fn e10_wrong_passwords_pins_and_join_strings_are_refused() {
    let mut cluster = small_cluster();
    let pin = cluster.pin();
    let stranger = cluster.cli("stranger");
    let login = |pin: &str, password: &[u8]| {
        stranger
            .run_with_input(["login", cluster.address(), "--user", "admin", "--password-stdin", "--pin", pin], password)
    };
    let refused = login(&pin, b"not the password\n");
    assert!(refused.code != 0 && refused.err().contains("E-LOGIN-WRONG"), "{}", refused.err());
    let other = format!("sha256:{}", "0".repeat(64));
    let refused = login(&other, b"a long test password\n");
    assert!(refused.code != 0 && refused.err().contains("E-PIN-WRONG"), "{}", refused.err());
    let refused = stranger.run(["list"]);
    assert!(refused.code != 0 && refused.err().contains("E-LOGIN-NEEDED"), "{}", refused.err());

    let join = cluster.join_string();
    let mut first = tests::cluster::Process::start(
        &mut cluster.slave_command("pc-02", &["--join", &join]),
        cluster.path().join("pc-02.log"),
    );
    first.line("connected to ");
    let second = tests::cli::finish(&mut cluster.slave_command("pc-03", &["--join", &join]), b"");
    assert!(second.code != 0, "a used join string must be refused");
    assert!(String::from_utf8_lossy(&second.stderr).contains("E-JOIN-INVALID"), "{}", second.err());
    let nameless = tests::cli::finish(&mut cluster.slave_command("pc-04", &[]), b"");
    assert!(nameless.code != 0 && nameless.err().contains("E-IDENTITY-MISSING"), "{}", nameless.err());
    cluster.slaves.push(first);
}

#[test]
fn e10_roles_are_enforced_by_the_master() {
    let cluster = small_cluster();
    let (alice, bob, viewer) =
        (cluster.user("alice", "submitter"), cluster.user("bob", "submitter"), cluster.user("vera", "viewer"));
    let id = alice.submit(["--", "sleep", "600"]);
    for args in [["show", &id], ["output", &id], ["why", &id], ["cancel", &id], ["again", &id]] {
        let refused = bob.run(args);
        assert!(refused.code != 0 && refused.err().contains("E-PROGRAM-UNKNOWN"), "{args:?}: {refused:?}");
    }
    assert_eq!(bob.list(&[]).len(), 0);
    assert_eq!(viewer.list(&[]).len(), 1);
    for args in [&["submit", "--", "true"][..], &["cancel", &id], &["set", "max-processes", "1"]] {
        let refused = viewer.run(args);
        assert!(refused.code != 0 && refused.err().contains("E-NOT-ALLOWED"), "{args:?}: {refused:?}");
    }
    let refused = alice.run(["set", "max-processes", "1"]);
    assert!(refused.err().contains("E-NOT-ALLOWED"), "{refused:?}");
    cluster.admin().run(["cancel", &id]).expect(0);
}

#[test]
fn e2_strangers_on_the_port_disturb_nobody() {
    let cluster = small_cluster();
    let admin = cluster.admin();
    let speak = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(cluster.address()).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
        drop(stream.write_all(bytes));
        let mut answer = Vec::new();
        let _closed_or_reset = stream.read_to_end(&mut answer);
        answer
    };
    for bytes in
        [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"SSH-2.0-x\r\n", &[0xff; 4_096], &[22, 3, 1, 0xff, 0xff, 1]]
    {
        assert!(!String::from_utf8_lossy(&speak(bytes)).contains("HTTP/1.1 200"));
    }
    // A client that stops half-way: the connection stays open and silent while others work.
    let silent: Vec<_> = (0..20).map(|_| TcpStream::connect(cluster.address()).unwrap()).collect();
    assert_eq!(admin.run(["run", "--", "echo", "undisturbed"]).expect(0).out(), "undisturbed\n");
    drop(silent);
}

#[test]
fn e13_a_second_master_on_the_same_folder_refuses() {
    let cluster = small_cluster();
    let refused = cluster.administer(&["serve", "--listen", "127.0.0.1:0"], "");
    assert!(refused.code != 0 && refused.err().contains("E-DATA-LOCKED"), "{refused:?}");
    assert_eq!(cluster.admin().run(["run", "--", "echo", "fine"]).expect(0).out(), "fine\n");
}

#[test]
fn e9_why_explains_a_waiting_program_slave_by_slave() {
    let cluster = small_cluster();
    let admin = cluster.admin();
    admin.run(["submit", "--count", "2", "--", "sleep", "600"]).expect(0);
    let id = admin.submit(["--", "true"]);
    let refused = admin.run(["submit", "--slave", "pc-99", "--", "true"]);
    assert!(refused.code != 0 && refused.err().contains("E-SLAVE-UNKNOWN"), "{refused:?}");
    wait_until("both slots are in use", || (admin.slaves()[0]["running"] == 2).then_some(()));
    let why = admin.run(["why", &id]).expect(0).out();
    assert!(why.contains("pc-01") && why.contains("2 of 2"), "{why}");
    let all: Vec<_> = admin.list(&[]).iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    admin.run(["cancel".to_owned()].into_iter().chain(all)).expect(0);
}
