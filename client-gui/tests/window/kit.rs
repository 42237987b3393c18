//! The window over the demonstration, and what a person does with it.

use client_gui::{
    app::App, backend::Backend, command::Pane, demo::Demo, files::NoDialogs, settings::Settings, state::AppState,
    theme, view_model::Clock,
};
use common::Timestamp;
use egui::{Key, Modifiers, Role, vec2};
use egui_kittest::{
    Harness,
    kittest::{NodeT as _, Queryable as _},
};
use jiff::tz::TimeZone;
use std::rc::Rc;

pub(crate) const NOW: Timestamp = Timestamp(1_795_270_144_000_000);

pub(crate) fn demo() -> Demo {
    Demo::at(Box::new(|| NOW))
}

/// The window over `demo` at `size`, as a person at a desk sees it.
pub(crate) fn window(demo: &Demo, size: (f32, f32)) -> Harness<'static, App> {
    let demo: Rc<dyn Backend> = Rc::new(demo.clone());
    let mut harness = Harness::builder()
        .with_size(vec2(size.0, size.1))
        .with_pixels_per_point(1.0)
        .with_step_dt(1.0 / 60.0)
        .build_eframe(move |cc| {
            theme::install(&cc.egui_ctx, theme::Choice::Dark);
            let mut app = App::new(Rc::clone(&demo), Box::new(NoDialogs), AppState::new(Settings::default()));
            app.freeze(Clock { now: NOW, zone: TimeZone::UTC });
            app
        });
    harness.run_steps(4);
    harness
}

pub(crate) fn show(harness: &mut Harness<'_, App>, pane: Pane) {
    harness.state_mut().state.pane = pane;
    harness.run_steps(4);
}

pub(crate) fn keys(harness: &mut Harness<'_, App>, modifiers: Modifiers, key: Key) {
    harness.key_press_modifiers(modifiers, key);
    harness.run_steps(4);
}

pub(crate) fn labels(harness: &Harness<'_, App>, role: Role) -> Vec<String> {
    harness.query_all_by_role(role).filter_map(|node| node.accesskit_node().label()).collect()
}

pub(crate) fn double_click(harness: &mut Harness<'_, App>, at: egui::Pos2) {
    harness.hover_at(at);
    harness.step();
    for _ in 0..2 {
        for pressed in [true, false] {
            harness.event(egui::Event::PointerButton {
                pos: at,
                button: egui::PointerButton::Primary,
                pressed,
                modifiers: Modifiers::NONE,
            });
        }
        harness.step();
    }
    harness.run_steps(4);
}
