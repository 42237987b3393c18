//! Answers of the reading threads, checked and passed on to whoever asked.

use super::{Core, accept::Submit, action::Then};
use crate::store::query::{Answer, KnownProgram};
use common::{
    ClientId, ErrorCode, UserError,
    message::{Reply, RequestId},
    view::ProgramView,
};

impl Core {
    pub(super) fn answered(
        &mut self,
        client: ClientId,
        id: RequestId,
        then: Then,
        answer: Answer,
        known: &[KnownProgram],
    ) {
        if !self.clients.contains_key(&client) {
            return;
        }
        let result = match (then, answer) {
            (_, Answer::Failed(error)) => Err(error),
            (Then::Page, Answer::Page(rows, total)) => {
                Ok(Reply::Page { rows: rows.into_iter().map(|row| self.newest(row)).collect(), total })
            }
            (Then::Events, Answer::Events(events)) => Ok(Reply::Events(events)),
            (Then::Show, Answer::Programs(found)) => {
                self.visible(client, found).map(|view| Reply::Program(Box::new(view)))
            }
            (Then::Why, Answer::Programs(found)) => {
                self.visible(client, found).map(|view| Reply::Why(self.explain(&view)))
            }
            (Then::Spec, Answer::Spec(found)) => match found {
                Some(found) if self.may_see(client, &found.1) => Ok(Reply::Spec(Box::new(found.0))),
                Some(_) | None => Err(not_found()),
            },
            (Then::Again(new_id), Answer::Spec(found)) => match found {
                Some(found) if self.may_see(client, &found.1) => {
                    let spec = found.0;
                    self.accept(client, Submit::one(new_id, spec), known)
                }
                Some(_) | None => Err(not_found()),
            },
            (Then::Output, Answer::Output(found)) => match found {
                Some(part) if part.owner.as_ref().is_none_or(|owner| self.may_see(client, owner)) => {
                    Ok(Reply::Output { offset: part.offset, bytes: part.bytes, end: part.end })
                }
                Some(_) | None => Err(not_found()),
            },
            (Then::Wait(ids), Answer::Outcomes(ended)) => return self.wait(client, id, ids, &ended),
            (Then::Cancel(ids), Answer::Outcomes(ended)) => Ok(self.cancel(client, &ids, &ended)),
            (Then::Suspend(ids, suspend), Answer::Outcomes(ended)) => Ok(self.suspend(client, &ids, suspend, &ended)),
            (Then::Late(program), Answer::Outcomes(ended)) => Err(self.too_late(client, program, &ended)),
            (then, answer) => {
                // Not the answer itself: it may hold a program's environment.
                let answer = std::mem::discriminant(&answer);
                tracing::error!(?then, ?answer, "an answer does not fit its question");
                Err(UserError::new(ErrorCode::Internal, "the history gave an answer that does not fit"))
            }
        };
        self.reply(client, id, result);
    }

    fn visible(&self, client: ClientId, found: Vec<Option<ProgramView>>) -> Result<ProgramView, UserError> {
        let view = found.into_iter().flatten().next().ok_or_else(not_found)?;
        if self.may_see(client, &view.user) { Ok(self.newest(view)) } else { Err(not_found()) }
    }

    /// A row of the store with what only the memory knows, such as progress.
    fn newest(&self, row: ProgramView) -> ProgramView {
        match self.by_id.get(&row.id) {
            Some(sequence) => self.program_view(*sequence).unwrap_or(row),
            // Without room an end that is not in the store may not be told yet.
            None if self.refuse.is_some() => row,
            None => self.just_ended.get(&row.id).map_or(row, |ended| ended.view.clone()),
        }
    }
}

/// The same words whether it does not exist or is not the asker's to see.
pub(super) fn not_found() -> UserError {
    UserError::new(ErrorCode::ProgramUnknown, "no such program is known to you")
}
