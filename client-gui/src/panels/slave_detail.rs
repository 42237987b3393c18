//! One slave: how far it shuts programs in, guard by guard, what it never exceeds, and what it is.

use super::slaves::state_ui;
use crate::{
    command::Commands,
    fonts,
    signs::{self, Icon},
    theme::{self, tokens},
    view_model::{
        Clock,
        isolation::{self, GuardRow, SlaveDetail},
        slaves::SlaveRow,
    },
    widgets::{self, Look},
};
use common::{program::State, view::SlaveView};
use egui::{Align2, CornerRadius, Margin, Rect, Role, Sense, Stroke, Ui, Vec2, WidgetInfo, pos2, vec2};

/// Width of the words before the values.
const WORDS: f32 = 88.0;

/// The pane; gives whether it was closed.
pub(crate) fn slave_ui(ui: &mut Ui, slave: &SlaveView, clock: &Clock, commands: &mut Commands) -> bool {
    let t = tokens(ui);
    let pane = ui.max_rect();
    ui.painter().rect_filled(pane, CornerRadius::ZERO, t.panel);
    let (row, detail) = (SlaveRow::new(slave, clock), SlaveDetail::new(slave));
    let action = row.action();
    let foot_height = if action.is_some() { 46.0 } else { 0.0 };
    let (rest, foot) = pane.split_top_bottom_at_y(pane.bottom() - foot_height);
    if let Some(action) = action {
        widgets::line_above(ui, foot);
        ui.scope_builder(egui::UiBuilder::new().max_rect(foot.shrink2(vec2(14.0, 9.0))), |ui| {
            commands.button(ui, action, Look::Plain, false, 0.0);
        });
    }
    let (head, body) = rest.split_top_bottom_at_y(rest.top() + 44.0);
    let closed = head_ui(ui, head, &row);
    ui.scope_builder(egui::UiBuilder::new().max_rect(body), |ui| {
        ui.set_clip_rect(body.intersect(ui.clip_rect()));
        ui.spacing_mut().item_spacing = vec2(8.0, 0.0);
        egui::ScrollArea::vertical().id_salt("slave detail").auto_shrink(false).show(ui, |ui| {
            level_ui(ui, &detail);
            heading(ui, "Guards");
            for guard in &detail.guards {
                guard_ui(ui, guard);
            }
            if detail.guards.is_empty() {
                value_ui(ui, "", "It does not say which are in force");
            }
            heading(ui, "Never more than");
            for (word, value) in &detail.ceiling {
                value_ui(ui, word, value);
            }
            heading(ui, "Machine");
            value_ui(ui, "Slave ID", &row.id.to_string());
            value_ui(ui, "State", &format!("{} {}", row.word, row.exact));
            value_ui(ui, "Machine", &row.machine);
            for (index, offer) in row.versions.lines().enumerate() {
                value_ui(ui, if index == 0 { "Languages" } else { "" }, offer);
            }
            ui.add_space(10.0);
        });
    });
    closed
}

/// Name, state and the cross; gives whether that was pressed.
fn head_ui(ui: &mut Ui, rect: Rect, row: &SlaveRow) -> bool {
    let t = tokens(ui);
    let close = Rect::from_center_size(pos2(rect.right() - 20.0, rect.center().y), Vec2::splat(24.0));
    let closed = ui
        .scope_builder(egui::UiBuilder::new().max_rect(close), |ui| {
            widgets::icon_button(ui, Icon::Close, "Close the slave", 24.0).clicked()
        })
        .inner;
    let state = Rect::from_min_max(
        pos2(close.left() - 112.0, rect.center().y - 9.5),
        pos2(close.left() - 4.0, rect.center().y + 9.5),
    );
    state_ui(ui, state, row, t);
    let name = Rect::from_min_max(pos2(rect.left() + 14.0, rect.top()), pos2(state.left() - 14.0, rect.bottom()));
    widgets::paint_elided(ui.painter(), name, &row.name, fonts::title(), t.text);
    let response = ui.interact(name, ui.scope_id().with("title"), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Heading, true, format!("Slave {}", row.name)));
    response.on_hover_text(&row.name);
    closed
}

