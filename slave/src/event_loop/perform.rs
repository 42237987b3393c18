//! What follows from events: the journal is written, then things are done and told.

use super::{Announce, BULK_QUEUED_BYTES_MAX, Link, Run, Slave, outgoing::Outgoing};
use crate::{
    core::{Action, Event, FinishedHead, Holdings, Now},
    executor::Stop,
    files::Held,
    journal::KeptEnd,
};
use common::{
    id::AttemptKey,
    message::{Assignment, Data, Finished, Registration, Report, Status, Stream, Tail},
    units::Timestamp,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};
use transport::{Sender, clock};

impl<A: Announce, R: Run> Slave<A, R> {
    /// Gives events to the core and performs what follows, reports of one kind together.
    pub(super) fn handle(&mut self, events: impl IntoIterator<Item = Event>) {
        let now = Now { wall: clock::now(), boot: clock::boot_now(), takes_bulk: self.takes_bulk() };
        let mut actions = self.core.handle_all(events, now);
        let not_started = self.note_starts(&mut actions, now.wall);
        if self.journal.as_ref().is_none_or(|journal| journal.trouble().is_none()) {
            self.executor.all_is_kept();
        }
        if actions.is_empty() && not_started.is_empty() && self.outgoing.deadline().is_none() {
            return;
        }
        let mut outgoing = std::mem::take(&mut self.outgoing);
        for action in actions {
            self.perform(action, &mut outgoing, now.wall);
        }
        self.executor.send_steps();
        let lost = std::mem::take(&mut outgoing.lost);
        self.send(outgoing);
        if !not_started.is_empty() {
            // Before anything else could start: the slave is not fit, and the core is told so with it.
            let unfit = self.changed_fitness();
            self.handle(unfit.into_iter().chain([Event::NotStarted(not_started)]));
        }
        let pretended = std::mem::take(&mut self.pretended);
        if !pretended.is_empty() {
            let event = |digest| Event::InputHeld { digest, result: Ok(Held::Whole) };
            self.handle(pretended.into_iter().map(event).collect::<Vec<_>>());
        }
        if !lost.is_empty() {
            // A stream is lost once, so this comes to an end.
            let event = |((key, stream), offset)| Event::OutputLost { key, stream, offset };
            self.handle(lost.into_iter().map(event).collect::<Vec<_>>());
        }
    }

    /// Now, or with what ends next.
    fn send(&mut self, mut outgoing: Outgoing) {
        // Without a connection everything is told again with the next registration.
        let Some(sender) = self.sender() else { return };
        if outgoing.may_wait(self.core.is_busy(), Instant::now()) {
            self.outgoing = outgoing;
            return;
        }
        let messages = outgoing.finish();
        if !messages.is_empty()
            && let Err(error) = sender.send_all(messages)
        {
            // The receiver meets the end next, and everything is told again, a registration too.
            tracing::debug!(%error, "reports could not be sent");
        }
    }

    /// Input files that turned out to be damaged on this disk are fetched anew.
    pub(super) fn look_at_damaged_inputs(&mut self) {
        for digest in self.executor.damaged_inputs() {
            tracing::error!(%digest, "an input file was damaged on this disk; it is fetched again");
            if let Some(files) = &self.files {
                files.damaged(digest);
            }
            self.handle([Event::InputHeld { digest, result: Ok(Held::Damaged) }]);
        }
    }

    /// Keeps the ends among these events, before anybody hears of them, and that some have not started after all.
    /// Written with what is noted next.
    pub(super) fn keep_ends(&mut self, events: &[Event]) {
        for event in events {
            if let (Event::NotStarted(assignments), Some(journal)) = (event, &mut self.journal) {
                assignments.iter().for_each(|assignment| journal.never_started(assignment.key));
            }
        }
        for event in events {
            let Event::Ended(end) = event else { continue };
            if self.journal.as_ref().is_some_and(|journal| !journal.knows(end.key)) {
                continue;
            }
            // Also without a journal: the next attempt of its slot writes where its output was.
            match (self.executor.seal(end.key), &mut self.journal) {
                (Ok((output, files)), Some(journal)) => journal.note_end(&KeptEnd::new(end, output), files),
                (Ok(_), None) => {}
                (Err(error), Some(journal)) => journal.cannot_keep(end.key, &error),
                (Err(error), None) => tracing::error!(attempt = %end.key, %error, "its output cannot be kept"),
            }
        }
    }

    /// Notes what is about to be started, and writes all that was noted. What cannot be noted is taken out of the
    /// actions, its report too.
    fn note_starts(&mut self, actions: &mut Vec<Action>, now: Timestamp) -> Vec<Assignment> {
        let Some(journal) = &mut self.journal else { return Vec::new() };
        for action in actions.iter() {
            if let Action::Start(assignment) | Action::HandOver { assignment, .. } = action {
                journal.note_start(assignment, now);
            }
        }
        if journal.write_noted().is_ok() {
            return Vec::new();
        }
        let mut refused = Vec::new();
        let mut left = Vec::new();
        for action in actions.drain(..) {
            if let Action::Start(assignment) | Action::HandOver { assignment, .. } = action {
                refused.push(assignment);
            } else {
                left.push(action);
            }
        }
        let keys: BTreeSet<AttemptKey> = refused.iter().map(|assignment| assignment.key).collect();
        left.retain_mut(|action| {
            let Action::Report(Report::Started(started)) = action else { return true };
            started.retain(|(key, _)| !keys.contains(key));
            !started.is_empty()
        });
        *actions = left;
        refused
    }

