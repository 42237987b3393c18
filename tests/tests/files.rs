//! Files that programs are given and bring back, through the real programs: sent once, checked, over restarts; and
//! nothing of the machine comes back, whatever a program plants.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use client::{
    Client, Credentials, Target,
    files::{pick, upload},
};
use common::{
    ErrorCode, ProgramId, ProgramSpec, Work,
    message::{Reply, Request, command::Secret, status::InputHeld},
    view::ClientKind,
};
use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
};
use tests::{
    Cluster,
    cli::{Cli, Finished, finish},
    cluster::PASSWORD,
};

fn content(bytes: usize, seed: usize) -> Vec<u8> {
    (0..bytes).map(|n| ((n + seed) % 251) as u8).collect()
}

/// Runs `ruche` in a folder of its own.
fn run_in(alice: &Cli, folder: &Path, args: &[&str]) -> Finished {
    fs::create_dir_all(folder).unwrap();
    finish(alice.command(args).current_dir(folder), b"")
}

fn connect(cluster: &Cluster, user: &str) -> (tokio::runtime::Runtime, Client) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let target = Target { address: cluster.address().to_owned(), pin: cluster.pin().parse().unwrap() };
    let credentials = Credentials::Password { user: user.into(), password: Secret(PASSWORD.into()) };
    let client = runtime.block_on(Client::connect(&target, ClientKind::Cli, &credentials)).unwrap().0;
    (runtime, client)
}

/// The files in a folder, by their names, as they lie there.
fn names(folder: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<Vec<u8>> = entries.map(|entry| entry.unwrap().file_name().as_bytes().to_vec()).collect();
    names.sort();
    names
}

