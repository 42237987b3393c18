//! A slave whose identity is good no more.

use super::{Core, action::Action, program::Program};
use crate::store::Record;
use common::{AttemptKey, ErrorCode, SlaveId, UserError};

impl Core {
    /// A report for the current attempt of a program that another slave holds: no honest slave ever had it. It
    /// changes nothing; the audit has one entry for each slave that does this, however often it does.
    pub(super) fn suspect(&mut self, slave: SlaveId, key: AttemptKey) {
        let program = self.by_id.get(&key.program).and_then(|sequence| self.programs.get(sequence));
        let holder = program.filter(|program| program.key() == key).and_then(Program::slave);
        if holder.is_none_or(|holder| holder == slave) || !self.impostors.insert(slave) {
            return;
        }
        let name = self.slaves.get(&slave).map_or_else(|| "?".into(), |slave| slave.name.clone());
        self.record(Record::Denied {
            who: format!("slave {name}, {slave}"),
            what: format!("reported for {key}, which another slave holds"),
            at: self.now.wall,
        });
        self.log(&name, "Reported for a program that another slave holds; nothing of it was believed.".to_owned());
    }

    /// Cuts the slave's connection and lets it in no more. What it holds may still run: it is treated as that of
    /// a slave that is away, until the lease is over.
    pub(super) fn slave_revoked(&mut self, id: SlaveId) {
        let Some(name) = self.enrolled.iter().find(|(_, other)| **other == id).map(|(name, _)| name.clone()) else {
            return;
        };
        self.enrolled.remove(&name);
        if let Some(link) = self.slaves.get(&id).and_then(|slave| slave.link) {
            let error = UserError::new(ErrorCode::IdentityRefused, format!("the slave `{name}` was revoked"));
            self.actions.push(Action::CutSlave(link, Some(error)));
            self.slave_left(link);
        }
        if self.slaves.get(&id).is_some_and(|slave| slave.attempts.is_empty()) {
            self.forget_slave(id);
        }
        self.log(&name, "Revoked; it is let in no more.".to_owned());
    }
}
