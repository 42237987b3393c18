//! The list of slaves and the recent events below it.

use super::{Clock, counted, isolation};
use crate::{command::Master, widgets::shown};
use client::Mirror;
use common::{
    SlaveId, Timestamp,
    limits::LEASE_MASTER,
    view::{IsolationLevel, SlaveState, SlaveView},
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
    /// How far it shuts programs in, and what it can enforce.
    pub isolation: String,
    /// The level behind that, for its sign.
    pub level: IsolationLevel,
    /// Whether that is less than all.
    pub weak: bool,
    /// Why it is given nothing new, where somebody or the master set it aside.
    pub aside: Option<String>,
    /// What becomes of what it ran, and when, while it is unreachable.
    pub lease: Option<String>,
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
        Self {
            id: slave.id,
            raw_name: slave.name.clone(),
            name: shown(&slave.name),
            state: slave.state,
            word: match (slave.state, &slave.aside) {
                (SlaveState::Unreachable, _) => "Unreachable",
                (SlaveState::Connected | SlaveState::Draining, Some(_)) => "Set aside",
                (SlaveState::Connected, None) => "Connected",
                (SlaveState::Draining, None) => "Draining",
            },
            since: format!("for {}", clock.lasting_about(slave.since)),
            exact: format!("since {}", clock.exact(slave.since)),
            running: slave.running,
            slots: slave.slots,
            slots_text: match (slave.state, slave.running) {
                (SlaveState::Unreachable, running @ 1..) => format!("{running} not known"),
                _ => format!("{} of {}", slave.running, slave.slots),
            },
            languages: if languages.is_empty() {
                "no languages, commands only".to_owned()
            } else {
                languages.join("  ")
            },
            versions: versions.join("\n"),
            isolation: isolation::line(&slave.isolation),
            level: slave.isolation.level,
            weak: isolation::is_weak(&slave.isolation),
            // The master's reason goes on from these words: `by alice: a new disk`.
            aside: slave.aside.as_deref().map(|reason| shown(&format!("set aside {reason}"))),
            lease: lease(slave, clock),
            machine: shown(&format!("{} · {} · release {}", slave.machine, slave.address, slave.release)),
        }
    }

    /// What a screen reader says.
    #[must_use]
    pub fn spoken(&self) -> String {
        let mut words = format!("{}, {} {}, {} slots", self.name, self.word, self.since, self.slots_text);
        for more in self.aside.iter().chain(&self.lease) {
            words.push_str(", ");
            words.push_str(more);
        }
        words
    }

    /// What an operator can do with it.
    #[must_use]
    pub fn action(&self) -> Option<Master> {
        match (self.state, &self.aside) {
            (_, Some(_)) => Some(Master::TakeBack(self.raw_name.clone())),
            (SlaveState::Connected, None) => Some(Master::SetAside(self.raw_name.clone())),
            (SlaveState::Unreachable | SlaveState::Draining, None) => None,
        }
    }
}

