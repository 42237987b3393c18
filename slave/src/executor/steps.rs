//! What to execute for an attempt: the compile or check step, then the run, with arguments and environment.

use super::folder::{PROGRESS_FILE, WorkFolder};
use crate::languages::{Offered, java};
use common::{
    id::AttemptKey,
    limits,
    message::Assignment,
    program::{ResourceLimits, SourceText, Work},
    units::{ByteSize, Timestamp},
    view::Usage,
};
use launcher::protocol::{Step, StepLimits, Strings};
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// One attempt's steps.
#[derive(Debug)]
pub(super) struct Steps {
    /// The source file: its name in the working folder, the name that its author gave it, its text.
    pub(super) source: Option<SourceFile>,
    /// The command of the compile or check step.
    pub(super) compile: Option<Vec<Vec<u8>>>,
    /// The command of the run.
    pub(super) run: Vec<Vec<u8>>,
    /// What the compile step makes, when it makes something.
    pub(super) program: Option<String>,
    /// The language's variables.
    variables: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A source file as it lies in the working folder.
#[derive(Debug)]
pub(super) struct SourceFile {
    pub(super) name: String,
    pub(super) own_name: String,
    pub(super) text: SourceText,
}

impl Steps {
    /// The steps of a program; `language` is its language's entry for a source file.
    pub(super) fn plan(assignment: &Assignment, language: Option<&Offered>) -> Option<Self> {
        let arguments = assignment.spec.arguments.iter().map(|argument| argument.0.clone());
        match &assignment.spec.work {
            Work::Command { command } => {
                let run = std::iter::once(command.0.clone()).chain(arguments).collect();
                Some(Self { source: None, compile: None, run, program: None, variables: Vec::new() })
            }
            Work::Source { file_name, text, .. } => {
                let Offered { language, tool, .. } = language?;
                let (name, stem) = if language.named_by_class {
                    let class = java::main_class(&text.0);
                    let simple = class.rsplit('.').next().unwrap_or(&class);
                    (format!("{simple}.java"), class)
                } else {
                    (file_name.clone(), stem_of(file_name).to_owned())
                };
                let program = if stem == name { "a.out".to_owned() } else { stem.clone() };
                let memory = assignment.spec.limits.memory.0.to_string();
                let names =
                    [("{source}", name.as_str()), ("{stem}", &stem), ("{program}", &program), ("{memory}", &memory)];
                let fill = |template: &[String]| -> Vec<Vec<u8>> {
                    template.iter().map(|part| fill_in(part, tool, &names)).collect()
                };
                let makes_program = language.compile.iter().any(|part| part.contains("{program}"));
                Some(Self {
                    compile: Some(fill(&language.compile)).filter(|command| !command.is_empty()),
                    run: fill(&language.run).into_iter().chain(arguments).collect(),
                    program: makes_program.then_some(program),
                    variables: language.environment.iter().filter_map(|text| split_variable(text)).collect(),
                    source: Some(SourceFile { name, own_name: file_name.clone(), text: text.clone() }),
                })
            }
        }
    }

    /// Those of a program whose language this slave had once.
    pub(super) const fn unknown() -> Self {
        Self { source: None, compile: None, run: Vec::new(), program: None, variables: Vec::new() }
    }

    /// Whether what the compile step prints is kept when it succeeds: warnings of a compiler are, the
    /// "syntax OK" of a check is not.
    pub(super) fn keeps_compile_output(&self) -> bool {
        self.program.is_some() || self.source.as_ref().is_some_and(|source| source.name.ends_with(".java"))
    }
}

fn stem_of(file_name: &str) -> &str {
    file_name.rsplit_once('.').map_or(file_name, |(stem, _)| stem)
}

fn fill_in(part: &str, tool: &Path, names: &[(&str, &str)]) -> Vec<u8> {
    if part == "{tool}" {
        return tool.as_os_str().as_bytes().to_vec();
    }
    // One pass, so that a file named `{stem}.py` stays what it is.
    let mut filled = String::new();
    let mut rest = part;
    while let Some(start) = rest.find('{') {
        filled.push_str(&rest[..start]);
        rest = &rest[start..];
        match names.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, value)) => {
                filled.push_str(value);
                rest = &rest[name.len()..];
            }
            None => {
                filled.push('{');
                rest = &rest[1..];
            }
        }
    }
    filled.push_str(rest);
    filled.into_bytes()
}

