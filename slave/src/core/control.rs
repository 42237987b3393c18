//! What people do to programs that run, on its way to the executor, and what came of it on its way back.

use super::{Action, Core};
use crate::executor::Control;
use common::{id::AttemptKey, message::Report, units::Duration};
use std::sync::Arc;

impl Core {
    /// The master wants this done to an attempt. One that waits only gets another wall time; one that ended gets
    /// nothing, and the master hears of its end.
    pub(super) fn control(&mut self, key: AttemptKey, control: Control) {
        if let Some(running) = self.running.get(&key) {
            if !running.discarded {
                self.actions.push(Action::Control(key, control));
            }
        } else if let Control::SetWallTime(wall_time) = control
            && let Some(assignment) = self.waiting.iter_mut().find(|assignment| assignment.key == key)
        {
            Arc::make_mut(&mut assignment.spec).limits.wall_time = wall_time;
        }
    }

    /// Another wall time, within what this slave allows.
    pub(super) fn set_wall_time(&mut self, key: AttemptKey, wall_time: Duration) {
        if let Err(reason) = self.policy.admit_wall_time(wall_time) {
            let text = format!("a wall time of {wall_time} was not set: {reason}");
            self.actions.push(Action::Audit { key: Some(key), text });
            return self.report(Report::Refused { key, detail: format!("This slave refuses it: {reason}.") });
        }
        self.control(key, Control::SetWallTime(wall_time));
    }

    pub(super) fn suspended(&mut self, key: AttemptKey, suspended: bool) {
        let Some(running) = self.running.get_mut(&key).filter(|running| !running.discarded) else { return };
        running.suspended = suspended;
        self.report(if suspended { Report::Suspended(vec![key]) } else { Report::Resumed(vec![key]) });
    }

    pub(super) fn input_taken(&mut self, key: AttemptKey, offset: u64) {
        let Some(running) = self.running.get_mut(&key).filter(|running| !running.discarded) else { return };
        // Told also when nothing is new: the master may have missed it.
        running.input = Some(running.input.map_or(offset, |before| before.max(offset)));
        self.report(Report::InputTaken { key, offset });
    }

    /// How far the input of each program is, on a new session.
    pub(super) fn tell_inputs(&mut self) {
        let wanted = self.running.iter().filter(|(_, running)| !running.discarded);
        let inputs: Vec<_> = wanted.filter_map(|(key, running)| Some((*key, running.input?))).collect();
        for (key, offset) in inputs {
            self.report(Report::InputTaken { key, offset });
        }
    }
}
