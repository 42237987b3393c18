//! Faults against the real programs: clients that work and write down what they saw, what breaks the parts
//! they work with, and the reading in the end that the checker judges.

#![expect(clippy::print_stdout, reason = "a run tells its seed, its schedule and what it found")]

pub mod image;
pub mod link;
pub mod machine;
pub mod network;
pub mod power;
pub mod proxy;
pub mod reading;
pub mod shim;
pub mod single;
pub mod workload;

pub use reading::judge;
pub use workload::{Plan, Workload};

use crate::seed::{Random, seed};
use std::{
    fmt::Write as _,
    fs,
    ops::Range,
    time::{Duration, Instant},
};

/// The chance and the diary of one run. A run that fails prints both and stores them.
pub struct Nemesis {
    name: &'static str,
    seed: u64,
    /// Where this run's chance comes from.
    pub random: Random,
    began: Instant,
    diary: String,
}

impl Nemesis {
    /// The run `name`, with the seed `usual` unless another one is asked for.
    #[must_use]
    pub fn new(name: &'static str, usual: u64) -> Self {
        let seed = seed(usual);
        println!("{name}: seed {seed} (again: RUCHE_SEED={seed})");
        Self { name, seed, random: Random::new(seed), began: Instant::now(), diary: String::new() }
    }

    /// The seed.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Writes down what happens now.
    pub fn note(&mut self, what: &str) {
        let line = format!("{:>7} ms  {what}", self.began.elapsed().as_millis());
        println!("{}: {line}", self.name);
        let _infallible = writeln!(self.diary, "{line}");
    }

    /// Lets a fault last for so long: the fault is the time itself.
    pub fn hold(&self, length: Duration) {
        let until = Instant::now() + length;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            std::thread::park_timeout(left);
        }
    }

    /// The same for a time out of `millis`, by chance.
    pub fn hold_for_some(&mut self, millis: Range<u64>) {
        let length = Duration::from_millis(self.random.within(millis));
        self.hold(length);
    }
}

impl Drop for Nemesis {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let folder = crate::binaries::path("nemesis");
            let file = folder.join(format!("{}-{}.txt", self.name, self.seed));
            drop(fs::create_dir_all(&folder));
            drop(fs::write(&file, format!("RUCHE_SEED={}\n{}", self.seed, self.diary)));
            println!("{}: seed {}, schedule in {}\n{}", self.name, self.seed, file.display(), self.diary);
        }
    }
}
