//! Whole commands, from the start of the process to its end.

use super::{Figure, Goal, Plan, Unit, local::Worker, session::Bench, stats::median};
use crate::binaries;
use std::path::Path;

/// `ruche run -- true` on a plain and on a closed slave, and `ruche list`, each beside a local `true`.
///
/// # Panics
/// When a command fails.
#[must_use]
pub fn measure(plan: &Plan) -> Vec<Figure> {
    let program = Path::new("/bin/true");
    let benches = ["plain", "strongest"].map(|level| Bench::new(level).warm(program));
    let ruche = binaries::path("ruche");
    let commands: [(&Bench, &[&str]); 3] =
        [(&benches[0], &["run", "--", "true"]), (&benches[1], &["run", "--", "true"]), (&benches[0], &["list"])];
    let mut workers = vec![Worker::start(program, &[], &[])];
    workers.extend(commands.map(|(bench, words)| {
        let config = bench.cluster.admin().config().to_owned();
        Worker::start(&ruche, words, &[("RUCHE_CONFIG_DIR", &config), ("NO_COLOR", Path::new("1"))])
    }));
    let mut half: [Vec<f64>; 4] = Default::default();
    for _ in 0..plan.rounds {
        let mut times: [Vec<f64>; 4] = Default::default();
        for _ in 0..plan.commands {
            for (worker, times) in workers.iter_mut().zip(&mut times) {
                times.push(worker.run_one_ms());
            }
        }
        for (half, times) in half.iter_mut().zip(&times) {
            half.push(median(times));
        }
    }
    let figure = |name, what: &str, place: usize, goal| {
        let more = half[place].iter().zip(&half[0]).map(|(ruche, local)| ruche - local).collect();
        let figure = Figure::new(name, format!("{what}, whole process, p50 over local"), Unit::Ms, goal, more);
        figure.of("ruche_ms", &half[place]).of("local_ms", &half[0])
    };
    vec![
        figure("command-run", "`ruche run -- true`, plain", 1, Goal::AtMost(3.5)),
        figure("command-run-isolated", "`ruche run -- true`, fully isolated", 2, Goal::None),
        figure("command-list", "`ruche list`", 3, Goal::None),
    ]
}
