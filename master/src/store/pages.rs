//! Pages of history, newest first. Copies that nobody touched have no rows (`arrays.rs`): they are listed from what the
//! row of their array says, so that a page is the same whether a program has a row or not.

use super::{
    StoreError,
    arrays::{self, Array},
    commit::{signed, state_number, state_of},
    history::{COLUMNS, TABLES, view},
};
use common::{ProgramId, Timestamp, limits::PAGE_ROWS_MAX, message::HistoryQuery, program::State, view::ProgramView};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashMap;

/// A page, newest first, and how many programs match in all.
pub(super) fn page(
    connection: &Connection,
    query: &HistoryQuery,
    owner: Option<&str>,
) -> Result<(Vec<ProgramView>, u64), StoreError> {
    let owner = match owner {
        None => None,
        Some(name) => {
            let mut statement = connection.prepare_cached("SELECT key FROM owner WHERE name = ?1")?;
            match statement.query_row([name], |row| row.get::<_, i64>(0)).optional()? {
                None => return Ok((Vec::new(), 0)),
                key => key,
            }
        }
    };
    let (sequences, total) = if query.search.trim().is_empty() {
        (sequences(connection, query, owner)?, total(connection, &query.states, owner)?)
    } else {
        search(connection, query, owner)?
    };
    let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE p.sequence = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut views = Vec::with_capacity(sequences.len());
    for sequence in sequences {
        let mut rows = statement.query([sequence])?;
        match rows.next()? {
            Some(row) => views.push(view(row)?),
            None => views.extend(untouched(connection, sequence)?),
        }
    }
    Ok((views, total))
}

/// The totals come from kept counts, however long the history is.
fn total(connection: &Connection, states: &[State], owner: Option<i64>) -> Result<u64, StoreError> {
    let sql = "SELECT state, sum(programs) FROM total WHERE ?1 IS NULL OR owner = ?1 GROUP BY state";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([owner])?;
    let mut total = 0;
    while let Some(row) = rows.next()? {
        if states.is_empty() || states.contains(&state_of(row.get(0)?)?) {
            total += row.get::<_, i64>(1)?.cast_unsigned();
        }
    }
    Ok(total)
}

/// Sequences of a page without a search, from the indexes alone.
fn sequences(connection: &Connection, query: &HistoryQuery, owner: Option<i64>) -> Result<Vec<i64>, StoreError> {
    let limit = i64::from(query.limit.min(PAGE_ROWS_MAX));
    let skip = i64::try_from(query.skip).unwrap_or(i64::MAX).min(i64::MAX - limit);
    let before = query.before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX));
    if query.states.is_empty() && owner.is_none() {
        return plain_sequences(connection, before, skip, limit);
    }
    let states: &[State] = if query.states.is_empty() { &State::ALL } else { &query.states };
    let mut numbers: Vec<i64> = states.iter().map(|state| state_number(*state)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let sql = "SELECT sequence FROM program WHERE owner = ?1 AND state = ?2 AND sequence < ?3
               ORDER BY sequence DESC LIMIT ?4";
    let mut statement = connection.prepare_cached(sql)?;
    let mut owners_of = connection
        .prepare_cached("SELECT owner FROM total WHERE programs > 0 AND state = ?1 AND (?2 IS NULL OR owner = ?2)")?;
    // The newest of each owner and state, merged: at most skip + limit of each can be on the page.
    let mut merged: Vec<i64> = Vec::new();
    if states.contains(&State::Waiting) {
        merged = newest_untouched(connection, owner, before, skip + limit)?;
    }
    for number in numbers {
        let owners: Vec<i64> =
            owners_of.query_map(params![number, owner], |row| row.get(0))?.collect::<Result<_, _>>()?;
        for owner in owners {
            let rows = statement.query_map(params![owner, number, before, skip + limit], |row| row.get(0))?;
            for sequence in rows {
                merged.push(sequence?);
            }
        }
    }
    merged.sort_unstable_by(|a, b| b.cmp(a));
    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
    Ok(merged.into_iter().skip(skip).take(usize::try_from(limit).unwrap_or(0)).collect())
}

