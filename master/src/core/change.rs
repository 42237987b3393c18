//! The one place where a program's state changes, with its record and everybody who must know.

use super::{
    Core, JustEnded,
    arrays::Array,
    program::{Program, ProgramState, Run},
};
use crate::store::{Ended, Moved, Record};
use common::{
    ErrorCode, Outcome, SlaveId, Timestamp, UserError,
    message::{Finished, Stream, Tail},
    program::State,
    view::Usage,
};
use scheduler::Requirement;

/// What is known of an end.
pub(super) struct End {
    pub(super) outcome: Outcome,
    pub(super) started_at: Option<Timestamp>,
    pub(super) ended_at: Timestamp,
    pub(super) usage: Option<Usage>,
    pub(super) bytes: [u64; Stream::COUNT],
    pub(super) truncated: bool,
    pub(super) last_line: String,
    pub(super) tails: [Tail; Stream::COUNT],
}

impl End {
    /// An end without a report of a slave.
    pub(super) fn without_report(outcome: Outcome, program: &Program, now: Timestamp) -> Self {
        let bytes = match &program.state {
            ProgramState::Running(run) => run.stored,
            ProgramState::Waiting | ProgramState::Sent { .. } => [0; Stream::COUNT],
        };
        Self {
            outcome,
            started_at: program.started_at(),
            ended_at: now,
            usage: None,
            bytes,
            truncated: false,
            last_line: String::new(),
            tails: Default::default(),
        }
    }

    /// An end as the slave reports it.
    pub(super) fn reported(finished: Finished) -> Self {
        let bytes = finished.tails.each_ref().map(|tail| tail.offset.saturating_add(tail.bytes.len() as u64));
        Self {
            outcome: finished.outcome,
            started_at: finished.started_at,
            ended_at: finished.ended_at,
            usage: Some(finished.usage),
            bytes,
            truncated: finished.output_truncated,
            last_line: finished.last_line,
            tails: finished.tails,
        }
    }
}

impl Core {
    /// A new program waits. Its record of acceptance is made by whoever accepts it.
    pub(super) fn add_program(&mut self, sequence: u64, program: Program, need: &Requirement) {
        self.by_id.insert(program.id, sequence);
        self.entries_bytes += program.own_bytes();
        *self.totals.entry(State::Waiting).or_default() += 1;
        *self.of_users.entry(program.lot.user.clone()).or_default() += 1;
        self.count_for_client(&program, 1, 0);
        let user = program.lot.user.clone();
        self.programs.insert(sequence, program);
        self.scheduler.enqueue(sequence, need, &user);
        self.watch_program(sequence);
    }

    /// Copies wait together. Their record is made by whoever accepts them.
    pub(super) fn add_array(&mut self, first: u64, array: Array, need: &Requirement) {
        let count = array.count;
        *self.totals.entry(State::Waiting).or_default() += count;
        *self.of_users.entry(array.lot.user.clone()).or_default() += usize::try_from(count).unwrap_or(usize::MAX);
        self.count_for(array.lot.client, i64::try_from(count).unwrap_or(i64::MAX), 0);
        self.scheduler.enqueue_all(first..first + count, need, &array.lot.user);
        self.arrays.insert(first, array);
        self.watch.programs(first..first + count);
    }

    /// Back to the queue: under the same number when `never_started`, else the attempt is used up.
    pub(super) fn wait_again(&mut self, sequence: u64, never_started: bool) {
        let Some(program) = self.programs.get_mut(&sequence) else { return };
        let was = program.shown_state();
        let slave = program.slave();
        let key = program.key();
        if never_started {
            program.attempt -= 1;
        }
        program.state = ProgramState::Waiting;
        let was_held = program.suspend() && std::mem::take(&mut program.rare_mut().suspend);
        let attempts = program.attempt;
        self.leave_slave(sequence, key, slave);
        if never_started {
            self.enqueue(sequence);
        } else {
            self.line_up(sequence, attempts);
        }
        if never_started {
            self.inputs_live.send_again(sequence);
        } else {
            let sentence = "the program is started anew; what it was not given yet is dropped";
            self.input_over(sequence, &UserError::new(ErrorCode::NotRunning, sentence));
        }
        if was_held {
            // It was this attempt that should stand still.
            self.record_changed(sequence);
        }
        self.moved(sequence, was);
    }

    /// Sent to a slave under the next number.
    pub(super) fn sent(&mut self, sequence: u64, slave: SlaveId) {
        let Some(program) = self.programs.get_mut(&sequence) else { return };
        let was = program.shown_state();
        program.attempt += 1;
        program.state = ProgramState::Sent { slave };
        let key = program.key();
        if let Some(slave) = self.slaves.get_mut(&slave) {
            slave.attempts.insert(key, sequence);
        }
        self.watch.slave(slave);
        self.moved(sequence, was);
    }

    /// Started on its slave, as the slave says.
    pub(super) fn runs(&mut self, sequence: u64, started_at: Timestamp) {
        let now = self.now.wall;
        let Some(program) = self.programs.get_mut(&sequence) else { return };
        let was = program.shown_state();
        let ProgramState::Sent { slave } = program.state else { return };
        // The slave's clock may differ: never before the submit, never in the future.
        let started_at = started_at.min(now).max(program.submitted_at);
        // A master that crashed may have stored output before it committed the start.
        let stored = self.stored_early.remove(&program.key()).unwrap_or_default();
        program.state = ProgramState::Running(Box::new(Run::new(slave, started_at, stored)));
        self.scheduler.started(sequence, slave);
        self.watch.slave(slave);
        self.moved(sequence, was);
        self.send_input(sequence);
    }

