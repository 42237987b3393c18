//! Reading: pages of history, single programs, bodies and outputs. Works on a snapshot of what is committed.

use super::{
    StoreError, body,
    commit::{signed, state_of},
    files, pages,
    query::{Answer, KnownProgram, LookUp, Query, StoredOutput},
    seal,
};
use crate::core::identity;
use common::{
    AttemptKey, ClientId, Duration, ProgramId, SlaveId, Timestamp,
    escape::RawText,
    frame::decode_record,
    limits::{OUTPUT_CHUNK_BYTES_MAX, PAGE_ROWS_MAX},
    message::{Stream, status::Event},
    view::ProgramView,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::{collections::BTreeMap, path::PathBuf};

/// Columns of one row of history, in the order that [`view`] reads.
pub(super) const COLUMNS: &str =
    "p.sequence, p.id, b.name, b.language, p.state, p.outcome, s.id, s.name, p.client, o.name,
    p.attempt, b.priority, p.idx, p.copies, p.submitted_at, p.started_at, p.ended_at, p.usage, p.stdout_bytes,
    p.stderr_bytes, p.compile_bytes, p.truncated, p.last_line,
    (SELECT sums FROM seal WHERE seal.key = p.sequence * 8 + 7), p.files_bytes, b.live";
pub(super) const TABLES: &str = "program p JOIN spec b ON b.key = p.spec JOIN owner o ON o.key = p.owner
    LEFT JOIN slave s ON s.key = p.slave";

/// A connection that reads, and the folder of outputs.
pub(crate) struct Reader {
    connection: Connection,
    outputs: PathBuf,
}

impl Reader {
    pub(crate) const fn new(connection: Connection, outputs: PathBuf) -> Self {
        Self { connection, outputs }
    }

    /// Answers a question; an error is an answer too.
    pub(crate) fn answer(&mut self, query: &Query) -> Answer {
        let answered = match query {
            // A file that only grows: the database does not know of it yet.
            Query::LiveOutput { key, stream, offset, bytes_max } => {
                self.live_output(*key, *stream, *offset, *bytes_max).map_err(unreadable)
            }
            Query::Page { .. }
            | Query::Events { .. }
            | Query::Programs(_)
            | Query::Outcomes(_)
            | Query::Spec(_)
            | Query::Output { .. } => self.try_answer(query),
        };
        match answered {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(error = %error, "the history cannot be read");
                Answer::Failed(error.into())
            }
        }
    }

    fn live_output(&self, key: AttemptKey, stream: Stream, offset: u64, bytes_max: u32) -> std::io::Result<Answer> {
        let length = (bytes_max as usize).min(OUTPUT_CHUNK_BYTES_MAX);
        let bytes = files::read(&self.outputs, key, stream, offset, length)?;
        Ok(Answer::Output(Some(StoredOutput { owner: None, offset, bytes, end: false })))
    }

    fn try_answer(&mut self, query: &Query) -> Result<Answer, StoreError> {
        // One snapshot for the whole answer.
        let transaction = self.connection.unchecked_transaction()?;
        let answer = match query {
            Query::Page { query, owner } => {
                let (rows, total) = pages::page(&transaction, query, owner.as_deref())?;
                Answer::Page(rows, total)
            }
            Query::Events { limit, before, subject } => {
                Answer::Events(events(&transaction, *limit, *before, subject.as_deref())?)
            }
            Query::Programs(ids) => {
                Answer::Programs(ids.iter().map(|id| program(&transaction, *id)).collect::<Result<_, _>>()?)
            }
            Query::Outcomes(ids) => {
                let mut outcomes = BTreeMap::new();
                for id in ids {
                    if let Some(view) = program(&transaction, *id)? {
                        outcomes.insert(*id, (view.user, view.outcome));
                    }
                }
                Answer::Outcomes(outcomes)
            }
            Query::Spec(id) => Answer::Spec(spec(&transaction, *id)?.map(Box::new)),
            Query::Output { id, stream, offset, bytes_max } => {
                Answer::Output(output(&transaction, &self.outputs, *id, *stream, *offset, *bytes_max)?)
            }
            // Needs no snapshot.
            Query::LiveOutput { key, stream, offset, bytes_max } => {
                self.live_output(*key, *stream, *offset, *bytes_max).map_err(unreadable)?
            }
        };
        Ok(answer)
    }

    /// What the store knows of IDs that a client submits.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub(crate) fn look_up(&mut self, ids: &LookUp) -> Result<Vec<KnownProgram>, StoreError> {
        match ids {
            LookUp::Nothing => Ok(Vec::new()),
            LookUp::These(ids) => self.known(ids),
            LookUp::Between(first, last) => self.known_between(*first, *last),
        }
    }

    /// What the store knows of the first and the last of these IDs, and of one more if any lies between. Copies that
    /// nobody touched have no rows: of them the core knows.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn known_between(&mut self, first: ProgramId, last: ProgramId) -> Result<Vec<KnownProgram>, StoreError> {
        let sql = "SELECT id FROM program WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT 1";
        let lowest: Option<ProgramId> = self
            .connection
            .prepare_cached(sql)?
            .query_row([first.0, last.0], |row| row.get(0).map(ProgramId))
            .optional()?;
        let Some(lowest) = lowest else { return Ok(Vec::new()) };
        let mut ids = vec![first, lowest, last];
        ids.dedup();
        self.known(&ids)
    }

    /// Which of these IDs the store knows already. New IDs lie beyond all known ones, so that this
    /// is one look at a page that is in memory.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn known(&mut self, ids: &[ProgramId]) -> Result<Vec<KnownProgram>, StoreError> {
        let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) else { return Ok(Vec::new()) };
        let sql = "SELECT 1 FROM program WHERE id BETWEEN ?1 AND ?2 LIMIT 1";
        let mut any = self.connection.prepare_cached(sql)?;
        if any.query_row([first.0, last.0], |_| Ok(())).optional()?.is_none() {
            return Ok(Vec::new());
        }
        let sql = "SELECT p.sequence, o.name, b.hash, p.idx, p.copies, p.entry FROM program p
                   JOIN owner o ON o.key = p.owner JOIN spec b ON b.key = p.spec WHERE p.id = ?1";
        let mut one = self.connection.prepare_cached(sql)?;
        let mut known = Vec::new();
        for id in ids {
            let found = one.query_row([id.0], |row| {
                let entry = row.get::<_, Option<Vec<u8>>>(5)?.map(RawText);
                Ok(KnownProgram {
                    id: *id,
                    sequence: row.get::<_, i64>(0)?.cast_unsigned(),
                    owner: row.get(1)?,
                    identity: identity(&row.get(2)?, entry.as_ref()),
                    index: row.get(3)?,
                    copies: row.get(4)?,
                })
            });
            known.extend(found.optional()?);
        }
        Ok(known)
    }
}

