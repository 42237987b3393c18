//! Copies that nobody touched have no rows: one row of the table `array` stands for all that follow one another. A copy
//! gets a row of its own with the first thing that happens to it, and leaves its array in the same transaction. So the
//! rows of `program` and the members of `array` together are all programs, each once, at every commit.
//!
//! The thread that writes knows all arrays, so that a record finds its copy without a question to the database.

use super::{StoreError, commit::signed};
use common::{ClientId, ProgramId};
use rusqlite::{Connection, Row, Transaction, params};
use std::collections::BTreeMap;

/// Copies without rows: sequences, IDs and indexes count up from those of the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Array {
    /// Sequence of the first.
    pub(super) first: u64,
    /// How many they are.
    pub(super) count: u64,
    /// ID of the first.
    pub(super) id: ProgramId,
    /// Index of the first.
    pub(super) index: u32,
    /// Copies of the whole submit.
    pub(super) copies: u32,
    /// Key of the body.
    pub(super) spec: u64,
    /// Key of the owner.
    pub(super) owner: i64,
    pub(super) client: ClientId,
    /// Microseconds, as in the file.
    pub(super) submitted_at: i64,
}

/// The columns that [`Array::read`] reads.
pub(super) const COLUMNS: &str = "a.first, a.count, a.id, a.idx, a.copies, a.spec, a.owner, a.client, a.submitted_at";

impl Array {
    /// Reads a row of [`COLUMNS`].
    ///
    /// # Errors
    /// When a column has another type.
    pub(super) fn read(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        let number = |place: usize| -> rusqlite::Result<u64> { Ok(row.get::<_, i64>(place)?.cast_unsigned()) };
        Ok(Self {
            first: number(0)?,
            count: number(1)?,
            id: ProgramId(row.get(2)?),
            index: row.get(3)?,
            copies: row.get(4)?,
            spec: number(5)?,
            owner: row.get(6)?,
            client: ClientId(row.get(7)?),
            submitted_at: row.get(8)?,
        })
    }

    /// The sequence after the last one.
    pub(super) const fn end(&self) -> u64 {
        self.first.saturating_add(self.count)
    }

    /// `count` copies of it from a sequence on, which is one of its own.
    pub(super) fn part(&self, first: u64, count: u64) -> Self {
        let places = first - self.first;
        // The ID of each copy was checked when they were accepted.
        let id = self.id.nth(places).unwrap_or(self.id);
        let index = self.index.saturating_add(u32::try_from(places).unwrap_or(u32::MAX));
        Self { first, count, id, index, ..self.clone() }
    }
}

/// All arrays, as the table has them or will have them with the transaction that is open.
#[derive(Debug, Default)]
pub(super) struct Arrays {
    /// By the first sequence; whether the table has it.
    known: BTreeMap<u64, (Array, bool)>,
    /// Rows that the table shall have no longer.
    gone: Vec<u64>,
    /// What may be in `known` and is not in the table.
    fresh: Vec<u64>,
}

impl Arrays {
    /// What the table has.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn load(connection: &Connection) -> Result<Self, StoreError> {
        let mut statement = connection.prepare(&format!("SELECT {COLUMNS} FROM array a"))?;
        let rows = statement.query_map([], Array::read)?;
        let known = rows.map(|row| row.map(|array| (array.first, (array, true)))).collect::<Result<_, _>>()?;
        Ok(Self { known, ..Self::default() })
    }

    /// Copies that were accepted now.
    pub(super) fn add(&mut self, array: Array) {
        if array.count > 0 {
            self.fresh.push(array.first);
            self.known.insert(array.first, (array, false));
        }
    }

    /// Takes a copy out, which gets a row now; none when it has one already.
    pub(super) fn take(&mut self, sequence: u64) -> Option<Array> {
        let (first, (array, _)) = self.known.range(..=sequence).next_back()?;
        if array.end() <= sequence {
            return None;
        }
        let first = *first;
        let (array, saved) = self.known.remove(&first)?;
        if saved {
            self.gone.push(first);
        }
        self.add(array.part(first, sequence - first));
        let (after, end) = (sequence + 1, array.end());
        if after < end {
            self.add(array.part(after, end - after));
        }
        Some(array.part(sequence, 1))
    }

    /// Brings the table up to date. When the transaction fails afterwards, all must be loaded anew.
    ///
    /// # Errors
    /// When the table cannot be written.
    pub(super) fn write(&mut self, transaction: &Transaction<'_>) -> Result<(), StoreError> {
        for first in self.gone.drain(..) {
            transaction.prepare_cached("DELETE FROM array WHERE first = ?1")?.execute([signed(first)])?;
        }
        for first in self.fresh.drain(..) {
            let Some((array, saved)) = self.known.get_mut(&first).filter(|(_, saved)| !saved) else { continue };
            *saved = true;
            let sql = "INSERT INTO array (first, count, id, idx, copies, spec, owner, client, submitted_at)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
            transaction.prepare_cached(sql)?.execute(params![
                signed(array.first),
                signed(array.count),
                array.id.0,
                array.index,
                array.copies,
                signed(array.spec),
                array.owner,
                array.client.0,
                array.submitted_at
            ])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use uuid::Uuid;

    fn array(first: u64, count: u64) -> Array {
        Array {
            first,
            count,
            id: ProgramId(Uuid::from_u128((0x8000_u128 << 48) + u128::from(first))),
            index: 0,
            copies: u32::try_from(count).unwrap(),
            spec: 1,
            owner: 1,
            client: ClientId(Uuid::nil()),
            submitted_at: 5,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn p2_every_copy_is_in_the_table_or_was_taken_out_once(
            counts in prop::collection::vec(1_u64..40, 1..4),
            taken in prop::collection::vec((0_u64..90, any::<bool>()), 0..120),
        ) {
            let mut connection = Connection::open_in_memory().unwrap();
            for step in super::super::schema::STEPS {
                connection.execute_batch(step).unwrap();
            }
            let (mut arrays, mut waiting, mut next) = (Arrays::default(), BTreeSet::new(), 1);
            let mut counts = counts.into_iter();
            for (sequence, commits) in std::iter::once((0, true)).chain(taken) {
                // Now and then more come.
                if sequence % 8 == 0 && let Some(count) = counts.next() {
                    arrays.add(array(next, count));
                    waiting.extend(next..next + count);
                    next += count;
                }
                let found = arrays.take(sequence);
                prop_assert_eq!(found.is_some(), waiting.remove(&sequence));
                if let Some(copy) = found {
                    prop_assert_eq!((copy.first, copy.count, copy.id), (sequence, 1, array(sequence, 1).id));
                }
                if commits {
                    let transaction = connection.transaction().unwrap();
                    arrays.write(&transaction).unwrap();
                    transaction.commit().unwrap();
                    let read = Arrays::load(&connection).unwrap();
                    let members = |arrays: &Arrays| -> Vec<(u64, ProgramId, u32)> {
                        let all = arrays.known.values().flat_map(|(array, _)| {
                            (array.first..array.end()).map(|sequence| array.part(sequence, 1))
                        });
                        all.map(|copy| (copy.first, copy.id, copy.index)).collect()
                    };
                    prop_assert_eq!(members(&read), members(&arrays));
                    prop_assert!(members(&read).iter().map(|copy| copy.0).eq(waiting.iter().copied()));
                }
            }
        }
    }
}
