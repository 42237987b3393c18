//! Stops the selected programs, runs them again, copies what they are.

use super::{Means, shown_output, tab_stream, targets};
use crate::{
    again::Again,
    answers::Awaited,
    command::{Pane, Programs},
    state::{AppState, Dialog},
    view_model::{Standing, counted, history},
};
use common::{ErrorCode, ProgramId, UserError, limits, message::Request, program::State};

/// Programs that are run again without asking first: more may be a slip of the hand.
const UNASKED_MAX: usize = 100;

/// Does what concerns the selected programs.
pub(super) fn handle(state: &mut AppState, command: Programs, means: &Means<'_>) {
    let targets = targets(state);
    let first = targets.first().copied();
    match command {
        Programs::Stop => {
            let alive: Vec<_> = targets
                .iter()
                .filter_map(|id| means.mirror.program(*id))
                .filter(|row| !row.state.is_final())
                .map(|row| (row.id, history::name(row), Standing::of(row).word()))
                .collect();
            state.dialog = Some(Dialog::ConfirmStop(alive));
        }
        Programs::StopConfirmed(ids) => {
            for ids in ids.chunks(limits::COPIES_PER_REQUEST_MAX) {
                let names = ids.iter().map(|id| name(*id, means)).collect();
                let request = Request::Cancel { ids: ids.to_vec() };
                state.awaited.push(Awaited::Stop(names, means.backend.request(request)));
            }
        }
        Programs::Suspend => stand_still(state, true, &targets, means),
        Programs::Resume => stand_still(state, false, &targets, means),
        Programs::ChangeWallTime => {
            let Some(id) = first else { return };
            let typed = state.specs.get(&id).map(|spec| spec.limits.wall_time.to_string()).unwrap_or_default();
            state.dialog = Some(Dialog::WallTime { id, name: name(id, means), typed, focus: true });
        }
        Programs::SetWallTime(id, wall_time) => {
            let sentence = format!("{} may run for {wall_time} in all", name(id, means));
            let request = Request::SetWallTime { id, wall_time };
            state.awaited.push(Awaited::WallTime(id, sentence, means.backend.request(request)));
        }
        Programs::SendInput(id, text) => {
            let Some(row) = means.mirror.program(id) else { return };
            if let Err(error) = state.inputs.line(row).send(&text) {
                state.fail(&error);
            }
        }
        Programs::EndInput => {
            if let Some(row) = shown_output(state).and_then(|id| means.mirror.program(id)) {
                state.inputs.line(row).end();
            }
        }
        Programs::RunAgain => {
            if targets.len() > UNASKED_MAX {
                state.dialog = Some(Dialog::ConfirmAgain(targets));
            } else {
                run_again(state, &targets, means);
            }
        }
        Programs::RunAgainConfirmed(ids) => run_again(state, &ids, means),
        Programs::EditAndRun => {
            let Some(id) = first else { return };
            state.pane = Pane::Submit;
            match state.specs.get(&id).cloned() {
                Some(spec) => state.submit.add_spec(&spec),
                None => state.awaited.push(Awaited::Spec(id, true, means.backend.request(Request::Spec { id }))),
            }
        }
        Programs::CopyId => {
            let ids: Vec<String> = targets.iter().map(ToString::to_string).collect();
            means.ctx.copy_text(ids.join("\n"));
            state.say(match ids.as_slice() {
                [one] => format!("Copied {one}"),
                several => format!("Copied {} IDs", several.len()),
            });
        }
        Programs::CopyOutput => copy_output(state, means),
    }
}

/// Suspends those that run, or resumes those that are suspended.
fn stand_still(state: &mut AppState, suspend: bool, targets: &[ProgramId], means: &Means<'_>) {
    let from = if suspend { State::Running } else { State::Suspended };
    let ids: Vec<_> =
        targets.iter().copied().filter(|id| means.mirror.program(*id).is_some_and(|row| row.state == from)).collect();
    for ids in ids.chunks(limits::COPIES_PER_REQUEST_MAX) {
        let names = ids.iter().map(|id| name(*id, means)).collect();
        let ids = ids.to_vec();
        let request = if suspend { Request::Suspend { ids } } else { Request::Resume { ids } };
        state.awaited.push(Awaited::StandStill { suspend, names, asked: means.backend.request(request) });
    }
}

fn run_again(state: &mut AppState, ids: &[ProgramId], means: &Means<'_>) {
    let Some(first) = ids.first() else { return };
    state.awaited.push(Awaited::Again(Again::new(name(*first, means), ids)));
}

/// What people call the program; its ID when its row is not here any more.
fn name(id: ProgramId, means: &Means<'_>) -> String {
    means.mirror.program(id).map_or_else(|| id.to_string(), |row| history::name(row))
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
    state.say(format!("Copied {}", counted(count, "line", "lines")));
}
