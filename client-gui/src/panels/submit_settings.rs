//! The settings of a program that is being written: language, input, limits, place.

use crate::{
    command::{Commands, Edit, Files},
    editing::{COMMAND, EditorTab, Stdin},
    fonts,
    theme::{self, tokens},
    view_model::submit as model,
    widgets::{self, Look, shown},
};
use client::Mirror;
use egui::{Rect, Sense, Stroke, Ui, pos2, vec2};

/// Height of a file that is sent.
const FILE: f32 = 24.0;
/// Files that are in view at once.
const FILES_SHOWN: f32 = 4.0;

/// The settings of the open tab, with what starts it below them.
pub(super) fn settings_ui(ui: &mut Ui, side: Rect, mirror: &Mirror, tab: &mut EditorTab, commands: &mut Commands) {
    let (fields, foot) = side.split_top_bottom_at_y(side.bottom() - 88.0);
    let inner = fields.shrink2(vec2(14.0, 0.0));
    // The scroll bar stands in the margin, not on the fields.
    let scrolled = Rect::from_min_max(inner.min, pos2(fields.right() - 2.0, inner.bottom()));
    ui.scope_builder(egui::UiBuilder::new().max_rect(scrolled), |ui| {
        ui.set_clip_rect(fields.intersect(ui.clip_rect()));
        egui::ScrollArea::vertical().id_salt("settings").auto_shrink(false).show(ui, |ui| {
            ui.set_max_width(inner.width());
            ui.spacing_mut().item_spacing = vec2(10.0, 4.0);
            ui.add_space(12.0);
            language_ui(ui, mirror, tab);
            if !tab.is_command() {
                named_field(ui, tab, "Arguments", "", |tab| &mut tab.arguments, true);
            }
            stdin_ui(ui, tab, commands);
            inputs_ui(ui, tab, commands);
            let hint = "out/*.csv  **/*.png";
            named_field(ui, tab, "Files to bring back", hint, |tab| &mut tab.collect, true);
            separator(ui);
            pair(ui, tab, ("Wall time", |tab| &mut tab.wall_time), ("CPU time", |tab| &mut tab.cpu_time));
            pair(ui, tab, ("Memory", |tab| &mut tab.memory), ("Processes", |tab| &mut tab.processes));
            pair(ui, tab, ("Priority", |tab| &mut tab.priority), ("Retries", |tab| &mut tab.retry));
            where_ui(ui, mirror, tab);
            more_ui(ui, mirror, tab);
            ui.add_space(8.0);
        });
    });
    let area = foot.shrink2(vec2(14.0, 0.0));
    ui.painter().hline(area.x_range(), foot.top() + 0.5, Stroke::new(1.0, tokens(ui).border));
    // It stands where it is seen however far the fields are scrolled.
    placement_ui(ui, Rect::from_min_size(area.min + vec2(0.0, 4.0), vec2(area.width(), 36.0)), mirror, tab);
    let area = Rect::from_min_size(pos2(area.left(), foot.top() + 44.0), vec2(area.width(), theme::CONTROL));
    ui.scope_builder(egui::UiBuilder::new().max_rect(area), |ui| {
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 8.0;
            let third = ((area.width() - 8.0) * 0.36).floor();
            commands.button(ui, Files::Open, Look::Plain, false, third);
            commands.button(ui, Edit::Run, Look::Primary, true, area.width() - 8.0 - third);
        });
    });
}

fn separator(ui: &mut Ui) {
    let t = tokens(ui);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 13.0), Sense::hover());
    ui.painter().hline(rect.x_range(), rect.center().y, Stroke::new(1.0, t.border));
}

fn named_field(
    ui: &mut Ui,
    tab: &mut EditorTab,
    name: &str,
    hint: &str,
    value: fn(&mut EditorTab) -> &mut String,
    mono: bool,
) {
    let wrong = tab.wrong_field(name);
    let font = if mono { fonts::mono() } else { fonts::text() };
    let width = ui.available_width();
    ui.vertical(|ui| {
        ui.set_width(width);
        widgets::caption(ui, name);
        widgets::field(ui, value(tab), name, hint, font, wrong, width);
        ui.add_space(2.0);
    });
}

type Value = fn(&mut EditorTab) -> &mut String;

/// Two fields beside each other.
fn pair(ui: &mut Ui, tab: &mut EditorTab, left: (&str, Value), right: (&str, Value)) {
    let width = ((ui.available_width() - 10.0) / 2.0).floor();
    ui.horizontal_top(|ui| {
        for (name, value) in [left, right] {
            let hint = if name == "CPU time" { "as wall time" } else { "" };
            ui.allocate_ui(vec2(width, 52.0), |ui| named_field(ui, tab, name, hint, value, false));
        }
    });
}

