//! What a client submits, and the states it goes through.

use crate::{
    error_code::ErrorCode,
    escape::RawText,
    id::Digest,
    limits,
    units::{ByteSize, Duration},
    user_error::UserError,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, str::FromStr, sync::Arc};

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// A source file in a language that the slave knows.
    Source {
        /// The language's name, as in the language table (`Python`).
        language: String,
        /// The file's own name without folders; it is created under this name.
        file_name: String,
        /// The text, byte for byte.
        text: SourceText,
    },
    /// A command: the first word is looked up in the PATH of programs, or is a path.
    Command {
        /// The program to execute.
        command: RawText,
    },
}

/// The bytes of a source file; cloning shares them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceText(#[serde(with = "shared_bytes")] pub Arc<[u8]>);

impl fmt::Debug for SourceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl From<&[u8]> for SourceText {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

/// Serde for shared bytes in one piece; serde's own form goes byte by byte.
mod shared_bytes {
    use serde::{Deserializer, Serializer};
    use std::sync::Arc;

    pub(super) fn serialize<S: Serializer>(bytes: &Arc<[u8]>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<[u8]>, D::Error> {
        serde_bytes::deserialize::<Vec<u8>, D>(deserializer).map(Into::into)
    }
}

/// The bounds that a program runs within. All are enforced on the slave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimits {
    /// Time since the start.
    pub wall_time: Duration,
    /// Processor time of the tree; none means bounded by the wall time alone.
    pub cpu_time: Option<Duration>,
    /// Resident memory of the tree.
    pub memory: ByteSize,
    /// Processes and threads of the tree at once.
    pub processes: u32,
    /// Standard output and error together.
    pub output: ByteSize,
    /// Size of any one file.
    pub file_size: ByteSize,
    /// The working folder with all that is in it, and what is written to the private `/tmp`.
    pub disk: ByteSize,
    /// Open files of one process.
    pub open_files: u32,
}

impl ResourceLimits {
    /// The most that may be asked for of each.
    pub const MOST: Self = Self {
        wall_time: limits::WALL_TIME_MAX,
        cpu_time: None,
        memory: ByteSize(1 << 46),
        processes: limits::PROCESSES_MAX,
        output: limits::OUTPUT_MAX,
        file_size: ByteSize(1 << 46),
        disk: ByteSize(1 << 46),
        open_files: limits::OPEN_FILES_MAX,
    };

    /// Whether each limit is at most that of `most`; a processor time that is left open is bounded by the wall time.
    #[must_use]
    pub fn is_within(&self, most: &Self) -> bool {
        let cpu_time = match (self.cpu_time, most.cpu_time) {
            (Some(asked), Some(allowed)) => asked <= allowed,
            (None, _) | (_, None) => true,
        };
        cpu_time
            && self.wall_time <= most.wall_time
            && self.memory <= most.memory
            && self.processes <= most.processes
            && self.output <= most.output
            && self.file_size <= most.file_size
            && self.disk <= most.disk
            && self.open_files <= most.open_files
    }

