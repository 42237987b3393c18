//! The one place where a command changes something.

use crate::{
    answers::{Again, Awaited},
    backend::Backend,
    command::{Command, Pane, Situation},
    editing::{Run, Stdin},
    files::{self, FileDialogs, Purpose},
    state::{AppState, Choosing, DetailTab, Dialog, Loaded, PaletteState},
    view_model::{history, state_word},
    widgets::shown,
};
use client::{Link, Mirror};
use common::{
    ErrorCode, ProgramId, UserError, limits,
    message::{Request, data::Stream},
    view::ProgramView,
};
use std::{path::Path, rc::Rc, sync::Arc};

/// What a command may use besides the window's state.
pub struct Means<'a> {
    /// The world.
    pub backend: &'a Rc<dyn Backend>,
    /// The newest snapshot.
    pub mirror: &'a Mirror,
    /// The desktop's file dialog.
    pub dialogs: &'a dyn FileDialogs,
    /// The toolkit: clipboard, theme, zoom.
    pub ctx: &'a egui::Context,
}

/// What can be done now.
#[must_use]
pub fn situation(state: &AppState, mirror: &Mirror) -> Situation {
    let detail = state.detail.open && state.detail.program.is_some();
    let selected = targets(state).into_iter().filter_map(|id| mirror.program(id)).map(|row| row.state).collect();
    Situation {
        connected: mirror.connected(),
        role: mirror.identity.as_ref().map(|identity| identity.role),
        selected,
        output: shown_output(state).is_some(),
        detail,
        runnable: state.submit.tab().is_some_and(crate::editing::EditorTab::runnable),
        tabs: state.submit.tabs.len(),
    }
}

/// The programs that commands mean: the selected ones of the table, or the one that the submit pane ran.
fn targets(state: &AppState) -> Vec<ProgramId> {
    if state.pane == Pane::Submit {
        return match state.submit.tab().map(|tab| &tab.run) {
            Some(Run::Submitted(id, _)) => vec![*id],
            Some(Run::None | Run::Submitting | Run::Refused(_)) | None => Vec::new(),
        };
    }
    if state.history.selected.is_empty() {
        state.detail.program.into_iter().filter(|_| state.detail.open).collect()
    } else {
        state.history.selected.iter().copied().collect()
    }
}

/// The program whose output is on the screen.
fn shown_output(state: &AppState) -> Option<ProgramId> {
    match state.pane {
        Pane::History => state.detail.program.filter(|_| state.detail.open),
        Pane::Submit => targets(state).first().copied(),
        Pane::Connect | Pane::Slaves | Pane::Clients => None,
    }
}

