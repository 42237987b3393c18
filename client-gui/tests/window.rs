//! The whole window without a screen: by accessible names, with and without a mouse.

use client::Link;
use client_gui::{
    app::App,
    backend::Backend,
    command::{Pane, View},
    demo::Demo,
    files::NoDialogs,
    settings::Settings,
    state::{AppState, Dialog},
    theme,
    view_model::Clock,
};
use common::{ErrorCode, Timestamp, UserError};
use egui::{Key, Modifiers, Role, vec2};
use egui_kittest::{
    Harness,
    kittest::{NodeT as _, Queryable},
};
use jiff::tz::TimeZone;
use std::{cell::Cell, rc::Rc};

const NOW: Timestamp = Timestamp(1_795_270_144_000_000);

fn demo() -> Demo {
    Demo::at(Box::new(|| NOW))
}

/// The window over `demo` at `size`, as a person at a desk sees it.
fn window(demo: &Demo, size: (f32, f32)) -> Harness<'static, App> {
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

fn show(harness: &mut Harness<'_, App>, pane: Pane) {
    harness.state_mut().state.pane = pane;
    harness.run_steps(4);
}

fn keys(harness: &mut Harness<'_, App>, modifiers: Modifiers, key: Key) {
    harness.key_press_modifiers(modifiers, key);
    harness.run_steps(4);
}

fn labels(harness: &Harness<'_, App>, role: Role) -> Vec<String> {
    harness.query_all_by_role(role).filter_map(|node| node.accesskit_node().label()).collect()
}

fn double_click(harness: &mut Harness<'_, App>, at: egui::Pos2) {
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
fn e8_a_slave_is_set_aside_with_a_reason_and_taken_back() {
    let mut harness = window(&demo(), (1_280.0, 800.0));
    show(&mut harness, Pane::Slaves);
    harness.get_by_label_contains("pc-08, Set aside").click();
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
fn e13_a_cut_is_visible_and_greys_the_data() {
    let demo = demo();
    let mut harness = window(&demo, (1_280.0, 800.0));
    show(&mut harness, Pane::History);
    demo.change(|mirror| {
        mirror.heard_at = Some(Timestamp(NOW.0 - 30_000_000));
        mirror.link = client::Link::Waiting {
            reason: UserError::new(ErrorCode::MasterUnreachable, "lab-master:7420 does not answer"),
            retry_at: Timestamp(NOW.0 + 3_000_000),
        };
    });
    harness.run_steps(4);
    harness.get_by_label("lab-master · cut off, trying again in 3 s");
    let rows = labels(&harness, Role::Row);
    assert!(!rows.is_empty(), "what is known stays");
    assert!(harness.state_mut().state.submit.tab().is_some());
    show(&mut harness, Pane::Submit);
    harness.get_by_label("Run");
    assert!(harness.get_by_label("Run").accesskit_node().is_disabled());
}

#[test]
fn e10_the_pin_is_shown_before_anything_is_sent() {
    let demo = demo();
    demo.disconnect();
    demo.change(|mirror| mirror.identity = None);
    let mut harness = window(&demo, (1_280.0, 800.0));
    show(&mut harness, Pane::Connect);
    let state = &mut harness.state_mut().state.connect;
    (state.address, state.user, state.password) = ("other:7420".into(), "bob".into(), "wrong".into());
    harness.run_steps(2);
    harness.get_by_label("Log in").click();
    harness.run_steps(6);
    harness.get_by_label("Is this your master?");
    harness.get_by_label_contains("sha256:4f4f");
    harness.get_by_label("Yes, log in").click();
    harness.run_steps(6);
    harness.get_by_label("E-LOGIN-WRONG");
    assert!(harness.state().state.connect.password.is_empty(), "the password is forgotten once it was sent");
    harness.state_mut().state.connect.address = "nowhere:7420".into();
    harness.state_mut().state.connect.password = "12345678".into();
    harness.run_steps(2);
    harness.get_by_label("Log in").click();
    harness.run_steps(6);
    harness.get_by_label("E-MASTER-UNREACHABLE");
}

#[test]
fn e10_an_address_without_a_port_gets_the_usual_one() {
    let demo = demo();
    demo.disconnect();
    demo.change(|mirror| mirror.identity = None);
    let mut harness = window(&demo, (1_280.0, 800.0));
    show(&mut harness, Pane::Connect);
    let state = &mut harness.state_mut().state.connect;
    (state.address, state.user, state.password) = (" other ".into(), "bob".into(), "secret".into());
    harness.run_steps(2);
    harness.get_by_label("Log in").click();
    harness.run_steps(6);
    harness.get_by_label("Yes, log in").click();
    harness.run_steps(6);
    let confirmed = harness.state().state.connect.confirmed.clone();
    assert_eq!(confirmed.map(|(address, _)| address).as_deref(), Some("other:7420"));
}

#[test]
fn e10_another_pin_than_before_is_shown_beside_the_old_one() {
    let demo = demo();
    demo.disconnect();
    demo.change(|mirror| {
        mirror.identity = None;
        mirror.address = "other:7420".into();
        mirror.link = Link::Refused { reason: UserError::new(ErrorCode::PinWrong, "another pin") };
    });
    let mut harness = window(&demo, (1_280.0, 1_200.0));
    show(&mut harness, Pane::Connect);
    let state = &mut harness.state_mut().state.connect;
    (state.address, state.user, state.password) = ("other:7420".into(), "bob".into(), "secret".into());
    state.confirmed = Some(("other:7420".into(), "sha256:0123".into()));
    harness.run_steps(2);
    harness.get_by_label("Log in").click();
    harness.run_steps(6);
    harness.get_by_label_contains("another pin than before");
    harness.get_by_label_contains("sha256:0123");
    harness.get_by_label_contains("sha256:4f4f");
    harness.get_by_label("Yes, log in").click();
    harness.run_steps(6);
    let confirmed = harness.state().state.connect.confirmed.clone().unwrap();
    assert!(confirmed.1.starts_with("sha256:4f4f"), "the new pin is used: {}", confirmed.1);
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
    let wait = |harness: &mut Harness<'_, App>, what: &dyn Fn(&App) -> bool| {
        let began = std::time::Instant::now();
        while !what(harness.state()) {
            assert!(began.elapsed().as_secs() < 10, "the file is read on its own thread");
            harness.step();
        }
    };
    drop(&mut harness, "sum.rb", b"puts 1 + 1\n");
    wait(&mut harness, &|app| app.state.submit.tab().is_some_and(|tab| tab.file_name == "sum.rb"));
    let tab = harness.state().state.submit.tab().unwrap();
    assert_eq!((tab.language.as_str(), tab.text.as_str()), ("Ruby", "puts 1 + 1\n"));
    assert_eq!(harness.state().state.pane, Pane::Submit);
    drop(&mut harness, "a.out", b"\x7fELF\0\0");
    wait(&mut harness, &|app| app.state.toast.as_ref().is_some_and(|toast| toast.bad));
    harness.run_steps(2);
    harness.get_by_label_contains("a.out` is not a text file");
}
