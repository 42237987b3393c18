//! What `/proc` says that processes use.

use nix::unistd::Pid;
use std::{
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
#[derive(Clone, Copy, Debug)]
pub struct Used {
    at: Instant,
    /// Processor time.
    pub time: Duration,
    /// How often a thread was given a processor.
    pub wakes: u64,
}

impl Used {
    /// All threads of these processes so far. One that has gone counts nothing.
    #[must_use]
    pub fn by(processes: &[Pid]) -> Self {
        let (mut nanos, mut wakes) = (0, 0);
        for task in processes.iter().flat_map(|pid| tasks(*pid)) {
            // sched-stats.rst: nanoseconds on a processor, nanoseconds waiting for one, times it was given one.
            let stat = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
            let numbers: Vec<u64> = stat.split_whitespace().filter_map(|number| number.parse().ok()).collect();
            nanos += numbers.first().copied().unwrap_or(0);
            wakes += numbers.get(2).copied().unwrap_or(0);
        }
        Self { at: Instant::now(), time: Duration::from_nanos(nanos), wakes }
    }

    /// Between an earlier instant and this one: hundredths of one processor, and wakes a second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    pub fn since(&self, earlier: &Self) -> (f64, f64) {
        let time = self.at.duration_since(earlier.at).as_secs_f64();
        let used = self.time.saturating_sub(earlier.time).as_secs_f64();
        (100.0 * used / time, self.wakes.saturating_sub(earlier.wakes) as f64 / time)
    }
}

fn tasks(pid: Pid) -> Vec<PathBuf> {
    fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// The words of a process's command line.
#[must_use]
pub fn words(pid: Pid) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// What a process is called by the system.
#[must_use]
pub fn name(pid: Pid) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
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
        let after = Used::by(&[pid]);
        assert!(after.time > before.time && after.wakes > before.wakes, "{before:?} {after:?}");
        assert!(own(pid) > 0 && shared_out(pid) > 0 && resident(pid) >= own(pid));
    }
}
