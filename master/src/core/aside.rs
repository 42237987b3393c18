//! Slaves that are given nothing new: because a person says so, or because everything that they were given
//! failed by their own fault. The latter are tried again with one program after a while.

use super::Core;
use crate::store::Record;
use common::{
    Duration, ErrorCode, SlaveId, UserError,
    escape::{RawText, shorten},
    limits::{ASIDE_FIRST, SLAVE_FAILURES_MAX},
    message::Reply,
    units::BootTime,
};
use scheduler::Aside;
use std::collections::BTreeSet;

/// Longest pause before a slave is tried again.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);
/// Bytes of a reason.
const REASON_BYTES_MAX: usize = 256;
/// Different bodies that must have failed: one that fails everywhere is no slave's fault.
const BODIES_MIN: usize = 2;

/// What a slave failed to run by its own fault, since it ran something well.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures {
    /// Attempts in a row. A slave that was lost with all that it held counts once.
    count: u32,
    bodies: BTreeSet<u64>,
    aside: Option<Failing>,
}

/// A slave that failed everything.
#[derive(Clone, Debug)]
struct Failing {
    reason: String,
    pause: Duration,
    /// When it is tried again; none while it is being tried.
    until: Option<BootTime>,
}

impl Failures {
    /// When the slave is tried again.
    pub(super) fn trial_at(&self) -> Option<BootTime> {
        self.aside.as_ref()?.until
    }

    fn sentence(&self) -> Option<String> {
        let failing = self.aside.as_ref()?;
        Some(match failing.until {
            Some(_) => format!("{}; it is tried again {} after the last failure", failing.reason, failing.pause),
            None => format!("{}; it is being tried with one program", failing.reason),
        })
    }
}

impl Core {
    /// Why a slave is given nothing new; none when it takes programs.
    pub(super) fn aside_reason(&self, id: SlaveId) -> Option<String> {
        let by_person = self.asides.get(&id).cloned();
        by_person.or_else(|| self.slaves.get(&id)?.failures.sentence())
    }

    /// Tells the scheduler whether a slave is set aside.
    pub(super) fn apply_aside(&mut self, id: SlaveId) {
        let Some(slave) = self.slaves.get(&id) else { return };
        let trial = !self.asides.contains_key(&id)
            && slave.failures.aside.as_ref().is_some_and(|failing| failing.until.is_none());
        let aside = match self.aside_reason(id) {
            _ if trial => Aside::Trial,
            Some(reason) => Aside::Yes(reason.into()),
            None => Aside::No,
        };
        self.scheduler.set_aside(id, aside);
        self.watch.slave(id);
    }

    pub(super) fn set_aside(&mut self, name: &str, reason: &str, by: &str) -> Result<Reply, UserError> {
        let id = self.slave_named(name)?;
        let reason = match reason.trim() {
            "" => format!("by `{by}`"),
            reason => format!("by `{by}`: {reason}"),
        };
        let reason = shorten(&reason, REASON_BYTES_MAX);
        self.record(Record::SlaveAside { id, reason: Some(reason.clone()) });
        self.log(name, format!("Set aside {reason}. It finishes what it has and takes nothing new."));
        self.asides.insert(id, reason);
        self.apply_aside(id);
        Ok(Reply::Ok)
    }

    pub(super) fn take_back(&mut self, name: &str, by: &str) -> Result<Reply, UserError> {
        let id = self.slave_named(name)?;
        let by_person = self.asides.remove(&id).is_some();
        if by_person {
            self.record(Record::SlaveAside { id, reason: None });
        }
        let failing = self.slaves.get_mut(&id).and_then(|slave| {
            let failures = std::mem::take(&mut slave.failures);
            self.trials.remove(&(failures.trial_at()?, id));
            failures.aside
        });
        self.apply_aside(id);
        if by_person || failing.is_some() {
            self.log(name, format!("Taken back by `{by}`; it takes programs again."));
        }
        Ok(Reply::Ok)
    }

    fn slave_named(&self, name: &str) -> Result<SlaveId, UserError> {
        self.enrolled.get(name).copied().ok_or_else(|| {
            UserError::new(ErrorCode::SlaveUnknown, format!("no slave is called `{}`", RawText::from(name)))
        })
    }

    /// A slave did not run what it was given, by its own fault.
    pub(super) fn slave_failed(&mut self, id: SlaveId, bodies: impl IntoIterator<Item = u64>, why: &str) {
        let Some(slave) = self.slaves.get_mut(&id) else { return };
        let failures = &mut slave.failures;
        failures.count = failures.count.saturating_add(1);
        for body in bodies.into_iter().take(BODIES_MIN) {
            if failures.bodies.len() < BODIES_MIN {
                failures.bodies.insert(body);
            }
        }
        let pause = match &failures.aside {
            // What it held before it was set aside says nothing new.
            Some(failing) if failing.until.is_some() => return,
            Some(failing) => Duration(failing.pause.0.saturating_mul(2)).min(PAUSE_MAX),
            None if failures.count >= SLAVE_FAILURES_MAX && failures.bodies.len() >= BODIES_MIN => ASIDE_FIRST,
            None => return,
        };
        let reason = format!("as {} attempts in a row failed there, the last: {why}", failures.count);
        let reason = shorten(&reason, REASON_BYTES_MAX);
        let until = self.now.boot.plus(pause);
        failures.aside = Some(Failing { reason: reason.clone(), pause, until: Some(until) });
        self.trials.insert((until, id));
        let name = slave.name.clone();
        self.log(
            &name,
            format!(
                "Set aside {reason}. One program tries it again in {pause}; `ruche slaves take-back` does so at once."
            ),
        );
        self.apply_aside(id);
    }

    /// A slave ran something as it should.
    pub(super) fn slave_worked(&mut self, id: SlaveId) {
        let Some(slave) = self.slaves.get_mut(&id) else { return };
        if slave.failures.count == 0 || slave.failures.trial_at().is_some() {
            return;
        }
        let failures = std::mem::take(&mut slave.failures);
        if failures.aside.is_some() {
            let name = slave.name.clone();
            self.log(&name, "Ran a program again; it takes programs as before.".to_owned());
            self.apply_aside(id);
        }
    }

    /// Slaves whose pause is over are tried with one program.
    pub(super) fn try_slaves(&mut self) {
        while let Some((at, id)) = self.trials.first().copied()
            && at <= self.now.boot
        {
            self.trials.pop_first();
            let Some(slave) = self.slaves.get_mut(&id) else { continue };
            if let Some(failing) = &mut slave.failures.aside {
                failing.until = None;
            }
            let name = slave.name.clone();
            self.log(&name, "Is tried again with one program.".to_owned());
            self.apply_aside(id);
        }
    }
}
