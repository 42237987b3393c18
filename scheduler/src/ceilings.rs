//! The different ceilings of the slaves, and which of them a program is beyond.
//!
//! A program's limits may have any values, and a line for each would be a line for each program. What matters is only
//! which slaves are able, so a need holds one bit for each different ceiling that was told: programs that the same
//! slaves allow wait in one line. As long as no slave has a ceiling below what Ruche allows there are no bits.

use common::program::ResourceLimits;

/// Different ceilings at once: bits of [`Beyond`].
const CEILINGS_MAX: usize = u128::BITS as usize;

/// The ceilings that a program's limits are beyond, a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Beyond(u128);

/// Where a slave's ceiling stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is none: everything that can be submitted is within it.
    #[default]
    Open,
    /// Its bit.
    Bit(u8),
    /// There are too many different ones: nothing is known to be within it.
    Unlisted,
}

impl Beyond {
    /// Whether the limits are beyond the ceiling at this place.
    pub(crate) const fn is_beyond(self, place: Place) -> bool {
        match place {
            Place::Open => false,
            Place::Bit(bit) => self.0 & (1 << bit) != 0,
            Place::Unlisted => true,
        }
    }
}

/// All different ceilings that restrict something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ceilings(Vec<Option<ResourceLimits>>);

impl Ceilings {
    /// Which of them these limits are beyond.
    #[must_use]
    pub fn beyond(&self, limits: &ResourceLimits) -> Beyond {
        let mut beyond = 0;
        for (bit, ceiling) in self.0.iter().enumerate() {
            if ceiling.is_some_and(|ceiling| !limits.is_within(&ceiling)) {
                beyond |= 1 << bit;
            }
        }
        Beyond(beyond)
    }

    /// The place of a ceiling.
    pub(crate) fn place(&self, ceiling: &ResourceLimits) -> Place {
        if ceiling.cpu_time.is_none() && ResourceLimits::MOST.is_within(ceiling) {
            return Place::Open;
        }
        let bit = self.0.iter().position(|known| known.as_ref() == Some(ceiling));
        bit.and_then(|bit| u8::try_from(bit).ok()).map_or(Place::Unlisted, Place::Bit)
    }

    /// Takes in a ceiling; when there are too many, those that `is_used` says nothing of make room. Whether needs
    /// are other ones now.
    pub(crate) fn add(&mut self, ceiling: &ResourceLimits, is_used: impl Fn(&ResourceLimits) -> bool) -> bool {
        if self.place(ceiling) != Place::Unlisted {
            return false;
        }
        if self.0.len() >= CEILINGS_MAX {
            for known in &mut self.0 {
                if known.is_some_and(|known| !is_used(&known)) {
                    *known = None;
                }
            }
        }
        if let Some(free) = self.0.iter_mut().find(|known| known.is_none()) {
            *free = Some(*ceiling);
        } else if self.0.len() < CEILINGS_MAX {
            self.0.push(Some(*ceiling));
        } else {
            return false;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::units::Duration;

    fn at_most(seconds: u64) -> ResourceLimits {
        ResourceLimits { wall_time: Duration::from_secs(seconds), ..ResourceLimits::MOST }
    }

    #[test]
    fn i18_programs_that_the_same_slaves_allow_have_one_need() {
        let mut ceilings = Ceilings::default();
        assert!(!ceilings.add(&ResourceLimits::MOST, |_| true), "it restricts nothing");
        assert!(ceilings.add(&at_most(60), |_| true) && ceilings.add(&at_most(600), |_| true));
        assert!(!ceilings.add(&at_most(60), |_| true));
        let needs: Vec<Beyond> = [1, 60, 61, 599, 600, 601, 9_999].map(|s| ceilings.beyond(&at_most(s))).to_vec();
        assert_eq!(needs.windows(2).filter(|pair| pair[0] != pair[1]).count(), 2, "{needs:?}");
        let minute = ceilings.place(&at_most(60));
        assert!(!needs[1].is_beyond(minute) && needs[2].is_beyond(minute));
    }

    #[test]
    fn i18_more_ceilings_than_can_be_told_apart_are_refused_and_forgotten_ones_make_room() {
        let mut ceilings = Ceilings::default();
        for seconds in 1..=CEILINGS_MAX as u64 {
            assert!(ceilings.add(&at_most(seconds), |_| true));
        }
        assert!(!ceilings.add(&at_most(1_000), |_| true));
        let place = ceilings.place(&at_most(1_000));
        assert!(ceilings.beyond(&at_most(1)).is_beyond(place), "nothing is known to be within it");
        assert!(ceilings.add(&at_most(1_000), |known| *known != at_most(7)));
        let place = ceilings.place(&at_most(1_000));
        assert!(!ceilings.beyond(&at_most(1_000)).is_beyond(place));
        assert!(ceilings.beyond(&at_most(1_001)).is_beyond(place));
    }
}
