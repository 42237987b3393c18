//! Changes how the master works.

use crate::{
    answers::Awaited,
    backend::Backend,
    command::Master,
    state::{AppState, Dialog},
    view_model::pulse::policy_words,
    widgets::shown,
};
use common::{limits, message::Request};

/// Asks the master to work otherwise.
pub(super) fn handle(state: &mut AppState, command: Master, backend: &dyn Backend) {
    let (sentence, request) = match command {
        Master::SetPolicy(policy) => (format!("Policy: {}", policy_words(policy)), Request::SetPolicy(policy)),
        Master::SetSlots { slave, slots } => {
            let slots = slots.min(limits::SLOTS_MAX);
            let whom = slave.as_deref().map_or_else(|| "Every slave".to_owned(), shown);
            (format!("{whom} now runs up to {slots} at once"), Request::SetMaxProcesses { slave, slots })
        }
        Master::SetAside(slave) => {
            state.dialog = Some(Dialog::SetAside { slave, reason: String::new(), focus: true });
            return;
        }
        Master::SetAsideBecause { slave, reason } => {
            (format!("{} is set aside", shown(&slave)), Request::SetAside { slave, reason })
        }
        Master::TakeBack(slave) => (format!("{} is taken back", shown(&slave)), Request::TakeBack { slave }),
    };
    state.awaited.push(Awaited::Done(sentence, backend.request(request)));
}
