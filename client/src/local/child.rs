//! A child process: its line that says that it is ready, its log, and its end.

use common::{
    ErrorCode, UserError,
    escape::{Lines, visible},
};
use std::{
    ffi::OsString,
    fs::{self, File},
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    time::{Duration, Instant},
};

/// Lines of a child's standard output that wait to be looked at.
const LINES_MAX: usize = 64;
/// Bytes of a line that is looked at.
const LINE_BYTES_MAX: u64 = 4 << 10;
/// Bytes at the end of a log that are searched for the reason of a failure.
const TAIL_BYTES: u64 = 8 << 10;
/// Lines of a log that are shown with a failure.
const TAIL_LINES: usize = 6;
/// Between two looks whether a child has ended.
const POLL: Duration = Duration::from_millis(10);

/// A child that runs until its standard input closes.
#[derive(Debug)]
pub(super) struct Daemon {
    name: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    log: PathBuf,
    log_start: u64,
}

impl Daemon {
    /// Starts it with `--until-stdin-closes` added; what it writes on standard error is appended to `log`.
    /// `secret` is a variable for its environment, which, unlike the arguments, other users cannot read.
    pub(super) fn start(
        name: &'static str,
        program: &Path,
        arguments: &[OsString],
        secret: Option<(&str, &str)>,
        log: &Path,
    ) -> Result<Self, UserError> {
        let (log_file, log_start) = open_log(log)?;
        let mut child = Command::new(program)
            .args(arguments)
            .arg("--until-stdin-closes")
            // The caller's own is for a slave that he starts himself.
            .env_remove("RUCHE_JOIN")
            .envs(secret)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_file)
            // Ctrl-C in a terminal is for us; the child stops when we close its standard input.
            .process_group(0)
            .spawn()
            .map_err(|error| cannot_start(name, program, &error))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take();
        let (sender, lines) = sync_channel(LINES_MAX);
        // Ends with the child, whose output it reads to the end so that the child never waits for us.
        let reader = std::thread::Builder::new().name(format!("ruche-read-{}", child.id())).spawn(move || {
            let Some(stdout) = stdout else { return };
            let mut reader = BufReader::new(stdout);
            let mut line = Vec::new();
            while matches!((&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line), Ok(1..)) {
                drop(sender.try_send(String::from_utf8_lossy(&line).trim_end().to_owned()));
                line.clear();
            }
        });
        let mut daemon = Self { name, child, stdin, lines, log: log.to_owned(), log_start };
        if let Err(error) = reader {
            daemon.stop(Duration::ZERO);
            return Err(UserError::new(ErrorCode::Internal, format!("no thread reads from {name}: {error}")));
        }
        Ok(daemon)
    }

    /// Waits for a line that begins with `start` and gives its next word. Stops the child when the line does
    /// not come.
    pub(super) fn wait_for_line(&mut self, start: &str, within: Duration) -> Result<String, UserError> {
        let deadline = Instant::now() + within;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(word) = line.strip_prefix(start).and_then(|rest| rest.split_whitespace().next()) {
                        return Ok(word.to_owned());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.stop(Duration::from_secs(2));
                    let what = format!("{} was not ready within {} s", self.name, within.as_secs());
                    return Err(self.failure(&what));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.stop(Duration::from_secs(2));
                    let how = status.map_or_else(String::new, |status| format!(" ({status})"));
                    return Err(self.failure(&format!("{} ended before it was ready{how}", self.name)));
                }
            }
        }
    }

    /// What is wrong, once it has ended by itself.
    pub(super) fn ended(&mut self) -> Option<UserError> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(self.failure(&format!("{} ended ({status})", self.name)))
    }

    /// Asks it to stop, and kills it when it takes longer than `within`.
    pub(super) fn stop(&mut self, within: Duration) -> Option<ExitStatus> {
        drop(self.stdin.take());
        let deadline = Instant::now() + within;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(POLL),
                Ok(None) | Err(_) => break,
            }
        }
        tracing::warn!("{} did not stop by itself and is killed", self.name);
        drop(self.child.kill());
        self.child.wait().ok()
    }

    fn failure(&self, what: &str) -> UserError {
        let tail = read_tail(&self.log, self.log_start).unwrap_or_default();
        error_of(what, &tail, &format!("read {}", self.log.display()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop(Duration::from_secs(2));
    }
}

/// Runs a program with this standard input to its end and gives its standard output without the last line's
/// end.
pub(super) fn run_to_end(
    what: &str,
    program: &Path,
    arguments: &[OsString],
    input: &str,
    within: Duration,
) -> Result<String, UserError> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| cannot_start(what, program, &error))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not want it has closed its end, and its exit code tells what is wrong.
        drop(stdin.write_all(format!("{input}\n").as_bytes()));
    }
    let deadline = Instant::now() + within;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(POLL),
            Ok(None) | Err(_) => {
                drop(child.kill());
                drop(child.wait());
                return Err(UserError::new(
                    ErrorCode::Timeout,
                    format!("{what} did not end within {} s", within.as_secs()),
                ));
            }
        }
    };
    let read = |stream: Option<&mut dyn Read>| {
        let mut bytes = Vec::new();
        if let Some(stream) = stream {
            drop(stream.take(TAIL_BYTES).read_to_end(&mut bytes));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let output = read(child.stdout.as_mut().map(|stream| stream as &mut dyn Read));
    if status.success() {
        return Ok(output.trim_end().to_owned());
    }
    let errors = read(child.stderr.as_mut().map(|stream| stream as &mut dyn Read));
    Err(error_of(&format!("{what} failed ({status})"), &errors, "read the lines above"))
}

/// The error that the program's own lines tell, else one that shows the last of them.
fn error_of(what: &str, lines: &str, hint: &str) -> UserError {
    let coded = lines.lines().enumerate().filter_map(|(at, line)| Some((at, told_error(line)?))).last();
    if let Some((at, (code, sentence))) = coded {
        let told_hint = lines.lines().nth(at + 1).and_then(|line| line.trim().strip_prefix("hint: "));
        return UserError {
            code: code.to_owned(),
            sentence: format!("{what}: {}", visible(sentence.as_bytes(), Lines::Escape)),
            hint: told_hint.unwrap_or(hint).to_owned(),
            retry_after: None,
        };
    }
    let last: Vec<_> = lines.lines().filter(|line| !line.trim().is_empty()).collect();
    let shown: Vec<_> = last[last.len().saturating_sub(TAIL_LINES)..]
        .iter()
        .map(|line| visible(line.as_bytes(), Lines::Escape))
        .collect();
    let sentence = if shown.is_empty() { what.to_owned() } else { format!("{what}; it wrote:\n{}", shown.join("\n")) };
    UserError::new(ErrorCode::Internal, sentence).with_hint(hint)
}

/// Splits a line like `E-DATA-LOCKED: another master …`, also behind a logger's prefix.
fn told_error(line: &str) -> Option<(&str, &str)> {
    let start = line.find("E-")?;
    let (code, sentence) = line[start..].split_once(": ")?;
    ErrorCode::ALL.iter().any(|known| known.code() == code).then_some((code, sentence))
}

/// Opens the log to append to, beginning a new one when it is long; gives the place of the first new byte.
fn open_log(path: &Path) -> Result<(File, u64), UserError> {
    let open = || {
        if fs::metadata(path).is_ok_and(|metadata| metadata.len() > super::LOG_BYTES_MAX) {
            fs::rename(path, path.with_extension("log.old"))?;
        }
        let file = fs::OpenOptions::new().create(true).append(true).open(path)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    };
    open().map_err(|error: std::io::Error| {
        UserError::new(ErrorCode::DataUnusable, format!("the log {} cannot be written: {error}", path.display()))
    })
}

fn read_tail(path: &Path, from: u64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let end = file.metadata()?.len();
    file.seek(SeekFrom::Start(from.max(end.saturating_sub(TAIL_BYTES))))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn cannot_start(name: &str, program: &Path, error: &std::io::Error) -> UserError {
    UserError::new(ErrorCode::Internal, format!("{name} cannot be started: {}: {error}", program.display()))
        .with_hint("install Ruche again, or check the file's permissions")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, folder: &Path) -> Daemon {
        let arguments = ["-c".into(), script.into()];
        Daemon::start("the shell", Path::new("/bin/sh"), &arguments, Some(("SECRET", "hidden")), &folder.join("sh.log"))
            .unwrap()
    }

    #[test]
    fn e9_a_child_that_fails_to_start_is_explained_with_its_own_words() {
        let folder = tempfile::tempdir().unwrap();
        for (script, code, part) in [
            ("echo 'E-DATA-LOCKED: another master uses it' >&2; exit 1", "E-DATA-LOCKED", "another master uses it"),
            ("echo one >&2; echo two >&2; exit 3", "E-INTERNAL", "one\ntwo"),
            ("exit 0", "E-INTERNAL", "ended before it was ready"),
        ] {
            let error = shell(script, folder.path()).wait_for_line("ready at ", Duration::from_secs(20)).unwrap_err();
            assert_eq!(error.code, code, "{error}");
            assert!(error.sentence.contains(part), "{error}");
        }
    }

    #[test]
    fn a_child_ends_when_its_standard_input_closes() {
        let folder = tempfile::tempdir().unwrap();
        let mut daemon =
            shell("echo hello; test \"$SECRET\" = hidden && echo ready at 1.2.3.4:5 as x; cat", folder.path());
        assert_eq!(daemon.wait_for_line("ready at ", Duration::from_secs(20)), Ok("1.2.3.4:5".to_owned()));
        assert_eq!(daemon.ended(), None);
        assert!(daemon.stop(Duration::from_secs(20)).is_some_and(|status| status.success()));
    }

    #[test]
    fn e9_a_command_that_fails_is_explained_with_its_own_words() {
        let run = |script: &str| {
            let arguments = ["-c".into(), script.into()];
            run_to_end("the shell", Path::new("/bin/sh"), &arguments, "secret", Duration::from_secs(20))
        };
        assert_eq!(run("read x; echo got $x"), Ok("got secret".to_owned()));
        let error = run("echo 'E-USER-EXISTS: there is an alice' >&2; echo 'hint: take bob' >&2; exit 1").unwrap_err();
        assert!(error.is(ErrorCode::UserExists) && error.hint == "take bob", "{error}");
    }
}
