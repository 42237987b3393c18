//! From what a keeper tells of a command that it ran by itself to what is kept and told of it.

use super::{
    AttemptEnd, ExecutorEvent,
    attempt::Context,
    folder::{WorkFolder, holds_file_of_size},
    outcome::{self, Stop},
    quick::Given,
    steps::{Phase, bare_step},
};
use common::{
    limits,
    message::{Assignment, Stream},
    outcome::Outcome,
    units::{ByteSize, Timestamp},
    view::Usage,
};
use launcher::protocol::{Ended, QuickResult, StartStep};

impl Context {
    pub(super) fn ended(&mut self, end: AttemptEnd) {
        self.events.push(ExecutorEvent::Ended(Box::new(end)));
    }

    /// An attempt was taken out before it started, for this reason.
    pub(super) fn dropped(&mut self, assignment: Assignment, stop: &Stop) {
        let outcome = match stop {
            Stop::Cancelled { by } => Outcome::Cancelled { by: by.clone() },
            Stop::Discarded => Outcome::Lost { detail: "Its place was taken by another attempt.".to_owned() },
            Stop::Failed(reason) => Outcome::Lost { detail: reason.clone() },
            // It can be started elsewhere, or later.
            Stop::LeaseEnded | Stop::SlaveStops | Stop::Output => {
                return self.events.push(ExecutorEvent::NotStarted(vec![assignment]));
            }
        };
        let now = transport::clock::now();
        self.refuse(assignment.key, outcome, now);
    }

    /// The end of what was handed over and never known to run.
    pub(super) fn given_ended(
        &mut self,
        given: Given,
        result: QuickResult,
        started: Timestamp,
        (output, error): (Vec<u8>, Vec<u8>),
        folder: Option<&WorkFolder>,
    ) {
        let Given { assignment, stop, .. } = given;
        match result {
            QuickResult::Ended(ended) => self.given_ran(&assignment, stop, &ended, started, (output, error), folder),
            QuickResult::NotStarted(failure) if failure.step == StartStep::Lease => {
                // It can be started elsewhere, or later.
                self.events.push(ExecutorEvent::NotStarted(vec![assignment]));
            }
            QuickResult::NotStarted(failure) => {
                let step = bare_step(&assignment, &self.program_path);
                let outcome = outcome::of_not_started(&failure, &step, &self.program_path);
                let last_line = outcome::last_line(&outcome, b"", b"");
                self.ended(AttemptEnd {
                    key: assignment.key,
                    outcome,
                    started_at: Some(started),
                    ended_at: started,
                    usage: Usage::default(),
                    output_truncated: false,
                    last_line,
                });
            }
            QuickResult::Dropped | QuickResult::Returned => match stop {
                Some(stop) => self.dropped(assignment, &stop),
                None => self.events.push(ExecutorEvent::NotStarted(vec![assignment])),
            },
        }
    }

    fn given_ran(
        &mut self,
        assignment: &Assignment,
        mut stop: Option<Stop>,
        ended: &Ended,
        started: Timestamp,
        (mut output, mut error): (Vec<u8>, Vec<u8>),
        folder: Option<&WorkFolder>,
    ) {
        let (key, limits) = (assignment.key, &assignment.spec.limits);
        let truncated = cut(&mut output, &mut error, limits.output);
        if truncated {
            stop.get_or_insert(Stop::Output);
        }
        let full_file = || folder.and_then(|folder| holds_file_of_size(folder, limits.file_size.0));
        let outcome = outcome::of_end(ended, Phase::Run, limits, stop.as_ref(), String::new, full_file);
        // Only a compile step is followed by another one.
        let outcome = outcome.unwrap_or(Outcome::Exited { code: 0 });
        let last_line = outcome::last_line(&outcome, tail(&output), tail(&error));
        for (stream, bytes) in [(Stream::Stdout, output), (Stream::Stderr, error)] {
            if !bytes.is_empty() {
                self.events.push(ExecutorEvent::Output { key, stream, end: bytes.len() as u64 });
                self.outputs.put(key, stream, bytes);
            }
        }
        self.ended(AttemptEnd {
            key,
            outcome,
            started_at: Some(started),
            ended_at: Timestamp(started.0.saturating_add(ended.wall.0)),
            usage: outcome::add_usage(Usage::default(), ended),
            output_truncated: truncated,
            last_line,
        });
    }
}

/// Keeps of both streams what the limit allows, standard output first. Whether something was cut.
fn cut(output: &mut Vec<u8>, error: &mut Vec<u8>, limit: ByteSize) -> bool {
    let most = usize::try_from(limit.0).unwrap_or(usize::MAX);
    let before = output.len() + error.len();
    output.truncate(most);
    error.truncate(most - output.len());
    output.len() + error.len() < before
}

/// What the last line is taken from.
fn tail(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.len().saturating_sub(2 * limits::LAST_LINE_BYTES_MAX)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e10_the_output_limit_cuts_a_quick_program_to_the_byte() {
        for (limit, output, error, expected) in [
            (10, "12345", "12345", ("12345", "12345", false)),
            (9, "12345", "12345", ("12345", "1234", true)),
            (5, "12345", "1", ("12345", "", true)),
            (4, "12345", "", ("1234", "", true)),
            (0, "", "", ("", "", false)),
        ] {
            let (mut kept, mut errors) = (output.as_bytes().to_vec(), error.as_bytes().to_vec());
            let truncated = cut(&mut kept, &mut errors, ByteSize(limit));
            assert_eq!((kept, errors, truncated), (expected.0.into(), expected.1.into(), expected.2), "{limit}");
        }
    }
}
