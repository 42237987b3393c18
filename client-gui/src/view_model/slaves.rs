//! The list of slaves and the recent events below it.

use super::{Clock, counted};
use crate::widgets::shown;
use client::Mirror;
use common::{
    SlaveId,
    view::{SlaveState, SlaveView},
};

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlaveRow {
    /// The slave.
    pub id: SlaveId,
    /// Its name as it is, to name it to the master.
    pub raw_name: String,
    /// Its name, safe to show.
    pub name: String,
    /// Whether it is there.
    pub state: SlaveState,
    /// That as a word.
    pub word: &'static str,
    /// Since when.
    pub since: String,
    /// That exactly.
    pub exact: String,
    /// Programs that run there.
    pub running: u32,
    /// Programs that may.
    pub slots: u32,
    /// `3 of 4`.
    pub slots_text: String,
    /// Its languages, in one line.
    pub languages: String,
    /// Each language with its version, for the tooltip.
    pub versions: String,
    /// What it can enforce.
    pub isolation: String,
    /// Whether that is less than all.
    pub weak: bool,
    /// Operating system, address, release.
    pub machine: String,
}

impl SlaveRow {
    /// The row of one slave.
    #[must_use]
    pub fn new(slave: &SlaveView, clock: &Clock) -> Self {
        let languages: Vec<_> = slave.languages.iter().map(|offer| shown(&offer.name)).collect();
        let versions: Vec<_> =
            slave.languages.iter().map(|offer| shown(format!("{} {}", offer.name, offer.version).trim())).collect();
        let weak = !slave.isolation.memory_by_cgroup || !slave.isolation.own_user;
        Self {
            id: slave.id,
            raw_name: slave.name.clone(),
            name: shown(&slave.name),
            state: slave.state,
            word: match slave.state {
                SlaveState::Connected => "Connected",
                SlaveState::Unreachable => "Unreachable",
                SlaveState::Draining => "Draining",
            },
            since: format!("for {}", clock.lasting(slave.since)),
            exact: format!("since {}", clock.exact(slave.since)),
            running: slave.running,
            slots: slave.slots,
            slots_text: format!("{} of {}", slave.running, slave.slots),
            languages: if languages.is_empty() {
                "no languages, commands only".to_owned()
            } else {
                languages.join("  ")
            },
            versions: versions.join("\n"),
            isolation: shown(&slave.isolation.summary),
            weak,
            machine: shown(&format!("{} · {} · release {}", slave.machine, slave.address, slave.release)),
        }
    }

    /// What a screen reader says.
    #[must_use]
    pub fn spoken(&self) -> String {
        format!("{}, {} {}, {} slots", self.name, self.word, self.since, self.slots_text)
    }
}

/// The rows: those that are there first, by name.
#[must_use]
pub fn rows(mirror: &Mirror, clock: &Clock) -> Vec<SlaveRow> {
    let mut rows: Vec<_> = mirror.slaves.values().map(|slave| SlaveRow::new(slave, clock)).collect();
    rows.sort_by(|a, b| {
        (a.state == SlaveState::Unreachable, &a.name).cmp(&(b.state == SlaveState::Unreachable, &b.name))
    });
    rows
}

/// `5 known, 4 connected`.
#[must_use]
pub fn headline(mirror: &Mirror) -> String {
    let connected = mirror.slaves.values().filter(|slave| slave.state != SlaveState::Unreachable).count();
    format!("{} known, {connected} connected", mirror.slaves.len())
}

/// One line of the recent events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// When, as a time of day.
    pub time: String,
    /// Whom it is about.
    pub subject: String,
    /// What happened.
    pub text: String,
}

/// The newest events.
#[must_use]
pub fn events(mirror: &Mirror, clock: &Clock, rows_max: usize) -> Vec<EventRow> {
    mirror
        .events
        .iter()
        .take(rows_max)
        .map(|event| EventRow {
            time: clock.time_of_day(event.at),
            subject: shown(&event.subject),
            text: shown(&event.text),
        })
        .collect()
}

/// Languages of one slave, cut to what a narrow column holds.
#[must_use]
pub fn offers(slave: &SlaveView) -> String {
    counted(slave.languages.len() as u64, "language", "languages")
}

#[cfg(test)]
mod tests {
    use super::{super::clock::tests::clock, *};
    use crate::demo::scene;
    use std::fmt::Write;

    #[test]
    fn e8_slaves_read_like_the_drawing() {
        let clock = clock();
        let mirror = scene::mirror(clock.now);
        let mut text = headline(&mirror) + "\n";
        for row in rows(&mirror, &clock) {
            writeln!(
                text,
                "{} | {} {} | {} | {} | {}{}",
                row.name,
                row.word,
                row.since,
                row.slots_text,
                row.languages,
                row.isolation,
                if row.weak { " (weak)" } else { "" }
            )
            .unwrap();
        }
        for event in events(&mirror, &clock, 10) {
            writeln!(text, "{} {} {}", event.time, event.subject, event.text).unwrap();
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn e8_hostile_slaves_are_shown_escaped() {
        let clock = clock();
        let mut slave = (**scene::mirror(clock.now).slaves.values().next().unwrap()).clone();
        slave.name = "pc\x1b[31m".into();
        slave.isolation.summary = "a\nb".into();
        slave.languages[0].name = "Py\u{202e}".into();
        let row = SlaveRow::new(&slave, &clock);
        assert_eq!((row.name.as_str(), row.isolation.as_str()), ("pc\\x1b[31m", "a\\nb"));
        assert!(row.languages.starts_with("Py\\u{202e}"));
    }
}
