//! One program at a time over an open connection: from its submit to its result, both ends of it synced.

use super::{
    Figure, Goal, Plan, Unit,
    local::Worker,
    session::Bench,
    stats::{median, quantile},
};
use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::Path,
    time::{Duration, Instant},
};

/// What the store writes for one step of a lone program: so many pages of its log, each with a header.
const PAGES: usize = 5;
const HEADER_BYTES: usize = 24;
const PAGE_BYTES: usize = 4_096;
/// As long as the store's log.
const LOG_BYTES: usize = 9 << 20;
/// About what passes between two commits of a lone program: the file's times have changed by then.
const PAUSE: Duration = Duration::from_millis(1);

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
    let mut disk = Disk::new(&benches[0].cluster.path().join("log"));
    let mut syncs = Vec::new();
    for _ in 0..plan.rounds {
        let mut times: [Vec<f64>; 3] = Default::default();
        for _ in 0..plan.singles {
            times[0].push(worker.run_one_ms());
            times[1].push(benches[0].run_one_ms(program));
            times[2].push(benches[1].run_one_ms(program));
        }
        let two: Vec<f64> = (0..plan.singles).map(|_| disk.commit_ms() + disk.commit_ms()).collect();
        syncs.push(median(&two));
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
        Figure::plain("single-syncs", "two syncs of what the store writes for one program: p50", Unit::Ms, syncs),
    ]
}

/// A file that is written and synced as the store's log is, with no store around it.
struct Disk {
    file: File,
    at: usize,
}

impl Disk {
    fn new(path: &Path) -> Self {
        let file = File::create(path).unwrap();
        file.write_all_at(&vec![0; LOG_BYTES], 0).unwrap();
        file.sync_all().unwrap();
        Self { file, at: 0 }
    }

    fn commit_ms(&mut self) -> f64 {
        std::thread::park_timeout(PAUSE);
        let begun = Instant::now();
        for part in [HEADER_BYTES, PAGE_BYTES].repeat(PAGES) {
            self.file.write_all_at(&vec![7; part], self.at as u64).unwrap();
            self.at = (self.at + part) % (LOG_BYTES - PAGE_BYTES);
        }
        self.file.sync_data().unwrap();
        begun.elapsed().as_secs_f64() * 1e3
    }
}
