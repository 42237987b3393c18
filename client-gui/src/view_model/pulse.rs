//! The connection's state in the top bar and the bottom bar.

use super::{Clock, counted, grouped};
use crate::widgets::{shown, whole};
use client::{Link, Mirror};
use common::{
    Timestamp,
    limits::SILENCE_MAX,
    units::Duration,
    view::{Policy, SlaveState},
};

/// How the connection stands, for its dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Connected.
    Well,
    /// On its way.
    Busy,
    /// Cut off, or refused.
    Bad,
    /// Nothing to connect to.
    Off,
}

/// The connection, in the top bar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The colour of its dot.
    pub mood: Mood,
    /// `lab-master · live`.
    pub text: String,
    /// The whole error, on hover.
    pub tooltip: String,
}

/// How the connection stands.
#[must_use]
pub fn connection(mirror: &Mirror, clock: &Clock) -> Connection {
    let master = match &mirror.identity {
        Some(identity) if !identity.master.is_empty() => shown(&identity.master),
        _ => shown(&mirror.address),
    };
    let (mood, text, tooltip) = match &mirror.link {
        Link::Off => (Mood::Off, "not connected".to_owned(), String::new()),
        Link::Connecting => (Mood::Busy, format!("{master} · connecting"), String::new()),
        Link::Connected => (Mood::Well, format!("{master} · live"), shown(&mirror.address)),
        Link::Waiting { reason, retry_at } => {
            let left = retry_at.since(clock.now).as_millis().div_ceil(1_000);
            let when = if left == 0 { "trying again now".to_owned() } else { format!("trying again in {left} s") };
            (Mood::Bad, format!("{master} · cut off, {when}"), whole(reason))
        }
        Link::Refused { reason } => (Mood::Bad, format!("{master} · refused"), whole(reason)),
    };
    Connection { mood, text, tooltip }
}

/// The bottom bar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// `1,204,331 programs`.
    pub programs: String,
    /// Running now, as far as is known.
    pub running: u64,
    /// Started on slaves whose connection is lost: whether they still run is not known.
    pub unknown: u64,
    /// Waiting now.
    pub waiting: u64,
    /// Failed today.
    pub failed_today: u64,
    /// `Policy: round robin, 10 s`.
    pub policy: String,
    /// Slots in use.
    pub slots_used: u32,
    /// Slots.
    pub slots: u32,
    /// `4 slaves · 3 clients`.
    pub peers: String,
    /// `data is current`, or how old it is.
    pub age: String,
    /// Whether the data is too old to trust.
    pub stale: bool,
}

/// The counts; none before the master said any.
#[must_use]
pub fn pulse(mirror: &Mirror, clock: &Clock) -> Option<Pulse> {
    let summary = mirror.summary?;
    let (age, stale) = age(mirror, clock);
    let unknown = unknown(mirror);
    let running = summary.running.saturating_sub(unknown);
    Some(Pulse {
        programs: counted(summary.programs, "program", "programs"),
        running,
        unknown,
        waiting: summary.waiting,
        failed_today: summary.failed_today,
        policy: format!("Policy: {}", policy_words(summary.policy)),
        slots_used: u32::try_from(running).unwrap_or(u32::MAX).min(summary.slots),
        slots: summary.slots,
        peers: format!(
            "{} · {}",
            counted(u64::from(summary.slaves), "slave", "slaves"),
            counted(u64::from(summary.clients), "client", "clients")
        ),
        age,
        stale,
    })
}

/// Programs on slaves whose connection is lost.
#[must_use]
pub fn unknown(mirror: &Mirror) -> u64 {
    let gone = mirror.slaves.values().filter(|slave| slave.state == SlaveState::Unreachable);
    gone.map(|slave| u64::from(slave.running)).sum()
}

/// The policy in words.
#[must_use]
pub fn policy_words(policy: Policy) -> String {
    match policy {
        Policy::Fifo => "first come, first served".to_owned(),
        Policy::RoundRobin { quantum } => format!("round robin, {quantum}"),
        Policy::Priority => "priority".to_owned(),
    }
}

fn age(mirror: &Mirror, clock: &Clock) -> (String, bool) {
    let old = mirror.heard_at.map(|heard| clock.now.since(heard));
    match old {
        Some(old) if mirror.connected() && old <= SILENCE_MAX => ("data is current".to_owned(), false),
        Some(_) => {
            let heard = mirror.heard_at.unwrap_or(Timestamp(0));
            (format!("data {} old", clock.lasting(heard)), true)
        }
        None => ("no data yet".to_owned(), true),
    }
}

/// When the bars have to be painted again although nothing arrived.
#[must_use]
pub fn changes_in(mirror: &Mirror, clock: &Clock) -> Option<std::time::Duration> {
    match (&mirror.link, mirror.heard_at) {
        (Link::Connected, Some(heard)) => {
            let old = clock.now.since(heard);
            Some(Duration(SILENCE_MAX.0.saturating_sub(old.0).max(1_000_000)).to_std())
        }
        (Link::Waiting { .. } | Link::Connecting, _) => Some(std::time::Duration::from_millis(500)),
        (Link::Off | Link::Refused { .. } | Link::Connected, _) => None,
    }
}

/// The sum of what runs and waits, for the history's headline.
#[must_use]
pub fn alive(mirror: &Mirror) -> String {
    let summary = mirror.summary.unwrap_or_default();
    grouped(summary.running + summary.waiting)
}

#[cfg(test)]
mod tests {
    use super::{super::clock::tests::clock, *};
    use crate::demo::scene;
    use common::{ErrorCode, UserError};

    #[test]
    fn e6_the_bottom_bar_is_the_pulse() {
        let clock = clock();
        insta::assert_debug_snapshot!(pulse(&scene::mirror(clock.now), &clock).unwrap());
        assert_eq!(pulse(&Mirror::default(), &clock), None);
    }

    #[test]
    fn e6_what_is_not_known_is_counted_apart() {
        let clock = clock();
        let mut mirror = scene::mirror(clock.now);
        let counts = |mirror: &Mirror| pulse(mirror, &clock).map(|pulse| (pulse.running, pulse.unknown));
        assert_eq!(counts(&mirror), Some((11, 2)));
        mirror.slaves.retain(|_, slave| slave.name != "pc-06");
        assert_eq!(counts(&mirror), Some((13, 0)), "all of it is known again");
    }

    #[test]
    fn e13_a_cut_is_visible_with_the_age_of_the_data() {
        let clock = clock();
        let mut mirror = scene::mirror(clock.now);
        mirror.heard_at = Some(Timestamp(clock.now.0 - 42_000_000));
        mirror.link = Link::Waiting {
            reason: UserError::new(ErrorCode::MasterUnreachable, "127.0.0.1:7420 does not answer"),
            retry_at: Timestamp(clock.now.0 + 3_200_000),
        };
        let pulse = pulse(&mirror, &clock).unwrap();
        assert_eq!((pulse.age.as_str(), pulse.stale), ("data 42 s old", true));
        let connection = connection(&mirror, &clock);
        assert_eq!(connection.text, "lab-master · cut off, trying again in 4 s");
        assert_eq!(connection.mood, Mood::Bad);
        assert!(connection.tooltip.starts_with("E-MASTER-UNREACHABLE"));
    }
}
