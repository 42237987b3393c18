//! `ruche submit`: submit and return.

use super::{
    files,
    prepare::{complete, prepare},
    run::send_again,
};
use crate::{
    arguments::Submit,
    failure::Outcome,
    json,
    output::{print, print_json},
    session::Session,
};
use client::{connection::Client, reply, submit::Submission};
use common::{ErrorCode, ProgramId, UserError, message::Request, view::ProgramView};
use serde_json::Value;
use std::{ffi::OsString, fmt::Write};

/// Rows that are asked for at once.
const ROWS_AT_ONCE: usize = 256;

pub(super) async fn submit(mut options: Submit, arguments: &[OsString]) -> Outcome {
    if options.tty {
        let error = UserError::new(ErrorCode::RequestInvalid, "`submit` returns at once and has no terminal to give");
        return Err(error.with_hint("use `ruche run --tty`").into());
    }
    let picked = files::pick_all(&options.input)?;
    let prepared = prepare(&mut options, arguments)?;
    let mut session = Session::open().await?;
    let mut spec = complete(prepared, &options, &session).await?;
    files::add_to(&mut spec, &picked, &options.collect);
    let mut submission = Submission::new(spec, options.count.unwrap_or(1))?;
    files::send(&mut session, &picked).await?;
    if let Err(error) = submission.send(session.client(), |_| {}).await {
        send_again(&mut submission, &mut session, &picked, error).await?;
    }
    if options.json {
        let rows = rows(session.client(), submission.ids()).await?;
        print_json(&one_or_array(rows.iter().map(json::program), options.count))?;
    } else {
        let mut lines = String::with_capacity(submission.ids().len() * 37);
        for id in submission.ids() {
            writeln!(lines, "{id}").map_err(|_| std::io::Error::other("no memory for the list of IDs"))?;
        }
        print(&lines)?;
    }
    Ok(0)
}

/// The rows of these programs, in their order.
pub(super) async fn rows(client: &Client, ids: &[ProgramId]) -> Result<Vec<ProgramView>, UserError> {
    let mut rows = Vec::with_capacity(ids.len());
    for ids in ids.chunks(ROWS_AT_ONCE) {
        let asked: Vec<_> = ids.iter().map(|id| client.request(Request::Show { id: *id })).collect();
        for pending in asked {
            rows.push(reply::program(pending.await?)?);
        }
    }
    Ok(rows)
}

/// One object, or an array when several copies were asked for.
pub(super) fn one_or_array(mut values: impl Iterator<Item = Value>, count: Option<u32>) -> Value {
    if count.unwrap_or(1) > 1 { Value::Array(values.collect()) } else { values.next().unwrap_or_default() }
}
