//! Input for programs that run.

use crate::kit::{demo, keys, show, window};
use client_gui::{app::App, backend::Backend as _, command::Pane};
use egui::{Key, Modifiers, Role};
use egui_kittest::{
    Harness,
    kittest::{NodeT as _, Queryable as _},
};

fn line<'a>(harness: &'a Harness<'_, App>) -> egui_kittest::Node<'a> {
    harness.get_by_role_and_label(Role::TextInput, "Input of the program")
}

fn typed(harness: &Harness<'_, App>) -> String {
    line(harness).accesskit_node().value().unwrap_or_default()
}

#[test]
fn e5_a_person_talks_to_a_running_program() {
    let demo = demo();
    let mut harness = window(&demo, (1_440.0, 860.0));
    show(&mut harness, Pane::History);
    harness.get_by_label_contains("Running, guess.py").click();
    harness.run_steps(6);
    keys(&mut harness, Modifiers::COMMAND, Key::I);
    for (text, said) in [("50", "Less"), ("zehn", "That is no number")] {
        harness.event(egui::Event::Text(text.into()));
        harness.run_steps(2);
        keys(&mut harness, Modifiers::NONE, Key::Enter);
        harness.run_steps(6);
        let output = harness.get_by_label_contains("Output, ").accesskit_node().value().unwrap_or_default();
        assert!(output.ends_with(&format!("{said}\n")), "{output}");
        assert_eq!(typed(&harness), "", "the line is free, and has the keyboard still");
    }
    keys(&mut harness, Modifiers::NONE, Key::ArrowUp);
    keys(&mut harness, Modifiers::NONE, Key::ArrowUp);
    assert_eq!(typed(&harness), "50");
    keys(&mut harness, Modifiers::NONE, Key::ArrowDown);
    assert_eq!(typed(&harness), "zehn");
    keys(&mut harness, Modifiers::NONE, Key::ArrowDown);
    assert_eq!(typed(&harness), "");
    harness.event(egui::Event::Text("37".into()));
    harness.run_steps(2);
    keys(&mut harness, Modifiers::NONE, Key::Enter);
    harness.run_steps(6);
    harness.get_by_label_contains("Done, guess.py");
    harness.get_by_label("Input of the program. No input now: it has ended");
    assert!(harness.get_by_role_and_label(Role::Button, "End input").accesskit_node().is_disabled());
}

#[test]
fn e5_the_input_ends_by_button_and_by_ctrl_d() {
    for by_key in [false, true] {
        let demo = demo();
        let mut harness = window(&demo, (1_440.0, 860.0));
        show(&mut harness, Pane::History);
        harness.get_by_label_contains("Running, guess.py").click();
        harness.run_steps(6);
        keys(&mut harness, Modifiers::COMMAND, Key::I);
        harness.event(egui::Event::Text("4".into()));
        harness.run_steps(2);
        // What is typed goes first, without a line feed.
        keys(&mut harness, Modifiers::COMMAND, Key::D);
        let program = demo.mirror().history.known().find(|row| row.live).unwrap().id;
        harness.run_steps(4);
        assert_eq!(demo.input_of(program), "4");
        if by_key {
            keys(&mut harness, Modifiers::COMMAND, Key::D);
        } else {
            harness.get_by_role_and_label(Role::Button, "End input").click();
        }
        harness.run_steps(6);
        harness.get_by_label_contains("Done, guess.py");
    }
}

#[test]
fn e5_a_program_without_live_input_has_no_line() {
    let mut harness = window(&demo(), (1_440.0, 860.0));
    show(&mut harness, Pane::History);
    harness.get_by_label_contains("Running, matmul_bench.c").click();
    harness.run_steps(6);
    assert!(harness.query_by_label("Input of the program").is_none());
    keys(&mut harness, Modifiers::COMMAND, Key::I);
    harness.get_by_label("Write input: it was submitted without input while it runs");
}