fn unreadable(error: std::io::Error) -> StoreError {
    StoreError::Unreadable(format!("an output file: {error}"))
}

pub(super) fn view(row: &Row<'_>) -> Result<ProgramView, StoreError> {
    let time = |place: usize| -> rusqlite::Result<Option<Timestamp>> {
        Ok(row.get::<_, Option<i64>>(place)?.map(|at| Timestamp(at.cast_unsigned())))
    };
    let number = |place: usize| -> rusqlite::Result<u64> { Ok(row.get::<_, i64>(place)?.cast_unsigned()) };
    let record = |place: usize| row.get::<_, Option<Vec<u8>>>(place);
    let unreadable = |error: common::frame::FrameError| StoreError::Unreadable(error.to_string());
    if state_of(row.get(4)?)?.is_final() && !is_whole(row)? {
        return Err(StoreError::Unreadable(format!("the row of {} was changed on the disk", ProgramId(row.get(1)?))));
    }
    Ok(ProgramView {
        sequence: number(0)?,
        id: ProgramId(row.get(1)?),
        name: row.get(2)?,
        language: row.get(3)?,
        state: state_of(row.get(4)?)?,
        outcome: record(5)?.map(|bytes| decode_record(&bytes)).transpose().map_err(unreadable)?,
        slave_id: row.get::<_, Option<_>>(6)?.map(SlaveId),
        slave_name: row.get(7)?,
        client: ClientId(row.get(8)?),
        user: row.get(9)?,
        attempt: row.get(10)?,
        priority: row.get(11)?,
        index: row.get(12)?,
        copies: row.get(13)?,
        progress: None,
        submitted_at: time(14)?.unwrap_or_default(),
        started_at: time(15)?,
        ended_at: time(16)?,
        usage: record(17)?.map(|bytes| decode_record(&bytes)).transpose().map_err(unreadable)?,
        output_bytes: number(18)?,
        error_bytes: number(19)?,
        compile_bytes: number(20)?,
        output_truncated: row.get(21)?,
        last_line: row.get(22)?,
        unknown_since: None,
        files_bytes: number(24)?,
        live: row.get(25)?,
    })
}

/// Whether the row of a program that ended is as it was written.
pub(super) fn is_whole(row: &Row<'_>) -> Result<bool, rusqlite::Error> {
    let number = |place: usize| -> rusqlite::Result<u64> { Ok(row.get::<_, i64>(place)?.cast_unsigned()) };
    let time = |place: usize| -> rusqlite::Result<Option<u64>> {
        Ok(row.get::<_, Option<i64>>(place)?.map(i64::cast_unsigned))
    };
    let (outcome, usage): (Option<Vec<u8>>, Option<Vec<u8>>) = (row.get(5)?, row.get(17)?);
    let (last_line, sums): (String, Option<Vec<u8>>) = (row.get(22)?, row.get(23)?);
    let ended = seal::EndedRow {
        sequence: number(0)?,
        attempt: row.get(10)?,
        slave: row.get::<_, Option<_>>(6)?.map(SlaveId),
        started_at: time(15)?,
        ended_at: time(16)?,
        state: row.get(4)?,
        outcome: outcome.as_deref(),
        usage: usage.as_deref(),
        bytes: [number(18)?, number(19)?, number(20)?, number(24)?],
        truncated: row.get(21)?,
        last_line: &last_line,
    };
    Ok(ended.is_whole(sums.as_deref()))
}

