//! Writing one batch of records in one synced transaction.

use super::{
    Ended, Moved, NewArray, NewProgram, Record, SlaveSeen, SqliteStore, StoreError,
    arrays::{Array, Arrays},
    body, seal,
};
use common::{SlaveId, frame::encode_record, message::status::Event, program::State};
use rusqlite::{Transaction, params};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// Events kept; older ones are dropped.
const EVENTS_KEPT: i64 = 100_000;

/// A state's number in the file: its place in `State::ALL`, which only grows.
pub(super) fn state_number(state: State) -> i64 {
    State::ALL.iter().zip(0_i64..).find_map(|(other, number)| (*other == state).then_some(number)).unwrap_or(0)
}

/// The state of a number in the file.
pub(super) fn state_of(number: i64) -> Result<State, StoreError> {
    usize::try_from(number)
        .ok()
        .and_then(|number| State::ALL.get(number).copied())
        .ok_or_else(|| StoreError::Unreadable(format!("{number} is not a state")))
}

/// SQLite's integers are signed; our counters never reach the sign.
#[expect(clippy::cast_possible_wrap, reason = "a value is stored bit by bit and read back the same way")]
pub(super) const fn signed(value: u64) -> i64 {
    value as i64
}

type Totals = BTreeMap<(i64, i64), i64>;

impl SqliteStore {
    pub(super) fn write(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let mut first_was: HashMap<u64, State> = HashMap::new();
        for record in records {
            if let Record::Moved(moved) = record {
                first_was.entry(moved.sequence).or_insert(moved.was);
            }
        }
        let last: HashMap<u64, usize> = records
            .iter()
            .enumerate()
            .filter_map(|(place, record)| match record {
                Record::Moved(moved) => Some((moved.sequence, place)),
                Record::Ended(ended) => Some((ended.sequence, place)),
                Record::Spec { .. }
                | Record::New(_)
                | Record::Array(_)
                | Record::Changed(_)
                | Record::SlaveSeen(_)
                | Record::SlaveAside { .. }
                | Record::Setting { .. }
                | Record::Event(_)
                | Record::Denied { .. } => None,
            })
            .collect();
        let transaction = self.connection.transaction()?;
        let mut keys =
            Keys { owners: &mut self.owners, slaves: &mut self.slaves, added: Vec::new(), arrays: &mut self.arrays };
        let steps = Steps { first_was, last };
        let result = write_all(&transaction, &mut keys, records, &steps).and_then(|()| Ok(transaction.commit()?));
        if result.is_err() {
            // The transaction is undone, and with it the owners that it added.
            for name in std::mem::take(&mut keys.added) {
                keys.owners.remove(&name);
            }
            self.arrays = Arrays::load(&self.connection)?;
        }
        result
    }
}

/// What a batch does to each program: where it was before, and which record is the last one.
struct Steps {
    first_was: HashMap<u64, State>,
    last: HashMap<u64, usize>,
}

struct Keys<'a> {
    owners: &'a mut HashMap<Arc<str>, i64>,
    slaves: &'a mut HashMap<SlaveId, i64>,
    added: Vec<Arc<str>>,
    arrays: &'a mut Arrays,
}

impl Keys<'_> {
    fn owner(&mut self, transaction: &Transaction<'_>, name: &Arc<str>) -> Result<i64, StoreError> {
        if let Some(key) = self.owners.get(name) {
            return Ok(*key);
        }
        transaction.prepare_cached("INSERT INTO owner (name) VALUES (?1)")?.execute([&**name])?;
        let key = transaction.last_insert_rowid();
        self.owners.insert(name.clone(), key);
        self.added.push(name.clone());
        Ok(key)
    }

    fn slave(&mut self, transaction: &Transaction<'_>, id: Option<SlaveId>) -> Result<Option<i64>, StoreError> {
        let Some(id) = id else { return Ok(None) };
        if let Some(key) = self.slaves.get(&id) {
            return Ok(Some(*key));
        }
        let mut statement = transaction.prepare_cached("SELECT key FROM slave WHERE id = ?1")?;
        let key = statement.query_row([id.0], |row| row.get(0))?;
        self.slaves.insert(id, key);
        Ok(Some(key))
    }
}

