//! The history and the detail pane.

use crate::kit::{demo, double_click, keys, labels, show, window};
use client_gui::{backend::Backend, command::Pane, state::Dialog};
use egui::{Key, Modifiers, Role};
use egui_kittest::kittest::{NodeT as _, Queryable as _};

#[test]
fn e6_the_history_shows_sign_word_and_verdict() {
    let mut harness = window(&demo(), (1_440.0, 860.0));
    show(&mut harness, Pane::History);
    let rows = labels(&harness, Role::Row);
    assert!(rows[0].starts_with("Running, render_frames.py, Python, pc-07, alice"), "{}", rows[0]);
    assert!(rows.len() < 40, "only what is visible is drawn: {}", rows.len());
    harness.get_by_label_contains("Failed, sort_students.py").click();
    harness.run_steps(6);
    harness.get_by_label("Failed sort_students.py");
    harness.get_by_label_contains("Slave: pc-07 019a71c3-8f3e-7b1c");
    harness.get_by_label("Output, 11 lines");
}

#[test]
fn e7_a_double_click_opens_output_and_slave() {
    let mut harness = window(&demo(), (1_440.0, 860.0));
    show(&mut harness, Pane::History);
    let at = harness.get_by_label_contains("Done, hello.rs").rect().center();
    double_click(&mut harness, at);
    harness.get_by_label("Done hello.rs");
    harness.get_by_label("Output, 1 lines");
    harness.get_by_label_contains("Slave: pc-03");
}

#[test]
fn e7_in_a_narrow_window_the_double_click_replaces_the_list() {
    let mut harness = window(&demo(), (700.0, 600.0));
    show(&mut harness, Pane::History);
    harness.get_by_label_contains("Done, hello.rs").click();
    harness.run_steps(4);
    assert!(harness.query_by_label("Done hello.rs").is_none(), "one click only selects");
    // Long enough that the next click is not the third of one gesture.
    harness.run_steps(60);
    let at = harness.get_by_label_contains("Done, hello.rs").rect().center();
    double_click(&mut harness, at);
    harness.get_by_label("Done hello.rs");
    assert_eq!(labels(&harness, Role::Row).len(), 0, "the list made room");
    harness.get_by_label("Close details");
    keys(&mut harness, Modifiers::NONE, Key::Escape);
    assert!(!labels(&harness, Role::Row).is_empty());
}

#[test]
fn e6_a_million_rows_scroll_and_do_not_jump() {
    let demo = demo();
    let mut harness = window(&demo, (1_280.0, 800.0));
    show(&mut harness, Pane::History);
    harness.get_by_label("History, 1204331 programs");
    keys(&mut harness, Modifiers::NONE, Key::End);
    let rows = labels(&harness, Role::Row);
    assert!((10..40).contains(&rows.len()), "{}", rows.len());
    let top = harness.state().state.history.rows.top;
    assert!(top > 33_000_000.0, "{top}");
    demo.add_programs(12);
    harness.run_steps(6);
    assert_eq!(labels(&harness, Role::Row), rows, "nothing moves under the reader");
    harness.get_by_label("↑ 12 new").click();
    harness.run_steps(6);
    assert_eq!(harness.state().state.history.rows.top, 0.0);
    assert!(harness.query_by_label("↑ 12 new").is_none());
}

#[test]
fn e6_chips_and_the_filter_choose_what_is_shown() {
    let mut harness = window(&demo(), (1_440.0, 860.0));
    show(&mut harness, Pane::History);
    harness.get_by_role_and_label(Role::RadioButton, "Failed 2").click();
    harness.run_steps(6);
    assert!(labels(&harness, Role::Row).iter().all(|row| row.starts_with("Failed") || row.starts_with("Lost")));
    harness.get_by_role_and_label(Role::RadioButton, "All").click();
    harness.run_steps(4);
    keys(&mut harness, Modifiers::COMMAND, Key::F);
    harness.event(egui::Event::Text("render".into()));
    let began = std::time::Instant::now();
    while harness.state().state.history.filter.search != "render" {
        assert!(began.elapsed().as_secs() < 10, "the filter is asked after a pause");
        harness.step();
    }
    harness.run_steps(6);
    let rows = labels(&harness, Role::Row);
    assert_eq!(rows.len(), 1, "{rows:?}");
    harness.get_by_label("History, 1 programs");
}

