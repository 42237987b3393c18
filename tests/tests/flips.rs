//! F6: a master answers nothing wrong from damaged files.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::{fs, path::Path, time::Duration};
use tests::{
    Cluster,
    checker::{Reading, Rules},
    nemesis::{
        Nemesis, Plan, Workload,
        image::revive,
        judge,
        power::{Files, write_files},
        reading::Reader,
    },
    seed::Random,
    soak,
    witness::Witness,
};

/// Every file below a folder, from it.
fn files_below(folder: &Path) -> Files {
    let (mut files, mut folders) = (Files::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let name = entry.path().strip_prefix(folder).unwrap().to_owned();
                files.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    files
}

/// Spoils one file of a data folder in one place; says how.
fn spoil(files: &mut Files, random: &mut Random) -> String {
    let chosen: Vec<_> = files
        .iter()
        .filter(|(path, bytes)| {
            !bytes.is_empty() && path.extension().is_some_and(|end| SPOILED.iter().any(|e| end == *e))
        })
        .map(|(path, _)| path.clone())
        .collect();
    // The database is a file of many; it gets half of the cases.
    let databases: Vec<_> = chosen.iter().filter(|path| path.to_string_lossy().contains(".db")).cloned().collect();
    let path = if random.one_in(2) { random.pick(&databases) } else { random.pick(&chosen) }.clone();
    let bytes = files.get_mut(&path).unwrap();
    let place = random.count(0..bytes.len());
    if random.one_in(4) {
        bytes.truncate(place);
        format!("{} cut at byte {place}", path.display())
    } else {
        let bit = random.within(0..8);
        bytes[place] ^= 1 << bit;
        format!("{} with bit {bit} of byte {place} changed", path.display())
    }
}

/// The first thing in which two readings differ, in words.
fn difference(read: &Reading, truth: &Reading) -> String {
    let rows = || {
        truth.rows.iter().find(|row| !read.rows.contains(row)).map(|row| {
            let shown = read.rows.iter().find(|other| other.id == row.id);
            format!("{row:?} is shown as {shown:?}")
        })
    };
    let output = || truth.outputs.iter().find(|(id, bytes)| read.outputs.get(id) != Some(*bytes));
    rows()
        .or_else(|| output().map(|(id, _)| format!("the output of {id} differs")))
        .unwrap_or_else(|| "order".to_owned())
}

/// Files that hold the history.
const SPOILED: [&str; 3] = ["db", "db-wal", "out"];

#[test]
fn f06_damaged_files_are_reported_or_harmless_and_never_give_a_wrong_answer() {
    let mut nemesis = Nemesis::new("f06", 6);
    let mut cluster = Cluster::new();
    cluster.slave("pc-01", 3);
    let witness = Witness::new(&cluster.outside());
    let plan = Plan { programs: 10, pause_ms: 1..20, run_ms: 1..50, bytes: 1..60_000, ..Plan::default() };
    let calls = Workload::start(&cluster, &witness, &plan, nemesis.seed(), None).finish();
    judge(&cluster, &witness, calls, &Rules::STRICT);
    let truth = Reader::new(&cluster).read(false).unwrap();
    // Checksums of what ended are made a second later.
    nemesis.hold(Duration::from_millis(1_500));
    // As a kill leaves the files, with a log, and as a stop in order leaves them.
    cluster.kill_master();
    let killed = files_below(&cluster.data());
    cluster.start_master();
    cluster.master.as_mut().unwrap().stop();
    let stopped = files_below(&cluster.data());
    let (mut reported, mut harmless, mut wrong) = (0, 0, Vec::new());
    for case in 1..=if soak() { 1_000 } else { 40 } {
        let mut files = if nemesis.random.one_in(2) { killed.clone() } else { stopped.clone() };
        let what = format!("case {case}: {}", spoil(&mut files, &mut nemesis.random));
        let folder = tempfile::Builder::new().prefix("ruche-damage-").tempdir().unwrap();
        let data = folder.path().join("data");
        write_files(&data, &files);
        match revive(&cluster, &data) {
            Err(error) => {
                nemesis.note(&format!("{what}: reported: {}", error.lines().next().unwrap_or_default()));
                reported += 1;
            }
            Ok(revived) => match revived.reader.read(false) {
                Ok(read) if read.rows == truth.rows && read.outputs == truth.outputs => {
                    nemesis.note(&format!("{what}: harmless"));
                    harmless += 1;
                }
                Ok(read) => wrong.push(format!("{what}: {}", difference(&read, &truth))),
                Err(error) => wrong.push(format!("{what}: `check` saw nothing, the reader met: {error}")),
            },
        }
    }
    nemesis.note(&format!("{reported} reported, {harmless} harmless, {} wrong", wrong.len()));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(reported > 0, "no damage was met");
}
