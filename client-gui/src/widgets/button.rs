//! Buttons, chips, links and entries of menus.

use crate::{
    fonts,
    signs::{self, Icon},
    theme::{self, tokens},
    widgets::focus_ring,
};
use common::program::State;
use egui::{CornerRadius, Rect, Response, Role, Sense, Stroke, StrokeKind, Ui, Vec2, WidgetInfo, pos2, vec2};

/// How much a button asks to be pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// The one thing to press.
    Primary,
    /// Any other.
    Plain,
    /// Ends something.
    Danger,
    /// A word without a frame.
    Quiet,
}

/// A button of 28 points; `min_width` 0 fits the text. `hint` is a shortcut shown after the text.
pub(crate) fn show_button(ui: &mut Ui, text: &str, hint: &str, look: Look, min_width: f32) -> Response {
    let t = tokens(ui);
    let padding = if look == Look::Quiet { 8.0 } else { 12.0 };
    let font = if look == Look::Primary { fonts::strong() } else { fonts::text() };
    let enabled = ui.is_enabled();
    let label = ui.painter().layout_no_wrap(text.to_owned(), font, t.text);
    let gap = if hint.is_empty() { 0.0 } else { 12.0 };
    let hint = ui.painter().layout_no_wrap(hint.to_owned(), fonts::tiny(), t.text);
    let width = (label.size().x + gap + hint.size().x + 2.0 * padding).max(min_width);
    let (rect, response) = ui.allocate_exact_size(vec2(width, theme::CONTROL), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, enabled, text));
    if !ui.is_rect_visible(rect) {
        return response;
    }
    let hot = enabled && (response.hovered() || response.has_focus());
    let pressed = response.is_pointer_button_down_on();
    let (fill, line, ink) = match look {
        Look::Primary if hot => (t.accent_hover(), None, t.onaccent),
        Look::Primary => (t.accent, None, t.onaccent),
        Look::Plain => (if hot { t.hover } else { t.raised }, Some(t.border), t.text),
        Look::Danger => (if hot { t.hover } else { t.raised }, Some(t.border), t.fail),
        Look::Quiet => {
            (if hot { t.hover } else { egui::Color32::TRANSPARENT }, None, if hot { t.text } else { t.muted })
        }
    };
    let rect = if pressed { rect.shrink(0.5) } else { rect };
    let stroke = line.map_or(Stroke::NONE, |colour| Stroke::new(1.0, colour));
    ui.painter().rect(rect, CornerRadius::same(theme::RADIUS), fill, stroke, StrokeKind::Inside);
    let left = rect.center().x - (label.size().x + gap + hint.size().x) / 2.0;
    let y = rect.center().y;
    let after = left + label.size().x + gap;
    ui.painter().galley_with_override_text_color(pos2(left, y - label.size().y / 2.0), label, ink);
    ui.painter().galley_with_override_text_color(pos2(after, y - hint.size().y / 2.0), hint, ink.gamma_multiply(0.8));
    focus_ring(ui, &response, theme::RADIUS + 1);
    response
}

/// A rounded choice among several, with a state's sign and a count.
pub(crate) fn chip(ui: &mut Ui, text: &str, state: Option<State>, count: Option<&str>, selected: bool) -> Response {
    const HEIGHT: f32 = 26.0;
    let t = tokens(ui);
    let font = if selected { fonts::strong() } else { fonts::text() };
    let ink = if selected { t.text } else { t.muted };
    let label = ui.painter().layout_no_wrap(text.to_owned(), font, ink);
    let number = count.map(|count| ui.painter().layout_no_wrap(count.to_owned(), fonts::strong(), ink));
    let sign = if state.is_some() { 20.0 } else { 0.0 };
    let number_width = number.as_ref().map_or(0.0, |galley| galley.size().x + 7.0);
    let size = vec2(sign + label.size().x + number_width + 22.0, HEIGHT);
    let (rect, response) = ui.allocate_exact_size(size, Sense::click());
    let name = count.map_or_else(|| text.to_owned(), |count| format!("{text} {count}"));
    response.widget_info(|| WidgetInfo::selected(Role::RadioButton, true, selected, &name));
    let fill = if selected {
        t.raised
    } else if response.hovered() {
        t.hover
    } else {
        egui::Color32::TRANSPARENT
    };
    ui.painter().rect(rect, CornerRadius::same(13), fill, Stroke::new(1.0, t.border), StrokeKind::Inside);
    let y = rect.center().y;
    let mut x = rect.left() + 11.0;
    if let Some(state) = state {
        let at = Rect::from_center_size(pos2(x + 5.5, y), Vec2::splat(11.0));
        signs::state(ui.painter(), at, state, t.state(state));
        x += sign;
    }
    let width = label.size().x;
    ui.painter().galley(pos2(x, y - label.size().y / 2.0), label, ink);
    if let Some(number) = number {
        ui.painter().galley(pos2(x + width + 7.0, y - number.size().y / 2.0), number, ink);
    }
    focus_ring(ui, &response, 14);
    response
}

/// A square button that is only an icon; `name` is its tooltip and accessible name.
pub(crate) fn icon_button(ui: &mut Ui, icon: Icon, name: &str, size: f32) -> Response {
    let t = tokens(ui);
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(size), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, name));
    let hot = response.hovered() || response.has_focus();
    if hot {
        ui.painter().rect_filled(rect, CornerRadius::same(4), t.hover);
    }
    signs::icon(ui.painter(), rect, icon, size * 0.62, if hot { t.text } else { t.muted });
    focus_ring(ui, &response, 5);
    response.on_hover_text(name)
}

/// An entry of a menu: text at the left, shortcut or count at the right, a mark when it is chosen.
pub(crate) fn menu_entry(ui: &mut Ui, text: &str, right: &str, chosen: bool, enabled: bool) -> Response {
    let t = tokens(ui);
    let label = ui.painter().layout_no_wrap(text.to_owned(), fonts::text(), t.text);
    let hint = ui.painter().layout_no_wrap(right.to_owned(), fonts::small(), t.faint);
    let wanted = 26.0 + label.size().x + 28.0 + hint.size().x + 10.0;
    let width = wanted.max(ui.available_width().min(360.0)).max(180.0);
    let sense = if enabled { Sense::click() } else { Sense::hover() };
    let (rect, response) = ui.allocate_exact_size(vec2(width, 26.0), sense);
    response.widget_info(|| WidgetInfo::selected(Role::Button, enabled, chosen, text));
    if enabled && (response.hovered() || response.has_focus()) {
        ui.painter().rect_filled(rect, CornerRadius::same(4), t.hover);
    }
    let y = rect.center().y;
    if chosen {
        let at = Rect::from_center_size(pos2(rect.left() + 13.0, y), Vec2::splat(12.0));
        signs::icon(ui.painter(), at, Icon::Check, 12.0, t.text);
    }
    let ink = if enabled { t.text } else { t.faint };
    ui.painter().galley_with_override_text_color(pos2(rect.left() + 26.0, y - label.size().y / 2.0), label, ink);
    let at = pos2(rect.right() - 10.0 - hint.size().x, y - hint.size().y / 2.0);
    ui.painter().galley(at, hint, t.faint);
    response
}
