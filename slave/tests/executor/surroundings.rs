//! What a program finds around it, and what it leaves behind.

use crate::kit::{Kit, command, is_root, shell, source};
use common::{escape::RawText, outcome::Outcome};
use std::os::unix::fs::PermissionsExt;

#[test]
fn i4_no_descriptor_is_inherited() {
    let mut kit = Kit::new();
    let ran = kit.run(shell("ls /proc/self/fd"));
    // `ls` itself has the folder open.
    assert_eq!(ran.text(), "0\n1\n2\n3\n");
    let ran = kit.run(shell("readlink /proc/self/fd/0; cat; echo end"));
    assert_eq!(ran.text(), "/dev/null\nend\n");
}

#[test]
fn e5_the_environment_is_exactly_the_documented_one() {
    let mut kit = Kit::new();
    let mut spec = command("env", &[]);
    spec.environment = vec![("X".into(), "y".into()), ("LANG".into(), "fr".into())];
    let key = kit.start(spec);
    kit.end_of(key);
    let output = kit.executor().outputs().read(key, common::message::Stream::Stdout, 0, 99_999).unwrap();
    let text = String::from_utf8(output).unwrap();
    let home = text.lines().find_map(|line| line.strip_prefix("HOME=")).unwrap();
    assert_eq!(std::path::Path::new(home).parent().unwrap(), kit.work.join("slot-0"));
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    let expected = format!(
        "HOME={home}\nLANG=fr\nPATH=/usr/local/bin:/usr/bin:/bin\nRUCHE_ATTEMPT=1\nRUCHE_FENCE=1\nRUCHE_INDEX=0\n\
         RUCHE_PROGRAM_ID={}\nRUCHE_PROGRESS={home}/.ruche-progress\nTMPDIR={home}\nX=y",
        key.program
    );
    assert_eq!(lines.join("\n"), expected);
}

#[test]
fn i1_programs_are_nobody_and_stay_it() {
    let mut kit = Kit::new();
    let text = kit
        .run(shell("id -u; id -G; grep -E '^(NoNewPrivs|CapEff|SigBlk|SigIgn)' /proc/self/status; umask; ulimit -c"))
        .text();
    let lines: Vec<_> = text.split_whitespace().collect();
    if is_root() {
        let uid: u32 = lines[0].parse().unwrap();
        assert!(uid >= 61_000 && lines[1] == lines[0], "{text}");
        assert!(text.contains("CapEff:\t0000000000000000"), "{text}");
    }
    assert!(text.contains("NoNewPrivs:\t1") && text.ends_with("0022\n0\n"), "{text}");
    assert!(text.contains("SigBlk:\t0000000000000000") && text.contains("SigIgn:\t0000000000000000"), "{text}");
}

