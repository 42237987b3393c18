//! What `/proc` says that processes use.

use nix::{
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};
use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

fn number(text: &str, field: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

/// Memory of a process in bytes, where what several processes share is divided among them.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn shared_out(pid: Pid) -> u64 {
    number(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap(), "Pss:") << 10
}

/// Memory of a process in bytes that no file is behind.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn own(pid: Pid) -> u64 {
    number(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap(), "RssAnon:") << 10
}

/// Resident memory of a process in bytes, with everything that is shared.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn resident(pid: Pid) -> u64 {
    number(&fs::read_to_string(format!("/proc/{pid}/status")).unwrap(), "VmRSS:") << 10
}

/// What some processes used until an instant.
#[derive(Clone, Debug)]
pub struct Used {
    at: Instant,
    /// Processor time, of threads that have ended too.
    pub time: Duration,
    /// How often each thread, by process and number, was given a processor.
    wakes: BTreeMap<PathBuf, u64>,
}

impl Used {
    /// All threads of these processes so far.
    ///
    /// # Panics
    /// When one is gone.
    #[must_use]
    pub fn by(processes: &[Pid]) -> Self {
        let time = processes.iter().map(|pid| {
            let clock = clock_getcpuclockid(*pid).unwrap();
            Duration::from(clock_gettime(clock).unwrap())
        });
        let wakes = processes.iter().flat_map(|pid| tasks(*pid)).map(|task| {
            // sched-stats.rst: nanoseconds on a processor, nanoseconds waiting for one, times it was given one.
            let stat = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
            let count = stat.split_whitespace().nth(2).and_then(|number| number.parse().ok()).unwrap_or(0);
            (task, count)
        });
        Self { time: time.sum(), wakes: wakes.collect(), at: Instant::now() }
    }

    /// Between an earlier instant and this one: hundredths of one processor, and wakes a second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    pub fn since(&self, earlier: &Self) -> (f64, f64) {
        let time = self.at.duration_since(earlier.at).as_secs_f64();
        let used = self.time.saturating_sub(earlier.time).as_secs_f64();
        (100.0 * used / time, self.wakes_since(earlier) as f64 / time)
    }

    /// A thread that has ended since was woken for that at least.
    fn wakes_since(&self, earlier: &Self) -> u64 {
        let before = |task: &PathBuf| earlier.wakes.get(task).copied().unwrap_or(0);
        let there: u64 = self.wakes.iter().map(|(task, count)| count.saturating_sub(before(task))).sum();
        there + earlier.wakes.keys().filter(|task| !self.wakes.contains_key(*task)).count() as u64
    }
}

fn tasks(pid: Pid) -> Vec<PathBuf> {
    fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_what_the_system_writes() {
        let text = "Rss:                3560 kB\nPss:                1234 kB\nRssAnon:\t     96 kB\n";
        assert_eq!((number(text, "Pss:"), number(text, "RssAnon:"), number(text, "None:")), (1_234, 96, 0));
    }

    #[test]
    fn this_process_uses_something() {
        let (pid, before) = (Pid::this(), Used::by(&[Pid::this()]));
        std::hint::black_box((0..10_000_000_u64).fold(0, |sum: u64, n| sum.wrapping_mul(31).wrapping_add(n)));
        std::thread::park_timeout(Duration::from_millis(1));
        let (share, wakes) = Used::by(&[pid]).since(&before);
        assert!(share > 0.0 && wakes > 0.0, "{share} {wakes}");
        assert!(own(pid) > 0 && shared_out(pid) > 0 && resident(pid) >= own(pid));
    }

    #[test]
    fn threads_that_end_take_nothing_away() {
        let used = |wakes: &[(&str, u64)]| Used {
            at: Instant::now(),
            time: Duration::ZERO,
            wakes: wakes.iter().map(|(task, count)| (PathBuf::from(task), *count)).collect(),
        };
        let before = used(&[("stays", 10), ("ends", 1_000)]);
        let after = used(&[("stays", 13), ("is new", 4)]);
        assert_eq!(after.wakes_since(&before), 3 + 4 + 1);
    }
}
