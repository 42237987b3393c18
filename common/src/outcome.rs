//! How a program ended, and the exit code that scripts see.

use crate::units::{ByteSize, Duration};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A limit that a program can hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Limit {
    /// Time since the start.
    WallTime,
    /// Processor time of the whole process tree.
    CpuTime,
    /// Resident memory of the whole process tree.
    Memory,
    /// Processes and threads at once.
    Processes,
    /// Bytes on standard output and error together.
    Output,
    /// Size of one file.
    FileSize,
    /// Size of the working folder.
    Disk,
    /// Open files of one process.
    OpenFiles,
}

impl Limit {
    /// The word in JSON and on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::WallTime => "wall-time",
            Self::CpuTime => "cpu-time",
            Self::Memory => "memory",
            Self::Processes => "processes",
            Self::Output => "output",
            Self::FileSize => "file-size",
            Self::Disk => "disk",
            Self::OpenFiles => "open-files",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How a program ended. Final: once recorded it never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It ended by itself with this code (0 to 255).
    Exited {
        /// The exit code.
        code: i32,
    },
    /// A signal that no limit of ours sent ended it.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
    /// The compiler or syntax check refused it; it was never run.
    CompileError {
        /// The compiler's own text, shortened to `DETAIL_BYTES_MAX`.
        detail: String,
    },
    /// A limit ended it.
    Limit {
        /// Which limit.
        limit: Limit,
        /// The sentence people read, with the measured value in it.
        detail: String,
    },
    /// No slave can run this language.
    NotSupported {
        /// Who offers what.
        detail: String,
    },
    /// The command was not found or could not be executed.
    NotFound {
        /// What was looked for, and where.
        detail: String,
    },
    /// The slave was lost while it ran. Whether it ended is not known.
    Lost {
        /// What is known.
        detail: String,
    },
    /// Somebody stopped it.
    Cancelled {
        /// The user who did.
        by: String,
    },
}

impl Outcome {
    /// The word in JSON.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Exited { .. } => "exited",
            Self::Signalled { .. } => "signalled",
            Self::CompileError { .. } => "compile-error",
            Self::Limit { .. } => "limit",
            Self::NotSupported { .. } => "not-supported",
            Self::NotFound { .. } => "not-found",
            Self::Lost { .. } => "lost",
            Self::Cancelled { .. } => "cancelled",
        }
    }

    /// The state that a program with this outcome is in.
    #[must_use]
    pub const fn state(&self) -> crate::program::State {
        use crate::program::State;
        match self {
            Self::Exited { code: 0 } => State::Done,
            Self::Cancelled { .. } => State::Cancelled,
            Self::Lost { .. } => State::Lost,
            Self::Exited { .. }
            | Self::Signalled { .. }
            | Self::CompileError { .. }
            | Self::Limit { .. }
            | Self::NotSupported { .. }
            | Self::NotFound { .. } => State::Failed,
        }
    }

    /// The exit code of `ruche run` for this outcome.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Exited { code } => (*code & 0xff) as u8,
            Self::Signalled { signal } => 128 + (*signal & 0x7f) as u8,
            Self::CompileError { .. } => 126,
            Self::Limit { limit: Limit::WallTime | Limit::CpuTime, .. } => 124,
            Self::Limit { limit: Limit::Memory, .. } => 137,
            Self::Limit {
                limit: Limit::Processes | Limit::Output | Limit::FileSize | Limit::Disk | Limit::OpenFiles,
                ..
            }
            | Self::Lost { .. } => 125,
            Self::NotSupported { .. } | Self::NotFound { .. } => 127,
            Self::Cancelled { .. } => 130,
        }
    }

    /// One sentence for people, with the evidence in it.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Exited { code: 0 } => "Ended well (exit code 0).".to_owned(),
            Self::Exited { code } => format!("Ended with exit code {code}."),
            Self::Signalled { signal } => format!("Ended by signal {signal} ({}).", signal_name(*signal)),
            Self::CompileError { detail } => match telling_line(detail) {
                Some(line) => format!("Refused by the compiler before it ran: {}", line.trim()),
                None => "Refused by the compiler before it ran.".to_owned(),
            },
            Self::Limit { detail, .. }
            | Self::NotSupported { detail }
            | Self::NotFound { detail }
            | Self::Lost { detail } => detail.clone(),
            Self::Cancelled { by } => format!("Stopped by {by}."),
        }
    }

    /// The outcome of a program that the memory limit ended.
    #[must_use]
    pub fn memory_limit(used: ByteSize, limit: ByteSize, after: Duration) -> Self {
        Self::Limit {
            limit: Limit::Memory,
            detail: format!("Stopped by the memory limit. It used {used} of {limit} after {after}."),
        }
    }
}

/// The line of a compiler's text that says most: the first that speaks of an error, else the first.
fn telling_line(text: &str) -> Option<&str> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let first = lines.clone().next();
    lines.find(|line| line.to_ascii_lowercase().contains("error")).or(first)
}

/// The name of a Linux signal, such as `SIGSEGV`; `SIGRTMIN+1` for a real-time one.
/// Source: signal(7), the numbers of x86 and ARM.
#[must_use]
pub fn signal_name(signal: i32) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    let index = usize::try_from(signal).ok().and_then(|number| number.checked_sub(1));
    match index.and_then(|index| NAMES.get(index)) {
        Some(name) => format!("SIG{name}"),
        None if (34..=64).contains(&signal) => format!("SIGRTMIN+{}", signal - 34),
        None => format!("signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e5_exit_codes_of_run_are_those_that_scripts_expect() {
        let limit = |limit| Outcome::Limit { limit, detail: String::new() };
        for (outcome, code) in [
            (Outcome::Exited { code: 3 }, 3),
            (Outcome::Signalled { signal: 11 }, 139),
            (limit(Limit::WallTime), 124),
            (limit(Limit::CpuTime), 124),
            (limit(Limit::Memory), 137),
            (Outcome::CompileError { detail: String::new() }, 126),
            (Outcome::NotFound { detail: String::new() }, 127),
            (Outcome::NotSupported { detail: String::new() }, 127),
            (Outcome::Cancelled { by: "alice".into() }, 130),
            (Outcome::Lost { detail: String::new() }, 125),
        ] {
            assert_eq!(outcome.exit_code(), code, "{outcome:?}");
        }
    }

    #[test]
    fn e9_a_compile_error_is_told_by_the_line_that_says_most() {
        for (detail, sentence) in [
            ("", "Refused by the compiler before it ran."),
            ("\nodd\n", "Refused by the compiler before it ran: odd"),
            (
                "a.c: In function 'main':\na.c:1:5: error: no x\n",
                "Refused by the compiler before it ran: a.c:1:5: error: no x",
            ),
            ("  File \"a.py\"\n    x(\nSyntaxError: bad\n", "Refused by the compiler before it ran: SyntaxError: bad"),
        ] {
            assert_eq!(Outcome::CompileError { detail: detail.into() }.sentence(), sentence);
        }
    }

    #[test]
    fn e9_signals_have_names() {
        assert_eq!(signal_name(9), "SIGKILL");
        assert_eq!(signal_name(31), "SIGSYS");
        assert_eq!(signal_name(35), "SIGRTMIN+1");
        assert_eq!(signal_name(-1), "signal -1");
    }
}
