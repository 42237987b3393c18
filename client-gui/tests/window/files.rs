//! Files that a program brought back.

use crate::kit::{demo, keys, labels, show, window};
use client_gui::{app::App, command::Pane, state::Dialog};
use egui::{Key, Modifiers, Role};
use egui_kittest::{Harness, kittest::Queryable as _};
use std::path::Path;

/// The window with the list of files open.
fn listed() -> Harness<'static, App> {
    let mut harness = window(&demo(), (1_440.0, 900.0));
    show(&mut harness, Pane::History);
    harness.get_by_label_contains("Done, plot.py").click();
    harness.run_steps(6);
    harness.get_by_role_and_label(Role::Tab, "Files").click();
    harness.run_steps(8);
    harness
}

/// Types a path into the dialog, as there is no portal.
fn type_path(harness: &mut Harness<'_, App>, path: &Path) {
    let path = path.to_string_lossy();
    harness.run_steps(4);
    match &mut harness.state_mut().state.dialog {
        Some(Dialog::Path { typed, .. }) => path.as_ref().clone_into(typed),
        other => panic!("{other:?}"),
    }
    harness.run_steps(2);
    keys(harness, Modifiers::NONE, Key::Enter);
}

fn wait(harness: &mut Harness<'_, App>, what: &dyn Fn(&App) -> bool) {
    let began = std::time::Instant::now();
    while !what(harness.state()) {
        assert!(began.elapsed().as_secs() < 10, "files are written on their own thread");
        harness.step();
    }
    harness.run_steps(4);
}

fn said(app: &App) -> bool {
    app.state.toast.is_some() && app.state.awaited.is_empty()
}

#[test]
fn e7_files_are_listed_with_what_was_left_out() {
    let harness = listed();
    let rows = labels(&harness, Role::Row);
    assert!(rows.iter().any(|row| row.starts_with("plot.png, 60 KiB, ")), "{rows:?}");
    assert!(rows.iter().any(|row| row.starts_with("\\x1b[2Jcleared\\n.txt, 0 B")), "hostile names are shown escaped");
    assert!(rows.iter().any(|row| row.starts_with("notes \\u{202e}gpj.exe")), "{rows:?}");
    harness.get_by_label_contains("5 files, ");
    harness.get_by_label("data/socket: not a regular file");
}

#[test]
fn e7_all_files_are_saved_and_none_is_written_over_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = listed();
    let into = folder.path().join("out");
    harness.get_by_label("Save all…").click();
    type_path(&mut harness, &into);
    wait(&mut harness, &said);
    harness.get_by_label_contains("Saved 5 files (");
    std::fs::write(into.join("plot.png"), b"mine").unwrap();
    std::fs::remove_file(into.join("data/points.csv")).unwrap();
    harness.state_mut().state.toast = None;
    harness.get_by_label("Save all…").click();
    type_path(&mut harness, &into);
    wait(&mut harness, &|app| app.state.dialog.is_some());
    harness.get_by_label("Write over 4 files?");
    assert_eq!(std::fs::read(into.join("plot.png")).unwrap(), b"mine", "nothing before the answer");
    harness.get_by_label("Save the others").click();
    wait(&mut harness, &said);
    harness.get_by_label_contains("Saved data/points.csv (");
    assert_eq!(std::fs::read(into.join("plot.png")).unwrap(), b"mine");
}

#[test]
fn e7_one_file_is_saved_where_a_person_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.png");
    let mut harness = listed();
    harness.get_all_by_label("Save…").next().unwrap().click();
    type_path(&mut harness, &path);
    wait(&mut harness, &said);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 61_440);
    std::fs::write(&path, b"mine").unwrap();
    harness.state_mut().state.toast = None;
    harness.get_all_by_label("Save…").next().unwrap().click();
    type_path(&mut harness, &path);
    wait(&mut harness, &|app| app.state.dialog.is_some());
    harness.get_by_label("Write over mine.png?");
    harness.get_by_label("Cancel").click();
    harness.run_steps(6);
    assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    harness.get_all_by_label("Save…").next().unwrap().click();
    type_path(&mut harness, &path);
    wait(&mut harness, &|app| app.state.dialog.is_some());
    harness.get_by_label("Write over").click();
    wait(&mut harness, &said);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 61_440);
}

#[test]
fn e7_a_program_without_files_says_why_there_are_none() {
    let mut harness = window(&demo(), (1_440.0, 900.0));
    show(&mut harness, Pane::History);
    harness.get_by_label_contains("Done, hello.rs").click();
    harness.run_steps(6);
    harness.get_by_role_and_label(Role::Tab, "Files").click();
    harness.run_steps(6);
    harness.get_by_label("It was not asked to bring files back");
}
