//! A model of a slave's journal: what is written outlives the agent, what is synced outlives the machine.

use common::{
    AttemptKey, Timestamp,
    message::{Assignment, Stream},
};
use slave::executor::AttemptEnd;
use std::{collections::BTreeMap, rc::Rc};

/// What is kept of a stream of an ended attempt.
#[derive(Clone, Debug)]
pub(super) struct Sealed {
    /// Bytes before this one are forgotten.
    pub(super) begin: u64,
    /// All bytes from the first of the stream on.
    pub(super) bytes: Rc<[u8]>,
}

impl Default for Sealed {
    fn default() -> Self {
        Self { begin: 0, bytes: Rc::from([]) }
    }
}

/// What the journal knows of an attempt.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    Started(Assignment, Timestamp),
    Ended(AttemptEnd, [Sealed; Stream::COUNT]),
}

#[derive(Clone, Debug, Default)]
struct State {
    epoch: u32,
    entries: BTreeMap<AttemptKey, Entry>,
}

/// The journal in a slave's data folder.
#[derive(Debug, Default)]
pub(super) struct Journal {
    instance: u64,
    written: State,
    synced: State,
    /// Syncs that are on their way, oldest first.
    syncing: BTreeMap<u64, State>,
    syncs: u64,
    /// Forgotten by the agent and not written yet.
    forgotten: Vec<AttemptKey>,
    /// Ends that could not be written: the agent alone has them.
    unwritten: Vec<(AttemptEnd, [Sealed; Stream::COUNT])>,
    /// The disk takes nothing, until the journal is written anew.
    pub(super) trouble: bool,
}

impl Journal {
    pub(super) const fn instance(&self) -> u64 {
        self.instance
    }

    pub(super) const fn epoch(&self) -> u32 {
        self.written.epoch
    }

    /// A journal of another boot, or none at all, begins with another number.
    pub(super) const fn begin(&mut self, instance: u64) {
        self.instance = instance;
    }

    pub(super) fn knows(&self, key: AttemptKey) -> bool {
        self.written.entries.contains_key(&key) && !self.forgotten.contains(&key)
    }

    pub(super) fn start(&mut self, assignment: &Assignment, at: Timestamp) {
        self.flush();
        self.written.entries.insert(assignment.key, Entry::Started(assignment.clone(), at));
    }

    pub(super) fn end(&mut self, end: AttemptEnd, output: [Sealed; Stream::COUNT]) {
        if self.trouble {
            return self.unwritten.push((end, output));
        }
        self.flush();
        self.written.entries.insert(end.key, Entry::Ended(end, output));
    }

    /// Everything that is needed is written anew.
    pub(super) fn repair(&mut self) {
        self.trouble = false;
        for (end, output) in std::mem::take(&mut self.unwritten) {
            self.end(end, output);
        }
        self.flush();
        self.synced = self.written.clone();
    }

    pub(super) fn forget(&mut self, key: AttemptKey) {
        self.unwritten.retain(|(end, _)| end.key != key);
        self.forgotten.push(key);
    }

    pub(super) const fn set_epoch(&mut self, epoch: u32) {
        self.written.epoch = epoch;
    }

    /// Writes what is forgotten.
    pub(super) fn flush(&mut self) {
        if self.trouble {
            return;
        }
        for key in self.forgotten.drain(..) {
            self.written.entries.remove(&key);
        }
    }

    /// Orders a sync of all that is written; its number.
    pub(super) fn order_sync(&mut self) -> u64 {
        self.syncs += 1;
        self.syncing.insert(self.syncs, self.written.clone());
        self.syncs
    }

    /// A sync is done.
    pub(super) fn synced(&mut self, number: u64) {
        if let Some(state) = self.syncing.remove(&number) {
            self.synced = state;
        }
        self.syncing.retain(|other, _| *other > number);
    }

    /// The agent is gone, and with it what it had not written.
    pub(super) fn agent_gone(&mut self) {
        self.forgotten.clear();
        self.unwritten.clear();
    }

    /// The machine is gone, and with it what was not synced, unless it happened to reach the disk.
    pub(super) fn machine_gone(&mut self, reached: bool) {
        self.agent_gone();
        self.syncing.clear();
        if reached {
            self.synced = self.written.clone();
        } else {
            self.written = self.synced.clone();
        }
    }

    /// What an agent that starts finds.
    pub(super) fn found(&self) -> impl Iterator<Item = &Entry> {
        self.written.entries.values()
    }
}
