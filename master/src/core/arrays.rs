//! Copies that wait and that nobody touched: kept together, however many they are. A copy becomes a program of its own
//! when it is sent to a slave, ends, or somebody asks for more than its row; sequence, ID and place in the line stay what
//! they were, so that nothing else notices.

use super::{
    Core,
    program::{Lot, Program, ProgramState},
};
use common::{ProgramId, Timestamp};
use std::{collections::BTreeMap, ops::Range, sync::Arc};

/// Copies one after the other: sequences, IDs and indexes count up from those of the first.
#[derive(Clone, Debug)]
pub(super) struct Array {
    pub(super) count: u64,
    /// ID of the first.
    pub(super) id: ProgramId,
    /// Index of the first.
    pub(super) index: u32,
    pub(super) lot: Arc<Lot>,
    pub(super) submitted_at: Timestamp,
    /// They are in no line yet: the history was restored.
    pub(super) held: bool,
}

impl Array {
    /// The copy that stands so many places after the first.
    fn copy(&self, places: u64) -> Program {
        // All IDs were checked when they were accepted.
        let id = self.id.nth(places).unwrap_or(self.id);
        let index = self.index.saturating_add(u32::try_from(places).unwrap_or(u32::MAX));
        Program::new(id, self.lot.clone(), index, self.submitted_at)
    }

    /// `count` of them, from so many places after the first on.
    fn part(&self, places: u64, count: u64) -> Self {
        let Program { id, index, .. } = self.copy(places);
        Self { count, id, index, ..self.clone() }
    }
}

/// All arrays.
#[derive(Debug, Default)]
pub(super) struct Arrays {
    /// By the sequence of the first.
    by_sequence: BTreeMap<u64, Array>,
    /// The sequence of the first by its ID.
    by_id: BTreeMap<ProgramId, u64>,
    /// Copies in all of them.
    copies: u64,
}

impl Arrays {
    pub(super) fn insert(&mut self, first: u64, array: Array) {
        if array.count > 0 {
            self.copies += array.count;
            self.by_id.insert(array.id, first);
            self.by_sequence.insert(first, array);
        }
    }

    /// Copies in all of them.
    pub(super) const fn copies(&self) -> u64 {
        self.copies
    }

    fn of(&self, sequence: u64) -> Option<(u64, &Array)> {
        let (first, array) = self.by_sequence.range(..=sequence).next_back()?;
        (sequence - first < array.count).then_some((*first, array))
    }

    /// The copy with this sequence.
    pub(super) fn get(&self, sequence: u64) -> Option<Program> {
        self.of(sequence).map(|(first, array)| array.copy(sequence - first))
    }

    /// Whether it is a copy that is held back.
    pub(super) fn is_held(&self, sequence: u64) -> bool {
        self.of(sequence).is_some_and(|(_, array)| array.held)
    }

    /// The sequence of a copy.
    pub(super) fn sequence_of(&self, id: ProgramId) -> Option<u64> {
        let (first, sequence) = self.by_id.range(..=id).next_back()?;
        let places = id.after(*first)?;
        (places < self.by_sequence.get(sequence)?.count).then_some(sequence + places)
    }

    /// A copy that has an ID of this span, ends included.
    pub(super) fn any_between(&self, first: ProgramId, last: ProgramId) -> Option<ProgramId> {
        let begins = self.by_id.range(first..=last).next().map(|(id, _)| *id);
        begins.or_else(|| self.sequence_of(first).map(|_| first))
    }

    /// Takes a copy out; whether it was held back.
    fn take(&mut self, sequence: u64) -> Option<(Program, bool)> {
        let (first, _) = self.of(sequence)?;
        let array = self.by_sequence.remove(&first)?;
        self.by_id.remove(&array.id);
        self.copies -= array.count;
        let places = sequence - first;
        if places > 0 {
            self.insert(first, array.part(0, places));
        }
        let after = array.count - places - 1;
        if after > 0 {
            self.insert(sequence + 1, array.part(places + 1, after));
        }
        Some((array.copy(places), array.held))
    }

    /// All, each with its sequences.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Range<u64>, &Array)> {
        self.by_sequence.iter().map(|(first, array)| (*first..first + array.count, array))
    }

    /// Asserts what must always hold.
    pub(super) fn check(&self, taken: impl Fn(u64, ProgramId) -> bool) {
        assert_eq!(self.by_id.len(), self.by_sequence.len());
        assert_eq!(self.copies, self.by_sequence.values().map(|array| array.count).sum::<u64>());
        let mut end = 0;
        for (first, array) in &self.by_sequence {
            assert!(*first >= end && array.count > 0, "arrays have no sequence in common");
            assert_eq!(self.by_id.get(&array.id), Some(first));
            for sequence in [*first, first + array.count - 1] {
                let copy = self.get(sequence).expect("it is one of its own");
                assert_eq!(self.sequence_of(copy.id), Some(sequence));
                assert!(!taken(sequence, copy.id), "a copy is a program too");
            }
            end = first + array.count;
        }
    }
}

impl Core {
    /// Programs that wait or run.
    pub(super) fn alive_count(&self) -> u64 {
        self.programs.len() as u64 + self.arrays.copies()
    }

    /// The sequence of a program that has not ended.
    pub(super) fn sequence_of(&self, id: ProgramId) -> Option<u64> {
        self.by_id.get(&id).copied().or_else(|| self.arrays.sequence_of(id))
    }

    /// Looks at a program that has not ended, be it a copy that nobody touched.
    pub(super) fn look_at<R>(&self, sequence: u64, look: impl FnOnce(&Program) -> R) -> Option<R> {
        match self.programs.get(&sequence) {
            Some(program) => Some(look(program)),
            None => self.arrays.get(sequence).map(|copy| look(&copy)),
        }
    }

    /// A copy becomes a program of its own; nothing happens to one that is.
    pub(super) fn touch(&mut self, sequence: u64) {
        if self.arrays.copies() == 0 || self.programs.contains_key(&sequence) {
            return;
        }
        let Some((program, held)) = self.arrays.take(sequence) else { return };
        debug_assert!(matches!(program.state, ProgramState::Waiting));
        self.by_id.insert(program.id, sequence);
        self.programs.insert(sequence, program);
        if held {
            self.hold_back(sequence);
        }
    }

    /// The same by their IDs.
    pub(super) fn touch_all(&mut self, ids: &[ProgramId]) {
        if self.arrays.copies() == 0 {
            return;
        }
        for id in ids {
            if let Some(sequence) = self.arrays.sequence_of(*id) {
                self.touch(sequence);
            }
        }
    }

    /// Copies that were held back come into their lines.
    pub(super) fn line_up_arrays(&mut self) {
        for (first, array) in self.arrays.by_sequence.iter_mut().filter(|(_, array)| array.held) {
            array.held = false;
            let need = self.scheduler.need(&array.lot.body.spec);
            self.scheduler.enqueue_all(*first..first + array.count, &need, &array.lot.user);
        }
    }
}