    /// The first limit that is beyond `most`, with both values, for people.
    #[must_use]
    pub fn beyond(&self, most: &Self) -> Option<String> {
        let over = |what: &str, asked: String, allowed: String| Some(format!("{what} of {asked}; at most {allowed}"));
        if self.wall_time > most.wall_time {
            return over("a wall time", self.wall_time.to_string(), most.wall_time.to_string());
        }
        if let (Some(asked), Some(allowed)) = (self.cpu_time, most.cpu_time)
            && asked > allowed
        {
            return over("a CPU time", asked.to_string(), allowed.to_string());
        }
        for (what, asked, allowed) in [
            ("a memory limit", self.memory, most.memory),
            ("an output limit", self.output, most.output),
            ("a file size limit", self.file_size, most.file_size),
            ("a disk limit", self.disk, most.disk),
        ] {
            if asked > allowed {
                return over(what, asked.to_string(), allowed.to_string());
            }
        }
        for (what, asked, allowed) in [
            ("a limit of processes", self.processes, most.processes),
            ("a limit of open files", self.open_files, most.open_files),
        ] {
            if asked > allowed {
                return over(what, asked.to_string(), allowed.to_string());
            }
        }
        None
    }
}

impl Default for ResourceLimits {
    fn default() -> Self {
        Self {
            wall_time: limits::WALL_TIME_DEFAULT,
            cpu_time: None,
            memory: limits::MEMORY_DEFAULT,
            processes: limits::PROCESSES_DEFAULT,
            output: limits::OUTPUT_DEFAULT,
            file_size: limits::FILE_SIZE_DEFAULT,
            disk: limits::DISK_DEFAULT,
            open_files: limits::OPEN_FILES_DEFAULT,
        }
    }
}

/// A file that a program finds in its working folder. Its content was sent before the submit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Its own name, without folders; any bytes that a file's name may have.
    pub name: RawText,
    /// Its content.
    pub digest: Digest,
    /// Its size.
    pub size: ByteSize,
    /// Whether it may be executed.
    pub executable: bool,
}

/// Columns and rows of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Characters in a line, at least 1.
    pub columns: u16,
    /// Lines, at least 1.
    pub rows: u16,
}

/// Input that comes while the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveInput {
    /// The program gets a terminal of this size for input, output and errors; without it, a pipe for its input.
    pub terminal: Option<TerminalSize>,
}

/// A signal that a person sends to a running program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProgramSignal {
    /// SIGINT, as Ctrl-C sends it.
    Interrupt,
    /// SIGQUIT, as Ctrl-\ sends it.
    Quit,
    /// SIGHUP: the terminal is gone.
    HangUp,
    /// SIGTERM.
    Terminate,
    /// SIGUSR1.
    User1,
    /// SIGUSR2.
    User2,
}

/// Everything that a submit says about a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramSpec {
    /// What people call it; the file's or command's name unless given.
    pub name: String,
    /// What runs.
    pub work: Work,
    /// Its arguments, after the command or source file.
    #[serde(deserialize_with = "crate::bounded::items")]
    pub arguments: Vec<RawText>,
    /// Its standard input; none is an empty one.
    pub stdin: Option<SourceText>,
    /// Variables added to its environment, in order.
    #[serde(deserialize_with = "crate::bounded::items")]
    pub environment: Vec<(RawText, RawText)>,
    /// Its bounds.
    pub limits: ResourceLimits,
    /// 0 (last) to 100 (first).
    pub priority: u8,
    /// Starts after the first when a slave is lost or the program fails; 0 is at most one start.
    pub retry: u32,
    /// The only slave, by name, that may run it.
    pub slave: Option<String>,
    /// Input that comes while it runs; then there is no `stdin`.
    pub live: Option<LiveInput>,
    /// Files that it finds in its working folder.
    pub inputs: Vec<InputFile>,
    /// Which files of the working folder are brought back: patterns of `common::collected`.
    #[serde(deserialize_with = "crate::bounded::items")]
    pub collect: Vec<String>,
    /// Whether it needs the network; only slaves that allow it run it then.
    pub network: bool,
}

impl ProgramSpec {
    /// A program with every setting at its default.
    #[must_use]
    pub fn new(name: impl Into<String>, work: Work) -> Self {
        Self {
            name: name.into(),
            work,
            arguments: Vec::new(),
            stdin: None,
            environment: Vec::new(),
            limits: ResourceLimits::default(),
            priority: limits::PRIORITY_DEFAULT,
            retry: 0,
            slave: None,
            live: None,
            inputs: Vec::new(),
            collect: Vec::new(),
            network: false,
        }
    }

    /// The language, for a source file.
    #[must_use]
    pub fn language(&self) -> Option<&str> {
        match &self.work {
            Work::Source { language, .. } => Some(language),
            Work::Command { .. } => None,
        }
    }

