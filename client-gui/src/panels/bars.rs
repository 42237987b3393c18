//! The top bar, the rail and the bottom bar.

use crate::{
    answers,
    command::{Command, Commands, Go, Pane, Session, View},
    fonts,
    signs::{self, Icon},
    state::AppState,
    theme::{self, Choice, tokens},
    view_model::{
        Standing, grouped,
        pulse::{self, Mood, Pulse},
    },
    widgets::{self, Look},
};
use client::Mirror;
use common::program::State;
use egui::{Align2, Color32, CornerRadius, Rect, Role, Sense, Stroke, StrokeKind, Ui, Vec2, WidgetInfo, pos2, vec2};

/// Name, connection, palette, user.
pub(crate) fn top_bar(
    ui: &mut Ui,
    state: &AppState,
    mirror: &Mirror,
    connection: &pulse::Connection,
    commands: &mut Commands,
) {
    let t = tokens(ui);
    let bar = ui.max_rect();
    widgets::line_below(ui, bar);
    let logo = Rect::from_center_size(pos2(bar.left() + 21.0, bar.center().y), Vec2::splat(18.0));
    signs::icon(ui.painter(), logo, Icon::Cell, 18.0, t.accent);
    let name = ui.painter().text(
        pos2(bar.left() + 38.0, bar.center().y),
        Align2::LEFT_CENTER,
        "Ruche",
        fonts::title(),
        t.text,
    );
    let user = user_menu(ui, bar, state, mirror, commands);
    let search_width = (bar.width() * 0.29).clamp(180.0, 420.0);
    let mut search = Rect::from_center_size(bar.center(), vec2(search_width, theme::CONTROL));
    // In a narrow window the middle moves left to leave the user's name whole.
    if search.right() > user.left() - 16.0 {
        search = search.translate(vec2(user.left() - 16.0 - search.right(), 0.0));
    }
    let words = Rect::from_min_max(pos2(name.right() + 14.0, bar.top()), pos2(search.left() - 12.0, bar.bottom()));
    connection_ui(ui, words, connection);
    search_box(ui, search, commands);
}

fn connection_ui(ui: &mut Ui, rect: Rect, connection: &pulse::Connection) {
    let t = tokens(ui);
    let (dot, ink) = match connection.mood {
        Mood::Well => (t.done, t.muted),
        Mood::Busy => (t.run, t.muted),
        Mood::Bad => (t.fail, t.fail),
        Mood::Off => (t.faint, t.muted),
    };
    ui.painter().circle_filled(pos2(rect.left() + 4.0, rect.center().y), 4.0, dot);
    let text = Rect::from_min_max(pos2(rect.left() + 15.0, rect.top()), rect.max);
    let end = widgets::paint_elided(ui.painter(), text, &connection.text, fonts::text(), ink);
    let area = Rect::from_min_max(rect.min, pos2(end, rect.bottom()));
    let response = ui.interact(area, ui.scope_id().with("connection"), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, &connection.text));
    if !connection.tooltip.is_empty() {
        response.on_hover_text(&connection.tooltip);
    }
}

fn search_box(ui: &mut Ui, rect: Rect, commands: &mut Commands) {
    let t = tokens(ui);
    let response = ui.interact(rect, ui.scope_id().with("search"), Sense::click());
    let words = Command::from(Go::Palette).words();
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &words.label));
    let line = if response.hovered() || response.has_focus() { t.muted } else { t.border };
    ui.painter().rect(rect, CornerRadius::same(theme::RADIUS), t.bg, Stroke::new(1.0, line), StrokeKind::Inside);
    let keys = key_cap(ui, rect.right_center() - vec2(8.0, 0.0), &Command::from(Go::Palette).keys());
    let text = Rect::from_min_max(rect.min + vec2(11.0, 0.0), pos2(keys.left() - 8.0, rect.bottom()));
    widgets::paint_elided(ui.painter(), text, &words.label, fonts::text(), t.faint);
    if response.clicked() {
        commands.send(Go::Palette);
    }
}

