//! Output by lines: virtual, numbered, searchable, selectable; it follows the end until the reader scrolls up.

use crate::{
    fonts,
    output::StreamText,
    signs::Icon,
    theme::{self, tokens},
    widgets::{self, RowsState},
};
use egui::{Color32, CornerRadius, Id, Key, Modifiers, Rect, Role, Sense, Ui, WidgetInfo, pos2, text::LayoutJob, vec2};
use std::ops::RangeInclusive;

/// Height of a line.
const LINE: f32 = 18.0;
/// Above and below the text.
const MARGIN: f32 = 8.0;

/// What the reader did with the output.
#[derive(Debug)]
pub struct OutputView {
    rows: RowsState,
    /// Whether the end is kept in view.
    pub follow: bool,
    /// The search, while it is open.
    pub search: Option<Search>,
    /// Marked lines: where the mark began, and where it ends.
    marked: Option<(u64, u64)>,
}

/// A search in the output.
#[derive(Debug, Default)]
pub struct Search {
    typed: String,
    hits: Vec<u64>,
    at: usize,
    /// What the hits were computed from: the text and how much output there was.
    done: (String, u64),
    focus: bool,
}

impl Default for OutputView {
    fn default() -> Self {
        Self { rows: RowsState::default(), follow: true, search: None, marked: None }
    }
}

/// A stream and its colour.
pub(crate) type Part<'a> = (&'a StreamText, Color32);

impl OutputView {
    /// Another output is shown: from its end, nothing marked.
    pub fn restart(&mut self) {
        self.rows = RowsState::default();
        self.follow = true;
        self.marked = None;
    }

    /// Opens the search and puts the keyboard in it.
    pub fn open_search(&mut self) {
        let search = self.search.get_or_insert_default();
        search.focus = true;
    }

    fn marked_lines(&self) -> Option<RangeInclusive<u64>> {
        self.marked.map(|(a, b)| a.min(b)..=a.max(b))
    }
}

fn total(parts: &[Part<'_>]) -> u64 {
    parts.iter().map(|(text, _)| text.line_count()).sum()
}

/// Which part line `index` is of, and its number there.
fn locate<'a>(parts: &[Part<'a>], mut index: u64) -> Option<(&'a StreamText, Color32, u64)> {
    for (text, colour) in parts {
        if index < text.line_count() {
            return Some((text, *colour, index));
        }
        index -= text.line_count();
    }
    None
}