fn split_variable(text: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let (name, value) = text.split_once('=')?;
    Some((name.into(), value.into()))
}

/// What a keeper knows a step by, so that an agent that follows this one knows it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tag {
    pub(super) key: AttemptKey,
    /// When it was noted as started.
    pub(super) at: Timestamp,
    pub(super) phase: Phase,
    /// The name of its working folder.
    pub(super) folder: String,
    /// What the steps before it used.
    pub(super) usage: Usage,
}

/// Which step of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Compiling, or checking the syntax.
    Compile,
    /// Running.
    Run,
}

/// The whole command of an attempt that is one.
fn command_of(assignment: &Assignment) -> impl Iterator<Item = &[u8]> {
    let command = match &assignment.spec.work {
        Work::Command { command } => Some(command.0.as_slice()),
        Work::Source { .. } => None,
    };
    command.into_iter().chain(assignment.spec.arguments.iter().map(|argument| argument.0.as_slice()))
}

/// The keeper's order for a command that it starts by itself; `path` is what the program has as PATH.
pub(super) fn command_step(
    assignment: &Assignment,
    folder: &WorkFolder,
    path: &[u8],
    program_path: &[PathBuf],
) -> Step {
    Step { environment: environment(assignment, &[], folder, path), ..bare_step(assignment, program_path) }
}

/// The same without its environment.
pub(super) fn bare_step(assignment: &Assignment, program_path: &[PathBuf]) -> Step {
    Step {
        tag: Vec::new(),
        lease_until: None,
        candidates: candidates(command_of(assignment).next().unwrap_or_default(), program_path),
        arguments: command_of(assignment).collect(),
        environment: Strings::default(),
        limits: step_limits(&assignment.spec.limits),
        stdin: false,
        terminal: false,
        network: false,
    }
}

/// PATH of programs.
pub(super) fn path(program_path: &[PathBuf]) -> Vec<u8> {
    program_path.iter().map(|folder| folder.as_os_str().as_bytes()).collect::<Vec<_>>().join(&b':')
}

/// The keeper's order for one step.
pub(super) fn step(
    command: &[Vec<u8>],
    phase: Phase,
    assignment: &Assignment,
    steps: &Steps,
    folder: &WorkFolder,
    program_path: &[PathBuf],
    ceiling: &ResourceLimits,
) -> Step {
    Step {
        tag: Vec::new(),
        lease_until: None,
        candidates: candidates(command.first().map_or(&[], Vec::as_slice), program_path),
        arguments: command.iter().collect(),
        environment: environment(assignment, &steps.variables, folder, &path(program_path)),
        limits: step_limits(&match phase {
            Phase::Compile => compile_limits(ceiling),
            Phase::Run => assignment.spec.limits,
        }),
        stdin: phase == Phase::Run && (assignment.spec.stdin.is_some() || assignment.spec.live.is_some()),
        terminal: phase == Phase::Run && assignment.spec.live.is_some_and(|live| live.terminal.is_some()),
        network: phase == Phase::Run && assignment.spec.network,
    }
}

/// The limits of the compile step, whose text is the submitter's as well: what every slave gives it, and nothing
/// beyond this slave's ceiling.
pub(super) fn compile_limits(ceiling: &ResourceLimits) -> ResourceLimits {
    ResourceLimits {
        wall_time: limits::COMPILE_WALL_TIME.min(ceiling.wall_time),
        cpu_time: ceiling.cpu_time,
        memory: limits::COMPILE_MEMORY.min(ceiling.memory),
        processes: limits::PROCESSES_DEFAULT.min(ceiling.processes),
        output: ByteSize(limits::COMPILE_OUTPUT_BYTES_MAX as u64).min(ceiling.output),
        file_size: limits::FILE_SIZE_DEFAULT.min(ceiling.file_size),
        disk: limits::DISK_DEFAULT.min(ceiling.disk),
        open_files: limits::OPEN_FILES_DEFAULT.min(ceiling.open_files),
    }
}

const fn step_limits(limits: &ResourceLimits) -> StepLimits {
    StepLimits {
        wall_time: limits.wall_time,
        cpu_time: limits.cpu_time,
        memory: limits.memory,
        processes: limits.processes,
        file_size: limits.file_size,
        disk: limits.disk,
        open_files: limits.open_files,
    }
}

