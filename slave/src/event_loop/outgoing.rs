//! The reports of one batch on their way into the connection.

use common::{
    id::AttemptKey,
    limits,
    message::{Finished, Message, Report, Status, Stream},
};
use std::collections::BTreeMap;

/// Bytes of tails in one report of finished programs.
const FINISHED_BYTES_MAX: usize = 256 << 10;

/// Reports of one batch, those of a kind together, in the order of their first.
#[derive(Default)]
pub(super) struct Outgoing {
    messages: Vec<Message>,
    started: Vec<(AttemptKey, common::Timestamp)>,
    finished: Vec<Finished>,
    finished_bytes: usize,
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

    pub(super) fn finish(mut self) -> Vec<Message> {
        self.flush();
        self.messages
    }
}
