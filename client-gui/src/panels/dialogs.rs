//! Dialogs: confirmations, why a slave is set aside, how one joins, the shortcuts, a path.

use super::bars;
use crate::{
    collected::{Existing, Fetch},
    command::{Command, Commands, Files, Master, Programs},
    files::Purpose,
    fonts,
    state::Dialog,
    theme::tokens,
    view_model::{counted, grouped},
    widgets::{self, Look},
};
use common::limits::{self, LOG_MESSAGE_BYTES_MAX};
use egui::{CornerRadius, Key, Modifiers, Rect, Sense, Ui, vec2};
use std::path::PathBuf;

/// Names that a confirmation lists before it counts the rest.
const LISTED: usize = 12;

/// What became of the dialog in this frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It stays.
    Open,
    /// It is closed.
    Closed,
    /// This path was typed.
    Path(Purpose, PathBuf),
}

/// The dialog.
pub(crate) fn dialog_ui(ui: &Ui, dialog: &mut Dialog, commands: &mut Commands) -> Outcome {
    let t = tokens(ui);
    let frame = egui::Frame::new()
        .fill(t.panel)
        .stroke(egui::Stroke::new(1.0, t.border))
        .corner_radius(CornerRadius::same(10))
        .inner_margin(20);
    let shown =
        egui::Modal::new(egui::Id::unique("dialog")).frame(frame).backdrop_color(t.backdrop()).show(ui.ctx(), |ui| {
            let room = ui.ctx().content_rect().width() - 80.0;
            match dialog {
                Dialog::ConfirmStop(programs) => {
                    ui.set_width(room.min(420.0));
                    confirm(ui, programs, commands)
                }
                Dialog::ConfirmAgain(programs) => {
                    ui.set_width(room.min(420.0));
                    confirm_again(ui, programs, commands)
                }
                Dialog::WallTime { id, name, typed, focus } => {
                    ui.set_width(room.min(420.0));
                    wall_time(ui, (*id, name), (typed, focus), commands)
                }
                Dialog::SetAside { slave, reason, focus } => {
                    ui.set_width(room.min(460.0));
                    set_aside(ui, slave, (reason, focus), commands)
                }
                Dialog::WriteOver { fetch, there, names } => {
                    ui.set_width(room.min(460.0));
                    write_over(ui, fetch, there, names, commands)
                }
                Dialog::AddSlave => {
                    ui.set_width(room.min(560.0));
                    add_slave(ui)
                }
                Dialog::Shortcuts => {
                    ui.set_width(room.min(640.0));
                    shortcuts(ui)
                }
                Dialog::Path { purpose, typed, focus } => {
                    ui.set_width(room.min(520.0));
                    path(ui, purpose, typed, focus)
                }
            }
        });
    if shown.inner == Outcome::Open && shown.should_close() { Outcome::Closed } else { shown.inner }
}

fn title(ui: &mut Ui, text: &str) {
    ui.label(egui::RichText::new(text).font(fonts::title()));
    ui.add_space(8.0);
}

fn words(ui: &mut Ui, text: &str) {
    let t = tokens(ui);
    ui.label(egui::RichText::new(text).font(fonts::text()).color(t.muted));
}

/// Buttons at the right: the one that does it, and Cancel. Gives which was pressed.
fn buttons(ui: &mut Ui, yes: Option<(&str, Look, bool)>, no: &str) -> Option<bool> {
    let mut pressed = None;
    ui.add_space(16.0);
    ui.with_layout(egui::Layout::right_to_left(egui::Align::Min), |ui| {
        if let Some((text, look, enabled)) = yes {
            let response = ui.add_enabled_ui(enabled, |ui| widgets::show_button(ui, text, "", look, 88.0)).inner;
            if response.clicked() {
                pressed = Some(true);
            }
        }
        if widgets::show_button(ui, no, "", Look::Plain, 88.0).clicked() {
            pressed = Some(false);
        }
    });
    pressed
}