    /// Checks every bound of `limits.rs`.
    ///
    /// # Errors
    /// Names the field, its value and what is accepted.
    pub fn validate(&self) -> Result<(), UserError> {
        let refuse = |what: String| Err(UserError::new(ErrorCode::SubmitInvalid, what));
        let at_most = |what: &str, value: usize, max: usize| {
            if value > max {
                Err(UserError::new(ErrorCode::SubmitInvalid, format!("{what} is {value}; at most {max} is accepted")))
            } else {
                Ok(())
            }
        };
        let no_nul = |what: &str, bytes: &[u8]| {
            if bytes.contains(&0) {
                Err(UserError::new(
                    ErrorCode::SubmitInvalid,
                    format!("{what} holds a NUL byte, which no program can be given"),
                ))
            } else {
                Ok(())
            }
        };
        at_most("the name's length in bytes", self.name.len(), limits::NAME_BYTES_MAX)?;
        match &self.work {
            Work::Source { language, file_name, text } => {
                at_most("the language's length in bytes", language.len(), limits::PEER_NAME_BYTES_MAX)?;
                at_most("the source's size in bytes", text.0.len(), limits::SOURCE_BYTES_MAX)?;
                if !is_plain_file_name(file_name) {
                    return refuse(format!(
                        "`{}` cannot be the name of a source file",
                        RawText::from(file_name.as_str())
                    ));
                }
                if text.0.iter().all(u8::is_ascii_whitespace) {
                    return Err(UserError::new(
                        ErrorCode::SourceEmpty,
                        format!("`{}` is empty", RawText::from(file_name.as_str())),
                    ));
                }
                if text.0.contains(&0) {
                    return Err(UserError::new(
                        ErrorCode::SourceNotText,
                        format!("`{}` is not a text file: it holds NUL bytes", RawText::from(file_name.as_str())),
                    ));
                }
            }
            Work::Command { command } => {
                if command.0.is_empty() {
                    return refuse("the command is empty".to_owned());
                }
                at_most("the command's length in bytes", command.0.len(), 4_096)?;
                no_nul("the command", &command.0)?;
            }
        }
        at_most("the number of arguments", self.arguments.len(), limits::ARGUMENTS_MAX)?;
        at_most(
            "the size of all arguments in bytes",
            self.arguments.iter().map(|argument| argument.0.len()).sum(),
            limits::ARGUMENTS_BYTES_MAX,
        )?;
        for argument in &self.arguments {
            no_nul("an argument", &argument.0)?;
        }
        at_most(
            "the size of standard input in bytes",
            self.stdin.as_ref().map_or(0, |stdin| stdin.0.len()),
            limits::STDIN_BYTES_MAX,
        )?;
        at_most("the number of variables", self.environment.len(), limits::ENVIRONMENT_MAX)?;
        at_most(
            "the size of all variables in bytes",
            self.environment.iter().map(|(name, value)| name.0.len() + value.0.len()).sum(),
            limits::ENVIRONMENT_BYTES_MAX,
        )?;
        for (name, value) in &self.environment {
            no_nul("a variable", &name.0)?;
            no_nul("a variable", &value.0)?;
            if name.0.is_empty() || name.0.contains(&b'=') {
                return refuse(format!("`{name}` cannot be the name of a variable"));
            }
            if name.0.starts_with(b"RUCHE_") {
                return refuse(format!("`{name}` cannot be set: names that begin with RUCHE_ belong to Ruche"));
            }
        }
        at_most("the priority", usize::from(self.priority), usize::from(limits::PRIORITY_MAX))?;
        at_most("the number of retries", self.retry as usize, limits::RETRY_MAX as usize)?;
        at_most("the slave's name in bytes", self.slave.as_ref().map_or(0, String::len), limits::PEER_NAME_BYTES_MAX)?;
        if self.live.is_some() && self.stdin.is_some() {
            return refuse("standard input is either given with the submit or comes while the program runs".to_owned());
        }
        if self.live.and_then(|live| live.terminal).is_some_and(|size| size.columns == 0 || size.rows == 0) {
            return refuse("a terminal has at least one column and one row".to_owned());
        }
        at_most("the number of input files", self.inputs.len(), limits::INPUT_FILES_MAX)?;
        let mut names = BTreeSet::new();
        if let Work::Source { file_name, .. } = &self.work {
            names.insert(file_name.as_bytes());
        }
        for input in &self.inputs {
            if !is_file_name(&input.name.0) {
                return refuse(format!("`{}` cannot be the name of an input file", input.name));
            }
            if !names.insert(&input.name.0) {
                return refuse(format!("two files would be named `{}`", input.name));
            }
            if input.size > limits::INPUT_FILE_BYTES_MAX {
                let (size, most) = (input.size, limits::INPUT_FILE_BYTES_MAX);
                return refuse(format!("the input file `{}` has {size}; at most {most} is accepted", input.name));
            }
        }
        at_most("the number of patterns to collect", self.collect.len(), limits::COLLECT_PATTERNS_MAX)?;
        for pattern in &self.collect {
            crate::collected::check_pattern(pattern)
                .map_err(|reason| UserError::new(ErrorCode::SubmitInvalid, reason))?;
        }
        self.limits.validate()
    }
}

