//! One program: verdict, facts, output, buttons.

use super::{Streams, files_ui::files_ui, input_ui::input_ui, output_view::output_ui};
use crate::{
    collected::FileLists,
    command::{Command, Commands, Files, Go, Programs},
    fonts,
    output::StreamText,
    signs::{self, Icon},
    state::{DetailState, DetailTab},
    theme::{self, tokens},
    view_model::{
        Clock,
        detail::{self, Detail},
    },
    widgets::{self, Look, Tab},
};
use common::{
    ProgramSpec,
    message::data::Stream,
    program::State,
    view::{Explanation, ProgramView},
};
use egui::{Align2, CornerRadius, Margin, Rect, Role, Sense, Stroke, Ui, Vec2, WidgetInfo, pos2, vec2};

/// What the pane shows.
pub(crate) struct Shown<'a> {
    /// The program's row.
    pub(crate) program: &'a ProgramView,
    /// What was submitted, once the master said it.
    pub(crate) spec: Option<&'a ProgramSpec>,
    /// Why it waits, once the master said it.
    pub(crate) why: Option<&'a Explanation>,
    /// Lists of files that programs brought back.
    pub(crate) files: &'a FileLists,
    /// What it printed, as far as it is here, and what is typed to it.
    pub(crate) streams: Streams<'a>,
}

/// The pane.
pub(crate) fn detail_ui(
    ui: &mut Ui,
    shown: &mut Shown<'_>,
    clock: &Clock,
    state: &mut DetailState,
    commands: &mut Commands,
) {
    let t = tokens(ui);
    let pane = ui.max_rect();
    ui.painter().rect_filled(pane, CornerRadius::ZERO, t.panel);
    let view = Detail::new(shown.program, shown.spec, shown.why, clock);
    // Shallow panes keep most of their height for the output.
    let shallow = pane.height() < 420.0;
    let (rest, foot) = pane.split_top_bottom_at_y(pane.bottom() - 46.0);
    foot_ui(ui, foot, shown.program, commands);
    ui.scope_builder(egui::UiBuilder::new().max_rect(rest), |ui| {
        ui.set_clip_rect(rest.intersect(ui.clip_rect()));
        ui.spacing_mut().item_spacing = vec2(8.0, 0.0);
        head_ui(ui, &view, commands);
        verdict_ui(ui, &view);
        if !shallow {
            facts_ui(ui, &view);
        }
        if !view.reasons.is_empty() {
            reasons_ui(ui, &view);
        }
        tabs_ui(ui, shown, state, commands);
        body_ui(ui, shown, clock, state, commands);
    });
}

fn head_ui(ui: &mut Ui, view: &Detail, commands: &mut Commands) {
    let t = tokens(ui);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 40.0), Sense::hover());
    let colour = t.standing(view.standing);
    let y = rect.center().y + 2.0;
    let sign = Rect::from_center_size(pos2(rect.left() + 21.0, y), Vec2::splat(11.0));
    signs::standing(ui.painter(), sign, view.standing, colour);
    let word = ui.painter().text(pos2(rect.left() + 35.0, y), Align2::LEFT_CENTER, view.word, fonts::title(), colour);
    let close = Rect::from_center_size(pos2(rect.right() - 20.0, y), Vec2::splat(24.0));
    ui.scope_builder(egui::UiBuilder::new().max_rect(close), |ui| {
        let words = Command::from(Go::CloseDetail).words();
        if widgets::icon_button(ui, Icon::Close, &words.label, 24.0).clicked() {
            commands.send(Go::CloseDetail);
        }
    });
    let attempt = Rect::from_min_max(pos2(rect.left(), y - 10.0), pos2(close.left() - 6.0, y + 10.0));
    let attempt = widgets::paint_right(ui.painter(), attempt, &view.attempt, fonts::small(), t.muted);
    let name = Rect::from_min_max(pos2(word.right() + 10.0, y - 12.0), pos2(attempt.left() - 10.0, y + 12.0));
    widgets::paint_elided(ui.painter(), name, &view.program, fonts::title(), t.text);
    let response = ui.interact(name, ui.scope_id().with("title"), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Heading, true, format!("{} {}", view.word, view.program)));
    response.on_hover_text(&view.program);
}

