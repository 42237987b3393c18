//! What lets a keeper make calls that its own filter refuses. A filter is dear to enter and cannot be left again, so a
//! keeper enters it once and its programs inherit it; but a keeper must make processes in control groups, and mounts.
//! So the filter lets some calls through when registers that the call does not use hold a number that is drawn by each
//! keeper and known to nobody else.
//!
//! A program has no way to it: it is in the memory of the keeper alone, which is not dumpable; registers and memory
//! are gone with the execution; filters are shown to nobody without rights over the whole machine; and no call gives
//! back what was in a register that it does not use. It is compared as a whole, so that no part of it can be found by
//! itself, and with it the call must be one that a keeper makes.

use libc::c_long;
use std::io;

/// Two numbers that no program knows.
pub(crate) struct Secret([u64; 2]);

impl Secret {
    /// For as long as nothing is refused.
    pub(crate) const NONE: Self = Self([0; 2]);

    /// A new one. The process must not be dumpable by then.
    pub(super) fn new() -> io::Result<Self> {
        let mut bytes = [0_u8; 16];
        // SAFETY: the call writes as many bytes as it is told; so few come at once and whole.
        let count = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        if usize::try_from(count) != Ok(bytes.len()) {
            return Err(io::Error::last_os_error());
        }
        let number = u128::from_ne_bytes(bytes);
        Ok(Self([number as u64, (number >> 64) as u64]))
    }

    /// Which argument is to hold what, for a call that uses so many: all of it, or half where but one is free.
    pub(super) fn places(&self, used: usize) -> Vec<(u8, u64)> {
        let [first, second] = self.0;
        if used < 5 { vec![(5, first), (4, second)] } else { vec![(5, first)] }
    }

    /// The call with these arguments and the secret behind them; -1 when it failed.
    ///
    /// # Safety
    /// As the call demands. It uses at most five arguments.
    pub(crate) unsafe fn call<const USED: usize>(&self, number: c_long, arguments: [c_long; USED]) -> c_long {
        let [a, b, c, d, e, f] = self.arguments(arguments);
        // SAFETY: as the caller promises; what the call does not use it does not see.
        unsafe { libc::syscall(number, a, b, c, d, e, f) }
    }

    /// As [`Secret::places`] says; without memory of its own, as children call it that have none.
    const fn arguments<const USED: usize>(&self, arguments: [c_long; USED]) -> [c_long; 6] {
        const { assert!(USED <= 5, "there is no place for the secret") };
        let [first, second] = self.0;
        let mut all = [0, 0, 0, 0, second.cast_signed() as c_long, first.cast_signed() as c_long];
        let mut place = 0;
        while place < USED {
            all[place] = arguments[place];
            place += 1;
        }
        all
    }

    /// Both numbers, for a call that is put together by hand: its last argument but one holds the second.
    pub(crate) const fn words(&self) -> [u64; 2] {
        self.0
    }
}

/// Whoever prints what holds one must not tell it.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i4_a_secret_lies_where_the_filter_looks_for_it() {
        let secret = Secret([0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210]);
        let at = |arguments: [c_long; 6], used| {
            assert_eq!(arguments[..used], vec![-1; used]);
            secret.places(used).iter().all(|(place, value)| arguments[usize::from(*place)].cast_unsigned() == *value)
        };
        assert!(at(secret.arguments([-1; 1]), 1) && at(secret.arguments([-1; 3]), 3));
        assert!(at(secret.arguments([-1; 4]), 4) && at(secret.arguments([-1; 5]), 5));
        assert_ne!(Secret::new().unwrap().0, Secret::new().unwrap().0);
        assert_eq!(format!("{secret:?}"), "Secret");
    }
}