#[test]
fn e5_a_missing_command_is_told_with_where_it_was_looked_for() {
    let mut kit = Kit::new();
    for (name, told) in [
        ("no-such-command", "`no-such-command` was not found in /usr/local/bin:/usr/bin:/bin."),
        ("./nothing", "`./nothing` was not found"),
        ("/etc/passwd", "`/etc/passwd` may not be executed: permission denied."),
        ("/etc", "`/etc` may not be executed"),
    ] {
        match kit.run(command(name, &[])).end.outcome {
            Outcome::NotFound { detail } => assert!(detail.contains(told), "{detail}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for (name, content, told) in [
        ("unknown", &b"\x01\x02 not a program"[..], "is not a program"),
        ("script", b"#!/no/such/interpreter\n", "was not found (or the interpreter"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        match kit.run(command(path.to_str().unwrap(), &[])).end.outcome {
            Outcome::NotFound { detail } => assert!(detail.contains(told), "{detail}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn e5_a_hundred_thousand_arguments_arrive() {
    let mut kit = Kit::new();
    let mut spec = source("Python", "count.py", "import sys\nprint(len(sys.argv) - 1, sys.argv[-1])\n");
    spec.arguments = (0..100_000).map(|n| RawText::from(format!("{n:06}"))).collect();
    assert_eq!(kit.run(spec).text(), "100000 099999\n");
    let mut spec = shell("echo never");
    spec.arguments.push(RawText(vec![b'x'; 200_000]));
    assert!(
        matches!(kit.run(spec).end.outcome, Outcome::NotFound { detail } if detail.contains("more than the system takes"))
    );
}

#[test]
fn e5_arguments_that_are_not_text_arrive_exactly() {
    let mut kit = Kit::new();
    let all: Vec<u8> = (1..=255).collect();
    let mut spec = command("printf", &["%s|"]);
    spec.arguments.extend([RawText(all.clone()), RawText(Vec::new()), RawText(b"\xff\xfe".to_vec())]);
    let ran = kit.run(spec);
    assert_eq!(ran.output, [all.as_slice(), b"||\xff\xfe|"].concat());
}

#[test]
fn e5_standard_input_is_exact_and_cannot_be_changed() {
    let mut kit = Kit::new();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 253) as u8).collect();
    let mut spec = command("cat", &[]);
    spec.stdin = Some(bytes.as_slice().into());
    assert_eq!(kit.run(spec).output, bytes);
    let mut spec = shell("echo x >&0 || echo refused");
    spec.stdin = Some(b"in".as_slice().into());
    assert!(kit.run(spec).text().contains("refused"));
}

#[test]
fn i9_a_link_that_a_program_leaves_is_not_followed_and_its_folder_goes() {
    let mut kit = Kit::new();
    let outside = tempfile::tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(outside.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::write(outside.path().join("precious"), b"keep").unwrap();
    let script = format!(
        "ln -s {0} link; ln -s {0}/precious p; mkdir -p a/b; touch a/b/c; chmod 0 a/b; chmod 0 a",
        outside.path().display()
    );
    kit.run(shell(&script)).assert_exit(0);
    kit.run(shell("rm -rf \"$HOME\"; echo still here")).assert_exit(0);
    kit.run(shell("mv \"$HOME\" ../elsewhere; mkfifo pipe; exit 0")).assert_exit(0);
    let slot = kit.work.join("slot-0");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    // One that no program has seen may wait for the next.
    let left = || std::fs::read_dir(&slot).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let empty = |path: &std::path::PathBuf| std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    while left().len() > 1 || !left().iter().all(empty) {
        assert!(std::time::Instant::now() < deadline, "the working folders are not removed");
        std::thread::yield_now();
    }
    kit.executor.take().unwrap().shut_down().unwrap();
    assert!(left().is_empty(), "nothing stays after the end");
    assert_eq!(std::fs::read(outside.path().join("precious")).unwrap(), b"keep");
}

#[test]
fn i3_a_program_cannot_look_into_other_folders() {
    if !is_root() {
        return;
    }
    let mut kit = Kit::new();
    let secret = kit.data.join("identity");
    std::fs::write(&secret, b"key").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let script = format!("cat {}; ls ..; ls ../..; touch ../x; pwd; ls \"$HOME\"", secret.display());
    let ran = kit.run(shell(&script));
    assert_eq!(ran.text().lines().count(), 1, "{ran:?}");
}

#[test]
fn s9_progress_is_told_while_a_program_runs() {
    let mut kit = Kit::new();
    let key = kit.start(shell("echo '40 reading files' > \"$RUCHE_PROGRESS\"; sleep 30"));
    kit.until("progress", |_, event| match event {
        slave::executor::ExecutorEvent::Progress { progress, .. } => {
            assert_eq!((progress.percent, progress.text.as_str()), (40.0, "reading files"));
            true
        }
        _ => false,
    });
    kit.stop(key, slave::executor::Stop::Discarded);
    kit.end_of(key);
}

#[test]
fn e9_compile_errors_are_told_before_the_run_with_file_and_line() {
    let mut kit = Kit::new();
    for (language, file, text, told) in [
        ("Python", "bad.py", "print(1)\ndef f(:\n", "bad.py\", line 2"),
        ("C", "bad.c", "int main(void) { return x; }\n", "bad.c:1:"),
        ("Java", "bad.java", "public class Other { int x = \"a\"; }\n", "bad.java:1: error"),
        ("Bash", "bad.sh", "if true\n", "bad.sh: line"),
        ("Perl", "bad.pl", "my $x = ;\n", "bad.pl line 1"),
        ("JavaScript", "bad.js", "let = ;\n", "bad.js:1"),
    ] {
        let ran = kit.run(source(language, file, text));
        let Outcome::CompileError { detail } = &ran.end.outcome else { panic!("{language}: {ran:?}") };
        assert!(detail.contains(told) && !detail.contains("slot-0"), "{language}: {detail}");
        assert!(!ran.compile.is_empty() && ran.output.is_empty());
    }
    let ran = kit.run(source("C", "warn.c", "#include <stdio.h>\nint main(void) { int x; puts(\"ok\"); return 0; }\n"));
    ran.assert_exit(0);
    assert!(String::from_utf8_lossy(&ran.compile).contains("warning"));
    kit.run(source(
        "Java",
        "any.java",
        "class A {} public class B { public static void main(String[] a) { System.exit(a.length); } }",
    ))
    .assert_exit(0);
}

#[test]
fn e5_all_this_holds_for_an_ordinary_user_as_well() {
    if !is_root() {
        return;
    }
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    std::os::unix::fs::chown(folder.path(), Some(65_533), Some(65_533)).unwrap();
    let own = std::env::current_exe().unwrap();
    let ran = std::process::Command::new("setpriv")
        .args(["--reuid", "65533", "--regid", "65533", "--clear-groups"])
        .arg(own)
        .args(["--test-threads", "2"])
        .env("HOME", folder.path())
        .env("TMPDIR", folder.path())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn e5_a_data_folder_that_programs_cannot_reach_is_no_obstacle() {
    let closed = tempfile::tempdir().unwrap();
    std::fs::set_permissions(closed.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut kit = Kit::in_folder(&closed.path().join("data"));
    kit.run(source("C", "a.c", "#include <stdio.h>\nint main(void) { return fopen(\"a.c\", \"r\") ? 7 : 1; }\n"))
        .assert_exit(7);
    if is_root() {
        assert!(!kit.work.starts_with(closed.path()), "{}", kit.work.display());
    }
}

/// Runs `pwd` until the folder of one is that of the one before.
#[track_caller]
fn folder_used_twice(kit: &mut Kit) -> String {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let mut before = String::new();
    loop {
        let folder = kit.run(shell("pwd")).text();
        if folder == before {
            return folder;
        }
        assert!(std::time::Instant::now() < deadline, "no folder is used twice");
        before = folder;
    }
}

#[test]
fn i9_a_folder_is_used_again_only_when_the_program_left_it_as_it_was() {
    let mut kit = Kit::new();
    for touch in ["touch x", "mkdir x", "chmod 777 .", "chmod 755 .; chmod 700 .", "touch x; rm x"] {
        let clean = folder_used_twice(&mut kit);
        let ran = kit.run(shell(&format!("pwd; {touch}")));
        ran.assert_exit(0);
        assert_eq!(ran.text(), clean, "`true` twice has one folder");
        let next = kit.run(shell("pwd; ls -A; stat -c %a ."));
        assert_ne!(next.text().lines().next().unwrap(), clean.trim_end(), "{touch}");
        assert_eq!(next.text().lines().skip(1).collect::<Vec<_>>(), ["700"], "{touch}");
    }
}

#[test]
fn i18_a_slave_does_not_rely_on_the_master_for_what_it_may_be_asked() {
    let mut kit = Kit::new();
    let outside = kit.data.join("outside.py");
    let mut too_much = command("true", &[]);
    too_much.limits.output = common::ByteSize(1 << 50);
    for spec in [
        source("Python", outside.to_str().unwrap(), "print(1)"),
        source("Python", "../../../outside.py", "print(1)"),
        source("Python", "../x.py", "print(1)"),
        too_much,
    ] {
        match kit.run(spec).end.outcome {
            Outcome::NotSupported { detail } => assert!(detail.starts_with("This slave refuses it: "), "{detail}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(!outside.exists());
}
