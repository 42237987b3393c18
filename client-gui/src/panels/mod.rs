//! Panels draw a view model and put what a person asks for into `Commands`; they change nothing but their own state.

pub(crate) mod bars;
pub(crate) mod clients;
pub(crate) mod connect;
pub(crate) mod detail;
pub(crate) mod dialogs;
mod files_ui;
pub(crate) mod history;
mod input_ui;
pub mod output_view;
pub(crate) mod palette;
pub(crate) mod slave_detail;
pub(crate) mod slaves;
pub(crate) mod submit;
mod submit_settings;
pub(crate) mod table;

use crate::{
    input_lines::InputLines,
    output::Outputs,
    theme::{self, tokens},
};
use egui::{Rect, Ui};

/// What programs print, and what is typed to them.
pub(crate) struct Streams<'a> {
    /// What they printed, as far as it is here.
    pub(crate) outputs: &'a Outputs,
    /// What is typed to those that run.
    pub(crate) inputs: &'a mut InputLines,
}

/// Where a list and the pane of what is selected in it stand: beside each other, one below the other, or in a narrow
/// window the pane alone.
pub(crate) fn beside(ui: &Ui, whole: Rect, open: bool) -> (Option<Rect>, Option<Rect>) {
    let screen = ui.ctx().content_rect().width();
    if !open {
        (Some(whole), None)
    } else if screen < theme::NARROW {
        (None, Some(whole))
    } else if screen < theme::WIDE {
        let (list, pane) = whole.split_top_bottom_at_y(whole.top() + whole.height() * 0.46);
        (Some(list), Some(pane))
    } else {
        let (list, pane) = whole.split_left_right_at_x(whole.right() - theme::DETAIL);
        (Some(list), Some(pane))
    }
}

/// The line between the list and the pane.
pub(crate) fn divide(ui: &Ui, pane: Rect, list: Option<Rect>) {
    let line = egui::Stroke::new(1.0, tokens(ui).border);
    match list {
        Some(list) if list.right() <= pane.left() + 0.5 => {
            ui.painter().vline(pane.left() + 0.5, pane.y_range(), line);
        }
        Some(_) => {
            ui.painter().hline(pane.x_range(), pane.top() + 0.5, line);
        }
        None => {}
    }
}