fn cached(cluster: &Cluster, slave: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(cluster.path().join(slave).join("cache")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn e5_files_go_to_the_program_and_come_back_byte_for_byte() {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 2);
    let alice = cluster.user("alice", "submitter");
    let large = content(5_300_000, 1);
    let data = cluster.file("data.bin", &large);
    let tool = cluster.file("tool", "#!/bin/sh\nprintf 'made by %s' \"$1\"\n");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    let empty = cluster.file("empty", "");
    let here = cluster.path().join("here");
    let script = "set -e; ./tool me > made.txt; mkdir -p out/deep; cp data.bin out/deep/copy.bin; cp empty out/; \
                  chmod +x out/empty; echo other > other.txt; test ! -w /; printf seen; exit 3";
    let args = [
        "run",
        "--input",
        &data,
        "--input",
        &tool,
        "--input",
        &empty,
        "--collect",
        "made.txt",
        "--collect",
        "out/**",
        "--",
        "sh",
        "-c",
        script,
    ];
    let ran = run_in(&alice, &here, &args).expect(3);
    assert_eq!(ran.out(), "seen");
    assert_eq!(fs::read(here.join("made.txt")).unwrap(), b"made by me");
    assert!(fs::read(here.join("out/deep/copy.bin")).unwrap() == large);
    assert_eq!(names(&here), [b"made.txt".to_vec(), b"out".to_vec()]);
    assert_eq!(fs::metadata(here.join("out/empty")).unwrap().permissions().mode() & 0o100, 0o100);
    assert_eq!(fs::metadata(here.join("made.txt")).unwrap().permissions().mode() & 0o111, 0);

    // Nothing is written over, unless that is wanted.
    fs::write(here.join("made.txt"), b"mine").unwrap();
    let again = run_in(&alice, &here, &args);
    assert_eq!(again.code, 3);
    assert!(again.err().contains("E-FILE-UNWRITABLE") && again.err().contains("--force"), "{}", again.err());
    assert_eq!(fs::read(here.join("made.txt")).unwrap(), b"mine");
    let id = alice.list(&[])[0]["id"].as_str().unwrap().to_owned();
    let listed = alice.run(["fetch", &id, "--list"]).expect(0).out();
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let there = cluster.path().join("there");
    run_in(&alice, &here, &["fetch", &id, "--to", there.to_str().unwrap()]).expect(0);
    assert!(fs::read(there.join("out/deep/copy.bin")).unwrap() == large);
    run_in(&alice, &here, &["fetch", &id, "--force"]).expect(0);
    assert_eq!(fs::read(here.join("made.txt")).unwrap(), b"made by me");
    // They were sent once, and the slave keeps each once.
    assert_eq!(cached(&cluster, "pc-01").len(), 3);
    let none = alice.submit(["--", "true"]);
    alice.run(["wait", &none]).expect(0);
    let refused = alice.run(["fetch", &none]).expect(1);
    assert!(refused.err().contains("brought no files back"), "{}", refused.err());
}

#[test]
fn e13_inputs_and_collected_files_outlive_restarts_of_master_and_slave() {
    let mut cluster = Cluster::with_config("lease = \"30s\"\n");
    let alice = cluster.user("alice", "submitter");
    let large = content(3_000_000, 2);
    let data = cluster.file("data.bin", &large);
    let script = "cp data.bin copy.bin; echo ready";
    let id = alice.submit(["--input", &data, "--collect", "*.bin", "--", "sh", "-c", script]);
    // Between upload and run.
    cluster.kill_master();
    cluster.start_master();
    cluster.slave("pc-01", 1);
    alice.run(["wait", &id]).expect(0);
    assert_eq!(alice.show(&id)["state"], "done", "{}", alice.show(&id));
    // After the end.
    cluster.kill_master();
    cluster.start_master();
    let there = cluster.path().join("there");
    alice.run(["fetch", &id, "--to", there.to_str().unwrap()]).expect(0);
    assert!(fs::read(there.join("copy.bin")).unwrap() == large && fs::read(there.join("data.bin")).unwrap() == large);
    // The slave finds what it has fetched before, also when it was killed.
    cluster.slaves[0].kill();
    cluster.restart_slave(0);
    cluster.slaves[0].line("connected to ");
    let before = fs::metadata(&cached(&cluster, "pc-01")[0]).unwrap().modified().unwrap();
    let again = alice.run(["again", &id]).expect(0).out().trim().to_owned();
    alice.run(["wait", &again]).expect(0);
    assert_eq!(alice.show(&again)["state"], "done");
    assert_eq!(fs::metadata(&cached(&cluster, "pc-01")[0]).unwrap().modified().unwrap(), before);
    let checked = cluster.administer(&["check"], "").expect(0);
    assert!(checked.err().is_empty() || !checked.err().contains("input file"), "{}", checked.err());
}

#[test]
fn p6_an_agent_that_is_killed_while_files_come_back_loses_none() {
    let mut cluster = Cluster::with_config("lease = \"30s\"\n");
    cluster.slave("pc-01", 1);
    let alice = cluster.user("alice", "submitter");
    let script = "echo begun; while [ ! -e go ]; do sleep 0.01; done; head -c 30000000 /dev/zero > big; echo end";
    let data = cluster.file("data", "x");
    let go = cluster.outside().join("go");
    let script = script.replace("! -e go", &format!("! -e {}", go.display()));
    let id = alice.submit(["--input", &data, "--collect", "big", "--", "sh", "-c", &script]);
    tests::wait_until("it has begun", || (alice.run(["output", &id]).out() == "begun\n").then_some(()));
    cluster.slaves[0].signal(nix::sys::signal::Signal::SIGSTOP);
    fs::write(&go, b"").unwrap();
    cluster.slaves[0].kill();
    cluster.restart_slave(0);
    alice.run(["wait", &id]).expect(0);
    let shown = alice.show(&id);
    assert_eq!(shown["state"], "done", "{shown}");
    let there = cluster.path().join("there");
    alice.run(["fetch", &id, "--to", there.to_str().unwrap()]).expect(0);
    assert!(fs::read(there.join("big")).unwrap() == vec![0; 30_000_000]);
}

#[test]
fn s7_an_upload_goes_on_where_it_was_cut_and_another_content_is_refused() {
    let mut cluster = Cluster::new();
    cluster.user("alice", "submitter");
    let large = content(4 << 20, 3);
    let path = cluster.file("data.bin", &large);
    let picked = pick(Path::new(&path)).unwrap();
    let (digest, size) = (picked.file.digest, picked.file.size.0);
    {
        let (runtime, client) = connect(&cluster, "alice");
        let bytes = large[..1 << 20].to_vec();
        let put = client.request(Request::PutInput { digest, size, offset: 0, bytes });
        let Reply::InputsHeld { files } = runtime.block_on(put).unwrap() else { panic!() };
        assert_eq!(files, [InputHeld::Part(1 << 20)]);
    }
    cluster.kill_master();
    cluster.start_master();
    let (runtime, client) = connect(&cluster, "alice");
    let held = |digest| {
        let asked = client.request(Request::InputsHeld { digests: vec![digest] });
        let Reply::InputsHeld { files } = runtime.block_on(asked).unwrap() else { panic!() };
        files[0]
    };
    assert_eq!(held(digest), InputHeld::Part(1 << 20), "what was sent before is not sent again");
    let mut sent = Vec::new();
    runtime.block_on(upload(&client, std::slice::from_ref(&picked), |sending| sent.push(sending.sent))).unwrap();
    assert!(sent.iter().all(|sent| *sent > 1 << 20), "{sent:?}");
    assert_eq!(held(digest), InputHeld::Whole);

    // A file that changed after it was looked at.
    let other = cluster.file("other.bin", content(2 << 20, 4));
    let picked = pick(Path::new(&other)).unwrap();
    fs::write(&other, content(2 << 20, 5)).unwrap();
    let refused = runtime.block_on(upload(&client, std::slice::from_ref(&picked), |_| ())).unwrap_err();
    assert!(refused.is(ErrorCode::InputDamaged), "{refused}");
    assert_eq!(held(picked.file.digest), InputHeld::Part(0));

    // A submit without the file is refused by the file's name; nothing is accepted.
    let mut spec = ProgramSpec::new("p", Work::Command { command: "true".into() });
    spec.inputs = vec![picked.file];
    let ids = vec![ProgramId(uuid::Uuid::now_v7())];
    let submit = Request::Submit { ids, first_index: 0, copies: 1, spec: Box::new(spec) };
    let refused = runtime.block_on(client.request(submit)).unwrap_err();
    assert!(refused.is(ErrorCode::InputMissing) && refused.sentence.contains("other.bin"), "{refused}");
    assert_eq!(cluster.admin().list(&[]).len(), 0);
}

#[test]
fn a15_who_may_not_submit_sends_no_files() {
    let cluster = Cluster::new();
    cluster.user("viv", "viewer");
    let (runtime, client) = connect(&cluster, "viv");
    let digest = common::id::Digest([7; 32]);
    for request in [
        Request::InputsHeld { digests: vec![digest] },
        Request::PutInput { digest, size: 1, offset: 0, bytes: vec![1] },
    ] {
        let refused = runtime.block_on(client.request(request)).unwrap_err();
        assert!(refused.is(ErrorCode::NotAllowed), "{refused}");
    }
    assert_eq!(fs::read_dir(cluster.data().join("inputs/parts")).unwrap().count(), 0);
}

#[test]
fn i9_what_a_program_plants_for_the_collector_brings_back_nothing_of_the_machine() {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 1);
    let alice = cluster.user("alice", "submitter");
    let secret = cluster.file("secret", "secret of the machine");
    let script = format!(
        "ln -s {secret} link; ln -s / root; ln -s /proc/self/environ magic; mkfifo pipe; mkdir real; echo fine > real/x; \
         ln real/x hard; ln -s real turned; mkdir shut; echo in > shut/y; chmod 000 shut; echo kept > kept; \
         mkdir -p 'a b'; echo odd > \"$(printf 'a b/\\377\\033[2J\\n')\""
    );
    let here = cluster.path().join("here");
    let ran = run_in(&alice, &here, &["run", "--collect", "**", "--", "sh", "-c", &script]).expect(0);
    let error = ran.err();
    for planted in ["link", "root", "magic", "pipe", "hard", "real/x", "turned"] {
        assert!(
            error.lines().any(|line| line.contains(&format!("not brought back: {planted}:"))),
            "{planted}: {error}"
        );
    }
    assert!(!error.contains('\x1b'), "names are shown, not obeyed");
    assert_eq!(fs::read(here.join("kept")).unwrap(), b"kept\n");
    let odd = here.join(OsStr::from_bytes(b"a b/\xff\x1b[2J"));
    let odd_with_line = here.join(OsStr::from_bytes(b"a b/\xff\x1b[2J\n"));
    assert!(odd.exists() || odd_with_line.exists(), "{:?}", names(&here.join("a b")));
    for gone in ["link", "root", "magic", "pipe", "hard", "turned", "real/x"] {
        assert!(fs::symlink_metadata(here.join(gone)).is_err(), "{gone}");
    }
    let id = alice.list(&[])[0]["id"].as_str().unwrap().to_owned();
    let listed = alice.run(["fetch", &id, "--list"]).expect(0);
    assert!(!listed.out().contains('\x1b') && listed.out().contains("\\x1b[2J"), "{}", listed.out());
    // Where the files go there may be links too.
    let there = cluster.path().join("there");
    let outside = cluster.path().join("elsewhere");
    fs::create_dir_all(&there).unwrap();
    fs::create_dir_all(&outside).unwrap();
    symlink(&outside, there.join("a b")).unwrap();
    let fetched = alice.run(["fetch", &id, "--to", there.to_str().unwrap(), "--force"]).expect(1);
    assert!(fetched.err().contains("E-FILE-UNWRITABLE"), "{}", fetched.err());
    assert_eq!(fs::read(there.join("kept")).unwrap(), b"kept\n");
    assert_eq!(names(&outside), Vec::<Vec<u8>>::new());
}

