//! Tabs with a line under the one that is open.

use crate::{fonts, theme::tokens};
use egui::{CornerRadius, Rect, Response, Role, Sense, Ui, WidgetInfo, pos2, vec2};

/// One tab.
pub(crate) struct Tab<'a> {
    /// Its word.
    pub(crate) text: &'a str,
    /// What stands after the word, such as a number of lines.
    pub(crate) count: Option<String>,
}

/// Between two tabs.
const GAP: f32 = 16.0;

/// How wide the strip of these is, at most: the open one is a little wider.
pub(crate) fn tabs_width(ui: &Ui, tabs: &[Tab<'_>]) -> f32 {
    let width = |text: &str, font| ui.painter().layout_no_wrap(text.to_owned(), font, tokens(ui).text).size().x;
    let count = |tab: &Tab<'_>| tab.count.as_ref().map_or(0.0, |count| 5.0 + width(count, fonts::tiny()));
    tabs.iter().map(|tab| width(tab.text, fonts::strong()) + count(tab) + GAP).sum::<f32>() - GAP
}

/// A strip of tabs; gives the one that was pressed.
pub(crate) fn tab_strip(ui: &mut Ui, tabs: &[Tab<'_>], open: usize) -> Option<usize> {
    let mut pressed = None;
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = GAP;
        for (index, tab) in tabs.iter().enumerate() {
            if one(ui, tab, index == open).clicked() {
                pressed = Some(index);
            }
        }
    });
    pressed
}

fn one(ui: &mut Ui, tab: &Tab<'_>, open: bool) -> Response {
    let t = tokens(ui);
    let font = if open { fonts::strong() } else { fonts::text() };
    let label = ui.painter().layout_no_wrap(tab.text.to_owned(), font, t.text);
    let count = tab.count.as_ref().map(|count| ui.painter().layout_no_wrap(count.clone(), fonts::tiny(), t.faint));
    let width = label.size().x + count.as_ref().map_or(0.0, |count| count.size().x + 5.0);
    let (rect, response) = ui.allocate_exact_size(vec2(width, 32.0), Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::Tab, true, open, tab.text));
    let ink = if open || response.hovered() || response.has_focus() { t.text } else { t.muted };
    let y = rect.center().y;
    let after = rect.left() + label.size().x + 5.0;
    ui.painter().galley_with_override_text_color(pos2(rect.left(), y - label.size().y / 2.0), label, ink);
    if let Some(count) = count {
        ui.painter().galley(pos2(after, y - count.size().y / 2.0 + 0.5), count, t.faint);
    }
    if open {
        let mark = Rect::from_min_max(pos2(rect.left(), rect.bottom() - 2.0), rect.max);
        ui.painter().rect_filled(mark, CornerRadius::ZERO, t.accent);
    }
    super::focus_ring(ui, &response, 4);
    response
}
