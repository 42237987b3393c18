//! The slaves, and the recent events below them.

use super::{
    bars,
    table::{self, Column, column},
};
use crate::{
    command::{Commands, Go, Master},
    fonts, signs,
    state::SlavesState,
    theme::{self, Tokens, tokens},
    view_model::{
        Clock,
        slaves::{self, EventRow, SlaveRow},
    },
    widgets::{self, Look},
};
use client::Mirror;
use common::{limits::SLOTS_MAX, program::State, view::SlaveState};
use egui::{CornerRadius, Id, Rect, Role, Sense, Ui, Vec2, WidgetInfo, pos2, vec2};

/// Events below the slaves.
const EVENTS: usize = 200;

const COLUMNS: &[Column] = &[
    column("Slave", 190.0, 0.18),
    column("State", 132.0, 0.08),
    column("Slots", 190.0, 0.08),
    Column { title: "Languages and isolation", width: 180.0, share: 0.66, right: false, from: 700.0 },
    // What an operator can do; where there is less room the pane of the slave and the menu of the row offer it.
    Column { title: "", width: 112.0, share: 0.0, right: true, from: 800.0 },
];

/// The list, and what is told of the selected slave beside it, below it or in its place.
pub(crate) fn slaves_ui(ui: &mut Ui, mirror: &Mirror, clock: &Clock, state: &mut SlavesState, commands: &mut Commands) {
    let chosen = state.selected.and_then(|id| mirror.slaves.get(&id));
    let (list, pane) = super::beside(ui, ui.max_rect(), chosen.is_some());
    if let Some(list) = list {
        ui.scope_builder(egui::UiBuilder::new().max_rect(list).id_salt("list"), |ui| {
            ui.set_clip_rect(list.intersect(ui.clip_rect()));
            list_ui(ui, mirror, clock, state, commands);
        });
    }
    let (Some(pane), Some(slave)) = (pane, chosen) else { return };
    let close = ui
        .scope_builder(egui::UiBuilder::new().max_rect(pane).id_salt("slave"), |ui| {
            ui.set_clip_rect(pane.intersect(ui.clip_rect()));
            let close = super::slave_detail::slave_ui(ui, slave, clock, commands);
            super::divide(ui, pane, list);
            close
        })
        .inner;
    let free = ui.memory(|memory| memory.focused().is_none() && memory.top_modal_layer().is_none());
    if close || (free && ui.input_mut(|input| input.consume_key(egui::Modifiers::NONE, egui::Key::Escape))) {
        state.selected = None;
    }
}

fn list_ui(ui: &mut Ui, mirror: &Mirror, clock: &Clock, state: &mut SlavesState, commands: &mut Commands) {
    let pane = ui.max_rect();
    let (tools, rest) = pane.split_top_bottom_at_y(pane.top() + theme::TOOL_BAR);
    bars::tool_bar(ui, tools, "Slaves", &slaves::headline(mirror));
    bars::tool_button(ui, tools, Go::AddSlave, Look::Plain, commands);
    let rows = slaves::rows(mirror, clock);
    if rows.is_empty() {
        empty(ui, rest, commands);
        return;
    }
    let (head, body) = rest.split_top_bottom_at_y(rest.top() + theme::ROW);
    let cells = table::place(head.shrink2(vec2(8.0, 0.0)), COLUMNS);
    table::headings(ui, head, COLUMNS, &cells);
    let events = slaves::events(mirror, clock, EVENTS);
    // The events get what the slaves leave, at least a third where there are many slaves.
    let wanted = rows.len() as f32 * theme::ROW_TALL;
    let height = wanted.min((body.height() * if events.is_empty() { 1.0 } else { 0.66 }).max(theme::ROW_TALL));
    let (list, below) = body.split_top_bottom_at_y(body.top() + height);
    let mut scroll = state.rows;
    let size = (rows.len() as u64, theme::ROW_TALL, 0.0);
    widgets::rows(ui, (Id::unique("slaves table"), "slaves"), list, &mut scroll, size, |ui, index, rect| {
        if let Some(row) = usize::try_from(index).ok().and_then(|index| rows.get(index)) {
            row_ui(ui, rect, &cells, row, state, commands);
        }
    });
    state.rows = scroll;
    events_ui(ui, below, mirror, &events);
}

