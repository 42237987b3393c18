//! A slave whose identity is good no more.

use super::{Core, action::Action};
use common::{ErrorCode, SlaveId, UserError};

impl Core {
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
