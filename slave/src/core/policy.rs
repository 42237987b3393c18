//! Orders that this slave does not follow, whoever gives them: each is answered, and kept in the audit.

use super::{Action, Core, Now, delivery::Streams};
use crate::{ceiling::Policy, executor::AttemptEnd};
use common::{
    UserError,
    escape::{RawText, shorten},
    limits::DETAIL_BYTES_MAX,
    message::Assignment,
    outcome::Outcome,
    view::Usage,
};

impl Core {
    /// Holds every order against this.
    #[must_use]
    pub const fn within(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// An attempt that is beyond what this slave allows: it ends before anything of it was done. Its end is kept and
    /// told like every other.
    pub(super) fn refuse(&mut self, assignment: &Assignment, reason: &UserError, now: Now) {
        let name = RawText::from(assignment.spec.name.as_str());
        self.actions.push(Action::Audit {
            key: Some(assignment.key),
            text: format!("`{name}` was not started: {}", reason.sentence),
        });
        let detail =
            shorten(&format!("{}: This slave refuses it: {}.", reason.code, reason.sentence), DETAIL_BYTES_MAX);
        let end = AttemptEnd {
            key: assignment.key,
            outcome: Outcome::NotSupported { detail },
            started_at: None,
            ended_at: now.wall,
            usage: Usage::default(),
            output_truncated: false,
            last_line: String::new(),
        };
        self.keep_end(end, Streams::default(), now);
    }

    /// The master says how many programs may run at once; never more than this slave's own configuration says.
    pub(super) fn set_slots(&mut self, slots: u32) {
        let most = self.slots_max;
        if slots > most && self.told_slots != Some(slots) {
            let text = format!("{slots} programs at once were ordered; it stays at {most}");
            self.actions.push(Action::Audit { key: None, text });
        }
        self.told_slots = Some(slots);
        self.slots = slots.min(most);
    }
}
