//! From what a keeper tells to the outcome that people read.

use super::steps::{Phase, Steps};
use common::{
    escape::{Lines, RawText, shorten, visible},
    limits,
    outcome::{Limit, Outcome, signal_name},
    program::ResourceLimits,
    units::{ByteSize, Duration},
};
use launcher::protocol::{Cause, Ended, NotStarted, StartStep, Status, Step};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Why an attempt was stopped from outside its own limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// A user wants it.
    Cancelled {
        /// Who.
        by: String,
    },
    /// Its result is not wanted any more.
    Discarded,
    /// The slave was cut off from the master for so long that the master gives it up.
    LeaseEnded,
    /// The slave stops and the grace period is over.
    SlaveStops,
    /// The slave cannot go on with it, for this reason.
    Failed(String),
    /// It wrote more than its output limit.
    Output,
}

/// The outcome of a step that was started with these limits, and None when the attempt goes on with the next step.
pub(super) fn of_end(
    ended: &Ended,
    phase: Phase,
    limits: &ResourceLimits,
    stop: Option<&Stop>,
    compiler_text: impl FnOnce() -> String,
    full_file: impl FnOnce() -> Option<String>,
) -> Option<Outcome> {
    if let Some(stop) = stop {
        return Some(of_stop(stop, limits, ended));
    }
    if let Some(cause) = ended.cause {
        return Some(of_cause(cause, phase, limits, ended));
    }
    match (phase, ended.status) {
        (Phase::Compile, Status::Exited(0)) => None,
        (Phase::Compile, Status::Exited(_)) => Some(Outcome::CompileError { detail: compiler_text() }),
        (Phase::Compile, Status::Signalled(libc::SIGXFSZ)) => Some(file_size(limits.file_size, None)),
        (Phase::Run, Status::Signalled(signal @ libc::SIGXFSZ)) => Some(match full_file() {
            Some(name) => file_size(limits.file_size, Some(&name)),
            // It sent the signal to itself.
            None => Outcome::Signalled { signal },
        }),
        (_, Status::Signalled(signal)) => Some(Outcome::Signalled { signal }),
        (Phase::Run, Status::Exited(0)) => Some(Outcome::Exited { code: 0 }),
        (Phase::Run, Status::Exited(code)) => Some(match full_file() {
            Some(name) => file_size(limits.file_size, Some(&name)),
            None => Outcome::Exited { code },
        }),
    }
}

fn of_stop(stop: &Stop, limits: &ResourceLimits, ended: &Ended) -> Outcome {
    match stop {
        Stop::Cancelled { by } => Outcome::Cancelled { by: by.clone() },
        Stop::Discarded => Outcome::Lost { detail: "Its place was taken by another attempt.".to_owned() },
        Stop::LeaseEnded => lease_ended(),
        Stop::SlaveStops => {
            Outcome::Lost { detail: "The slave was stopped while it ran; it was given time to end first.".to_owned() }
        }
        Stop::Failed(reason) => Outcome::Lost { detail: reason.clone() },
        Stop::Output => Outcome::Limit {
            limit: Limit::Output,
            detail: format!(
                "Stopped by the output limit. It wrote more than {} after {}; the first {} are kept.",
                limits.output, ended.wall, limits.output
            ),
        },
    }
}

fn of_cause(cause: Cause, phase: Phase, limits: &ResourceLimits, ended: &Ended) -> Outcome {
    let who = match phase {
        Phase::Run => "It",
        Phase::Compile => "The compile step",
    };
    let limit = |limit, detail| Outcome::Limit { limit, detail };
    match cause {
        Cause::WallTime => limit(
            Limit::WallTime,
            format!("Stopped by the time limit. {who} ran for {} of {}.", ended.wall, limits.wall_time),
        ),
        Cause::CpuTime(used) => limit(
            Limit::CpuTime,
            format!(
                "Stopped by the CPU time limit. {who} used {} of {} after {}.",
                used.max(ended.cpu),
                limits.cpu_time.unwrap_or_default(),
                ended.wall
            ),
        ),
        Cause::Memory(used) if phase == Phase::Run => Outcome::memory_limit(used, limits.memory, ended.wall),
        Cause::Memory(used) => limit(
            Limit::Memory,
            format!("Stopped by the memory limit. {who} used {used} of {} after {}.", limits.memory, ended.wall),
        ),
        Cause::Processes(count) => limit(
            Limit::Processes,
            format!(
                "Stopped by the limit on processes. {who} had {count} of {} and asked for more, after {}.",
                limits.processes, ended.wall
            ),
        ),
        Cause::FileSize => file_size(limits.file_size, None),
        Cause::Disk(used) => limit(
            Limit::Disk,
            format!("Stopped by the disk limit. {who} filled {used} of {} after {}.", limits.disk, ended.wall),
        ),
        Cause::NoSpace { used, left } => limit(
            Limit::Disk,
            format!(
                "Stopped because the slave's disk is nearly full: {left} are left. {who} took {used} of it, of {} that \
                 its disk limit allows, after {}.",
                limits.disk, ended.wall
            ),
        ),
        Cause::OpenFiles(count) => limit(
            Limit::OpenFiles,
            format!(
                "Ended at the limit on open files. {who} had {count} of {} open in one process.",
                limits.open_files
            ),
        ),
        Cause::Ordered => Outcome::Lost { detail: "The slave stopped it.".to_owned() },
        Cause::LeaseEnded => lease_ended(),
    }
}

/// The keeper of an attempt died, for this reason.
pub(super) fn keeper_lost(reason: &str) -> Outcome {
    Outcome::Lost { detail: format!("The process that watches over it failed ({reason}); it was ended.") }
}