fn language_ui(ui: &mut Ui, mirror: &Mirror, tab: &mut EditorTab) {
    let entries = model::languages(mirror);
    widgets::caption(ui, "Language");
    let slaves = entries.iter().find(|entry| entry.name == tab.language).map(model::LanguageEntry::slaves_text);
    let right = slaves.unwrap_or_default();
    let width = ui.available_width();
    let value = if tab.is_command() { "Command".to_owned() } else { shown(&tab.language) };
    let mut chosen = None;
    widgets::choice(ui, "Language", &value, &right, width, false, |ui| {
        let is_command = tab.is_command();
        if widgets::menu_entry(ui, "Command", "any slave", is_command, true).clicked() {
            chosen = Some(COMMAND.to_owned());
            ui.close();
        }
        ui.separator();
        for entry in &entries {
            let here = entry.name == tab.language;
            if widgets::menu_entry(ui, &shown(&entry.name), &entry.slaves_text(), here, entry.slaves > 0).clicked() {
                chosen = Some(entry.name.clone());
                ui.close();
            }
        }
    });
    if let Some(name) = chosen {
        tab.set_language(&name);
    }
    ui.add_space(6.0);
}

fn stdin_ui(ui: &mut Ui, tab: &mut EditorTab, commands: &mut Commands) {
    widgets::caption(ui, "Standard input");
    let width = ui.available_width();
    let (value, faint) = match &tab.stdin {
        Stdin::None => ("None".to_owned(), true),
        Stdin::Text(_) => ("Text".to_owned(), false),
        Stdin::Live => ("While it runs".to_owned(), false),
        Stdin::File(name, bytes) => (format!("{} ({})", shown(name), common::ByteSize(bytes.len() as u64)), false),
    };
    let mut chosen = None;
    let none = tab.stdin == Stdin::None;
    let text = matches!(tab.stdin, Stdin::Text(_));
    let file = matches!(tab.stdin, Stdin::File(..));
    let live = tab.stdin == Stdin::Live;
    widgets::choice(ui, "Standard input", &value, "", width, faint, |ui| {
        if widgets::menu_entry(ui, "None", "", none, true).clicked() {
            chosen = Some(Stdin::None);
            ui.close();
        }
        if widgets::menu_entry(ui, "Text", "", text, true).clicked() {
            chosen = Some(Stdin::Text(String::new()));
            ui.close();
        }
        if widgets::menu_entry(ui, "From a file…", "", file, true).clicked() {
            commands.send(Files::ChooseStdin);
            ui.close();
        }
        if widgets::menu_entry(ui, "While it runs", "typed below its output", live, true).clicked() {
            chosen = Some(Stdin::Live);
            ui.close();
        }
    });
    if let Some(stdin) = chosen {
        tab.stdin = stdin;
    }
    if let Stdin::Text(text) = &mut tab.stdin {
        let t = tokens(ui);
        let edit = egui::TextEdit::multiline(text)
            .id_salt("stdin")
            .font(fonts::mono())
            .desired_rows(4)
            .desired_width(width)
            .background_color(t.bg)
            .hint_text(egui::RichText::new("What it reads").font(fonts::mono()).color(t.faint));
        egui::ScrollArea::vertical().id_salt("stdin scroll").max_height(96.0).show(ui, |ui| {
            ui.add(edit).accessible_name("Text of standard input");
        });
    }
    ui.add_space(6.0);
}

/// The files that are sent with it: each with its size and a cross, and the button that adds some.
fn inputs_ui(ui: &mut Ui, tab: &mut EditorTab, commands: &mut Commands) {
    let t = tokens(ui);
    widgets::caption(ui, "Files to send");
    let width = ui.available_width();
    let mut removed = None;
    if !tab.inputs.is_empty() {
        let height = (tab.inputs.len() as f32 * FILE).min(FILE * FILES_SHOWN);
        egui::ScrollArea::vertical().id_salt("inputs").max_height(height).auto_shrink([false, true]).show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 0.0;
            for (index, file) in tab.inputs.iter().enumerate() {
                let (row, response) = ui.allocate_exact_size(vec2(width, FILE), Sense::hover());
                let (name, about) = (file.name(), file.about());
                let cross = Rect::from_center_size(pos2(row.right() - 11.0, row.center().y), egui::Vec2::splat(20.0));
                let mut words = row.with_max_x(cross.left() - 6.0);
                words
                    .set_right(widgets::paint_right(ui.painter(), words, &about, fonts::small(), t.muted).left() - 8.0);
                widgets::paint_elided(ui.painter(), words.with_min_x(row.left() + 10.0), &name, fonts::text(), t.text);
                response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, format!("{name}, {about}")));
                response.on_hover_text(file.tooltip());
                let label = format!("Do not send {name}");
                let mut inside = ui.new_child(egui::UiBuilder::new().max_rect(cross).id_salt(("input", index)));
                if widgets::icon_button(&mut inside, crate::signs::Icon::Close, &label, 20.0).clicked() {
                    removed = Some(index);
                }
            }
        });
    }
    if let Some(index) = removed {
        tab.inputs.remove(index);
    }
    commands.button(ui, Files::ChooseInputs, Look::Plain, false, width);
    ui.add_space(6.0);
}

