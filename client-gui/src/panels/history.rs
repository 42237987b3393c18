//! The history: chips, filter, the table.

use super::{bars, table};
use crate::{
    command::{Command, Commands, Go, Pane, Programs},
    fonts, signs,
    state::{DetailState, DetailTab, HistoryState},
    theme::{self, tokens},
    view_model::{
        Clock,
        history::{self, HistoryRow},
    },
    widgets::{self, Look},
};
use client::{HistoryFilter, HistoryWindow, Mirror};
use common::{program::State, view::ProgramView};
use egui::{Color32, CornerRadius, Id, Key, Modifiers, Rect, Role, Sense, Stroke, Ui, Vec2, WidgetInfo, pos2, vec2};
use std::time::{Duration, Instant};
use table::{Column, column};

/// A reader who types pauses this long before the master is asked.
const DEBOUNCE: Duration = Duration::from_millis(220);

const COLUMNS: &[Column] = &[
    column("State", 104.0, 0.0),
    column("Program", 140.0, 0.35),
    Column { title: "Language", width: 82.0, share: 0.0, right: false, from: 620.0 },
    Column { title: "Slave", width: 66.0, share: 0.05, right: false, from: 480.0 },
    Column { title: "User", width: 66.0, share: 0.05, right: false, from: 700.0 },
    column("Started ▾", 92.0, 0.0),
    Column { title: "Time", width: 56.0, share: 0.0, right: true, from: 420.0 },
    Column { title: "Progress", width: 108.0, share: 0.0, right: false, from: 860.0 },
    Column { title: "Last line", width: 80.0, share: 0.55, right: false, from: 560.0 },
];

/// What the pane shows and changes.
pub(crate) struct History<'a> {
    /// What the master shows.
    pub(crate) mirror: &'a Mirror,
    /// The present.
    pub(crate) clock: &'a Clock,
    /// The table.
    pub(crate) state: &'a mut HistoryState,
    /// The pane of one program, which a selected row opens.
    pub(crate) detail: &'a mut DetailState,
    /// What a person asks for.
    pub(crate) commands: &'a mut Commands,
}

/// The pane. Gives what the master is asked to keep fresh.
pub(crate) fn history_ui(ui: &mut Ui, mut history: History<'_>) -> HistoryWindow {
    let pane = ui.max_rect();
    let (tools, rest) = pane.split_top_bottom_at_y(pane.top() + theme::TOOL_BAR);
    tools_ui(ui, tools, history.mirror, history.state, history.commands);
    let (head, body) = rest.split_top_bottom_at_y(rest.top() + theme::ROW);
    let row = head.shrink2(vec2(8.0, 0.0));
    let cells = table::place(row, COLUMNS);
    table::headings(ui, head, COLUMNS, &cells);
    body_ui(ui, body, &cells, &mut history)
}