fn lease_ended() -> Outcome {
    let detail = "The slave was cut off from the master for longer than its lease; it was ended.";
    Outcome::Lost { detail: detail.to_owned() }
}

fn file_size(limit: ByteSize, name: Option<&str>) -> Outcome {
    let detail = match name {
        Some(name) => {
            format!("Stopped by the limit on file size. `{}` reached {limit}.", visible(name.as_bytes(), Lines::Escape))
        }
        None => format!("Stopped by the limit on file size. It wrote a file up to {limit}."),
    };
    Outcome::Limit { limit: Limit::FileSize, detail }
}

/// The outcome of a step that could not be started.
pub(super) fn of_not_started(failure: &NotStarted, step: &Step, program_path: &[PathBuf]) -> Outcome {
    if failure.step == StartStep::Lease {
        let detail = "The slave was cut off from the master for longer than its lease; it was not started.";
        return Outcome::Lost { detail: detail.to_owned() };
    }
    if failure.step != StartStep::Execute {
        let reason = std::io::Error::from_raw_os_error(failure.errno);
        let detail = format!("The slave could not start it ({:?}): {reason}.", failure.step);
        return Outcome::Lost { detail };
    }
    let command = RawText(step.arguments.iter().next().unwrap_or_default().to_vec());
    let tried = RawText(step.candidates.iter().nth(failure.candidate).unwrap_or_default().to_vec());
    let detail = match failure.errno {
        libc::ENOENT | libc::ENOTDIR if command.0.contains(&b'/') => {
            format!("`{command}` was not found (or the interpreter that its first line names).")
        }
        libc::ENOENT | libc::ENOTDIR => {
            let folders: Vec<_> = program_path.iter().map(|folder| folder.display().to_string()).collect();
            format!("`{command}` was not found in {}.", folders.join(":"))
        }
        libc::EACCES => format!("`{tried}` may not be executed: permission denied."),
        libc::ENOEXEC => format!("`{tried}` is not a program: its format is not known (a script needs a `#!` line)."),
        libc::E2BIG => format!(
            "`{tried}` could not be executed: its {} arguments and the environment take {}, more than the system takes \
             (at most 128 KiB each and about 6 MiB together).",
            step.arguments.iter().count() - 1,
            ByteSize((step.arguments.bytes() + step.environment.bytes()) as u64)
        ),
        errno => format!("`{tried}` could not be executed: {}.", std::io::Error::from_raw_os_error(errno)),
    };
    Outcome::NotFound { detail: shorten(&detail, limits::DETAIL_BYTES_MAX) }
}

/// The compiler's own text, with the name that the source's author gave it and without our folder.
pub(super) fn compiler_text(bytes: &[u8], steps: &Steps, folder: &std::path::Path) -> String {
    let mut text = visible(bytes, Lines::Keep).replace(&format!("{}/", folder.display()), "");
    if let Some(source) = steps.source.as_ref().filter(|source| source.name != source.own_name) {
        text = text.replace(&source.name, &source.own_name);
    }
    let text = text.trim_end();
    if text.trim().is_empty() {
        return "The compiler refused it without saying why.".to_owned();
    }
    shorten(text, limits::DETAIL_BYTES_MAX)
}

/// The line of output that the history shows: the last of standard output for a program that ended well,
/// the last of standard error for one that did not, the first error for one that did not compile.
pub(super) fn last_line(outcome: &Outcome, output: &[u8], error: &[u8]) -> String {
    let last = |bytes: &[u8]| {
        let text = visible(bytes, Lines::Keep);
        text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
    };
    let line = match outcome {
        Outcome::CompileError { detail } => {
            let telling = |line: &&str| line.to_lowercase().contains("error");
            detail.lines().find(telling).or_else(|| detail.lines().next()).map(|line| line.trim().to_owned())
        }
        Outcome::Exited { code: 0 } => last(output).or_else(|| last(error)),
        Outcome::Exited { .. }
        | Outcome::Signalled { .. }
        | Outcome::Limit { .. }
        | Outcome::NotSupported { .. }
        | Outcome::NotFound { .. }
        | Outcome::Lost { .. }
        | Outcome::Cancelled { .. } => last(error).or_else(|| last(output)),
    };
    shorten(&line.unwrap_or_default(), limits::LAST_LINE_BYTES_MAX)
}

/// What people read in the log of the slave about an end.
pub(super) fn describe(ended: &Ended) -> String {
    match ended.status {
        Status::Exited(code) => format!("code {code}"),
        Status::Signalled(signal) => signal_name(signal),
    }
}

/// Adds the figures of two steps: times add up, the run's memory counts.
pub(super) fn add_usage(before: common::view::Usage, ended: &Ended) -> common::view::Usage {
    common::view::Usage {
        wall: Duration(before.wall.0 + ended.wall.0),
        cpu: Duration(before.cpu.0 + ended.cpu.0),
        memory_peak: ended.memory_peak,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e9_the_last_line_tells_most() {
        let failed = Outcome::Exited { code: 1 };
        assert_eq!(last_line(&Outcome::Exited { code: 0 }, b"a\nb\n\n", b"warning\n"), "b");
        assert_eq!(last_line(&failed, b"a\n", b"Traceback\nValueError: x\n"), "ValueError: x");
        assert_eq!(last_line(&failed, b"a\n", b""), "a");
        assert_eq!(last_line(&failed, b"", b""), "");
        let detail = "In function main:\nx.c:3:1: error: expected ;\n  3 | }\n".to_owned();
        assert_eq!(last_line(&Outcome::CompileError { detail }, b"", b""), "x.c:3:1: error: expected ;");
    }
}