/// A shortcut in a small frame that ends at `right`.
pub(crate) fn key_cap(ui: &Ui, right: egui::Pos2, keys: &str) -> Rect {
    let t = tokens(ui);
    let galley = ui.painter().layout_no_wrap(keys.to_owned(), fonts::tiny(), t.muted);
    let size = galley.size() + vec2(12.0, 5.0);
    let rect = Rect::from_min_size(pos2(right.x - size.x, right.y - size.y / 2.0), size);
    ui.painter().rect_stroke(rect, CornerRadius::same(4), Stroke::new(1.0, t.border), StrokeKind::Inside);
    ui.painter().galley(rect.center() - galley.size() / 2.0, galley, t.muted);
    rect
}

fn user_menu(ui: &mut Ui, bar: Rect, state: &AppState, mirror: &Mirror, commands: &mut Commands) -> Rect {
    let t = tokens(ui);
    let words = match &mirror.identity {
        Some(identity) => format!("{} · {}", widgets::shown(&identity.user), identity.role),
        None => "Menu".to_owned(),
    };
    let galley = ui.painter().layout_no_wrap(words.clone(), fonts::text(), t.muted);
    let size = galley.size() + vec2(34.0, 0.0);
    let rect = Rect::from_min_max(
        pos2(bar.right() - size.x - 6.0, bar.center().y - theme::CONTROL / 2.0),
        pos2(bar.right() - 6.0, bar.center().y + theme::CONTROL / 2.0),
    );
    let response = ui.interact(rect, ui.scope_id().with("user"), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, format!("User menu: {words}")));
    let hot = response.hovered() || response.has_focus();
    if hot {
        ui.painter().rect_filled(rect, CornerRadius::same(theme::RADIUS), t.hover);
    }
    ui.painter().galley_with_override_text_color(
        pos2(rect.left() + 8.0, rect.center().y - galley.size().y / 2.0),
        galley,
        if hot { t.text } else { t.muted },
    );
    let arrow = Rect::from_center_size(pos2(rect.right() - 13.0, rect.center().y + 0.5), Vec2::splat(12.0));
    signs::icon(ui.painter(), arrow, Icon::Down, 12.0, t.faint);
    egui::Popup::menu(&response).gap(4.0).show(|ui| {
        ui.spacing_mut().item_spacing.y = 0.0;
        for choice in [Choice::System, Choice::Dark, Choice::Light] {
            commands.entry(ui, View::Theme(choice), state.settings.theme == choice);
        }
        ui.separator();
        for command in [View::ZoomIn, View::ZoomOut, View::ZoomReset] {
            let chosen = command == View::ZoomReset && state.settings.zoom_percent == 100;
            commands.entry(ui, command, chosen);
        }
        ui.separator();
        for command in [Command::from(Go::Shortcuts), Session::SwitchMaster.into(), Session::LogOut.into()] {
            commands.entry(ui, command, false);
        }
    });
    rect
}

/// The panes, one under the other.
pub(crate) fn rail(ui: &mut Ui, open: Pane, commands: &mut Commands) {
    let t = tokens(ui);
    let rail = ui.max_rect();
    ui.painter().vline(rail.right() - 0.5, rail.y_range(), Stroke::new(1.0, t.border));
    let entries = [
        (Pane::Submit, Icon::Submit, "Submit"),
        (Pane::History, Icon::History, "History"),
        (Pane::Slaves, Icon::Slaves, "Slaves"),
        (Pane::Clients, Icon::Clients, "Clients"),
    ];
    for (index, (pane, icon, word)) in entries.into_iter().enumerate() {
        let top = rail.top() + 9.0 + 52.0 * index as f32;
        let rect = Rect::from_min_size(pos2(rail.left() + 6.0, top), vec2(rail.width() - 13.0, 50.0));
        let command = Command::from(Go::Show(pane));
        let response = ui.interact(rect, ui.scope_id().with(word), Sense::click());
        let chosen = pane == open;
        response.widget_info(|| WidgetInfo::selected(Role::Tab, true, chosen, word));
        let hot = response.hovered() || response.has_focus();
        if chosen || hot {
            ui.painter().rect_filled(rect, CornerRadius::same(theme::RADIUS), if chosen { t.raised } else { t.hover });
        }
        if chosen {
            let mark = Rect::from_min_size(pos2(rail.left(), rect.top() + 12.0), vec2(3.0, 26.0));
            ui.painter().rect_filled(mark, CornerRadius { nw: 0, sw: 0, ne: 2, se: 2 }, t.accent);
        }
        let ink = if chosen || hot { t.text } else { t.muted };
        let at = Rect::from_center_size(pos2(rect.center().x, rect.top() + 16.0), Vec2::splat(18.0));
        signs::icon(ui.painter(), at, icon, 18.0, ink);
        ui.painter().text(pos2(rect.center().x, rect.top() + 36.5), Align2::CENTER_CENTER, word, fonts::tiny(), ink);
        widgets::focus_ring(ui, &response, theme::RADIUS);
        if response.clicked() {
            commands.send(command.clone());
        }
        response.on_hover_text(format!("{} ({})", command.words().tooltip, command.keys()));
    }
}

