//! `ruche list`, `ruche show` and `ruche why`.

use crate::{
    arguments::{List, Show},
    failure::Outcome,
    json,
    output::{print, print_json},
    session::Session,
    table::{Cell, Colour, NOT_KNOWN, Table, ago, instant},
    terminal,
};
use client::reply;
use common::{
    ByteSize, Timestamp, UserError,
    escape::{Lines, visible},
    limits::PAGE_ROWS_MAX,
    message::{HistoryQuery, Request},
    program::State,
    view::ProgramView,
};
use serde_json::Value;

/// Columns from which IDs are shown whole.
const WIDE: usize = 140;
/// Characters of a shortened ID: its end, which is random; its beginning tells only the time.
const SHORT_ID: usize = 8;

pub(super) async fn list(options: List) -> Outcome {
    let (rows, total) = matching(&options).await?;
    if options.json {
        print_json(&Value::Array(rows.iter().map(json::program).collect()))?;
        return Ok(0);
    }
    let columns = terminal::columns();
    let mut text = programs_table(&rows, columns).render(columns, terminal::colours());
    let hidden = total.saturating_sub(rows.len() as u64);
    if rows.is_empty() {
        text = if total == 0 { "No program matches.\n".to_owned() } else { text };
    } else if hidden > 0 && columns.is_some() {
        text.push_str(&format!("… and {hidden} older; `--limit {total}` shows all\n"));
    }
    print(&text)?;
    Ok(0)
}

/// As many rows as are wanted, and how many match in all.
async fn matching(options: &List) -> Result<(Vec<ProgramView>, u64), UserError> {
    let query = |missing: u64, before: Option<u64>| HistoryQuery {
        states: options.state.clone(),
        search: options.search.clone(),
        mine: options.mine,
        before,
        skip: 0,
        limit: u32::try_from(missing).unwrap_or(u32::MAX).min(PAGE_ROWS_MAX),
    };
    // Nothing is asked for by `--limit 0` but who asks.
    if options.limit == 0 {
        Session::open().await?;
        return Ok((Vec::new(), 0));
    }
    let (session, first) = Session::open_asking(Request::List(query(options.limit, None))).await?;
    let (mut rows, total) = reply::page(first)?;
    let mut last = rows.len() < PAGE_ROWS_MAX as usize;
    while !last && (rows.len() as u64) < options.limit {
        let query = query(options.limit - rows.len() as u64, rows.last().map(|row| row.sequence));
        let limit = query.limit as usize;
        let (page, _) = reply::page(session.ask(Request::List(query)).await?)?;
        last = page.len() < limit;
        rows.extend(page);
    }
    Ok((rows, total))
}

/// The history as a table.
pub(super) fn programs_table(rows: &[ProgramView], columns: Option<usize>) -> Table {
    let now = transport::clock::now();
    let whole_ids = columns.is_none_or(|columns| columns >= WIDE);
    let head = ["STATE", "NAME", "LANGUAGE", "SLAVE", "SUBMITTED", "TOOK", "ID", "OUTCOME"];
    let mut table = Table::new(&head, &[1, 3, 7]);
    for row in rows {
        let id = row.id.to_string();
        let id = if whole_ids { id } else { format!("…{}", &id[id.len().saturating_sub(SHORT_ID)..]) };
        // Of lines it was not known how many there would be.
        let name = if row.copies != 1 { format!("{} [{}]", row.name, row.index) } else { row.name.clone() };
        table.row(vec![
            Cell::standing(row.state, row.unknown_since.is_some()),
            Cell::new(&name),
            Cell::new(row.language.as_deref().unwrap_or("-")),
            Cell::new(row.slave_name.as_deref().unwrap_or("-")),
            Cell::new(&ago(row.submitted_at, now)),
            Cell::new(&took(row, now)),
            Cell::new(&id).coloured(Colour::Quiet),
            Cell::new(&story(row)),
        ]);
    }
    table
}

/// How long it ran, or has run.
fn took(row: &ProgramView, now: Timestamp) -> String {
    match (row.usage, row.started_at, row.ended_at) {
        (Some(usage), Some(_), _) => usage.wall.to_string(),
        (None, Some(started), Some(ended)) => ended.since(started).to_string(),
        (None, Some(started), None) => now.since(started).to_string(),
        (_, None, _) => "-".to_owned(),
    }
}

