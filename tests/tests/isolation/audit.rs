//! I10: whatever the agent, the launcher and its keepers do with a path below a working folder, they do through a
//! descriptor that they hold, and follow no link: every call is looked at.

use crate::world::{Canary, Level, cluster, source, start};
use std::{collections::BTreeMap, fs, path::Path};
use tests::cluster::SlaveStart;

/// What strace shows: every call that takes a path, descriptors with what they are.
const TRACE: [&str; 10] = [
    "strace",
    "--follow-forks",
    "--decode-pids=pidns",
    "-q",
    "-y",
    "-s",
    "300",
    "-e",
    "trace=%file,clone,clone3,vfork,fork",
    "-o",
];

/// One call of a process.
#[derive(Debug)]
struct Call {
    name: String,
    arguments: String,
    line: String,
}

/// The number of a new process as strace counts them: `2 /* 77 in strace's PID NS */`, or simply `77`.
fn new_process(answer: &str) -> &str {
    let counted = answer.split_once("/* ").map(|(_, rest)| rest.split(' ').next().unwrap_or_default());
    counted.unwrap_or_else(|| answer.split(' ').next().unwrap_or_default())
}

/// A process: its number, and which of those that had it one after the other.
type Life = (String, usize);

/// A call and the line in which it began.
struct Line {
    begun: usize,
    life: Life,
    whole: String,
}

/// Puts the two halves of calls together, and tells processes with the same number apart.
fn lines(text: &str) -> Vec<Line> {
    let mut ended: BTreeMap<&str, usize> = BTreeMap::new();
    let mut unfinished: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let Some((pid, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if rest.starts_with("+++") {
            *ended.entry(pid).or_default() += 1;
            continue;
        }
        if let Some(begun) = rest.strip_suffix("<unfinished ...>") {
            unfinished.insert(pid, (number, begun));
            continue;
        }
        let (begun, whole) = match rest.split_once("resumed>") {
            Some((_, end)) => {
                let (begun, start) = unfinished.remove(pid).unwrap_or((number, ""));
                (begun, format!("{start}{end}"))
            }
            None => (number, rest.to_owned()),
        };
        let life = (pid.to_owned(), ended.get(pid).copied().unwrap_or_default());
        found.push(Line { begun, life, whole });
    }
    found
}

/// The calls of the product's own processes: not those of programs, which begin when something else is executed, and
/// of what they start.
fn calls_of_ours(text: &str) -> Vec<Call> {
    let lines = lines(text);
    // From which line on a process is a program.
    let mut since: BTreeMap<&Life, usize> = BTreeMap::new();
    for line in &lines {
        let executes = line.whole.starts_with("execve");
        if executes && !line.whole.contains("ruche-slave") && !line.whole.contains("/proc/self/exe") {
            since.entry(&line.life).or_insert(line.begun);
        }
    }
    let last_of = |pid: &str, from: usize| {
        let lives = lines.iter().filter(|line| line.life.0 == pid && line.begun >= from).map(|line| &line.life);
        lives.min()
    };
    for line in &lines {
        let Some((name, arguments)) = line.whole.split_once('(') else { continue };
        if matches!(name, "clone" | "clone3" | "vfork" | "fork")
            && since.get(&line.life).is_some_and(|since| *since <= line.begun)
        {
            let child = new_process(arguments.rsplit_once("= ").map_or("", |(_, answer)| answer));
            if let Some(life) = last_of(child, line.begun) {
                since.insert(life, 0);
            }
        }
    }
    let ours = lines.iter().filter(|line| since.get(&line.life).is_none_or(|since| line.begun < *since));
    ours.filter_map(|line| {
        let (name, arguments) = line.whole.split_once('(')?;
        Some(Call { name: name.into(), arguments: arguments.into(), line: format!("{} {}", line.life.0, line.whole) })
    })
    .collect()
}

/// The path that a call goes to: that of its descriptor, if it has one, and its first string.
fn target(call: &Call) -> Option<(bool, String)> {
    let text = call
        .arguments
        .split_once('"')
        .map(|(before, rest)| (before, rest.split_once('"').map_or("", |(path, _)| path)));
    let (before, path) = text?;
    let held = before.rsplit_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(folder, _)| folder);
    match held {
        _ if path.starts_with('/') => Some((false, path.to_owned())),
        Some(folder) if !before.contains("AT_FDCWD") => Some((true, format!("{folder}/{path}"))),
        // Relative to the current folder of the agent, which is none of a program's.
        _ => Some((false, path.to_owned())),
    }
}

/// Whether a call follows no link on its way and at its end.
fn follows_nothing(call: &Call) -> bool {
    let path = call.arguments.split('"').nth(1).unwrap_or_default();
    let one_name = !path.contains('/') && path != "..";
    match call.name.as_str() {
        "openat2" => {
            call.arguments.contains("RESOLVE_BENEATH")
                && (call.arguments.contains("RESOLVE_NO_SYMLINKS") || call.arguments.contains("O_NOFOLLOW"))
        }
        "openat" => one_name && call.arguments.contains("O_NOFOLLOW"),
        "newfstatat" | "fstatat64" | "statx" | "fchownat" | "utimensat" => {
            one_name && (call.arguments.contains("AT_SYMLINK_NOFOLLOW") || call.arguments.contains("AT_EMPTY_PATH"))
        }
        // They act on the name itself, or refuse a link.
        "unlinkat" | "renameat2" | "renameat" | "mkdirat" | "symlinkat" | "readlinkat" | "mknodat" => one_name,
        // Only for a folder of a dead program that took its own permissions away, on one name.
        "fchmodat" | "fchmodat2" => one_name,
        _ => false,
    }
}

