//! `ruche run`: submit, stream, exit as the program did.

use super::{
    files,
    prepare::{Prepared, complete, prepare},
};
use crate::{
    arguments::{Submit, is_command},
    failure::{CANCELLED, Failure, Outcome, RUN_FAILED, report, say},
    follow::{Follow, Sinks},
    interrupts::{Interrupts, LEAVE_TIME},
    reading::read_request,
    session::{Opening, Session},
    sink::Sink,
    terminal,
    typing::Typing,
};
use client::{
    connection::Requests,
    files::Picked,
    reply,
    submit::{Started, Submission},
};
use common::{
    ErrorCode, Limit, Outcome as ProgramOutcome, ProgramId, ProgramSpec, UserError,
    escape::{Lines, RawText, visible},
    message::{Request, Stream},
    program::{LiveInput, TerminalSize},
};
use std::{
    collections::VecDeque,
    ffi::OsString,
    io::{IsTerminal, Write},
    path::PathBuf,
};

/// Of a terminal that does not tell its own.
const SIZE_DEFAULT: TerminalSize = TerminalSize { columns: 80, rows: 24 };
/// Times that input files are sent again because the master does not have them any more.
const MISSING_MAX: u32 = 3;
/// Copies whose first outputs are asked for ahead of the one that is shown.
const AHEAD: usize = 32;

