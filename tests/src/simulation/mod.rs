//! The deterministic simulation: the real cores of master and slave and the real store, in one thread, under a
//! network, disks, clocks and processes that fail as a seed says. What is acknowledged is held against what
//! really happened.
//!
//! One seed is one run. A failed one is run again with its trace, and printed with all that is needed to repeat
//! it.

mod audit;
mod client;
mod clock;
mod context;
mod fault;
mod history;
mod journal;
mod keeper;
mod machine;
mod master;
mod network;
mod process;
mod program;
mod rng;
mod slave;
mod witness;
mod world;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::Command,
};
use world::World;

/// Faults that are planted into the simulated shells around the cores, to prove that the checker finds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The master speaks before its records are synced.
    AckBeforeCommit,
    /// The master calls a batch synced that is not.
    SkipSync,
    /// The slave forgets a result that nobody has acknowledged.
    DropResult,
    /// The master takes a report of an old attempt for one of the newest.
    StaleFence,
    /// The master gives up a slave's programs before the slave has ended them.
    RerunEarly,
    /// The slave leaves out the last part of an output.
    SwallowTail,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::AckBeforeCommit,
        Self::SkipSync,
        Self::DropResult,
        Self::StaleFence,
        Self::RerunEarly,
        Self::SwallowTail,
    ];
}

/// What a run that is right tells of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The same for the same seed.
    pub hash: u64,
    /// Submitted programs, and those whose submit was acknowledged.
    pub submitted: u64,
    /// Acknowledged programs.
    pub acknowledged: u64,
    /// Programs whose submit was never answered and that are in the history all the same.
    pub recovered: u64,
    /// Starts of programs.
    pub starts: u64,
    /// Starts after the first of a program.
    pub reruns: u64,
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that were refused by name.
    pub refused: u64,
    /// Requests that got no answer.
    pub unanswered: u64,
}

/// A run that broke the contract.
#[derive(Debug)]
pub struct Failure {
    /// The seed that makes it happen again.
    pub seed: u64,
    /// What is wrong.
    pub what: String,
    faults: Vec<String>,
    trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} at commit {}: {}", self.seed, commit(), self.what)?;
        writeln!(f, "faults:")?;
        for fault in &self.faults {
            writeln!(f, "  {fault}")?;
        }
        writeln!(f, "the last of what happened:")?;
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        write!(f, "again: RUCHE_SIMULATION_SEED={} cargo test -p tests --test simulation one_seed", self.seed)
    }
}

/// The commit that the tests are built from, as far as it is known.
fn commit() -> String {
    let folder = env!("CARGO_MANIFEST_DIR");
    let asked = Command::new("git").args(["-C", folder, "describe", "--always", "--dirty"]).output();
    match asked {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Ok(_) | Err(_) => "unknown".to_owned(),
    }
}

/// Where data folders are: in memory, where there is a place for that, as nothing of a run needs a disk.
fn folder() -> Result<tempfile::TempDir, String> {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.map_err(|error| format!("there is no temporary folder: {error}"))
}

struct Run {
    result: Result<(), String>,
    told: Told,
    faults: Vec<String>,
    trace: Vec<String>,
}

fn run_once(seed: u64, bug: Option<Bug>, tell: bool) -> Run {
    let failed = |what: String| Run { result: Err(what), told: Told::default(), faults: Vec::new(), trace: Vec::new() };
    let data = match folder() {
        Ok(data) => data,
        Err(error) => return failed(error),
    };
    let mut world = match World::new(seed, bug, tell, data.path()) {
        Ok(world) => world,
        Err(error) => return failed(error),
    };
    let result = catch_unwind(AssertUnwindSafe(|| world.run())).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("a core panicked: {}", text.unwrap_or_default()))
    });
    let history = &world.ctx.history;
    let told = Told {
        hash: world.ctx.hash(),
        submitted: history.submits.len() as u64,
        acknowledged: history.acknowledged().count() as u64,
        recovered: history.recovered,
        starts: world.ctx.witness.starts,
        reruns: world.ctx.witness.reruns,
        answered: history.answered,
        refused: history.refused,
        unanswered: history.unanswered,
    };
    let at = |planned: &fault::Planned| format!("{:>10.3} s {:?}", planned.at as f64 / 1e6, planned.fault);
    let faults = world.faults.iter().map(at).collect();
    Run { result, told, faults, trace: world.ctx.take_trace() }
}

/// Runs one seed, with a planted bug or without.
///
/// # Errors
/// When the contract was broken, with everything that is needed to find out why.
pub fn run(seed: u64, bug: Option<Bug>) -> Result<Told, Box<Failure>> {
    let first = run_once(seed, bug, false);
    match first.result {
        Ok(()) => Ok(first.told),
        Err(what) if bug.is_some() => Err(Box::new(Failure { seed, what, faults: first.faults, trace: Vec::new() })),
        Err(_) => {
            let again = run_once(seed, bug, true);
            let what = again.result.err().unwrap_or_else(|| "it fails only now and then".to_owned());
            Err(Box::new(Failure { seed, what, faults: again.faults, trace: again.trace }))
        }
    }
}