    /// What the core must be told when the journal took a turn for the worse or the better.
    pub(super) fn changed_fitness(&mut self) -> Option<Event> {
        let trouble = self.journal.as_ref().and_then(crate::journal::Journal::trouble);
        let fit = trouble.is_none();
        let changed = fit != self.trouble.is_none();
        self.trouble = trouble;
        changed.then_some(Event::Fit(fit))
    }

    fn journal_forget(&mut self, key: AttemptKey) {
        if let Some(journal) = &mut self.journal {
            journal.forget(key);
        }
    }

    fn registration(&self, holdings: Holdings) -> Registration {
        let Holdings { waiting, running, suspended, finished, epoch } = holdings;
        let mut registration = Registration { waiting, running, suspended, finished, epoch, ..self.template.clone() };
        if let Some(trouble) = &self.trouble {
            registration.isolation.summary.push_str(&format!("; takes nothing new: {trouble}"));
        }
        registration
    }

    pub(super) fn sender(&self) -> Option<&Sender> {
        match &self.link {
            Link::Connected(connection) => Some(&connection.sender),
            Link::Resting(_) | Link::Connecting(_) => None,
        }
    }

    fn takes_bulk(&self) -> bool {
        self.sender().is_some_and(|sender| sender.queued_bytes() < BULK_QUEUED_BYTES_MAX)
    }

    fn perform(&mut self, action: Action, outgoing: &mut Outgoing, now: Timestamp) {
        match action {
            Action::Register(holdings) => {
                let registration = Box::new(self.registration(holdings));
                outgoing.push(Status::Report(Report::Register(registration)));
            }
            Action::Heartbeat(number) => {
                // What cannot be sent is not answered: nothing more is to be done.
                if let Some(Err(error)) = self.sender().map(|sender| sender.heartbeat(number)) {
                    tracing::debug!(%error, "a heartbeat could not be sent");
                }
            }
            Action::SetLease(until) => self.executor.set_lease(until),
            Action::Reconnect => {
                tracing::info!("the connection to the master is made anew");
                self.rest();
            }
            Action::Start(assignment) => self.executor.start(assignment, now),
            Action::HandOver { assignment, behind } => self.executor.hand_over(assignment, behind, now),
            Action::TakeBack(key) => self.executor.take_back(key),
            Action::Stop(key, stop) => {
                // A new start of the agent shall not take it for one that is wanted.
                if stop == Stop::Discarded {
                    self.journal_forget(key);
                }
                self.executor.stop(key, stop);
            }
            Action::Control(key, control) => self.executor.control(key, control),
            Action::Report(report) => outgoing.report(report),
            Action::ReportFinished(head) => {
                let finished = self.finished(head, &outgoing.lost);
                outgoing.finished(finished);
            }
            Action::SendOutput { key, stream, offset, count } => {
                // What comes after a gap is of no use.
                if outgoing.lost.contains_key(&(key, stream)) {
                    return;
                }
                match self.read(key, stream, offset, count) {
                    Some(bytes) => outgoing.push(Data::Output { key, stream, offset, bytes }),
                    None => drop(outgoing.lost.insert((key, stream), offset)),
                }
            }
            Action::ForgetBefore { key, stream, offset } => self.executor.forget_before(key, stream, offset),
            Action::Forget(key) => {
                self.journal_forget(key);
                self.executor.forget(key);
            }
            Action::LookForInput { digest, size } => match &self.files {
                Some(files) => files.look(digest, size),
                None => self.pretended.push(digest),
            },
            Action::ReleaseInput(digest) => {
                if let Some(files) = &self.files {
                    files.release(digest);
                }
            }
            Action::RememberEpoch(epoch) => {
                if let Some(journal) = &mut self.journal {
                    journal.set_epoch(epoch);
                }
            }
            Action::Audit { key, text } => self.audit_refusal(key, &text),
            Action::Leave => self.leaving = true,
        }
    }

    fn audit_refusal(&mut self, key: Option<AttemptKey>, text: &str) {
        let Some(audit) = &mut self.audit else { return };
        let master = format!("{} ({})", self.identity.address(), self.identity.pin());
        let key = key.map(|key| key.to_string());
        audit.note(clock::now(), crate::audit::Kind::Refused, &master, key.as_deref(), text);
    }

    fn read(&mut self, key: AttemptKey, stream: Stream, offset: u64, count: usize) -> Option<Vec<u8>> {
        match self.executor.read(key, stream, offset, count) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                tracing::error!(attempt = %key, %error, "output that was kept cannot be read");
                None
            }
        }
    }

    fn finished(&mut self, head: FinishedHead, lost: &BTreeMap<(AttemptKey, Stream), u64>) -> Finished {
        let FinishedHead { end, tails } = head;
        let key = end.key;
        let mut truncated = end.output_truncated;
        let mut read: [Tail; Stream::COUNT] = Default::default();
        for ((stream, (offset, count)), tail) in Stream::ALL.into_iter().zip(tails).zip(&mut read) {
            let (offset, read) = match lost.get(&(key, stream)) {
                Some(lost) => (*lost, None),
                None if count == 0 => (offset, Some(Vec::new())),
                None => (offset, self.read(key, stream, offset, count)),
            };
            truncated |= read.is_none();
            *tail = Tail { offset, bytes: read.unwrap_or_default() };
        }
        Finished {
            key,
            outcome: end.outcome,
            started_at: end.started_at,
            ended_at: end.ended_at,
            usage: end.usage,
            tails: read,
            output_truncated: truncated,
            last_line: end.last_line,
        }
    }
}
