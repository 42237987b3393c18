//! Commands for which master this is, and as whom.

use super::{Able, Situation, Words};
use crate::backend::Login;

/// Which master, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Session {
    /// Start a master and a slave on this computer.
    StartHere,
    /// Choose another master.
    SwitchMaster,
    /// End the session.
    LogOut,
    /// Log in.
    LogIn(Login),
    /// Learn the pin of the master at this address.
    AskPin(String),
    /// Go on with the remembered session of this number.
    Resume(usize),
}

impl Session {
    pub(super) fn words(&self) -> Words {
        let (label, tooltip) = match self {
            Self::StartHere => ("Start on this computer", "A master and a slave of your own; they end with the window"),
            Self::SwitchMaster => ("Switch master…", "Connect somewhere else"),
            Self::LogOut => ("Log out", "Ends the session and forgets it on this computer"),
            Self::LogIn(_) => ("Log in", "Connects and logs in"),
            Self::AskPin(_) => ("Connect", "Asks the master for its identity first"),
            Self::Resume(_) => ("Connect", "Goes on with the session of this computer"),
        };
        Words::new(label, tooltip)
    }

    pub(super) fn enabled(&self, situation: &Situation) -> Able {
        match self {
            Self::LogOut => situation.is_connected(),
            Self::StartHere | Self::SwitchMaster | Self::LogIn(_) | Self::AskPin(_) | Self::Resume(_) => Ok(()),
        }
    }
}
