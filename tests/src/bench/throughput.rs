//! Very many programs that do nothing: at the plain level, shut in, and without a loader.

use super::{Figure, Goal, Plan, Unit, bodies, local::Pool, session::Bench};
use std::path::{Path, PathBuf};

/// Rates of one figure, a value a round.
#[derive(Default)]
struct Rates {
    local: Vec<f64>,
    ruche: Vec<f64>,
    ratio: Vec<f64>,
}

impl Rates {
    fn add(&mut self, ruche: f64, before: f64, after: f64) {
        let local = f64::midpoint(before, after);
        self.local.push(local);
        self.ruche.push(ruche);
        self.ratio.push(ruche / local);
    }

    fn figure(self, name: &'static str, what: String, goal: Goal) -> Figure {
        let figure = Figure::new(name, what, Unit::Times, goal, self.ratio);
        figure.of("ruche_per_s", &self.ruche).of("local_per_s", &self.local)
    }
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
    let what = |program: &str, level: &str| format!("{} × {program}, {level}, against local", plan.programs);
    vec![
        with_loader.figure("throughput-plain", what("/bin/true", "plain"), Goal::AtLeast(0.90)),
        with_loader_isolated.figure("throughput-isolated", what("/bin/true", "fully isolated"), Goal::AtLeast(0.50)),
        bare.figure("throughput-static", what("static program without libc", "plain"), Goal::AtLeast(0.60)),
        bare_isolated.figure(
            "throughput-static-isolated",
            what("static program without libc", "fully isolated"),
            Goal::None,
        ),
    ]
}

/// The machine itself before, between and after.
fn compare(plan: &Plan, benches: [&mut Bench; 2], programs: [&Path; 2]) -> (Rates, Rates) {
    let mut pool = Pool::start(programs[0]);
    let mut rates = (Rates::default(), Rates::default());
    let [plain, isolated] = benches;
    pool.rate(plan.programs / 10);
    plain.run_many(programs[0], plan.programs / 10);
    isolated.run_many(programs[1], plan.programs / 10);
    for _ in 0..plan.rounds {
        let first = pool.rate(plan.programs / 2);
        let without = plain.run_many(programs[0], plan.programs);
        let second = pool.rate(plan.programs / 2);
        let within = isolated.run_many(programs[1], plan.programs);
        let third = pool.rate(plan.programs / 2);
        rates.0.add(without, first, second);
        rates.1.add(within, second, third);
    }
    rates
}
