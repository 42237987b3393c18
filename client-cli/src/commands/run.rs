//! `ruche run`: submit, stream, exit as the program did.

use super::prepare::{complete, prepare};
use crate::{
    arguments::Submit,
    failure::{CANCELLED, Failure, Outcome, report, say},
    follow::{Follow, Interrupts, Sinks, read_request},
    json,
    output::{Sink, print_json},
    session::Session,
};
use client::{reply, submit::Submission};
use common::{
    ErrorCode, Limit, Outcome as ProgramOutcome, ProgramId, UserError,
    escape::{Lines, visible},
    message::{Request, Stream},
};
use std::{
    collections::VecDeque,
    ffi::OsString,
    io::{IsTerminal, Write},
};

/// Copies whose first outputs are asked for ahead of the one that is shown.
const AHEAD: usize = 32;

pub(super) async fn run(mut options: Submit, arguments: &[OsString]) -> Outcome {
    let prepared = prepare(&mut options, arguments)?;
    let mut session = Session::open().await?;
    let spec = complete(prepared, &options, &session).await?;
    let mut submission = Submission::new(spec, options.count.unwrap_or(1))?;
    let ids = submission.ids().to_vec();
    let mut interrupts = Interrupts::watch(&ids)?;
    // Everything that a short program needs leaves in one write.
    let mut started = submission.begin(session.client());
    let mut ahead: VecDeque<_> = if ids.len() == 1 {
        VecDeque::from([Follow::begin(session.client(), ids[0], !options.json)])
    } else {
        VecDeque::new()
    };
    let submitting = async {
        match submission.finish(session.client(), &mut started, |_| {}).await {
            Ok(()) => Ok(()),
            Err(error) => {
                ahead.clear();
                send_again(&mut submission, &mut session, error).await
            }
        }
    };
    let acknowledged = tokio::select! {
        acknowledged = submitting => Some(acknowledged),
        () = interrupts.next() => None,
    };
    match acknowledged {
        Some(acknowledged) => acknowledged?,
        None => {
            interrupts.cancel_and_leave(session.client()).await;
            return Err(Failure::Exit(CANCELLED));
        }
    }
    let mut sinks = Sinks { stdout: Sink::stdout(options.raw), stderr: Sink::stderr(options.raw) };
    let mut code = 0;
    let mut next = ahead.len();
    for id in &ids {
        while ahead.len() < AHEAD && next < ids.len() {
            ahead.push_back(Follow::begin(session.client(), ids[next], !options.json));
            next += 1;
        }
        let Some(mut follow) = ahead.pop_front() else { break };
        let outcome = follow.run(&mut session, &mut sinks, &mut interrupts).await?;
        if code == 0 {
            code = outcome.exit_code();
        }
        if !options.json {
            verdict(&session, *id, &outcome, options.raw).await;
        }
    }
    if options.json {
        let rows = super::submit::rows(session.client(), &ids).await?;
        print_json(&super::submit::one_or_array(rows.iter().map(json::program), options.count))?;
    }
    Ok(code)
}

/// Waits out a busy master, and sends again over another connection, until all is acknowledged.
pub(super) async fn send_again(
    submission: &mut Submission,
    session: &mut Session,
    error: UserError,
) -> Result<(), Failure> {
    let mut error = error;
    loop {
        session.recover(error).await?;
        match submission.send(session.client(), |_| {}).await {
            Ok(()) => return Ok(()),
            Err(another) => error = another,
        }
    }
}

/// Tells on standard error why a program did not end well. A plain exit code speaks for itself, so that a
/// script finds on standard error what the program wrote and nothing else.
async fn verdict(session: &Session, id: ProgramId, outcome: &ProgramOutcome, raw: bool) {
    let coded = |code: ErrorCode| report(&UserError::new(code, outcome.sentence()));
    match outcome {
        ProgramOutcome::Exited { code: 0 } => {}
        ProgramOutcome::Exited { .. } if !std::io::stderr().is_terminal() => {}
        ProgramOutcome::CompileError { detail } => {
            let text = compile_text(session, id).await.unwrap_or_default();
            let text = if text.is_empty() { detail.clone().into_bytes() } else { text };
            write_error_text(&text, raw);
            tell(&ProgramOutcome::CompileError { detail: String::new() });
        }
        ProgramOutcome::NotSupported { detail } => match with_code(detail) {
            Some(error) => report(&error),
            None => coded(ErrorCode::LanguageNone),
        },
        ProgramOutcome::NotFound { .. } => coded(ErrorCode::CommandNotFound),
        ProgramOutcome::Lost { .. } => coded(ErrorCode::SlaveLost),
        ProgramOutcome::Limit {
            limit: Limit::Processes | Limit::Output | Limit::FileSize | Limit::Disk | Limit::OpenFiles,
            ..
        } => coded(ErrorCode::LimitReached),
        ProgramOutcome::Exited { .. }
        | ProgramOutcome::Signalled { .. }
        | ProgramOutcome::Limit { limit: Limit::WallTime | Limit::CpuTime | Limit::Memory, .. }
        | ProgramOutcome::Cancelled { .. } => tell(outcome),
    }
}

/// The error of a detail that begins with its code, as that of a program which no slave allows does.
fn with_code(detail: &str) -> Option<UserError> {
    let (code, sentence) = detail.split_once(": ")?;
    let code = ErrorCode::ALL.iter().find(|known| known.code() == code)?;
    Some(UserError::new(*code, sentence))
}

fn tell(outcome: &ProgramOutcome) {
    say(&format!("ruche: {}\n", visible(outcome.sentence().as_bytes(), Lines::Escape)));
}

/// What the compiler wrote, as it wrote it; shown safely on a terminal unless asked otherwise.
fn write_error_text(text: &[u8], raw: bool) {
    let mut out = std::io::stderr().lock();
    let safe = (!raw && std::io::stderr().is_terminal()).then(|| visible(text, Lines::Keep).into_bytes());
    let text = safe.as_deref().unwrap_or(text);
    let end: &[u8] = if text.ends_with(b"\n") { b"" } else { b"\n" };
    // A closed standard error is the caller's choice.
    drop(out.write_all(text).and_then(|()| out.write_all(end)));
}

/// The whole of what the compiler wrote.
async fn compile_text(session: &Session, id: ProgramId) -> Result<Vec<u8>, UserError> {
    let mut text = Vec::new();
    loop {
        let request: Request = read_request(id, Stream::Compile, text.len() as u64, false);
        let piece = reply::output(session.ask(request).await?)?;
        if piece.bytes.is_empty() {
            return Ok(text);
        }
        text.extend(piece.bytes);
        if piece.end {
            return Ok(text);
        }
    }
}