fn row_ui(
    ui: &mut Ui,
    rect: Rect,
    cells: &[Option<Rect>],
    row: &SlaveRow,
    state: &mut SlavesState,
    commands: &mut Commands,
) {
    let t = tokens(ui);
    let chosen = state.selected == Some(row.id);
    let response = ui.interact(rect, Id::unique(("slave", row.id)), Sense::click());
    let spoken = row.spoken();
    response.widget_info(|| WidgetInfo::selected(Role::Row, true, chosen, &spoken));
    if chosen {
        ui.painter().rect_filled(rect, CornerRadius::ZERO, t.sel);
        widgets::selection_mark(ui, rect, t);
    } else if response.hovered() {
        ui.painter().rect_filled(rect, CornerRadius::ZERO, t.hover.gamma_multiply(0.55));
    }
    if response.clicked() {
        state.selected = if chosen { None } else { Some(row.id) };
    }
    widgets::row_line(ui, rect);
    let gone = row.state == SlaveState::Unreachable;
    ui.scope_builder(egui::UiBuilder::new().max_rect(rect), |ui| {
        let line = |cell: &Rect, which: f32| {
            Rect::from_min_size(pos2(cell.left(), rect.center().y - 19.0 + 19.0 * which), vec2(cell.width(), 19.0))
        };
        if let Some(cell) = &cells[1] {
            state_ui(ui, line(cell, 0.0), row, t);
            widgets::paint_elided(ui.painter(), line(cell, 1.0), &row.since, fonts::text(), t.muted);
        }
        if let Some(Some(cell)) = cells.get(3) {
            note_ui(ui, line(cell, 1.0), row, t);
        }
        if let Some(Some(cell)) = cells.get(4) {
            action_ui(ui, *cell, rect, row, commands);
        }
        // What is old is greyed; since when, what is not known and what will be, is not old.
        if let (Some(cell), true) = (&cells[2], gone && row.running > 0) {
            slots_ui(ui, *cell, rect, row, state, commands);
        }
        if gone {
            ui.multiply_opacity(0.55);
        }
        if let Some(cell) = &cells[0] {
            widgets::paint_elided(ui.painter(), line(cell, 0.0), &row.name, fonts::strong(), t.text);
            widgets::paint_elided(ui.painter(), line(cell, 1.0), &row.id.to_string(), fonts::mono_small(), t.muted);
        }
        if let (Some(cell), false) = (&cells[2], gone && row.running > 0) {
            slots_ui(ui, *cell, rect, row, state, commands);
        }
        if let Some(Some(cell)) = cells.get(3) {
            widgets::paint_elided(ui.painter(), line(cell, 0.0), &row.languages, fonts::text(), t.muted);
        }
    });
    if let Some(action) = row.action() {
        response.context_menu(|ui| commands.entry(ui, action, false));
    }
    response.on_hover_ui_at_pointer(|ui| {
        let words = [&row.id.to_string(), &row.exact, &row.machine, &row.isolation, &row.versions];
        for words in row.aside.iter().chain(&row.lease).chain(words).filter(|words| !words.is_empty()) {
            ui.label(egui::RichText::new(words).font(fonts::small()));
        }
    });
}

/// The second line: why it is set aside, when its lease decides, or what it can enforce.
fn note_ui(ui: &Ui, rect: Rect, row: &SlaveRow, t: &Tokens) {
    let (words, ink) = match (&row.aside, &row.lease) {
        (_, Some(lease)) => (lease, if row.running > 0 { t.unknown } else { t.muted }),
        (Some(aside), None) => (aside, t.text),
        (None, None) => {
            let ink = if row.weak { t.lost } else { t.muted };
            let sign = Rect::from_center_size(pos2(rect.left() + 5.5, rect.center().y), Vec2::splat(11.0));
            signs::shield(ui.painter(), sign, row.level, ink);
            let words = Rect::from_min_max(pos2(rect.left() + 17.0, rect.top()), rect.max);
            widgets::paint_elided(ui.painter(), words, &row.isolation, fonts::small(), ink);
            return;
        }
    };
    widgets::paint_elided(ui.painter(), rect, words, fonts::small(), ink);
}

/// What an operator can do with it: quiet, except where it brings a slave back.
fn action_ui(ui: &mut Ui, cell: Rect, row_rect: Rect, row: &SlaveRow, commands: &mut Commands) {
    let Some(action) = row.action() else { return };
    let look = if row.aside.is_some() { Look::Plain } else { Look::Quiet };
    let size = vec2(cell.width(), theme::CONTROL);
    let area = Rect::from_center_size(pos2(cell.center().x, row_rect.center().y), size);
    let layout = egui::Layout::right_to_left(egui::Align::Center);
    ui.scope_builder(egui::UiBuilder::new().max_rect(area).layout(layout).id_salt("action"), |ui| {
        commands.button(ui, action, look, false, 0.0);
    });
}