fn write_all(
    transaction: &Transaction<'_>,
    keys: &mut Keys<'_>,
    records: &[Record],
    steps: &Steps,
) -> Result<(), StoreError> {
    let mut totals = Totals::new();
    // Programs whose row began as their last step in this batch leaves it.
    let mut begun = HashSet::new();
    for (place, record) in records.iter().enumerate() {
        match record {
            Record::Spec { key, spec, hash } => {
                let sql = "INSERT INTO spec (key, name, language, priority, hash, body, live, form)
                           VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
                let (encoded, live) = (encode_record(&**spec), spec.live.is_some());
                let row =
                    params![signed(*key), spec.name, spec.language(), spec.priority, hash, encoded, live, body::FORM];
                transaction.prepare_cached(sql)?.execute(row)?;
            }
            Record::New(program) => {
                let last = steps.last.get(&program.sequence).map(|place| &records[*place]);
                let moved = if let Some(Record::Moved(moved)) = last { Some(moved) } else { None };
                if moved.is_some() {
                    begun.insert(program.sequence);
                }
                insert(transaction, keys, program, moved, &mut totals)?;
            }
            Record::Array(array) => add_array(transaction, keys, array, &mut totals)?,
            Record::Moved(moved) => {
                let owner = keys.owner(transaction, &moved.user)?;
                count(&mut totals, owner, moved.was, moved.state);
                // Only the last of several steps in one batch is worth a write.
                if steps.last.get(&moved.sequence) == Some(&place) && !begun.contains(&moved.sequence) {
                    let was = steps.first_was.get(&moved.sequence).copied().unwrap_or(moved.was);
                    move_on(transaction, keys, moved, was)?;
                }
            }
            Record::Changed(changed) => {
                make_row(transaction, keys, changed.sequence)?;
                let sql = "UPDATE program SET wall_time = ?2, suspend = ?3 WHERE sequence = ?1";
                let wall_time = changed.wall_time.map(|time| signed(time.0));
                let row = params![signed(changed.sequence), wall_time, changed.suspend];
                transaction.prepare_cached(sql)?.execute(row)?;
            }
            Record::Ended(ended) => {
                let owner = keys.owner(transaction, &ended.user)?;
                count(&mut totals, owner, ended.was, ended.outcome.state());
                make_row(transaction, keys, ended.sequence)?;
                end(transaction, keys, ended)?;
            }
            Record::SlaveSeen(seen) => see_slave(transaction, seen)?,
            Record::SlaveAside { id, reason } => {
                let sql = "UPDATE slave SET aside = ?2 WHERE id = ?1";
                transaction.prepare_cached(sql)?.execute(params![id.0, reason])?;
            }
            Record::Setting { name, value } => match value {
                Some(value) => {
                    let sql = "INSERT INTO setting (name, value) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = ?2";
                    transaction.prepare_cached(sql)?.execute([name, value])?;
                }
                None => {
                    transaction.prepare_cached("DELETE FROM setting WHERE name = ?1")?.execute([name])?;
                }
            },
            Record::Event(event) => write_event(transaction, event)?,
            Record::Denied { who, what, at } => super::audit::add(transaction, *at, who, what)?,
        }
    }
    keys.arrays.write(transaction)?;
    for ((owner, state), change) in totals.into_iter().filter(|(_, change)| *change != 0) {
        let sql = "INSERT INTO total (owner, state, programs) VALUES (?1, ?2, ?3)
                   ON CONFLICT DO UPDATE SET programs = programs + ?3";
        transaction.prepare_cached(sql)?.execute([owner, state, change])?;
    }
    Ok(())
}

fn count(totals: &mut Totals, owner: i64, was: State, is: State) {
    if was != is {
        *totals.entry((owner, state_number(was))).or_default() -= 1;
        *totals.entry((owner, state_number(is))).or_default() += 1;
    }
}

