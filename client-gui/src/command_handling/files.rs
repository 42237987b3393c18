//! Opens and writes files of this computer.

use super::{Means, shown_output, tab_stream};
use crate::{
    answers::Awaited,
    backend::Asked,
    collected::{Existing, Fetch},
    command::{Files, Pane},
    editing::{self, Stdin},
    files::{self, Purpose},
    state::{AppState, Choosing, Dialog, Loaded},
    view_model::files as model,
};
use common::{ProgramId, language, limits, message::data::Stream, view::ProgramView};
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
        Files::ChooseInputs => choose(state, Purpose::Inputs),
        Files::Attach(paths) => {
            state.pane = Pane::Submit;
            if let Some(tab) = state.submit.tab() {
                let (tab, mut asked) = (tab.id, editing::look(paths));
                let loaded =
                    Asked::new(move || asked.poll().map(|files| files.map(|files| Loaded::Inputs(tab, files))));
                state.submit.loading.push(loaded);
            }
        }
        Files::Dropped(paths) => {
            // What has no language is no program: beside one it is a file for it.
            let beside = state.pane == Pane::Submit && state.submit.tab().is_some();
            let (send, open): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| beside && !has_language(path));
            if !send.is_empty() {
                handle(state, Files::Attach(send), means);
            }
            for path in open {
                handle(state, Files::Read { path, as_stdin: false }, means);
            }
        }
        Files::SaveOutput => {
            let name = shown_output(state)
                .and_then(|id| means.mirror.program(id))
                .map_or_else(|| "output.txt".to_owned(), |row| suggested_name(row, tab_stream(state)));
            choose(state, Purpose::Save(name));
        }
        Files::SaveFile(id, index) => {
            if let Some(Ok(listed)) = state.files.get(id)
                && let Some(file) = listed.head.files.get(index)
            {
                let name = model::suggested_name(&file.path.0);
                choose(state, Purpose::File(id, index, name));
            }
        }
        Files::SaveAll => {
            if let Some(id) = state.detail.program {
                choose(state, Purpose::Folder(id));
            }
        }
        Files::Fetch(fetch) => {
            let Some(Ok(listed)) = state.files.get(fetch.id) else { return };
            let awaited = if fetch.existing == Existing::Ask {
                let asked = fetch.taken(listed);
                Awaited::Taken(fetch, asked)
            } else {
                Awaited::Saved(fetch.run(listed, means.backend))
            };
            state.awaited.push(awaited);
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

fn has_language(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    language::by_file_name(language::built_in(), &name).is_some()
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
        Ok(files::Chosen::Files(paths)) if purpose == Purpose::Inputs => {
            super::handle(state, Files::Attach(paths).into(), means);
        }
        Ok(files::Chosen::Files(paths)) => {
            if let (Purpose::File(id, index, _), Some(path)) = (&purpose, paths.first()) {
                // The desktop's dialog has asked already.
                super::handle(state, Files::Fetch(one_file(*id, *index, path, Existing::Replace)).into(), means);
            } else if let Some(path) = paths.first() {
                take_path(state, &purpose, path, means);
            }
        }
        Ok(files::Chosen::Nothing) => {}
        Ok(files::Chosen::NoDialog) => {
            let folder = std::env::current_dir().unwrap_or_default();
            let typed = match &purpose {
                Purpose::Save(name) | Purpose::File(_, _, name) => folder.join(name),
                Purpose::Source | Purpose::Stdin | Purpose::Inputs | Purpose::Folder(_) => folder.join(""),
            };
            let typed = typed.to_string_lossy().into_owned();
            state.dialog = Some(Dialog::Path { purpose, typed, focus: true });
        }
        Err(error) => state.fail(&error),
    }
}

/// One file under the name that a person chose.
fn one_file(id: ProgramId, index: usize, path: &Path, existing: Existing) -> Fetch {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Fetch {
        id,
        files: vec![index],
        folder: folder.to_owned(),
        name: Some(path.file_name().unwrap_or_default().to_owned()),
        existing,
    }
}

/// Does with `path` what it was chosen for.
pub fn take_path(state: &mut AppState, purpose: &Purpose, path: &Path, means: &Means<'_>) {
    let command = match purpose {
        Purpose::Source => Files::Read { path: path.to_owned(), as_stdin: false },
        Purpose::Stdin => Files::Read { path: path.to_owned(), as_stdin: true },
        Purpose::File(id, index, _) => Files::Fetch(one_file(*id, *index, path, Existing::Ask)),
        Purpose::Folder(id) => {
            let Some(Ok(listed)) = state.files.get(*id) else { return };
            let files = (0..listed.head.files.len()).collect();
            Files::Fetch(Fetch { id: *id, files, folder: path.to_owned(), name: None, existing: Existing::Ask })
        }
        Purpose::Inputs => Files::Attach(vec![path.to_owned()]),
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
            Some(Ok(Loaded::Inputs(tab, files))) => {
                let Some(tab) = state.submit.tabs.iter_mut().find(|open| open.id == tab) else { continue };
                if let Err(error) = editing::attach(&mut tab.inputs, files) {
                    state.fail(&error);
                }
            }
            Some(Err(error)) => state.fail(&error),
        }
    }
}