/// The whole history: where no sequence is missing, the middle is a jump and not a walk.
fn plain_sequences(connection: &Connection, before: i64, skip: i64, limit: i64) -> Result<Vec<i64>, StoreError> {
    let sql = "SELECT (SELECT min(sequence) FROM program), (SELECT min(first) FROM array),
               (SELECT max(sequence) FROM program), (SELECT first + count - 1 FROM array ORDER BY first DESC LIMIT 1)";
    let ends: [Option<i64>; 4] = connection
        .prepare_cached(sql)?
        .query_row([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]))?;
    let [rows_first, arrays_first, rows_last, arrays_last] = ends;
    let first = rows_first.into_iter().chain(arrays_first).min();
    let (Some(first), Some(last)) = (first, rows_last.max(arrays_last)) else { return Ok(Vec::new()) };
    let top = before.min(last.saturating_add(1));
    let programs = i64::try_from(total(connection, &[], None)?).unwrap_or(i64::MAX);
    let count = usize::try_from(limit).unwrap_or(0);
    if last - first + 1 == programs {
        return Ok((first..top.saturating_sub(skip)).rev().take(count).collect());
    }
    let sql = "SELECT sequence FROM program WHERE sequence < ?1 ORDER BY sequence DESC LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut merged = newest_untouched(connection, None, top, skip + limit)?;
    for sequence in statement.query_map([top, skip + limit], |row| row.get(0))? {
        merged.push(sequence?);
    }
    merged.sort_unstable_by(|a, b| b.cmp(a));
    Ok(merged.into_iter().skip(usize::try_from(skip).unwrap_or(usize::MAX)).take(count).collect())
}

/// The newest `wanted` sequences of copies without rows.
fn newest_untouched(
    connection: &Connection,
    owner: Option<i64>,
    before: i64,
    wanted: i64,
) -> Result<Vec<i64>, StoreError> {
    let sql = "SELECT first, count FROM array WHERE first < ?1 AND (?2 IS NULL OR owner = ?2)
               ORDER BY first DESC LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![before, owner, wanted])?;
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (first, count): (i64, i64) = (row.get(0)?, row.get(1)?);
        let end = first.saturating_add(count).min(before);
        found.extend((first..end).rev().take(wanted - found.len()));
        if found.len() >= wanted {
            break;
        }
    }
    Ok(found)
}