/// The row of a new program; where it has moved on since, it begins there.
fn insert(
    transaction: &Transaction<'_>,
    keys: &mut Keys<'_>,
    program: &NewProgram,
    moved: Option<&Moved>,
    totals: &mut Totals,
) -> Result<(), StoreError> {
    let owner = keys.owner(transaction, &program.user)?;
    *totals.entry((owner, state_number(State::Waiting))).or_default() += 1;
    let slave = keys.slave(transaction, moved.and_then(|moved| moved.slave))?;
    let sql =
        "INSERT INTO program (sequence, id, spec, owner, state, client, idx, copies, submitted_at, entry, attempt,
               slave, started_at, cancel_by, crashes)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
    transaction.prepare_cached(sql)?.execute(params![
        signed(program.sequence),
        program.id.0,
        signed(program.spec),
        owner,
        state_number(moved.map_or(State::Waiting, |moved| moved.state)),
        program.client.0,
        program.index,
        program.copies,
        signed(program.submitted_at.0),
        program.entry.as_ref().map(|entry| &entry.0),
        moved.map_or(0, |moved| moved.attempt),
        slave,
        moved.and_then(|moved| moved.started_at).map(|at| signed(at.0)),
        moved.and_then(|moved| moved.cancel_by.as_deref()),
        moved.map_or(0, |moved| moved.crashes)
    ])?;
    Ok(())
}

fn add_array(
    transaction: &Transaction<'_>,
    keys: &mut Keys<'_>,
    array: &NewArray,
    totals: &mut Totals,
) -> Result<(), StoreError> {
    let owner = keys.owner(transaction, &array.user)?;
    *totals.entry((owner, state_number(State::Waiting))).or_default() += i64::from(array.copies);
    keys.arrays.add(Array {
        first: array.first,
        count: array.copies.into(),
        id: array.id,
        index: 0,
        copies: array.copies,
        spec: array.spec,
        owner,
        client: array.client,
        submitted_at: signed(array.submitted_at.0),
    });
    Ok(())
}

/// A copy of an array gets its row, as it waited, before something of it is written there.
fn make_row(transaction: &Transaction<'_>, keys: &mut Keys<'_>, sequence: u64) -> Result<(), StoreError> {
    let Some(copy) = keys.arrays.take(sequence) else { return Ok(()) };
    let sql = "INSERT INTO program (sequence, id, spec, owner, state, client, idx, copies, submitted_at)
               VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?7, ?8)";
    let Array { first, count: _, id, index, copies, spec, owner, client, submitted_at } = copy;
    let row = params![signed(first), id.0, signed(spec), owner, client.0, index, copies, submitted_at];
    transaction.prepare_cached(sql)?.execute(row)?;
    Ok(())
}

/// Writes where a program is; `was` is its state in the file.
fn move_on(transaction: &Transaction<'_>, keys: &mut Keys<'_>, moved: &Moved, was: State) -> Result<(), StoreError> {
    let slave = keys.slave(transaction, moved.slave)?;
    let started_at = moved.started_at.map(|at| signed(at.0));
    let cancel_by = moved.cancel_by.as_deref();
    if let Some(copy) = keys.arrays.take(moved.sequence) {
        // The first thing that happens to a copy: its row begins with it.
        let sql = "INSERT INTO program (sequence, id, spec, owner, state, client, idx, copies, submitted_at, attempt,
                   slave, started_at, cancel_by, crashes)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
        transaction.prepare_cached(sql)?.execute(params![
            signed(copy.first),
            copy.id.0,
            signed(copy.spec),
            copy.owner,
            state_number(moved.state),
            copy.client.0,
            copy.index,
            copy.copies,
            copy.submitted_at,
            moved.attempt,
            slave,
            started_at,
            cancel_by,
            moved.crashes
        ])?;
        return Ok(());
    }
    if was == moved.state {
        // The state's indexes stay as they are.
        let sql = "UPDATE program SET attempt = ?2, slave = ?3, started_at = ?4, cancel_by = ?5, crashes = ?6
                   WHERE sequence = ?1";
        let row = params![signed(moved.sequence), moved.attempt, slave, started_at, cancel_by, moved.crashes];
        transaction.prepare_cached(sql)?.execute(row)?;
    } else {
        let sql = "UPDATE program SET attempt = ?2, slave = ?3, started_at = ?4, cancel_by = ?5, crashes = ?6,
                   state = ?7 WHERE sequence = ?1";
        let state = state_number(moved.state);
        let row = params![signed(moved.sequence), moved.attempt, slave, started_at, cancel_by, moved.crashes, state];
        transaction.prepare_cached(sql)?.execute(row)?;
    }
    Ok(())
}