/// Whether it asks for the network, and how many slaves would give it.
fn network_ui(ui: &mut Ui, mirror: &Mirror, tab: &mut EditorTab) {
    widgets::caption(ui, "Network");
    let offers = model::network_text(mirror);
    let width = ui.available_width();
    let value = if tab.network { "As its slave allows" } else { "None" };
    let mut chosen = None;
    widgets::choice(ui, "Network", value, if tab.network { &offers } else { "" }, width, !tab.network, |ui| {
        for (network, word, right) in [(false, "None", "any slave"), (true, "As its slave allows", offers.as_str())] {
            if widgets::menu_entry(ui, word, right, tab.network == network, true).clicked() {
                chosen = Some(network);
                ui.close();
            }
        }
    });
    tab.network = chosen.unwrap_or(tab.network);
    ui.add_space(6.0);
}

fn where_ui(ui: &mut Ui, mirror: &Mirror, tab: &mut EditorTab) {
    let width = ((ui.available_width() - 10.0) / 2.0).floor();
    ui.horizontal_top(|ui| {
        ui.allocate_ui(vec2(width, 52.0), |ui| {
            ui.vertical(|ui| {
                ui.set_width(width);
                widgets::caption(ui, "Where");
                let value = tab.slave.as_deref().map_or_else(|| "Least loaded".to_owned(), shown);
                let mut chosen = None;
                widgets::choice(ui, "Where", &value, "", width, false, |ui| {
                    if widgets::menu_entry(ui, "Least loaded", "", tab.slave.is_none(), true).clicked() {
                        chosen = Some(None);
                        ui.close();
                    }
                    for slave in mirror.slaves.values() {
                        let here = tab.slave.as_deref() == Some(slave.name.as_str());
                        let load = format!("{} of {}", slave.running, slave.slots);
                        if widgets::menu_entry(ui, &shown(&slave.name), &load, here, true).clicked() {
                            chosen = Some(Some(slave.name.clone()));
                            ui.close();
                        }
                    }
                });
                if let Some(slave) = chosen {
                    tab.slave = slave;
                }
            });
        });
        ui.allocate_ui(vec2(width, 52.0), |ui| named_field(ui, tab, "Copies", "", |tab| &mut tab.copies, false));
    });
}

/// What few programs need: out of sight until somebody asks for it.
fn more_ui(ui: &mut Ui, mirror: &Mirror, tab: &mut EditorTab) {
    let words = if tab.more { "Less" } else { "More…" };
    let mut opened = false;
    // Its word stands under the other words; its margin is only seen under the pointer. A child of its own:
    // what follows is not moved.
    let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), theme::CONTROL), Sense::hover());
    let mut inside = ui.new_child(egui::UiBuilder::new().max_rect(row.translate(vec2(-8.0, 0.0))).id_salt("more"));
    let button = widgets::show_button(&mut inside, words, "", Look::Quiet, 0.0);
    if button.on_hover_text("The network, limits of what it writes, and variables of its environment").clicked() {
        tab.more = !tab.more;
        opened = tab.more;
    }
    if !tab.more {
        return;
    }
    let top = ui.cursor().top();
    network_ui(ui, mirror, tab);
    pair(ui, tab, ("Disk limit", |tab| &mut tab.disk), ("Open files", |tab| &mut tab.open_files));
    pair(ui, tab, ("Output limit", |tab| &mut tab.output), ("File size limit", |tab| &mut tab.file_size));
    let t = tokens(ui);
    let wrong = tab.wrong_field("Environment");
    widgets::caption(ui, "Environment");
    let edit = egui::TextEdit::multiline(&mut tab.environment)
        .id_salt("environment")
        .font(fonts::mono())
        .desired_rows(3)
        .desired_width(ui.available_width())
        .background_color(t.bg)
        .text_color(if wrong { t.fail } else { t.text })
        .hint_text(egui::RichText::new("NAME=value, one a line").font(fonts::mono()).color(t.faint));
    egui::ScrollArea::vertical().id_salt("environment scroll").max_height(96.0).show(ui, |ui| {
        ui.add(edit).accessible_name("Environment");
    });
    ui.add_space(4.0);
    if opened {
        let shown = Rect::from_min_max(pos2(row.left(), top), pos2(row.right(), ui.cursor().top()));
        ui.scroll_to_rect(shown, Some(egui::Align::BOTTOM));
    }
}

/// Where it would start, in at most two lines.
fn placement_ui(ui: &mut Ui, rect: Rect, mirror: &Mirror, tab: &EditorTab) {
    let t = tokens(ui);
    let needs = model::Needs {
        language: tab.language(),
        only: tab.slave.as_deref(),
        network: tab.network,
        limits: tab.limits().ok(),
    };
    let words = model::placement(mirror, &needs);
    let ink = if words.starts_with("Cannot") { t.lost } else { t.muted };
    let mut job = egui::text::LayoutJob::simple(words.clone(), fonts::small(), ink, rect.width());
    job.wrap.max_rows = 2;
    let galley = ui.painter().layout_job(job);
    let at = pos2(rect.left(), rect.center().y - galley.size().y / 2.0);
    ui.painter().galley(at, galley, ink);
    let response = ui.interact(rect, ui.scope_id().with("placement"), Sense::hover());
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, &words));
    response.on_hover_text(words);
}