fn confirm(ui: &mut Ui, programs: &[(common::ProgramId, String, &'static str)], commands: &mut Commands) -> Outcome {
    let t = tokens(ui);
    let count = programs.len() as u64;
    let one = programs.first().filter(|_| count == 1);
    title(
        ui,
        &one.map_or_else(|| format!("Stop {} programs?", grouped(count)), |(_, name, _)| format!("Stop {name}?")),
    );
    words(ui, "What they have printed so far is kept. They cannot be continued, only run again.");
    ui.add_space(8.0);
    ui.spacing_mut().interact_size.y = 20.0;
    for (_, name, state) in programs.iter().take(LISTED) {
        ui.horizontal(|ui| {
            let (cell, _) = ui.allocate_exact_size(vec2(72.0, 20.0), Sense::hover());
            widgets::paint_elided(ui.painter(), cell, state, fonts::text(), t.muted);
            ui.add(egui::Label::new(egui::RichText::new(name).font(fonts::text())).truncate());
        });
    }
    if programs.len() > LISTED {
        words(ui, &format!("and {}", counted((programs.len() - LISTED) as u64, "more program", "more programs")));
    }
    let text = if count == 1 { "Stop" } else { "Stop all" };
    let enter = ui.input_mut(|input| input.consume_key(Modifiers::NONE, Key::Enter));
    match buttons(ui, Some((text, Look::Danger, true)), "Cancel") {
        Some(true) => {}
        Some(false) => return Outcome::Closed,
        None if enter => {}
        None => return Outcome::Open,
    }
    commands.send(Programs::StopConfirmed(programs.iter().map(|(id, _, _)| *id).collect()));
    Outcome::Closed
}

fn confirm_again(ui: &mut Ui, programs: &[common::ProgramId], commands: &mut Commands) -> Outcome {
    title(ui, &format!("Run {} programs again?", grouped(programs.len() as u64)));
    words(ui, "Each gets a new ID, and the same source, input and limits as before.");
    let enter = ui.input_mut(|input| input.consume_key(Modifiers::NONE, Key::Enter));
    match buttons(ui, Some(("Run all again", Look::Primary, true)), "Cancel") {
        Some(true) => {}
        Some(false) => return Outcome::Closed,
        None if enter => {}
        None => return Outcome::Open,
    }
    commands.send(Programs::RunAgainConfirmed(programs.to_vec()));
    Outcome::Closed
}

fn write_over(ui: &mut Ui, fetch: &Fetch, there: &[usize], names: &[String], commands: &mut Commands) -> Outcome {
    let count = there.len() as u64;
    let what = names.first().filter(|_| count == 1).cloned();
    title(ui, &format!("Write over {}?", what.unwrap_or_else(|| format!("{} files", grouped(count)))));
    let folder = widgets::shown(&fetch.folder.to_string_lossy());
    words(ui, &format!("What is there already in {folder} would be gone."));
    ui.add_space(8.0);
    for name in names.iter().take(LISTED).filter(|_| count > 1) {
        ui.add(egui::Label::new(egui::RichText::new(name).font(fonts::text())).truncate());
    }
    if names.len() > LISTED {
        words(ui, &format!("and {}", counted((names.len() - LISTED) as u64, "more file", "more files")));
    }
    let others: Vec<usize> = fetch.files.iter().copied().filter(|file| !there.contains(file)).collect();
    let mut pressed = None;
    ui.add_space(16.0);
    ui.with_layout(egui::Layout::right_to_left(egui::Align::Min), |ui| {
        if widgets::show_button(ui, "Write over", "", Look::Danger, 88.0).clicked() {
            pressed = Some(Some(Fetch { existing: Existing::Replace, ..fetch.clone() }));
        }
        if !others.is_empty() && widgets::show_button(ui, "Save the others", "", Look::Plain, 88.0).clicked() {
            pressed = Some(Some(Fetch { existing: Existing::Stay, files: others, ..fetch.clone() }));
        }
        if widgets::show_button(ui, "Cancel", "", Look::Plain, 88.0).clicked() {
            pressed = Some(None);
        }
    });
    match pressed {
        Some(Some(fetch)) => {
            commands.send(Files::Fetch(fetch));
            Outcome::Closed
        }
        Some(None) => Outcome::Closed,
        None => Outcome::Open,
    }
}

fn wall_time(
    ui: &mut Ui,
    (id, name): (common::ProgramId, &str),
    (typed, focus): (&mut String, &mut bool),
    commands: &mut Commands,
) -> Outcome {
    title(ui, &format!("Wall time of {name}"));
    words(ui, "How long it may run in all, since its start. The time that it is suspended does not count.");
    ui.add_space(8.0);
    let width = ui.available_width();
    widgets::caption(ui, "Wall time");
    ui.add_space(4.0);
    let wanted = crate::editing::length(typed)
        .filter(|time| (common::Duration::from_millis(1)..=limits::WALL_TIME_MAX).contains(time));
    let wrong = wanted.is_none() && !typed.trim().is_empty();
    let field = widgets::field(ui, typed, "Wall time", "such as 90 s, 10 min or 2 h", fonts::text(), wrong, width);
    if std::mem::take(focus) {
        field.request_focus();
        select_from(ui, &field, typed, 0);
    }
    let enter = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
    match (buttons(ui, Some(("Change", Look::Primary, wanted.is_some())), "Cancel"), wanted) {
        (Some(false), _) => Outcome::Closed,
        (Some(true), Some(time)) => {
            commands.send(Programs::SetWallTime(id, time));
            Outcome::Closed
        }
        (None, Some(time)) if enter => {
            commands.send(Programs::SetWallTime(id, time));
            Outcome::Closed
        }
        (Some(true) | None, _) => Outcome::Open,
    }
}

/// Puts the cursor at the end of a field, with what is after the first `from` characters selected.
fn select_from(ui: &Ui, field: &egui::Response, typed: &str, from: usize) {
    let cursor = |at| egui::text::CCursor::new(at);
    let range = egui::text_selection::CCursorRange::two(cursor(from), cursor(typed.chars().count()));
    if let Some(mut edit) = egui::TextEdit::load_state(ui.ctx(), field.id) {
        edit.cursor.set_char_range(Some(range));
        egui::TextEdit::store_state(ui.ctx(), field.id, edit);
    }
}

fn set_aside(ui: &mut Ui, slave: &str, (reason, focus): (&mut String, &mut bool), commands: &mut Commands) -> Outcome {
    title(ui, &format!("Set {} aside", widgets::shown(slave)));
    words(ui, "It finishes what it has and is given nothing new, until somebody takes it back.");
    ui.add_space(8.0);
    let width = ui.available_width();
    widgets::caption(ui, "Reason");
    ui.add_space(4.0);
    let field = widgets::field(ui, reason, "Reason", "for those who wonder", fonts::text(), false, width);
    if std::mem::take(focus) {
        field.request_focus();
    }
    let enter = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
    let told = reason.trim();
    match buttons(ui, Some(("Set aside", Look::Primary, !told.is_empty())), "Cancel") {
        Some(true) => {}
        Some(false) => return Outcome::Closed,
        None if enter && !told.is_empty() => {}
        None => return Outcome::Open,
    }
    let reason = common::escape::shorten(told, LOG_MESSAGE_BYTES_MAX);
    commands.send(Master::SetAsideBecause { slave: slave.to_owned(), reason });
    Outcome::Closed
}

/// A line for a terminal, with a button that copies it.
fn terminal(ui: &mut Ui, line: &str) {
    let t = tokens(ui);
    let width = ui.available_width();
    let (rect, _) = ui.allocate_exact_size(vec2(width, 34.0), Sense::hover());
    ui.painter().rect(rect, CornerRadius::same(6), t.bg, egui::Stroke::new(1.0, t.border), egui::StrokeKind::Inside);
    let copy = Rect::from_min_max(rect.max - vec2(64.0, 31.0), rect.max - vec2(4.0, 3.0));
    let text = Rect::from_min_max(rect.min + vec2(12.0, 0.0), egui::pos2(copy.left() - 8.0, rect.bottom()));
    widgets::paint_elided(ui.painter(), text, line, fonts::mono(), t.text);
    ui.scope_builder(egui::UiBuilder::new().max_rect(copy), |ui| {
        let response = widgets::show_button(ui, "Copy", "", Look::Quiet, 60.0).on_hover_text(line);
        if response.clicked() {
            ui.copy_text(line.to_owned());
        }
    });
    ui.add_space(6.0);
}

fn add_slave(ui: &mut Ui) -> Outcome {
    title(ui, "Add a slave");
    words(ui, "1. On the master's machine, make a join string. It is one line, holds once and for an hour:");
    ui.add_space(4.0);
    terminal(ui, "ruche-master join-string --data DIR");
    words(ui, "2. On the machine that is to run programs, start a slave with that line:");
    ui.add_space(4.0);
    terminal(ui, "RUCHE_JOIN=STRING ruche-slave run --data ~/.local/share/ruche-slave");
    words(ui, "It appears in this list when it has connected. From then on it needs no join string.");
    ui.add_space(4.0);
    words(ui, "What it could run, it tells beforehand:");
    ui.add_space(4.0);
    terminal(ui, "ruche-slave languages");
    match buttons(ui, None, "Close") {
        Some(_) => Outcome::Closed,
        None => Outcome::Open,
    }
}

fn shortcuts(ui: &mut Ui) -> Outcome {
    let t = tokens(ui);
    title(ui, "Keyboard shortcuts");
    let listed: Vec<Command> = Command::listed().into_iter().filter(|command| !command.keys().is_empty()).collect();
    let fixed = [
        ("Move in the list", "↑ ↓"),
        ("Mark several", "Shift ↑ ↓"),
        ("Next field", "Tab"),
        ("This list, outside a field", "?"),
    ];
    let rows: Vec<(String, String)> = listed
        .iter()
        .map(|command| (command.words().label, command.keys()))
        .chain(fixed.map(|(label, keys)| (label.to_owned(), keys.to_owned())))
        .collect();
    let half = rows.len().div_ceil(2);
    let width = (ui.available_width() - 28.0) / 2.0;
    ui.horizontal_top(|ui| {
        ui.spacing_mut().item_spacing.x = 28.0;
        for column in rows.chunks(half.max(1)) {
            ui.vertical(|ui| {
                ui.spacing_mut().item_spacing.y = 0.0;
                for (label, keys) in column {
                    let (rect, response) = ui.allocate_exact_size(vec2(width, 26.0), Sense::hover());
                    let cap = bars::key_cap(ui, rect.right_center(), keys);
                    let text = Rect::from_min_max(rect.min, egui::pos2(cap.left() - 8.0, rect.bottom()));
                    widgets::paint_elided(ui.painter(), text, label, fonts::text(), t.text);
                    response
                        .widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, format!("{label}: {keys}")));
                }
            });
        }
    });
    match buttons(ui, None, "Close") {
        Some(_) => Outcome::Closed,
        None => Outcome::Open,
    }
}

