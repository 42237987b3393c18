//! Why a program waits, slave by slave, told by the very rules that decide.

use crate::{
    ability::{self, Refusal, Requirement},
    round::Scheduler,
};
use common::{
    program::ResourceLimits,
    view::{Explanation, SlaveReason},
};

/// Slaves that one explanation lists.
const SLAVES_LISTED_MAX: usize = 200;

impl Scheduler {
    /// Why a waiting program of this user with these needs and limits is not running yet.
    #[must_use]
    pub fn explain(&self, program: u64, need: &Requirement, limits: &ResourceLimits, user: &str) -> Explanation {
        let mut reasons = Vec::new();
        let (mut offline, mut over) = (0_usize, 0_usize);
        let (mut able, mut free, mut known) = (0_usize, 0_usize, 0_usize);
        for (_, slave) in self.slaves() {
            known += 1;
            let refusal = ability::refusal(need, slave);
            able += usize::from(refusal.is_none());
            free += usize::from(refusal.is_none() && slave.free() > 0);
            offline += usize::from(refusal == Some(Refusal::Network));
            over += usize::from(refusal == Some(Refusal::Ceiling));
            if reasons.len() < SLAVES_LISTED_MAX {
                let reason = match &refusal {
                    Some(Refusal::Ceiling) => match limits.beyond(&slave.ceiling.limits) {
                        Some(beyond) => format!("its ceiling: the program asks for {beyond}"),
                        None => "has a ceiling of its own that is not known well enough".to_owned(),
                    },
                    Some(refusal) => refusal.to_string(),
                    None if slave.free() > 0 => format!("has {} of {} slots free", slave.free(), slave.slots),
                    None => {
                        let unstarted = slave.assigned().saturating_sub(slave.slots);
                        let waiting = if unstarted == 0 { String::new() } else { format!("; {unstarted} wait there") };
                        format!("{0} of {0} slots are in use{waiting}", slave.slots)
                    }
                };
                reasons.push(SlaveReason { slave: slave.name.to_string(), able: refusal.is_none(), reason });
            }
        }
        let ahead = self.queue().before(program, user);
        let turns = match self.queue().is_fair() && self.queue().users_waiting() > 1 {
            true => " (users take turns)",
            false => "",
        };
        let sentence = match (known, able, free) {
            (0, ..) => "No slave is connected.".to_owned(),
            (_, 0, _) if offline == known => "No slave that is there now lets programs use the network.".to_owned(),
            (_, 0, _) if over > 0 => "No slave that is there now allows what it asks for.".to_owned(),
            (_, 0, _) => match (&need.slave, &need.language) {
                (Some(slave), _) => format!("It may only run on `{slave}`, which cannot take it now."),
                (None, Some(language)) => format!("No slave that is there now can run `{language}`."),
                (None, None) => "No slave that is there now can take it.".to_owned(),
            },
            (_, 1, 0) => {
                format!("All slots of the only slave that can run it are in use; {ahead} come before it{turns}.")
            }
            (_, able, 0) => {
                format!("All slots of the {able} slaves that can run it are in use; {ahead} come before it{turns}.")
            }
            _ => "A slot is free; it starts in a moment.".to_owned(),
        };
        Explanation { sentence, ahead: Some(ahead), slaves: reasons }
    }
}
