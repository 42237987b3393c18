//! The first screen: start here, or log in somewhere.

use crate::{
    backend::{Known, Login},
    command::{Commands, Session},
    fonts,
    signs::{self, Icon},
    state::ConnectState,
    theme::tokens,
    widgets::{self, Look, shown},
};
use client::{Link, Mirror, connection::with_port};
use common::{ErrorCode, UserError};
use egui::{Align2, CornerRadius, Key, Margin, Rect, Sense, Ui, Vec2, vec2};

/// Width of the form.
const FORM: f32 = 400.0;

/// The pane.
pub(crate) fn connect_ui(
    ui: &mut Ui,
    mirror: &Mirror,
    known: &[Known],
    state: &mut ConnectState,
    commands: &mut Commands,
) {
    let pane = ui.max_rect();
    egui::ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        let width = FORM.min(pane.width() - 32.0);
        let side = ((pane.width() - width) / 2.0).max(0.0);
        ui.add_space((pane.height() * 0.09).clamp(12.0, 90.0));
        ui.horizontal_top(|ui| {
            ui.add_space(side);
            ui.vertical(|ui| {
                ui.set_width(width);
                ui.spacing_mut().item_spacing.y = 0.0;
                brand(ui);
                here(ui, state, commands);
                for error in [state.error.as_ref(), refusal(mirror)].into_iter().flatten() {
                    error_ui(ui, error);
                }
                known_ui(ui, known, commands);
                form(ui, mirror, known, state, commands);
                ui.add_space(32.0);
            });
        });
    });
}

fn refusal(mirror: &Mirror) -> Option<&UserError> {
    match &mirror.link {
        Link::Refused { reason } | Link::Waiting { reason, .. } => Some(reason),
        Link::Off | Link::Connecting | Link::Connected => None,
    }
}

fn brand(ui: &mut Ui) {
    let t = tokens(ui);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 92.0), Sense::hover());
    let logo = Rect::from_min_size(rect.min, Vec2::splat(34.0));
    signs::icon(ui.painter(), logo, Icon::Cell, 34.0, t.accent);
    ui.painter().text(rect.min + vec2(46.0, 17.0), Align2::LEFT_CENTER, "Ruche", fonts::display(), t.text);
    ui.painter().text(
        rect.min + vec2(0.0, 60.0),
        Align2::LEFT_CENTER,
        "Runs your programs on other machines, and on this one",
        fonts::text(),
        t.muted,
    );
}

fn here(ui: &mut Ui, state: &ConnectState, commands: &mut Commands) {
    let t = tokens(ui);
    let width = ui.available_width();
    ui.add_enabled_ui(!state.starting, |ui| {
        commands.button(ui, Session::StartHere, Look::Primary, false, width);
    });
    ui.add_space(6.0);
    let progress = state.progress.lock().map(|text| text.clone()).unwrap_or_default();
    let words = if state.starting {
        if progress.is_empty() { "Starting…".to_owned() } else { shown(&progress) }
    } else {
        "A master and a slave of your own, with nothing to set up".to_owned()
    };
    ui.label(egui::RichText::new(words).font(fonts::small()).color(if state.starting { t.run } else { t.muted }));
    ui.add_space(18.0);
}

fn error_ui(ui: &mut Ui, error: &UserError) {
    let t = tokens(ui);
    let frame = egui::Frame::new().fill(t.tint(t.fail)).corner_radius(CornerRadius::same(6)).inner_margin(Margin {
        left: 14,
        right: 12,
        top: 10,
        bottom: 10,
    });
    let response = frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.spacing_mut().item_spacing.y = 4.0;
        let line = |text: String, font, ink| {
            egui::Label::new(egui::RichText::new(text).font(font).color(ink)).selectable(true).wrap()
        };
        ui.add(line(widgets::sentence(&error.sentence), fonts::strong(), t.text));
        ui.add(line(widgets::sentence(&error.hint), fonts::text(), t.text));
        ui.add(line(shown(&error.code), fonts::mono_small(), t.muted));
    });
    let rect = response.response.rect;
    let bar = Rect::from_min_max(rect.min, egui::pos2(rect.left() + 3.0, rect.bottom()));
    ui.painter().rect_filled(bar, CornerRadius { nw: 6, sw: 6, ne: 0, se: 0 }, t.fail);
    ui.add_space(14.0);
}

fn heading(ui: &mut Ui, text: &str) {
    let t = tokens(ui);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 30.0), Sense::hover());
    let end = ui.painter().text(rect.left_center(), Align2::LEFT_CENTER, text, fonts::heading(), t.muted).right();
    let line = egui::Rangef::new(end + 10.0, rect.right());
    ui.painter().hline(line, rect.center().y, egui::Stroke::new(1.0, t.border));
}

