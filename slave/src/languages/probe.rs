//! Tries a language: its version, then its probe program, run like real programs.

use super::Offered;
use crate::executor::{AttemptEnd, Executor, ExecutorEvent};
use common::{
    id::{AttemptKey, ProgramId},
    language::Language,
    message::{Assignment, Stream},
    outcome::Outcome,
    program::{ProgramSpec, Work},
    units::Duration,
};
use std::{collections::BTreeMap, io, os::unix::ffi::OsStrExt, path::PathBuf, sync::Arc};

/// A language that takes longer to say its version or to run its probe is not offered.
const PROBE_WALL_TIME: Duration = Duration::from_secs(20);
/// Tools that are tried for one language.
const TOOLS_MAX: usize = 3;

/// What is found out about one language.
pub(super) struct Probe {
    index: usize,
    language: Language,
    tools: Vec<PathBuf>,
    tool: usize,
    version: String,
    asks_version: bool,
    reason: String,
}

type Answer = Result<(PathBuf, String), String>;

impl Probe {
    /// `tools` is not empty.
    pub(super) fn new(index: usize, language: Language, mut tools: Vec<PathBuf>) -> Self {
        tools.truncate(TOOLS_MAX);
        Self { index, language, tools, tool: 0, version: String::new(), asks_version: true, reason: String::new() }
    }

    fn offered(&self) -> Offered {
        Offered {
            language: self.language.clone(),
            tool: self.tools.get(self.tool).cloned().unwrap_or_default(),
            version: self.version.clone(),
        }
    }

    fn spec(&self) -> ProgramSpec {
        let mut spec = if self.asks_version {
            let tool = self.offered().tool;
            let fill = |part: &String| match part.as_str() {
                "{tool}" => tool.as_os_str().as_bytes().to_vec(),
                other => other.as_bytes().to_vec(),
            };
            let mut words = self.language.version.iter().map(fill);
            let command = common::escape::RawText(words.next().unwrap_or_default());
            let mut spec = ProgramSpec::new("version", Work::Command { command });
            spec.arguments = words.map(common::escape::RawText).collect();
            spec
        } else {
            let extension = self.language.extensions.first().map_or("txt", String::as_str);
            let work = Work::Source {
                language: self.language.name.clone(),
                file_name: format!("probe.{extension}"),
                text: self.language.probe.as_bytes().into(),
            };
            ProgramSpec::new("probe", work)
        };
        spec.limits.wall_time = PROBE_WALL_TIME;
        spec
    }

    /// What follows from the end of one run: the answer, or another run.
    fn ended(&mut self, end: &AttemptEnd, output: &[u8], error: &[u8]) -> Option<Answer> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if end.outcome != (Outcome::Exited { code: 0 }) {
            let what = if self.asks_version { "asking its version" } else { "its probe" };
            self.reason = format!("{what} failed: {}", end.outcome.sentence());
            return self.next_tool();
        }
        if self.asks_version {
            self.version = version_in(&text(output)).or_else(|| version_in(&text(error))).unwrap_or_default();
            self.asks_version = false;
            return None;
        }
        if text(output).trim() != "ruche" {
            self.reason = "its probe did not print what it should".to_owned();
            return self.next_tool();
        }
        if self.version.is_empty() {
            // A language without a version flag may let its probe say the version on standard error.
            self.version = version_in(&text(error)).unwrap_or_default();
        }
        let Offered { tool, version, .. } = self.offered();
        Some(Ok((tool, version)))
    }

    fn next_tool(&mut self) -> Option<Answer> {
        let tool = self.offered().tool;
        self.tool += 1;
        self.asks_version = true;
        (self.tool >= self.tools.len()).then(|| Err(format!("{}: {}", tool.display(), self.reason)))
    }
}

/// Runs all probes, `at_once` at a time.
pub(super) fn run_all(
    mut waiting: Vec<Probe>,
    executor: &mut Executor,
    at_once: usize,
) -> io::Result<Vec<(usize, Answer)>> {
    let mut answers = Vec::new();
    let mut running: BTreeMap<AttemptKey, Probe> = BTreeMap::new();
    // The slow ones (Java, Go, Rust) first would be best; the order of the table is near enough.
    waiting.reverse();
    loop {
        while running.len() < at_once {
            let Some(probe) = waiting.pop() else { break };
            start(probe, executor, &mut running);
        }
        if running.is_empty() {
            return Ok(answers);
        }
        for event in executor.turn(std::time::Duration::from_secs(1), transport::clock::now)? {
            let ExecutorEvent::Ended(end) = event else { continue };
            let Some(mut probe) = running.remove(&end.key) else { continue };
            let read = |executor: &mut Executor, stream| executor.outputs().read(end.key, stream, 0, 4_096);
            let (output, error) = (read(executor, Stream::Stdout)?, read(executor, Stream::Stderr)?);
            executor.outputs().remove(end.key);
            match probe.ended(&end, &output, &error) {
                Some(answer) => answers.push((probe.index, answer)),
                None => start(probe, executor, &mut running),
            }
        }
    }
}

fn start(probe: Probe, executor: &mut Executor, running: &mut BTreeMap<AttemptKey, Probe>) {
    let key = AttemptKey { program: ProgramId(uuid::Uuid::now_v7()), attempt: 1 };
    let spec = Arc::new(probe.spec());
    executor.set_languages(running.values().map(Probe::offered).chain([probe.offered()]));
    running.insert(key, probe);
    executor.start(Assignment { key, spec, index: 0, fence: 1 }, transport::clock::now());
}

/// The first number with a dot in it, such as `3.11.2`; else the first number.
pub(super) fn version_in(text: &str) -> Option<String> {
    let is_part = |c: char| c.is_ascii_digit() || c == '.';
    let numbers = || text.split(|c| !is_part(c)).map(|word| word.trim_matches('.')).filter(|word| !word.is_empty());
    let found = numbers().find(|word| word.contains('.')).or_else(|| numbers().next())?;
    Some(found.chars().take(32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e12_versions_are_found_in_what_tools_print() {
        for (text, version) in [
            ("Python 3.11.2\n", Some("3.11.2")),
            ("cc (Debian 12.2.0-14) 12.2.0\nCopyright (C) 2022", Some("12.2.0")),
            ("v20.20.2", Some("20.20.2")),
            ("go version go1.19.8 linux/amd64", Some("1.19.8")),
            ("javac 17.0.14", Some("17.0.14")),
            ("tool 7", Some("7")),
            ("no number.", None),
        ] {
            assert_eq!(version_in(text).as_deref(), version, "{text}");
        }
    }
}