fn verdict_ui(ui: &mut Ui, view: &Detail) {
    let t = tokens(ui);
    let colour = t.standing(view.standing);
    let outer = ui.available_width();
    let frame = egui::Frame::new()
        .fill(t.tint(colour))
        .corner_radius(CornerRadius::same(theme::RADIUS))
        .inner_margin(Margin { left: 13, right: 12, top: 8, bottom: 8 })
        .outer_margin(Margin { left: 14, right: 14, top: 3, bottom: 10 });
    let response = frame.show(ui, |ui| {
        ui.set_width(outer - 28.0 - 25.0);
        let mut job = egui::text::LayoutJob::default();
        job.append(&view.verdict, 0.0, egui::TextFormat::simple(fonts::strong(), t.text));
        if !view.evidence.is_empty() {
            job.append(&format!(" {}", view.evidence), 0.0, egui::TextFormat::simple(fonts::text(), t.text));
        }
        // A compiler's whole text belongs into its tab.
        job.wrap.max_rows = 5;
        ui.add(egui::Label::new(job).wrap());
    });
    let rect = response.response.rect;
    let bar =
        Rect::from_min_max(pos2(rect.left() + 14.0, rect.top() + 3.0), pos2(rect.left() + 17.0, rect.bottom() - 10.0));
    ui.painter().rect_filled(bar, CornerRadius { nw: 6, sw: 6, ne: 0, se: 0 }, colour);
}

fn facts_ui(ui: &mut Ui, view: &Detail) {
    let t = tokens(ui);
    let (top, _) = ui.allocate_exact_size(vec2(ui.available_width(), 9.0), Sense::hover());
    ui.painter().hline(top.x_range(), top.top() + 0.5, Stroke::new(1.0, t.border));
    for fact in &view.facts {
        let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 22.0), Sense::hover());
        let word = Rect::from_min_max(rect.min + vec2(14.0, 0.0), pos2(rect.left() + 98.0, rect.bottom()));
        widgets::paint_elided(ui.painter(), word, fact.word, fonts::text(), t.muted);
        let value = Rect::from_min_max(pos2(rect.left() + 102.0, rect.top()), rect.max - vec2(14.0, 0.0));
        let end = widgets::paint_elided(ui.painter(), value, &fact.value, fonts::text(), t.text);
        let id = Rect::from_min_max(pos2(end + 5.0, rect.top()), value.max);
        widgets::paint_elided(ui.painter(), id, &fact.id, fonts::mono_small(), t.muted);
        let spoken = format!("{}: {} {}", fact.word, fact.value, fact.id);
        response.widget_info(|| WidgetInfo::labeled(Role::Label, true, spoken.trim()));
        if !fact.id.is_empty() {
            response.on_hover_text(format!("{} {}", fact.value, fact.id));
        }
    }
    ui.add_space(8.0);
}

fn reasons_ui(ui: &mut Ui, view: &Detail) {
    let t = tokens(ui);
    let (top, _) = ui.allocate_exact_size(vec2(ui.available_width(), 26.0), Sense::hover());
    ui.painter().hline(top.x_range(), top.top() + 0.5, Stroke::new(1.0, t.border));
    let title = top.shrink2(vec2(14.0, 0.0));
    widgets::paint_elided(ui.painter(), title, "Why not now, slave by slave", fonts::heading(), t.muted);
    let height = (view.reasons.len() as f32 * 22.0).min(132.0);
    egui::ScrollArea::vertical().id_salt("reasons").max_height(height).show(ui, |ui| {
        for reason in &view.reasons {
            let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 22.0), Sense::hover());
            let sign = Rect::from_center_size(pos2(rect.left() + 20.0, rect.center().y), Vec2::splat(10.0));
            let (state, colour) = if reason.able { (State::Waiting, t.wait) } else { (State::Cancelled, t.faint) };
            signs::state(ui.painter(), sign, state, colour);
            let slave =
                Rect::from_min_max(pos2(rect.left() + 34.0, rect.top()), pos2(rect.left() + 98.0, rect.bottom()));
            widgets::paint_elided(ui.painter(), slave, &reason.slave, fonts::text(), t.text);
            let words = Rect::from_min_max(pos2(rect.left() + 102.0, rect.top()), rect.max - vec2(14.0, 0.0));
            widgets::paint_elided(ui.painter(), words, &reason.reason, fonts::text(), t.muted);
            let spoken = format!("{}: {}", reason.slave, reason.reason);
            response.widget_info(|| WidgetInfo::labeled(Role::Label, true, &spoken));
            response.on_hover_text(&reason.reason);
        }
    });
    ui.add_space(8.0);
}

