//! The mutation gate: each patch of `tests/mutations` plants one bug in a copy of the project, and the tests that
//! it names must fail there. A suite that a broken master passes is no evidence for a whole one.

use crate::workspace::{command, output, root, run as run_command};
use anyhow::{Context, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

/// What each patch says of the tests that must fail: `must-fail: TARGET FILTER`.
const MUST_FAIL: &str = "must-fail: ";

/// One planted bug.
struct Mutant {
    name: String,
    patch: PathBuf,
    /// Test target and filter.
    tests: Vec<(String, String)>,
}

/// Applies each patch alone to a copy of the last commit, builds it and runs its tests. Prints a line for each.
/// `only` names the patches that are wanted by a part of their names; none wants all.
///
/// # Errors
/// When a patch does not apply or build any more, and when a test passes that must fail.
pub fn run(only: &[String]) -> anyhow::Result<()> {
    let copy = Copy::new()?;
    let mut failed = Vec::new();
    let wanted = |mutant: &Mutant| only.is_empty() || only.iter().any(|part| mutant.name.contains(part));
    for mutant in mutants()?.into_iter().filter(wanted) {
        let begun = Instant::now();
        let word = match copy.try_mutant(&mutant) {
            Ok(escaped) if escaped.is_empty() => "✓ found".to_owned(),
            Ok(escaped) => format!("✗ NOT FOUND by {}:", escaped.join(", ")),
            Err(error) => format!("✗ not tried, {error:#}:"),
        };
        println!("{word} {} ({} s)", mutant.name, begun.elapsed().as_secs());
        if !word.starts_with('✓') {
            failed.push(mutant.name);
        }
    }
    if !failed.is_empty() {
        bail!("these planted bugs were not found: {}", failed.join(", "));
    }
    Ok(())
}

fn mutants() -> anyhow::Result<Vec<Mutant>> {
    let folder = root().join("tests/mutations");
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let patch = entry?.path();
        if patch.extension().is_none_or(|extension| extension != "patch") {
            continue;
        }
        let text = fs::read_to_string(&patch)?;
        let name = patch.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let tests: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix(MUST_FAIL)?.split_once(' '))
            .map(|(target, filter)| (target.to_owned(), filter.to_owned()))
            .collect();
        if tests.is_empty() {
            bail!("{name}: names no test that must fail");
        }
        found.push(Mutant { name, patch, tests });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The last commit in a folder of its own, with build products of its own.
struct Copy {
    tree: PathBuf,
    target: PathBuf,
}

impl Copy {
    fn new() -> anyhow::Result<Self> {
        let base = root().join("target/mutants");
        let (tree, target) = (base.join("tree"), base.join("target"));
        fs::create_dir_all(&base)?;
        if tree.exists() {
            fs::remove_dir_all(&tree)?;
        }
        fs::create_dir_all(&tree)?;
        let archive = base.join("tree.tar");
        run_command(command(&["git", "archive", "--format=tar", "-o"]).arg(&archive).arg("HEAD"))?;
        run_command(command(&["tar", "-xf"]).arg(&archive).arg("-C").arg(&tree))?;
        fs::remove_file(archive)?;
        Ok(Self { tree, target })
    }

    /// Tests that pass though they must fail.
    fn try_mutant(&self, mutant: &Mutant) -> anyhow::Result<Vec<String>> {
        self.patch(&mutant.patch, false).context("the patch does not apply any more: make it anew")?;
        let tried = self.try_patched(mutant);
        self.patch(&mutant.patch, true)?;
        tried
    }

    fn try_patched(&self, mutant: &Mutant) -> anyhow::Result<Vec<String>> {
        let programs = ["-p", "master", "-p", "slave", "-p", "client-cli", "-p", "tests", "--bins"];
        run_command(self.cargo("build").args(programs)).context("it does not build")?;
        let mut escaped = Vec::new();
        for (target, filter) in &mutant.tests {
            run_command(self.cargo("test").args(["-p", "tests", "--no-run", "--test", target]))?;
            println!("mutant {}: {target} {filter}", mutant.name);
            let mut test = self.cargo("test");
            test.args(["-p", "tests", "--test", target, filter]);
            // What it says is of interest only when it is wrong, and then it says too little.
            let result = test.env("RUCHE_BINARIES", self.target.join("debug")).output()?;
            let text = String::from_utf8_lossy(&result.stdout);
            if result.status.success() {
                escaped.push(format!("{target} {filter}"));
            } else if text.contains("running 0 tests") || !text.contains("FAILED") {
                bail!("{target} {filter} did not run:\n{text}{}", String::from_utf8_lossy(&result.stderr));
            }
        }
        Ok(escaped)
    }

    fn cargo(&self, word: &str) -> Command {
        let mut cargo = command(&["cargo", word, "--quiet", "--locked"]);
        cargo.current_dir(&self.tree).env("CARGO_TARGET_DIR", &self.target).env_remove("RUCHE_SOAK");
        cargo
    }

    fn patch(&self, patch: &Path, back: bool) -> anyhow::Result<()> {
        let mut apply = command(&["git", "apply"]);
        // As a plain folder: the copy lies below the project, and is no part of it.
        apply.current_dir(&self.tree).env("GIT_CEILING_DIRECTORIES", self.tree.parent().unwrap_or(&self.tree));
        if back {
            apply.arg("--reverse");
        }
        output(apply.arg(patch)).map(drop)
    }
}