fn path(ui: &mut Ui, purpose: &Purpose, typed: &mut String, focus: &mut bool) -> Outcome {
    let (heading, verb) = match purpose {
        Purpose::Source => ("Open a program", "Open"),
        Purpose::Stdin => ("Standard input from a file", "Open"),
        Purpose::Inputs => ("A file to send", "Send"),
        Purpose::File(..) => ("Save the file", "Save"),
        Purpose::Folder(_) => ("Save all files into a folder", "Save"),
        Purpose::Save(_) => ("Save output", "Save"),
    };
    title(ui, heading);
    words(ui, "This desktop offers no file dialog; write the path.");
    ui.add_space(8.0);
    let width = ui.available_width();
    let field = widgets::field(ui, typed, "Path", "/home/you/program.py", fonts::mono(), false, width);
    if std::mem::take(focus) {
        field.request_focus();
        select_from(ui, &field, typed, typed.chars().count());
    }
    let enter = field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
    let ready = !typed.trim().is_empty();
    match buttons(ui, Some((verb, Look::Primary, ready)), "Cancel") {
        Some(false) => Outcome::Closed,
        Some(true) => Outcome::Path(purpose.clone(), expand(typed.trim())),
        None if enter && ready => Outcome::Path(purpose.clone(), expand(typed.trim())),
        None => Outcome::Open,
    }
}

/// `~/x` in the home folder.
fn expand(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}
