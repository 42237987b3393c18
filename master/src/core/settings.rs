//! What people change while the master runs: slots and policy.

use super::Core;
use crate::store::Record;
use common::{
    ErrorCode, UserError,
    escape::RawText,
    limits::SLOTS_MAX,
    message::{Order, Reply},
    view::Policy,
};
use std::collections::BTreeMap;

const SLOTS: &str = "slots";
const SLOTS_OF: &str = "slots:";

/// Slots that people set. A slave's own setting comes first, then that of all, then what it offers.
#[derive(Debug, Default)]
pub(super) struct SlotsSet {
    all: Option<u32>,
    each: BTreeMap<String, u32>,
}

impl SlotsSet {
    /// What the store remembers; the configuration where it remembers nothing.
    pub(super) fn read(settings: &BTreeMap<String, String>, configured: Option<u32>) -> Self {
        let number = |value: &String| value.parse().ok();
        let each =
            settings.iter().filter_map(|(name, value)| Some((name.strip_prefix(SLOTS_OF)?.to_owned(), number(value)?)));
        Self { all: settings.get(SLOTS).and_then(number).or(configured), each: each.collect() }
    }

    pub(super) fn of(&self, slave: &str, offered: u32) -> u32 {
        self.each.get(slave).copied().or(self.all).unwrap_or(offered).min(SLOTS_MAX)
    }
}

impl Core {
    pub(super) fn set_max_processes(
        &mut self,
        slave: Option<String>,
        slots: u32,
        by: &str,
    ) -> Result<Reply, UserError> {
        if slots > SLOTS_MAX {
            let sentence = format!("{slots} processes are more than the {SLOTS_MAX} that a slave may run at once");
            return Err(UserError::new(ErrorCode::RequestInvalid, sentence));
        }
        let value = Some(slots.to_string());
        match slave {
            None => {
                self.slots_set.all = Some(slots);
                // One number for all means all: settings of single slaves end.
                for name in std::mem::take(&mut self.slots_set.each).into_keys() {
                    self.record(Record::Setting { name: format!("{SLOTS_OF}{name}"), value: None });
                }
                self.record(Record::Setting { name: SLOTS.to_owned(), value });
                self.log(by, format!("Set every slave to at most {slots} programs at once."));
            }
            Some(name) => {
                if !self.enrolled.contains_key(&name) {
                    let sentence = format!("no slave is called `{}`", RawText::from(name.as_str()));
                    return Err(UserError::new(ErrorCode::SlaveUnknown, sentence));
                }
                self.record(Record::Setting { name: format!("{SLOTS_OF}{name}"), value });
                self.log(by, format!("Set `{name}` to at most {slots} programs at once."));
                self.slots_set.each.insert(name, slots);
            }
        }
        self.apply_slots();
        Ok(Reply::Ok)
    }

    fn apply_slots(&mut self) {
        let mut orders = Vec::new();
        for (id, slave) in &self.slaves {
            let slots = self.slots_set.of(&slave.name, slave.offered);
            if self.scheduler.slave(*id).is_some_and(|known| known.slots != slots) {
                self.scheduler.set_slots(*id, slots);
                self.watch.slave(*id);
                orders.extend(slave.link.map(|link| (link, slots)));
            }
        }
        for (link, slots) in orders {
            self.order(link, Order::SetSlots(slots));
        }
    }

    pub(super) fn reconfigured(&mut self, max_processes: Option<u32>) {
        // A file that says what it said before changes nothing that people set since.
        if std::mem::replace(&mut self.settings.max_processes, max_processes) == max_processes {
            return;
        }
        if let Some(slots) = max_processes {
            // The number was checked when the file was read.
            if let Err(error) = self.set_max_processes(None, slots, "configuration") {
                tracing::warn!(%error, "the configuration's max_processes is not used");
            }
        }
    }

    pub(super) fn set_policy(policy: Policy) -> Result<Reply, UserError> {
        match policy {
            Policy::Fifo => Ok(Reply::Ok),
            Policy::RoundRobin { .. } | Policy::Priority => {
                let sentence = format!("this release does not have the policy `{}`", policy.word());
                Err(UserError::new(ErrorCode::PolicyUnavailable, sentence))
            }
        }
    }
}
