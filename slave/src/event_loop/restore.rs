//! What an earlier start of the agent left: programs that still run are taken over, results are told again.

use super::{Announce, Run, Slave, run::Restored};
use crate::{
    core::Left,
    executor::AttemptEnd,
    journal::{Found, Journal, KeptEnd},
};
use common::{
    message::{Assignment, Stream},
    outcome::Outcome,
    units::Timestamp,
    view::Usage,
};
use std::collections::BTreeSet;
use transport::clock;

const MACHINE_RESTARTED: &str = "The machine restarted while it ran.";
const AGENT_RESTARTED: &str = "The slave's agent was restarted, and the program was not there any more.";

impl<A: Announce, R: Run> Slave<A, R> {
    /// Goes on where an earlier start of the agent was: to be called before [`Slave::run`].
    #[must_use]
    pub fn remembering(mut self, mut journal: Journal, found: Found) -> Self {
        let Found { same_boot, epoch, started, ended } = found;
        let mut left = Left { epoch, ..Left::default() };
        // Before what runs is taken over: files that nobody knows are removed then.
        for kept in ended {
            let (mut end, output) = kept.into_parts();
            let places = match self.executor.restore(end.key, &output) {
                Ok(Restored { places, incomplete }) => {
                    end.output_truncated |= incomplete;
                    places
                }
                Err(error) => {
                    tracing::error!(attempt = %end.key, %error, "the output of a result cannot be found any more");
                    end.output_truncated = true;
                    [(0, 0); Stream::COUNT]
                }
            };
            left.ended.push((end, places));
        }
        // After a restart of the machine nothing runs; what runs without being on the list is ended.
        let candidates = if same_boot { started.clone() } else { Vec::new() };
        let going: BTreeSet<_> = self.executor.adopt(candidates).into_iter().collect();
        let mut gone = Vec::new();
        for (assignment, at) in started {
            if going.contains(&assignment.key) {
                let ends = Stream::ALL.map(|stream| self.executor.end_of(assignment.key, stream));
                left.running.push((assignment.key, at, ends));
                let begins = Stream::ALL.map(|stream| self.executor.begin_of(assignment.key, stream));
                left.begins.insert(assignment.key, begins);
                if self.executor.is_handed_over(assignment.key) {
                    left.handed_over.insert(assignment.key);
                }
                if self.executor.is_suspended(assignment.key) {
                    left.suspended.insert(assignment.key);
                }
                if let Some(offset) = self.executor.input_of(assignment.key) {
                    left.inputs.insert(assignment.key, offset);
                }
            } else {
                let end = lost(&assignment, at, if same_boot { AGENT_RESTARTED } else { MACHINE_RESTARTED });
                gone.push((KeptEnd::new(&end, Vec::new()), Vec::new()));
                left.ended.push((end, [(0, 0); Stream::COUNT]));
            }
        }
        if !(left.running.is_empty() && left.ended.is_empty()) {
            let (running, results, lost) = (left.running.len(), left.ended.len(), gone.len());
            tracing::info!(running, results, lost, "going on with what an earlier start left");
        }
        journal.end(gone);
        self.template.instance = journal.instance();
        self.core.restore(left);
        self.journal = Some(journal);
        self
    }
}

fn lost(assignment: &Assignment, started_at: Timestamp, detail: &str) -> AttemptEnd {
    AttemptEnd {
        key: assignment.key,
        outcome: Outcome::Lost { detail: detail.to_owned() },
        started_at: Some(started_at),
        ended_at: clock::now().max(started_at),
        usage: Usage::default(),
        output_truncated: false,
        last_line: String::new(),
    }
}
