//! Quantities with their units: instants, durations and byte sizes, and how people write them.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// An instant of the wall clock: microseconds since 1970-01-01T00:00:00Z.
/// Only shown and stored; deadlines use [`BootTime`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Whole milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// The time from `earlier` to this instant; zero when the clock went backwards.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

/// An instant of the boot-time clock of one machine, in microseconds. It never jumps and runs on
/// while the machine sleeps; it means nothing on another machine or after a restart of this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(pub u64);

impl BootTime {
    /// This instant moved later by `duration`.
    #[must_use]
    pub const fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.0))
    }

    /// The time from `earlier` to this instant; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

/// A length of time in microseconds. Written `250ms`, `10s`, `5m`, `1h`, `2d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Duration(pub u64);

impl Duration {
    /// A duration of whole milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// A duration of whole seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Whole milliseconds, rounded down.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// The standard library's form, for timers.
    #[must_use]
    pub const fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_micros(self.0)
    }
}

impl From<std::time::Duration> for Duration {
    fn from(value: std::time::Duration) -> Self {
        Self(u64::try_from(value.as_micros()).unwrap_or(u64::MAX))
    }
}

/// For people: `0.31 s`, `12 s`, `2 min 10 s`, `3 h 12 min`.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.as_millis();
        let seconds = millis / 1_000;
        match seconds {
            0 if millis < 10 => write!(f, "{millis} ms"),
            0 => write!(f, "0.{:02} s", millis / 10),
            1..=9 => write!(f, "{seconds}.{} s", millis % 1_000 / 100),
            10..=59 => write!(f, "{seconds} s"),
            60..=3_599 => match seconds % 60 {
                0 => write!(f, "{} min", seconds / 60),
                rest => write!(f, "{} min {rest} s", seconds / 60),
            },
            3_600..=86_399 => match seconds % 3_600 / 60 {
                0 => write!(f, "{} h", seconds / 3_600),
                rest => write!(f, "{} h {rest} min", seconds / 3_600),
            },
            _ => write!(f, "{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
        }
    }
}

/// A number of bytes. Written `64K`, `256M`, `2G` (powers of 1024).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ByteSize(pub u64);

/// For people: `512 B`, `1.5 KiB`, `256 MiB`.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut unit = "B";
        let mut scale = 1_u64;
        for (name, step) in [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)] {
            if self.0 >= step {
                (unit, scale) = (name, step);
            }
        }
        let tenths = u128::from(self.0) * 10 / u128::from(scale);
        if scale == 1 || tenths.is_multiple_of(10) || tenths >= 1_000 {
            write!(f, "{} {unit}", tenths / 10)
        } else {
            write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
        }
    }
}

/// Why a duration or a size could not be read. The text says what is accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseUnitError {
    /// Not a number followed by a known unit.
    #[error("`{0}` is not a duration; write for example 250ms, 10s, 5m or 1h")]
    Duration(String),
    /// Not a number followed by a known unit.
    #[error("`{0}` is not a size; write for example 64K, 256M or 2G")]
    Size(String),
}

/// Splits `12.5ms` into thousandths of the number and the unit, without floating point.
fn split_number(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if number.is_empty() || number == "." || fraction.contains('.') || fraction.len() > 3 {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let thousandths: u64 = format!("{fraction:0<3}").parse().ok()?;
    Some((whole.checked_mul(1_000)?.checked_add(thousandths)?, unit.trim()))
}

impl FromStr for Duration {
    type Err = ParseUnitError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseUnitError::Duration(text.to_owned());
        let (thousandths, unit) = split_number(text).ok_or_else(error)?;
        let micros_per_thousandth: u64 = match unit {
            "us" | "µs" => return Ok(Self(thousandths / 1_000)),
            "ms" => 1,
            "" | "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(error()),
        };
        thousandths.checked_mul(micros_per_thousandth).map(Self).ok_or_else(error)
    }
}

impl FromStr for ByteSize {
    type Err = ParseUnitError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseUnitError::Size(text.to_owned());
        let (thousandths, unit) = split_number(text).ok_or_else(error)?;
        let unit = unit.trim_end_matches("iB").trim_end_matches('B');
        let scale: u128 = match unit {
            "" => 1,
            "K" | "k" => 1 << 10,
            "M" | "m" => 1 << 20,
            "G" | "g" => 1 << 30,
            "T" | "t" => 1 << 40,
            _ => return Err(error()),
        };
        u64::try_from(u128::from(thousandths) * scale / 1_000).map(Self).map_err(|_| error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e5_durations_are_read_as_people_write_them() {
        for (text, micros) in [
            ("250ms", 250_000),
            ("10s", 10_000_000),
            ("5m", 300_000_000),
            ("1h", 3_600_000_000),
            ("1.5s", 1_500_000),
            ("2", 2_000_000),
            ("0s", 0),
        ] {
            assert_eq!(text.parse(), Ok(Duration(micros)), "{text}");
        }
        for text in ["", "s", "-1s", "1x", "1..2s", "99999999999999999999s", "1.2345s", "NaN"] {
            assert!(text.parse::<Duration>().is_err(), "{text} should be refused");
        }
    }

    #[test]
    fn e5_sizes_are_powers_of_1024() {
        for (text, bytes) in
            [("64K", 65_536), ("256M", 256 << 20), ("2G", 2 << 30), ("10", 10), ("1.5K", 1_536), ("1MiB", 1 << 20)]
        {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
        for text in ["", "M", "-1K", "1Q", "99999999999T"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text} should be refused");
        }
    }

    #[test]
    fn quantities_are_shown_with_their_units() {
        for (micros, text) in [
            (300_000, "0.30 s"),
            (4_000, "4 ms"),
            (3_210_000, "3.2 s"),
            (41_000_000, "41 s"),
            (130_000_000, "2 min 10 s"),
            (11_520_000_000, "3 h 12 min"),
        ] {
            assert_eq!(Duration(micros).to_string(), text);
        }
        for (bytes, text) in
            [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (256 << 20, "256 MiB"), (5 << 30, "5 GiB")]
        {
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
    }
}
