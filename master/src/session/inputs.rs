//! Input files that a client sends: taken on threads that may wait, and told to the core when they are whole.

use super::Shared;
use crate::{core::event::Event, event_loop::Input, inputs::Put};
use common::{
    ErrorCode, UserError,
    limits::INPUT_FILES_MAX,
    message::{Reply, Request, status::InputHeld},
};
use std::sync::Arc;
use tokio::sync::oneshot;

fn stopping() -> UserError {
    UserError::new(ErrorCode::Stopping, "the master is stopping")
}

async fn wait_for<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, UserError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| UserError::new(ErrorCode::Internal, format!("an input file was not handled: {error}")))
}

/// Answers `InputsHeld` and `PutInput`.
pub(super) async fn answer(shared: &Shared, user: &Arc<str>, request: Request) -> Result<Reply, UserError> {
    let (inputs, user) = (shared.inputs_kept.clone(), user.clone());
    if let Request::InputsHeld { digests } = request {
        if digests.len() > INPUT_FILES_MAX {
            let sentence =
                format!("{} input files in one request; at most {INPUT_FILES_MAX} are accepted", digests.len());
            return Err(UserError::new(ErrorCode::RequestInvalid, sentence));
        }
        let files = wait_for(move || inputs.held(&user, &digests)).await?;
        return Ok(Reply::InputsHeld { files });
    }
    let Request::PutInput { digest, size, offset, bytes } = request else {
        return Err(UserError::new(ErrorCode::Internal, "this is no request for input files"));
    };
    let _room = shared.room(bytes.len()).await;
    let (asking, of) = (inputs.clone(), user.clone());
    if let Some(bytes) = wait_for(move || asking.room_wanted(&of, digest, size)).await? {
        let (answer, answered) = oneshot::channel();
        if !shared.give(Input::MakeRoom(bytes, answer)).await {
            return Err(stopping());
        }
        answered.await.map_err(|_| stopping())??;
    }
    let held = match wait_for(move || inputs.put(&user, digest, size, offset, &bytes)).await?? {
        Put::Held(held) => held,
        Put::Whole => {
            // Before the client is told: its submit finds it then.
            if !shared.give(Input::Event(Event::InputKept { digest, size })).await {
                return Err(stopping());
            }
            InputHeld::Whole
        }
    };
    Ok(Reply::InputsHeld { files: vec![held] })
}