impl ResourceLimits {
    /// Checks that each limit is one that can be enforced.
    ///
    /// # Errors
    /// Names the limit and the range.
    pub fn validate(&self) -> Result<(), UserError> {
        let refuse = |what: String| Err(UserError::new(ErrorCode::SubmitInvalid, what));
        let time_ok = |time: Duration| time >= Duration::from_millis(1) && time <= limits::WALL_TIME_MAX;
        if !time_ok(self.wall_time) {
            return refuse(format!("a wall time of {} is outside 1 ms to {}", self.wall_time, limits::WALL_TIME_MAX));
        }
        if let Some(cpu_time) = self.cpu_time.filter(|time| !time_ok(*time)) {
            return refuse(format!("a CPU time of {cpu_time} is outside 1 ms to {}", limits::WALL_TIME_MAX));
        }
        if self.memory < limits::MEMORY_MIN || self.memory > Self::MOST.memory {
            return refuse(format!(
                "a memory limit of {} is outside {} to {}",
                self.memory,
                limits::MEMORY_MIN,
                ByteSize(1 << 46)
            ));
        }
        if self.processes == 0 || self.processes > limits::PROCESSES_MAX {
            return refuse(format!(
                "a limit of {} processes is outside 1 to {}",
                self.processes,
                limits::PROCESSES_MAX
            ));
        }
        if self.output > limits::OUTPUT_MAX {
            return refuse(format!("an output limit of {} is over {}", self.output, limits::OUTPUT_MAX));
        }
        if self.file_size.0 > 1 << 46 {
            return refuse(format!("a file size limit of {} is over {}", self.file_size, ByteSize(1 << 46)));
        }
        if self.disk.0 > 1 << 46 {
            return refuse(format!("a disk limit of {} is over {}", self.disk, ByteSize(1 << 46)));
        }
        if !(limits::OPEN_FILES_MIN..=limits::OPEN_FILES_MAX).contains(&self.open_files) {
            return refuse(format!(
                "a limit of {} open files is outside {} to {}",
                self.open_files,
                limits::OPEN_FILES_MIN,
                limits::OPEN_FILES_MAX
            ));
        }
        Ok(())
    }
}

/// Whether `name` can name one file in a folder: any bytes but `/` and NUL, not `.` and `..`, and nothing that belongs
/// to Ruche.
#[must_use]
pub fn is_file_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= limits::FILE_NAME_BYTES_MAX
        && !matches!(name, b"." | b"..")
        && !name.starts_with(b".ruche-")
        && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
}

