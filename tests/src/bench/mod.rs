//! `make bench`: how near Ruche comes to what this machine can do by itself.
//!
//! Everything runs through the real programs with default durability. The machine's speed drifts, so nothing is
//! told in seconds alone: each figure is a ratio to, or a difference from, what was measured beside it in the same
//! round. Ruche and its opponent take turns, and a figure is the median over the rounds with its spread.

#![expect(clippy::print_stdout, reason = "a table is printed as it comes")]

pub mod bodies;
pub mod bulk;
pub mod command_line;
pub mod compare;
pub mod figure;
pub mod heap;
pub mod idle;
pub mod local;
pub mod machine;
pub mod output;
pub mod peers;
pub mod raw_tls;
pub mod scale;
pub mod session;
pub mod single;
pub mod stats;
pub mod sync;
pub mod throughput;
pub mod usage;

pub use figure::{Figure, Goal, Unit};

use std::{
    panic::catch_unwind,
    time::{Duration, Instant},
};

/// Programs that run at once, here as on the slave.
pub const SLOTS: usize = 2;

/// How much of everything is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Rounds in which Ruche and its opponent take turns.
    pub rounds: usize,
    /// Programs of one round of throughput.
    pub programs: usize,
    /// Programs one at a time in one round.
    pub singles: usize,
    /// Whole commands in one round.
    pub commands: usize,
    /// Bytes of one program's output.
    pub output: u64,
    /// Programs that wait.
    pub waiting: usize,
    /// Programs submitted one by one, pipelined, in a round.
    pub pipelined: usize,
    /// Connected slaves, a few at first.
    pub slaves: Vec<usize>,
    /// Watching clients beside them.
    pub watchers: usize,
    /// How long nothing happens.
    pub rest: Duration,
    /// Whether the counts are too small for a verdict.
    pub quick: bool,
}

impl Plan {
    /// The counts of the goals.
    #[must_use]
    pub fn full() -> Self {
        Self {
            rounds: 5,
            programs: 10_000,
            singles: 300,
            commands: 100,
            output: 1 << 30,
            waiting: 1_000_000,
            pipelined: 200_000,
            slaves: vec![100, 1_000, 10_000],
            watchers: 100,
            rest: Duration::from_secs(20),
            quick: false,
        }
    }

    /// Everything once or twice and little of it, to see that it works.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            rounds: 2,
            programs: 2_000,
            singles: 100,
            commands: 30,
            output: 64 << 20,
            waiting: 100_000,
            pipelined: 20_000,
            slaves: vec![20, 100, 500],
            watchers: 10,
            rest: Duration::from_secs(6),
            quick: true,
        }
    }
}

/// A part of the table: its name and what measures it.
pub type Section = (&'static str, fn(&Plan) -> Vec<Figure>);

/// Every part, in the order of the table.
pub const SECTIONS: [Section; 10] = [
    ("throughput", throughput::measure),
    ("single", single::measure),
    ("command", command_line::measure),
    ("output", output::measure),
    ("bulk", bulk::measure),
    ("scale", scale::measure),
    ("idle", idle::measure),
    ("heap", heap::measure),
    ("sync", sync::measure),
    ("peers", peers::measure),
];

/// Measures the sections with these names, or all when none is named, and prints each as it comes. One that fails does
/// not take the others with it: the second value names it.
#[must_use]
pub fn run(plan: &Plan, only: &[String]) -> (Vec<Figure>, Vec<&'static str>) {
    let (mut figures, mut failed) = (Vec::new(), Vec::new());
    for (name, measure) in SECTIONS {
        if !only.is_empty() && !only.iter().any(|other| other == name) {
            continue;
        }
        let begun = Instant::now();
        let Ok(measured) = catch_unwind(|| measure(plan)) else {
            println!("\n{name} could not be measured");
            failed.push(name);
            continue;
        };
        println!("\n{name} ({:.0} s)", begun.elapsed().as_secs_f64());
        for figure in &measured {
            println!("  {figure}");
        }
        figures.extend(measured);
    }
    (figures, failed)
}

/// How many a second.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts of at most millions")]
pub fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
