//! Whether a slave that holds much memory starts programs slower: with a fork it would, thirty times.

use super::{Figure, Goal, Plan, Unit, bodies, session::Bench, usage};
use std::path::Path;

/// What the agent of the one slave holds.
const HELD_MIB: u64 = 512;

/// A slave whose agent holds much beside a fresh one.
///
/// # Panics
/// When a program does not end well, or the agent does not hold what it should.
#[must_use]
pub fn measure(plan: &Plan) -> Vec<Figure> {
    let program = Path::new("/bin/true");
    let mut fresh = Bench::new("plain").warm(program);
    let holding = bodies::with_shim("RUCHE_BENCH_HOLD_MIB", &HELD_MIB.to_string());
    let mut heavy = Bench::within("plain", Vec::new(), &holding).warm(program);
    let held = usage::own(heavy.cluster.slaves[0].id()) >> 20;
    assert!(held >= HELD_MIB, "the slave holds {held} MiB");
    let count = plan.programs / 4;
    let (mut ratios, mut rates) = (Vec::new(), [Vec::new(), Vec::new()]);
    for _ in 0..plan.rounds {
        let before = fresh.run_many(program, count);
        let with = heavy.run_many(program, count);
        let after = fresh.run_many(program, count);
        let without = f64::midpoint(before, after);
        ratios.push(without / with);
        rates[0].push(with);
        rates[1].push(without);
    }
    let what = format!("time of a program on a slave that holds {HELD_MIB} MiB, against a fresh one");
    let figure = Figure::new("heap", what, Unit::Times, Goal::AtMost(1.1), ratios);
    vec![figure.of("heavy_per_s", &rates[0]).of("fresh_per_s", &rates[1])]
}
