//! The terminal: its width, its colours, and questions to the person in front of it.

use common::{ErrorCode, UserError, message::command::Secret, program::TerminalSize};
use rustix::{
    process::getpgrp,
    termios::{
        LocalModes, OptionalActions, SpecialCodeIndex, Termios, Winsize, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr,
    },
};
use std::{
    fs::File,
    io::{BufRead, BufReader, IsTerminal, Read, Write},
    sync::{Mutex, PoisonError},
};

/// Columns when the terminal does not tell.
const COLUMNS_DEFAULT: usize = 80;
/// Bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 4 << 10;

/// The size of our terminal; none when there is none.
pub(crate) fn size() -> Option<TerminalSize> {
    let of = |size: Winsize| TerminalSize { columns: size.ws_col, rows: size.ws_row };
    let asked = tcgetwinsize(std::io::stdin()).or_else(|_| tcgetwinsize(std::io::stdout())).ok().map(of);
    asked.filter(|size| size.columns > 0 && size.rows > 0)
}

/// Whether what is typed on standard input may be read by us: nobody is stopped for reading what is not his.
pub(crate) fn input_is_ours() -> bool {
    let stdin = std::io::stdin();
    !stdin.is_terminal() || tcgetpgrp(&stdin).is_ok_and(|front| front == getpgrp())
}

/// What the terminal was before its keys were made the program's.
static COOKED: Mutex<Option<Termios>> = Mutex::new(None);

/// Every key is the program's, until this is dropped, the process panics or ends in order.
pub(crate) struct Raw(());

impl Raw {
    /// Passes on what is typed as it is. None when standard input is no terminal.
    ///
    /// # Errors
    /// When the terminal refuses.
    pub(crate) fn enter() -> std::io::Result<Option<Self>> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        *COOKED.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        let shown = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // Before anything is written, so that it can be read.
            restore();
            shown(panic);
        }));
        let guard = Self(());
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Some(guard))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}

/// Makes the terminal what it was.
fn restore() {
    let cooked = COOKED.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(cooked) = cooked
        && let Err(error) = tcsetattr(std::io::stdin(), OptionalActions::Now, &cooked)
    {
        tracing::debug!(%error, "the terminal is not restored");
    }
}

/// Whether keys are the program's now: then a line must be brought back to its beginning by hand.
pub(crate) fn is_raw() -> bool {
    COOKED.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// Columns of standard output; none when it is no terminal, so that lines are not cut.
pub(crate) fn columns() -> Option<usize> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    let asked =
        tcgetwinsize(std::io::stdout()).ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
    Some(asked.unwrap_or(COLUMNS_DEFAULT))
}

/// Whether standard output takes colours: a terminal, and nobody set `NO_COLOR`.
pub(crate) fn colours() -> bool {
    std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|value| value != "dumb")
}

/// The terminal of whoever runs this command; none in a script, also when one is far above it.
fn person() -> Option<File> {
    if !std::io::stdin().is_terminal() && !std::io::stderr().is_terminal() {
        return None;
    }
    File::options().read(true).write(true).open("/dev/tty").ok()
}

/// Asks a question that is answered with `yes` or `no`; none when there is nobody to ask.
pub(crate) fn ask_yes_no(question: &str) -> Option<bool> {
    let mut terminal = person()?;
    let mut reader = BufReader::new(terminal.try_clone().ok()?.take(ANSWER_BYTES_MAX));
    loop {
        terminal.write_all(question.as_bytes()).ok()?;
        let mut answer = String::new();
        if reader.read_line(&mut answer).ok()? == 0 {
            return Some(false);
        }
        match answer.trim().to_lowercase().as_str() {
            "yes" | "y" => return Some(true),
            "no" | "n" => return Some(false),
            _ => terminal.write_all(b"Please type `yes` or `no`.\n").ok()?,
        }
    }
}

/// Asks for a password without showing it.
///
/// # Errors
/// When there is nobody to ask.
pub(crate) fn ask_password(question: &str) -> Result<Secret, UserError> {
    let nobody = || {
        UserError::new(ErrorCode::RequestInvalid, "there is no terminal to ask for the password on")
            .with_hint("give it on standard input with `--password-stdin`")
    };
    let mut terminal = person().ok_or_else(nobody)?;
    let result = terminal.write_all(question.as_bytes()).and_then(|()| read_hidden(&terminal));
    drop(terminal.write_all(b"\n"));
    match result {
        Ok(Some(bytes)) => password(bytes),
        Ok(None) => Err(UserError::new(ErrorCode::RequestInvalid, "no password was given").with_hint("try again")),
        Err(_) => Err(nobody()),
    }
}

/// Reads a password from the first line of standard input.
///
/// # Errors
/// When there is none.
pub(crate) fn password_from_stdin() -> Result<Secret, UserError> {
    let mut line = Vec::new();
    let mut reader = BufReader::new(std::io::stdin().lock().take(ANSWER_BYTES_MAX));
    let read = reader.read_until(b'\n', &mut line);
    while line.last().is_some_and(|byte| *byte == b'\n' || *byte == b'\r') {
        line.pop();
    }
    match read {
        Ok(_) if !line.is_empty() => password(line),
        Ok(_) | Err(_) => Err(UserError::new(ErrorCode::RequestInvalid, "standard input holds no password")
            .with_hint("write it as one line, for example `--password-stdin < FILE`")),
    }
}

fn password(bytes: Vec<u8>) -> Result<Secret, UserError> {
    String::from_utf8(bytes)
        .map(Secret)
        .map_err(|_| UserError::new(ErrorCode::RequestInvalid, "the password is not UTF-8 text").with_hint("try again"))
}

/// Restores the terminal whatever happens.
struct Restore<'a>(&'a File, Termios);

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(self.0, OptionalActions::Flush, &self.1) {
            tracing::debug!(%error, "the terminal is not restored");
        }
    }
}

/// Reads a line byte by byte, so that Ctrl-C finds the terminal restored; none after Ctrl-C.
fn read_hidden(terminal: &File) -> std::io::Result<Option<Vec<u8>>> {
    let before = tcgetattr(terminal)?;
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
    quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
    let _restore = Restore(terminal, before);
    tcsetattr(terminal, OptionalActions::Flush, &quiet)?;
    let mut line = Vec::new();
    for byte in BufReader::new(terminal).bytes() {
        match byte? {
            b'\n' | b'\r' => return Ok(Some(line)),
            // Ctrl-C, Ctrl-D, Ctrl-\
            3 | 4 | 28 => return Ok(None),
            // Backspace takes a whole character back.
            8 | 127 => while line.pop().is_some_and(|byte| (0x80..0xc0).contains(&byte)) {},
            21 => line.clear(),
            byte if line.len() < ANSWER_BYTES_MAX as usize => line.push(byte),
            _ => {}
        }
    }
    Ok(None)
}
