//! The two clocks of the product. Everything pure gets their readings as arguments.

use common::{Timestamp, units::BootTime};
use rustix::time::{ClockId, clock_gettime};

/// Microseconds that this clock shows; zero for a clock that stands before its epoch.
fn micros(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).map_or(0, |secs| secs * 1_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000)
}

/// The wall clock, to show and to store. It may jump.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp(micros(ClockId::Realtime))
}

/// The boot-time clock, for leases and deadlines. It never jumps and counts sleep.
#[must_use]
pub fn boot_now() -> BootTime {
    BootTime(micros(ClockId::Boottime))
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