/// Draws the output in all the room there is; `empty` is said when there is none.
pub(crate) fn output_ui(ui: &mut Ui, name: &str, parts: &[Part<'_>], empty: &str, view: &mut OutputView) {
    let t = tokens(ui);
    let whole = ui.available_rect_before_wrap();
    ui.allocate_rect(whole, Sense::hover());
    ui.painter().rect_filled(whole, CornerRadius::ZERO, t.bg);
    let mut rect = whole;
    if view.search.is_some() {
        let (bar, rest) = whole.split_top_bottom_at_y((whole.top() + 40.0).min(whole.bottom()));
        search_ui(ui, bar, parts, view);
        rect = rest;
    }
    let count = total(parts);
    let skipped: u64 = parts.iter().map(|(text, _)| text.skipped()).sum();
    if count == 0 {
        let at = Rect::from_min_size(rect.min + vec2(16.0, 12.0), vec2((rect.width() - 32.0).max(0.0), 18.0));
        widgets::paint_elided(ui.painter(), at, empty, fonts::text(), t.faint);
        ui.interact(at, Id::unique((name, "empty")), Sense::hover())
            .widget_info(|| WidgetInfo::labeled(Role::Label, true, empty));
        return;
    }
    if skipped > 0 {
        let (note, rest) = rect.split_top_bottom_at_y(rect.top() + 26.0);
        let words =
            format!("The first {} are not shown here; Save output… writes all of it", common::ByteSize(skipped));
        widgets::paint_elided(ui.painter(), note.shrink2(vec2(16.0, 0.0)), &words, fonts::small(), t.faint);
        widgets::line_below(ui, note);
        rect = rest;
    }
    lines_ui(ui, (name, rect.shrink2(vec2(0.0, MARGIN))), parts, count, view);
}

fn lines_ui(ui: &mut Ui, (name, rect): (&str, Rect), parts: &[Part<'_>], count: u64, view: &mut OutputView) {
    let t = tokens(ui);
    let id = ui.scope_id().with(("output", name));
    let background = ui.interact(rect, id.with("text"), Sense::click_and_drag());
    let spoken = format!("{name}, {count} lines");
    background.widget_info(|| WidgetInfo::labeled(Role::Document, true, &spoken));
    keys(ui, &background, count, view, parts);
    mark(ui, &background, rect, count, view);
    if view.follow {
        view.rows.height = rect.height();
        view.rows.scroll_to_end(count, LINE);
    }
    let digits = count.to_string().len().max(2);
    let char_width = ui.fonts_mut(|fonts| fonts.glyph_width(&fonts::mono(), '0'));
    let gutter = 16.0 + digits as f32 * char_width + 12.0;
    let longest = parts.iter().map(|(text, _)| text.longest()).max().unwrap_or(0);
    let width = gutter + longest as f32 * char_width + 24.0;
    let marked = view.marked_lines();
    let needle = view.search.as_ref().map(|search| search.typed.to_lowercase()).filter(|typed| !typed.is_empty());
    let current = view.search.as_ref().and_then(|search| search.hits.get(search.at)).copied();
    // A screen reader reads the lines that are in view.
    let read = ui.ctx().has_accesskit_node(background.id);
    let mut visible = String::new();
    let scrolled = widgets::rows(ui, (id, name), rect, &mut view.rows, (count, LINE, width), |ui, index, row| {
        let Some((text, colour, line)) = locate(parts, index) else { return };
        let full = Rect::from_x_y_ranges(rect.x_range(), row.y_range());
        if marked.as_ref().is_some_and(|lines| lines.contains(&index)) {
            ui.painter().rect_filled(full, CornerRadius::ZERO, t.text_selection());
        } else if current == Some(index) {
            ui.painter().rect_filled(full, CornerRadius::ZERO, t.sel);
        }
        let line = text.line(line);
        if read {
            visible.push_str(&line);
            visible.push('\n');
        }
        let job = line_job(&line, needle.as_deref(), colour, t);
        let galley = ui.painter().layout_job(job);
        ui.painter().galley(pos2(row.left() + gutter, row.center().y - galley.size().y / 2.0), galley, colour);
        let number = Rect::from_min_size(row.min, vec2(gutter - 12.0, LINE));
        widgets::paint_right(ui.painter(), number, &(index + 1).to_string(), fonts::mono(), t.faint);
    });
    ui.ctx().accesskit_node_builder(background.id, |node| node.set_value(visible));
    if scrolled {
        view.follow = view.rows.at_end(count, LINE);
    }
}

/// One line, with what is searched for marked.
fn line_job(line: &str, needle: Option<&str>, colour: Color32, t: &theme::Tokens) -> LayoutJob {
    let format = |background| egui::TextFormat { background, ..egui::TextFormat::simple(fonts::mono(), colour) };
    let mut job = LayoutJob::default();
    job.wrap.max_width = f32::INFINITY;
    let mut rest = line;
    if let Some(needle) = needle {
        // Lower case may have another length: marks are only painted where it has the same.
        let lower = line.to_lowercase();
        let mut from = 0;
        while lower.len() == line.len()
            && let Some(found) = lower[from..].find(needle)
            && line.is_char_boundary(from + found)
            && line.is_char_boundary(from + found + needle.len())
        {
            job.append(&line[from..from + found], 0.0, format(Color32::TRANSPARENT));
            job.append(&line[from + found..from + found + needle.len()], 0.0, format(t.search_hit()));
            from += found + needle.len();
        }
        rest = &line[from..];
    }
    job.append(rest, 0.0, format(Color32::TRANSPARENT));
    job
}

/// Scrolling and copying with the keyboard, while the output has it.
fn keys(ui: &Ui, response: &egui::Response, count: u64, view: &mut OutputView, parts: &[Part<'_>]) {
    if response.clicked() || response.drag_started() {
        response.request_focus();
    }
    if !response.has_focus() {
        return;
    }
    ui.memory_mut(|memory| {
        memory.set_focus_lock_filter(
            response.id,
            egui::EventFilter { vertical_arrows: true, horizontal_arrows: true, ..egui::EventFilter::default() },
        );
    });
    let page = f64::from(view.rows.height - LINE);
    let moves = [
        (Key::ArrowDown, f64::from(LINE)),
        (Key::ArrowUp, -f64::from(LINE)),
        (Key::PageDown, page),
        (Key::PageUp, -page),
        (Key::Home, f64::NEG_INFINITY),
        (Key::End, f64::INFINITY),
    ];
    for (key, by) in moves {
        if ui.input_mut(|input| input.consume_key(Modifiers::NONE, key)) {
            let reach = (count as f64 * f64::from(LINE) - f64::from(view.rows.height)).max(0.0);
            view.rows.top = (view.rows.top + by).clamp(0.0, reach);
            view.follow = view.rows.at_end(count, LINE);
        }
    }
    for (key, by) in [(Key::ArrowRight, 40.0), (Key::ArrowLeft, -40.0)] {
        if ui.input_mut(|input| input.consume_key(Modifiers::NONE, key)) {
            view.rows.left += by;
        }
    }
    if ui.input_mut(|input| input.consume_key(Modifiers::COMMAND, Key::A)) && count > 0 {
        view.marked = Some((0, count - 1));
    }
    let copy = ui.input(|input| input.events.contains(&egui::Event::Copy));
    if copy && let Some(lines) = view.marked_lines() {
        let text: String =
            lines.filter_map(|index| locate(parts, index)).map(|(text, _, line)| text.line(line) + "\n").collect();
        ui.copy_text(text);
    }
}

/// Marks lines with the pointer.
fn mark(ui: &Ui, response: &egui::Response, rect: Rect, count: u64, view: &mut OutputView) {
    let Some(pointer) = response.interact_pointer_pos() else { return };
    let line = ((f64::from(pointer.y - rect.top()) + view.rows.top) / f64::from(LINE)).max(0.0) as u64;
    let line = line.min(count.saturating_sub(1));
    if response.drag_started() {
        view.marked = Some((line, line));
        view.follow = false;
    } else if response.dragged() {
        if let Some((_, end)) = &mut view.marked {
            *end = line;
        }
        // Dragging past the edge scrolls.
        let past = if pointer.y < rect.top() { pointer.y - rect.top() } else { (pointer.y - rect.bottom()).max(0.0) };
        if past != 0.0 {
            view.rows.top += f64::from(past.clamp(-LINE, LINE));
            ui.request_repaint_after(std::time::Duration::from_millis(50));
        }
    } else if response.clicked() {
        let extend = ui.input(|input| input.modifiers.shift);
        view.marked = match view.marked {
            Some((from, _)) if extend => Some((from, line)),
            _ => None,
        };
    }
}

fn search_ui(ui: &mut Ui, bar: Rect, parts: &[Part<'_>], view: &mut OutputView) {
    let t = tokens(ui);
    ui.painter().rect_filled(bar, CornerRadius::ZERO, t.panel);
    widgets::line_below(ui, bar);
    let Some(search) = &mut view.search else { return };
    let count = total(parts);
    if search.done != (search.typed.clone(), count) {
        search.hits.clear();
        let mut before = 0;
        for (text, _) in parts {
            if !search.typed.is_empty() {
                search.hits.extend(text.find(&search.typed).into_iter().map(|line| line + before));
            }
            before += text.line_count();
        }
        search.done = (search.typed.clone(), count);
        search.at = search.at.min(search.hits.len().saturating_sub(1));
    }
    let mut step: i64 = 0;
    let mut close = false;
    let inner = bar.shrink2(vec2(12.0, 6.0));
    ui.scope_builder(egui::UiBuilder::new().max_rect(inner), |ui| {
        ui.horizontal(|ui| {
            let width = (inner.width() - 190.0).max(80.0);
            let field =
                widgets::field(ui, &mut search.typed, "Find in output", "Find in output", fonts::text(), false, width);
            if std::mem::take(&mut search.focus) {
                field.request_focus();
            }
            if field.changed() {
                search.at = 0;
            }
            if field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter)) {
                step = if ui.input(|input| input.modifiers.shift) { -1 } else { 1 };
                field.request_focus();
            }
            close |= field.lost_focus() && ui.input(|input| input.key_pressed(Key::Escape));
            let words = match (search.typed.is_empty(), search.hits.len()) {
                (true, _) => String::new(),
                (false, 0) => "none".to_owned(),
                (false, hits) => format!("{} of {hits}", search.at + 1),
            };
            let (label, _) = ui.allocate_exact_size(vec2(66.0, theme::CONTROL), Sense::hover());
            widgets::paint_elided(ui.painter(), label, &words, fonts::small(), t.muted);
            if widgets::show_button(ui, "↑", "", widgets::Look::Quiet, 0.0)
                .on_hover_text("Previous (Shift Enter)")
                .clicked()
            {
                step = -1;
            }
            if widgets::show_button(ui, "↓", "", widgets::Look::Quiet, 0.0).on_hover_text("Next (Enter)").clicked() {
                step = 1;
            }
            close |= widgets::icon_button(ui, Icon::Close, "Close the search", 22.0).clicked();
        });
    });
    let hits = search.hits.len();
    if step != 0 && hits > 0 {
        search.at = (search.at as i64 + step).rem_euclid(hits as i64) as usize;
    }
    let target = search.hits.get(search.at).copied();
    let jump = step != 0 || search.done.0 != search.typed;
    if jump && let Some(line) = target {
        view.follow = false;
        view.rows.reveal(line, LINE);
    }
    if close {
        view.search = None;
    }
}
