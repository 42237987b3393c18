//! Text of programs, slaves and people that does not mean well, in every place where it is shown or copied.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]
#![expect(clippy::wildcard_enum_match_arm, reason = "of the toolkit's many shapes and commands only the texts count")]

use crate::kit::{demo, keys, show, window};
use client_gui::{
    app::App,
    backend::Backend as _,
    command::{Pane, Programs},
    demo::Demo,
    state::DetailTab,
};
use common::{
    ByteSize, Digest, Outcome, ProgramSpec, UserError, Work,
    collected::{CollectedFile, Head},
    escape::RawText,
    message::status::Event,
    program::{InputFile, State},
    view::{Guard, LanguageOffer, Progress},
};
use egui::{Key, Modifiers, Shape, epaint::ClippedShape};
use egui_kittest::{
    Harness,
    kittest::{NodeT as _, Queryable as _},
};

/// Clears a terminal, turns the direction of writing, hides, rings, breaks the line, and ends with a C1 control.
const EVIL: &str = "E\x1b[2J\u{202e}\u{200b}\x07\nvil\u{9b}31m";

fn evil() -> String {
    EVIL.to_owned()
}

/// The demonstration in which everything that somebody else chooses is hostile.
fn hostile() -> Demo {
    let demo = demo();
    let mirror = demo.mirror();
    let mut row = (**mirror.history.known().next().unwrap()).clone();
    (row.name, row.user, row.last_line, row.language) = (evil(), evil(), evil(), Some(evil()));
    row.slave_name = Some(evil());
    row.progress = Some(Progress { percent: 40.0, text: evil() });
    demo.put(row);
    let mut ended = (**mirror.history.known().find(|row| row.name == "plot.py").unwrap()).clone();
    (ended.name, ended.last_line, ended.slave_name) = (format!("ended {EVIL}"), evil(), Some(evil()));
    ended.state = State::Failed;
    ended.outcome = Some(Outcome::CompileError { detail: evil() });
    let mut spec = ProgramSpec::new(evil(), Work::Command { command: EVIL.into() });
    spec.arguments = vec![EVIL.into()];
    spec.slave = Some(evil());
    spec.collect = vec![evil()];
    let file = |name: &str| InputFile {
        name: RawText::from(name),
        digest: Digest([1; 32]),
        size: ByteSize(1),
        executable: false,
    };
    spec.inputs = vec![file(EVIL)];
    let head = Head {
        files: vec![CollectedFile {
            path: RawText::from(EVIL),
            size: ByteSize(0),
            digest: Digest([1; 32]),
            executable: true,
        }],
        left_out: vec![evil()],
    };
    let bytes = head.encode();
    ended.files_bytes = bytes.len() as u64;
    demo.put_spec(ended.id, spec, bytes);
    demo.put(ended);
    demo.change(|mirror| {
        let slaves = mirror.slaves.values().map(|slave| {
            let mut slave = (**slave).clone();
            slave.name = format!("{} {EVIL}", slave.name);
            (slave.address, slave.machine, slave.release) = (evil(), evil(), evil());
            slave.languages = vec![LanguageOffer { name: evil(), version: evil(), extensions: Vec::new() }];
            slave.isolation.summary = evil();
            slave.isolation.guards = vec![Guard { name: evil(), on: false, detail: evil() }];
            slave.aside = slave.aside.map(|_| evil());
            slave
        });
        mirror.set_slaves(slaves.collect());
        let clients = mirror.clients.values().map(|client| {
            let mut client = (**client).clone();
            (client.user, client.address) = (evil(), evil());
            client
        });
        mirror.set_clients(clients.collect());
        mirror.set_events(vec![Event { at: crate::kit::NOW, subject: evil(), text: evil() }]);
        let identity = mirror.identity.as_mut().unwrap();
        (identity.user, identity.master) = (evil(), evil());
        mirror.notice = Some(evil());
    });
    demo
}

/// Whether this text would be obeyed rather than read.
fn is_raw(text: &str) -> bool {
    text.chars().any(|c| (c.is_control() && c != '\n') || "\u{202e}\u{200b}".contains(c)) || text.contains("\nvil")
}

/// Nothing that is painted, said to a screen reader or copied is raw.
fn assert_escaped(harness: &Harness<'_, App>, place: &str) {
    fn painted(shape: &Shape, place: &str) {
        match shape {
            Shape::Text(text) => assert!(!is_raw(text.galley.text()), "{place}: {:?} is painted", text.galley.text()),
            Shape::Vec(shapes) => shapes.iter().for_each(|shape| painted(shape, place)),
            _ => {}
        }
    }
    for ClippedShape { shape, .. } in &harness.output().shapes {
        painted(shape, place);
    }
    for command in &harness.output().platform_output.commands {
        if let egui::OutputCommand::CopyText(text) = command {
            assert!(!is_raw(text), "{place}: {text:?} is copied");
        }
    }
    for node in harness.root().children_recursive() {
        for text in [node.accesskit_node().label(), node.accesskit_node().value()].into_iter().flatten() {
            assert!(!is_raw(&text), "{place}: {text:?} is said");
        }
    }
}