    /// Ended for ever.
    pub(super) fn end(&mut self, sequence: u64, mut end: End) {
        let Some(program) = self.programs.remove(&sequence) else { return };
        let was = program.shown_state();
        self.by_id.remove(&program.id);
        self.forget_of_user(&program.lot.user);
        if matches!(program.state, ProgramState::Waiting) {
            self.scheduler.dequeue(sequence, &self.scheduler.need(&program.template()), &program.lot.user);
            self.pauses.remove(sequence);
        }
        let slave = program.slave();
        if let (Some(slave), true) = (slave, end.usage.is_some()) {
            self.scheduler.ended(sequence, slave);
        }
        self.leave_slave(sequence, program.key(), slave);
        let earliest = program.started_at().unwrap_or(program.submitted_at);
        end.started_at =
            program.started_at().or(end.started_at.map(|at| at.min(self.now.wall).max(program.submitted_at)));
        end.ended_at = end.ended_at.min(self.now.wall).max(end.started_at.unwrap_or(earliest));
        let state = end.outcome.state();
        self.count(was, state);
        if state == State::Failed {
            let failed = self.failed_today();
            self.failed_today = (self.day(), failed + 1);
        }
        let (running, waiting) = (i64::from(was == State::Running), i64::from(was == State::Waiting));
        self.count_for_client(&program, -waiting, -running);
        self.entries_bytes -= program.own_bytes();
        if self.bodies.end_one(&program.lot.body) {
            self.inputs.release(&program.lot.body.spec);
        }
        let mut view = program.view(sequence, None, None);
        view.state = state;
        view.outcome = Some(end.outcome.clone());
        view.slave_id = slave;
        view.slave_name = slave.and_then(|slave| self.slaves.get(&slave)).map(|slave| slave.name.to_string());
        view.progress = None;
        view.started_at = end.started_at;
        view.ended_at = Some(end.ended_at);
        view.usage = end.usage;
        [view.output_bytes, view.error_bytes, view.compile_bytes, view.files_bytes] = end.bytes;
        view.output_truncated = end.truncated;
        view.last_line.clone_from(&end.last_line);
        self.tell_waiters(sequence, &view, &end);
        let sentence = "the program ended before it took this input";
        self.input_over(sequence, &UserError::new(ErrorCode::ProgramEnded, sentence));
        self.watch.program_ended(&view);
        self.just_ended.insert(program.id, JustEnded { mark: self.mark, hash: program.identity(), view });
        self.record(Record::Ended(Box::new(Ended {
            sequence,
            user: program.lot.user.clone(),
            was,
            attempt: program.attempt,
            slave,
            started_at: end.started_at,
            ended_at: end.ended_at,
            outcome: end.outcome,
            usage: end.usage,
            bytes: end.bytes,
            truncated: end.truncated,
            last_line: end.last_line,
            tails: end.tails,
        })));
    }

    /// The attempt is on its slave no longer.
    fn leave_slave(&mut self, sequence: u64, key: common::AttemptKey, slave: Option<SlaveId>) {
        let Some(id) = slave else { return };
        self.scheduler.release(sequence, id);
        self.strays.remove(key);
        self.stored_early.remove(&key);
        if let Some(slave) = self.slaves.get_mut(&id) {
            slave.attempts.remove(&key);
        }
        self.watch.slave(id);
    }

    /// Records where a program is now and tells everybody who must know.
    pub(super) fn moved(&mut self, sequence: u64, was: State) {
        let Some(program) = self.programs.get(&sequence) else { return };
        let state = program.shown_state();
        let record = Record::Moved(Moved {
            sequence,
            user: program.lot.user.clone(),
            was,
            state,
            attempt: program.attempt,
            slave: program.slave(),
            started_at: program.started_at(),
            cancel_by: program.cancel_by().cloned(),
            crashes: program.crashes(),
        });
        self.record(record);
        if was != state {
            self.count(was, state);
            let sign = |of| i64::from(state == of) - i64::from(was == of);
            let (waiting, running) = (sign(State::Waiting), sign(State::Running));
            if let Some(client) = self.programs.get(&sequence).map(|program| program.lot.client) {
                self.count_for(client, waiting, running);
            }
        }
        self.watch_program(sequence);
    }

    /// One program fewer of this user.
    fn forget_of_user(&mut self, user: &std::sync::Arc<str>) {
        if let Some(count) = self.of_users.get_mut(user) {
            *count -= 1;
            if *count == 0 {
                self.of_users.remove(user);
            }
        }
    }

    fn count(&mut self, was: State, is: State) {
        if was != is {
            let total = self.totals.entry(was).or_default();
            *total = total.saturating_sub(1);
            *self.totals.entry(is).or_default() += 1;
        }
    }

    fn count_for_client(&mut self, program: &Program, waiting: i64, running: i64) {
        self.count_for(program.lot.client, waiting, running);
    }

    pub(super) fn watch_program(&mut self, sequence: u64) {
        if self.watch.wants_programs() {
            self.watch.program(sequence);
        }
    }
}
