//! The small parts that all panels are made of, painted with the tokens of `theme`.

mod button;
mod editor;
mod field;
mod rows;
mod tabs;
mod text;

pub(crate) use button::{Look, chip, icon_button, menu_entry, show_button};
pub(crate) use editor::{Edited, editor};
pub(crate) use field::{caption, choice, field, password_field};
pub use rows::RowsState;
pub(crate) use rows::rows;
pub(crate) use tabs::{Tab, tab_strip, tabs_width};
pub(crate) use text::{elided, paint_elided, paint_right, sentence, shown, whole};

use crate::theme::{Tokens, tokens};
use egui::{Color32, CornerRadius, Rect, Stroke, Ui, pos2, vec2};

/// A line of one pixel across `rect`'s lower edge.
pub(crate) fn line_below(ui: &Ui, rect: Rect) {
    let y = rect.bottom() - 0.5;
    ui.painter().hline(rect.x_range(), y, Stroke::new(1.0, tokens(ui).border));
}

/// The quieter line between two rows.
pub(crate) fn row_line(ui: &Ui, rect: Rect) {
    let t = tokens(ui);
    let y = rect.bottom() - 0.5;
    ui.painter().hline(rect.x_range(), y, Stroke::new(1.0, t.row_line()));
}

/// A line of one pixel across `rect`'s upper edge.
pub(crate) fn line_above(ui: &Ui, rect: Rect) {
    let y = rect.top() + 0.5;
    ui.painter().hline(rect.x_range(), y, Stroke::new(1.0, tokens(ui).border));
}

/// Slots as little squares: `running` of `slots` filled with `ink`; more than `squares_max` are told by the words beside it.
/// Gives the width that was painted.
pub(crate) fn slots(
    ui: &Ui,
    at: egui::Pos2,
    (running, slots, ink): (u32, u32, Color32),
    size: egui::Vec2,
    squares_max: u32,
) -> f32 {
    const GAP: f32 = 2.5;
    let t = tokens(ui);
    let total = slots.max(running);
    let squares = total.min(squares_max);
    // With more slots than squares each square stands for several.
    let filled =
        if total == 0 { 0 } else { (u64::from(running) * u64::from(squares)).div_ceil(u64::from(total)) as u32 };
    for square in 0..squares {
        let left = at.x + square as f32 * (size.x + GAP);
        let rect = Rect::from_min_size(pos2(left, at.y - size.y / 2.0), size);
        let colour = if square >= filled {
            t.border
        } else if square >= slots {
            t.lost
        } else {
            ink
        };
        ui.painter().rect_filled(rect, CornerRadius::same(2), colour);
    }
    if squares == 0 { 0.0 } else { squares as f32 * (size.x + GAP) - GAP }
}

/// A bar of progress, `percent` of 100.
pub(crate) fn progress(ui: &Ui, rect: Rect, percent: f32, colour: Color32) {
    let t = tokens(ui);
    let bar = Rect::from_center_size(rect.center(), vec2(rect.width(), 5.0));
    ui.painter().rect_filled(bar, CornerRadius::same(3), t.border);
    let share = if percent.is_finite() { (percent / 100.0).clamp(0.0, 1.0) } else { 0.0 };
    let filled = Rect::from_min_size(bar.min, vec2(bar.width() * share, bar.height()));
    ui.painter().rect_filled(filled, CornerRadius::same(3), colour);
}

/// The mark of what is selected: a bar at the left edge.
pub(crate) fn selection_mark(ui: &Ui, rect: Rect, t: &Tokens) {
    let mark = Rect::from_min_size(rect.min, vec2(3.0, rect.height()));
    ui.painter().rect_filled(mark, CornerRadius::ZERO, t.accent);
}

/// The ring around what has the keyboard.
pub(crate) fn focus_ring(ui: &Ui, response: &egui::Response, radius: u8) {
    if response.has_focus() {
        let t = tokens(ui);
        ui.painter().rect_stroke(
            response.rect.expand(1.0),
            CornerRadius::same(radius),
            Stroke::new(1.5, t.accent),
            egui::StrokeKind::Outside,
        );
    }
}
