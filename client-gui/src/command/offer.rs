//! What the panels offer: buttons and entries of menus, made from commands.

use super::{Command, Situation};
use crate::widgets::{self, Look};

/// Where panels put what a person asked for. Nothing happens until the panels are drawn.
#[derive(Debug, Default)]
pub struct Commands {
    asked: Vec<Command>,
    situation: Situation,
}

impl Commands {
    /// An empty list for this frame.
    #[must_use]
    pub fn new(situation: Situation) -> Self {
        Self { asked: Vec::new(), situation }
    }

    /// What can be done now.
    #[must_use]
    pub fn situation(&self) -> &Situation {
        &self.situation
    }

    /// Asks for `command`.
    pub fn send(&mut self, command: impl Into<Command>) {
        self.asked.push(command.into());
    }

    /// What was asked for, in order.
    #[must_use]
    pub fn take(self) -> Vec<Command> {
        self.asked
    }

    /// Whether `command` can be done now.
    #[must_use]
    pub fn can(&self, command: impl Into<Command>) -> bool {
        command.into().enabled(&self.situation).is_ok()
    }

    /// A button for `command`, greyed with its reason while it cannot be done.
    pub(crate) fn button(
        &mut self,
        ui: &mut egui::Ui,
        command: impl Into<Command>,
        look: Look,
        hint: bool,
        min_width: f32,
    ) -> egui::Response {
        let command = command.into();
        let words = command.words();
        let keys = if hint { command.keys() } else { String::new() };
        let enabled = command.enabled(&self.situation);
        let response = ui
            .add_enabled_ui(enabled.is_ok(), |ui| widgets::show_button(ui, &words.label, &keys, look, min_width))
            .inner;
        if response.clicked() {
            self.send(command.clone());
        }
        let keys = command.keys();
        let tooltip = if keys.is_empty() { words.tooltip.to_owned() } else { format!("{} ({keys})", words.tooltip) };
        let response = response.on_hover_text(&tooltip);
        match enabled {
            Ok(()) => response,
            Err(why) => response.on_disabled_hover_text(format!("{tooltip}\nNot now: {why}")),
        }
    }

    /// An entry of a menu for `command`; closes the menu.
    pub(crate) fn entry(&mut self, ui: &mut egui::Ui, command: impl Into<Command>, chosen: bool) {
        let command = command.into();
        let words = command.words();
        let enabled = command.enabled(&self.situation);
        let response = widgets::menu_entry(ui, &words.label, &command.keys(), chosen, enabled.is_ok());
        if enabled.is_ok() && response.clicked() {
            self.send(command);
            ui.close();
        } else if let Err(why) = enabled {
            response.on_hover_text(format!("Not now: {why}"));
        }
    }
}