fn known_ui(ui: &mut Ui, known: &[Known], commands: &mut Commands) {
    let t = tokens(ui);
    if !known.iter().any(|known| known.has_session) {
        return;
    }
    heading(ui, "Masters of before");
    for (number, known) in known.iter().enumerate().filter(|(_, known)| known.has_session) {
        let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), 40.0), Sense::click());
        let spoken = format!("Connect to {} as {}", shown(&known.address), shown(&known.user));
        response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, &spoken));
        if response.hovered() || response.has_focus() {
            ui.painter().rect_filled(rect, CornerRadius::same(6), t.hover);
        }
        let inner = rect.shrink2(vec2(8.0, 0.0));
        widgets::paint_elided(ui.painter(), inner, &shown(&known.address), fonts::strong(), t.text);
        widgets::paint_right(ui.painter(), inner, &format!("as {}", shown(&known.user)), fonts::text(), t.muted);
        widgets::focus_ring(ui, &response, 6);
        if response.clicked() {
            commands.send(Session::Resume(number));
        }
    }
    ui.add_space(12.0);
}

fn form(ui: &mut Ui, mirror: &Mirror, known: &[Known], state: &mut ConnectState, commands: &mut Commands) {
    heading(ui, "Log in to a master");
    let width = ui.available_width();
    ui.add_space(4.0);
    let mut enter = false;
    let mut text = |ui: &mut Ui, name: &str, value: &mut String, hint: &str| {
        widgets::caption(ui, name);
        ui.add_space(4.0);
        let response = widgets::field(ui, value, name, hint, fonts::text(), false, width);
        enter |= response.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
        ui.add_space(10.0);
        response.changed()
    };
    if text(ui, "Address", &mut state.address, "lab-master, or HOST:PORT") {
        state.pin = None;
    }
    text(ui, "User", &mut state.user, "");
    widgets::caption(ui, "Password");
    ui.add_space(4.0);
    let password = widgets::password_field(ui, &mut state.password, "Password", width);
    enter |= password.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
    ui.add_space(14.0);
    let address = address(state);
    let complete = !address.is_empty() && !state.user.trim().is_empty() && !state.password.is_empty();
    // What was confirmed in this window is newer than what is remembered.
    let confirmed = state.confirmed.as_ref().filter(|(known, _)| *known == address).map(|(_, pin)| pin.clone());
    let pinned =
        confirmed.or_else(|| known.iter().find(|known| known.address == address).map(|known| known.pin.clone()));
    if let Some(pin) = state.pin.clone() {
        pin_ui(ui, state, &pin, pinned.filter(|old| *old != pin), complete, commands);
        return;
    }
    // A master that was set up anew shows another pin: the person decides, as at the first time.
    let changed = mirror.address == address && refusal(mirror).is_some_and(|error| error.is(ErrorCode::PinWrong));
    let busy = state.asking_pin || mirror.link == Link::Connecting;
    let words = if busy { "Connecting…" } else { "Log in" };
    let response = ui
        .add_enabled_ui(complete && !busy, |ui| widgets::show_button(ui, words, "", Look::Plain, width))
        .inner
        .on_disabled_hover_text("Fill in address, user and password");
    if response.clicked() || (enter && complete && !busy) {
        match pinned.filter(|_| !changed) {
            Some(pin) => commands.send(Session::LogIn(login(state, pin))),
            None => commands.send(Session::AskPin(address)),
        }
    }
}

/// The address as it is used: with the usual port when none is typed.
fn address(state: &ConnectState) -> String {
    let typed = state.address.trim();
    if typed.is_empty() { String::new() } else { with_port(typed) }
}

fn login(state: &ConnectState, pin: String) -> Login {
    Login { address: address(state), pin, user: state.user.trim().to_owned(), password: state.password.clone() }
}

/// The first time, or when the master shows another pin than `before`: the person compares, as with ssh.
fn pin_ui(
    ui: &mut Ui,
    state: &mut ConnectState,
    pin: &str,
    before: Option<String>,
    complete: bool,
    commands: &mut Commands,
) {
    let t = tokens(ui);
    let frame = egui::Frame::new()
        .fill(t.raised)
        .stroke(egui::Stroke::new(1.0, t.border))
        .corner_radius(CornerRadius::same(6))
        .inner_margin(12);
    frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.spacing_mut().item_spacing.y = 6.0;
        ui.label(egui::RichText::new("Is this your master?").font(fonts::strong()));
        let words = if before.is_some() {
            "It shows another pin than before: either it was set up anew, or somebody is in between. Compare with \
             what `ruche-master pin` prints on the master's machine; nothing has been sent yet."
        } else {
            "This computer has not been there before. Compare with what `ruche-master pin` prints on the \
             master's machine; nothing has been sent yet."
        };
        ui.add(egui::Label::new(egui::RichText::new(words).font(fonts::small()).color(t.muted)).wrap());
        let mut pin_line = |caption: &str, pin: &str| {
            if before.is_some() {
                widgets::caption(ui, caption);
            }
            ui.add(egui::Label::new(egui::RichText::new(shown(pin)).font(fonts::mono_small())).wrap().selectable(true));
        };
        if let Some(old) = &before {
            pin_line("Pin before", old);
        }
        pin_line("Pin now", pin);
        ui.add_space(4.0);
        ui.horizontal(|ui| {
            let yes =
                ui.add_enabled_ui(complete, |ui| widgets::show_button(ui, "Yes, log in", "", Look::Primary, 0.0)).inner;
            if yes.clicked() {
                commands.send(Session::LogIn(login(state, pin.to_owned())));
                state.pin = None;
            }
            if widgets::show_button(ui, "No", "", Look::Plain, 0.0).clicked() {
                state.pin = None;
            }
        });
    });
}