/// What there is to say: how it ended, how far it is, or its last line.
fn story(row: &ProgramView) -> String {
    if row.unknown_since.is_some() {
        return "the connection to its slave is lost; whether it still runs is not known".to_owned();
    }
    match (&row.outcome, &row.progress) {
        (Some(outcome), _) if row.state != State::Done => outcome.sentence(),
        (None, Some(progress)) => format!("{:.0} % {}", progress.percent, progress.text).trim_end().to_owned(),
        (Some(_) | None, _) => row.last_line.clone(),
    }
}

pub(super) async fn show(options: &Show) -> Outcome {
    let row = reply::program(Session::open_asking_about(&options.id, |id| Request::Show { id }).await?)?;
    if options.json {
        print_json(&json::program(&row))?;
    } else {
        print(&description(&row, transport::clock::now()))?;
    }
    Ok(0)
}

/// Everything about one program, a line each.
fn description(row: &ProgramView, now: Timestamp) -> String {
    let mut text = String::new();
    let mut line = |head: &str, value: &str| {
        text.push_str(&format!("{head:<11}{}\n", visible(value.as_bytes(), Lines::Escape)));
    };
    line("Program", &row.name);
    line("ID", &row.id.to_string());
    match row.unknown_since {
        None => line("State", &format!("{} {}", row.state.sign(), row.state.word())),
        Some(since) => {
            let since = instant(since, now);
            let sign = State::Lost.sign();
            line("State", &format!("{sign} {NOT_KNOWN}: running when the connection to its slave was lost, {since}"));
        }
    }
    match &row.outcome {
        Some(outcome) => line("Outcome", &outcome.sentence()),
        None if row.state == State::Waiting && !row.last_line.is_empty() => line("Waits", &row.last_line),
        None => {}
    }
    if let Some(progress) = &row.progress {
        line("Progress", format!("{:.0} % {}", progress.percent, progress.text).trim_end());
    }
    line("Language", row.language.as_deref().unwrap_or("- (a command)"));
    match row.copies {
        0 => line("Line", &format!("{} (counted from 0)", row.index)),
        1 => {}
        copies => line("Copy", &format!("{} of {copies} (counted from 0)", row.index)),
    }
    match (&row.slave_name, row.slave_id) {
        (Some(name), Some(id)) => line("Slave", &format!("{name} ({id})")),
        (Some(name), None) => line("Slave", name),
        (None, Some(id)) => line("Slave", &id.to_string()),
        (None, None) => line("Slave", "-"),
    }
    line("User", &row.user);
    line("Client", &row.client.to_string());
    line("Attempt", &row.attempt.to_string());
    line("Priority", &row.priority.to_string());
    line("Submitted", &instant(row.submitted_at, now));
    if let Some(started) = row.started_at {
        line("Started", &instant(started, now));
    }
    if let Some(ended) = row.ended_at {
        line("Ended", &instant(ended, now));
    }
    line("Took", &took(row, now));
    if let Some(usage) = row.usage {
        line("Used", &format!("{} of processor time, {} of memory at most", usage.cpu, usage.memory_peak));
    }
    let cut = if row.output_truncated { ", cut by the output limit" } else { "" };
    let sizes = format!("{}, standard error {}{cut}", ByteSize(row.output_bytes), ByteSize(row.error_bytes));
    line("Output", &sizes);
    text
}

pub(super) async fn why(id: &str) -> Outcome {
    let explanation = reply::why(Session::open_asking_about(id, |id| Request::Why { id }).await?)?;
    let mut text = format!("{}\n", visible(explanation.sentence.as_bytes(), Lines::Escape));
    match explanation.ahead {
        Some(0) => text.push_str("Nothing comes before it.\n"),
        Some(1) => text.push_str("1 program comes before it.\n"),
        Some(count) => text.push_str(&format!("{count} programs come before it.\n")),
        None => {}
    }
    if !explanation.slaves.is_empty() {
        let mut table = Table::new(&["SLAVE", "ABLE", "REASON"], &[2]);
        for slave in &explanation.slaves {
            let able = if slave.able { Cell::new("✓ yes") } else { Cell::new("✗ no") };
            let colour = if slave.able { Colour::Good } else { Colour::Bad };
            table.row(vec![Cell::new(&slave.slave), able.coloured(colour), Cell::new(&slave.reason)]);
        }
        text.push('\n');
        text.push_str(&table.render(None, terminal::colours()));
    }
    print(&text)?;
    Ok(0)
}
