//! The two clocks of a machine, made from the virtual time of the run.

use common::{Timestamp, units::BootTime};

/// The wall clock of a machine that is right, at the begin of a run.
const WALL_BEGIN: u64 = 1_800_000_000_000_000;

#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    booted: u64,
    first: u64,
    wall_ahead: i64,
}

impl Clock {
    pub(super) const fn new(first: u64) -> Self {
        Self { booted: 0, first, wall_ahead: 0 }
    }

    /// The machine starts anew.
    pub(super) const fn boot_again(&mut self, now: u64) {
        self.booted = now;
        self.first = 1_000_000;
    }

    pub(super) const fn jump(&mut self, micros: i64) {
        self.wall_ahead = self.wall_ahead.saturating_add(micros);
    }

    pub(super) const fn boot(&self, now: u64) -> BootTime {
        BootTime(now - self.booted + self.first)
    }

    pub(super) const fn wall(&self, now: u64) -> Timestamp {
        Timestamp((WALL_BEGIN + now).saturating_add_signed(self.wall_ahead))
    }

    /// The moment of the run at which the boot-time clock shows this.
    pub(super) const fn when(&self, at: BootTime, now: u64) -> u64 {
        now + at.0.saturating_sub(self.boot(now).0)
    }
}
