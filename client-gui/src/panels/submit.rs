//! Write, choose, run, read the result.

use super::{Streams, input_ui::input_ui, output_view::output_ui, submit_settings::settings_ui};
use crate::{
    command::{Commands, Edit, Files, Go, Pane, Programs},
    editing::{EditorTab, Run, SubmitState, sending_words},
    fonts,
    output::{Outputs, StreamText},
    signs::{self, Icon},
    templates,
    theme::{self, tokens},
    view_model::{Clock, Standing, counted, history, submit},
    widgets::{self, Edited, Look, shown},
};
use client::Mirror;
use common::{message::data::Stream, program::State, view::ProgramView};
use egui::{CornerRadius, Id, Rect, Role, Sense, Stroke, Ui, Vec2, WidgetInfo, pos2, vec2};

/// Width of the settings at the right.
const SETTINGS: f32 = 330.0;
/// How a program stands that is on its way.
const WAITS: Standing = Standing::Known(State::Waiting);

/// The pane.
pub(crate) fn submit_ui(
    ui: &mut Ui,
    mirror: &Mirror,
    clock: &Clock,
    mut streams: Streams<'_>,
    state: &mut SubmitState,
    commands: &mut Commands,
) {
    let t = tokens(ui);
    let pane = ui.max_rect();
    let (strip, rest) = pane.split_top_bottom_at_y(pane.top() + theme::TOOL_BAR);
    tabs_ui(ui, strip, state, commands);
    let settings_width =
        if pane.width() < 760.0 { (pane.width() * 0.42).max(220.0) } else { SETTINGS.min(pane.width() * 0.3) };
    let (main, side) = rest.split_left_right_at_x(rest.right() - settings_width);
    ui.painter().rect_filled(side, CornerRadius::ZERO, t.panel);
    ui.painter().vline(side.left() + 0.5, side.y_range(), Stroke::new(1.0, t.border));
    let focus = std::mem::take(&mut state.focus);
    let open = state.open;
    let Some(tab) = state.tabs.get_mut(open) else {
        no_tab(ui, main, commands);
        return;
    };
    let has_result = !matches!(tab.run, Run::None);
    let result_height = if has_result { (main.height() * 0.36).clamp(140.0, 420.0) } else { 0.0 };
    let (top, bottom) = main.split_top_bottom_at_y(main.bottom() - result_height);
    let hint =
        if tab.is_command() { "gcc --version" } else { "Write a program here, open one, or drop a file on the window" };
    let language = tab.language.clone();
    let edited = Edited {
        id: Id::unique(("editor", tab.id)),
        text: &mut tab.text,
        language: &language,
        coloured: &mut tab.coloured,
        hint,
        focus,
    };
    if widgets::editor(ui, top, edited) {
        tab.changed = true;
    }
    if has_result {
        result_ui(ui, bottom, mirror, clock, &mut streams, tab, commands);
    }
    settings_ui(ui, side, mirror, tab, commands);
}

fn no_tab(ui: &mut Ui, rect: Rect, commands: &mut Commands) {
    let t = tokens(ui);
    let middle = pos2(rect.center().x, rect.top() + rect.height() * 0.34);
    ui.painter().text(middle, egui::Align2::CENTER_BOTTOM, "Nothing is open", fonts::title(), t.text);
    let words = "Begin with an empty program, a sample, or a file dropped on the window";
    ui.painter().text(middle + vec2(0.0, 8.0), egui::Align2::CENTER_TOP, words, fonts::text(), t.muted);
    let row = Rect::from_center_size(middle + vec2(0.0, 62.0), vec2(190.0, theme::CONTROL));
    ui.scope_builder(egui::UiBuilder::new().max_rect(row), |ui| {
        ui.horizontal(|ui| {
            commands.button(ui, Edit::NewTab, Look::Plain, false, 90.0);
            commands.button(ui, Files::Open, Look::Plain, false, 90.0);
        });
    });
}

