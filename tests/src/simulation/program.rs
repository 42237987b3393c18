//! What a simulated program does: told by its name and by its attempt, so that the checker knows it too.

use super::rng::{self, Rng, mix};
use common::{AttemptKey, ProgramId, ProgramSpec, Work, message::Stream};

const MILLI: u64 = 1_000;

/// Kinds of programs, by the name of the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Ends well.
    Good,
    /// Ends with another exit code each time.
    Bad,
    /// Ends badly at its first attempt and well afterwards.
    Flaky,
    /// Brings down its machine.
    Poison,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Good, Self::Bad, Self::Flaky, Self::Poison];

    const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Flaky => "flaky",
            Self::Poison => "poison",
        }
    }

    pub(super) fn of(spec: &ProgramSpec) -> Self {
        Self::ALL.into_iter().find(|kind| kind.word() == spec.name).unwrap_or(Self::Good)
    }

    pub(super) fn spec(self, retry: u32) -> ProgramSpec {
        let mut spec = ProgramSpec::new(self.word(), Work::Command { command: "simulated".into() });
        spec.retry = retry;
        spec
    }
}

/// What one attempt does when nobody stops it.
#[derive(Clone, Debug)]
pub(super) struct Behaviour {
    /// Microseconds from its begin to its end.
    pub(super) run: u64,
    /// Its exit code.
    pub(super) code: i32,
    /// The microseconds after its begin at which it brings down its machine.
    pub(super) crash_after: Option<u64>,
    /// How many times it writes.
    pub(super) writes: u64,
}

fn number(id: ProgramId) -> u64 {
    let (high, low) = id.0.as_u64_pair();
    mix(&[high, low])
}

impl Behaviour {
    pub(super) fn of(kind: Kind, key: AttemptKey) -> Self {
        let mut rng = Rng::new(mix(&[number(key.program), u64::from(key.attempt), 1]));
        let run = match rng.between(0, 9) {
            0..=4 => rng.between(1, 400) * MILLI,
            5..=7 => rng.between(400, 6_000) * MILLI,
            _ => rng.between(6, 25) * 1_000 * MILLI,
        };
        let code = match kind {
            Kind::Good | Kind::Poison => 0,
            Kind::Flaky => i32::from(key.attempt == 1),
            Kind::Bad => 1 + i32::try_from(rng.between(0, 40)).unwrap_or(0),
        };
        let crash_after = (kind == Kind::Poison).then(|| rng.between(0, run));
        Self { run, code, crash_after, writes: rng.between(1, 6) }
    }
}

/// All that an attempt writes to a stream when nobody stops it.
pub(super) fn output(key: AttemptKey, stream: Stream) -> Vec<u8> {
    let seed = mix(&[number(key.program), u64::from(key.attempt), 2 + stream as u64]);
    let mut rng = Rng::new(seed);
    let length = match (stream, rng.between(0, 99)) {
        (Stream::Compile | Stream::Files, _) => 0,
        (Stream::Stderr, 0..=79) => rng.between(0, 60),
        (_, 0..=64) => rng.between(0, 300),
        (_, 65..=84) => rng.between(1_000, 16_000),
        (_, 85..=97) => rng.between(16_000, 100_000),
        (_, _) => rng.between(300_000, 1_300_000),
    };
    rng::bytes(rng.next(), usize::try_from(length).unwrap_or(0))
}
