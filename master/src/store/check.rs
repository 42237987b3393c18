//! Tests everything that the data folder says of itself: the database's own structure, that its rows agree with one
//! another, that every output is there and unchanged, and the chain of the audit.

use super::{
    SqliteStore, StoreError, audit, body,
    commit::{signed, state_of},
    files,
    history::{COLUMNS, TABLES, is_whole},
    open::{look_for_damage, open_reader},
    seal::{self, stream_of},
};
use common::{
    AttemptKey, Outcome, ProgramId, UserError, frame::decode_record, message::Stream, program::State, view::Usage,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::{fs::File, path::Path};

/// Problems told; more would not help anybody.
const PROBLEMS_MAX: usize = 50;

/// Tests the folder of a running master, without disturbing it.
///
/// # Errors
/// When it cannot be read at all.
pub(crate) fn running(data: &Path) -> Result<Vec<String>, UserError> {
    Ok(problems(&open_reader(data)?, &data.join("outputs")))
}

/// Tests the folder of a stopped master; the caller has locked it.
///
/// # Errors
/// When it cannot be read at all, or was written by a newer release.
pub(crate) fn stopped(data: &Path) -> Result<Vec<String>, UserError> {
    let opened = look_for_damage(data).and_then(|()| SqliteStore::open(data));
    match opened {
        Ok(store) => Ok(of(&store, &data.join("outputs"))),
        Err(StoreError::Damaged(what)) => Ok(vec![what]),
        Err(StoreError::Failed(error)) => Ok(vec![format!("the database cannot be opened: {error}")]),
        Err(error @ (StoreError::Full(_) | StoreError::Unreadable(_) | StoreError::TooNew { .. })) => Err(error.into()),
    }
}

/// Tests an open store.
pub(crate) fn of(store: &SqliteStore, outputs: &Path) -> Vec<String> {
    problems(&store.connection, outputs)
}

/// What was found.
#[derive(Default)]
struct Found(Vec<String>);

impl Found {
    fn add(&mut self, problem: String) {
        if self.0.len() < PROBLEMS_MAX {
            self.0.push(problem);
        }
    }
}

fn problems(connection: &Connection, outputs: &Path) -> Vec<String> {
    let mut found = Found::default();
    let tests: [(&str, &Test<'_>); 9] = [
        ("the database", &structure),
        ("the totals", &totals),
        ("the bodies", &specs),
        ("the programs", &programs),
        ("the copies without rows", &arrays),
        ("the ends of programs", &ends),
        ("the outputs", &|connection, found| all_outputs(connection, outputs, found)),
        ("the input files", &|connection, found| {
            let folder = outputs.with_file_name("inputs");
            super::inputs::problems(connection, &folder, |problem| found.add(problem))
        }),
        ("the audit", &chain),
    ];
    // One snapshot, so that what a running master does meanwhile is no contradiction.
    let snapshot = match connection.unchecked_transaction() {
        Ok(snapshot) => snapshot,
        Err(error) => return vec![format!("the database cannot be read: {error}")],
    };
    for (what, test) in tests {
        if let Err(error) = test(&snapshot, &mut found) {
            found.add(format!("{what} cannot be read: {error}"));
        }
    }
    found.0
}

type Test<'a> = dyn Fn(&Connection, &mut Found) -> Result<(), rusqlite::Error> + 'a;

fn structure(connection: &Connection, found: &mut Found) -> Result<(), rusqlite::Error> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({PROBLEMS_MAX})"))?;
    let mut lines = statement.query([])?;
    while let Some(line) = lines.next()? {
        let line: String = line.get(0)?;
        if line != "ok" {
            found.add(format!("the database: {line}"));
        }
    }
    Ok(())
}

fn totals(connection: &Connection, found: &mut Found) -> Result<(), rusqlite::Error> {
    let sql = "SELECT owner, state, sum(counted), sum(told) FROM (
                   SELECT owner, state, count(*) AS counted, 0 AS told FROM program GROUP BY owner, state
                   UNION ALL SELECT owner, 0, count, 0 FROM array
                   UNION ALL SELECT owner, state, 0, programs FROM total)
               GROUP BY owner, state HAVING sum(counted) <> sum(told)";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let [owner, state, counted, told]: [i64; 4] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?];
        found.add(format!("owner {owner} has {counted} programs in state {state}, and the totals say {told}"));
    }
    Ok(())
}