fn tabs_ui(ui: &mut Ui, strip: Rect, state: &mut SubmitState, commands: &mut Commands) {
    widgets::line_below(ui, strip);
    let menu = Rect::from_min_max(
        pos2(strip.right() - 118.0, strip.top() + 8.0),
        pos2(strip.right() - 8.0, strip.top() + 36.0),
    );
    samples_menu(ui, menu, commands);
    let area = Rect::from_min_max(strip.min + vec2(6.0, 8.0), pos2(menu.left() - 8.0, strip.bottom() - 8.0));
    ui.scope_builder(egui::UiBuilder::new().max_rect(area), |ui| {
        ui.set_clip_rect(area.expand2(vec2(2.0, 4.0)).intersect(ui.clip_rect()));
        egui::ScrollArea::horizontal()
            .id_salt("tabs")
            .scroll_bar_visibility(egui::scroll_area::ScrollBarVisibility::AlwaysHidden)
            .show(ui, |ui| {
                ui.horizontal(|ui| {
                    ui.spacing_mut().item_spacing.x = 4.0;
                    let mut close = None;
                    for index in 0..state.tabs.len() {
                        let (open, closed) = tab_ui(ui, &state.tabs[index], index == state.open);
                        if open {
                            state.open = index;
                            state.focus = true;
                        }
                        if closed {
                            close = Some(index);
                        }
                    }
                    if let Some(index) = close {
                        state.open = index;
                        commands.send(Edit::CloseTab);
                    }
                    if widgets::icon_button(ui, Icon::Submit, "New tab", 26.0).clicked() {
                        commands.send(Edit::NewTab);
                    }
                });
            });
    });
}

/// One tab; gives whether it was pressed, and whether its cross was.
fn tab_ui(ui: &mut Ui, tab: &EditorTab, open: bool) -> (bool, bool) {
    let t = tokens(ui);
    let name = if tab.is_command() { "Command".to_owned() } else { shown(&tab.file_name) };
    let label = widgets::elided(ui.painter(), &name, fonts::text(), t.text, 170.0);
    let mark = if tab.changed { 12.0 } else { 0.0 };
    let size = vec2(label.size().x + mark + if open { 42.0 } else { 22.0 }, theme::CONTROL);
    let (rect, response) = ui.allocate_exact_size(size, Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::Tab, true, open, &name));
    if open {
        let line = Stroke::new(1.0, t.border);
        ui.painter().rect(rect, CornerRadius::same(theme::RADIUS), t.raised, line, egui::StrokeKind::Inside);
    } else if response.hovered() {
        ui.painter().rect_filled(rect, CornerRadius::same(theme::RADIUS), t.hover);
    }
    let ink = if open { t.text } else { t.muted };
    let at = pos2(rect.left() + 11.0, rect.center().y - label.size().y / 2.0);
    let end = at.x + label.size().x;
    ui.painter().galley_with_override_text_color(at, label, ink);
    if tab.changed {
        ui.painter().circle_filled(pos2(end + 8.0, rect.center().y), 2.2, ink);
    }
    widgets::focus_ring(ui, &response, theme::RADIUS);
    let mut closed = response.middle_clicked();
    if open {
        let cross = Rect::from_center_size(pos2(rect.right() - 15.0, rect.center().y), Vec2::splat(18.0));
        ui.scope_builder(egui::UiBuilder::new().max_rect(cross), |ui| {
            closed |= widgets::icon_button(ui, Icon::Close, &format!("Close {name}"), 18.0).clicked();
        });
    }
    (response.clicked(), closed)
}

fn samples_menu(ui: &mut Ui, rect: Rect, commands: &mut Commands) {
    let t = tokens(ui);
    let response = ui.interact(rect, ui.scope_id().with("samples"), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, "Templates"));
    let hot = response.hovered() || response.has_focus();
    let ink = if hot { t.text } else { t.muted };
    let arrow = Rect::from_center_size(pos2(rect.right() - 10.0, rect.center().y + 0.5), Vec2::splat(12.0));
    signs::icon(ui.painter(), arrow, Icon::Down, 12.0, ink);
    let text = Rect::from_min_max(rect.min, pos2(arrow.left() - 6.0, rect.bottom()));
    widgets::paint_right(ui.painter(), text, "Templates", fonts::text(), ink);
    egui::Popup::menu(&response).align(egui::RectAlign::BOTTOM_END).gap(4.0).show(|ui| {
        ui.spacing_mut().item_spacing.y = 0.0;
        for sample in templates::SAMPLES {
            if widgets::menu_entry(ui, sample.language, sample.file_name, false, true).clicked() {
                commands.send(Edit::Template(sample.language));
                ui.close();
            }
        }
    });
}

