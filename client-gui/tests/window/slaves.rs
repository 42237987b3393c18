//! Slaves, clients and panes without anything.

use crate::kit::{NOW, demo, keys, show, window};
use client_gui::{backend::Backend as _, command::Pane, demo::Demo};
use egui::{Key, Modifiers, Role};
use egui_kittest::kittest::{NodeT as _, Queryable as _};

#[test]
fn e4_an_operator_changes_the_slots_of_a_slave() {
    let mut harness = window(&demo(), (1_280.0, 800.0));
    show(&mut harness, Pane::Slaves);
    harness.get_by_label("Slots of pc-03: 1 of 3").click();
    harness.run_steps(4);
    harness.get_by_label("+").click();
    harness.run_steps(6);
    harness.get_by_label("Slots of pc-03: 1 of 4");
    harness.get_by_label("pc-03 now runs up to 4 at once");
}

#[test]
fn e8_slaves_and_clients_are_listed() {
    let mut harness = window(&demo(), (1_280.0, 800.0));
    show(&mut harness, Pane::Slaves);
    harness.get_by_label("pc-02, Connected for 3 h 12 min, 4 of 4 slots");
    harness.get_by_label_contains("pc-05, Unreachable");
    harness.get_by_label_contains("pc-05 Connection lost; it held 2 programs.");
    keys(&mut harness, Modifiers::COMMAND, Key::Num4);
    harness.get_by_label("bob, submitter, Command line, 5 running, 27 waiting");
}

#[test]
fn e8_a_slave_is_set_aside_with_a_reason_and_taken_back() {
    let mut harness = window(&demo(), (1_440.0, 860.0));
    show(&mut harness, Pane::Slaves);
    harness.get_by_label_contains("pc-08, Set aside").click();
    harness.run_steps(4);
    harness.get_by_label("Slave pc-08");
    harness.get_all_by_label("Set aside…").next().unwrap().click();
    harness.run_steps(4);
    harness.get_by_label("Set pc-02 aside");
    assert!(harness.get_by_role_and_label(Role::Button, "Set aside").accesskit_node().is_disabled());
    harness.event(egui::Event::Text("a new disk".into()));
    harness.run_steps(4);
    keys(&mut harness, Modifiers::NONE, Key::Enter);
    harness.get_by_label("pc-02 is set aside");
    harness.get_by_label_contains("pc-02, Set aside for a moment, 4 of 4 slots, set aside by `alice`: a new disk");
    harness.get_all_by_label("Take back").next().unwrap().click();
    harness.run_steps(4);
    harness.get_by_label("pc-02 is taken back");
    harness.get_by_label_contains("pc-02, Connected for a moment");
}

#[test]
fn e10_who_may_not_operate_cannot_set_a_slave_aside() {
    let demo = demo();
    demo.change(|mirror| mirror.identity.as_mut().unwrap().role = common::session::Role::Submitter);
    let mut harness = window(&demo, (1_280.0, 800.0));
    show(&mut harness, Pane::Slaves);
    for word in ["Set aside…", "Take back"] {
        let button = harness.get_all_by_label(word).next().unwrap();
        assert!(button.accesskit_node().is_disabled(), "{word}");
    }
    harness.get_all_by_label("Take back").next().unwrap().hover();
    harness.run_steps(60);
    harness.get_by_label_contains("Not now: this needs the role operator");
}

#[test]
fn e8_empty_panes_say_what_to_do() {
    let mut harness = window(&Demo::empty(Box::new(|| NOW)), (1_280.0, 800.0));
    show(&mut harness, Pane::History);
    harness.get_by_label("No programs yet");
    show(&mut harness, Pane::Slaves);
    harness.get_all_by_label("Add a slave…").next().unwrap().click();
    harness.run_steps(4);
    harness.get_by_label("Add a slave");
    harness.state_mut().state.dialog = None;
    show(&mut harness, Pane::Clients);
    harness.get_by_label("Nobody is logged in, as far as this window knows");
}

#[test]
fn i19_a_slave_that_is_pressed_tells_its_guards_and_its_ceiling() {
    let demo = demo();
    let mut harness = window(&demo, (1_280.0, 1_300.0));
    show(&mut harness, Pane::Slaves);
    harness.get_by_label_contains("pc-07, Connected").click();
    harness.run_steps(4);
    harness.get_by_label("Slave pc-07");
    harness.get_by_label("Plain: weaker isolation");
    harness.get_by_label("Off Files by Landlock: not in this kernel");
    harness.get_by_label("On Calls that none needs refused: 61 calls refused");
    let slave = client_gui::demo::slave_named(&demo.mirror(), "pc-04");
    harness.state_mut().state.slaves.selected = slave;
    harness.run_steps(4);
    harness.get_by_label("Wall time: at most 1 h");
    keys(&mut harness, Modifiers::NONE, Key::Escape);
    assert!(harness.query_by_label("Slave pc-04").is_none());
}
