//! Input files that are placed, results that are collected, and leftovers that nobody else reads.

use crate::kit::{Kit, Ran, command, is_root, shell};
use common::{
    collected::{HEAD_LENGTH_BYTES, Head},
    escape::RawText,
    id::{AttemptKey, Digest},
    message::Stream,
    outcome::Outcome,
    program::{InputFile, ProgramSpec},
    units::ByteSize,
};
use slave::executor::{ExecutorEvent, Stop};
use std::{fs, path::Path};

/// Puts a file where the slave keeps those that it has fetched.
fn keep(kit: &Kit, name: &str, content: &[u8], executable: bool) -> InputFile {
    let digest = Digest(*blake3::hash(content).as_bytes());
    let folder = slave::files::folder(&kit.data);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join(digest.to_string()), content).unwrap();
    InputFile { name: RawText::from(name), digest, size: ByteSize(content.len() as u64), executable }
}

fn with_inputs(script: &str, inputs: &[InputFile]) -> ProgramSpec {
    let mut spec = shell(script);
    spec.inputs = inputs.to_vec();
    spec
}

fn collecting(script: &str, patterns: &[&str]) -> ProgramSpec {
    let mut spec = shell(script);
    spec.collect = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    spec
}

/// What a program brought back.
fn collected(kit: &mut Kit, key: AttemptKey) -> (Head, Vec<u8>) {
    let bytes = kit.executor().outputs().read(key, Stream::Files, 0, usize::MAX).unwrap();
    if bytes.is_empty() {
        return (Head::default(), bytes);
    }
    let end = HEAD_LENGTH_BYTES + Head::length(bytes[..HEAD_LENGTH_BYTES].try_into().unwrap()).unwrap();
    (Head::decode(&bytes[HEAD_LENGTH_BYTES..end]).unwrap(), bytes[end..].to_vec())
}

#[test]
fn e5_input_files_belong_to_the_program_and_are_there_when_it_starts() {
    let mut kit = Kit::new();
    let large: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    let inputs = [
        keep(&kit, "data", &large, false),
        keep(&kit, "tool", b"#!/bin/sh\necho ran\n", true),
        keep(&kit, "odd \x1b name", b"odd", false),
    ];
    let script = "stat -c '%a %u' data; test $(id -u) = $(stat -c %u tool) && ./tool; wc -c < data; cat odd*; rm data";
    let Ran { output, end, .. } = kit.run(with_inputs(script, &inputs));
    assert_eq!(end.outcome, Outcome::Exited { code: 0 });
    let text = String::from_utf8(output).unwrap();
    let mut lines = text.lines();
    assert!(lines.next().unwrap().starts_with("644 "), "{text}");
    assert_eq!(lines.collect::<Vec<_>>(), ["ran", "5000000", "odd"]);
    // What is kept is as it was.
    assert!(fs::read(slave::files::folder(&kit.data).join(inputs[0].digest.to_string())).unwrap() == large);
}

#[test]
fn s3_a_file_that_was_changed_on_the_slaves_disk_never_reaches_a_program() {
    let mut kit = Kit::new();
    let input = keep(&kit, "data", b"good", false);
    fs::write(slave::files::folder(&kit.data).join(input.digest.to_string()), b"evil").unwrap();
    let Ran { output, end, .. } = kit.run(with_inputs("cat data", std::slice::from_ref(&input)));
    assert_eq!(output, b"");
    let Outcome::Lost { detail } = end.outcome else { panic!("{:?}", end.outcome) };
    assert!(detail.contains("`data`") && detail.contains("damaged"), "{detail}");
    assert_eq!(kit.executor().damaged_inputs(), [input.digest]);
    assert_eq!(kit.run(shell("ls")).output, b"", "nothing is left of it");
}

#[test]
fn e5_a_program_that_is_cancelled_while_its_files_are_placed_never_runs() {
    let mut kit = Kit::new();
    let input = keep(&kit, "data", &vec![7; 100_000_000], false);
    let key = kit.start(with_inputs("echo ran", &[input]));
    kit.stop(key, Stop::Cancelled { by: "ann".into() });
    let end = kit.end_of(key);
    assert_eq!(end.outcome, Outcome::Cancelled { by: "ann".into() });
    assert_eq!(kit.executor().outputs().end(key, Stream::Stdout), 0);
    assert_eq!(kit.run(shell("echo next")).output, b"next\n");
}