fn tools_ui(ui: &mut Ui, rect: Rect, mirror: &Mirror, state: &mut HistoryState, commands: &mut Commands) {
    widgets::line_below(ui, rect);
    let right_to_left = egui::Layout::right_to_left(egui::Align::Center);
    let area = rect.shrink2(vec2(12.0, 8.0));
    // The chips keep their room; the field takes what is left.
    let filter_width = (rect.width() - 690.0).clamp(96.0, 210.0);
    let mut filter_rect = Rect::NOTHING;
    ui.scope_builder(egui::UiBuilder::new().max_rect(area).layout(right_to_left), |ui| {
        ui.spacing_mut().item_spacing.x = 6.0;
        commands.button(ui, Go::Show(Pane::Submit), Look::Primary, false, 0.0);
        let field = widgets::field(ui, &mut state.typed, "Filter", "Filter", fonts::text(), false, filter_width);
        filter_rect = Rect::from_min_size(field.rect.min - vec2(10.0, 0.0), vec2(filter_width, theme::CONTROL));
        if std::mem::take(&mut state.focus_filter) {
            field.request_focus();
        }
        if field.changed() {
            state.typed_at = Some(Instant::now());
        }
        if field.has_focus() && ui.input_mut(|input| input.consume_key(Modifiers::NONE, Key::Escape)) {
            state.typed.clear();
            state.typed_at = Some(Instant::now());
            field.surrender_focus();
        }
        if state.typed.is_empty() && !field.has_focus() && filter_width > 130.0 {
            let right = pos2(field.rect.right() + 4.0, field.rect.center().y);
            bars::key_cap(ui, right, &Command::from(Go::FocusFilter).keys());
        }
    });
    debounce(ui, state, commands);
    let mut chips = area;
    chips.set_right(filter_rect.left() - 8.0);
    ui.scope_builder(egui::UiBuilder::new().max_rect(chips), |ui| {
        ui.set_clip_rect(chips.expand2(vec2(2.0, 4.0)).intersect(ui.clip_rect()));
        ui.horizontal_centered(|ui| {
            ui.spacing_mut().item_spacing.x = 6.0;
            for chip in history::chips(mirror, &state.filter.search) {
                let chosen = chip.filter.states == state.filter.states && chip.filter.mine == state.filter.mine;
                let response = widgets::chip(ui, chip.word, chip.state, chip.count.as_deref(), chosen);
                if response.clicked() {
                    commands.send(Go::Filter(chip.filter));
                }
            }
        });
    });
}

/// Asks the master only after a pause in the typing.
fn debounce(ui: &Ui, state: &mut HistoryState, commands: &mut Commands) {
    let Some(typed_at) = state.typed_at else { return };
    let passed = typed_at.elapsed();
    if passed < DEBOUNCE {
        ui.request_repaint_after(DEBOUNCE - passed);
        return;
    }
    state.typed_at = None;
    let search = state.typed.trim().to_owned();
    if search != state.filter.search {
        let typed = state.typed.clone();
        commands.send(Go::Filter(HistoryFilter { search, ..state.filter.clone() }));
        state.typed = typed;
    }
}

fn body_ui(ui: &mut Ui, body: Rect, cells: &[Option<Rect>], history: &mut History<'_>) -> HistoryWindow {
    let mirror = history.mirror;
    let state = &mut *history.state;
    let total = mirror.history.total().filter(|_| *mirror.history.filter() == state.filter);
    let hidden = hidden_rows(state, total.unwrap_or(0));
    let shown = total.unwrap_or(0) - hidden;
    let id = Id::unique("history table");
    let table = ui.interact(body, id, Sense::focusable_noninteractive());
    let spoken = format!("History, {shown} programs");
    table.widget_info(|| WidgetInfo::labeled(Role::Table, true, &spoken));
    keys(ui, history, (shown, hidden));
    let History { clock, state, commands, .. } = history;
    if shown == 0 {
        empty(ui, body, mirror, &state.filter);
    }
    let mut rows = state.rows;
    let mut clicked = None;
    widgets::rows(ui, (id, "history"), body, &mut rows, (shown, theme::ROW, 0.0), |ui, index, rect| {
        let position = index + hidden;
        match mirror.history.row(position) {
            Some(program) => {
                let response = row_ui(ui, rect, cells, program, clock, state);
                if response.clicked() || response.secondary_clicked() || response.double_clicked() {
                    clicked = Some((index, program.id, response.double_clicked(), response.secondary_clicked()));
                }
                response.context_menu(|ui| menu(ui, commands));
            }
            None => placeholder(ui, rect, cells),
        }
    });
    state.rows = rows;
    if let Some((index, program, double, secondary)) = clicked {
        click(ui, history, (index, hidden), (program, double, secondary));
    }
    let state = &*history.state;
    if hidden > 0 && new_chip(ui, body, hidden) {
        history.commands.send(Go::Newest);
    }
    let first = (state.rows.top / f64::from(theme::ROW)).floor() as u64 + hidden;
    let visible = (body.height() / theme::ROW).ceil().max(1.0) as u32 + 1;
    HistoryWindow { filter: state.filter.clone(), first, rows: visible }
}