/// The paths that a command may mean, as execvp tries them.
fn candidates(command: &[u8], program_path: &[PathBuf]) -> Strings {
    if command.contains(&b'/') {
        return std::iter::once(command).collect();
    }
    program_path
        .iter()
        .map(|folder| folder.join(OsStr::from_bytes(command)).into_os_string().into_encoded_bytes())
        .collect()
}

/// Exactly what the interface documents: nothing of the slave's own environment.
fn environment(assignment: &Assignment, variables: &[(Vec<u8>, Vec<u8>)], folder: &WorkFolder, path: &[u8]) -> Strings {
    let home = folder.path.as_os_str().as_bytes();
    let attempt = assignment.key.attempt.to_string();
    let fence = assignment.fence.to_string();
    let progress = [home, b"/", PROGRESS_FILE.as_bytes()].concat();
    let program = assignment.key.program.to_string();
    let index = assignment.index.to_string();
    let ours: [(&[u8], &[u8]); 9] = [
        (b"PATH", path),
        (b"LANG", b"C.UTF-8"),
        (b"HOME", home),
        (b"TMPDIR", home),
        (b"RUCHE_PROGRAM_ID", program.as_bytes()),
        (b"RUCHE_ATTEMPT", attempt.as_bytes()),
        (b"RUCHE_FENCE", fence.as_bytes()),
        (b"RUCHE_INDEX", index.as_bytes()),
        (b"RUCHE_PROGRESS", &progress),
    ];
    let languages = variables.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
    let given = assignment.spec.environment.iter().map(|(name, value)| (name.0.as_slice(), value.0.as_slice()));
    let bytes = ours.iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    let mut strings = Strings::with_capacity(bytes);
    if variables.is_empty() && assignment.spec.environment.is_empty() {
        // Each of ours is there once.
        for (name, value) in ours {
            strings.push_variable(name, value);
        }
        return strings;
    }
    let all: Vec<(&[u8], &[u8])> = ours.into_iter().chain(languages).chain(given).collect();
    let mut seen = std::collections::BTreeSet::new();
    // A later one of the same name counts.
    let mut last: Vec<_> = all.into_iter().rev().filter(|(name, _)| seen.insert(*name)).collect();
    last.reverse();
    for (name, value) in last {
        strings.push_variable(name, value);
    }
    strings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e12_templates_are_filled_in_once() {
        let tool = Path::new("/usr/bin/cc");
        let names = [("{source}", "{stem}.c"), ("{stem}", "a"), ("{program}", "a"), ("{memory}", "9")];
        for (part, filled) in [
            ("{tool}", "/usr/bin/cc"),
            ("./{program}", "./a"),
            ("x{source}y{stem}", "x{stem}.cya"),
            ("{other}{", "{other}{"),
            ("-O2", "-O2"),
            ("-m{memory}", "-m9"),
        ] {
            assert_eq!(fill_in(part, tool, &names), filled.as_bytes(), "{part}");
        }
    }

    #[test]
    fn i18_every_bound_of_the_compile_step_is_within_the_ceiling() {
        let open = compile_limits(&ResourceLimits::MOST);
        assert_eq!((open.wall_time, open.memory), (limits::COMPILE_WALL_TIME, limits::COMPILE_MEMORY));
        let low = ResourceLimits {
            wall_time: common::Duration::from_secs(5),
            cpu_time: Some(common::Duration::from_secs(3)),
            memory: ByteSize(64 << 20),
            processes: 8,
            output: ByteSize(1 << 10),
            file_size: ByteSize(1 << 20),
            disk: ByteSize(2 << 20),
            open_files: 64,
        };
        assert_eq!(compile_limits(&low), low);
    }

    #[test]
    fn e5_a_command_with_a_slash_is_a_path() {
        let path = [PathBuf::from("/usr/bin"), PathBuf::from("/bin")];
        let of = |command: &[u8]| candidates(command, &path).iter().map(<[u8]>::to_vec).collect::<Vec<_>>();
        assert_eq!(of(b"ls"), [b"/usr/bin/ls".to_vec(), b"/bin/ls".to_vec()]);
        assert_eq!(of(b"./ls"), [b"./ls".to_vec()]);
    }
}
