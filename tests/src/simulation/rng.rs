//! Chance from one number: the same seed gives the same run on every machine.

/// SplitMix64, after the reference in C by Sebastiano Vigna (2015, public domain,
/// <https://prng.di.unimi.it/splitmix64.c>).
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `least` to `most`, both included.
    pub(super) const fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.next() % (most - least + 1)
    }

    /// True in `percent` of all cases.
    pub(super) const fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let place = usize::try_from(self.next() % (from.len().max(1) as u64)).unwrap_or(0);
        from.get(place)
    }
}

/// One number from several.
pub(super) fn mix(parts: &[u64]) -> u64 {
    let mut rng = Rng::new(parts.len() as u64);
    for part in parts {
        rng.0 ^= part.wrapping_mul(0xff51_afd7_ed55_8ccd);
        rng.0 = rng.next();
    }
    rng.next()
}

/// `length` bytes that belong to this number.
pub(super) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&rng.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
