//! What the submit pane says of the slaves: which languages there are, and where a program would start.

use super::{Clock, counted};
use crate::widgets::shown;
use client::{Mirror, live::Busy};
use common::{
    language,
    program::ResourceLimits,
    view::{SlaveState, SlaveView},
};
use std::collections::BTreeMap;

/// A language to choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanguageEntry {
    /// Its name, as the master knows it.
    pub name: String,
    /// How many connected slaves offer it.
    pub slaves: usize,
}

impl LanguageEntry {
    /// `4 slaves`, or that there is none.
    #[must_use]
    pub fn slaves_text(&self) -> String {
        if self.slaves == 0 { "no slave".to_owned() } else { counted(self.slaves as u64, "slave", "slaves") }
    }
}

/// Every known language: those that can run first, by name.
#[must_use]
pub fn languages(mirror: &Mirror) -> Vec<LanguageEntry> {
    let mut counts: BTreeMap<String, usize> =
        language::built_in().iter().map(|language| (language.name.clone(), 0)).collect();
    for slave in mirror.slaves.values().filter(|slave| slave.state == SlaveState::Connected) {
        for offer in &slave.languages {
            *counts.entry(offer.name.clone()).or_default() += 1;
        }
    }
    let mut entries: Vec<_> = counts.into_iter().map(|(name, slaves)| LanguageEntry { name, slaves }).collect();
    entries.sort_by_key(|entry| (entry.slaves == 0, entry.name.to_lowercase()));
    entries
}

/// `1 slave`: how many let programs use the network.
#[must_use]
pub fn network_text(mirror: &Mirror) -> String {
    let slaves = mirror.slaves.values().filter(|slave| slave.state == SlaveState::Connected && slave.ceiling.network);
    match slaves.count() {
        0 => "no slave".to_owned(),
        count => counted(count as u64, "slave", "slaves"),
    }
}

/// What a program needs of the slave that runs it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs<'a> {
    /// The language; none for a command.
    pub language: Option<&'a str>,
    /// The only slave that may run it.
    pub only: Option<&'a str>,
    /// Whether it asks for the network.
    pub network: bool,
    /// Its limits, once they can be read.
    pub limits: Option<ResourceLimits>,
}

/// What a slave lacks for a program, the nearest miss last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Missing {
    Language,
    Network,
    /// It is beyond the slave's ceiling.
    Beyond(String),
}

impl Needs<'_> {
    /// Why this slave can never run it, but for its name.
    fn missing(&self, slave: &SlaveView) -> Option<Missing> {
        let offers = |language: &str| slave.languages.iter().any(|offer| offer.name == language);
        if self.language.is_some_and(|language| !offers(language)) {
            return Some(Missing::Language);
        }
        if self.network && !slave.ceiling.network {
            return Some(Missing::Network);
        }
        self.limits.and_then(|limits| limits.beyond(&slave.ceiling.limits)).map(Missing::Beyond)
    }

    /// Why nothing can run it: `named` are the connected slaves that may.
    fn refusal(&self, named: &[&SlaveView]) -> String {
        let language = shown(self.language.unwrap_or("this"));
        let missing = named.iter().filter_map(|slave| self.missing(slave)).max();
        match (self.only.map(shown), missing) {
            (Some(only), None) => format!("Would wait: {only} is not connected"),
            (Some(only), Some(Missing::Language)) => format!("Cannot run: {only} does not offer {language}"),
            (Some(only), Some(Missing::Network)) => {
                format!("Cannot run: {only} does not let programs use the network")
            }
            (Some(only), Some(Missing::Beyond(what))) => format!("Cannot run: {only} refuses {what}"),
            (None, Some(Missing::Network)) => {
                let with = self.language.map(|language| format!(" with {}", shown(language))).unwrap_or_default();
                format!("Cannot run: no connected slave{with} lets programs use the network")
            }
            (None, Some(Missing::Beyond(what))) => format!("Cannot run: every slave that could refuses {what}"),
            (None, Some(Missing::Language) | None) => format!("Cannot run: no connected slave offers {language}"),
        }
    }
}

/// Where a program would go now.
#[must_use]
pub fn placement(mirror: &Mirror, needs: &Needs<'_>) -> String {
    let connected: Vec<_> = mirror.slaves.values().filter(|slave| slave.state == SlaveState::Connected).collect();
    if !mirror.connected() {
        return "Not connected: it can be submitted when the master answers".to_owned();
    }
    if connected.is_empty() {
        return "Would wait: no slave is connected".to_owned();
    }
    let named: Vec<&SlaveView> = connected
        .iter()
        .map(|slave| &***slave)
        .filter(|slave| needs.only.is_none_or(|only| slave.name == only))
        .collect();
    let able: Vec<_> = named.iter().filter(|slave| needs.missing(slave).is_none()).collect();
    let free = able
        .iter()
        .filter(|slave| slave.running < slave.slots)
        .min_by_key(|slave| (u64::from(slave.running) * 1_000 / u64::from(slave.slots.max(1)), &slave.name));
    match (free, able.first(), needs.only) {
        (Some(slave), _, _) => format!(
            "Would start now on {}: {} of {} in use",
            shown(&slave.name),
            slave.running,
            counted(u64::from(slave.slots), "slot", "slots")
        ),
        (None, Some(_), Some(only)) => format!("Would wait: every slot of {} is in use", shown(only)),
        (None, Some(_), None) => {
            format!("Would wait: every slot of {} is in use", counted(able.len() as u64, "slave", "slaves"))
        }
        (None, None, _) => needs.refusal(&named),
    }
}

