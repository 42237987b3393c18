//! Commands about the data folder: backup, restore, check, audit.

use super::{print, rfc3339, unexpected};
use crate::{
    admin::{AdminAnswer, AdminRequest, ask},
    backup,
};
use common::{ByteSize, ErrorCode, UserError, escape::RawText};
use std::{
    io::{IsTerminal, Write},
    path::Path,
    time::{Duration, Instant},
};

/// How often people see how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// A line that is written over while something takes long; nothing when nobody watches.
struct Progress {
    shown: bool,
    next: Instant,
}

impl Progress {
    fn new() -> Self {
        Self { shown: std::io::stderr().is_terminal(), next: Instant::now() }
    }

    fn tell(&mut self, line: &str) {
        if self.shown && self.next <= Instant::now() {
            self.next = Instant::now() + PROGRESS_INTERVAL;
            eprint!("\r{line}\x1b[K");
            std::io::stderr().flush().unwrap_or_default();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}

/// `backup`
///
/// # Errors
/// What a person should read; also when an output is missing from the backup.
pub(super) fn backup(data: &Path, to: &Path, force: bool) -> Result<(), UserError> {
    let mut progress = Progress::new();
    progress.tell("copying the database");
    let done = backup::backup(data, to, force, &mut |done, all| {
        progress.tell(&format!("{} of {}", ByteSize(done), ByteSize(all)));
    });
    drop(progress);
    let done = done?;
    print(&format!("backed up {} into {}", ByteSize(done.bytes), to.display()))?;
    if done.problems.is_empty() {
        return Ok(());
    }
    let sentence = format!("the backup is made, without these outputs: {}", done.problems.join("; "));
    Err(UserError::new(ErrorCode::StorageFailed, sentence))
}

/// `restore`
///
/// # Errors
/// What a person should read.
pub(super) fn restore(data: &Path, from: &Path, keep_queue: bool) -> Result<(), UserError> {
    let mut progress = Progress::new();
    let done = backup::restore(data, from, keep_queue, &mut |done| progress.tell(&format!("{}", ByteSize(done))));
    drop(progress);
    let done = done?;
    print(&format!(
        "restored the backup of {} into {}: {} programs wait, {} are lost; epoch {}",
        rfc3339(done.made_at),
        data.display(),
        done.waiting,
        done.lost,
        done.epoch
    ))?;
    if !keep_queue {
        print("people log in again; users and slaves that were revoked since the backup must be revoked again")?;
    }
    Ok(())
}

/// `check`
///
/// # Errors
/// What is damaged.
pub(super) fn check(data: &Path) -> Result<(), UserError> {
    backup::must_be_there(data)?;
    let answer = ask(data, AdminRequest::Check)?;
    let AdminAnswer::Checked(problems) = &answer else { return Err(unexpected(&answer)) };
    if problems.is_empty() {
        return print("database, outputs and audit are sound");
    }
    let sentence = format!("the data folder is damaged: {}", problems.join("; "));
    Err(UserError::new(ErrorCode::StorageFailed, sentence).with_hint(
        "stop the master, keep a copy of the folder, and restore the last backup with `ruche-master restore`",
    ))
}

/// `audit`
///
/// # Errors
/// When an entry was changed or removed.
pub(super) fn audit(data: &Path, verify: bool, json: bool) -> Result<(), UserError> {
    backup::must_be_there(data)?;
    let answer = ask(data, AdminRequest::Audit)?;
    let AdminAnswer::Audit { entries, problem } = &answer else { return Err(unexpected(&answer)) };
    if json {
        let shown: Vec<_> = entries
            .iter()
            .map(|entry| {
                let at = rfc3339(entry.at);
                serde_json::json!({"sequence": entry.sequence, "at": at, "who": entry.who, "what": entry.what})
            })
            .collect();
        print(&serde_json::Value::from(shown).to_string())?;
    } else if !verify {
        for entry in entries {
            let (who, what) = (RawText::from(entry.who.as_str()), RawText::from(entry.what.as_str()));
            print(&format!("{}  {}  {who}: {what}", entry.sequence, rfc3339(entry.at)))?;
        }
    }
    match problem {
        Some(problem) => {
            Err(UserError::new(ErrorCode::StorageFailed, format!("the audit cannot be trusted: {problem}")))
        }
        None if verify => print(&format!("{} entries, none changed or removed", entries.len())),
        None => Ok(()),
    }
}
