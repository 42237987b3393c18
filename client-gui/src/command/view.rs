//! Commands for how the window looks; always possible.

use super::{Words, ctrl};
use crate::theme::Choice;
use egui::{Key, KeyboardShortcut};

/// How the window looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// Choose the theme.
    Theme(Choice),
    /// Larger.
    ZoomIn,
    /// Smaller.
    ZoomOut,
    /// As it was made.
    ZoomReset,
}

impl View {
    pub(super) fn words(&self) -> Words {
        let (label, tooltip) = match self {
            Self::Theme(Choice::System) => ("Theme: as the desktop", "Dark or light, as the desktop is set"),
            Self::Theme(Choice::Dark) => ("Theme: dark", "Always dark"),
            Self::Theme(Choice::Light) => ("Theme: light", "Always light"),
            Self::ZoomIn => ("Zoom in", "Everything larger"),
            Self::ZoomOut => ("Zoom out", "Everything smaller"),
            Self::ZoomReset => ("Zoom 100 %", "The size it was made for"),
        };
        Words::new(label, tooltip)
    }

    pub(super) const fn shortcut(&self) -> Option<KeyboardShortcut> {
        match self {
            Self::ZoomIn => ctrl(Key::Plus),
            Self::ZoomOut => ctrl(Key::Minus),
            Self::ZoomReset => ctrl(Key::Num0),
            Self::Theme(_) => None,
        }
    }
}