#[test]
fn i6_the_next_program_of_a_slot_finds_nothing_of_the_one_before() {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 1);
    let alice = cluster.user("alice", "submitter");
    let data = cluster.file("data", "private");
    for round in 0..5 {
        // Many files, so that their removal takes longer than the next start.
        let script = "for n in $(seq 2000); do : > f$n; done; mkdir -p d/e; cp data d/e/; pwd";
        let first = alice.run(["run", "--input", &data, "--", "sh", "-c", script]).expect(0).out();
        let folder = first.trim();
        let look =
            format!("ls {folder} {folder}/d/e 2>/dev/null; cat {folder}/d/e/data; ls $(dirname $(pwd))/../trash");
        let second = alice.run(["run", "--", "sh", "-c", &look]);
        assert_eq!(second.out(), "", "round {round}");
    }
}

#[test]
fn s5_damage_on_the_slaves_disk_is_found_and_the_file_is_fetched_again() {
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 1);
    let alice = cluster.user("alice", "submitter");
    let data = cluster.file("data", "good content");
    alice.run(["run", "--input", &data, "--", "cat", "data"]).expect(0);
    let kept = cached(&cluster, "pc-01").remove(0);
    fs::write(&kept, "evil content").unwrap();
    let ran = alice.run(["run", "--input", &data, "--", "cat", "data"]);
    assert_ne!(ran.out(), "evil content");
    assert_eq!(alice.run(["run", "--input", &data, "--", "cat", "data"]).expect(0).out(), "good content");
    // With a retry nobody notices.
    fs::write(cached(&cluster, "pc-01").remove(0), "evil content").unwrap();
    assert_eq!(
        alice.run(["run", "--retry", "2", "--input", &data, "--", "cat", "data"]).expect(0).out(),
        "good content"
    );
    // On the master's disk it is found by `check`, and never reaches a program.
    let whole = fs::read_dir(cluster.data().join("inputs")).unwrap().map(|entry| entry.unwrap().path());
    let folder = whole.filter(|path| !path.ends_with("parts")).find(|path| path.is_dir()).unwrap();
    let file = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    fs::write(&file, "evil content").unwrap();
    let checked = cluster.administer(&["check"], "");
    assert!(
        format!("{}{}", checked.out(), checked.err()).contains("was changed"),
        "{}{}",
        checked.out(),
        checked.err()
    );
    fs::write(cached(&cluster, "pc-01").remove(0), "also changed").unwrap();
    let ran = alice.run(["run", "--retry", "3", "--input", &data, "--", "cat", "data"]);
    assert_eq!(ran.out(), "");
    assert_ne!(ran.code, 0, "{}", ran.err());
}