/// The pulse.
pub(crate) fn bottom_bar(
    ui: &mut Ui,
    state: &AppState,
    mirror: &Mirror,
    pulse: Option<&Pulse>,
    commands: &mut Commands,
) {
    let t = tokens(ui);
    let bar = ui.max_rect();
    widgets::line_above(ui, bar);
    let Some(pulse) = pulse else {
        toast(ui, bar.shrink2(vec2(13.0, 0.0)), state);
        return;
    };
    if pulse.stale {
        ui.multiply_opacity(0.65);
    }
    let right = pulse_right(ui, bar, pulse);
    ui.set_opacity(1.0);
    if state.toast.is_some() {
        toast(ui, Rect::from_min_max(bar.min + vec2(13.0, 0.0), pos2(right - 20.0, bar.bottom())), state);
        return;
    }
    if let Some(words) = answers::progress(&state.awaited) {
        let rect = Rect::from_min_max(bar.min + vec2(13.0, 0.0), pos2(right - 20.0, bar.bottom()));
        notice_ui(ui, rect, &words, t.text);
        return;
    }
    if let Some(notice) = &mirror.notice {
        let rect = Rect::from_min_max(bar.min + vec2(13.0, 0.0), pos2(right - 20.0, bar.bottom()));
        notice_ui(ui, rect, &widgets::shown(notice), t.lost);
        return;
    }
    let mut x = bar.left() + 13.0;
    let painted =
        ui.painter().text(pos2(x, bar.center().y), Align2::LEFT_CENTER, &pulse.programs, fonts::small(), t.muted);
    x = painted.right() + 18.0;
    let started = || vec![State::Running, State::Suspended];
    for (sign, count, word, filter) in [
        (Standing::Known(State::Running), pulse.running, "running", started()),
        (Standing::Unknown, pulse.unknown, "not known", started()),
        (Standing::Known(State::Waiting), pulse.waiting, "waiting", vec![State::Waiting]),
        (Standing::Known(State::Failed), pulse.failed_today, "failed today", vec![State::Failed, State::Lost]),
    ] {
        if sign == Standing::Unknown && count == 0 {
            continue;
        }
        if x + 96.0 > right {
            break;
        }
        let filter = client::HistoryFilter { states: filter, ..client::HistoryFilter::default() };
        x = count_ui(ui, (x, bar), sign, (count, word), filter, commands) + 18.0;
    }
}

/// A count with its sign; gives where it ends. Pressing it shows those programs.
fn count_ui(
    ui: &mut Ui,
    (x, bar): (f32, Rect),
    sign: Standing,
    (count, word): (u64, &str),
    filter: client::HistoryFilter,
    commands: &mut Commands,
) -> f32 {
    let t = tokens(ui);
    let ink = if count == 0 { t.muted } else { t.standing(sign) };
    let at = Rect::from_center_size(pos2(x + 5.5, bar.center().y), Vec2::splat(11.0));
    signs::standing(ui.painter(), at, sign, ink);
    let words = format!("{} {word}", grouped(count));
    let painted = ui.painter().text(pos2(x + 15.0, bar.center().y), Align2::LEFT_CENTER, &words, fonts::small(), ink);
    let rect = Rect::from_min_max(pos2(x, bar.top() + 2.0), pos2(painted.right(), bar.bottom() - 2.0));
    let response = ui.interact(rect, ui.scope_id().with(word), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, &words));
    if response.hovered() || response.has_focus() {
        ui.painter().hline(painted.x_range(), painted.bottom(), Stroke::new(1.0, ink));
    }
    if response.clicked() {
        commands.send(Go::Filter(filter));
        commands.send(Go::Show(Pane::History));
    }
    painted.right()
}

