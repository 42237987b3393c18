//! Rows of one height, as many as there may be: only what is visible is drawn.
//!
//! The toolkit's own scroll area measures in single precision, which moves by whole points after sixteen
//! million of them, half a million rows; this one measures in double precision.

use crate::theme::tokens;
use egui::{CornerRadius, Id, Rect, Role, Sense, Ui, WidgetInfo, pos2, vec2};

const BAR: f32 = 8.0;
const HANDLE_MIN: f32 = 28.0;

/// Where a list is scrolled to.
#[derive(Debug, Clone, Copy, Default)]
pub struct RowsState {
    /// Points above the visible part.
    pub top: f64,
    /// Points at the left of the visible part.
    pub left: f32,
    /// Height of the visible part in the last frame.
    pub height: f32,
}

impl RowsState {
    /// Scrolls by as little as brings row `index` into view.
    pub(crate) fn reveal(&mut self, index: u64, row: f32) {
        let (first, row) = (index as f64 * f64::from(row), f64::from(row));
        let height = f64::from(self.height).max(row);
        self.top = self.top.min(first).max(first + row - height);
    }

    /// Whether the last row is in view.
    pub(crate) fn at_end(&self, total: u64, row: f32) -> bool {
        self.top + f64::from(self.height) + 1.0 >= total as f64 * f64::from(row)
    }

    /// Scrolls to the last row.
    pub(crate) fn scroll_to_end(&mut self, total: u64, row: f32) {
        self.top = (total as f64 * f64::from(row) - f64::from(self.height)).max(0.0);
    }
}

/// Draws the visible ones of `total` rows of height `row` into `rect`, `width` points wide where that is more
/// than there is. Gives whether a person scrolled.
pub(crate) fn rows(
    ui: &mut Ui,
    (id, name): (Id, &str),
    rect: Rect,
    state: &mut RowsState,
    (total, row, width): (u64, f32, f32),
    mut draw: impl FnMut(&mut Ui, u64, Rect),
) -> bool {
    state.height = rect.height();
    let content = total as f64 * f64::from(row);
    let reach = (content - f64::from(rect.height())).max(0.0);
    let reach_left = (width - rect.width()).max(0.0);
    let before = (state.top, state.left);
    if ui.rect_contains_pointer(rect) && ui.is_enabled() {
        let (delta, shift) = ui.input(|input| (input.smooth_scroll_delta(), input.modifiers.shift));
        state.top -= f64::from(delta.y);
        state.left -= delta.x;
        // The wheel belongs to this list: what is around it stays where it is.
        if delta != egui::Vec2::ZERO && !shift && reach > 0.0 {
            ui.input_mut(|input| input.smooth_scroll_delta = egui::Vec2::ZERO);
        }
    }
    if let Some(top) = bar(ui, (id, name), rect, state.top, content) {
        state.top = top;
    }
    across(ui, (id, name), rect, &mut state.left, width);
    let scrolled = before != (state.top, state.left);
    state.top = state.top.clamp(0.0, reach);
    state.left = state.left.clamp(0.0, reach_left);

    let first = (state.top / f64::from(row)).floor() as u64;
    let visible = (rect.height() / row).ceil() as u64 + 1;
    let clip = ui.clip_rect();
    ui.set_clip_rect(rect.intersect(clip));
    for index in first..total.min(first + visible) {
        let y = (index as f64 * f64::from(row) - state.top) as f32;
        let at = pos2(rect.left() - state.left, rect.top() + y.round());
        draw(ui, index, Rect::from_min_size(at, vec2(rect.width().max(width), row)));
    }
    ui.set_clip_rect(clip);
    paint_bar(ui, rect, state.top, content, id);
    scrolled
}