/// The row of a copy that has none; none when no array has the sequence.
fn untouched(connection: &Connection, sequence: i64) -> Result<Option<ProgramView>, StoreError> {
    let sql = format!(
        "SELECT {}, b.name, b.language, b.priority, b.live, o.name FROM array a JOIN spec b ON b.key = a.spec
         JOIN owner o ON o.key = a.owner WHERE a.first <= ?1 ORDER BY a.first DESC LIMIT 1",
        arrays::COLUMNS
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([sequence])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let array = Array::read(row)?;
    let sequence = sequence.cast_unsigned();
    if array.end() <= sequence {
        return Ok(None);
    }
    let copy = array.part(sequence, 1);
    Ok(Some(ProgramView {
        id: copy.id,
        sequence,
        name: row.get(9)?,
        language: row.get(10)?,
        state: State::Waiting,
        outcome: None,
        slave_id: None,
        slave_name: None,
        client: copy.client,
        user: row.get(13)?,
        attempt: 0,
        priority: row.get(11)?,
        index: copy.index,
        copies: copy.copies,
        progress: None,
        submitted_at: Timestamp(copy.submitted_at.cast_unsigned()),
        started_at: None,
        ended_at: None,
        usage: None,
        output_bytes: 0,
        error_bytes: 0,
        compile_bytes: 0,
        output_truncated: false,
        last_line: String::new(),
        unknown_since: None,
        files_bytes: 0,
        live: row.get(12)?,
    }))
}

/// What a search has found so far, newest first.
struct Found {
    before: u64,
    skip: u64,
    room: usize,
    skipped: u64,
    total: u64,
    page: Vec<i64>,
}

impl Found {
    /// Programs of these sequences match; each is older than all before.
    fn add(&mut self, first: u64, end: u64) {
        self.total += end - first;
        let end = end.min(self.before).max(first);
        let skipped = (end - first).min(self.skip - self.skipped);
        self.skipped += skipped;
        let room = self.room - self.page.len();
        self.page.extend((first..end - skipped).rev().take(room).map(signed));
    }

    /// Copies of an array match: all of them, or those whose ID does.
    fn add_array(&mut self, array: &Array, all: bool, is_id: impl Fn(ProgramId) -> bool) {
        if all {
            return self.add(array.first, array.end());
        }
        for sequence in (array.first..array.end()).rev() {
            if is_id(array.part(sequence, 1).id) {
                self.add(sequence, sequence + 1);
            }
        }
    }
}

/// Looks at each program once, and at copies without rows together where they cannot differ. Names of bodies, owners
/// and slaves are compared once each and not once a row.
fn search(connection: &Connection, query: &HistoryQuery, owner: Option<i64>) -> Result<(Vec<i64>, u64), StoreError> {
    let needle = query.search.trim().to_lowercase();
    let may_be_id = needle.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let states: Vec<i64> = query.states.iter().map(|state| state_number(*state)).collect();
    let contains = |text: &str| text.to_lowercase().contains(&needle);
    let mut owners: HashMap<i64, bool> = HashMap::new();
    let mut slaves: HashMap<i64, bool> = HashMap::new();
    let named = |sql: &str, found: &mut HashMap<i64, bool>| -> Result<(), StoreError> {
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            found.insert(row.get(0)?, contains(&row.get::<_, String>(1)?));
        }
        Ok(())
    };
    named("SELECT key, name FROM owner", &mut owners)?;
    named("SELECT key, name FROM slave", &mut slaves)?;
    let mut body = connection.prepare_cached("SELECT name, language FROM spec WHERE key = ?1")?;
    let mut last_body = (i64::MIN, false);
    let mut named_so = |spec: i64| -> Result<bool, StoreError> {
        if last_body.0 != spec {
            let (name, language): (String, Option<String>) =
                body.query_row([spec], |row| Ok((row.get(0)?, row.get(1)?)))?;
            last_body = (spec, contains(&name) || language.is_some_and(|language| contains(&language)));
        }
        Ok(last_body.1)
    };
    let wanted =
        |of: i64, state: i64| owner.is_none_or(|wanted| wanted == of) && (states.is_empty() || states.contains(&state));
    let owned = |of: i64| owners.get(&of).copied().unwrap_or(false);
    let is_id = |id: ProgramId| -> bool { may_be_id && id.to_string().contains(&needle) };
    let before = query.before.map_or(u64::MAX, |before| before.min(i64::MAX.cast_unsigned()));
    let room = query.limit.min(PAGE_ROWS_MAX) as usize;
    let mut found = Found { before, skip: query.skip, room, skipped: 0, total: 0, page: Vec::new() };
    let waiting = state_number(State::Waiting);
    let sql = format!("SELECT {} FROM array a ORDER BY a.first DESC", arrays::COLUMNS);
    let mut arrays = connection.prepare_cached(&sql)?;
    let mut arrays = arrays.query_map([], Array::read)?;
    let mut array = arrays.next().transpose()?;
    let sql = "SELECT sequence, id, spec, owner, state, slave FROM program ORDER BY sequence DESC";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let sequence = row.get::<_, i64>(0)?.cast_unsigned();
        while let Some(newer) = array.take_if(|array| array.first > sequence) {
            if wanted(newer.owner, waiting) {
                found.add_array(&newer, named_so(signed(newer.spec))? || owned(newer.owner), is_id);
            }
            array = arrays.next().transpose()?;
        }
        let of: i64 = row.get(3)?;
        if !wanted(of, row.get(4)?) {
            continue;
        }
        let slave: Option<i64> = row.get(5)?;
        let matches = named_so(row.get(2)?)?
            || owned(of)
            || slave.is_some_and(|slave| slaves.get(&slave).copied().unwrap_or(false))
            || is_id(ProgramId(row.get(1)?));
        if matches {
            found.add(sequence, sequence + 1);
        }
    }
    while let Some(older) = array.take() {
        if wanted(older.owner, waiting) {
            found.add_array(&older, named_so(signed(older.spec))? || owned(older.owner), is_id);
        }
        array = arrays.next().transpose()?;
    }
    Ok((found.page, found.total))
}
