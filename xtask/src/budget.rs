//! The instruction budget: how many instructions a program costs the master and a slave, counted by callgrind.
//!
//! Instructions do not depend on what else the machine does, so a loss of a few in a hundred is found at once, where
//! seconds would say nothing. Two runs with one and with two lots of programs are counted: what the second lot cost is
//! the price of its programs, without the start of the process.

use crate::workspace::{binaries, command, output, root, run as run_command};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::{fs, path::Path};

/// Where the budget is recorded.
const PATH: &str = "tests/data/instructions.json";
/// Programs of one lot. Enough that pages of the store fill up and split as they do in a long run.
const PROGRAMS: u64 = 400;
/// How far from the budget is no news: hashing with a new seed in each run, and the variants of copying that the C
/// library picks by processor, move the figure by less than half of it.
const TOLERANCE_PERCENT: f64 = 3.0;
/// What is counted; `ruche-budget` knows each by this name.
const ENDS: [&str; 2] = ["master", "slave"];

/// The verdict on one figure.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Within(String),
    Less(String),
    More(String),
}

/// Counts, and holds the figures against the recorded ones; or records them.
///
/// # Errors
/// When a program costs more than it may, or it cannot be counted.
pub fn run(bless: bool) -> anyhow::Result<()> {
    let tool = "valgrind, which counts the instructions, does not run here; `scripts/setup test` installs it";
    output(&mut command(&["valgrind", "--version"])).context(tool)?;
    let (target, toolchain) = compiler()?;
    let build =
        ["cargo", "build", "--locked", "--profile", "ci-release", "--package", "tests", "--bin", "ruche-budget"];
    run_command(&mut command(&build))?;
    let program = binaries("ci-release").join("ruche-budget");
    let mut recorded = read()?;
    if bless {
        let mut figures = json!({ "toolchain": toolchain });
        for end in ENDS {
            figures[end] = each(&program, end)?.into();
            println!("{end}: {} instructions a program, recorded", figures[end]);
        }
        recorded["targets"][&target] = figures;
        recorded["programs"] = PROGRAMS.into();
        return fs::write(root().join(PATH), format!("{recorded:#}\n")).context("the budget cannot be written");
    }
    let figures = &recorded["targets"][&target];
    if figures.is_null() {
        bail!("{PATH} has no budget for {target}; record one with `cargo xtask budget --bless`");
    }
    let other = figures["toolchain"].as_str().filter(|other| *other != toolchain);
    let note = other.map(|other| format!(" (recorded with {other}, this is {toolchain})")).unwrap_or_default();
    let mut over = Vec::new();
    for end in ENDS {
        let budget = figures[end].as_u64().with_context(|| format!("{PATH} has no number for {end}"))?;
        match judge(end, budget, each(&program, end)?) {
            Verdict::Within(text) | Verdict::Less(text) => println!("{text}{note}"),
            Verdict::More(text) => over.push(format!("{text}{note}")),
        }
    }
    if !over.is_empty() {
        bail!("{}", over.join("; "));
    }
    Ok(())
}

fn judge(end: &str, budget: u64, measured: u64) -> Verdict {
    #[expect(clippy::cast_precision_loss, reason = "hundred thousands")]
    let percent = 100.0 * (measured as f64 / budget as f64 - 1.0);
    let told = format!("{end}: {measured} instructions a program, {percent:+.1} % of the budget of {budget}");
    if percent > TOLERANCE_PERCENT {
        let what = "find what costs them, or, if it is worth it, record them with `cargo xtask budget --bless`";
        Verdict::More(format!("{told}, and {TOLERANCE_PERCENT} % is the most: {what}"))
    } else if percent < -TOLERANCE_PERCENT {
        Verdict::Less(format!(
            "{told}: record the gain with `cargo xtask budget --bless`, so that it is not lost again"
        ))
    } else {
        Verdict::Within(told)
    }
}

/// Instructions of one program: what a second lot costs.
fn each(program: &Path, end: &str) -> anyhow::Result<u64> {
    let (one, two) = (count(program, end, PROGRAMS)?, count(program, end, 2 * PROGRAMS)?);
    let more = two.checked_sub(one).with_context(|| format!("{end}: the second lot cost nothing"))?;
    Ok(more / PROGRAMS)
}

fn count(program: &Path, end: &str, programs: u64) -> anyhow::Result<u64> {
    let path = program.to_str().context("the target folder's name is not text")?;
    let mut valgrind = command(&["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", path, end]);
    let output = valgrind.arg(programs.to_string()).output().context("cannot start valgrind")?;
    let told = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("valgrind ended with {}: {}", output.status, told.trim());
    }
    collected(&told).with_context(|| format!("valgrind told no count: {}", told.trim()))
}

/// The count in what callgrind says at its end.
fn collected(told: &str) -> Option<u64> {
    let line = told.lines().find_map(|line| line.split_once("Collected :"))?;
    line.1.trim().parse().ok()
}

/// Target and release of the compiler that builds.
fn compiler() -> anyhow::Result<(String, String)> {
    let told = output(&mut command(&["rustc", "-vV"]))?;
    let field = |name: &str| told.lines().find_map(|line| line.strip_prefix(name)).map(|text| text.trim().to_owned());
    let target = field("host:").context("rustc tells no host")?;
    let release = field("release:").context("rustc tells no release")?;
    Ok((target, format!("rustc {release}")))
}

fn read() -> anyhow::Result<Value> {
    let path = root().join(PATH);
    if !path.exists() {
        return Ok(json!({ "programs": PROGRAMS, "targets": {} }));
    }
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {PATH}"))?;
    serde_json::from_str(&text).with_context(|| format!("{PATH} is no JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_tolerance_fails_and_less_asks_to_be_recorded() {
        let kind = |measured| match judge("master", 100_000, measured) {
            Verdict::Within(_) => "within",
            Verdict::Less(text) if text.contains("--bless") => "less",
            Verdict::More(text) if text.contains("--bless") && text.contains('+') => "more",
            Verdict::Less(text) | Verdict::More(text) => panic!("it does not say what to do: {text}"),
        };
        let rows = [
            (100_000, "within"),
            (102_900, "within"),
            (103_100, "more"),
            (200_000, "more"),
            (97_100, "within"),
            (96_900, "less"),
        ];
        for (measured, expected) in rows {
            assert_eq!(kind(measured), expected, "{measured}");
        }
    }

    #[test]
    fn the_count_is_found_in_what_callgrind_says() {
        let told = "==7== Events    : Ir\n==7== Collected : 123456\n==7==\n==7== I   refs:      123,456\n";
        assert_eq!(collected(told), Some(123_456));
        assert_eq!(collected("==7== Fatal error"), None);
    }

    #[test]
    fn what_is_recorded_can_be_read() {
        let recorded = read().expect("it is JSON");
        for (target, figures) in recorded["targets"].as_object().expect("there are targets") {
            for end in ENDS {
                assert!(figures[end].as_u64().is_some_and(|count| count > 0), "{target}: {end}");
            }
        }
    }
}