fn end(transaction: &Transaction<'_>, keys: &mut Keys<'_>, ended: &Ended) -> Result<(), StoreError> {
    let slave = keys.slave(transaction, ended.slave)?;
    let (outcome, usage) = (encode_record(&ended.outcome), ended.usage.as_ref().map(encode_record));
    let sql = "UPDATE program SET attempt = ?2, slave = ?3, started_at = ?4, state = ?5, ended_at = ?6, outcome = ?7,
               usage = ?8, stdout_bytes = ?9, stderr_bytes = ?10, compile_bytes = ?11, truncated = ?12, last_line = ?13,
               files_bytes = ?14
               WHERE sequence = ?1";
    transaction.prepare_cached(sql)?.execute(params![
        signed(ended.sequence),
        ended.attempt,
        slave,
        ended.started_at.map(|at| signed(at.0)),
        state_number(ended.outcome.state()),
        signed(ended.ended_at.0),
        outcome,
        usage,
        signed(ended.bytes[0]),
        signed(ended.bytes[1]),
        signed(ended.bytes[2]),
        ended.truncated,
        ended.last_line,
        signed(ended.bytes[3])
    ])?;
    for ((tail, bytes), stream) in ended.tails.iter().zip(ended.bytes).zip(0..) {
        // What did not come with the result is in a file.
        let in_file = if tail.bytes.is_empty() { bytes } else { tail.offset };
        if in_file > 0 {
            seal::open(transaction, ended.sequence * 8 + stream, in_file)?;
        }
    }
    for (tail, stream) in ended.tails.iter().zip(0..).filter(|(tail, _)| !tail.bytes.is_empty()) {
        let sql = "INSERT OR REPLACE INTO output (key, start, bytes) VALUES (?1, ?2, ?3)";
        let row = params![signed(ended.sequence * 8 + stream), signed(tail.offset), tail.bytes];
        transaction.prepare_cached(sql)?.execute(row)?;
    }
    let row = seal::EndedRow {
        sequence: ended.sequence,
        attempt: ended.attempt,
        slave: ended.slave,
        started_at: ended.started_at.map(|at| at.0),
        ended_at: Some(ended.ended_at.0),
        state: state_number(ended.outcome.state()),
        outcome: Some(&outcome),
        usage: usage.as_deref(),
        bytes: ended.bytes,
        truncated: ended.truncated,
        last_line: &ended.last_line,
    };
    let tails = ended.tails.each_ref();
    let tails = tails.map(|tail| (!tail.bytes.is_empty()).then_some((tail.offset, tail.bytes.as_slice())));
    seal::seal_row(transaction, &row, tails)?;
    Ok(())
}

fn see_slave(transaction: &Transaction<'_>, seen: &SlaveSeen) -> Result<(), StoreError> {
    let sql = "UPDATE slave SET seen_at = ?2, instance = ?3, slots = ?4, languages = ?5 WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute(params![
        seen.id.0,
        signed(seen.at.0),
        signed(seen.instance),
        seen.slots,
        encode_record(&seen.languages)
    ])?;
    Ok(())
}

fn write_event(transaction: &Transaction<'_>, event: &Event) -> Result<(), StoreError> {
    let mut statement = transaction.prepare_cached("INSERT INTO event (at, subject, text) VALUES (?1, ?2, ?3)")?;
    statement.execute(params![signed(event.at.0), event.subject, event.text])?;
    let oldest = transaction.last_insert_rowid() - EVENTS_KEPT;
    transaction.prepare_cached("DELETE FROM event WHERE key <= ?1")?.execute([oldest])?;
    Ok(())
}
