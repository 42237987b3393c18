//! A set of sequences, kept as runs without a gap: a long line of programs that came together takes as much memory
//! as a short one.

use std::{collections::BTreeMap, ops::Range};

/// Sequences in ascending order, no two runs of which touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Runs {
    /// The end of each run, exclusive, by its first member.
    ends: BTreeMap<u64, u64>,
}

impl Runs {
    /// Adds all of `span`; false, and nothing is changed, when any of it is there already or it is empty.
    pub(crate) fn insert(&mut self, span: Range<u64>) -> bool {
        let before = self.ends.range_mut(..=span.start).next_back();
        let joins_before = match &before {
            Some((_, end)) if **end > span.start => return false,
            Some((_, end)) => **end == span.start,
            None => false,
        };
        let before = before.map(|(start, _)| *start);
        let after = self.ends.range(span.start..).next().map(|(start, end)| (*start, *end));
        if span.is_empty() || after.is_some_and(|(start, _)| start < span.end) {
            return false;
        }
        let end = match after {
            Some((start, end)) if start == span.end => {
                self.ends.remove(&start);
                end
            }
            Some(_) | None => span.end,
        };
        let start = before.filter(|_| joins_before).unwrap_or(span.start);
        self.ends.insert(start, end);
        true
    }

    /// Takes out all of `span`; false, and nothing is changed, when any of it is not there or it is empty.
    pub(crate) fn remove(&mut self, span: Range<u64>) -> bool {
        let Some((start, end)) = self.run_of(span.start).filter(|(_, end)| *end >= span.end && !span.is_empty()) else {
            return false;
        };
        if start == span.start {
            self.ends.remove(&start);
        } else {
            self.ends.insert(start, span.start);
        }
        if span.end < end {
            self.ends.insert(span.end, end);
        }
        true
    }

    /// The run that a sequence is in.
    fn run_of(&self, sequence: u64) -> Option<(u64, u64)> {
        let (start, end) = self.ends.range(..=sequence).next_back()?;
        (*end > sequence).then_some((*start, *end))
    }

    /// The least.
    pub(crate) fn first(&self) -> Option<u64> {
        self.ends.first_key_value().map(|(start, _)| *start)
    }

    /// All, in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> {
        self.ends.iter().flat_map(|(start, end)| *start..*end)
    }

    /// How many lie in `span`.
    pub(crate) fn count_in(&self, span: Range<u64>) -> u64 {
        let first = self.run_of(span.start).map_or(span.start, |(start, _)| start);
        let inside = |(start, end): (&u64, &u64)| (*end).min(span.end).saturating_sub((*start).max(span.start));
        self.ends.range(first..span.end.max(first)).map(inside).sum()
    }

    /// How many there are; walks all runs.
    pub(crate) fn len(&self) -> u64 {
        self.ends.iter().map(|(start, end)| end - start).sum()
    }

    /// Asserts what must always hold; for tests.
    pub(crate) fn check(&self) {
        let mut last = None;
        for (start, end) in &self.ends {
            assert!(start < end, "an empty run is kept");
            assert!(last.is_none_or(|last| last < *start), "two runs touch");
            last = Some(*end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn e3_runs_are_the_set_that_they_stand_for(
            steps in prop::collection::vec((any::<bool>(), 0_u64..48, 0_u64..9), 0..200)
        ) {
            let (mut runs, mut model) = (Runs::default(), BTreeSet::new());
            for (add, start, length) in steps {
                let span = start..start + length;
                let none = span.clone().all(|member| !model.contains(&member));
                let all = span.clone().all(|member| model.contains(&member));
                if add {
                    prop_assert_eq!(runs.insert(span.clone()), none && length > 0);
                    if none {
                        model.extend(span.clone());
                    }
                } else {
                    prop_assert_eq!(runs.remove(span.clone()), all && length > 0);
                    if all {
                        model.retain(|member| !span.contains(member));
                    }
                }
                runs.check();
                prop_assert!(runs.iter().eq(model.iter().copied()));
                prop_assert_eq!(runs.first(), model.first().copied());
                prop_assert_eq!(runs.len(), model.len() as u64);
                prop_assert_eq!(runs.count_in(span.clone()), model.range(span).count() as u64);
            }
        }
    }

    #[test]
    fn e3_a_million_programs_that_came_together_are_one_run() {
        let mut runs = Runs::default();
        assert!(runs.insert(5..1_000_005) && runs.insert(1_000_005..1_000_006));
        for taken in 5..1_000 {
            assert!(runs.remove(taken..taken + 1));
        }
        assert_eq!((runs.ends.len(), runs.first(), runs.len()), (1, Some(1_000), 999_006));
    }
}
