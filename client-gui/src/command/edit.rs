//! Commands of the submit pane.

use super::{Able, Situation, Words, ctrl, need};
use egui::{Key, KeyboardShortcut};

/// What is being written, and running it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Submit what is being edited.
    Run,
    /// An empty tab.
    NewTab,
    /// Close the open tab.
    CloseTab,
    /// A new tab with the sample of this language.
    Template(&'static str),
}

impl Edit {
    pub(super) fn words(&self) -> Words {
        match self {
            Self::Run => Words::new("Run", "Submits it; the result appears below"),
            Self::NewTab => Words::new("New tab", "An empty program"),
            Self::CloseTab => Words::new("Close tab", "Closes what is being edited"),
            Self::Template(language) => Words::new(format!("New from sample: {language}"), "Opens a sample program"),
        }
    }

    pub(super) const fn shortcut(&self) -> Option<KeyboardShortcut> {
        match self {
            Self::Run => ctrl(Key::Enter),
            Self::NewTab => ctrl(Key::T),
            Self::CloseTab => ctrl(Key::W),
            Self::Template(_) => None,
        }
    }

    pub(super) fn enabled(&self, situation: &Situation) -> Able {
        match self {
            Self::Run => situation
                .may_submit()
                .and(need(!situation.submitting, "it is on its way"))
                .and(need(situation.runnable, "write a program first")),
            Self::CloseTab => need(situation.tabs > 0, "no tab is open"),
            Self::NewTab | Self::Template(_) => Ok(()),
        }
    }
}
