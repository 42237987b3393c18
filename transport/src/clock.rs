//! The two clocks of the product. Everything pure gets their readings as arguments.

use common::{Timestamp, units::BootTime};
use rustix::time::{ClockId, clock_gettime};
use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock, to show and to store. It may jump. Read through the C library, so that a test can set it for
/// one process.
#[must_use]
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// The boot-time clock, for leases and deadlines. It never jumps and counts sleep.
#[must_use]
pub fn boot_now() -> BootTime {
    let time = clock_gettime(ClockId::Boottime);
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    BootTime(secs * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_never_goes_back_and_the_wall_clock_is_after_2024() {
        let first = boot_now();
        assert!(boot_now() >= first);
        assert!(now().as_millis() > 1_704_067_200_000);
    }
}