#[test]
fn f22_a_backup_holds_the_input_files_of_what_waits() {
    let mut cluster = Cluster::new();
    let alice = cluster.user("alice", "submitter");
    let data = cluster.file("data", "precious");
    let id = alice.submit(["--input", &data, "--", "cat", "data"]);
    let file = cluster.path().join("ruche.backup");
    cluster.administer(&["backup", "--to", file.to_str().unwrap()], "").expect(0);
    cluster.kill_master();
    let restored = cluster.path().join("restored");
    cluster.set_data(restored);
    cluster.administer(&["restore", "--from", file.to_str().unwrap(), "--keep-queue"], "").expect(0);
    cluster.start_master();
    cluster.slave("pc-01", 1);
    alice.run(["wait", &id]).expect(0);
    assert_eq!(alice.run(["output", &id]).expect(0).out(), "precious");
}

#[test]
fn e9_the_budget_of_the_master_keeps_what_is_needed_and_says_when_something_is_gone() {
    let mut cluster = Cluster::with_config("inputs_max = \"3M\"\n");
    let alice = cluster.user("alice", "submitter");
    let first = cluster.file("first", content(2_000_000, 1));
    let waits = alice.submit(["--input", &first, "--", "cat", "first"]);
    let second = cluster.file("second", content(2_000_000, 2));
    let refused = alice.run(["submit", "--input", &second, "--", "cat", "second"]).expect(1);
    assert!(refused.err().contains("E-STORAGE-FULL") && refused.err().contains("inputs_max"), "{}", refused.err());
    alice.run(["cancel", &waits]).expect(0);
    let other = alice.submit(["--input", &second, "--", "cat", "second"]);
    let gone = alice.run(["again", &waits]).expect(1);
    assert!(gone.err().contains("E-INPUT-MISSING") && gone.err().contains("first"), "{}", gone.err());
    cluster.slave("pc-01", 1);
    alice.run(["wait", &other]).expect(0);
    assert_eq!(alice.show(&other)["state"], "done");
}