fn specs(connection: &Connection, found: &mut Found) -> Result<(), rusqlite::Error> {
    let mut statement = connection.prepare("SELECT key, name, language, priority, body, hash, form FROM spec")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (key, body, hash): (i64, Vec<u8>, [u8; 32]) = (row.get(0)?, row.get(4)?, row.get(5)?);
        let spec = body::decode(row.get(6)?, &body).ok();
        let columns = (row.get::<_, String>(1)?, row.get::<_, Option<String>>(2)?, row.get::<_, u8>(3)?);
        let same = spec.is_some_and(|spec| {
            *blake3::hash(&body).as_bytes() == hash
                && columns == (spec.name.clone(), spec.language().map(str::to_owned), spec.priority)
        });
        if !same {
            found.add(format!("the body {key} was changed"));
        }
    }
    Ok(())
}

/// Each program is in one state, and what is known of it fits that state.
fn programs(connection: &Connection, found: &mut Found) -> Result<(), rusqlite::Error> {
    let sql = "SELECT p.id, p.state, p.outcome, p.ended_at, p.usage, p.slave, p.attempt, p.started_at,
               EXISTS (SELECT 1 FROM spec b WHERE b.key = p.spec), EXISTS (SELECT 1 FROM owner o WHERE o.key = p.owner),
               p.slave IS NULL OR EXISTS (SELECT 1 FROM slave s WHERE s.key = p.slave), p.copies = 0 OR p.idx < p.copies,
               EXISTS (SELECT 1 FROM program q INDEXED BY program_id WHERE q.id = p.id AND q.sequence = p.sequence)
               FROM program p NOT INDEXED";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(problem) = contradiction(row)? {
            found.add(format!("the program {}: {problem}", ProgramId(row.get(0)?)));
        }
    }
    Ok(())
}

/// Copies without rows have neither a sequence nor an ID that another program has.
fn arrays(connection: &Connection, found: &mut Found) -> Result<(), rusqlite::Error> {
    let sql = format!(
        "SELECT {}, EXISTS (SELECT 1 FROM spec b WHERE b.key = a.spec), EXISTS (SELECT 1 FROM owner o WHERE o.key = a.owner)
         FROM array a ORDER BY a.first",
        super::arrays::COLUMNS
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let sql = "SELECT EXISTS (SELECT 1 FROM program WHERE sequence BETWEEN ?1 AND ?2)
               OR EXISTS (SELECT 1 FROM program WHERE id BETWEEN ?3 AND ?4)";
    let mut others = connection.prepare(sql)?;
    let (mut end, mut ids) = (0, Vec::new());
    while let Some(row) = rows.next()? {
        let array = super::arrays::Array::read(row)?;
        let last = array.count.checked_sub(1).and_then(|places| array.id.nth(places));
        let fits = u64::from(array.index) + array.count <= u64::from(array.copies);
        let Some(last) = last.filter(|_| fits && row.get(9) == Ok(true) && row.get(10) == Ok(true)) else {
            found.add(format!("the {} copies from {} on make no sense", array.count, array.id));
            continue;
        };
        let taken: bool = others
            .query_row(params![signed(array.first), signed(array.end() - 1), array.id.0, last.0], |row| row.get(0))?;
        if taken || array.first < end {
            found.add(format!("of the {} copies from {} on some are other programs too", array.count, array.id));
        }
        end = array.end();
        ids.push((array.id, last));
    }
    ids.sort_unstable();
    if let Some(pair) = ids.windows(2).find(|pair| pair[1].0 <= pair[0].1) {
        found.add(format!("the copies from {} and from {} on have IDs in common", pair[0].0, pair[1].0));
    }
    Ok(())
}

fn contradiction(row: &Row<'_>) -> Result<Option<String>, rusqlite::Error> {
    let Ok(state) = state_of(row.get(1)?) else { return Ok(Some("its state is none".to_owned())) };
    let outcome: Option<Vec<u8>> = row.get(2)?;
    let (ended, slave): (Option<i64>, Option<i64>) = (row.get(3)?, row.get(5)?);
    let usage: Option<Vec<u8>> = row.get(4)?;
    for (place, what) in [(8, "body"), (9, "owner"), (10, "slave"), (11, "number among its copies"), (12, "index")] {
        if !row.get::<_, bool>(place)? {
            return Ok(Some(format!("its {what} does not exist")));
        }
    }
    if usage.is_some_and(|usage| decode_record::<Usage>(&usage).is_err()) {
        return Ok(Some("what it used cannot be read".to_owned()));
    }
    if state.is_final() {
        let outcome = outcome.and_then(|outcome| decode_record::<Outcome>(&outcome).ok());
        return Ok(match outcome {
            Some(outcome) if outcome.state() == state && ended.is_some() => None,
            Some(outcome) => Some(format!("it is {} and {} at once", state.word(), outcome.state().word())),
            None => Some("how it ended cannot be read".to_owned()),
        });
    }
    let runs = matches!(state, State::Running | State::Suspended);
    Ok(if outcome.is_some() || ended.is_some() {
        Some(format!("it is {} and has ended at once", state.word()))
    } else if runs && slave.is_none() {
        Some("it runs nowhere".to_owned())
    } else {
        None
    })
}

/// Rows and small outputs of programs that ended are as they were written.
fn ends(connection: &Connection, found: &mut Found) -> Result<(), rusqlite::Error> {
    let mut statement = connection.prepare(&format!("SELECT {COLUMNS} FROM {TABLES} WHERE p.ended_at IS NOT NULL"))?;
    let mut tails = connection.prepare("SELECT start, bytes FROM output WHERE key = ?1")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (sequence, id) = (row.get::<_, i64>(0)?.cast_unsigned(), ProgramId(row.get(1)?));
        if !is_whole(row)? {
            found.add(format!("the row of {id} was changed"));
        }
        for stream in Stream::ALL {
            let tail: Option<(i64, Vec<u8>)> = tails
                .query_row([signed(sequence * 8 + stream as u64)], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let tail = tail.as_ref().map(|(start, bytes)| (start.cast_unsigned(), bytes.as_slice()));
            if !seal::tail_is_whole(connection, sequence, stream, tail)? {
                found.add(format!("the output of {id} was changed"));
            }
        }
    }
    Ok(())
}

/// The part of each output of an ended program that is in a file: sequence, attempt, stream, bytes.
///
/// # Errors
/// When the database cannot be read, or what `each` says.
pub(crate) fn outputs_in_files(
    connection: &Connection,
    mut each: impl FnMut(u64, AttemptKey, Stream, u64) -> Result<(), rusqlite::Error>,
) -> Result<(), rusqlite::Error> {
    let sql =
        "SELECT p.sequence, p.id, p.attempt, p.stdout_bytes, p.stderr_bytes, p.compile_bytes, p.files_bytes, o0.start,
               o1.start, o2.start, o3.start FROM program p
               LEFT JOIN output o0 ON o0.key = p.sequence * 8 LEFT JOIN output o1 ON o1.key = p.sequence * 8 + 1
               LEFT JOIN output o2 ON o2.key = p.sequence * 8 + 2 LEFT JOIN output o3 ON o3.key = p.sequence * 8 + 3
               WHERE p.ended_at IS NOT NULL
               AND p.stdout_bytes + p.stderr_bytes + p.compile_bytes + p.files_bytes > 0";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let sequence = row.get::<_, i64>(0)?.cast_unsigned();
        let key = AttemptKey { program: ProgramId(row.get(1)?), attempt: row.get(2)? };
        for (stream, place) in Stream::ALL.into_iter().zip(0..) {
            let total: i64 = row.get(3 + place)?;
            let start: Option<i64> = row.get(7 + place)?;
            let in_file = start.unwrap_or(total).cast_unsigned();
            if in_file > 0 {
                each(sequence, key, stream, in_file)?;
            }
        }
    }
    Ok(())
}