fn program(connection: &Connection, id: ProgramId) -> Result<Option<ProgramView>, StoreError> {
    let mut statement = connection.prepare_cached(&format!("SELECT {COLUMNS} FROM {TABLES} WHERE p.id = ?1"))?;
    let mut rows = statement.query([id.0])?;
    rows.next()?.map(view).transpose()
}

/// A body, its owner, hash and form, the wall time that people gave it since, and the entry of its program.
type StoredSpec = (Vec<u8>, String, [u8; 32], i64, Option<i64>, Option<Vec<u8>>);

fn spec(connection: &Connection, id: ProgramId) -> Result<Option<(common::ProgramSpec, String)>, StoreError> {
    let sql =
        "SELECT b.body, o.name, b.hash, b.form, p.wall_time, p.entry FROM program p JOIN spec b ON b.key = p.spec JOIN owner o ON o.key = p.owner
               WHERE p.id = ?1";
    let found: Option<StoredSpec> = connection
        .prepare_cached(sql)?
        .query_row([id.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?)))
        .optional()?;
    let Some((body, owner, hash, form, wall_time, entry)) = found else { return Ok(None) };
    if *blake3::hash(&body).as_bytes() != hash {
        return Err(StoreError::Unreadable(format!("the body of {id} was changed on the disk")));
    }
    let mut spec = body::decode(form, &body).map_err(|error| StoreError::Unreadable(error.to_string()))?;
    spec.limits.wall_time = wall_time.map_or(spec.limits.wall_time, |time| Duration(time.cast_unsigned()));
    if let Some(entry) = entry {
        spec = spec.with_entry(&RawText(entry));
    }
    Ok(Some((spec, owner)))
}

fn events(
    connection: &Connection,
    limit: u32,
    before: Option<Timestamp>,
    subject: Option<&str>,
) -> Result<Vec<Event>, StoreError> {
    let sql = "SELECT at, subject, text FROM event WHERE at < ?1 AND (?3 IS NULL OR subject = ?3)
               ORDER BY key DESC LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let before = before.map_or(i64::MAX, |at| signed(at.0.min(i64::MAX.cast_unsigned())));
    let rows = statement.query_map(params![before, limit.min(PAGE_ROWS_MAX), subject], |row| {
        Ok(Event { at: Timestamp(row.get::<_, i64>(0)?.cast_unsigned()), subject: row.get(1)?, text: row.get(2)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn output(
    connection: &Connection,
    outputs: &std::path::Path,
    id: ProgramId,
    stream: Stream,
    offset: u64,
    bytes_max: u32,
) -> Result<Option<StoredOutput>, StoreError> {
    let sql =
        "SELECT p.sequence, p.attempt, o.name, p.stdout_bytes, p.stderr_bytes, p.compile_bytes, p.files_bytes, p.state
               FROM program p JOIN owner o ON o.key = p.owner WHERE p.id = ?1";
    let number =
        |row: &Row<'_>, place: usize| -> rusqlite::Result<u64> { Ok(row.get::<_, i64>(place)?.cast_unsigned()) };
    let found = connection.prepare_cached(sql)?.query_row([id.0], |row| {
        let place = 3 + stream as usize;
        Ok((
            number(row, 0)?,
            row.get::<_, u32>(1)?,
            row.get::<_, String>(2)?,
            number(row, place)?,
            row.get::<_, i64>(7)?,
        ))
    });
    let Some((sequence, attempt, owner, total, state)) = found.optional()? else { return Ok(None) };
    let ended = state_of(state)?.is_final();
    let room = (bytes_max as usize).min(OUTPUT_CHUNK_BYTES_MAX);
    let tail: Option<(i64, Vec<u8>)> = connection
        .prepare_cached("SELECT start, bytes FROM output WHERE key = ?1")?
        .query_row([signed(sequence * 8 + stream as u64)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let known = tail.as_ref().map(|(start, bytes)| (start.cast_unsigned(), bytes.as_slice()));
    if ended && !seal::tail_is_whole(connection, sequence, stream, known)? {
        return Err(StoreError::Unreadable(format!("the output of {id} was changed on the disk")));
    }
    let (start, tail) = tail.map_or((total, Vec::new()), |(start, bytes)| (start.cast_unsigned(), bytes));
    let mut bytes = Vec::new();
    if offset < start {
        let length = room.min(usize::try_from(start - offset).unwrap_or(room));
        let key = common::AttemptKey { program: id, attempt };
        bytes = if ended {
            seal::read(connection, outputs, (sequence, key), stream, (offset, length, start))?
        } else {
            files::read(outputs, key, stream, offset, length).map_err(unreadable)?
        };
    }
    let reached = offset + bytes.len() as u64;
    if reached >= start && bytes.len() < room {
        let from = usize::try_from(reached - start).unwrap_or(usize::MAX).min(tail.len());
        let to = from.saturating_add(room - bytes.len()).min(tail.len());
        bytes.extend_from_slice(&tail[from..to]);
    }
    let end = ended && offset + bytes.len() as u64 >= total;
    Ok(Some(StoredOutput { owner: Some(owner), offset, bytes, end }))
}
