//! Reports of slaves: started, ended, given back. A report for anything but the current attempt of
//! the slave that reports changes nothing.

use super::{Core, action::Action, change::End, event::LinkId, program::ProgramState};
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
                        self.runs(sequence, at);
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
        let Some(program) = self.programs.get(&sequence) else { return };
        match (&program.state, program.cancel_by.clone()) {
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
            && run.stored.iter().zip(&finished.tails).any(|(stored, tail)| *stored < tail.offset)
        {
            // Control overtakes bulk: the output before it is still on its way.
            run.finished = Some(Box::new(finished));
            // Its slot is free already, and the slave may have started another there.
            return self.scheduler.release(sequence, slave);
        }
        self.complete(link, sequence, finished);
    }

    /// A result whose output is all there.
    pub(super) fn complete(&mut self, link: LinkId, sequence: u64, finished: Finished) {
        let Some(program) = self.programs.get(&sequence) else { return };
        let key = finished.key;
        if program.may_try_again(&finished.outcome) {
            self.wait_again(sequence, false);
            self.actions.push(Action::RemoveOutput(key));
        } else {
            self.end(sequence, End::reported(finished));
        }
        self.order(link, Order::Acknowledge(vec![key]));
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
