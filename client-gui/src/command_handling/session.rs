//! Connects, logs in and out.

use crate::{
    answers::Awaited,
    backend::Backend,
    command::{Pane, Session},
    editing::Run,
    state::AppState,
};
use std::sync::Arc;

/// Does what concerns the session.
pub(super) fn handle(state: &mut AppState, session: Session, backend: &dyn Backend) {
    state.connect.error = None;
    match session {
        Session::StartHere => {
            state.connect.starting = true;
            let progress = Arc::clone(&state.connect.progress);
            state.awaited.push(Awaited::Start(backend.start_here(progress)));
        }
        Session::SwitchMaster => {
            state.pane = Pane::Connect;
            state.connect.pin = None;
        }
        Session::LogOut => {
            backend.log_out();
            forget_programs(state);
            state.pane = Pane::Connect;
        }
        Session::AskPin(address) => {
            state.connect.asking_pin = true;
            state.connect.pin = None;
            state.awaited.push(Awaited::Pin(backend.fetch_pin(&address)));
        }
        Session::LogIn(login) => {
            state.connect.password.clear();
            state.connect.confirmed = Some((login.address.clone(), login.pin.clone()));
            forget_programs(state);
            state.connect.error = backend.log_in(login).err();
        }
        Session::Resume(number) => {
            if let Some(known) = backend.known().get(number) {
                forget_programs(state);
                state.connect.address.clone_from(&known.address);
                state.connect.user.clone_from(&known.user);
                state.connect.error = backend.resume(known).err();
            }
        }
    }
}

/// Another master knows other programs.
pub(crate) fn forget_programs(state: &mut AppState) {
    state.history = crate::state::HistoryState::default();
    state.detail = crate::state::DetailState::default();
    state.outputs = crate::output::Outputs::default();
    state.inputs = crate::input_lines::InputLines::default();
    state.files = crate::collected::FileLists::default();
    state.specs.clear();
    state.refused.clear();
    state.whys.clear();
    for tab in &mut state.submit.tabs {
        tab.run = Run::None;
    }
}