/// Rests the pointer on what carries this label until its tooltip is there.
fn hover(harness: &mut Harness<'_, App>, label: &str, place: &str) {
    let at = harness.get_all_by_label_contains(label).next().unwrap().rect().center();
    harness.hover_at(at);
    harness.run_steps(60);
    assert_escaped(harness, place);
}

#[test]
fn b19_hostile_text_is_shown_escaped_in_every_pane() {
    let demo = hostile();
    let mut harness = window(&demo, (1_440.0, 900.0));
    for pane in [Pane::Submit, Pane::History, Pane::Slaves, Pane::Clients, Pane::Connect] {
        show(&mut harness, pane);
        assert_escaped(&harness, &format!("{pane:?}"));
    }
    show(&mut harness, Pane::Slaves);
    hover(&mut harness, "pc-03 E\\x1b", "a slave's tooltip");
    harness.state_mut().state.slaves.selected = demo.mirror().slaves.keys().next().copied();
    harness.run_steps(4);
    assert_escaped(&harness, "a slave");
    hover(&mut harness, "Off E\\x1b", "a guard's tooltip");
    show(&mut harness, Pane::Clients);
    hover(&mut harness, "E\\x1b", "a client's tooltip");
}

#[test]
fn b19_hostile_text_is_shown_escaped_in_the_detail_and_in_dialogs() {
    let demo = hostile();
    let mut harness = window(&demo, (1_440.0, 900.0));
    let ctx = harness.ctx.clone();
    show(&mut harness, Pane::History);
    for label in ["Running, E\\x1b", "Failed, ended E\\x1b"] {
        hover(&mut harness, label, "a row's tooltip");
        harness.get_by_label_contains(label).click();
        harness.run_steps(6);
        for tab in DetailTab::ALL {
            harness.state_mut().state.detail.tab = tab;
            harness.run_steps(6);
            assert_escaped(&harness, &format!("{label} {tab:?}"));
        }
        harness.state_mut().run(&ctx, Programs::CopyOutput);
        harness.step();
        assert_escaped(&harness, "the copied output");
    }
    hover(&mut harness, "E\\x1b[2J\\u{202e}\\u{200b}\\x07\\nvil\\u{9b}31m, 0 B", "a file's tooltip");
    harness.get_by_label_contains("Running, E\\x1b").click();
    harness.run_steps(4);
    for key in [Key::X, Key::L] {
        keys(&mut harness, Modifiers::COMMAND | Modifiers::SHIFT, key);
        assert!(harness.state().state.dialog.is_some());
        assert_escaped(&harness, "a dialog");
        keys(&mut harness, Modifiers::NONE, Key::Escape);
    }
    keys(&mut harness, Modifiers::COMMAND | Modifiers::SHIFT, Key::S);
    assert_escaped(&harness, "what is said of a suspend");
    let error = UserError { code: evil(), sentence: evil(), hint: evil(), retry_after: None };
    harness.state_mut().state.fail(&error);
    harness.run_steps(4);
    hover(&mut harness, "E\\x1b[2J\\u{202e}\\u{200b}\\x07\\nvil\\u{9b}31m", "an error");
    demo.change(|mirror| mirror.link = client::Link::Waiting { reason: error, retry_at: crate::kit::NOW });
    harness.run_steps(4);
    hover(&mut harness, "cut off", "why there is no connection");
}

#[test]
fn b19_hostile_output_is_copied_escaped() {
    let demo = demo();
    let row = demo.mirror().history.known().find(|row| row.name == "hello.rs").map(|row| (**row).clone()).unwrap();
    demo.print(row.id, EVIL);
    let mut harness = window(&demo, (1_440.0, 900.0));
    let ctx = harness.ctx.clone();
    show(&mut harness, Pane::History);
    harness.get_by_label_contains("Done, hello.rs").click();
    harness.run_steps(8);
    harness.get_by_label("Output, 2 lines").click();
    keys(&mut harness, Modifiers::COMMAND, Key::A);
    harness.event(egui::Event::Copy);
    harness.step();
    let copied = |harness: &Harness<'_, App>| {
        let commands = &harness.output().platform_output.commands;
        commands.iter().any(|command| match command {
            egui::OutputCommand::CopyText(text) => {
                assert_eq!(text, "E\\x1b[2J\\u{202e}\\u{200b}\\x07\nvil\\u{9b}31m\n", "lines stay lines");
                true
            }
            _ => false,
        })
    };
    assert!(copied(&harness), "the marked lines are copied");
    harness.state_mut().run(&ctx, Programs::CopyOutput);
    harness.step();
    assert!(copied(&harness), "all of it is copied");
}