fn result_ui(
    ui: &mut Ui,
    rect: Rect,
    mirror: &Mirror,
    clock: &Clock,
    streams: &mut Streams<'_>,
    tab: &mut EditorTab,
    commands: &mut Commands,
) {
    let t = tokens(ui);
    let (head, body) = rect.split_top_bottom_at_y(rect.top() + 36.0);
    widgets::line_above(ui, head);
    widgets::line_below(ui, head);
    ui.painter().rect_filled(head.shrink2(vec2(0.0, 1.0)), CornerRadius::ZERO, t.bg);
    match &tab.run {
        Run::None => {}
        Run::Submitting(busy) => {
            let (word, words) = submit::on_its_way(mirror, busy.as_ref(), clock);
            result_words(ui, head, WAITS, word, &words);
            let lines = busy.iter().map(|busy| widgets::sentence(&busy.reason.sentence));
            let calm = "Nothing is lost: it is sent again by itself, and runs once.".to_owned();
            lines_ui(ui, body, &lines.chain([calm]).collect::<Vec<_>>());
        }
        Run::Sending(sending) => {
            result_words(ui, head, WAITS, "Sending files", &sending_words(sending.as_ref()));
            let lines =
                ["It is submitted when the master has them all. What it has already is not sent again.".to_owned()];
            lines_ui(ui, body, &lines);
            if let Some(sending) = sending.as_ref().filter(|sending| sending.total > 0) {
                let bar = Rect::from_min_size(
                    body.min + vec2(16.0, 36.0),
                    vec2((body.width() - 32.0).clamp(0.0, 320.0), 12.0),
                );
                widgets::progress(ui, bar, sending.sent as f32 / sending.total as f32 * 100.0, t.run);
            }
        }
        Run::Refused(error) => {
            result_words(
                ui,
                head,
                Standing::Known(State::Failed),
                "Not submitted",
                &widgets::sentence(&error.sentence),
            );
            let lines = [widgets::sentence(&error.sentence), widgets::sentence(&error.hint), shown(&error.code)];
            lines_ui(ui, body, &lines);
        }
        Run::Submitted(id, copies) => {
            let Some(program) = mirror.program(*id) else {
                result_words(ui, head, WAITS, "Submitted", "");
                return;
            };
            let copies = if *copies > 1 {
                format!("{}; the first: ", counted(*copies as u64, "copy", "copies"))
            } else {
                String::new()
            };
            let words = format!("{copies}{}", result_line(program, clock));
            let end = result_buttons(ui, head, program, &mut tab.view.follow, commands);
            let room = Rect::from_min_max(head.min, pos2(end, head.bottom()));
            result_words(ui, room, Standing::of(program), Standing::of(program).word(), &words);
            let room = input_ui(ui, body, program, streams.inputs, commands);
            result_output(ui, room, program, streams.outputs, tab);
        }
    }
}

/// Lines below the head, the first of which counts most.
fn lines_ui(ui: &mut Ui, body: Rect, lines: &[String]) {
    let t = tokens(ui);
    for (index, line) in lines.iter().enumerate() {
        let at =
            Rect::from_min_size(body.min + vec2(16.0, 10.0 + 22.0 * index as f32), vec2(body.width() - 32.0, 20.0));
        let ink = if index == 0 { t.text } else { t.muted };
        widgets::paint_elided(ui.painter(), at, line, fonts::text(), ink);
        ui.interact(at, ui.scope_id().with(("line", index)), Sense::hover())
            .widget_info(|| WidgetInfo::labeled(Role::Label, true, line));
    }
}

fn result_output(ui: &mut Ui, body: Rect, program: &ProgramView, outputs: &Outputs, tab: &mut EditorTab) {
    let t = tokens(ui);
    let nothing = StreamText::default();
    let output = outputs.get(program.id);
    let stream = |stream| output.map_or(&nothing, |output| output.stream(stream));
    let mut parts = vec![(stream(Stream::Stdout), t.text), (stream(Stream::Stderr), t.fail)];
    let compile = stream(Stream::Compile);
    if !compile.is_empty() {
        parts.insert(0, (compile, if program.state == State::Failed { t.fail } else { t.muted }));
    }
    let empty = match program.state {
        State::Waiting => "It has not started yet",
        State::Running | State::Suspended => "Nothing was printed so far",
        State::Done | State::Failed | State::Cancelled | State::Lost => "Nothing was printed",
    };
    ui.scope_builder(egui::UiBuilder::new().max_rect(body), |ui| {
        output_ui(ui, "Result", &parts, empty, &mut tab.view);
    });
}

