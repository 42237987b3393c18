//! Tabs of the submit pane, and running what is in them.

use crate::{
    answers::Awaited,
    backend::Backend,
    command::{Edit, Pane},
    editing::{self, Run},
    state::AppState,
};

/// Does what concerns the text that is being written.
pub(super) fn handle(state: &mut AppState, edit: &Edit, backend: &dyn Backend) {
    state.pane = Pane::Submit;
    match edit {
        Edit::NewTab => state.submit.add_empty(),
        Edit::CloseTab => state.submit.close(),
        Edit::Template(language) => {
            if let Some(sample) = crate::templates::sample(language) {
                state.submit.add_sample(sample);
            }
        }
        Edit::Run => {
            let Some(tab) = state.submit.tab_mut() else { return };
            match tab.spec() {
                Ok((spec, copies)) if tab.inputs.is_empty() => {
                    let id = tab.id;
                    tab.run = Run::Submitting(None);
                    state.awaited.push(Awaited::Submit(id, backend.submit(spec, copies, Vec::new())));
                }
                Ok((spec, copies)) => {
                    let id = tab.id;
                    tab.run = Run::Sending(None);
                    let files = editing::read(&tab.inputs);
                    state.awaited.push(Awaited::Files(id, Box::new(spec), copies, files));
                }
                Err(error) => tab.run = Run::Refused(error),
            }
        }
    }
}
