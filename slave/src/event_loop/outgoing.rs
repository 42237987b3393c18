//! Reports on their way into the connection: those of one batch together, and ends of short programs those of several.

use common::{
    id::AttemptKey,
    limits,
    message::{Finished, Message, Report, Status, Stream},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// How long ends of short programs wait for others while more programs wait here. To write to a connection, and to be
/// woken by it, costs slave and master as much as a small program costs the machine; the master, which answers after
/// its next commit at the earliest, has sent ahead what is started meanwhile.
const GATHER: Duration = Duration::from_millis(5);
/// A program that takes longer is told at once.
const SHORT: common::units::Duration = common::units::Duration(4_000);
/// Bytes of tails in one report of finished programs.
const FINISHED_BYTES_MAX: usize = 256 << 10;

/// Reports of one batch, those of a kind together, in the order of their first.
#[derive(Default)]
pub(super) struct Outgoing {
    messages: Vec<Message>,
    started: Vec<(AttemptKey, common::Timestamp)>,
    finished: Vec<Finished>,
    finished_bytes: usize,
    /// Since when the first of them waits.
    since: Option<Instant>,
    /// One of them was no short program.
    urgent: bool,
    /// Streams that could not be read, and from where on.
    pub(super) lost: BTreeMap<(AttemptKey, Stream), u64>,
}

impl Outgoing {
    pub(super) fn push(&mut self, message: impl Into<Message>) {
        self.flush();
        self.messages.push(message.into());
    }

    pub(super) fn report(&mut self, report: Report) {
        if let Report::Started(started) = report {
            self.flush_finished();
            self.started.extend(started);
            if self.started.len() >= limits::BATCH_MAX {
                self.flush();
            }
        } else {
            self.push(Status::Report(report));
        }
    }

    /// The starts of a batch go before its ends, so no end is told before its start.
    pub(super) fn finished(&mut self, finished: Finished) {
        self.flush_started();
        self.finished_bytes += 256 + finished.tails.iter().map(|tail| tail.bytes.len()).sum::<usize>();
        self.urgent |= finished.ended_at.since(finished.started_at.unwrap_or_default()) > SHORT;
        self.finished.push(finished);
        if self.finished.len() >= limits::BATCH_MAX || self.finished_bytes >= FINISHED_BYTES_MAX {
            self.flush();
        }
    }

    fn flush_started(&mut self) {
        for started in self.started.chunks(limits::BATCH_MAX) {
            self.messages.push(Status::Report(Report::Started(started.to_vec())).into());
        }
        self.started.clear();
    }

    fn flush_finished(&mut self) {
        if !self.finished.is_empty() {
            let finished = std::mem::take(&mut self.finished);
            self.finished_bytes = 0;
            self.messages.push(Status::Report(Report::Finished(finished)).into());
        }
    }

    fn flush(&mut self) {
        self.flush_started();
        self.flush_finished();
    }

    /// Whether nothing is lost by waiting for more: short programs have ended, nothing else is to be told, and the
    /// slave is `busy` with others that wait already.
    pub(super) fn may_wait(&mut self, busy: bool, now: Instant) -> bool {
        let only_ends = self.messages.is_empty() && self.started.is_empty() && !self.finished.is_empty();
        only_ends && busy && !self.urgent && now < *self.since.get_or_insert(now) + GATHER
    }

    /// When what waits must go.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.since.map(|since| since + GATHER)
    }

    pub(super) fn finish(mut self) -> Vec<Message> {
        self.flush();
        self.messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{
        ProgramId, Timestamp,
        message::Tail,
        outcome::Outcome,
        view::{Progress, Usage},
    };
    use uuid::Uuid;

    fn key() -> AttemptKey {
        AttemptKey { program: ProgramId(Uuid::nil()), attempt: 1 }
    }

    fn end(micros: u64, started: bool) -> Finished {
        Finished {
            key: key(),
            outcome: Outcome::Exited { code: 0 },
            started_at: started.then_some(Timestamp(1_000_000)),
            ended_at: Timestamp(1_000_000 + micros),
            usage: Usage::default(),
            tails: <[Tail; Stream::COUNT]>::default(),
            output_truncated: false,
            last_line: String::new(),
        }
    }

    #[test]
    fn ends_of_short_programs_wait_for_others_only_while_the_slave_is_busy_and_not_for_long() {
        let now = Instant::now();
        let mut outgoing = Outgoing::default();
        assert!(!outgoing.may_wait(true, now), "there is nothing");
        assert_eq!(outgoing.deadline(), None);
        outgoing.finished(end(700, true));
        assert!(outgoing.may_wait(true, now));
        assert_eq!(outgoing.deadline(), Some(now + GATHER));
        outgoing.finished(end(700, true));
        assert!(outgoing.may_wait(true, now + GATHER / 2));
        assert!(!outgoing.may_wait(false, now + GATHER / 2), "nothing else waits");
        assert!(!outgoing.may_wait(true, now + GATHER), "the first has waited");
        assert_eq!(outgoing.finish().len(), 1, "both in one report");
    }

    #[test]
    fn nothing_else_waits_and_nothing_overtakes_an_end() {
        let now = Instant::now();
        let with = |finished| {
            let mut outgoing = Outgoing::default();
            outgoing.finished(finished);
            outgoing
        };
        assert!(!with(end(SHORT.0 + 1, true)).may_wait(true, now), "it ran for longer");
        assert!(!with(end(0, false)).may_wait(true, now), "it was never started");
        let mut outgoing = with(end(700, true));
        assert!(outgoing.may_wait(true, now));
        outgoing.report(Report::Started(vec![(key(), Timestamp(1))]));
        assert!(!outgoing.may_wait(true, now), "a start is told");
        let mut outgoing = with(end(700, true));
        assert!(outgoing.may_wait(true, now));
        let progress = Progress { percent: 1.0, text: String::new() };
        outgoing.report(Report::Progress { key: key(), progress });
        assert!(!outgoing.may_wait(true, now), "progress is told");
        let messages = outgoing.finish();
        assert!(matches!(messages[0], Message::Status(Status::Report(Report::Finished(_)))), "{messages:?}");
        assert_eq!(messages.len(), 2);
        let mut outgoing = Outgoing::default();
        outgoing.report(Report::Draining);
        outgoing.finished(end(700, true));
        assert!(!outgoing.may_wait(true, now), "something was told before it");
    }
}
