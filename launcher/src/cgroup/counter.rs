//! A count of events that a group keeps, and that nobody but the slot's programs moves.

use super::folder::{text_of, value_of};
use std::{cell::Cell, fs::File};

pub(super) struct Counter {
    /// None where the kernel has no such file.
    file: Option<File>,
    key: &'static str,
    before: u64,
    /// As it was read last, since when nothing can have moved it but the program that is being looked at.
    seen: Cell<Option<u64>>,
}

impl Counter {
    pub(super) const fn new(file: Option<File>, key: &'static str) -> Self {
        Self { file, key, before: 0, seen: Cell::new(None) }
    }

    pub(super) const fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// A program begins. What was read at the end of the one before is still so.
    pub(super) fn begin(&mut self) {
        self.before = self.seen.take().unwrap_or_else(|| self.read());
    }

    /// Whether it has moved since then.
    pub(super) fn has_moved(&self) -> bool {
        let now = self.read();
        self.seen.set(Some(now));
        now > self.before
    }

    /// From now on it moves for other reasons as well, until the next program begins.
    pub(super) fn disturb(&self) {
        self.seen.set(None);
    }

    /// So that it becomes ready for the next event only.
    pub(super) fn hear(&self) {
        drop(self.file.as_ref().and_then(text_of));
    }

    fn read(&self) -> u64 {
        self.file.as_ref().and_then(|file| value_of(file, self.key)).unwrap_or(0)
    }
}
