//! The JSON that scripts read. What stands here never changes its meaning; fields are only added.

use common::{
    Outcome, Timestamp,
    outcome::signal_name,
    view::{Ceiling, ClientView, ProgramView, SlaveView},
};
use serde_json::{Value, json};

/// RFC 3339 in UTC with milliseconds.
pub(crate) fn time(at: Timestamp) -> String {
    let micros = i64::try_from(at.0).unwrap_or(i64::MAX);
    // An instant that no calendar has comes only from a broken peer.
    let instant = jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{instant:.3}")
}

/// One program.
pub(crate) fn program(row: &ProgramView) -> Value {
    json!({
        "id": row.id.to_string(),
        "name": row.name,
        "language": row.language,
        "state": row.state.word(),
        "outcome": row.outcome.as_ref().map(outcome),
        "slave_id": row.slave_id.map(|id| id.to_string()),
        "slave_name": row.slave_name,
        "client": row.client.to_string(),
        "user": row.user,
        "attempt": row.attempt,
        "priority": row.priority,
        "progress_percent": row.progress.as_ref().map(|progress| percent(progress.percent)),
        "submitted_at": time(row.submitted_at),
        "started_at": row.started_at.map(time),
        "ended_at": row.ended_at.map(time),
        "usage": row.usage.map(|usage| json!({
            "wall_ms": usage.wall.as_millis(),
            "cpu_ms": usage.cpu.as_millis(),
            "memory_peak_bytes": usage.memory_peak.0,
        })),
        "output_bytes": row.output_bytes,
        "error_bytes": row.error_bytes,
        "output_truncated": row.output_truncated,
        "index": row.index,
        "copies": row.copies,
        "unknown_since": row.unknown_since.map(time),
    })
}

/// A tenth of a per cent is as exact as a program's word for it; not a number becomes null.
fn percent(percent: f32) -> Value {
    json!((f64::from(percent) * 10.0).round() / 10.0)
}

fn outcome(outcome: &Outcome) -> Value {
    let mut exit_code = None;
    let mut signal = None;
    let mut limit_word = None;
    let mut stopped_by = None;
    let mut detail = outcome.sentence();
    match outcome {
        Outcome::Exited { code } => exit_code = Some(*code),
        Outcome::Signalled { signal: number } => signal = Some(signal_name(*number)),
        Outcome::CompileError { detail: text } if !text.trim().is_empty() => {
            detail = format!("{detail}\n{}", text.trim_end());
        }
        Outcome::Limit { limit, .. } => limit_word = Some(limit.word()),
        Outcome::Cancelled { by } => stopped_by = Some(by),
        Outcome::CompileError { .. }
        | Outcome::NotSupported { .. }
        | Outcome::NotFound { .. }
        | Outcome::Lost { .. } => {}
    }
    json!({
        "kind": outcome.kind(),
        "exit_code": exit_code,
        "signal": signal,
        "limit": limit_word,
        "by": stopped_by,
        "detail": detail,
    })
}

/// One slave.
pub(crate) fn slave(row: &SlaveView) -> Value {
    let languages: Vec<_> =
        row.languages.iter().map(|offer| json!({ "name": offer.name, "version": offer.version })).collect();
    json!({
        "id": row.id.to_string(),
        "name": row.name,
        "address": row.address,
        "state": row.state.word(),
        "running": row.running,
        "slots": row.slots,
        "languages": languages,
        "connected_since": time(row.connected_since),
        "aside": row.aside,
        "isolation": {
            "level": row.isolation.level.word(),
            "guards": row.isolation.guards.iter().map(|guard| {
                json!({ "name": guard.name, "on": guard.on, "detail": guard.detail })
            }).collect::<Vec<_>>(),
        },
        "ceiling": ceiling(&row.ceiling),
    })
}

/// What a slave never exceeds; a processor time of null is bounded by the wall time alone.
fn ceiling(ceiling: &Ceiling) -> Value {
    let limits = &ceiling.limits;
    json!({
        "wall_time_ms": limits.wall_time.as_millis(),
        "cpu_time_ms": limits.cpu_time.map(common::Duration::as_millis),
        "memory_bytes": limits.memory.0,
        "processes": limits.processes,
        "output_bytes": limits.output.0,
        "file_size_bytes": limits.file_size.0,
        "disk_bytes": limits.disk.0,
        "open_files": limits.open_files,
        "network": ceiling.network,
    })
}

/// One client.
pub(crate) fn client(row: &ClientView) -> Value {
    json!({
        "id": row.id.to_string(),
        "user": row.user,
        "address": row.address,
        "kind": row.kind.word(),
        "connected_since": time(row.connected_since),
        "running": row.running,
    })
}

#[cfg(test)]
pub(crate) mod tests;
