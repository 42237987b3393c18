//! Files that a program is given and brings back: `--input`, `--collect`, `ruche fetch`.

use crate::{
    arguments::Fetch,
    failure::{FAILED, Failure, Outcome, report, say},
    output::print,
    session::Session,
};
use client::{
    files::{Collected, Picked, Target, pick, upload},
    reply,
};
use common::{
    ErrorCode, ProgramId, ProgramSpec, UserError,
    escape::{Lines, RawText, visible},
    message::Request,
    units::ByteSize,
};
use std::{
    fmt::Write,
    io::IsTerminal,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Progress is shown of uploads that are larger than this.
const LARGE_BYTES: u64 = 4 << 20;
/// How often it is shown.
const SHOW_INTERVAL: Duration = Duration::from_millis(200);

/// Reads and hashes what `--input` names, before anything is sent.
pub(super) fn pick_all(paths: &[PathBuf]) -> Result<Vec<Picked>, UserError> {
    paths.iter().map(|path| pick(path)).collect()
}

/// Adds what `--input` and `--collect` say.
pub(super) fn add_to(spec: &mut ProgramSpec, picked: &[Picked], collect: &[String]) {
    spec.inputs = picked.iter().map(|picked| picked.file.clone()).collect();
    spec.collect = collect.to_vec();
}

/// Sends what the master does not have, over as many connections as that takes. A command that is interrupted here
/// goes on where it was when it is given again.
pub(super) async fn send(session: &mut Session, picked: &[Picked]) -> Result<(), Failure> {
    if picked.is_empty() {
        return Ok(());
    }
    let shows = std::io::stderr().is_terminal();
    let mut shown_at: Option<Instant> = None;
    loop {
        let sent = upload(session.client(), picked, |sending| {
            let due = shown_at.is_none_or(|at| at.elapsed() >= SHOW_INTERVAL);
            if shows && due && sending.total > LARGE_BYTES {
                shown_at = Some(Instant::now());
                let (sent, total) = (ByteSize(sending.sent), ByteSize(sending.total));
                say(&format!("\r\x1b[Kruche: sending {}: {sent} of {total}", sending.name));
            }
        });
        let result = sent.await;
        if shown_at.take().is_some() {
            say("\r\x1b[K");
        }
        match result {
            Ok(()) => return Ok(()),
            Err(error) => session.recover(error).await?,
        }
    }
}

pub(super) async fn fetch(options: &Fetch) -> Outcome {
    let mut session = Session::open().await?;
    let id = session.program(&options.id).await?;
    let row = reply::program(session.ask(Request::Show { id }).await?)?;
    if !row.state.is_final() {
        let error = UserError::new(ErrorCode::RequestInvalid, format!("{id} has not ended; its files come at its end"));
        return Err(error.with_hint(format!("`ruche wait {id}` waits for it")).into());
    }
    if options.list {
        let Some(collected) = open(&mut session, id).await? else { return Ok(0) };
        tell_left_out(&collected);
        let mut lines = String::new();
        for file in &collected.head.files {
            let mark = if file.executable { " (executable)" } else { "" };
            writeln!(lines, "{}\t{}{mark}", file.size, file.path).map_err(|_| std::io::Error::other("no memory"))?;
        }
        print(&lines)?;
        return Ok(0);
    }
    let to = options.to.clone().unwrap_or_else(|| PathBuf::from("."));
    match bring_back(&mut session, id, &to, options.force).await? {
        Some(0) => Ok(0),
        Some(_) => Ok(FAILED),
        None => {
            let error = UserError::new(ErrorCode::RequestInvalid, format!("{id} brought no files back"));
            Err(error.with_hint("`--collect PATTERN` at submission says which files come back").into())
        }
    }
}

async fn open(session: &mut Session, id: ProgramId) -> Result<Option<Collected>, Failure> {
    loop {
        match Collected::open(session.client(), id).await {
            Ok(collected) => return Ok(collected),
            Err(error) => session.recover(error).await?,
        }
    }
}

fn tell_left_out(collected: &Collected) {
    for line in &collected.head.left_out {
        say(&format!("ruche: not brought back: {}\n", visible(line.as_bytes(), Lines::Escape)));
    }
}

/// Writes what a program brought back below a folder, one after the other; how many could not be written, or none when
/// there is nothing.
pub(super) async fn bring_back(
    session: &mut Session,
    id: ProgramId,
    to: &Path,
    force: bool,
) -> Result<Option<usize>, Failure> {
    let Some(collected) = open(session, id).await? else { return Ok(None) };
    tell_left_out(&collected);
    if collected.head.files.is_empty() {
        return Ok(Some(0));
    }
    let target = Target::open(to)?;
    let mut failed = 0;
    for (index, file) in collected.head.files.iter().enumerate() {
        loop {
            match collected.save(session.client(), index, &target, force).await {
                Ok(()) => break,
                Err(error) if error.is(ErrorCode::FileUnwritable) || error.is(ErrorCode::InputDamaged) => {
                    report(&error);
                    failed += 1;
                    break;
                }
                Err(error) => session.recover(error).await?,
            }
        }
        tracing::debug!(path = %file.path, "brought back");
    }
    let saved = collected.head.files.len() - failed;
    if std::io::stderr().is_terminal() {
        let folder = RawText(to.as_os_str().as_bytes().to_vec());
        say(&format!("ruche: {saved} files written to {folder}\n"));
    }
    Ok(Some(failed))
}