pub(super) fn state_ui(ui: &Ui, rect: Rect, row: &SlaveRow, t: &Tokens) {
    let sign = Rect::from_center_size(pos2(rect.left() + 5.5, rect.center().y), Vec2::splat(11.0));
    let colour = match row.state {
        SlaveState::Connected | SlaveState::Draining if row.aside.is_some() => {
            aside_chip(ui, rect, row.word, t);
            return;
        }
        SlaveState::Connected => {
            ui.painter().circle_filled(sign.center() + vec2(0.0, 0.5), 4.0, t.done);
            t.done
        }
        SlaveState::Draining => {
            signs::state(ui.painter(), sign, State::Waiting, t.wait);
            t.wait
        }
        SlaveState::Unreachable => {
            signs::state(ui.painter(), sign, State::Lost, t.lost);
            t.lost
        }
    };
    let words = Rect::from_min_max(pos2(rect.left() + 15.0, rect.top()), rect.max);
    widgets::paint_elided(ui.painter(), words, row.word, fonts::text(), colour);
}

/// Its word in a frame: this stays so until somebody does something.
fn aside_chip(ui: &Ui, rect: Rect, word: &str, t: &Tokens) {
    let words = widgets::elided(ui.painter(), word, fonts::text(), t.susp, rect.width() - 33.0);
    let size = vec2(words.size().x + 31.0, rect.height());
    let frame = Rect::from_min_size(pos2(rect.left() - 7.0, rect.top() - 1.0), size);
    ui.painter().rect(
        frame,
        CornerRadius::same(9),
        t.tint(t.susp),
        egui::Stroke::new(1.0, t.susp),
        egui::StrokeKind::Inside,
    );
    let sign = Rect::from_center_size(pos2(frame.left() + 12.5, frame.center().y), Vec2::splat(9.0));
    signs::state(ui.painter(), sign, State::Suspended, t.susp);
    ui.painter().galley(pos2(frame.left() + 22.0, frame.center().y - words.size().y / 2.0), words, t.susp);
}

/// The squares; pressing them lets an operator change the number.
fn slots_ui(ui: &mut Ui, cell: Rect, row_rect: Rect, row: &SlaveRow, state: &mut SlavesState, commands: &mut Commands) {
    let t = tokens(ui);
    let y = row_rect.center().y;
    let ink = if row.state == SlaveState::Unreachable { t.unknown } else { t.run };
    let width = widgets::slots(ui, pos2(cell.left(), y), (row.running, row.slots, ink), vec2(8.0, 12.0), 12);
    let words = ui.painter().text(
        pos2(cell.left() + width + 6.0, y),
        egui::Align2::LEFT_CENTER,
        &row.slots_text,
        fonts::text(),
        if row.state == SlaveState::Unreachable && row.running > 0 { t.unknown } else { t.muted },
    );
    let area = Rect::from_min_max(pos2(cell.left() - 6.0, y - 14.0), pos2(words.right() + 8.0, y + 14.0));
    let response = ui.interact(area, Id::unique(("slots", row.id)), Sense::click());
    let spoken = format!("Slots of {}: {}", row.name, row.slots_text);
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &spoken));
    if response.hovered() || response.has_focus() {
        ui.painter().rect_stroke(
            area,
            CornerRadius::same(theme::RADIUS),
            egui::Stroke::new(1.0, t.border),
            egui::StrokeKind::Inside,
        );
    }
    let may = commands.can(Master::SetSlots { slave: None, slots: 0 });
    egui::Popup::menu(&response).close_behavior(egui::PopupCloseBehavior::CloseOnClickOutside).gap(4.0).show(|ui| {
        ui.set_opacity(1.0);
        egui::Frame::new().inner_margin(8).show(ui, |ui| slots_menu(ui, row, state, commands, may));
    });
    response.on_hover_text("Programs that may run there at once; press to change");
}