/// Does `command`, if it can be done now.
pub fn handle(state: &mut AppState, command: Command, means: &Means<'_>) {
    if let Err(why) = command.enabled(&situation(state, means.mirror)) {
        let what = command.words().label;
        state.fail(&UserError::new(ErrorCode::RequestInvalid, format!("{}: {why}", what.trim_end_matches('…'))));
        return;
    }
    match command {
        Command::Show(_)
        | Command::Palette
        | Command::Shortcuts
        | Command::AddSlave
        | Command::CloseDetail
        | Command::Newest
        | Command::FocusFilter
        | Command::Filter(_)
        | Command::OpenOutput
        | Command::Why
        | Command::FindInOutput => navigate(state, command, means.mirror),
        Command::Theme(_) | Command::ZoomIn | Command::ZoomOut | Command::ZoomReset => look(state, &command, means.ctx),
        Command::StartHere
        | Command::SwitchMaster
        | Command::LogOut
        | Command::LogIn(_)
        | Command::AskPin(_)
        | Command::Resume(_) => session(state, command, &**means.backend),
        Command::NewTab | Command::CloseTab | Command::Template(_) | Command::Run => {
            write(state, &command, &**means.backend)
        }
        Command::OpenFile
        | Command::ChooseStdin
        | Command::SaveOutput
        | Command::SaveTo(_)
        | Command::ReadFile { .. } => {
            file(state, command, means);
        }
        Command::Stop
        | Command::StopConfirmed(_)
        | Command::RunAgain
        | Command::EditAndRun
        | Command::CopyId
        | Command::CopyOutput => program(state, command, means),
        Command::SetPolicy(policy) => {
            let sentence = format!("Policy: {}", crate::view_model::pulse::policy_words(policy));
            state.awaited.push(Awaited::Done(sentence, means.backend.request(Request::SetPolicy(policy))));
        }
        Command::SetSlots { slave, slots } => {
            let slots = slots.min(limits::SLOTS_MAX);
            let whom = slave.as_deref().map_or_else(|| "Every slave".to_owned(), shown);
            let sentence = format!("{whom} now runs up to {slots} at once");
            let request = Request::SetMaxProcesses { slave, slots };
            state.awaited.push(Awaited::Done(sentence, means.backend.request(request)));
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "`handle` lists every command and sends only its own here")]
fn navigate(state: &mut AppState, command: Command, mirror: &Mirror) {
    match command {
        Command::Show(pane) => {
            state.pane = pane;
            state.submit.focus = pane == Pane::Submit;
        }
        Command::Palette => {
            state.palette = match state.palette {
                Some(_) => None,
                None => Some(PaletteState { focus: true, ..PaletteState::default() }),
            };
        }
        Command::Shortcuts => state.dialog = Some(Dialog::Shortcuts),
        Command::AddSlave => state.dialog = Some(Dialog::AddSlave),
        Command::CloseDetail => {
            state.detail.open = false;
            state.detail.view.search = None;
        }
        Command::Newest => {
            state.pane = Pane::History;
            state.history.rows.top = 0.0;
            state.history.anchor = None;
        }
        Command::FocusFilter => {
            state.pane = Pane::History;
            state.history.focus_filter = true;
        }
        Command::Filter(filter) => {
            state.history.typed.clone_from(&filter.search);
            state.history.typed_at = None;
            if filter != state.history.filter {
                state.history.filter = filter;
                state.history.rows.top = 0.0;
                state.history.anchor = None;
                state.history.cursor = None;
                state.history.selected.clear();
            }
        }
        Command::OpenOutput | Command::Why => {
            let target = targets(state).first().copied();
            state.pane = Pane::History;
            state.detail.open = true;
            if state.detail.program != target {
                state.detail.view.restart();
            }
            state.detail.program = target;
            if command == Command::OpenOutput {
                let row = target.and_then(|id| mirror.program(id));
                state.detail.tab = row.map_or(DetailTab::Output, |row| DetailTab::best_for(row));
            }
        }
        Command::FindInOutput => {
            let view = if state.pane == Pane::Submit {
                state.submit.tab_mut().map(|tab| &mut tab.view)
            } else {
                if state.detail.tab == DetailTab::Use {
                    state.detail.tab = DetailTab::Output;
                }
                Some(&mut state.detail.view)
            };
            if let Some(view) = view {
                view.open_search();
            }
        }
        _ => {}
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "`handle` lists every command and sends only its own here")]
fn look(state: &mut AppState, command: &Command, ctx: &egui::Context) {
    match command {
        Command::Theme(choice) => {
            state.settings.theme = *choice;
            ctx.set_theme(*choice);
        }
        Command::ZoomIn => state.settings.zoom(true),
        Command::ZoomOut => state.settings.zoom(false),
        Command::ZoomReset => state.settings.zoom_percent = 100,
        _ => {}
    }
    ctx.set_zoom_factor(state.settings.zoom_percent as f32 / 100.0);
    state.settings.save();
}

#[expect(clippy::wildcard_enum_match_arm, reason = "`handle` lists every command and sends only its own here")]
fn session(state: &mut AppState, command: Command, backend: &dyn Backend) {
    state.connect.error = None;
    match command {
        Command::StartHere => {
            state.connect.starting = true;
            let progress = Arc::clone(&state.connect.progress);
            state.awaited.push(Awaited::Start(backend.start_here(progress)));
        }
        Command::SwitchMaster => {
            state.pane = Pane::Connect;
            state.connect.pin = None;
        }
        Command::LogOut => {
            backend.log_out();
            forget_programs(state);
            state.pane = Pane::Connect;
        }
        Command::AskPin(address) => {
            state.connect.asking_pin = true;
            state.connect.pin = None;
            state.awaited.push(Awaited::Pin(backend.fetch_pin(&address)));
        }
        Command::LogIn(login) => {
            state.connect.password.clear();
            state.connect.confirmed = Some((login.address.clone(), login.pin.clone()));
            forget_programs(state);
            state.connect.error = backend.log_in(login).err();
        }
        Command::Resume(number) => {
            if let Some(known) = backend.known().get(number) {
                forget_programs(state);
                state.connect.address.clone_from(&known.address);
                state.connect.user.clone_from(&known.user);
                state.connect.error = backend.resume(known).err();
            }
        }
        _ => {}
    }
}

/// Another master knows other programs.
pub(crate) fn forget_programs(state: &mut AppState) {
    state.history = crate::state::HistoryState::default();
    state.detail = crate::state::DetailState::default();
    state.outputs = crate::output::Outputs::default();
    state.specs.clear();
    state.refused.clear();
    state.whys.clear();
    for tab in &mut state.submit.tabs {
        tab.run = Run::None;
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "`handle` lists every command and sends only its own here")]
fn write(state: &mut AppState, command: &Command, backend: &dyn Backend) {
    state.pane = Pane::Submit;
    match command {
        Command::NewTab => state.submit.add_empty(),
        Command::CloseTab => state.submit.close(),
        Command::Template(language) => {
            if let Some(sample) = crate::templates::sample(language) {
                state.submit.add_sample(sample);
            }
        }
        Command::Run => {
            let Some(tab) = state.submit.tab_mut() else { return };
            match tab.spec() {
                Ok((spec, copies)) => {
                    let id = tab.id;
                    tab.run = Run::Submitting;
                    state.awaited.push(Awaited::Submit(id, backend.submit(spec, copies)));
                }
                Err(error) => tab.run = Run::Refused(error),
            }
        }
        _ => {}
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "`handle` lists every command and sends only its own here")]
fn file(state: &mut AppState, command: Command, means: &Means<'_>) {
    let choose = |state: &mut AppState, purpose: Purpose| {
        let asked = means.dialogs.choose(&purpose);
        state.submit.choosing = Some(Choosing { purpose, asked });
    };
    match command {
        Command::OpenFile => choose(state, Purpose::Source),
        Command::ChooseStdin => choose(state, Purpose::Stdin),
        Command::SaveOutput => {
            let name = shown_output(state)
                .and_then(|id| means.mirror.program(id))
                .map_or_else(|| "output.txt".to_owned(), |row| suggested_name(row, tab_stream(state)));
            choose(state, Purpose::Save(name));
        }
        Command::SaveTo(path) => {
            if let Some(row) = shown_output(state).and_then(|id| means.mirror.program(id)) {
                let asked = crate::saving::save(means.backend, row, tab_stream(state), &path);
                state.awaited.push(Awaited::Saved(asked));
            }
        }
        Command::ReadFile { path, as_stdin } => {
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
        _ => {}
    }
}

/// The stream that the open tab shows.
fn tab_stream(state: &AppState) -> Stream {
    match (state.pane, state.detail.tab) {
        (Pane::History, DetailTab::Errors) => Stream::Stderr,
        (Pane::History, DetailTab::Compile) => Stream::Compile,
        _ => Stream::Stdout,
    }
}

fn suggested_name(row: &ProgramView, stream: Stream) -> String {
    let stem: String =
        row.name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '-' }).collect();
    let kind = match stream {
        Stream::Stdout => "output",
        Stream::Stderr => "errors",
        Stream::Compile => "compile",
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
        Purpose::Source => Command::ReadFile { path: path.to_owned(), as_stdin: false },
        Purpose::Stdin => Command::ReadFile { path: path.to_owned(), as_stdin: true },
        Purpose::Save(_) => Command::SaveTo(path.to_owned()),
    };
    handle(state, command, means);
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

#[expect(clippy::wildcard_enum_match_arm, reason = "`handle` lists every command and sends only its own here")]
fn program(state: &mut AppState, command: Command, means: &Means<'_>) {
    let targets = targets(state);
    let first = targets.first().copied();
    match command {
        Command::Stop => {
            let alive: Vec<_> = targets
                .iter()
                .filter_map(|id| means.mirror.program(*id))
                .filter(|row| !row.state.is_final())
                .map(|row| (row.id, history::name(row), state_word(row.state)))
                .collect();
            state.dialog = Some(Dialog::ConfirmStop(alive));
        }
        Command::StopConfirmed(ids) => {
            let name =
                |id: &ProgramId| means.mirror.program(*id).map_or_else(|| id.to_string(), |row| history::name(row));
            for ids in ids.chunks(limits::COPIES_PER_REQUEST_MAX) {
                let names = ids.iter().map(name).collect();
                let request = Request::Cancel { ids: ids.to_vec() };
                state.awaited.push(Awaited::Stop(names, means.backend.request(request)));
            }
        }
        Command::RunAgain => {
            let rows: Vec<_> = targets.iter().filter_map(|id| means.mirror.program(*id)).collect();
            let again = |row: &&Arc<ProgramView>| {
                means.backend.request(Request::Again { id: row.id, new_id: client::submit::new_id() })
            };
            state.awaited.push(Awaited::Again(Again {
                names: rows.iter().map(|row| history::name(row)).collect(),
                open: rows.iter().map(again).collect(),
                refused: None,
            }));
        }
        Command::EditAndRun => {
            let Some(id) = first else { return };
            state.pane = Pane::Submit;
            match state.specs.get(&id).cloned() {
                Some(spec) => state.submit.add_spec(&spec),
                None => state.awaited.push(Awaited::Spec(id, true, means.backend.request(Request::Spec { id }))),
            }
        }
        Command::CopyId => {
            let ids: Vec<String> = targets.iter().map(ToString::to_string).collect();
            means.ctx.copy_text(ids.join("\n"));
            state.say(match ids.as_slice() {
                [one] => format!("Copied {one}"),
                several => format!("Copied {} IDs", several.len()),
            });
        }
        Command::CopyOutput => copy_output(state, means),
        _ => {}
    }
}

fn copy_output(state: &mut AppState, means: &Means<'_>) {
    let Some(output) = shown_output(state).and_then(|id| state.outputs.get(id)) else { return };
    let text = output.stream(tab_stream(state));
    let lines: Vec<String> = (0..text.line_count()).map(|index| text.line(index)).collect();
    if lines.is_empty() {
        state.fail(&UserError::new(ErrorCode::RequestInvalid, "there is nothing to copy yet"));
        return;
    }
    let count = lines.len() as u64;
    means.ctx.copy_text(lines.join("\n") + "\n");
    state.say(format!("Copied {}", crate::view_model::counted(count, "line", "lines")));
}

/// Where the first screen belongs: when nothing is known and nothing is shown yet.
pub fn open_first_pane(state: &mut AppState, mirror: &Mirror) {
    if mirror.link == Link::Off && mirror.summary.is_none() {
        state.pane = Pane::Connect;
    }
}
