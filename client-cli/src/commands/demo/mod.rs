//! `ruche demo`: a master and a slave on this computer, and sample programs in several languages.

mod samples;

use super::{block_on, history::programs_table, submit::rows};
use crate::{
    failure::{FAILED, Failure, Outcome, say},
    output::print,
    reading::read_request,
    terminal,
};
use client::{
    connection::Client,
    local::{Local, Options, data_folder},
    reply,
    submit::Submission,
};
use common::{
    ErrorCode, Outcome as ProgramOutcome, ProgramId, UserError,
    escape::{Lines, visible},
    message::{Request, Stream},
    program::State,
    view::{ClientKind, ProgramView},
};
use samples::{SAMPLES, Sample};
use std::{collections::BTreeSet, time::Duration};

/// Time for all samples together, compilers included.
const DEMO_TIME: Duration = Duration::from_secs(300);
/// Between two looks at programs that run.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub(super) fn demo() -> Outcome {
    // A folder of its own, so that it never meets the one of the window.
    let options = Options { folder: data_folder()?.join("demo"), slots: None };
    let mut closed = None;
    let local = Local::start(&options, |step| {
        if let Err(failure) = print(&format!("{step}\n")) {
            closed = Some(failure);
        }
    })?;
    if let Some(failure) = closed {
        return Err(failure);
    }
    let result = block_on(async {
        let all = tokio::time::timeout(DEMO_TIME, show(&local));
        all.await.unwrap_or_else(|_| {
            let sentence = format!("the samples did not end within {} s", DEMO_TIME.as_secs());
            let hint = format!("read the logs in {}", local.folder().display());
            Err(UserError::new(ErrorCode::Timeout, sentence).with_hint(hint).into())
        })
    });
    if result.is_ok() {
        print("Stopping the slave and the master…\n")?;
    }
    drop(local);
    result
}

async fn show(local: &Local) -> Outcome {
    let (client, _news) = Client::connect(local.target(), ClientKind::Cli, &local.credentials()).await?;
    let slaves = reply::slaves(client.request(Request::Slaves).await?)?;
    let offered: BTreeSet<_> =
        slaves.iter().flat_map(|slave| slave.languages.iter().map(|offer| offer.name.as_str())).collect();
    let languages: Vec<_> = offered.iter().copied().collect();
    print(&format!("\nThis machine offers {}.\n", visible(languages.join(", ").as_bytes(), Lines::Escape)))?;
    let able = |sample: &&Sample| offered.contains(sample.language) || sample.runs_without_its_language();
    let chosen: Vec<_> = SAMPLES.iter().filter(able).collect();
    let skipped: BTreeSet<_> = SAMPLES.iter().filter(|sample| !able(sample)).map(|sample| sample.language).collect();
    if !skipped.is_empty() {
        let skipped: Vec<_> = skipped.into_iter().collect();
        print(&format!("Skipped, because it is not installed: {}.\n", skipped.join(", ")))?;
    }

    print(&format!("Submitting {} sample programs…\n", chosen.len()))?;
    let mut ids = Vec::new();
    for sample in &chosen {
        let mut submission = Submission::new(sample.spec(), 1)?;
        submission.send(&client).await?;
        ids.extend(submission.ids());
    }
    if let Some(rows) = under_way(&client, &ids).await? {
        print("\nThe history while some run (✓ done, ∑ running, ✗ failed), newest first:\n\n")?;
        print_history(&rows)?;
    }
    reply::ended(client.request(Request::Wait { ids: ids.clone() }).await?)?;
    let rows = rows(&client, &ids).await?;
    print("\nThe history when all have ended:\n\n")?;
    print_history(&rows)?;
    print_one_output(&client, &rows).await?;
    verdict(&chosen, &rows)
}

/// The rows at a moment when some have ended and some run; none when that moment never comes.
async fn under_way(client: &Client, ids: &[ProgramId]) -> Result<Option<Vec<ProgramView>>, UserError> {
    loop {
        let rows = rows(client, ids).await?;
        let any = |state: State| rows.iter().any(|row| row.state == state);
        if any(State::Running) && any(State::Done) && any(State::Failed) {
            return Ok(Some(rows));
        }
        if rows.iter().all(|row| row.state.is_final()) {
            return Ok(None);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn print_history(rows: &[ProgramView]) -> Result<(), Failure> {
    let newest_first: Vec<_> = rows.iter().rev().cloned().collect();
    let columns = terminal::columns();
    print(&programs_table(&newest_first, columns).render(columns, terminal::colours()))
}

/// The output of the first program that printed something, and who ran it.
async fn print_one_output(client: &Client, rows: &[ProgramView]) -> Result<(), Failure> {
    let Some(row) = rows.iter().find(|row| row.output_bytes > 0) else { return Ok(()) };
    let text = read_output(client, row.id).await?;
    let slave = match (&row.slave_name, row.slave_id) {
        (Some(name), Some(id)) => format!("{name} ({id})"),
        (name, id) => name.clone().or_else(|| id.map(|id| id.to_string())).unwrap_or_else(|| "no slave".to_owned()),
    };
    let head = format!("\nThe output of {}, which ran on {slave}:\n", row.name);
    print(&visible(head.as_bytes(), Lines::Keep))?;
    for line in visible(&text, Lines::Keep).lines() {
        print(&format!("  {line}\n"))?;
    }
    Ok(())
}

async fn read_output(client: &Client, id: ProgramId) -> Result<Vec<u8>, UserError> {
    reply::output(client.request(read_request(id, Stream::Stdout, 0, false)).await?).map(|output| output.bytes)
}

/// Compares each end with the expected one.
fn verdict(chosen: &[&Sample], rows: &[ProgramView]) -> Outcome {
    let mut surprises = 0;
    for (sample, row) in chosen.iter().zip(rows) {
        let met = row.outcome.as_ref().is_some_and(|outcome| sample.expected.is_met_by(outcome));
        if !met {
            surprises += 1;
            let how = row.outcome.as_ref().map_or_else(|| "did not end".to_owned(), ProgramOutcome::sentence);
            let text = format!("✗ {} should have ended with {}: {how}", row.name, sample.expected.words());
            say(&format!("{}\n", visible(text.as_bytes(), Lines::Escape)));
        }
    }
    if surprises > 0 {
        say(&format!("{surprises} of {} samples did not end as they should.\n", rows.len()));
        return Ok(FAILED);
    }
    let count = rows.len();
    print(&format!(
        "\nEach of the {count} samples ended as it should.\n\
         To see this in a window, run `make run` (or `ruche-gui`) where there is a display.\n"
    ))?;
    Ok(0)
}
