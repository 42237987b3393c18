//! `ruche submit`: submit and return.

use super::{
    each_line::each_line,
    files,
    prepare::{complete, prepare},
    run::send_again,
};
use crate::{
    arguments::Submit,
    failure::{Failure, Outcome},
    json,
    output::{JsonArray, print, print_json},
    session::Session,
};
use client::{connection::Client, reply, submit::Submission};
use common::{ErrorCode, ProgramId, UserError, message::Request, view::ProgramView};
use std::{ffi::OsString, fmt::Write};

/// Rows that are asked for at once.
const ROWS_AT_ONCE: usize = 256;
/// IDs that are written at once.
const IDS_AT_ONCE: usize = 1_000;

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
    if let Some(file) = &options.each_line {
        return each_line(session, spec, file, &picked, options.json).await;
    }
    let mut submission = Submission::new(spec, options.count.unwrap_or(1))?;
    files::send(&mut session, &picked).await?;
    if let Err(error) = submission.send(session.client()).await {
        send_again(&mut submission, &mut session, &picked, error).await?;
    }
    if options.json {
        print_rows(session.client(), submission.ids(), submission.count() > 1).await?;
    } else {
        print_ids(submission.ids())?;
    }
    Ok(0)
}

/// Prints these IDs, one on each line.
pub(super) fn print_ids(mut ids: impl Iterator<Item = ProgramId>) -> Result<(), Failure> {
    loop {
        let mut lines = String::with_capacity(IDS_AT_ONCE * 37);
        for id in ids.by_ref().take(IDS_AT_ONCE) {
            writeln!(lines, "{id}").map_err(|_| std::io::Error::other("no memory for the list of IDs"))?;
        }
        if lines.is_empty() {
            return Ok(());
        }
        print(&lines)?;
    }
}

/// Prints these programs, as one object or as an array.
pub(super) async fn print_rows(
    client: &Client,
    ids: impl Iterator<Item = ProgramId>,
    array: bool,
) -> Result<(), Failure> {
    if array {
        let mut array = JsonArray::begin();
        add_rows(client, ids, &mut array).await?;
        return array.end();
    }
    let ids: Vec<ProgramId> = ids.collect();
    match rows(client, &ids).await?.first() {
        Some(row) => print_json(&json::program(row)),
        None => Ok(()),
    }
}

/// Adds these programs to an array that is printed as it grows.
pub(super) async fn add_rows(
    client: &Client,
    mut ids: impl Iterator<Item = ProgramId>,
    array: &mut JsonArray,
) -> Result<(), Failure> {
    loop {
        let some: Vec<ProgramId> = ids.by_ref().take(ROWS_AT_ONCE).collect();
        if some.is_empty() {
            return Ok(());
        }
        for row in rows(client, &some).await? {
            array.add(&json::program(&row))?;
        }
    }
}

/// The rows of these programs, in their order.
pub(super) async fn rows(client: &Client, ids: &[ProgramId]) -> Result<Vec<ProgramView>, UserError> {
    let asked: Vec<_> = ids.iter().map(|id| client.request(Request::Show { id: *id })).collect();
    let mut rows = Vec::with_capacity(ids.len());
    for pending in asked {
        rows.push(reply::program(pending.await?)?);
    }
    Ok(rows)
}