/// How many of the newest rows wait above, because the reader is scrolled away.
fn hidden_rows(state: &mut HistoryState, total: u64) -> u64 {
    if state.rows.top < 1.0 {
        state.anchor = None;
        return 0;
    }
    let anchor = *state.anchor.get_or_insert(total);
    if total < anchor {
        state.anchor = Some(total);
        return 0;
    }
    total - anchor
}

fn row_ui(
    ui: &mut Ui,
    rect: Rect,
    cells: &[Option<Rect>],
    program: &ProgramView,
    clock: &Clock,
    state: &HistoryState,
) -> egui::Response {
    let t = tokens(ui);
    let row = HistoryRow::new(program, clock);
    let chosen = state.selected.contains(&program.id);
    let response = ui.interact(rect, Id::unique(("history row", program.id)), Sense::click());
    let spoken = row.spoken();
    response.widget_info(|| WidgetInfo::selected(Role::Row, true, chosen, &spoken));
    if chosen {
        ui.painter().rect_filled(rect, CornerRadius::ZERO, t.sel);
    } else if response.hovered() {
        ui.painter().rect_filled(rect, CornerRadius::ZERO, t.hover.gamma_multiply(0.55));
    }
    widgets::row_line(ui, rect);
    if chosen {
        widgets::selection_mark(ui, rect, t);
    }
    let colour = t.standing(row.standing);
    let mono = fonts::mono_small();
    // Where there is no room for the bar its number goes before the last line.
    let last_line = match (row.progress, &cells[7]) {
        (Some(percent), None) => format!("{percent:.0} %  {}", row.last_line),
        (Some(_) | None, _) => row.last_line.clone(),
    };
    let texts: [(&str, egui::FontId, Color32); 9] = [
        (row.word, fonts::text(), colour),
        (&row.program, fonts::text(), t.text),
        (&row.language, fonts::text(), t.muted),
        (&row.slave, fonts::text(), t.text),
        (&row.user, fonts::text(), t.muted),
        (&row.started, fonts::text(), t.muted),
        (&row.time, fonts::text(), t.text),
        ("", fonts::text(), t.text),
        (&last_line, mono, t.muted),
    ];
    for (index, (cell, (text, font, ink))) in cells.iter().zip(texts).enumerate() {
        let Some(cell) = cell else { continue };
        let mut cell = Rect::from_x_y_ranges(cell.x_range(), rect.y_range());
        match index {
            0 => {
                let sign = Rect::from_center_size(pos2(cell.left() + 6.0, cell.center().y), Vec2::splat(11.0));
                signs::standing(ui.painter(), sign, row.standing, colour);
                cell.set_left(cell.left() + 21.0);
                widgets::paint_elided(ui.painter(), cell, text, font, ink);
            }
            6 => {
                widgets::paint_right(ui.painter(), cell, text, font, ink);
            }
            7 => {
                if let Some(percent) = row.progress {
                    let bar = Rect::from_min_max(cell.min, pos2(cell.left() + 46.0, cell.bottom()));
                    widgets::progress(ui, bar, percent, colour);
                    let words = Rect::from_min_max(pos2(bar.right() + 5.0, cell.top()), cell.max);
                    widgets::paint_elided(ui.painter(), words, &format!("{percent:.0} %"), fonts::text(), t.muted);
                }
            }
            _ => {
                widgets::paint_elided(ui.painter(), cell, text, font, ink);
            }
        }
    }
    response.on_hover_ui_at_pointer(|ui| {
        ui.label(egui::RichText::new(&row.exact).font(fonts::small()));
        if !row.last_line.is_empty() {
            ui.label(egui::RichText::new(&row.last_line).font(fonts::mono_small()).color(t.muted));
        }
    })
}

