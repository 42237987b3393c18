//! The submit pane.

use crate::kit::{NOW, demo, keys, show, window};
use client_gui::{
    app::App,
    backend::Backend as _,
    command::{Files, Pane},
    demo::Demo,
    editing::Run,
    view_model::Clock,
};
use common::Timestamp;
use egui::{Key, Modifiers, Role};
use egui_kittest::{
    Harness,
    kittest::{NodeT as _, Queryable as _},
};
use jiff::tz::TimeZone;
use std::{cell::Cell, rc::Rc};

#[test]
fn e1_a_program_is_written_and_run_with_the_keyboard_alone() {
    let mut harness = window(&demo(), (1_280.0, 800.0));
    keys(&mut harness, Modifiers::COMMAND, Key::T);
    harness.event(egui::Event::Text("print(1)".into()));
    harness.run_steps(4);
    assert_eq!(harness.state().state.submit.tab().unwrap().text, "print(1)");
    keys(&mut harness, Modifiers::COMMAND, Key::Enter);
    harness.run_steps(6);
    harness.get_by_label("Running 0:00 on pc-03");
}

#[test]
fn e11_an_old_program_is_edited_and_run_again() {
    let mut harness = window(&demo(), (1_440.0, 860.0));
    show(&mut harness, Pane::History);
    harness.get_by_label_contains("Failed, sort_students.py").click();
    harness.run_steps(6);
    harness.get_by_label("Edit and run…").click();
    harness.run_steps(6);
    assert_eq!(harness.state().state.pane, Pane::Submit);
    let tab = harness.state().state.submit.tab().unwrap();
    assert_eq!((tab.file_name.as_str(), tab.memory.as_str()), ("sort_students.py", "256 MiB"));
}

#[test]
fn e5_environment_and_limits_of_output_are_one_press_away() {
    let mut harness = window(&demo(), (1_280.0, 800.0));
    assert!(harness.query_by_label("Output limit").is_none());
    harness.get_by_label("More…").click();
    harness.run_steps(4);
    harness.get_by_role_and_label(Role::TextInput, "File size limit");
    harness.get_by_role_and_label(Role::MultilineTextInput, "Environment").click();
    harness.run_steps(2);
    harness.event(egui::Event::Text("GREETING=hello".into()));
    harness.run_steps(2);
    let (spec, _) = harness.state().state.submit.tab().unwrap().spec().unwrap();
    assert_eq!(spec.environment, [("GREETING".into(), "hello".into())]);
    harness.get_by_label("Less");
}

#[test]
fn e9_a_refused_submit_says_why_in_place() {
    let mut harness = window(&demo(), (1_280.0, 800.0));
    harness.state_mut().state.submit.tab_mut().unwrap().memory = "much".into();
    keys(&mut harness, Modifiers::COMMAND, Key::Enter);
    harness.get_by_label("Memory: `much` is not a size; write for example 64K, 256M or 2G");
    harness.get_by_label("E-SUBMIT-INVALID");
}

#[test]
fn e9_a_submit_that_a_busy_master_puts_off_is_shown_and_sent_again() {
    let now = Rc::new(Cell::new(NOW));
    let clock = Rc::clone(&now);
    let demo = Demo::at(Box::new(move || clock.get()));
    demo.be_busy(2);
    let mut harness = window(&demo, (1_280.0, 800.0));
    keys(&mut harness, Modifiers::COMMAND, Key::Enter);
    for _ in 0..2 {
        harness.get_by_label("Waiting the master is busy; sending it again in 2 s");
        harness.get_by_label_contains("Nothing is lost");
        assert!(harness.get_by_role_and_label(Role::Button, "Run").accesskit_node().is_disabled(), "not twice");
        now.set(Timestamp(now.get().0 + 1_500_000));
        harness.state_mut().freeze(Clock { now: now.get(), zone: TimeZone::UTC });
        harness.run_steps(2);
        harness.get_by_label("Waiting the master is busy; sending it again in 1 s");
        now.set(Timestamp(now.get().0 + 500_000));
        harness.state_mut().freeze(Clock { now: now.get(), zone: TimeZone::UTC });
        harness.run_steps(2);
    }
    harness.get_by_label("Running 0:00 on pc-03");
    show(&mut harness, Pane::History);
    harness.get_by_label("History, 1204332 programs");
}

#[test]
fn e11_the_editor_keeps_the_indentation() {
    let mut harness = window(&demo(), (1_280.0, 800.0));
    keys(&mut harness, Modifiers::COMMAND, Key::T);
    for (text, key) in [("if x:", Key::Enter), ("a()", Key::Enter), ("b()", Key::Tab), ("c()", Key::Enter)] {
        harness.event(egui::Event::Text(text.into()));
        harness.run_steps(2);
        keys(&mut harness, Modifiers::NONE, key);
    }
    assert_eq!(harness.state().state.submit.tab().unwrap().text, "if x:\n    a()\n    b()    c()\n    ");
}

/// Steps until `what` is so, while a thread reads files.
fn wait(harness: &mut Harness<'_, App>, what: &dyn Fn(&App) -> bool) {
    let began = std::time::Instant::now();
    while !what(harness.state()) {
        assert!(began.elapsed().as_secs() < 10, "the file is read on its own thread");
        harness.step();
    }
}

