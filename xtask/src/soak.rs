//! The whole-system tests with full counts, part by part and seed after seed, to find what fails seldom.

use crate::{
    fuzz,
    guest::{self, Ran},
    mutants,
    workspace::{command, run as run_command},
};
use anyhow::bail;
use std::time::{Duration, Instant};

/// A test target of the package `tests` and the tests in it that one part runs.
struct Part {
    what: &'static str,
    target: &'static str,
    filter: &'static str,
}

const fn part(what: &'static str, target: &'static str, filter: &'static str) -> Part {
    Part { what, target, filter }
}

/// The most telling ones first: a short soak runs only these.
const PARTS: [Part; 27] = [
    part("F1 master killed 200 times under load", "nemesis", "f01"),
    part("F1–F18 simulation, a seed after the other", "simulation", ""),
    part("F2, F3 loss of power, 1,000 prefixes", "storage", "f02"),
    part("F4 failing syncs and writes, 60 times", "damage", "f04"),
    part("F5 full disk, 10 times", "storage", "f05"),
    part("F6 damaged files, 1,000 cases", "flips", "f06"),
    part("F7 agent killed 100 times", "agents", "f07"),
    part("F8 agent stopped for longer than the lease", "agents", "f08"),
    part("F9 master stopped for longer than the lease, 30 times", "nemesis", "f09"),
    part("F10 host that dies", "partitions", "f10"),
    part("F11 partitions both ways, 60 cuts", "partitions", "f11"),
    part("F12 partitions one way, 60 cuts", "partitions", "f12"),
    part("F13 600 resets", "connections", "f13"),
    part("F14 400 lost answers", "connections", "f14"),
    part("F15 100 jumps of the clock", "clocks", "f15"),
    part("F17 cancels and 60 kills", "nemesis", "f17"),
    part("F18 program that brings down its slave", "agents", "f18"),
    part("F20 second master", "nemesis", "f20"),
    part("F22 backup and restore", "backup", "f22"),
    part("F23 few descriptors", "nemesis", "f23"),
    part("F24 40 graceful stops", "nemesis", "f24"),
    part("L load and overload", "load", ""),
    part("E13 restarts", "faults", ""),
    part("B bad input", "bad_input", ""),
    part("B7–B19 hostile text and sizes", "hostile_text", ""),
    part("B1–B6 hostile peers", "hostile", ""),
    part("I1–I20 hostile programs", "isolation", ""),
];

/// How long each decoder is searched at least.
const FUZZ_LEAST: Duration = Duration::from_secs(10);

/// How one part went.
struct Result {
    what: &'static str,
    rounds: u32,
    failures: u32,
    seconds: u64,
}

/// Runs every part again and again until `minutes` have passed, then the mutation gate if all parts had their turn.
/// A part that was begun comes to its end. Prints a table.
///
/// # Errors
/// When a part failed; the table says which.
pub fn run(minutes: u64) -> anyhow::Result<()> {
    run_command(&mut command(&["cargo", "build", "--locked", "--workspace", "--all-targets"]))?;
    let (start, length) = (Instant::now(), Duration::from_secs(minutes * 60));
    let in_guest = run_guest();
    let mut results: Vec<Result> = Vec::new();
    let mut round = 0_u32;
    while round == 0 || start.elapsed() < length {
        round += 1;
        for (place, part) in PARTS.iter().enumerate() {
            if start.elapsed() >= length && !results.is_empty() {
                break;
            }
            println!("soak: round {round}, {} of {} s: {}", start.elapsed().as_secs(), length.as_secs(), part.what);
            let begun = Instant::now();
            let passed = run_part(part, minutes);
            if results.len() <= place {
                results.push(Result { what: part.what, rounds: 0, failures: 0, seconds: 0 });
            }
            let result = &mut results[place];
            result.rounds += 1;
            result.failures += u32::from(!passed);
            result.seconds += begun.elapsed().as_secs();
        }
    }
    if results.len() == PARTS.len() {
        let begun = Instant::now();
        // A quarter of the time for all targets together.
        let each = (length / 4 / fuzz::TARGETS).max(FUZZ_LEAST);
        let failed = fuzz::run(each, &[]).inspect_err(|error| println!("soak: fuzz: {error:#}")).is_err();
        results.push(Result {
            what: "B5 decoders, by search",
            rounds: 1,
            failures: u32::from(failed),
            seconds: begun.elapsed().as_secs(),
        });
    }
    let gate = (results.len() > PARTS.len()).then(|| {
        let begun = Instant::now();
        let failed = mutants::run(&[]).inspect_err(|error| println!("mutation gate: {error:#}")).is_err();
        Result {
            what: "planted bugs are found",
            rounds: 1,
            failures: u32::from(failed),
            seconds: begun.elapsed().as_secs(),
        }
    });
    results.extend(gate);
    results.push(in_guest);
    print_table(&results);
    let failed: Vec<_> = results.iter().filter(|result| result.failures > 0).map(|result| result.what).collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join("; "));
    }
    Ok(())
}

/// The limits with version 2 of control groups, which the machine of a developer seldom has.
fn run_guest() -> Result {
    let begun = Instant::now();
    let ran = guest::run(&[]).inspect_err(|error| println!("soak: guest: {error:#}"));
    Result {
        what: "I limits by cgroup v2, in a guest",
        rounds: u32::from(!matches!(ran, Ok(Ran::Skipped))),
        failures: u32::from(ran.is_err()),
        seconds: begun.elapsed().as_secs(),
    }
}

fn run_part(part: &Part, minutes: u64) -> bool {
    let mut test = command(&["cargo", "test", "--locked", "-p", "tests", "--quiet", "--test", part.target]);
    test.args(["--", "--nocapture", part.filter]);
    // The simulation takes whatever time it is given: a quarter.
    test.env("RUCHE_SOAK", "1").env("RUCHE_SOAK_MINUTES", (minutes / 4).max(1).to_string());
    run_command(&mut test).inspect_err(|error| println!("soak: {}: {error:#}", part.what)).is_ok()
}

fn print_table(results: &[Result]) {
    println!("\n| part | rounds | seconds | result |\n| --- | --- | --- | --- |");
    for result in results {
        let word = match result.failures {
            0 if result.rounds == 0 => "left out; why is said above".to_owned(),
            0 => "passed".to_owned(),
            failures => format!("**{failures} failed**"),
        };
        println!("| {} | {} | {} | {word} |", result.what, result.rounds, result.seconds);
    }
    for part in PARTS.iter().filter(|part| !results.iter().any(|result| result.what == part.what)) {
        println!("| {} | 0 | 0 | not run: the time was over |", part.what);
    }
}