/// `0.31 s on pc-03 · exit 0 · 12 MiB`.
fn result_line(program: &ProgramView, clock: &Clock) -> String {
    let on = program.slave_name.as_deref().map(|slave| format!(" on {}", shown(slave))).unwrap_or_default();
    match (&program.outcome, program.usage) {
        (Some(common::Outcome::Exited { code }), Some(usage)) => {
            format!("{}{on} · exit {code} · {}", usage.wall, usage.memory_peak)
        }
        (Some(outcome), _) => shown(&outcome.sentence()),
        (None, _) if Standing::of(program) == Standing::Unknown => history::HistoryRow::new(program, clock).last_line,
        // For how long it has run without standing still nobody says.
        (None, _) if program.state == State::Suspended => format!("stands still{on}"),
        (None, _) => match program.started_at {
            Some(started) => format!("{}{on}", clock.running(started)),
            None => shown(&program.last_line),
        },
    }
}

fn result_words(ui: &mut Ui, head: Rect, standing: Standing, word: &str, words: &str) {
    let t = tokens(ui);
    let y = head.center().y;
    let sign = Rect::from_center_size(pos2(head.left() + 21.0, y), Vec2::splat(11.0));
    let ink = t.standing(standing);
    signs::standing(ui.painter(), sign, standing, ink);
    let word = ui.painter().text(pos2(head.left() + 35.0, y), egui::Align2::LEFT_CENTER, word, fonts::text(), ink);
    let rest = Rect::from_min_max(pos2(word.right() + 10.0, head.top()), pos2(head.right() - 8.0, head.bottom()));
    widgets::paint_elided(ui.painter(), rest, words, fonts::text(), t.muted);
    let response = ui.interact(Rect::from_min_max(sign.min, rest.max), ui.scope_id().with("result"), Sense::hover());
    let spoken = format!("{} {words}", standing.word());
    response.widget_info(|| WidgetInfo::labeled(Role::Status, true, spoken.trim()));
    if !words.is_empty() {
        response.on_hover_text(words);
    }
}

/// Follow, details, stop; gives where they begin.
fn result_buttons(ui: &mut Ui, head: Rect, program: &ProgramView, follow: &mut bool, commands: &mut Commands) -> f32 {
    let t = tokens(ui);
    let area = head.shrink2(vec2(10.0, 4.0));
    let layout = egui::Layout::right_to_left(egui::Align::Center);
    ui.scope_builder(egui::UiBuilder::new().max_rect(area).layout(layout), |ui| {
        ui.spacing_mut().item_spacing.x = 2.0;
        let name = history::name(program);
        let label = ui.painter().layout_no_wrap("Follow".to_owned(), fonts::text(), t.muted);
        let (rect, response) = ui.allocate_exact_size(vec2(label.size().x + 34.0, theme::CONTROL), Sense::click());
        response.widget_info(|| WidgetInfo::selected(Role::CheckBox, true, *follow, "Follow"));
        let hot = response.hovered() || response.has_focus();
        if hot {
            ui.painter().rect_filled(rect, CornerRadius::same(theme::RADIUS), t.hover);
        }
        let ink = if hot || *follow { t.text } else { t.muted };
        ui.painter().galley_with_override_text_color(
            pos2(rect.left() + 8.0, rect.center().y - label.size().y / 2.0),
            label,
            ink,
        );
        let mark = Rect::from_center_size(pos2(rect.right() - 14.0, rect.center().y), Vec2::splat(12.0));
        if *follow {
            signs::icon(ui.painter(), mark, Icon::Check, 12.0, ink);
        } else {
            ui.painter().hline(mark.x_range(), mark.center().y, Stroke::new(1.0, t.faint));
        }
        if response.on_hover_text("Keeps the last line in view").clicked() {
            *follow = !*follow;
        }
        let details =
            widgets::show_button(ui, "Details", "", Look::Quiet, 0.0).on_hover_text(format!("{name} in the history"));
        if details.clicked() {
            commands.send(Go::OpenOutput);
            commands.send(Go::Show(Pane::History));
        }
        if !program.state.is_final() {
            commands.button(ui, Programs::Stop, Look::Quiet, false, 0.0);
            if head.width() > 560.0 {
                commands.button(ui, super::detail::still(program), Look::Quiet, false, 0.0);
            }
        }
        ui.min_rect().left()
    })
    .inner
}
