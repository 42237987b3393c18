//! `ruche submit --each-line`: one program for each line of a file, sent as the lines are read.

use super::{
    files,
    submit::{add_rows, print_ids},
};
use crate::{
    failure::{CANCELLED, Failure, Outcome, say},
    output::JsonArray,
    session::Session,
};
use client::{
    files::Picked,
    submit::{Entries, open_lines},
};
use common::{ErrorCode, ProgramSpec, UserError, escape::RawText};
use std::{
    io::IsTerminal,
    path::Path,
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

/// Parts that are read ahead of the one that is sent.
const PARTS_AHEAD: usize = 2;
/// Times that input files are sent again because the master does not have them any more.
const MISSING_MAX: u32 = 3;
/// How often a terminal is told how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

type Parts = mpsc::Receiver<Result<Vec<RawText>, UserError>>;

/// What ends a submit early.
struct Stops {
    interrupt: Signal,
    terminate: Signal,
}

impl Stops {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// What happens next.
enum Step {
    Stopped,
    Read(Option<Result<Vec<RawText>, UserError>>),
    Acknowledged,
    Failed(UserError),
}

pub(super) async fn each_line(
    mut session: Session,
    spec: ProgramSpec,
    file: &Path,
    picked: &[Picked],
    json: bool,
) -> Outcome {
    let mut stops = Stops { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? };
    let mut entries = Entries::new(spec)?;
    let mut parts = read(file)?;
    files::send(&mut session, picked).await?;
    let mut printed = Printed { array: json.then(JsonArray::begin), progress: Progress::new() };
    let result = send_all(&mut session, &mut entries, &mut parts, picked, &mut stops, &mut printed).await;
    printed.progress.end();
    let accepted = entries.accepted();
    match result {
        Ok(true) => printed.array.map_or(Ok(()), JsonArray::end).map(|()| 0),
        Ok(false) => {
            let open =
                if entries.is_open() { "; whether those that were on their way are too is not known" } else { "" };
            say(&format!("ruche: stopped; {accepted} programs were accepted{open}\n"));
            Err(Failure::Exit(CANCELLED))
        }
        Err(Failure::Error(mut error)) => {
            let (behind, unknown) = tokio::select! {
                behind = entries.give_up() => behind,
                () = stops.next() => (Vec::new(), true),
            };
            let lost = error.is(ErrorCode::ConnectionLost) || error.is(ErrorCode::MasterUnreachable);
            error.sentence.push_str(&format!("; {accepted} programs were accepted before that"));
            if !behind.is_empty() {
                error.sentence.push_str(&format!(", and {} of later lines that were on their way", behind.len()));
            }
            if unknown || lost {
                error.sentence.push_str("; whether others that were on their way are too is not known");
            }
            // Why the submit ended is what is told, whatever happens to this.
            drop(printed.add(&session, behind.into_iter()).await);
            Err(error.into())
        }
        Err(failure) => Err(failure),
    }
}

/// Reads the lines on a thread of its own, a little ahead: standard input may make it wait for ever.
fn read(file: &Path) -> Result<Parts, UserError> {
    let lines = open_lines(file)?;
    let (sender, parts) = mpsc::channel(PARTS_AHEAD);
    let send = move || {
        for part in lines {
            if sender.blocking_send(part).is_err() {
                return;
            }
        }
    };
    let started = std::thread::Builder::new().name("lines".to_owned()).spawn(send);
    started.map_err(|error| UserError::new(ErrorCode::Internal, format!("no thread can be started: {error}")))?;
    Ok(parts)
}

/// Sends all parts; false when it was stopped by a signal.
async fn send_all(
    session: &mut Session,
    entries: &mut Entries,
    parts: &mut Parts,
    picked: &[Picked],
    stops: &mut Stops,
    printed: &mut Printed,
) -> Result<bool, Failure> {
    let (mut reads, mut missing, mut failed) = (true, 0, None);
    while reads || entries.is_open() {
        let room = reads && entries.has_room();
        let open = entries.is_open();
        let step = tokio::select! {
            biased;
            () = stops.next() => Step::Stopped,
            part = parts.recv(), if room => Step::Read(part),
            answer = entries.acknowledged(), if open => match answer {
                Ok(ids) => {
                    printed.add(session, ids.into_iter().flatten()).await?;
                    Step::Acknowledged
                }
                Err(error) => Step::Failed(error),
            },
        };
        match step {
            Step::Stopped => return Ok(false),
            Step::Read(Some(Ok(part))) => {
                if let Err(error) = entries.push(session.client(), part) {
                    // What stands before it is accepted still.
                    (reads, failed) = (false, Some(error));
                }
            }
            Step::Read(Some(Err(error))) => (reads, failed) = (false, Some(error)),
            Step::Read(None) => reads = false,
            Step::Acknowledged => printed.progress.tell(entries.accepted()),
            Step::Failed(error) if error.is(ErrorCode::InputMissing) && !picked.is_empty() && missing < MISSING_MAX => {
                // The master made room for others since it was asked.
                missing += 1;
                files::send(session, picked).await?;
                entries.send_again(session.client());
            }
            Step::Failed(error) => {
                tokio::select! {
                    recovered = session.recover(error) => recovered?,
                    () = stops.next() => return Ok(false),
                }
                entries.send_again(session.client());
            }
        }
    }
    failed.map_or(Ok(true), |error| Err(error.into()))
}

/// What is told of programs that were accepted.
struct Printed {
    /// The programs as JSON; none prints their IDs.
    array: Option<JsonArray>,
    progress: Progress,
}

impl Printed {
    async fn add(&mut self, session: &Session, ids: impl Iterator<Item = common::ProgramId>) -> Result<(), Failure> {
        match &mut self.array {
            Some(array) => add_rows(session.client(), ids, array).await,
            None => print_ids(ids),
        }
    }
}

/// How far it is, on a terminal that is not full of IDs anyway.
struct Progress {
    shown: Option<Instant>,
    on: bool,
}

impl Progress {
    fn new() -> Self {
        Self { shown: None, on: std::io::stderr().is_terminal() && !std::io::stdout().is_terminal() }
    }

    fn tell(&mut self, accepted: u32) {
        if self.on && self.shown.is_none_or(|at| at.elapsed() >= PROGRESS_INTERVAL) {
            self.shown = Some(Instant::now());
            say(&format!("\rruche: {accepted} programs accepted"));
        }
    }

    fn end(&mut self) {
        if self.shown.take().is_some() {
            say("\r\x1b[K");
        }
    }
}
