//! What a slave reports at its connection against what the master believes of it. The same function
//! serves the first connection, a cut, and a restart of either side.

use common::{AttemptKey, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// What the master believes of an attempt that it sent to this slave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belief {
    /// Sent; not reported as started.
    Sent,
    /// Reported as started.
    Started,
}

/// What the slave holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reported<'a> {
    /// Not started.
    pub waiting: &'a [AttemptKey],
    /// Running, since when.
    pub running: &'a [(AttemptKey, Timestamp)],
    /// Ended; the results follow.
    pub finished: &'a [AttemptKey],
}

/// What follows for one attempt. Attempts are numbered, so a decision that comes late is harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It waits there for a slot.
    KeepWaiting(AttemptKey),
    /// It runs there since then.
    KeepRunning(AttemptKey, Timestamp),
    /// It ended there; the result follows.
    AwaitResult(AttemptKey),
    /// It never arrived there and was surely not started: it may be sent anew under the same number.
    NeverArrived(AttemptKey),
    /// It may have run there and is not there any more.
    Lost(AttemptKey),
    /// The slave holds what is not wanted any more: it shall kill it.
    Discard(AttemptKey),
    /// The slave holds a result that is not wanted any more: it shall forget it.
    Forget(AttemptKey),
}

/// Compares `believed` with `reported`. `same_agent` says that the agent has run without a break
/// since the master sent the attempts, so that what it does not know it never got.
#[must_use]
pub fn reconcile(believed: &BTreeMap<AttemptKey, Belief>, reported: Reported<'_>, same_agent: bool) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let mut seen = BTreeSet::new();
    for key in reported.finished {
        let wanted = believed.contains_key(key);
        if seen.insert(*key) {
            verdicts.push(if wanted { Verdict::AwaitResult(*key) } else { Verdict::Forget(*key) });
        }
    }
    for (key, started) in reported.running {
        if seen.insert(*key) {
            let wanted = believed.contains_key(key);
            verdicts.push(if wanted { Verdict::KeepRunning(*key, *started) } else { Verdict::Discard(*key) });
        }
    }
    for key in reported.waiting {
        if seen.insert(*key) {
            let wanted = believed.contains_key(key);
            verdicts.push(if wanted { Verdict::KeepWaiting(*key) } else { Verdict::Discard(*key) });
        }
    }
    for (key, belief) in believed {
        if !seen.contains(key) {
            let never_arrived = same_agent && *belief == Belief::Sent;
            verdicts.push(if never_arrived { Verdict::NeverArrived(*key) } else { Verdict::Lost(*key) });
        }
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::ProgramId;
    use uuid::Uuid;

    fn key(program: u128, attempt: u32) -> AttemptKey {
        AttemptKey { program: ProgramId(Uuid::from_u128(program)), attempt }
    }

    #[test]
    fn e13_each_combination_of_belief_and_report_has_one_verdict() {
        let believed = BTreeMap::from([
            (key(1, 1), Belief::Sent),
            (key(2, 1), Belief::Started),
            (key(3, 1), Belief::Started),
            (key(4, 2), Belief::Sent),
        ]);
        let reported = Reported {
            waiting: &[key(1, 1), key(9, 1)],
            running: &[(key(2, 1), Timestamp(7)), (key(4, 1), Timestamp(8))],
            finished: &[key(8, 1)],
        };
        let common = [
            Verdict::Forget(key(8, 1)),
            Verdict::KeepRunning(key(2, 1), Timestamp(7)),
            Verdict::Discard(key(4, 1)),
            Verdict::KeepWaiting(key(1, 1)),
            Verdict::Discard(key(9, 1)),
            Verdict::Lost(key(3, 1)),
        ];
        let with = |last| common.into_iter().chain([last]).collect::<Vec<_>>();
        assert_eq!(reconcile(&believed, reported, true), with(Verdict::NeverArrived(key(4, 2))));
        assert_eq!(reconcile(&believed, reported, false), with(Verdict::Lost(key(4, 2))));
    }
}
