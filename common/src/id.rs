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