fn tabs_ui(ui: &mut Ui, shown: &Shown<'_>, state: &mut DetailState, commands: &mut Commands) {
    let t = tokens(ui);
    let (strip, _) = ui.allocate_exact_size(vec2(ui.available_width(), 33.0), Sense::hover());
    ui.painter().hline(strip.x_range(), strip.top() + 0.5, Stroke::new(1.0, t.border));
    widgets::line_below(ui, strip);
    let program = shown.program;
    let sizes = [program.output_bytes, program.error_bytes, program.compile_bytes, 0, program.files_bytes];
    let mut tabs: Vec<Tab<'_>> = DetailTab::ALL
        .iter()
        .zip(sizes)
        .map(|(tab, size)| Tab {
            text: tab.word(),
            count: (size > 0 && *tab != DetailTab::Output).then(|| common::ByteSize(size).to_string()),
        })
        .collect();
    // Find and Copy keep their room: where all does not fit, the sizes go, that of the files last.
    for index in 0..tabs.len() {
        if widgets::tabs_width(ui, &tabs) > strip.width() - 28.0 - 84.0 {
            tabs[index].count = None;
        }
    }
    let open = DetailTab::ALL.iter().position(|tab| *tab == state.tab).unwrap_or(0);
    let area = strip.shrink2(vec2(14.0, 0.0)).translate(vec2(0.0, 1.0));
    // Children of their own: they do not move what follows.
    let pressed = widgets::tab_strip(&mut ui.new_child(egui::UiBuilder::new().max_rect(area)), &tabs, open);
    if let Some(pressed) = pressed {
        state.tab = DetailTab::ALL[pressed];
        state.view.restart();
    }
    if matches!(state.tab, DetailTab::Use | DetailTab::Files) {
        return;
    }
    let right = egui::Layout::right_to_left(egui::Align::Center);
    let area = strip.shrink2(vec2(8.0, 2.0));
    let mut ui = ui.new_child(egui::UiBuilder::new().max_rect(area).layout(right));
    ui.spacing_mut().item_spacing.x = 0.0;
    for (command, word) in [(Command::from(Programs::CopyOutput), "Copy"), (Go::FindInOutput.into(), "Find")] {
        let words = command.words();
        let response = widgets::show_button(&mut ui, word, "", Look::Quiet, 0.0).on_hover_text(words.tooltip);
        if response.clicked() {
            commands.send(command);
        }
    }
}

