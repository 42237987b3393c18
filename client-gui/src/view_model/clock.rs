//! Instants as people read them: relative in tables, exact on hover.

use common::{Duration, Timestamp};
use jiff::tz::TimeZone;

/// The present, and where on earth.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Now.
    pub now: Timestamp,
    /// The reader's time zone.
    pub zone: TimeZone,
}

impl Clock {
    /// The system's clock and zone.
    #[must_use]
    pub fn system(zone: TimeZone) -> Self {
        let micros = jiff::Timestamp::now().as_microsecond();
        Self { now: Timestamp(u64::try_from(micros).unwrap_or(0)), zone }
    }

    /// `just now`, `12 s ago`, `3 min ago`, `5 h ago`, `2 d ago`.
    #[must_use]
    pub fn ago(&self, at: Timestamp) -> String {
        match self.now.since(at).as_millis() / 1_000 {
            0 => "just now".to_owned(),
            seconds @ 1..=59 => format!("{seconds} s ago"),
            seconds @ 60..=3_599 => format!("{} min ago", seconds / 60),
            seconds @ 3_600..=86_399 => format!("{} h ago", seconds / 3_600),
            seconds => format!("{} d ago", seconds / 86_400),
        }
    }

    /// `14:07:52, today` or `14:07:52, 2 Nov 2026`.
    #[must_use]
    pub fn exact(&self, at: Timestamp) -> String {
        let (Some(then), Some(now)) = (self.zoned(at), self.zoned(self.now)) else { return String::new() };
        let time = then.strftime("%H:%M:%S");
        if then.date() == now.date() {
            format!("{time}, today")
        } else if then.date().tomorrow().is_ok_and(|next| next == now.date()) {
            format!("{time}, yesterday")
        } else {
            format!("{time}, {}", then.strftime("%-d %b %Y"))
        }
    }

    /// `14:07:52`, with the day before it when it is not today.
    #[must_use]
    pub fn time_of_day(&self, at: Timestamp) -> String {
        let (Some(then), Some(now)) = (self.zoned(at), self.zoned(self.now)) else { return String::new() };
        if then.date() == now.date() {
            then.strftime("%H:%M:%S").to_string()
        } else {
            then.strftime("%-d %b %H:%M").to_string()
        }
    }

    /// How long something that still goes on has been going on: `0:12`, `2:10`, `1:02:10`.
    #[must_use]
    pub fn running(&self, since: Timestamp) -> String {
        let seconds = self.now.since(since).as_millis() / 1_000;
        let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
    }

    /// How long since `at`, for a state: `12 s`, `3 h 12 min`.
    #[must_use]
    pub fn lasting(&self, at: Timestamp) -> String {
        let passed = self.now.since(at);
        // Whole seconds: tenths would change faster than anybody reads.
        match passed.as_millis() / 1_000 {
            0 => "a moment".to_owned(),
            seconds @ 1..=59 => format!("{seconds} s"),
            seconds => Duration::from_secs(seconds).to_string(),
        }
    }

    /// The same without seconds, once a minute is over: for what is not painted each second.
    #[must_use]
    pub fn lasting_about(&self, at: Timestamp) -> String {
        match self.now.since(at).as_millis() / 60_000 {
            0 => self.lasting(at),
            minutes => Duration::from_secs(minutes * 60).to_string(),
        }
    }

    /// When what [`Clock::ago`] says of `at` changes next.
    #[must_use]
    pub fn ago_changes_in(&self, at: Timestamp) -> std::time::Duration {
        let millis = self.now.since(at).as_millis();
        let unit = if millis < 60_000 { 1_000 } else { 60_000 };
        std::time::Duration::from_millis(unit - millis % unit)
    }

    fn zoned(&self, at: Timestamp) -> Option<jiff::Zoned> {
        let micros = i64::try_from(at.0).ok()?;
        Some(jiff::Timestamp::from_microsecond(micros).ok()?.to_zoned(self.zone.clone()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// 14:09:04 on 21 November 2026, UTC.
    pub(crate) fn clock() -> Clock {
        let now = jiff::civil::date(2026, 11, 21).at(14, 9, 4, 0).to_zoned(TimeZone::UTC).unwrap().timestamp();
        Clock { now: Timestamp(now.as_microsecond() as u64), zone: TimeZone::UTC }
    }

    pub(crate) fn before(seconds: u64) -> Timestamp {
        Timestamp(clock().now.0 - seconds * 1_000_000)
    }

    #[test]
    fn e6_instants_are_relative_and_exact_on_hover() {
        let clock = clock();
        for (seconds, ago, exact, running) in [
            (0, "just now", "14:09:04, today", "0:00"),
            (12, "12 s ago", "14:08:52, today", "0:12"),
            (72, "1 min ago", "14:07:52, today", "1:12"),
            (7_330, "2 h ago", "12:06:54, today", "2:02:10"),
            (86_400, "1 d ago", "14:09:04, yesterday", "24:00:00"),
            (864_000, "10 d ago", "14:09:04, 11 Nov 2026", "240:00:00"),
        ] {
            let at = before(seconds);
            assert_eq!((clock.ago(at), clock.exact(at), clock.running(at)), (ago.into(), exact.into(), running.into()));
        }
        assert_eq!(clock.lasting(before(11_520)), "3 h 12 min");
        assert_eq!((clock.lasting(before(0)), clock.lasting(before(5))), ("a moment".to_owned(), "5 s".to_owned()));
        assert_eq!((clock.lasting_about(before(70)), clock.lasting_about(before(5))), ("1 min".into(), "5 s".into()));
        assert_eq!(clock.ago(Timestamp(u64::MAX)), "just now", "a clock that runs ahead says nothing strange");
        assert_eq!(clock.exact(Timestamp(u64::MAX)), "");
    }
}
