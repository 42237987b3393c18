//! Very many programs that do nothing: at the plain level, shut in, and without a loader.

use super::{
    Figure, Goal, Plan, Unit, bodies,
    local::{Pool, Threads},
    session::Bench,
};
use std::path::{Path, PathBuf};

/// Rates of one figure, a value a round.
#[derive(Default)]
struct Rates {
    local: Vec<f64>,
    ruche: Vec<f64>,
    ratio: Vec<f64>,
    threads: Vec<f64>,
    of_threads: Vec<f64>,
}

impl Rates {
    fn add(&mut self, ruche: f64, [before, after]: [Local; 2]) {
        let (local, threads) =
            (f64::midpoint(before.processes, after.processes), f64::midpoint(before.threads, after.threads));
        self.local.push(local);
        self.ruche.push(ruche);
        self.ratio.push(ruche / local);
        self.threads.push(threads);
        self.of_threads.push(ruche / threads);
    }

    /// The same against one process with two threads, which the goal was set against, and against two processes.
    fn figures(self, names: [&'static str; 2], what: &str, goal: Goal) -> [Figure; 2] {
        let against = |opponent: &str| format!("{what}, against local: {opponent}");
        let threads = Figure::new(names[0], against("one process, two threads"), Unit::Times, goal, self.of_threads);
        let processes = Figure::plain(names[1], against("two processes"), Unit::Times, self.ratio);
        [
            threads.of("ruche_per_s", &self.ruche).of("local_per_s", &self.threads),
            processes.of("ruche_per_s", &self.ruche).of("local_per_s", &self.local),
        ]
    }
}

/// What the machine itself reaches.
#[derive(Clone, Copy)]
struct Local {
    threads: f64,
    processes: f64,
}

/// One slave with two slots, history synced, against the machine itself with two at once.
///
/// # Panics
/// When a program does not end well.
#[must_use]
pub fn measure(plan: &Plan) -> Vec<Figure> {
    let usual = PathBuf::from("/bin/true");
    let mut plain = Bench::new("plain").warm(&usual);
    let mut isolated = Bench::new("strongest").warm(&usual);
    let bodies = [bodies::nothing(&plain.cluster), bodies::nothing(&isolated.cluster)];
    let (with_loader, with_loader_isolated) = compare(plan, [&mut plain, &mut isolated], [&usual, &usual]);
    let (bare, bare_isolated) = compare(plan, [&mut plain, &mut isolated], [&bodies[0], &bodies[1]]);
    let what = |program: &str, level: &str| format!("{} × {program}, {level}", plan.programs);
    [
        with_loader.figures(
            ["throughput-plain", "throughput-plain-processes"],
            &what("/bin/true", "plain"),
            Goal::AtLeast(0.90),
        ),
        with_loader_isolated.figures(
            ["throughput-isolated", "throughput-isolated-processes"],
            &what("/bin/true", "fully isolated"),
            Goal::AtLeast(0.50),
        ),
        bare.figures(
            ["throughput-static", "throughput-static-processes"],
            &what("static program without libc", "plain"),
            Goal::AtLeast(0.60),
        ),
        bare_isolated.figures(
            ["throughput-static-isolated", "throughput-static-isolated-processes"],
            &what("static program without libc", "fully isolated"),
            Goal::None,
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The machine itself before, between and after.
fn compare(plan: &Plan, benches: [&mut Bench; 2], programs: [&Path; 2]) -> (Rates, Rates) {
    let (mut pool, mut threads) = (Pool::start(programs[0]), Threads::start(programs[0]));
    let mut rates = (Rates::default(), Rates::default());
    let [plain, isolated] = benches;
    let mut local = |programs: usize| Local { processes: pool.rate(programs / 2), threads: threads.rate(programs / 2) };
    local(plan.programs / 5);
    plain.run_many(programs[0], plan.programs / 10);
    isolated.run_many(programs[1], plan.programs / 10);
    for _ in 0..plan.rounds {
        let first = local(plan.programs / 2);
        let without = plain.run_many(programs[0], plan.programs);
        let second = local(plan.programs / 2);
        let within = isolated.run_many(programs[1], plan.programs);
        let third = local(plan.programs / 2);
        rates.0.add(without, [first, second]);
        rates.1.add(within, [second, third]);
    }
    rates
}
