//! One program at a time over an open connection: from its submit to its result, both ends of it synced.

use super::{
    Figure, Goal, Plan, Unit,
    local::Worker,
    session::Bench,
    stats::{median, quantile},
};
use std::path::Path;

/// Local, plain and shut in, one after the other, again and again.
///
/// # Panics
/// When a program does not end well.
#[must_use]
pub fn measure(plan: &Plan) -> Vec<Figure> {
    let program = Path::new("/bin/true");
    let mut benches = ["plain", "strongest"].map(|level| Bench::new(level).warm(program));
    let mut worker = Worker::start(program, &[], &[]);
    let mut half: [Vec<f64>; 3] = Default::default();
    let mut most: [Vec<f64>; 3] = Default::default();
    for _ in 0..plan.rounds {
        let mut times: [Vec<f64>; 3] = Default::default();
        for _ in 0..plan.singles {
            times[0].push(worker.run_one_ms());
            times[1].push(benches[0].run_one_ms(program));
            times[2].push(benches[1].run_one_ms(program));
        }
        for (place, times) in times.iter().enumerate() {
            half[place].push(median(times));
            most[place].push(quantile(times, 0.99));
        }
    }
    let figure = |name, what: &str, level: usize, goal, times: &[Vec<f64>; 3]| {
        let more = times[level].iter().zip(&times[0]).map(|(ruche, local)| ruche - local).collect();
        let figure = Figure::new(name, format!("one at a time, {what} over local"), Unit::Ms, goal, more);
        figure.of("ruche_ms", &times[level]).of("local_ms", &times[0])
    };
    vec![
        figure("single-p50", "plain: p50", 1, Goal::AtMost(0.6), &half),
        figure("single-p99", "plain: p99", 1, Goal::AtMost(1.5), &most),
        figure("single-isolated-p50", "fully isolated: p50", 2, Goal::None, &half),
        figure("single-isolated-p99", "fully isolated: p99", 2, Goal::None, &most),
    ]
}
