//! How long to wait before the next attempt to connect.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);

/// Delays that double from 0.2 s to 10 s, each shortened at random by up to half, so that a thousand slaves
/// do not come back in the same instant.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
}

impl Backoff {
    /// Starts at the shortest delay.
    #[must_use]
    pub const fn new() -> Self {
        Self { next: FIRST }
    }

    /// The time to wait now. The one after it is up to twice as long.
    pub fn next_delay(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LONGEST);
        whole / 2 + whole.mul_f64(random_fraction() / 2.0)
    }

    /// Starts again at the shortest delay; call it once the peer has accepted us, not at the bare connection.
    pub fn reset(&mut self) {
        self.next = FIRST;
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

/// A number from 0 to below 1. Without a random source the middle, which is only less fair.
fn random_fraction() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / (f64::from(u32::MAX) + 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_ten_seconds_with_jitter_and_start_again() {
        let mut backoff = Backoff::new();
        let mut whole = FIRST;
        for _ in 0..20 {
            let delay = backoff.next_delay();
            assert!(delay >= whole / 2 && delay <= whole, "{delay:?} is outside half to all of {whole:?}");
            whole = (whole * 2).min(LONGEST);
        }
        assert_eq!(whole, LONGEST);
        backoff.reset();
        assert!(backoff.next_delay() <= FIRST);
        let delays: std::collections::BTreeSet<_> = (0..8).map(|_| Backoff::new().next_delay()).collect();
        assert!(delays.len() > 1, "there is no jitter");
    }
}
