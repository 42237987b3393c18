//! Identifiers. Each is a newtype, so that one is never taken for another.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

macro_rules! uuid_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_newtype! {
    /// A submitted program. UUID v7, made by the client, so that a repeated submit is harmless.
    ProgramId
}
uuid_newtype! {
    /// A slave. UUID v7, given by the master at enrolment and written in the slave's certificate.
    SlaveId
}
uuid_newtype! {
    /// One client's connection. UUID v7, given by the master at login.
    ClientId
}

/// The bits of a UUID v7 behind its variant: IDs of programs that are submitted together count up in them.
const COUNT_BITS: u32 = 62;

impl ProgramId {
    /// The ID of the program `n` places after this one in the same submit; none when the bits that count run over.
    #[must_use]
    pub const fn nth(self, n: u64) -> Option<Self> {
        let value = self.0.as_u128();
        let mask = (1 << COUNT_BITS) - 1;
        if (value & mask) + n as u128 > mask { None } else { Some(Self(Uuid::from_u128(value + n as u128))) }
    }

    /// This ID with the top one of the bits that count cleared: then there is room for more copies after it than
    /// anybody can submit.
    #[must_use]
    pub const fn with_room(self) -> Self {
        Self(Uuid::from_u128(self.0.as_u128() & !(1 << (COUNT_BITS - 1))))
    }

    /// How many places this ID stands after `first`; none when it stands before it, or further than can be counted.
    #[must_use]
    pub fn after(self, first: Self) -> Option<u64> {
        let places = self.0.as_u128().checked_sub(first.0.as_u128())?;
        u64::try_from(places).ok().filter(|places| first.nth(*places) == Some(self))
    }
}

/// One run of a program on one slave. `attempt` counts from 1 and is the fencing token:
/// a report for an attempt that is not the current one changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptKey {
    /// The program that runs.
    pub program: ProgramId,
    /// The attempt, from 1.
    pub attempt: u32,
}

impl AttemptKey {
    /// The fencing token of this attempt in this epoch of the history: later attempts have greater ones, and
    /// attempts of a history that was restored from a backup have greater ones than all before it.
    #[must_use]
    pub const fn fence(self, epoch: u32) -> u64 {
        (epoch as u64) << 32 | self.attempt as u64
    }
}

/// The BLAKE3 hash of a file's content: what is asked for is checked when it comes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for AttemptKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.program, self.attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e1_ids_of_copies_follow_the_first_one_as_long_as_there_is_room() {
        let first = ProgramId(Uuid::from_u128(0x0197_0000_0000_7abc_8000_0000_0000_0005));
        assert_eq!(first.nth(0), Some(first));
        assert_eq!(first.nth(0x10).unwrap().0.as_u128(), 0x0197_0000_0000_7abc_8000_0000_0000_0015);
        assert_eq!(first.nth(0x10).unwrap().after(first), Some(0x10));
        assert_eq!((first.after(first.nth(1).unwrap()), first.nth(3).unwrap().0.get_version_num()), (None, 7));
        let last = ProgramId(Uuid::from_u128(0x0197_0000_0000_7abc_bfff_ffff_ffff_fffe));
        assert!(last.nth(1).is_some() && last.nth(2).is_none() && last.nth(u64::MAX).is_none());
        // What follows in the numbers is no copy of it.
        let other = ProgramId(Uuid::from_u128(last.0.as_u128() + 7));
        assert_eq!(other.after(last), None);
        let roomy = last.with_room();
        assert!(roomy.nth(u64::from(u32::MAX)).is_some() && roomy.0.get_version_num() == 7);
        assert_eq!(roomy.0.get_variant(), uuid::Variant::RFC4122);
    }
}