#[test]
fn e5_the_agent_goes_on_with_others_while_files_are_placed_and_collected() {
    let mut kit = Kit::new();
    let input = keep(&kit, "data", &vec![7; 300_000_000], false);
    let mut spec = with_inputs("mv data back", &[input]);
    spec.collect = vec!["back".into()];
    let slow = kit.start(spec);
    let mut others = 0;
    let mut quick = kit.start(command("true", &[]));
    let mut end = None;
    kit.until("the large one ended", |executor, event| {
        if let ExecutorEvent::Ended(ended) = event {
            if ended.key == slow {
                end = Some(ended.outcome.clone());
            } else if ended.key == quick {
                others += 1;
                quick = AttemptKey { program: common::ProgramId(uuid::Uuid::now_v7()), attempt: 1 };
                let assignment = common::message::Assignment {
                    key: quick,
                    spec: std::sync::Arc::new(command("true", &[])),
                    index: 0,
                    fence: 1,
                };
                executor.start(assignment, crate::kit::now());
            }
        }
        end.is_some()
    });
    assert_eq!(end, Some(Outcome::Exited { code: 0 }));
    assert!(others > 5, "{others} others ended meanwhile");
    let (head, content) = collected(&mut kit, slow);
    assert_eq!((head.files.len(), content.len()), (1, 300_000_000));
}

#[test]
fn e5_files_come_back_however_the_program_ended() {
    let mut kit = Kit::new();
    let script = "echo one > a; mkdir b; echo two > b/c; echo three > b/d; ";
    for (end, outcome) in [("exit 3", Outcome::Exited { code: 3 }), ("kill -9 $$", Outcome::Signalled { signal: 9 })] {
        let key = kit.start(collecting(&format!("{script}{end}"), &["a", "b/**"]));
        assert_eq!(kit.end_of(key).outcome, outcome);
        let (mut head, content) = collected(&mut kit, key);
        head.files.sort_by(|one, other| one.path.cmp(&other.path));
        let names: Vec<String> = head.files.iter().map(|file| file.path.to_string()).collect();
        assert_eq!(names, ["a", "b/c", "b/d"]);
        assert_eq!(content.len(), 4 + 4 + 6);
        kit.executor().outputs().remove(key);
    }
    let key = kit.start(collecting("true", &["a"]));
    kit.end_of(key);
    assert_eq!(collected(&mut kit, key).0, Head::default());
    // A program that nobody wants any more brings nothing.
    let key = kit.start(collecting("echo x > a; echo ready; sleep 100", &["a"]));
    kit.until("it is ready", |_, event| matches!(event, ExecutorEvent::Output { .. }));
    kit.stop(key, Stop::Discarded);
    kit.end_of(key);
    assert_eq!(collected(&mut kit, key).0, Head::default());
}

#[test]
fn i9_only_files_of_the_program_come_back() {
    if !is_root() {
        return eprintln!("not exercised: programs have no users of their own here");
    }
    let mut kit = Kit::new();
    let key = kit.start(collecting("echo mine > mine; ln mine other; echo x > alone; pwd", &["*"]));
    kit.end_of(key);
    let (head, _) = collected(&mut kit, key);
    assert_eq!(head.files.iter().map(|file| file.path.to_string()).collect::<Vec<_>>(), ["alone"]);
    assert_eq!(head.left_out.len(), 2, "{:?}", head.left_out);
}

#[test]
fn i6_leftovers_are_out_of_reach_before_the_next_program_starts() {
    let mut kit = Kit::new();
    let first = kit.run(shell("mkdir d; echo secret > d/s; for n in $(seq 3000); do : > d/$n; done; pwd"));
    let folder = String::from_utf8(first.output).unwrap();
    let folder = Path::new(folder.trim());
    assert!(!folder.exists(), "it is not where the next program could look");
    let trash = kit.work.join("trash");
    let mode = fs::metadata(&trash).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o700);
    if is_root() {
        let look = format!("ls {0} 2>/dev/null | wc -l; cat {0}/*/d/s 2>/dev/null", trash.display());
        assert_eq!(kit.run(shell(&look)).output, b"0\n");
    }
}

#[test]
fn i11_whatever_a_program_leaves_is_removed() {
    let mut kit = Kit::new();
    let depth = 10_000;
    let perl = format!("mkdir('d'), chdir('d') || die $! for 1..{depth}; open(F, '>', 'f');");
    let script = format!(
        "perl -e \"{perl}\"; mkdir shut; mkdir shut/in; echo x > shut/in/f; chmod 000 shut/in shut; chmod 000 d; \
         mkfifo p; ln -s / l; for n in $(seq 20000); do : > $n; done; chmod 000 ."
    );
    let ran = kit.run(shell(&script));
    assert_eq!(ran.end.outcome, Outcome::Exited { code: 0 }, "{}", String::from_utf8_lossy(&ran.error));
    let trash = kit.work.join("trash");
    crate::kit::wait_until("all is gone", || fs::read_dir(&trash).unwrap().next().is_none());
    assert!(Path::new("/usr").exists());
}
