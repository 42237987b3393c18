//! Scale and overload: thousands of slaves that only pretend, floods of submits, readers that do not read.
//!
//! Everything runs against a real master in a process of its own, over TLS on the loopback. Each scenario checks
//! counts, states and bounds of memory by itself and gives figures; `ruche-load` prints them with full counts,
//! the tests run the same scenarios scaled down. How long something took is a figure, never a condition.

#![expect(clippy::print_stdout, reason = "figures are printed as they come")]

pub mod consumers;
pub mod crowd;
pub mod fairness;
pub mod figures;
pub mod logins;
pub mod overload;
pub mod queue;
pub mod relay;
pub mod storm;
pub mod throughput;
pub mod user;
pub mod world;

pub use figures::Figure;
pub use user::User;
pub use world::World;

use std::time::Duration;

/// How much of everything a scenario takes.
#[derive(Clone, Debug)]
pub struct Scale {
    /// Whether these are the counts of the catalogue of checks.
    pub full: bool,
    /// Slaves that connect at once (L2 to L4).
    pub slaves: usize,
    /// Tiny programs (L1).
    pub programs: usize,
    /// Programs that wait (L5).
    pub waiting: usize,
    /// How long nothing but heartbeats happens (L3).
    pub idle: Duration,
    /// How long more is asked than can be done (L8).
    pub overload: Duration,
}

impl Scale {
    /// The counts of the catalogue, with shorter times; the soak has the whole ones.
    #[must_use]
    pub const fn full() -> Self {
        Self {
            full: true,
            slaves: 2_000,
            programs: 100_000,
            waiting: 1_000_000,
            idle: Duration::from_secs(60),
            overload: Duration::from_secs(30),
        }
    }

    /// What a run of all tests can bear on two processors without optimisation.
    #[must_use]
    pub const fn small() -> Self {
        Self {
            full: false,
            slaves: 60,
            programs: 2_000,
            waiting: 20_000,
            idle: Duration::from_secs(16),
            overload: Duration::from_secs(2),
        }
    }

    /// Full counts and times in a soak, else the small ones.
    #[must_use]
    pub fn of_tests() -> Self {
        if crate::soak() {
            Self { idle: Duration::from_secs(1_800), overload: Duration::from_secs(300), ..Self::full() }
        } else {
            Self::small()
        }
    }

    /// The first in a full run, the second else.
    #[must_use]
    pub const fn pick(&self, full: usize, small: usize) -> usize {
        if self.full { full } else { small }
    }
}

/// A scenario: what it is called and what runs it.
pub type Scenario = (&'static str, &'static str, fn(&Scale) -> Vec<Figure>);

/// Every scenario, by the name of its check.
pub const SCENARIOS: [Scenario; 10] = [
    ("l01", "tiny programs over twenty slaves", throughput::l01_throughput),
    ("l02", "many slaves, at rest, and after a crash of the master (with L3 and L4)", crowd::l02_l03_l04_many_slaves),
    ("l05", "a million waiting programs", queue::l05_queue_depth),
    ("l06", "a reader that is slow", consumers::l06_slow_reader),
    ("l07", "a reader that is stopped", consumers::l07_stopped_reader),
    ("l08", "more submits than can be taken", overload::l08_overload),
    ("l09", "turns between users", fairness::l09_fairness),
    ("l10", "a storm of output", storm::l10_output_storm),
    ("l10r", "limits of output on a slave that runs real programs", storm::l10_real_caps),
    ("l14", "a storm of logins", logins::l14_login_storm),
];

/// Runs a scenario and prints its figures.
///
/// # Panics
/// When something does not hold.
pub fn run(scenario: &Scenario, scale: &Scale) -> Vec<Figure> {
    let (name, what, run) = scenario;
    println!("{name}: {what}");
    let figures = run(scale);
    for figure in &figures {
        println!("{figure}");
    }
    figures
}