#[test]
fn e11_several_programs_are_run_again_at_once() {
    let mut harness = window(&demo(), (1_440.0, 860.0));
    show(&mut harness, Pane::History);
    harness.get_by_label_contains("Failed, sort_students.py").click();
    harness.run_steps(4);
    keys(&mut harness, Modifiers::SHIFT, Key::ArrowDown);
    keys(&mut harness, Modifiers::COMMAND, Key::R);
    harness.get_by_label("2 programs run again");
    harness.get_by_label("History, 1204333 programs");
    harness.get_by_label_contains("Running, sort_students.py");
}

#[test]
fn e9_why_a_program_waits_is_told_slave_by_slave() {
    let mut harness = window(&demo(), (1_440.0, 860.0));
    show(&mut harness, Pane::History);
    harness.get_by_label_contains("Waiting, simulate.tcl").click();
    harness.run_steps(8);
    harness.get_by_label("pc-02: 4 of 4 slots are in use");
    harness.get_by_label("pc-05: does not have the language `Tcl`");
}

#[test]
fn e5_stopping_several_asks_once_and_lists_them() {
    let mut harness = window(&demo(), (1_440.0, 860.0));
    show(&mut harness, Pane::History);
    harness.get_by_label_contains("Running, render_frames.py").click();
    harness.run_steps(4);
    keys(&mut harness, Modifiers::SHIFT, Key::ArrowDown);
    assert_eq!(harness.state().state.history.selected.len(), 2);
    keys(&mut harness, Modifiers::COMMAND | Modifiers::SHIFT, Key::X);
    assert!(matches!(&harness.state().state.dialog, Some(Dialog::ConfirmStop(list)) if list.len() == 2));
    harness.get_by_label("Stop 2 programs?");
    keys(&mut harness, Modifiers::NONE, Key::Escape);
    assert!(harness.state().state.dialog.is_none(), "nothing was stopped");
    keys(&mut harness, Modifiers::COMMAND | Modifiers::SHIFT, Key::X);
    harness.get_by_label("Stop all").click();
    harness.run_steps(8);
    harness.get_by_label_contains("Cancelled, render_frames.py");
    harness.get_by_label("2 programs are stopped");
}

#[test]
fn e6_a_program_on_a_lost_slave_is_not_shown_as_running() {
    let mut harness = window(&demo(), (1_440.0, 860.0));
    show(&mut harness, Pane::History);
    harness.get_by_label_contains("Not known, collect_stats.py, Python, pc-06").click();
    harness.run_steps(6);
    harness.get_by_label("Not known collect_stats.py");
    harness.get_by_label_contains("Not known: since 14:08:40");
    harness.get_by_label_contains("It counts as lost in 26 s unless the slave comes back with it.");
    harness.get_by_role_and_label(Role::Button, "11 running");
    harness.get_by_role_and_label(Role::Button, "2 not known").click();
    harness.run_steps(6);
    assert!(labels(&harness, Role::Row).iter().any(|row| row.starts_with("Not known, resize.sh")));
}

#[test]
fn e6_hostile_text_is_shown_escaped() {
    let demo = demo();
    let mut row = (**demo.mirror().history.known().next().unwrap()).clone();
    row.name = "\x1b[2J\u{202e}evil\n".into();
    row.last_line = "\u{9b}31m".into();
    row.state = common::program::State::Failed;
    row.outcome = Some(common::Outcome::NotFound { detail: "\x07bell\u{200b}".into() });
    demo.put(row);
    let mut harness = window(&demo, (1_440.0, 860.0));
    show(&mut harness, Pane::History);
    harness.get_by_label_contains("Failed, \\x1b[2J\\u{202e}evil\\n").click();
    harness.run_steps(6);
    harness.get_by_label("Failed \\x1b[2J\\u{202e}evil\\n");
    harness.get_by_label_contains("\\x07bell\\u{200b}");
}

#[test]
fn e7_output_is_searched() {
    let mut harness = window(&demo(), (1_440.0, 860.0));
    show(&mut harness, Pane::History);
    harness.get_by_label_contains("Running, matmul_bench.c").click();
    harness.run_steps(30);
    keys(&mut harness, Modifiers::COMMAND | Modifiers::SHIFT, Key::F);
    harness.event(egui::Event::Text("iteration 77,".into()));
    harness.run_steps(4);
    keys(&mut harness, Modifiers::NONE, Key::Enter);
    assert!(!harness.state().state.detail.view.follow, "the hit is shown, not the end");
}

