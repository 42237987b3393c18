//! What durability costs: the master as it is beside one whose syncs do nothing.
//!
//! The store knows no other way than to sync, and no switch makes it. So the opponent is the same master over a
//! library that takes its syncs away: at least as fast as SQLite's `synchronous=NORMAL`, which still syncs at
//! checkpoints.

use super::{Figure, Goal, Plan, Unit, bodies, session::Bench};
use std::path::Path;

/// Throughput with and without.
///
/// # Panics
/// When a program does not end well.
#[must_use]
pub fn measure(plan: &Plan) -> Vec<Figure> {
    let program = Path::new("/bin/true");
    let mut synced = Bench::new("plain").warm(program);
    let without = bodies::with_shim("RUCHE_BENCH_NO_SYNC", "1");
    let mut unsynced = Bench::within("plain", without, &[]).warm(program);
    let count = plan.programs / 2;
    let (mut lost, mut rates) = (Vec::new(), [Vec::new(), Vec::new()]);
    for _ in 0..plan.rounds {
        let before = unsynced.run_many(program, count);
        let with = synced.run_many(program, count);
        let after = unsynced.run_many(program, count);
        let without = f64::midpoint(before, after);
        lost.push(100.0 * (1.0 - with / without));
        rates[0].push(with);
        rates[1].push(without);
    }
    let what = "throughput that the master's syncs cost, against a master without any";
    let figure = Figure::new("sync", what, Unit::Percent, Goal::AtMost(5.0), lost);
    vec![figure.of("synced_per_s", &rates[0]).of("unsynced_per_s", &rates[1])]
}