/// What is said of a submit that the master has not acknowledged: a word, and what it waits for.
#[must_use]
pub fn on_its_way(mirror: &Mirror, busy: Option<&Busy>, clock: &Clock) -> (&'static str, String) {
    match busy {
        _ if !mirror.connected() => {
            ("Waiting", "there is no connection; it is sent as soon as the master answers".to_owned())
        }
        Some(busy) => {
            let left = busy.retry_at.since(clock.now).as_millis().div_ceil(1_000);
            let when =
                if left == 0 { "sending it again now".to_owned() } else { format!("sending it again in {left} s") };
            ("Waiting", format!("the master is busy; {when}"))
        }
        None => ("Submitting", String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::clock::tests::clock, *};
    use crate::demo::scene;
    use common::Timestamp;

    #[test]
    fn e12_languages_that_no_slave_has_come_last() {
        let entries = languages(&scene::mirror(clock().now));
        let text: Vec<_> = entries.iter().map(|entry| format!("{}: {}", entry.name, entry.slaves_text())).collect();
        insta::assert_snapshot!(text.join("\n"));
    }

    #[test]
    fn e9_a_submit_that_is_put_off_counts_down() {
        let clock = clock();
        let mut mirror = scene::mirror(clock.now);
        let reason = common::UserError::new(common::ErrorCode::Busy, "busy");
        let busy = |millis: u64| Busy { reason: reason.clone(), retry_at: Timestamp(clock.now.0 + millis * 1_000) };
        for (millis, words) in [
            (2_000, "the master is busy; sending it again in 2 s"),
            (1_001, "the master is busy; sending it again in 2 s"),
            (300, "the master is busy; sending it again in 1 s"),
            (0, "the master is busy; sending it again now"),
        ] {
            assert_eq!(on_its_way(&mirror, Some(&busy(millis)), &clock), ("Waiting", words.to_owned()));
        }
        assert_eq!(on_its_way(&mirror, None, &clock), ("Submitting", String::new()));
        mirror.link = client::Link::Off;
        let cut = on_its_way(&mirror, Some(&busy(300)), &clock).1;
        assert_eq!(cut, "there is no connection; it is sent as soon as the master answers");
    }

    #[test]
    fn e3_the_window_says_where_it_would_start() {
        let mut mirror = scene::mirror(clock().now);
        for (language, only, text) in [
            (Some("Python"), None, "Would start now on pc-03: 1 of 3 slots in use"),
            (None, None, "Would start now on pc-03: 1 of 3 slots in use"),
            (Some("C++"), None, "Would wait: every slot of 1 slave is in use"),
            (Some("C"), Some("pc-02"), "Would wait: every slot of pc-02 is in use"),
            (Some("Kotlin"), None, "Cannot run: no connected slave offers Kotlin"),
            (Some("Rust"), Some("pc-07"), "Cannot run: pc-07 does not offer Rust"),
        ] {
            assert_eq!(placement(&mirror, &Needs { language, only, ..Needs::default() }), text);
        }
        let limits = ResourceLimits { memory: common::ByteSize(16 << 30), ..ResourceLimits::default() };
        for (needs, text) in [
            (
                Needs { language: Some("Python"), network: true, ..Needs::default() },
                "Would wait: every slot of 1 slave is in use",
            ),
            (
                Needs { language: Some("Rust"), network: true, ..Needs::default() },
                "Cannot run: no connected slave with Rust lets programs use the network",
            ),
            (
                Needs { only: Some("pc-03"), network: true, ..Needs::default() },
                "Cannot run: pc-03 does not let programs use the network",
            ),
            (
                Needs { language: Some("Go"), limits: Some(limits), ..Needs::default() },
                "Cannot run: every slave that could refuses a memory limit of 16 GiB; at most 8 GiB",
            ),
            (
                Needs { only: Some("pc-03"), limits: Some(limits), ..Needs::default() },
                "Cannot run: pc-03 refuses a memory limit of 16 GiB; at most 8 GiB",
            ),
            (Needs { only: Some("pc-05"), ..Needs::default() }, "Would wait: pc-05 is not connected"),
        ] {
            assert_eq!(placement(&mirror, &needs), text);
        }
        mirror.slaves.clear();
        assert_eq!(placement(&mirror, &Needs::default()), "Would wait: no slave is connected");
        mirror.link = client::Link::Off;
        assert!(placement(&mirror, &Needs::default()).starts_with("Not connected"));
    }
}
