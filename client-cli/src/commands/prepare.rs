//! From the words of `run` and `submit` to a submission.

use crate::{
    arguments::{Submit, is_command},
    session::Session,
};
use client::{reply, submit};
use common::{
    ErrorCode, ProgramSpec, UserError, Work,
    escape::{RawText, shorten},
    limits::NAME_BYTES_MAX,
    message::Request,
    view::LanguageOffer,
};
use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::Path,
};

/// What can be told without the master.
pub(super) enum Prepared {
    /// All of it.
    Whole(Box<ProgramSpec>),
    /// A source file whose language only a slave may know.
    LanguageOpen(submit::SourceFile, Box<ProgramSpec>),
}

/// Reads the files and checks what can be checked, before anything is sent.
pub(super) fn prepare(options: &mut Submit, arguments: &[OsString]) -> Result<Prepared, UserError> {
    let command = is_command(&options.words, arguments);
    let mut words = std::mem::take(&mut options.words).into_iter().map(|word| RawText(word.into_vec()));
    let first = words.next().unwrap_or_default();
    let source_on_stdin = !command && first.0 == b"-";
    let stdin_is_ours = options.stdin.as_deref() == Some(Path::new("-"));
    if source_on_stdin && stdin_is_ours {
        return Err(UserError::new(
            ErrorCode::RequestInvalid,
            "standard input cannot be both the source text and the program's input",
        )
        .with_hint("give one of them as a file"));
    }
    let lines_on_stdin = options.each_line.as_deref() == Some(Path::new("-"));
    if lines_on_stdin && (source_on_stdin || stdin_is_ours) {
        let other = if source_on_stdin { "the source text" } else { "the program's input" };
        let sentence = format!("standard input cannot be both {other} and the lines of `--each-line`");
        return Err(UserError::new(ErrorCode::RequestInvalid, sentence).with_hint("give one of them as a file"));
    }
    let file = match (command, source_on_stdin) {
        (true, _) => None,
        (false, true) => Some(submit::source_from(std::io::stdin().lock())?),
        (false, false) => Some(submit::read_source(Path::new(OsStr::from_bytes(&first.0)))?),
    };
    if let (true, Some(language)) = (command, &options.language) {
        return Err(UserError::new(
            ErrorCode::RequestInvalid,
            format!("`--language {}` was given with a command", RawText::from(language.as_str())),
        )
        .with_hint("leave it out, or give a source file in place of `-- COMMAND`"));
    }
    let mut spec = ProgramSpec::new(name(options, &first, file.as_ref()), Work::Command { command: first });
    spec.arguments = words.collect();
    settings(options, &mut spec)?;
    let Some(file) = file else { return Ok(Prepared::Whole(Box::new(spec))) };
    if submit::knows_language(&file, options.language.as_deref()) {
        set_language(&mut spec, file, options, &[])?;
        return Ok(Prepared::Whole(Box::new(spec)));
    }
    Ok(Prepared::LanguageOpen(file, Box::new(spec)))
}

/// Completes it, asking the master what slaves offer if that is needed.
pub(super) async fn complete(
    prepared: Prepared,
    options: &Submit,
    session: &Session,
) -> Result<ProgramSpec, UserError> {
    match prepared {
        Prepared::Whole(spec) => Ok(*spec),
        Prepared::LanguageOpen(file, mut spec) => {
            // Who may not see the slaves is told the language as if there were none.
            let slaves = session.ask(Request::Slaves).await.and_then(reply::slaves).unwrap_or_default();
            let offers: Vec<_> = slaves.into_iter().flat_map(|slave| slave.languages).collect();
            set_language(&mut spec, file, options, &offers)?;
            Ok(*spec)
        }
    }
}

fn set_language(
    spec: &mut ProgramSpec,
    file: submit::SourceFile,
    options: &Submit,
    offers: &[LanguageOffer],
) -> Result<(), UserError> {
    let language = submit::language_of(&file, options.language.as_deref(), offers)?;
    spec.work = file.into_work(language, offers);
    if let (true, Work::Source { file_name, .. }) = (spec.name.is_empty(), &spec.work) {
        spec.name.clone_from(file_name);
    }
    Ok(())
}

/// The name that people see: as given, else the file's, else the command's own without its folder.
fn name(options: &Submit, first: &RawText, file: Option<&submit::SourceFile>) -> String {
    match (&options.name, file) {
        (Some(name), _) => name.clone(),
        (None, Some(file)) => shorten(&file.file_name, NAME_BYTES_MAX),
        (None, None) => {
            // A name is text; bytes that are none are named as they are shown.
            let text = str::from_utf8(&first.0).map_or_else(|_| first.to_string(), str::to_owned);
            let base = text.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
            shorten(if base.is_empty() { &text } else { base }, NAME_BYTES_MAX)
        }
    }
}

fn settings(options: &Submit, spec: &mut ProgramSpec) -> Result<(), UserError> {
    spec.stdin = match options.stdin.as_deref() {
        None => None,
        Some(path) if path == Path::new("-") => Some(submit::read_stdin(None)?),
        Some(path) => Some(submit::read_stdin(Some(path))?),
    };
    for variable in &options.env {
        let bytes = variable.as_bytes();
        let Some(at) = bytes.iter().position(|byte| *byte == b'=') else {
            let shown = RawText(bytes.to_vec());
            return Err(UserError::new(ErrorCode::SubmitInvalid, format!("`--env {shown}` has no `=`"))
                .with_hint("write `--env NAME=VALUE`"));
        };
        spec.environment.push((RawText(bytes[..at].to_vec()), RawText(bytes[at + 1..].to_vec())));
    }
    let limits = &mut spec.limits;
    limits.wall_time = options.wall_time.unwrap_or(limits.wall_time);
    limits.cpu_time = options.cpu_time;
    limits.memory = options.memory.unwrap_or(limits.memory);
    limits.processes = options.processes.unwrap_or(limits.processes);
    limits.output = options.output.unwrap_or(limits.output);
    limits.file_size = options.file_size.unwrap_or(limits.file_size);
    limits.disk = options.disk.unwrap_or(limits.disk);
    limits.open_files = options.open_files.unwrap_or(limits.open_files);
    spec.network = options.network;
    spec.priority = options.priority.unwrap_or(spec.priority);
    spec.retry = options.retry.unwrap_or(spec.retry);
    spec.slave.clone_from(&options.slave);
    Ok(())
}