/// The level: sign, word, and what it means, as the verdict of a program.
fn level_ui(ui: &mut Ui, detail: &SlaveDetail) {
    let t = tokens(ui);
    let colour = if detail.weak { t.lost } else { t.done };
    let outer = ui.available_width();
    let frame = egui::Frame::new()
        .fill(t.tint(colour))
        .corner_radius(CornerRadius::same(theme::RADIUS))
        .inner_margin(Margin { left: 13, right: 12, top: 8, bottom: 8 })
        .outer_margin(Margin { left: 14, right: 14, top: 3, bottom: 8 });
    let shown = frame.show(ui, |ui| {
        ui.set_width(outer - 28.0 - 25.0);
        let (line, response) = ui.allocate_exact_size(vec2(ui.available_width(), 20.0), Sense::hover());
        let sign = Rect::from_center_size(pos2(line.left() + 5.5, line.center().y), Vec2::splat(11.0));
        signs::shield(ui.painter(), sign, detail.level, colour);
        let words = format!("{}{}", detail.word, if detail.weak { ": weaker isolation" } else { " isolation" });
        let at = pos2(line.left() + 19.0, line.center().y);
        ui.painter().text(at, Align2::LEFT_CENTER, &words, fonts::strong(), t.text);
        response.widget_info(|| WidgetInfo::labeled(Role::Label, true, &words));
        ui.add(egui::Label::new(egui::RichText::new(&detail.meaning).font(fonts::text()).color(t.text)).wrap());
    });
    let rect = shown.response.rect;
    let bar =
        Rect::from_min_max(pos2(rect.left() + 14.0, rect.top() + 3.0), pos2(rect.left() + 17.0, rect.bottom() - 8.0));
    ui.painter().rect_filled(bar, CornerRadius { nw: 6, sw: 6, ne: 0, se: 0 }, colour);
}

fn heading(ui: &mut Ui, text: &str) {
    let t = tokens(ui);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 34.0), Sense::hover());
    ui.painter().hline(rect.x_range(), rect.top() + 4.5, Stroke::new(1.0, t.border));
    let words = Rect::from_min_max(rect.min + vec2(14.0, 8.0), rect.max);
    widgets::paint_elided(ui.painter(), words, text, fonts::heading(), t.muted);
}

/// Sign, `On` or `Off`, what it does; how at the right, and why not in a line of its own.
fn guard_ui(ui: &mut Ui, guard: &GuardRow) {
    let t = tokens(ui);
    let colour = match (guard.on, guard.counts) {
        (true, _) => t.done,
        (false, true) => t.lost,
        (false, false) => t.muted,
    };
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 24.0), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, guard.spoken()));
    let sign = Rect::from_center_size(pos2(rect.left() + 19.5, rect.center().y), Vec2::splat(11.0));
    signs::state(ui.painter(), sign, if guard.on { State::Done } else { State::Cancelled }, colour);
    let y = rect.center().y;
    ui.painter().text(pos2(rect.left() + 32.0, y), Align2::LEFT_CENTER, guard.word(), fonts::text(), colour);
    let label = Rect::from_min_max(pos2(rect.left() + 62.0, rect.top()), rect.max - vec2(14.0, 0.0));
    let end = widgets::paint_elided(ui.painter(), label, &guard.label, fonts::text(), t.text);
    let beside = Rect::from_min_max(pos2(end + 10.0, rect.top()), label.max);
    if guard.on {
        widgets::paint_elided(ui.painter(), beside, &guard.detail, fonts::small(), t.muted);
    } else if !guard.detail.is_empty() {
        let why = widgets::sentence(&guard.detail);
        let words = ui.painter().layout(why, fonts::small(), t.muted, label.width());
        let (line, _) = ui.allocate_exact_size(vec2(ui.available_width(), words.size().y + 5.0), Sense::hover());
        ui.painter().galley(pos2(label.left(), line.top() - 1.0), words, t.muted);
    }
    let detail = if guard.detail.is_empty() { String::new() } else { format!("\n{}", guard.detail) };
    response.on_hover_text(format!("{}{detail}", guard.name));
}

fn value_ui(ui: &mut Ui, word: &str, value: &str) {
    let t = tokens(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 22.0), Sense::hover());
    let words = Rect::from_min_max(rect.min + vec2(14.0, 0.0), pos2(rect.left() + 14.0 + WORDS, rect.bottom()));
    widgets::paint_elided(ui.painter(), words, word, fonts::text(), t.muted);
    let place = Rect::from_min_max(pos2(words.right() + 4.0, rect.top()), rect.max - vec2(14.0, 0.0));
    // What it does not say is quieter than what it does.
    let ink = if value == isolation::NO_MAXIMUM { t.muted } else { t.text };
    let end = widgets::paint_elided(ui.painter(), place, value, fonts::text(), ink);
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, format!("{word}: {value}")));
    if end >= place.right() - 8.0 {
        response.on_hover_text(value);
    }
}