fn slots_menu(ui: &mut Ui, row: &SlaveRow, state: &mut SlavesState, commands: &mut Commands, may: bool) {
    let t = tokens(ui);
    ui.set_min_width(190.0);
    widgets::caption(ui, &format!("Slots of {}", row.name));
    if !may {
        ui.label(egui::RichText::new("Needs the role operator").font(fonts::text()).color(t.lost));
        ui.add_space(4.0);
        return;
    }
    let mut set = None;
    ui.horizontal(|ui| {
        if widgets::show_button(ui, "−", "", Look::Plain, 32.0).on_hover_text("One fewer").clicked() {
            set = Some(row.slots.saturating_sub(1));
        }
        let typed = match &mut state.typed {
            Some((id, typed)) if *id == row.id => typed,
            other => &mut other.insert((row.id, row.slots.to_string())).1,
        };
        let number: Option<u32> = typed.trim().parse().ok().filter(|number| *number <= SLOTS_MAX);
        let field = widgets::field(ui, typed, "Slots", "", fonts::text(), number.is_none(), 64.0);
        if !field.has_focus() && !field.lost_focus() {
            *typed = row.slots.to_string();
        }
        if field.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter)) {
            set = number;
        }
        if widgets::show_button(ui, "+", "", Look::Plain, 32.0).on_hover_text("One more").clicked() {
            set = Some((row.slots + 1).min(SLOTS_MAX));
        }
    });
    ui.add_space(2.0);
    ui.label(egui::RichText::new("0: nothing new starts there").font(fonts::small()).color(t.faint));
    ui.add_space(4.0);
    if let Some(slots) = set {
        commands.send(Master::SetSlots { slave: Some(row.raw_name.clone()), slots });
    }
}

fn events_ui(ui: &mut Ui, rect: Rect, mirror: &Mirror, events: &[EventRow]) {
    let t = tokens(ui);
    if events.is_empty() || rect.height() < 40.0 {
        return;
    }
    let title = Rect::from_min_size(rect.min + vec2(8.0, 8.0), vec2(rect.width(), 34.0));
    widgets::paint_elided(ui.painter(), title, "Recent events", fonts::heading(), t.muted);
    let list = Rect::from_min_max(pos2(rect.left(), title.bottom()), rect.max);
    let id = ui.scope_id().with("events");
    let mut scroll: widgets::RowsState = ui.data(|data| data.get_temp(id)).unwrap_or_default();
    let size = (events.len() as u64, theme::ROW, 0.0);
    widgets::rows(ui, (id, "events"), list, &mut scroll, size, |ui, index, row| {
        let Some(event) = usize::try_from(index).ok().and_then(|index| events.get(index)) else { return };
        let cell =
            |left: f32, width: f32| Rect::from_min_size(pos2(row.left() + left, row.top()), vec2(width, row.height()));
        widgets::paint_elided(ui.painter(), cell(8.0, 84.0), &event.time, fonts::text(), t.muted);
        let slave = mirror.slaves.values().find(|slave| slave.name == event.subject);
        let ink = match slave.map(|slave| slave.state) {
            Some(SlaveState::Connected) => t.done,
            Some(SlaveState::Unreachable) => t.lost,
            Some(SlaveState::Draining) | None => t.muted,
        };
        widgets::paint_elided(ui.painter(), cell(97.0, 110.0), &event.subject, fonts::text(), ink);
        widgets::paint_elided(ui.painter(), cell(215.0, row.width() - 227.0), &event.text, fonts::text(), t.text);
        widgets::row_line(ui, row);
        let spoken = format!("{} {} {}", event.time, event.subject, event.text);
        let response = ui.interact(row, id.with(index), Sense::hover());
        response.widget_info(|| WidgetInfo::labeled(Role::Row, true, &spoken));
    });
    ui.data_mut(|data| data.insert_temp(id, scroll));
}

fn empty(ui: &mut Ui, rect: Rect, commands: &mut Commands) {
    let t = tokens(ui);
    let middle = pos2(rect.center().x, rect.top() + (rect.height() * 0.36).min(220.0));
    ui.painter().text(middle, egui::Align2::CENTER_BOTTOM, "No slaves yet", fonts::title(), t.text);
    let words = "A slave is a machine that runs programs; one command makes any Linux machine one";
    ui.painter().text(middle + vec2(0.0, 8.0), egui::Align2::CENTER_TOP, words, fonts::text(), t.muted);
    let button = Rect::from_center_size(middle + vec2(0.0, 60.0), vec2(120.0, theme::CONTROL));
    ui.scope_builder(egui::UiBuilder::new().max_rect(button), |ui| {
        commands.button(ui, Go::AddSlave, Look::Primary, false, 120.0);
    });
}
