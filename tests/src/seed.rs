//! Chance that can be repeated: a run prints its seed, and `RUCHE_SEED` gives it again.

use std::ops::Range;

/// Numbers from a seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of `range`, which must not be empty.
    pub const fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    /// A count of `range`, which must not be empty.
    ///
    /// # Panics
    /// Never: what fits into the range fits.
    pub fn count(&mut self, range: Range<usize>) -> usize {
        usize::try_from(self.within(range.start as u64..range.end as u64)).unwrap()
    }

    /// True once in `n` times.
    pub const fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n)
    }

    /// One of `choices`, which must not be empty.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.count(0..choices.len())]
    }
}

/// The seed of a run: `RUCHE_SEED`, else `usual`, else (in a soak) another one each time.
#[must_use]
pub fn seed(usual: u64) -> u64 {
    let given = std::env::var("RUCHE_SEED").ok().and_then(|text| text.parse().ok());
    given.unwrap_or_else(|| if crate::soak() { transport::clock::now().0 } else { usual })
}