/// A row that has not arrived yet: its lines are there, so nothing moves when it comes.
fn placeholder(ui: &Ui, rect: Rect, cells: &[Option<Rect>]) {
    let t = tokens(ui);
    for cell in cells.iter().take(2).flatten() {
        let bar = Rect::from_min_size(pos2(cell.left(), rect.center().y - 4.0), vec2(cell.width() * 0.6, 8.0));
        ui.painter().rect_filled(bar, CornerRadius::same(4), t.raised);
    }
    widgets::row_line(ui, rect);
}

fn empty(ui: &mut Ui, body: Rect, mirror: &Mirror, filter: &HistoryFilter) {
    let t = tokens(ui);
    let (title, words) = history::empty_words(mirror, filter);
    let middle = pos2(body.center().x, body.top() + (body.height() * 0.36).min(220.0));
    ui.painter().text(middle, egui::Align2::CENTER_BOTTOM, &title, fonts::title(), t.text);
    ui.painter().text(middle + vec2(0.0, 8.0), egui::Align2::CENTER_TOP, &words, fonts::text(), t.muted);
    let area = Rect::from_center_size(middle, vec2(320.0, 60.0));
    let response = ui.interact(area, ui.scope_id().with("empty"), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, &title));
}

fn new_chip(ui: &mut Ui, body: Rect, hidden: u64) -> bool {
    let t = tokens(ui);
    let words = format!("↑ {} new", crate::view_model::grouped(hidden));
    let galley = ui.painter().layout_no_wrap(words.clone(), fonts::strong(), t.text);
    let size = galley.size() + vec2(24.0, 10.0);
    let rect = Rect::from_center_size(pos2(body.center().x, body.top() + 22.0), size);
    let response = ui.interact(rect, ui.scope_id().with("new rows"), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &words));
    let fill = if response.hovered() { t.hover } else { t.raised };
    ui.painter().rect(rect, CornerRadius::same(13), fill, Stroke::new(1.0, t.muted), egui::StrokeKind::Inside);
    ui.painter().galley(rect.center() - galley.size() / 2.0, galley, t.text);
    response.on_hover_text("Newer programs wait above; show them").clicked()
}

/// The menu of the right button.
fn menu(ui: &mut Ui, commands: &mut Commands) {
    ui.spacing_mut().item_spacing.y = 0.0;
    for command in [Go::OpenOutput, Go::Why] {
        commands.entry(ui, command, false);
    }
    ui.separator();
    for command in [Programs::Suspend, Programs::Resume, Programs::ChangeWallTime] {
        commands.entry(ui, command, false);
    }
    ui.separator();
    for command in [Programs::Stop, Programs::RunAgain, Programs::EditAndRun] {
        commands.entry(ui, command, false);
    }
    ui.separator();
    commands.entry(ui, Programs::CopyId, false);
}

fn select_range(mirror: &Mirror, state: &mut HistoryState, to: u64, hidden: u64) {
    /// Rows that one selection holds: more than anybody stops by hand, less than makes a frame slow.
    const SELECTED_MAX: u64 = 2_000;
    let from = state.pivot.unwrap_or(to);
    let (first, last) = (from.min(to), from.max(to));
    state.selected = (first..=last.min(first + SELECTED_MAX))
        .filter_map(|index| mirror.history.row(index + hidden))
        .map(|row| row.id)
        .collect();
}

fn click(
    ui: &Ui,
    history: &mut History<'_>,
    (index, hidden): (u64, u64),
    (program, double, secondary): (common::ProgramId, bool, bool),
) {
    let state = &mut *history.state;
    let modifiers = ui.input(|input| input.modifiers);
    ui.memory_mut(egui::Memory::stop_text_input);
    state.cursor = Some((index, program));
    if secondary && state.selected.contains(&program) {
        return;
    }
    if modifiers.shift {
        select_range(history.mirror, state, index, hidden);
    } else if modifiers.command {
        if !state.selected.remove(&program) {
            state.selected.insert(program);
        }
        state.pivot = Some(index);
    } else {
        select_one(ui, history, (index, program));
    }
    if double {
        history.commands.send(Go::OpenOutput);
    }
}

