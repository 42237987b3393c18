//! Opens and writes files of this computer.

use super::{Means, shown_output, tab_stream};
use crate::{
    answers::Awaited,
    command::{Files, Pane},
    editing::Stdin,
    files::{self, Purpose},
    state::{AppState, Choosing, Dialog, Loaded},
};
use common::{limits, message::data::Stream, view::ProgramView};
use std::path::Path;

/// Does what concerns files.
pub(super) fn handle(state: &mut AppState, command: Files, means: &Means<'_>) {
    let choose = |state: &mut AppState, purpose: Purpose| {
        let asked = means.dialogs.choose(&purpose);
        state.submit.choosing = Some(Choosing { purpose, asked });
    };
    match command {
        Files::Open => choose(state, Purpose::Source),
        Files::ChooseStdin => choose(state, Purpose::Stdin),
        Files::SaveOutput => {
            let name = shown_output(state)
                .and_then(|id| means.mirror.program(id))
                .map_or_else(|| "output.txt".to_owned(), |row| suggested_name(row, tab_stream(state)));
            choose(state, Purpose::Save(name));
        }
        Files::SaveTo(path) => {
            if let Some(row) = shown_output(state).and_then(|id| means.mirror.program(id)) {
                let asked = crate::saving::save(means.backend, row, tab_stream(state), &path);
                state.awaited.push(Awaited::Saved(asked));
            }
        }
        Files::Read { path, as_stdin } => {
            let asked = files::in_background(move || {
                if as_stdin {
                    files::read(&path, limits::STDIN_BYTES_MAX).map(|bytes| Loaded::Stdin(path, bytes))
                } else {
                    files::read_source(&path).map(|text| Loaded::Source(path, text))
                }
            });
            state.submit.loading.push(asked);
            if !as_stdin {
                state.pane = Pane::Submit;
            }
        }
    }
}

fn suggested_name(row: &ProgramView, stream: Stream) -> String {
    let stem: String =
        row.name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    let kind = match stream {
        Stream::Stdout => "output",
        Stream::Stderr => "errors",
        Stream::Compile => "compile",
        Stream::Files => "files",
    };
    format!("{}.{kind}.txt", common::escape::shorten(stem.trim_start_matches('.'), 80).replace('…', ""))
}

/// A file was chosen, or the desktop has no dialog for it.
pub fn chosen(state: &mut AppState, means: &Means<'_>) {
    let Some(choosing) = &mut state.submit.choosing else { return };
    let Some(answer) = choosing.asked.poll() else { return };
    let purpose = choosing.purpose.clone();
    state.submit.choosing = None;
    match answer {
        Ok(files::Chosen::File(path)) => take_path(state, &purpose, &path, means),
        Ok(files::Chosen::Nothing) => {}
        Ok(files::Chosen::NoDialog) => {
            let folder = std::env::current_dir().unwrap_or_default();
            let typed = match &purpose {
                Purpose::Save(name) => folder.join(name),
                Purpose::Source | Purpose::Stdin => folder.join(""),
            };
            let typed = typed.to_string_lossy().into_owned();
            state.dialog = Some(Dialog::Path { purpose, typed, focus: true });
        }
        Err(error) => state.fail(&error),
    }
}

/// Does with `path` what it was chosen for.
pub fn take_path(state: &mut AppState, purpose: &Purpose, path: &Path, means: &Means<'_>) {
    let command = match purpose {
        Purpose::Source => Files::Read { path: path.to_owned(), as_stdin: false },
        Purpose::Stdin => Files::Read { path: path.to_owned(), as_stdin: true },
        Purpose::Save(_) => Files::SaveTo(path.to_owned()),
    };
    super::handle(state, command.into(), means);
}

/// Takes the files that have been read.
pub fn loaded(state: &mut AppState) {
    for mut asked in std::mem::take(&mut state.submit.loading) {
        match asked.poll() {
            None => state.submit.loading.push(asked),
            Some(Ok(Loaded::Source(path, text))) => state.submit.add_file(&path, text),
            Some(Ok(Loaded::Stdin(path, bytes))) => {
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                if let Some(tab) = state.submit.tab_mut() {
                    tab.stdin = Stdin::File(name, bytes.into());
                }
            }
            Some(Err(error)) => state.fail(&error),
        }
    }
}