/// Whether `name` names a file in a folder and nothing else: no folder part, no leading dot or dash,
/// no control character.
#[must_use]
pub fn is_plain_file_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && !name.starts_with(['.', '-', ' '])
        && !name.ends_with(' ')
        && !name.contains('/')
        && !name.chars().any(char::is_control)
}

/// The state of a program, as people and scripts see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum State {
    /// Not started yet.
    Waiting,
    /// Running on a slave.
    Running,
    /// Started, and stopped for a while by the scheduler.
    Suspended,
    /// Ended with exit code 0.
    Done,
    /// Ended in any other way of its own.
    Failed,
    /// Stopped by somebody.
    Cancelled,
    /// Its slave was lost.
    Lost,
}

impl State {
    /// Every state, in the order of a program's life.
    pub const ALL: [Self; 7] =
        [Self::Waiting, Self::Running, Self::Suspended, Self::Done, Self::Failed, Self::Cancelled, Self::Lost];

    /// The word in JSON, on the command line and in the window.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Suspended => "suspended",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }

    /// The sign before the word.
    #[must_use]
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Waiting => "…",
            Self::Running => "∑",
            Self::Suspended => "‖",
            Self::Done => "✓",
            Self::Failed => "✗",
            Self::Cancelled => "–",
            Self::Lost => "?",
        }
    }

    /// Whether the program has ended for ever.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Waiting | Self::Running | Self::Suspended => false,
            Self::Done | Self::Failed | Self::Cancelled | Self::Lost => true,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for State {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.word() == text)
            .ok_or_else(|| format!("`{text}` is not a state; choose one of {}", Self::ALL.map(Self::word).join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(file_name: &str, text: &[u8]) -> ProgramSpec {
        ProgramSpec::new(
            "test",
            Work::Source { language: "Python".into(), file_name: file_name.into(), text: text.into() },
        )
    }

    #[track_caller]
    fn check(spec: &ProgramSpec, expected: Option<ErrorCode>) {
        assert_eq!(
            spec.validate().err().map(|error| error.code),
            expected.map(|code| code.code().to_owned()),
            "{spec:?}"
        );
    }

    #[test]
    fn e9_a_submit_outside_the_limits_is_refused_by_name() {
        check(&source("a.py", b"print(1)"), None);
        check(&source("a.py", b"  \n"), Some(ErrorCode::SourceEmpty));
        check(&source("a.py", b"\0\x01ELF"), Some(ErrorCode::SourceNotText));
        for name in ["", "../a.py", "/etc/passwd", ".hidden", "-rf", "a\nb.py", &"x".repeat(300)] {
            check(&source(name, b"print(1)"), Some(ErrorCode::SubmitInvalid));
        }
        let with = |change: fn(&mut ProgramSpec)| {
            let mut spec = source("a.py", b"print(1)");
            change(&mut spec);
            spec
        };
        check(&with(|spec| spec.arguments = vec!["x".into(); 100_000]), None);
        check(
            &with(|spec| spec.arguments = vec!["x".into(); limits::ARGUMENTS_MAX + 1]),
            Some(ErrorCode::SubmitInvalid),
        );
        check(&with(|spec| spec.arguments = vec!["a\0b".into()]), Some(ErrorCode::SubmitInvalid));
        check(&with(|spec| spec.environment = vec![("A=B".into(), "c".into())]), Some(ErrorCode::SubmitInvalid));
        check(
            &with(|spec| spec.environment = vec![("RUCHE_FENCE".into(), "9".into())]),
            Some(ErrorCode::SubmitInvalid),
        );
        check(&with(|spec| spec.priority = 101), Some(ErrorCode::SubmitInvalid));
        check(&with(|spec| spec.limits.wall_time = Duration(0)), Some(ErrorCode::SubmitInvalid));
        check(&with(|spec| spec.limits.processes = 0), Some(ErrorCode::SubmitInvalid));
        check(&with(|spec| spec.limits.memory = ByteSize(u64::MAX)), Some(ErrorCode::SubmitInvalid));
    }
}
