//! Commands for how the master works; operators only.

use super::Words;
use common::view::Policy;

/// How the master works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Master {
    /// Order waiting programs so.
    SetPolicy(Policy),
    /// Set how many programs may run on a slave, or on each.
    SetSlots {
        /// The slave by name; none is every slave.
        slave: Option<String>,
        /// The number.
        slots: u32,
    },
    /// Give this slave nothing new; asks for the reason.
    SetAside(String),
    /// Give this slave nothing new, for this reason.
    SetAsideBecause {
        /// The slave by name.
        slave: String,
        /// Why, for people.
        reason: String,
    },
    /// Give this slave programs again.
    TakeBack(String),
}

impl Master {
    pub(super) fn words(&self) -> Words {
        let (label, tooltip) = match self {
            Self::SetPolicy(Policy::Fifo) => ("Policy: first come, first served", "In the order of submission"),
            Self::SetPolicy(Policy::RoundRobin { .. }) => ("Policy: round robin, 10 s", "Slices of time in turn"),
            Self::SetPolicy(Policy::Priority) => ("Policy: priority", "Highest priority first"),
            Self::SetSlots { .. } => ("Set slots", "How many programs may run there at once"),
            Self::SetAside(_) => ("Set aside…", "It finishes what it has and is given nothing new"),
            Self::SetAsideBecause { .. } => ("Set aside", "It finishes what it has and is given nothing new"),
            Self::TakeBack(_) => ("Take back", "It is given programs again"),
        };
        Words::new(label, tooltip)
    }
}