pub(super) async fn run(mut options: Submit, arguments: &[OsString]) -> Outcome {
    if options.each_line.is_some() {
        let error = UserError::new(ErrorCode::RequestInvalid, "`run` follows programs that it knows beforehand");
        return Err(error
            .with_hint("`ruche submit --each-line FILE` submits them, `ruche wait` waits for them")
            .into());
    }
    let live = live(&options, arguments)?;
    let picked = files::pick_all(&options.input)?;
    let prepared = prepare(&mut options, arguments)?;
    let opening = Opening::new()?;
    let (mut session, begun) = match prepared {
        Prepared::Whole(spec) if picked.is_empty() && options.count.is_none_or(|count| count == 1) => {
            // Everything that a short program needs leaves with the login, and every master knows it.
            let mut begun = Begun::new(finished(*spec, live, &picked, &options), &options, opening.requests())?;
            (connected(opening, &mut begun.interrupts).await?, begun)
        }
        prepared @ (Prepared::Whole(_) | Prepared::LanguageOpen(..)) => {
            let mut session = opening.connect().await?;
            let spec = complete(prepared, &options, &session).await?;
            let spec = finished(spec, live, &picked, &options);
            files::send(&mut session, &picked).await?;
            let begun = Begun::new(spec, &options, session.client())?;
            (session, begun)
        }
    };
    let Begun { mut submission, ids, mut interrupts, mut started, mut ahead } = begun;
    let submitting = async {
        match submission.finish(&mut started).await {
            Ok(()) => Ok(()),
            Err(error) => {
                ahead.clear();
                send_again(&mut submission, &mut session, &picked, error).await
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
    let mut sinks =
        Sinks { stdout: Sink::stdout(options.raw || options.tty), stderr: Sink::stderr(options.raw || options.tty) };
    let mut code = 0;
    let mut next = ahead.len();
    for id in &ids {
        while ahead.len() < AHEAD && next < ids.len() {
            ahead.push_back(Follow::begin(session.client(), ids[next], !options.json));
            next += 1;
        }
        let Some(mut follow) = ahead.pop_front() else { break };
        let mut typing = match live {
            Some(_) => Typing::begin(*id, options.tty)?,
            None => Typing::none(*id),
        };
        // Restored before anything is said of the end.
        let raw = if options.tty { terminal::Raw::enter()? } else { None };
        let outcome = follow.run(&mut session, &mut sinks, &mut interrupts, &mut typing).await?;
        drop(raw);
        if code == 0 {
            code = outcome.exit_code();
        }
        if !options.json {
            verdict(&session, *id, &outcome, options.raw).await;
        }
    }
    if !options.collect.is_empty() && !bring_back(&mut session, &ids, options.force).await? && code == 0 {
        code = RUN_FAILED;
    }
    if options.json {
        super::submit::print_rows(session.client(), ids.iter().copied(), options.count.unwrap_or(1) > 1).await?;
    }
    Ok(code)
}

/// A submit that is on its way, and what was asked about it at once.
struct Begun {
    submission: Submission,
    ids: Vec<ProgramId>,
    interrupts: Interrupts,
    started: Started,
    /// The program that is followed, when it is one.
    ahead: VecDeque<Follow>,
}

impl Begun {
    fn new(spec: ProgramSpec, options: &Submit, requests: &Requests) -> Result<Self, Failure> {
        let submission = Submission::new(spec, options.count.unwrap_or(1))?;
        let ids: Vec<ProgramId> = submission.ids().collect();
        let interrupts = Interrupts::watch(&ids, options.tty)?;
        let started = submission.begin(requests);
        let ahead = match ids.as_slice() {
            [id] => VecDeque::from([Follow::begin(requests, *id, !options.json)]),
            _ => VecDeque::new(),
        };
        Ok(Self { submission, ids, interrupts, started, ahead })
    }
}

/// The connection that a submit leaves with. Once that may have left, an interrupt cancels it over this connection if
/// it comes soon, and a lost connection is made again.
async fn connected(opening: Opening, interrupts: &mut Interrupts) -> Result<Session, Failure> {
    let requests = opening.requests().clone();
    let mut connecting = std::pin::pin!(opening.connect_surely());
    tokio::select! {
        session = &mut connecting => return Ok(session?),
        () = interrupts.next() => {}
    }
    if requests.have_left() {
        let leave = async {
            if let Ok(session) = connecting.await {
                interrupts.cancel_and_leave(session.client()).await;
            }
        };
        if tokio::time::timeout(LEAVE_TIME, leave).await.is_err() {
            tracing::warn!("the master did not answer; whether the program was submitted is not known");
        }
    }
    Err(Failure::Exit(CANCELLED))
}

/// The specification with everything that is not told by the words of the command.
fn finished(mut spec: ProgramSpec, live: Option<LiveInput>, picked: &[Picked], options: &Submit) -> ProgramSpec {
    spec.live = live;
    files::add_to(&mut spec, picked, &options.collect);
    if options.tty {
        name_terminal(&mut spec);
    }
    spec
}

/// Writes what the programs brought back to the current folder; of several each to one that is named by its index.
/// False when something could not be written.
async fn bring_back(session: &mut Session, ids: &[ProgramId], force: bool) -> Result<bool, Failure> {
    let mut failed = 0;
    for (index, id) in ids.iter().enumerate() {
        let to = if ids.len() == 1 { PathBuf::from(".") } else { PathBuf::from(index.to_string()) };
        failed += files::bring_back(session, *id, &to, force).await?.unwrap_or_default();
    }
    Ok(failed == 0)
}

/// Whether the program gets our standard input as it comes, or a terminal.
fn live(options: &Submit, arguments: &[OsString]) -> Result<Option<LiveInput>, UserError> {
    let several = options.count.is_some_and(|count| count > 1) || options.retry.is_some_and(|retry| retry > 0);
    let source_on_stdin =
        !is_command(&options.words, arguments) && options.words.first().is_some_and(|word| word == "-");
    if options.tty {
        if several || source_on_stdin {
            let what =
                if several { "a program that may run more than once" } else { "a source text from standard input" };
            let error = UserError::new(ErrorCode::RequestInvalid, format!("{what} cannot have this terminal"));
            return Err(error.with_hint("leave `--tty` out"));
        }
        let size = terminal::size().unwrap_or(SIZE_DEFAULT);
        return Ok(Some(LiveInput { terminal: Some(size) }));
    }
    let given = options.stdin.is_some() || several || source_on_stdin;
    Ok((!given && !is_null() && terminal::input_is_ours()).then_some(LiveInput { terminal: None }))
}

/// Whether our standard input is empty by its nature: then the program's needs no word about it.
fn is_null() -> bool {
    let of = |found: rustix::fs::Stat| (found.st_rdev, rustix::fs::FileType::from_raw_mode(found.st_mode));
    let null = rustix::fs::stat("/dev/null").map(of);
    matches!((rustix::fs::fstat(std::io::stdin()).map(of), null), (Ok(ours), Ok(null)) if ours == null)
}

/// The kind of our terminal, as programs ask for it, unless it was given.
fn name_terminal(spec: &mut ProgramSpec) {
    if spec.environment.iter().all(|(name, _)| name.0 != b"TERM") {
        let term = std::env::var_os("TERM").unwrap_or_else(|| "dumb".into());
        spec.environment.push(("TERM".into(), RawText(term.into_encoded_bytes())));
    }
}

/// Waits out a busy master, and sends again over another connection, until all is acknowledged.
pub(super) async fn send_again(
    submission: &mut Submission,
    session: &mut Session,
    picked: &[Picked],
    error: UserError,
) -> Result<(), Failure> {
    let (mut error, mut missing) = (error, 0);
    loop {
        if error.is(ErrorCode::InputMissing) && !picked.is_empty() && missing < MISSING_MAX {
            // The master made room for others since it was asked.
            missing += 1;
            files::send(session, picked).await?;
        } else {
            session.recover(error).await?;
        }
        match submission.send(session.client()).await {
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