fn all_outputs(connection: &Connection, outputs: &Path, found: &mut Found) -> Result<(), rusqlite::Error> {
    outputs_in_files(connection, |_, key, stream, length| {
        let path = files::path(outputs, key, stream);
        match std::fs::metadata(&path) {
            Err(error) => found.add(format!("the output `{}` cannot be read: {error}", path.display())),
            Ok(metadata) if metadata.len() < length => {
                found.add(format!("the output `{}` has {} of {length} bytes", path.display(), metadata.len()));
            }
            Ok(_) => {}
        }
        Ok(())
    })?;
    let sql = "SELECT s.key, s.length, s.sums, p.id, p.attempt FROM seal s LEFT JOIN program p
               ON p.sequence = s.key / 8 WHERE s.sums IS NOT NULL AND s.key % 8 <> 7";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (key, length): (i64, i64) = (row.get(0)?, row.get(1)?);
        let (Some(id), Some(attempt)) = (row.get(3)?, row.get(4)?) else {
            found.add(format!("the checksum {key} belongs to no program"));
            continue;
        };
        let path = files::path(outputs, AttemptKey { program: ProgramId(id), attempt }, stream_of(key));
        let sums = File::open(&path).and_then(|mut file| seal::sums(&mut file, length.cast_unsigned()));
        if sums.is_ok_and(|sums| Some(sums) == row.get(2).ok()) {
            continue;
        }
        found.add(format!("the output `{}` was changed", path.display()));
    }
    Ok(())
}

fn chain(connection: &Connection, found: &mut Found) -> Result<(), rusqlite::Error> {
    match audit::rows(connection) {
        Ok(rows) => audit::broken(&rows).into_iter().for_each(|problem| found.add(problem)),
        Err(error) => found.add(format!("the audit cannot be read: {error}")),
    }
    Ok(())
}