#[test]
fn e11_many_programs_are_run_again_only_after_asking() {
    let demo = demo();
    let mut harness = window(&demo, (1_440.0, 860.0));
    show(&mut harness, Pane::History);
    let ids = demo.mirror().history.known().map(|row| row.id).collect::<std::collections::BTreeSet<_>>();
    assert!(ids.len() < 1_000);
    demo.add_programs(120);
    harness.run_steps(4);
    let ids: Vec<_> = demo.mirror().history.known().map(|row| row.id).chain(ids).take(110).collect();
    harness.state_mut().state.history.selected = ids.into_iter().collect();
    let count = harness.state().state.history.selected.len();
    assert!(count > 100, "{count}");
    keys(&mut harness, Modifiers::COMMAND, Key::R);
    harness.get_by_label(&format!("Run {count} programs again?"));
    keys(&mut harness, Modifiers::NONE, Key::Escape);
    assert!(harness.state().state.awaited.is_empty(), "nothing was asked for");
    keys(&mut harness, Modifiers::COMMAND, Key::R);
    keys(&mut harness, Modifiers::NONE, Key::Enter);
    harness.run_steps(10);
    harness.get_by_label(&format!("{count} programs run again"));
}

#[test]
fn e5_a_running_program_is_suspended_and_resumed() {
    let mut harness = window(&demo(), (1_440.0, 860.0));
    show(&mut harness, Pane::History);
    harness.get_by_label_contains("Running, render_frames.py").click();
    harness.run_steps(6);
    assert!(harness.query_by_role_and_label(Role::Button, "Resume").is_none());
    harness.get_by_role_and_label(Role::Button, "Suspend").click();
    harness.run_steps(6);
    harness.get_by_label("render_frames.py is suspended");
    harness.get_by_label_contains("Suspended, render_frames.py");
    harness.get_by_label("Suspended render_frames.py");
    harness.get_by_label_contains("Suspended on pc-07.");
    keys(&mut harness, Modifiers::COMMAND | Modifiers::SHIFT, Key::R);
    harness.get_by_label("render_frames.py goes on");
    harness.get_by_label_contains("Running, render_frames.py");
    // What is not suspended cannot be resumed.
    keys(&mut harness, Modifiers::COMMAND | Modifiers::SHIFT, Key::R);
    harness.get_by_label("Resume: select programs that are suspended first");
    keys(&mut harness, Modifiers::COMMAND | Modifiers::SHIFT, Key::S);
    harness.get_by_label("render_frames.py is suspended");
}

#[test]
fn e5_the_wall_time_of_a_running_program_is_changed() {
    let mut harness = window(&demo(), (1_440.0, 860.0));
    show(&mut harness, Pane::History);
    harness.get_by_label_contains("Running, render_frames.py").click();
    harness.run_steps(6);
    keys(&mut harness, Modifiers::COMMAND | Modifiers::SHIFT, Key::L);
    harness.get_by_label("Wall time of render_frames.py");
    let field = |harness: &egui_kittest::Harness<'_, client_gui::app::App>| {
        harness.get_by_role_and_label(Role::TextInput, "Wall time").accesskit_node().value()
    };
    assert_eq!(field(&harness).as_deref(), Some("1 min"), "the present one is there to be changed");
    harness.event(egui::Event::Text("soon".into()));
    harness.run_steps(4);
    keys(&mut harness, Modifiers::NONE, Key::Enter);
    harness.get_by_label("Wall time of render_frames.py");
    assert!(harness.get_by_role_and_label(Role::Button, "Change").accesskit_node().is_disabled());
    harness.get_by_role_and_label(Role::TextInput, "Wall time").click();
    harness.run_steps(2);
    keys(&mut harness, Modifiers::COMMAND, Key::A);
    harness.event(egui::Event::Text("5 min".into()));
    harness.run_steps(4);
    keys(&mut harness, Modifiers::NONE, Key::Enter);
    harness.get_by_label("render_frames.py may run for 5 min in all");
    harness.run_steps(6);
    harness.get_by_label_contains("Time: 0:12 of 5 min");
}