/// Working folders are the second part below this: `slot-N/NUMBER`. The other names there are those of a keeper's new
/// root, which is built at that place before any program.
fn within_a_working_folder(path: &str, work: &str) -> bool {
    let Some(rest) = path.strip_prefix(work) else { return false };
    let parts: Vec<_> = rest.split('/').filter(|part| !part.is_empty()).collect();
    parts.len() >= 2 && parts[0].starts_with("slot-") && parts[1].parse::<u64>().is_ok()
}

fn check(text: &str, work: &str) -> (usize, Vec<String>) {
    let mut looked_at = 0;
    let mut wrong = Vec::new();
    for call in calls_of_ours(text) {
        let Some((held, path)) = target(&call) else { continue };
        if within_a_working_folder(&path, work) && call.name != "getcwd" {
            looked_at += 1;
            if !held || !follows_nothing(&call) {
                wrong.push(call.line);
            }
        }
    }
    (looked_at, wrong)
}

#[test]
fn i10_every_path_below_a_working_folder_goes_through_a_held_descriptor_and_follows_nothing() {
    if !nix::unistd::geteuid().is_root() {
        crate::not_exercised("the calls of agent, launcher and keepers: this is not root");
        return;
    }
    if !std::process::Command::new("strace").arg("-V").output().is_ok_and(|ran| ran.status.success()) {
        crate::not_exercised("the calls of agent, launcher and keepers: this machine has no strace");
        return;
    }
    let mut cluster = cluster();
    let canary = Canary::of(Level::Root);
    let file = cluster.path().join("trace");
    let mut before: Vec<_> = TRACE.map(str::to_owned).to_vec();
    before.push(file.display().to_string());
    let place = cluster.slave_started(SlaveStart { before, ..start(&cluster, Level::Root, 2) });
    let admin = cluster.admin();
    let swap = source!("swap.c").file(&cluster);
    let input = cluster.file("given.txt", "given\n");
    let run = |words: &[&str]| {
        let id = admin.submit(words);
        admin.run(["wait", &id]).expect(0);
        admin.show(&id)
    };
    let swapped = run(&["--collect", "**", "--input", &input, "--disk", "64M", &swap, canary.path(), "50"]);
    assert_eq!(swapped["outcome"]["kind"], "exited", "{swapped}");
    run(&["--", "true"]);
    run(&[
        "--",
        "sh",
        "-c",
        "mkdir -p a/b/c; chmod 0 a/b; echo '10 %' >$RUCHE_PROGRESS; ln -s / a/link; touch x; sleep 0.3",
    ]);
    run(&["--file-size", "64K", "--", "dd", "if=/dev/zero", "of=big", "bs=64k", "count=9"]);
    let work = admin.run(["run", "--", "pwd"]).expect(0).out();
    let work = Path::new(work.trim()).parent().unwrap().parent().unwrap().to_str().unwrap().to_owned();
    // strace itself stays until the slave has gone.
    let agent = cluster.slaves[place].descendants()[0];
    nix::sys::signal::kill(agent.pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    tests::wait_until("the slave ends", || cluster.slaves[place].ended());
    let text = fs::read_to_string(&file).unwrap();
    let (looked_at, wrong) = check(&text, &work);
    assert!(looked_at > 30, "only {looked_at} calls were seen below {work}");
    assert!(wrong.is_empty(), "{} of {looked_at} calls:\n{}", wrong.len(), wrong.join("\n"));
    canary.assert_untouched();
}

#[test]
fn i10_a_call_that_follows_a_path_is_found() {
    let work = "/var/tmp/slots";
    let folder = "/var/tmp/slots/slot-0/3";
    for (line, right) in [
        (format!("7 openat(AT_FDCWD, \"{folder}/x\", O_RDONLY|O_NOFOLLOW) = 3"), false),
        (format!("7 open(\"{folder}/x\", O_RDONLY) = 3"), false),
        (format!("7 openat(5<{folder}>, \"x\", O_RDONLY|O_CLOEXEC) = 3</x>"), false),
        (format!("7 openat(5<{folder}>, \"a/x\", O_RDONLY|O_NOFOLLOW) = 3"), false),
        (format!("7 newfstatat(5<{folder}>, \"x\", {{}}, 0) = 0"), false),
        (format!("7 openat2(5<{folder}>, \"a/x\", {{flags=O_RDONLY}}, 24) = 3"), false),
        (format!("7 chown(\"{folder}/x\", 0, 0) = 0"), false),
        (
            format!(
                "7 openat2(5<{folder}>, \"a/x\", {{flags=O_RDONLY, resolve=RESOLVE_NO_SYMLINKS|RESOLVE_BENEATH}}, 24) = 3"
            ),
            true,
        ),
        (format!("7 openat(5<{folder}>, \"x\", O_RDONLY|O_NOFOLLOW) = 3"), true),
        (format!("7 unlinkat(5<{folder}>, \"x\", 0) = 0"), true),
    ] {
        let (looked_at, wrong) = check(&line, work);
        assert_eq!((looked_at, wrong.is_empty()), (1, right), "{line}");
    }
    // What programs do with their own folder is theirs.
    let text = format!("8 execve(\"/bin/sh\", [\"sh\"], 0x1) = 0\n8 open(\"{folder}/x\", O_RDONLY) = 3\n");
    assert_eq!(check(&text, work), (0, Vec::new()));
}