fn body_ui(ui: &mut Ui, shown: &mut Shown<'_>, clock: &Clock, state: &mut DetailState, commands: &mut Commands) {
    let t = tokens(ui);
    if state.tab == DetailTab::Use {
        use_ui(ui, shown, clock, commands);
        return;
    }
    if state.tab == DetailTab::Files {
        files_ui(ui, shown, state, commands);
        return;
    }
    let mut room = ui.available_rect_before_wrap();
    if state.tab == DetailTab::Output {
        room = input_ui(ui, room, shown.program, shown.streams.inputs, commands);
    }
    let nothing = StreamText::default();
    let output = shown.streams.outputs.get(shown.program.id);
    let stream = |stream| output.map_or(&nothing, |output| output.stream(stream));
    let (stdout, stderr, compile) = (stream(Stream::Stdout), stream(Stream::Stderr), stream(Stream::Compile));
    let (parts, name, what) = match state.tab {
        DetailTab::Output => (vec![(stdout, t.text), (stderr, t.fail)], "Output", "Nothing was printed"),
        DetailTab::Errors => (vec![(stderr, t.fail)], "Errors", "Nothing on standard error"),
        DetailTab::Compile | DetailTab::Use | DetailTab::Files => {
            let ink = if shown.program.state == State::Failed { t.fail } else { t.text };
            (vec![(compile, ink)], "Compile", "The compiler said nothing")
        }
    };
    let trouble = parts.iter().find_map(|(text, _)| text.error());
    let complete = parts.iter().all(|(text, _)| text.is_complete());
    let empty = match (trouble, shown.program.state, complete) {
        (Some(error), _, _) => widgets::sentence(&error.sentence),
        (None, State::Waiting, _) => "It has not started yet".to_owned(),
        (None, State::Running | State::Suspended, _) => "Nothing was printed so far".to_owned(),
        (None, _, true) => what.to_owned(),
        (None, _, false) => "Reading…".to_owned(),
    };
    let follow = !shown.program.state.is_final() || state.view.search.is_some();
    if !follow && state.view.follow && total_lines(&parts) > 0 && complete {
        // What has ended is read from its beginning unless the reader was already following.
        state.view.follow = false;
    }
    ui.scope_builder(egui::UiBuilder::new().max_rect(room), |ui| {
        output_ui(ui, name, &parts, &empty, &mut state.view);
    });
}

fn total_lines(parts: &[super::output_view::Part<'_>]) -> u64 {
    parts.iter().map(|(text, _)| text.line_count()).sum()
}

fn use_ui(ui: &mut Ui, shown: &Shown<'_>, clock: &Clock, commands: &mut Commands) {
    let t = tokens(ui);
    let rect = ui.available_rect_before_wrap();
    ui.painter().rect_filled(rect, CornerRadius::ZERO, t.bg);
    egui::ScrollArea::vertical().id_salt("use").auto_shrink(false).show(ui, |ui| {
        ui.add_space(8.0);
        ui.spacing_mut().interact_size.y = 22.0;
        for (word, value) in detail::use_rows(shown.program, shown.spec, clock) {
            ui.horizontal(|ui| {
                ui.add_space(14.0);
                let (cell, _) = ui.allocate_exact_size(vec2(80.0, 22.0), Sense::hover());
                widgets::paint_elided(ui.painter(), cell, word, fonts::text(), t.muted);
                let id = word.ends_with("ID");
                let font = if id { fonts::mono_small() } else { fonts::text() };
                let text = egui::RichText::new(&value).font(font).color(t.text);
                ui.add(egui::Label::new(text).selectable(true).truncate());
                if word == "Wall time" && !shown.program.state.is_final() {
                    commands.button(ui, Programs::ChangeWallTime, Look::Quiet, false, 0.0);
                }
            });
        }
    });
}

/// What is offered to a program that has not ended: to stand still, or to go on.
pub(super) fn still(program: &ProgramView) -> Programs {
    if program.state == State::Suspended { Programs::Resume } else { Programs::Suspend }
}

fn foot_ui(ui: &mut Ui, foot: Rect, program: &ProgramView, commands: &mut Commands) {
    widgets::line_above(ui, foot);
    let area = foot.shrink2(vec2(14.0, 9.0));
    ui.scope_builder(egui::UiBuilder::new().max_rect(area), |ui| {
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 8.0;
            if program.state.is_final() {
                commands.button(ui, Programs::RunAgain, Look::Plain, false, 0.0);
            } else {
                commands.button(ui, Programs::Stop, Look::Danger, false, 0.0);
                commands.button(ui, still(program), Look::Plain, false, 0.0);
            }
            commands.button(ui, Programs::EditAndRun, Look::Plain, false, 0.0);
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                commands.button(ui, Files::SaveOutput, Look::Plain, false, 0.0);
            });
        });
    });
}