fn select_one(ui: &Ui, history: &mut History<'_>, (index, program): (u64, common::ProgramId)) {
    let History { mirror, state, detail, .. } = history;
    state.selected = [program].into();
    state.pivot = Some(index);
    state.cursor = Some((index, program));
    if detail.program != Some(program) {
        detail.program = Some(program);
        detail.view.restart();
        detail.files = widgets::RowsState::default();
        detail.tab = match detail.tab {
            DetailTab::Use => DetailTab::Use,
            DetailTab::Files if mirror.history.by_id(program).is_some_and(|row| row.files_bytes > 0) => {
                DetailTab::Files
            }
            DetailTab::Output | DetailTab::Errors | DetailTab::Compile | DetailTab::Files => {
                mirror.history.by_id(program).map_or(DetailTab::Output, |row| DetailTab::best_for(row))
            }
        };
    }
    // In a narrow window the pane would cover the list: there only a double click opens it.
    if ui.ctx().content_rect().width() >= theme::NARROW {
        detail.open = true;
    }
}

/// Arrows, pages, Home, End, Enter, Escape: while no field has the keyboard.
fn keys(ui: &Ui, history: &mut History<'_>, (shown, hidden): (u64, u64)) {
    let mirror = history.mirror;
    let elsewhere = ui.memory(|memory| memory.focused().is_some() || memory.top_modal_layer().is_some());
    if elsewhere || egui::Popup::is_any_open(ui.ctx()) || shown == 0 {
        return;
    }
    let page = (history.state.rows.height / theme::ROW).floor().max(1.0) as i64 - 1;
    let here = history
        .state
        .cursor
        .and_then(|(_, program)| mirror.history.position(program))
        .map_or(-1, |position| position.saturating_sub(hidden) as i64);
    let moves = [
        (Key::ArrowDown, here + 1),
        (Key::ArrowUp, here.max(1) - 1),
        (Key::PageDown, here + page),
        (Key::PageUp, here - page),
        (Key::Home, 0),
        (Key::End, i64::MAX),
    ];
    for (key, to) in moves {
        // With shift first: a key without modifiers would take the one with shift for its own.
        let (extend, plain) =
            ui.input_mut(|input| (input.consume_key(Modifiers::SHIFT, key), input.consume_key(Modifiers::NONE, key)));
        if !plain && !extend {
            continue;
        }
        let to = (to.max(0) as u64).min(shown - 1);
        history.state.rows.reveal(to, theme::ROW);
        let Some(row) = mirror.history.row(to + hidden) else { continue };
        if extend {
            select_range(mirror, history.state, to, hidden);
            history.state.cursor = Some((to, row.id));
        } else {
            select_one(ui, history, (to, row.id));
        }
    }
    let (enter, escape) = ui.input_mut(|input| {
        (input.consume_key(Modifiers::NONE, Key::Enter), input.consume_key(Modifiers::NONE, Key::Escape))
    });
    if enter && history.state.cursor.is_some() {
        history.commands.send(Go::OpenOutput);
    }
    if escape && history.detail.open {
        history.commands.send(Go::CloseDetail);
    }
}

/// When a row of the visible part changes its words without anything arriving.
pub(crate) fn changes_in(mirror: &Mirror, clock: &Clock, window: &HistoryWindow) -> Option<Duration> {
    (window.first..window.first + u64::from(window.rows))
        .filter_map(|position| mirror.history.row(position))
        .map(|row| {
            let began = row.started_at.unwrap_or(row.submitted_at);
            if row.state.is_final() || row.state == State::Suspended || row.started_at.is_none() {
                clock.ago_changes_in(began)
            } else {
                // The time of what runs counts seconds.
                let millis = clock.now.since(began).as_millis();
                Duration::from_millis(1_000 - millis % 1_000)
            }
        })
        .min()
}