/// The bar at the lower edge, where lines are wider than the list: painted and dragged.
fn across(ui: &mut Ui, (id, name): (Id, &str), rect: Rect, left: &mut f32, width: f32) {
    if width <= rect.width() + 0.5 || rect.height() < HANDLE_MIN {
        return;
    }
    let track =
        Rect::from_min_max(pos2(rect.left(), rect.bottom() - BAR - 2.0), pos2(rect.right() - BAR - 4.0, rect.bottom()));
    let length = (rect.width() / width * track.width()).max(HANDLE_MIN);
    let room = (track.width() - length).max(1.0);
    let reach = width - rect.width();
    let response = ui.interact(track, id.with("across"), Sense::click_and_drag());
    let described = format!("Scroll {name} sideways");
    response.widget_info(|| WidgetInfo::labeled(Role::ScrollBar, true, &described));
    if let Some(pointer) = response.interact_pointer_pos() {
        if response.dragged() {
            *left += response.drag_delta().x / room * reach;
        } else if response.clicked() {
            *left = ((pointer.x - track.left() - length / 2.0) / room) * reach;
        }
    }
    let t = tokens(ui);
    let at = track.left() + (*left / reach).clamp(0.0, 1.0) * room;
    let handle = Rect::from_min_size(pos2(at, track.top()), vec2(length, BAR));
    let colour = if response.hovered() || response.dragged() { t.muted } else { t.border };
    ui.painter().rect_filled(handle.shrink2(vec2(1.0, 1.0)), CornerRadius::same(4), colour);
}

fn handle(rect: Rect, top: f64, content: f64) -> Option<Rect> {
    let height = f64::from(rect.height());
    if content <= height + 0.5 || rect.height() < HANDLE_MIN {
        return None;
    }
    let length = ((height * height / content) as f32).max(HANDLE_MIN);
    let share = (top / (content - height)).clamp(0.0, 1.0) as f32;
    let y = rect.top() + share * (rect.height() - length);
    Some(Rect::from_min_size(pos2(rect.right() - BAR - 2.0, y), vec2(BAR, length)))
}

/// Lets a person drag the handle; gives the new place.
fn bar(ui: &mut Ui, (id, name): (Id, &str), rect: Rect, top: f64, content: f64) -> Option<f64> {
    let handle = handle(rect, top, content)?;
    let track = Rect::from_min_max(pos2(handle.left() - 2.0, rect.top()), rect.max);
    let response = ui.interact(track, id.with("bar"), Sense::click_and_drag());
    let described = format!("Scroll {name}");
    response.widget_info(|| WidgetInfo::labeled(Role::ScrollBar, true, &described));
    let pointer = response.interact_pointer_pos()?;
    let grabbed = id.with("grabbed");
    if response.drag_started() || response.clicked() {
        let offset = if handle.contains(pointer) { pointer.y - handle.top() } else { handle.height() / 2.0 };
        ui.data_mut(|data| data.insert_temp(grabbed, offset));
    }
    if !response.dragged() && !response.clicked() {
        return None;
    }
    let offset: f32 = ui.data(|data| data.get_temp(grabbed)).unwrap_or(handle.height() / 2.0);
    let share = (pointer.y - offset - rect.top()) / (rect.height() - handle.height()).max(1.0);
    Some(f64::from(share.clamp(0.0, 1.0)) * (content - f64::from(rect.height())))
}

fn paint_bar(ui: &Ui, rect: Rect, top: f64, content: f64, id: Id) {
    let Some(handle) = handle(rect, top, content) else { return };
    let t = tokens(ui);
    let dragged = ui.ctx().is_being_dragged(id.with("bar"));
    let near = ui.input(|input| input.pointer.hover_pos()).is_some_and(|at| rect.contains(at));
    let colour = if dragged {
        t.muted
    } else if near {
        t.faint.gamma_multiply(0.6)
    } else {
        t.border
    };
    ui.painter().rect_filled(handle.shrink2(vec2(1.0, 1.0)), CornerRadius::same(4), colour);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e6_a_row_is_revealed_by_the_shortest_way() {
        let mut state = RowsState { top: 280.0, left: 0.0, height: 280.0 };
        state.reveal(12, 28.0);
        assert_eq!(state.top, 280.0, "it is in view");
        state.reveal(9, 28.0);
        assert_eq!(state.top, 252.0);
        state.reveal(30, 28.0);
        assert_eq!(state.top, 588.0);
        state.scroll_to_end(1_000_000, 28.0);
        assert!(state.at_end(1_000_000, 28.0));
        state.reveal(999_998, 28.0);
        assert!(state.at_end(1_000_000, 28.0), "one row from the end is still in view");
    }
}