/// When it is decided what becomes of the programs of a slave that is away. The window is not told the master's
/// lease: what it says is the usual one.
fn lease(slave: &SlaveView, clock: &Clock) -> Option<String> {
    if slave.state != SlaveState::Unreachable {
        return None;
    }
    let ends = Timestamp(slave.since.0.saturating_add(LEASE_MASTER.0));
    Some(if slave.running == 0 {
        "nothing undecided there".to_owned()
    } else if ends > clock.now {
        let left = ends.since(clock.now).as_millis().div_ceil(1_000);
        format!("undecided until its lease ends: in {left} s, unless this master is set otherwise")
    } else {
        format!("undecided until its lease ends, which this master has set to more than {LEASE_MASTER}")
    })
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

/// `5 known, 4 connected, 1 set aside`.
#[must_use]
pub fn headline(mirror: &Mirror) -> String {
    let connected = mirror.slaves.values().filter(|slave| slave.state != SlaveState::Unreachable).count();
    let aside = mirror.slaves.values().filter(|slave| slave.aside.is_some()).count();
    let aside = if aside > 0 { format!(", {aside} set aside") } else { String::new() };
    format!("{} known, {connected} connected{aside}", mirror.slaves.len())
}

/// When a row changes its words without anything arriving.
#[must_use]
pub fn changes_in(mirror: &Mirror, clock: &Clock) -> Option<std::time::Duration> {
    // Within the first minute seconds are counted.
    let counts = mirror.slaves.values().any(|slave| clock.now.since(slave.since) < common::Duration::from_secs(60));
    let seconds = if counts { 1 } else { 30 };
    (!mirror.slaves.is_empty()).then_some(std::time::Duration::from_secs(seconds))
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
    use crate::{command::Command, demo::scene};
    use std::fmt::Write;

    #[test]
    fn e8_slaves_read_like_the_drawing() {
        let clock = clock();
        let mirror = scene::mirror(clock.now);
        let mut text = headline(&mirror) + "\n";
        for row in rows(&mirror, &clock) {
            writeln!(
                text,
                "{} | {} {} | {} | {} | {}{} | {} | {}",
                row.name,
                row.word,
                row.since,
                row.slots_text,
                row.languages,
                row.isolation,
                if row.weak { " (weak)" } else { "" },
                row.aside.clone().or_else(|| row.lease.clone()).unwrap_or_default(),
                row.action().map(|action| Command::from(action).words().label).unwrap_or_default(),
            )
            .unwrap();
        }
        for event in events(&mirror, &clock, 10) {
            writeln!(text, "{} {} {}", event.time, event.subject, event.text).unwrap();
        }
        insta::assert_snapshot!(text);
    }

    /// The row of the slave of this name after `change`.
    fn row(name: &str, change: impl FnOnce(&mut SlaveView)) -> SlaveRow {
        let clock = clock();
        let mirror = scene::mirror(clock.now);
        let mut slave = (**mirror.slaves.values().find(|slave| slave.name == name).unwrap()).clone();
        change(&mut slave);
        SlaveRow::new(&slave, &clock)
    }

    #[test]
    fn e8_an_unreachable_slave_says_since_when_and_when_its_lease_decides() {
        let away = |seconds: u64, running| {
            row("pc-06", |slave| {
                slave.since = super::super::clock::tests::before(seconds);
                slave.running = running;
            })
        };
        for (seconds, running, since, slots, lease) in [
            (
                24,
                2,
                "for 24 s",
                "2 not known",
                "undecided until its lease ends: in 26 s, unless this master is set otherwise",
            ),
            (
                70,
                2,
                "for 1 min",
                "2 not known",
                "undecided until its lease ends, which this master has set to more than 50 s",
            ),
            (70, 0, "for 1 min", "0 of 2", "nothing undecided there"),
        ] {
            let row = away(seconds, running);
            assert_eq!((row.word, row.since.as_str(), row.slots_text.as_str()), ("Unreachable", since, slots));
            assert_eq!(row.lease.as_deref(), Some(lease));
            assert_eq!(row.action(), None);
        }
        assert_eq!(row("pc-02", |_| ()).lease, None);
    }

    #[test]
    fn e8_a_slave_set_aside_says_why_and_can_be_taken_back() {
        let aside = row("pc-08", |_| ());
        assert_eq!((aside.word, aside.state), ("Set aside", SlaveState::Draining));
        assert!(aside.aside.as_deref().is_some_and(|why| why.contains("no space left on device")));
        assert!(aside.spoken().contains("no space left on device"), "{}", aside.spoken());
        assert_eq!(aside.action(), Some(Master::TakeBack("pc-08".into())));
        let away = row("pc-08", |slave| slave.state = SlaveState::Unreachable);
        assert_eq!((away.word, away.action()), ("Unreachable", Some(Master::TakeBack("pc-08".into()))));
        let there = row("pc-02", |_| ());
        assert_eq!(there.action(), Some(Master::SetAside("pc-02".into())));
        let leaving = row("pc-02", |slave| slave.state = SlaveState::Draining);
        assert_eq!((leaving.word, leaving.action()), ("Draining", None), "it stops by itself");
        let hostile = row("pc-08", |slave| slave.aside = Some("\x1b[2J".into()));
        assert_eq!(hostile.aside.as_deref(), Some("set aside \\x1b[2J"));
    }

    #[test]
    fn e8_hostile_slaves_are_shown_escaped() {
        let clock = clock();
        let mut slave = (**scene::mirror(clock.now).slaves.values().next().unwrap()).clone();
        slave.name = "pc\x1b[31m".into();
        slave.isolation.summary = "a\nb".into();
        slave.languages[0].name = "Py\u{202e}".into();
        let row = SlaveRow::new(&slave, &clock);
        assert_eq!((row.name.as_str(), row.isolation.as_str()), ("pc\\x1b[31m", "root: a\\nb"));
        assert!(row.languages.starts_with("Py\\u{202e}"));
    }
}
