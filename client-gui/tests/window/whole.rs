//! Every pane and every command.

use crate::kit::{demo, keys, show, window};
use client_gui::{
    command::{Pane, View},
    state::Dialog,
    theme,
};
use egui::{Key, Modifiers};
use egui_kittest::kittest::Queryable as _;

#[test]
fn e1_every_command_works_without_a_mouse() {
    let mut harness = window(&demo(), (1_280.0, 800.0));
    for (key, pane) in
        [(Key::Num2, Pane::History), (Key::Num3, Pane::Slaves), (Key::Num4, Pane::Clients), (Key::Num1, Pane::Submit)]
    {
        keys(&mut harness, Modifiers::COMMAND, key);
        assert_eq!(harness.state().state.pane, pane);
    }
    keys(&mut harness, Modifiers::COMMAND, Key::P);
    harness.event(egui::Event::Text("light".into()));
    harness.run_steps(4);
    keys(&mut harness, Modifiers::NONE, Key::Enter);
    assert_eq!(harness.state().state.settings.theme, theme::Choice::Light);
    assert!(harness.state().state.palette.is_none());
    keys(&mut harness, Modifiers::NONE, Key::F1);
    harness.get_by_label("Find in output: Ctrl Shift F");
    keys(&mut harness, Modifiers::NONE, Key::Escape);
    keys(&mut harness, Modifiers::COMMAND, Key::Plus);
    assert_eq!(harness.state().state.settings.zoom_percent, 110);
    keys(&mut harness, Modifiers::COMMAND, Key::O);
    harness.run_steps(4);
    assert!(matches!(harness.state().state.dialog, Some(Dialog::Path { .. })), "no portal: the window asks itself");
}

#[test]
fn every_pane_can_be_read_in_every_size_and_theme() {
    for theme in [theme::Choice::Dark, theme::Choice::Light] {
        for size in [(480.0, 360.0), (800.0, 600.0), (1_100.0, 700.0), (1_920.0, 1_080.0)] {
            let mut harness = window(&demo(), size);
            let ctx = harness.ctx.clone();
            harness.state_mut().run(&ctx, View::Theme(theme));
            for pane in [Pane::Connect, Pane::Submit, Pane::History, Pane::Slaves, Pane::Clients] {
                show(&mut harness, pane);
            }
            show(&mut harness, Pane::History);
            keys(&mut harness, Modifiers::NONE, Key::ArrowDown);
            keys(&mut harness, Modifiers::NONE, Key::Enter);
            for tab in client_gui::state::DetailTab::ALL {
                harness.state_mut().state.detail.tab = tab;
                harness.run_steps(3);
            }
        }
    }
}
