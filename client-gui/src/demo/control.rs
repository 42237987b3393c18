//! What people do to the running programs of the demonstration.

use super::{scene, script::Script};
use common::{Duration, ErrorCode, ProgramId, ProgramSpec, UserError, message::Reply, program::State};

impl Script {
    /// What was submitted, with what was changed since.
    pub(super) fn spec(&self, id: ProgramId) -> Option<ProgramSpec> {
        let mut spec = match self.specs.get(&id) {
            Some(spec) => spec.clone(),
            None => scene::spec(&self.find(id)?),
        };
        if let Some(wall_time) = self.wall_times.get(&id) {
            spec.limits.wall_time = *wall_time;
        }
        Some(spec)
    }

    pub(super) fn stand_still(&mut self, id: ProgramId, suspend: bool) -> Result<State, UserError> {
        let (from, to) = if suspend { (State::Running, State::Suspended) } else { (State::Suspended, State::Running) };
        let mut program = self
            .find(id)
            .filter(|program| program.state == from)
            .ok_or_else(|| UserError::new(ErrorCode::NotRunning, format!("the program is not {from} any more")))?;
        let now = self.now();
        if suspend {
            self.still.insert(id, now);
        } else if let Some(since) = self.still.remove(&id) {
            *self.stood.entry(id).or_default() += now.since(since).as_millis();
        }
        program.state = to;
        self.put(program);
        Ok(to)
    }

    pub(super) fn set_wall_time(&mut self, id: ProgramId, wall_time: Duration) -> Result<Reply, UserError> {
        if self.find(id).is_none_or(|program| program.state.is_final()) {
            return Err(UserError::new(ErrorCode::ProgramEnded, "the program has already ended"));
        }
        self.wall_times.insert(id, wall_time);
        Ok(Reply::Ok)
    }
}