/// Policy, slots, peers, age; gives where it begins.
fn pulse_right(ui: &Ui, bar: Rect, pulse: &Pulse) -> f32 {
    let t = tokens(ui);
    let y = bar.center().y;
    let text = |x: f32, words: &str, ink: Color32| {
        ui.painter().text(pos2(x, y), Align2::RIGHT_CENTER, words, fonts::small(), ink).left()
    };
    let mut x = text(bar.right() - 13.0, &pulse.age, if pulse.stale { t.lost } else { t.muted }) - 18.0;
    if bar.width() > 520.0 {
        x = text(x, &pulse.peers, t.muted) - 18.0;
    }
    if bar.width() > 760.0 {
        let squares = pulse.slots.min(16);
        let width = squares as f32 * 9.5;
        widgets::slots(ui, pos2(x - width, y), (pulse.slots_used, pulse.slots, t.run), vec2(7.0, 12.0), 16);
        x = text(x - width - 5.0, &format!("Slots {} of {}", pulse.slots_used, pulse.slots), t.muted) - 18.0;
    }
    if bar.width() > 980.0 {
        x = text(x, &pulse.policy, t.muted) - 18.0;
    }
    x + 18.0
}

/// A line in place of the counts: what the master tells everybody, or how far something long is.
fn notice_ui(ui: &mut Ui, rect: Rect, notice: &str, ink: Color32) {
    let end = widgets::paint_elided(ui.painter(), rect, notice, fonts::small(), ink);
    let area = Rect::from_min_max(rect.min, pos2(end, rect.bottom()));
    let response = ui.interact(area, ui.scope_id().with("notice"), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Status, true, notice));
    response.on_hover_text(notice);
}

fn toast(ui: &mut Ui, rect: Rect, state: &AppState) {
    let t = tokens(ui);
    let Some(toast) = &state.toast else { return };
    let ink = if toast.bad { t.fail } else { t.text };
    let at = Rect::from_center_size(pos2(rect.left() + 5.5, rect.center().y), Vec2::splat(11.0));
    signs::state(
        ui.painter(),
        at,
        if toast.bad { State::Failed } else { State::Done },
        if toast.bad { t.fail } else { t.done },
    );
    let text = Rect::from_min_max(pos2(rect.left() + 18.0, rect.top()), rect.max);
    let end = widgets::paint_elided(ui.painter(), text, &toast.text, fonts::small(), ink);
    let area = Rect::from_min_max(rect.min, pos2(end, rect.bottom()));
    let response = ui.interact(area, ui.scope_id().with("toast"), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Status, true, &toast.text));
    if !toast.details.is_empty() {
        response.on_hover_text(&toast.details);
    }
}

/// The bar above a pane: a title, quiet words after it, and buttons at the right.
pub(crate) fn tool_bar(ui: &Ui, rect: Rect, title: &str, words: &str) {
    let t = tokens(ui);
    widgets::line_below(ui, rect);
    let end = widgets::paint_elided(ui.painter(), rect.shrink2(vec2(12.0, 0.0)), title, fonts::strong(), t.text);
    let rest = Rect::from_min_max(pos2(end + 7.0, rect.top()), rect.max);
    widgets::paint_elided(ui.painter(), rest, words, fonts::text(), t.muted);
}

/// A button at the right end of a tool bar.
pub(crate) fn tool_button(ui: &mut Ui, rect: Rect, command: impl Into<Command>, look: Look, commands: &mut Commands) {
    let area = rect.shrink2(vec2(12.0, (rect.height() - theme::CONTROL) / 2.0));
    let layout = egui::Layout::right_to_left(egui::Align::Center);
    ui.scope_builder(egui::UiBuilder::new().max_rect(area).layout(layout), |ui| {
        commands.button(ui, command, look, false, 0.0);
    });
}
