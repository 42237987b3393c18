//! The command line as a user of it: a configuration folder and the `ruche` program.

use crate::binaries;
use serde_json::Value;
use std::{
    ffi::OsStr,
    io::Write as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// One user's command line.
#[derive(Clone, Debug)]
pub struct Cli {
    config: PathBuf,
    before: Vec<String>,
}

/// How a program ended and what it printed.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; 128+N for signal N.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

impl Finished {
    /// Standard output as text.
    #[must_use]
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    #[must_use]
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }

    /// The same, having checked the exit code.
    ///
    /// # Panics
    /// When the code is another.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out(), self.err());
        self
    }
}

/// Runs `command` to its end with `input` as standard input.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn finish(command: &mut Command, input: &[u8]) -> Finished {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A program that ends before it has read everything closes the pipe; that is no failure here.
    let writer = std::thread::Builder::new().name("stdin".into()).spawn(move || drop(stdin.write_all(&input))).unwrap();
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let code = output
        .status
        .code()
        .unwrap_or_else(|| 128 + std::os::unix::process::ExitStatusExt::signal(&output.status).unwrap());
    Finished { code, stdout: output.stdout, stderr: output.stderr }
}

impl Cli {
    /// A command line whose context lives in `config`.
    #[must_use]
    pub const fn new(config: PathBuf) -> Self {
        Self { config, before: Vec::new() }
    }

    /// The same with words before its command line, such as `nsenter --net=…`.
    #[must_use]
    pub fn through(mut self, before: Vec<String>) -> Self {
        self.before = before;
        self
    }

    /// The folder of its context.
    #[must_use]
    pub fn config(&self) -> &std::path::Path {
        &self.config
    }

    /// `ruche ARGS…`, not started yet.
    pub fn command<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Command {
        let mut command = crate::cluster::through(&self.before, &binaries::path("ruche"));
        command.args(args).env("RUCHE_CONFIG_DIR", &self.config).env("NO_COLOR", "1");
        command
    }

    /// Runs `ruche ARGS…` to its end.
    pub fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Finished {
        finish(&mut self.command(args), b"")
    }

    /// Runs it with standard input.
    #[must_use]
    pub fn run_with_input<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I, input: &[u8]) -> Finished {
        finish(&mut self.command(args), input)
    }

    /// Starts it and leaves it running, its output captured.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> Child {
        self.command(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Submits and gives the ID.
    ///
    /// # Panics
    /// When the submit is refused.
    #[must_use]
    #[track_caller]
    pub fn submit<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, args: I) -> String {
        let mut all = vec![std::ffi::OsString::from("submit")];
        all.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self.run(all).expect(0).out().trim().to_owned()
    }

    /// `ruche show ID --json`.
    ///
    /// # Panics
    /// When there is no such program.
    #[must_use]
    #[track_caller]
    pub fn show(&self, id: &str) -> Value {
        self.run(["show", id, "--json"]).expect(0).json()
    }

    /// `ruche list --json` of everything.
    ///
    /// # Panics
    /// When the master does not answer.
    #[must_use]
    #[track_caller]
    pub fn list(&self, options: &[&str]) -> Vec<Value> {
        let mut args = vec!["list", "--json", "--limit", "100000"];
        args.extend(options);
        self.run(args).expect(0).json().as_array().unwrap().clone()
    }

    /// `ruche slaves --json`.
    ///
    /// # Panics
    /// When the master does not answer.
    #[must_use]
    #[track_caller]
    pub fn slaves(&self) -> Vec<Value> {
        self.run(["slaves", "--json"]).expect(0).json().as_array().unwrap().clone()
    }
}
