//! What is measured, and what `/proc` says of a process.

use nix::unistd::Pid;
use std::{
    fmt, fs,
    time::{Duration, Instant},
};

/// One measured value beside its aim.
#[derive(Clone, Debug)]
pub struct Figure {
    /// The check of the catalogue.
    pub check: &'static str,
    /// What was measured, with counts.
    pub what: String,
    /// The value, with its unit.
    pub value: String,
    /// What was aimed at; empty when there is no aim.
    pub aim: &'static str,
    /// Whether the aim is met.
    pub met: bool,
}

impl Figure {
    /// A value with an aim.
    #[must_use]
    pub fn new(
        check: &'static str,
        what: impl Into<String>,
        value: impl Into<String>,
        aim: &'static str,
        met: bool,
    ) -> Self {
        Self { check, what: what.into(), value: value.into(), aim, met }
    }

    /// A value to read the others by.
    #[must_use]
    pub fn plain(check: &'static str, what: impl Into<String>, value: impl Into<String>) -> Self {
        Self::new(check, what, value, "", true)
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match (self.aim, self.met) {
            ("", _) => "",
            (_, true) => "met",
            (_, false) => "MISSED",
        };
        write!(f, "| {} | {} | {} | {} | {verdict} |", self.check, self.what, self.value, self.aim)
    }
}

/// Resident memory of a process without the pages of its own file, in bytes.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn memory_bytes(pid: Pid) -> u64 {
    status_kib(pid, "RssAnon:") << 10
}

/// The most resident memory that a process ever had, in bytes, its own file included.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn memory_peak_bytes(pid: Pid) -> u64 {
    status_kib(pid, "VmHWM:") << 10
}

fn status_kib(pid: Pid, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Processor time of a process so far.
///
/// # Panics
/// When there is no such process.
#[must_use]
pub fn cpu_time(pid: Pid) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // proc(5): fields 14 and 15, counted in hundredths of a second on Linux.
    let fields: Vec<u64> =
        text[text.rfind(')').unwrap() + 2..].split(' ').map(|field| field.parse().unwrap_or(0)).collect();
    Duration::from_millis((fields[11] + fields[12]) * 10)
}

/// How often the system has refused a connection because nobody accepted in time, on the whole machine.
///
/// # Panics
/// When the system does not tell.
#[must_use]
pub fn listen_overflows() -> u64 {
    let text = fs::read_to_string("/proc/net/netstat").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let place = names.split(' ').position(|name| name == "ListenOverflows").unwrap();
    values.split(' ').nth(place).unwrap().parse().unwrap()
}

/// The value below which `part` of the values lie; sorts them.
///
/// # Panics
/// When there are no values.
#[must_use]
pub fn quantile(values: &mut [Duration], part: f64) -> Duration {
    values.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a list"
    )]
    let place = (part * (values.len() - 1) as f64).round() as usize;
    values[place]
}

/// Half and 99 of 100 of the values.
#[must_use]
pub fn p50_p99(values: &mut [Duration]) -> (Duration, Duration) {
    (quantile(values, 0.50), quantile(values, 0.99))
}

/// Milliseconds with two places.
#[must_use]
pub fn ms(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// Seconds with two places.
#[must_use]
pub fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// Mebibytes with one place.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

/// So many a second since then.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a count of thousands")]
pub fn rate(count: usize, since: Instant) -> f64 {
    count as f64 / since.elapsed().as_secs_f64()
}
