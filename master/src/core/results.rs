//! Reports of slaves: started, ended, given back. A report for anything but the current attempt of
//! the slave that reports changes nothing.

use super::{Core, event::LinkId, program::ProgramState};
use common::{
    AttemptKey, Outcome, SlaveId,
    escape::shorten,
    limits::{DETAIL_BYTES_MAX, INLINE_OUTPUT_BYTES_MAX, LAST_LINE_BYTES_MAX},
    message::{Finished, Order, Report},
    view::Progress,
};
use scheduler::Presence;

impl Core {
    pub(super) fn slave_reported(&mut self, link: LinkId, report: Report) {
        let Some(id) = self.links.get(&link).copied() else { return };
        match report {
            // Handled by the session, once; a second one is noise.
            Report::Register(_) => {}
            Report::Started(started) => {
                for (key, at) in started {
                    if let Some(sequence) = self.current(id, key) {
                        self.strays.remove(key);
                        self.runs(sequence, at);
                    } else {
                        self.suspect(id, key);
                    }
                }
            }
            Report::Finished(finished) => {
                for finished in finished {
                    self.finished(link, id, finished);
                }
            }
            Report::Withdrawn(keys) => {
                for key in keys {
                    self.withdrawn(id, key);
                }
            }
            Report::Progress { key, progress } => self.progress(id, key, progress),
            Report::Suspended(keys) => keys.into_iter().for_each(|key| self.stands_still(id, key, true)),
            Report::Resumed(keys) => keys.into_iter().for_each(|key| self.stands_still(id, key, false)),
            Report::InputTaken { key, offset } => self.input_taken(id, key, offset),
            Report::Refused { key, detail } => self.order_refused(id, key, &detail),
            Report::Fetch { key, digest, offset } => self.fetch(link, id, key, digest, offset),
            Report::Draining => {
                if let Some(slave) = self.slaves.get_mut(&id) {
                    slave.draining = true;
                    slave.since = self.now.wall;
                    let name = slave.name.clone();
                    self.scheduler.set_presence(id, Presence::Draining);
                    self.watch.slave(id);
                    self.log(&name, "Finishes what it has and takes nothing new.".to_owned());
                }
            }
        }
    }

    /// The program whose current attempt this is, when that slave holds it.
    pub(super) fn current(&self, slave: SlaveId, key: AttemptKey) -> Option<u64> {
        self.slaves.get(&slave)?.attempts.get(&key).copied()
    }

    fn withdrawn(&mut self, slave: SlaveId, key: AttemptKey) {
        let Some(sequence) = self.current(slave, key) else { return };
        if self.strays.since(key).is_some() {
            // It never had it, so that giving it back proves nothing.
            return;
        }
        let Some(program) = self.programs.get(&sequence) else { return };
        match (&program.state, program.cancel_by().cloned()) {
            (ProgramState::Sent { .. }, Some(by)) => {
                self.end_without_report(sequence, Outcome::Cancelled { by: by.to_string() });
            }
            (ProgramState::Sent { .. }, None) => self.wait_again(sequence, true),
            // It said that it runs; what runs is not given back.
            (ProgramState::Running(_) | ProgramState::Waiting, _) => {}
        }
    }

    fn progress(&mut self, slave: SlaveId, key: AttemptKey, mut progress: Progress) {
        let Some(sequence) = self.current(slave, key) else { return };
        if let Some(program) = self.programs.get_mut(&sequence)
            && let ProgramState::Running(run) = &mut program.state
            && progress.percent.is_finite()
        {
            progress.percent = progress.percent.clamp(0.0, 100.0);
            progress.text = shorten(&progress.text, LAST_LINE_BYTES_MAX);
            run.progress = Some(progress);
            self.watch_program(sequence);
        }
    }

    fn finished(&mut self, link: LinkId, slave: SlaveId, mut finished: Finished) {
        let key = finished.key;
        let Some(sequence) = self.current(slave, key) else {
            // Repeated, or of an attempt that another one replaced: the final record stays as it is.
            self.suspect(slave, key);
            return self.order(link, Order::Acknowledge(vec![key]));
        };
        trim(&mut finished);
        if let Some(program) = self.programs.get(&sequence)
            && matches!(program.state, ProgramState::Sent { .. })
            && let Some(started_at) = finished.started_at
        {
            // Its start and its end came together.
            self.runs(sequence, started_at);
        }
        if let Some(program) = self.programs.get_mut(&sequence)
            && let ProgramState::Running(run) = &mut program.state
            && !run.has_all_before(&finished)
        {
            // Control overtakes bulk: the output before it is still on its way.
            run.finished = Some(Box::new(finished));
            self.park(sequence);
            // Its slot is free already, and the slave may have started another there.
            return self.scheduler.release(sequence, slave);
        }
        self.complete(link, sequence, finished);
    }

    /// A result whose output is all there.
    pub(super) fn complete(&mut self, link: LinkId, sequence: u64, mut finished: Finished) {
        let Some(program) = self.programs.get(&sequence) else { return };
        let (key, body, slave) = (finished.key, program.lot.body.key, program.slave());
        if let ProgramState::Running(run) = &program.state {
            run.trim(&mut finished);
        }
        if let Some(slave) = slave {
            self.judge(slave, key, body, &finished.outcome);
        }
        self.conclude(sequence, finished);
        self.order(link, Order::Acknowledge(vec![key]));
    }

    /// What a result says about the slave that ran it.
    fn judge(&mut self, id: SlaveId, key: AttemptKey, body: u64, outcome: &Outcome) {
        // What it brought along when it connected ended while it was cut off or restarted: that was one mishap,
        // and is over.
        let brought = self.slaves.get_mut(&id).is_some_and(|slave| slave.brought.remove(&key));
        match outcome {
            Outcome::Lost { .. } if brought => {}
            Outcome::Lost { detail } => self.slave_failed(id, [body], &detail.clone()),
            Outcome::Exited { .. }
            | Outcome::Signalled { .. }
            | Outcome::CompileError { .. }
            | Outcome::Limit { .. }
            | Outcome::NotFound { .. } => self.slave_worked(id),
            Outcome::NotSupported { .. } | Outcome::Cancelled { .. } => {}
        }
    }
}

/// Cuts what a slave tells to its bounds.
fn trim(finished: &mut Finished) {
    for tail in &mut finished.tails {
        if tail.bytes.len() > INLINE_OUTPUT_BYTES_MAX {
            tail.bytes.truncate(INLINE_OUTPUT_BYTES_MAX);
            finished.output_truncated = true;
        }
    }
    finished.last_line = shorten(&finished.last_line, LAST_LINE_BYTES_MAX);
    match &mut finished.outcome {
        Outcome::CompileError { detail }
        | Outcome::Limit { detail, .. }
        | Outcome::NotSupported { detail }
        | Outcome::NotFound { detail }
        | Outcome::Lost { detail } => *detail = shorten(detail, DETAIL_BYTES_MAX),
        Outcome::Cancelled { by } => *by = shorten(by, DETAIL_BYTES_MAX),
        Outcome::Exited { .. } | Outcome::Signalled { .. } => {}
    }
}
