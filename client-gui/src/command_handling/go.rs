//! Shows something else.

use super::targets;
use crate::{
    command::{Go, Pane},
    state::{AppState, DetailTab, Dialog, PaletteState},
};
use client::Mirror;

/// Does what shows something else.
pub(super) fn handle(state: &mut AppState, go: Go, mirror: &Mirror) {
    match go {
        Go::Show(pane) => {
            state.pane = pane;
            state.submit.focus = pane == Pane::Submit;
        }
        Go::Palette => {
            state.palette = match state.palette {
                Some(_) => None,
                None => Some(PaletteState { focus: true, ..PaletteState::default() }),
            };
        }
        Go::Shortcuts => state.dialog = Some(Dialog::Shortcuts),
        Go::AddSlave => state.dialog = Some(Dialog::AddSlave),
        Go::CloseDetail => {
            state.detail.open = false;
            state.detail.view.search = None;
        }
        Go::Newest => {
            state.pane = Pane::History;
            state.history.rows.top = 0.0;
            state.history.anchor = None;
        }
        Go::FocusFilter => {
            state.pane = Pane::History;
            state.history.focus_filter = true;
        }
        Go::Filter(filter) => {
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
        Go::OpenOutput | Go::Why => {
            let target = targets(state).first().copied();
            state.pane = Pane::History;
            state.detail.open = true;
            if state.detail.program != target {
                state.detail.view.restart();
            }
            state.detail.program = target;
            if go == Go::OpenOutput {
                let row = target.and_then(|id| mirror.program(id));
                state.detail.tab = row.map_or(DetailTab::Output, |row| DetailTab::best_for(row));
            }
        }
        Go::FocusInput => {
            if state.pane == Pane::History {
                state.detail.tab = DetailTab::Output;
            }
            state.inputs.focus = true;
        }
        Go::FindInOutput => {
            let view = if state.pane == Pane::Submit {
                state.submit.tab_mut().map(|tab| &mut tab.view)
            } else {
                if matches!(state.detail.tab, DetailTab::Use | DetailTab::Files) {
                    state.detail.tab = DetailTab::Output;
                }
                Some(&mut state.detail.view)
            };
            if let Some(view) = view {
                view.open_search();
            }
        }
    }
}
