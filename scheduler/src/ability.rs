//! Whether a slave can run a program: one small rule each, used to decide and to explain.

use crate::{
    ceilings::{Beyond, Ceilings},
    slave::{Aside, Presence, SlaveSlots},
};
use common::program::ProgramSpec;
use std::{fmt, sync::Arc};

/// What a program needs of a slave. Programs with equal needs wait in one line.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    /// The language of its source as the submit names it; its case does not matter. None for a command.
    pub language: Option<Arc<str>>,
    /// The only slave that may run it, by name.
    pub slave: Option<Arc<str>>,
    /// Whether it asks for the network.
    pub network: bool,
    /// The ceilings of slaves that its limits are beyond.
    pub beyond: Beyond,
}

impl Requirement {
    /// What a submitted program needs, where slaves have these ceilings.
    #[must_use]
    pub fn of(spec: &ProgramSpec, ceilings: &Ceilings) -> Self {
        Self {
            language: spec.language().map(Into::into),
            slave: spec.slave.as_deref().map(Into::into),
            network: spec.network,
            beyond: ceilings.beyond(&spec.limits),
        }
    }
}

impl Requirement {
    /// Whether the limits are beyond the slave's ceiling.
    #[must_use]
    pub const fn is_beyond(&self, slave: &SlaveSlots) -> bool {
        self.beyond.is_beyond(slave.place)
    }
}

/// Why a slave cannot run a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The program is for another slave.
    OtherSlave(Arc<str>),
    /// The slave does not have the language.
    Language(Arc<str>),
    /// The slave lets no program use the network.
    Network,
    /// The program asks for more than the slave allows.
    Ceiling,
    /// The slave is not connected.
    Unreachable,
    /// The slave takes nothing new.
    Draining,
    /// The slave is set aside for this reason.
    Aside(Arc<str>),
    /// The slave is set to run nothing.
    NoSlots,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherSlave(name) => write!(f, "the program may only run on `{name}`"),
            Self::Language(language) => write!(f, "does not have the language `{language}`"),
            Self::Network => f.write_str("lets no program use the network"),
            Self::Ceiling => f.write_str("allows less than the program asks for"),
            Self::Unreachable => f.write_str("is not connected"),
            Self::Draining => f.write_str("is finishing what it has and takes nothing new"),
            Self::Aside(reason) => write!(f, "is set aside {reason}"),
            Self::NoSlots => f.write_str("is set to run at most 0 programs"),
        }
    }
}

/// A rule: none when it does not stand in the way.
type Rule = fn(&Requirement, &SlaveSlots) -> Option<Refusal>;

/// The rules in the order in which people want to hear of them: what never changes first.
const RULES: [Rule; 7] = [named_slave, has_language, has_network, is_within_ceiling, is_there, is_not_aside, has_slots];

fn named_slave(need: &Requirement, slave: &SlaveSlots) -> Option<Refusal> {
    need.slave.as_ref().filter(|name| ***name != *slave.name).map(|name| Refusal::OtherSlave(name.clone()))
}

fn has_language(need: &Requirement, slave: &SlaveSlots) -> Option<Refusal> {
    need.language.as_ref().filter(|name| !slave.has_language(name)).map(|name| Refusal::Language(name.clone()))
}

fn has_network(need: &Requirement, slave: &SlaveSlots) -> Option<Refusal> {
    (need.network && !slave.ceiling.network).then_some(Refusal::Network)
}

fn is_within_ceiling(need: &Requirement, slave: &SlaveSlots) -> Option<Refusal> {
    need.is_beyond(slave).then_some(Refusal::Ceiling)
}

fn is_there(_: &Requirement, slave: &SlaveSlots) -> Option<Refusal> {
    match slave.presence {
        Presence::Connected => None,
        Presence::Draining => Some(Refusal::Draining),
        Presence::Unreachable => Some(Refusal::Unreachable),
    }
}

fn is_not_aside(_: &Requirement, slave: &SlaveSlots) -> Option<Refusal> {
    match &slave.aside {
        Aside::No | Aside::Trial => None,
        Aside::Yes(reason) => Some(Refusal::Aside(reason.clone())),
    }
}

fn has_slots(_: &Requirement, slave: &SlaveSlots) -> Option<Refusal> {
    (slave.slots == 0).then_some(Refusal::NoSlots)
}

/// The first rule that keeps `slave` from running a program with these needs; none when it is able.
#[must_use]
pub fn refusal(need: &Requirement, slave: &SlaveSlots) -> Option<Refusal> {
    RULES.iter().find_map(|rule| rule(need, slave))
}