#[test]
fn e1_data_dropped_beside_a_program_is_sent_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let now = Rc::new(Cell::new(NOW));
    let clock = Rc::clone(&now);
    let demo = Demo::at(Box::new(move || clock.get()));
    let mut harness = window(&demo, (1_280.0, 800.0));
    for (name, bytes) in [("students.csv", &b"name,grade\n"[..]), ("\x1b[2Jevil\n.bin", b"\0\x01")] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        harness.input_mut().dropped_files.push(std::sync::Arc::new(Dropped(path)));
    }
    harness.step();
    wait(&mut harness, &|app| app.state.submit.tab().is_some_and(|tab| tab.inputs.len() == 2));
    harness.run_steps(2);
    harness.get_by_label("students.csv, 11 B");
    harness.get_by_label("Do not send \\x1b[2Jevil\\n.bin").click();
    harness.run_steps(2);
    assert!(harness.query_by_label_contains("evil").is_none(), "what is taken away is not sent");
    keys(&mut harness, Modifiers::COMMAND, Key::Enter);
    wait(&mut harness, &|app| matches!(app.state.submit.tab().unwrap().run, Run::Sending(Some(_))));
    harness.run_steps(2);
    harness.get_by_label_contains("0 B of 11 B: students.csv");
    now.set(Timestamp(now.get().0 + 2_000_000));
    harness.state_mut().freeze(Clock { now: now.get(), zone: TimeZone::UTC });
    harness.run_steps(6);
    harness.get_by_label("Running 0:00 on pc-03");
    let program = demo.mirror().history.known().next().unwrap().id;
    assert_eq!(demo.spec_of(program).unwrap().inputs[0].name, common::escape::RawText::from("students.csv"));
}

#[test]
fn e1_a_file_that_is_gone_when_the_program_is_run_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.csv");
    std::fs::write(&path, b"1").unwrap();
    let mut harness = window(&demo(), (1_280.0, 800.0));
    let ctx = harness.ctx.clone();
    harness.state_mut().run(&ctx, Files::Attach(vec![path.clone()]));
    wait(&mut harness, &|app| app.state.submit.tab().is_some_and(|tab| tab.inputs.len() == 1));
    std::fs::remove_file(&path).unwrap();
    keys(&mut harness, Modifiers::COMMAND, Key::Enter);
    wait(&mut harness, &|app| matches!(app.state.submit.tab().unwrap().run, Run::Refused(_)));
    harness.run_steps(2);
    harness.get_by_label("E-FILE-UNREADABLE");
}

#[test]
fn e5_network_and_limits_of_the_disk_are_one_press_away() {
    let mut harness = window(&demo(), (1_280.0, 1_000.0));
    harness.get_by_label("More…").click();
    harness.run_steps(4);
    harness.get_by_role_and_label(Role::TextInput, "Disk limit");
    harness.get_by_role_and_label(Role::TextInput, "Open files");
    harness.get_by_label("Network: None").click();
    harness.run_steps(4);
    harness.get_by_label("As its slave allows").click();
    harness.run_steps(4);
    assert!(harness.state().state.submit.tab().unwrap().spec().unwrap().0.network);
    harness.get_by_label("Would wait: every slot of 1 slave is in use");
}

#[test]
fn e5_a_program_with_input_while_it_runs_gets_its_line_below_the_result() {
    let demo = demo();
    let mut harness = window(&demo, (1_280.0, 800.0));
    harness.get_by_label("Standard input: None").click();
    harness.run_steps(4);
    harness.get_by_label("While it runs").click();
    harness.run_steps(4);
    keys(&mut harness, Modifiers::COMMAND, Key::Enter);
    harness.run_steps(6);
    keys(&mut harness, Modifiers::COMMAND, Key::I);
    harness.event(egui::Event::Text("hello".into()));
    harness.run_steps(2);
    keys(&mut harness, Modifiers::NONE, Key::Enter);
    harness.run_steps(6);
    let output = harness.get_by_label_contains("Result, ").accesskit_node().value().unwrap_or_default();
    assert_eq!(output, "read: hello\n");
    harness.get_by_label("End input").click();
    harness.run_steps(6);
    harness.get_by_label_contains("on pc-03 · exit 0");
}

/// A file as the desktop hands it over.
#[derive(Debug)]
struct Dropped(std::path::PathBuf);

impl egui::DroppedFile for Dropped {
    fn path(&self) -> &std::path::Path {
        &self.0
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        std::fs::read(&self.0).map_err(|error| error.to_string())
    }
}

#[test]
fn e1_a_file_dropped_on_the_window_opens_as_a_program() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = window(&demo(), (1_280.0, 800.0));
    show(&mut harness, Pane::History);
    let drop = |harness: &mut Harness<'_, App>, name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        harness.input_mut().dropped_files.push(std::sync::Arc::new(Dropped(path)));
        harness.step();
    };
    drop(&mut harness, "sum.rb", b"puts 1 + 1\n");
    wait(&mut harness, &|app| app.state.submit.tab().is_some_and(|tab| tab.file_name == "sum.rb"));
    let tab = harness.state().state.submit.tab().unwrap();
    assert_eq!((tab.language.as_str(), tab.text.as_str()), ("Ruby", "puts 1 + 1\n"));
    assert_eq!(harness.state().state.pane, Pane::Submit);
    show(&mut harness, Pane::History);
    drop(&mut harness, "a.out", b"\x7fELF\0\0");
    wait(&mut harness, &|app| app.state.toast.as_ref().is_some_and(|toast| toast.bad));
    harness.run_steps(2);
    harness.get_by_label_contains("a.out` is not a text file");
}
