//! Commands that change or await something: `wait`, `cancel`, `again`, `set`.

use crate::{
    arguments::{PolicyName, Wait},
    failure::{FAILED, Failure, Outcome, TIMEOUT, report},
    output::print,
    session::Session,
};
use client::{reply, submit::new_id};
use common::{
    Duration, ErrorCode, ProgramId, UserError,
    escape::{Lines, visible},
    limits::{COPIES_PER_REQUEST_MAX, PAGE_ROWS_MAX},
    message::{HistoryQuery, Request},
    program::State,
    view::Policy,
};

/// The time slice of round robin when none is given.
const QUANTUM_DEFAULT: Duration = Duration::from_secs(1);

pub(super) async fn wait(options: &Wait) -> Outcome {
    let Some(timeout) = options.timeout else { return wait_for_ever(options).await };
    match tokio::time::timeout(timeout.to_std(), wait_for_ever(options)).await {
        Ok(result) => result,
        Err(_) => {
            report(&UserError::new(ErrorCode::Timeout, format!("not all have ended within {timeout}")));
            Err(Failure::Exit(TIMEOUT))
        }
    }
}

async fn wait_for_ever(options: &Wait) -> Outcome {
    let mut session = Session::open().await?;
    if options.all {
        // Told one by one, so that a reconnection does not add those that were submitted meanwhile.
        let ids = alive(&mut session).await?;
        let mut count = 0;
        for ids in ids.chunks(COPIES_PER_REQUEST_MAX) {
            count += ended(&mut session, ids).await?.len();
        }
        let programs = if count == 1 { "program has" } else { "programs have" };
        print(&format!("{count} {programs} ended\n"))?;
        return Ok(0);
    }
    let ids = session.programs(&options.ids).await?;
    for ids in ids.chunks(COPIES_PER_REQUEST_MAX) {
        let programs = ended(&mut session, ids).await?;
        let mut text = String::new();
        for (id, outcome) in programs {
            let state = outcome.state();
            let sentence = visible(outcome.sentence().as_bytes(), Lines::Escape);
            text.push_str(&format!("{id}  {} {:<9}  {sentence}\n", state.sign(), state.word()));
        }
        print(&text)?;
    }
    Ok(0)
}

/// The programs that have not ended now.
async fn alive(session: &mut Session) -> Result<Vec<ProgramId>, UserError> {
    let states: Vec<_> = State::ALL.into_iter().filter(|state| !state.is_final()).collect();
    let mut ids = Vec::new();
    let mut before = None;
    loop {
        let limit = PAGE_ROWS_MAX;
        let query = HistoryQuery { states: states.clone(), before, limit, ..HistoryQuery::default() };
        match session.ask(Request::List(query)).await.and_then(reply::page) {
            Ok((rows, _)) => {
                ids.extend(rows.iter().map(|row| row.id));
                before = rows.last().map(|row| row.sequence);
                if rows.len() < limit as usize {
                    return Ok(ids);
                }
            }
            Err(error) => session.recover(error).await?,
        }
    }
}

/// Waits for these, also through lost connections.
async fn ended(session: &mut Session, ids: &[ProgramId]) -> Result<Vec<(ProgramId, common::Outcome)>, UserError> {
    loop {
        match session.ask(Request::Wait { ids: ids.to_vec() }).await.and_then(reply::ended) {
            Ok((programs, _)) => return Ok(programs),
            Err(error) => session.recover(error).await?,
        }
    }
}

pub(super) async fn cancel(texts: &[String]) -> Outcome {
    let session = Session::open().await?;
    let ids = session.programs(texts).await?;
    let mut code = 0;
    for ids in ids.chunks(COPIES_PER_REQUEST_MAX) {
        let results = reply::cancelled(session.ask(Request::Cancel { ids: ids.to_vec() }).await?)?;
        for (id, result) in ids.iter().zip(results) {
            match result {
                Ok(state) if state.is_final() => print(&format!("{id}  {} {}\n", state.sign(), state.word()))?,
                Ok(_) => print(&format!("{id}  is being stopped\n"))?,
                Err(error) => {
                    report(&error);
                    code = FAILED;
                }
            }
        }
    }
    Ok(code)
}

pub(super) async fn again(texts: &[String]) -> Outcome {
    let mut session = Session::open().await?;
    let ids = session.programs(texts).await?;
    for id in ids {
        let new_id = new_id();
        // The new ID is the same each time, so that a repeat after a lost connection runs it once.
        loop {
            match session.ask(Request::Again { id, new_id }).await.and_then(reply::submitted) {
                Ok(_) => break,
                Err(error) => session.reconnect(error).await?,
            }
        }
        print(&format!("{new_id}\n"))?;
    }
    Ok(0)
}

pub(super) async fn set_max_processes(slots: u32, slave: Option<String>) -> Outcome {
    let session = Session::open().await?;
    reply::done(session.ask(Request::SetMaxProcesses { slave: slave.clone(), slots }).await?)?;
    let place = slave
        .map_or_else(|| "on each slave".to_owned(), |slave| format!("on {}", visible(slave.as_bytes(), Lines::Escape)));
    let programs = if slots == 1 { "program" } else { "programs" };
    print(&format!("at most {slots} {programs} at once {place}\n"))?;
    Ok(0)
}

pub(super) async fn set_policy(policy: PolicyName, quantum: Option<Duration>) -> Outcome {
    if quantum.is_some() && policy != PolicyName::RoundRobin {
        let error = UserError::new(ErrorCode::RequestInvalid, "only round-robin has a quantum");
        return Err(error.with_hint("leave `--quantum` out").into());
    }
    let policy = match policy {
        PolicyName::Fifo => Policy::Fifo,
        PolicyName::RoundRobin => Policy::RoundRobin { quantum: quantum.unwrap_or(QUANTUM_DEFAULT) },
        PolicyName::Priority => Policy::Priority,
    };
    let session = Session::open().await?;
    reply::done(session.ask(Request::SetPolicy(policy)).await?)?;
    print(&format!("policy {}\n", policy.word()))?;
    Ok(0)
}
