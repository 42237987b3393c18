//! What a master that starts reads back: all that is alive, and the counts of what is not.

use super::{
    SqliteStore, StoreError, body,
    commit::{state_number, state_of},
};
use common::{
    ClientId, Duration, ProgramId, ProgramSpec, SlaveId, Timestamp, escape::RawText, frame::decode_record,
    program::State, view::LanguageOffer,
};
use rusqlite::Connection;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// A program that had not ended.
#[derive(Debug)]
pub(crate) struct AliveRow {
    pub(crate) sequence: u64,
    pub(crate) id: ProgramId,
    pub(crate) spec_key: u64,
    pub(crate) spec: Arc<ProgramSpec>,
    pub(crate) spec_hash: [u8; 32],
    pub(crate) user: Arc<str>,
    pub(crate) client: ClientId,
    pub(crate) index: u32,
    pub(crate) copies: u32,
    pub(crate) state: State,
    pub(crate) attempt: u32,
    pub(crate) slave: Option<SlaveId>,
    pub(crate) submitted_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) cancel_by: Option<Arc<str>>,
    /// Attempts so far that ended with the loss of their slave.
    pub(crate) crashes: u32,
    /// How long it may run, where people changed it.
    pub(crate) wall_time: Option<Duration>,
    /// It shall stand still while it runs.
    pub(crate) suspend: bool,
    /// What its body leaves open.
    pub(crate) entry: Option<RawText>,
}

/// Copies that nobody touched, one after the other.
#[derive(Debug)]
pub(crate) struct ArrayRow {
    /// Sequence, ID and index of the first.
    pub(crate) first: u64,
    pub(crate) id: ProgramId,
    pub(crate) index: u32,
    pub(crate) count: u64,
    /// Copies of the whole submit.
    pub(crate) copies: u32,
    pub(crate) spec_key: u64,
    pub(crate) spec: Arc<ProgramSpec>,
    pub(crate) spec_hash: [u8; 32],
    pub(crate) user: Arc<str>,
    pub(crate) client: ClientId,
    pub(crate) submitted_at: Timestamp,
}

/// A slave that was enrolled.
#[derive(Clone, Debug)]
pub(crate) struct SlaveRow {
    pub(crate) id: SlaveId,
    pub(crate) name: String,
    pub(crate) instance: u64,
    pub(crate) slots: u32,
    pub(crate) languages: Vec<LanguageOffer>,
    pub(crate) seen_at: Timestamp,
    /// Why a person set it aside.
    pub(crate) aside: Option<String>,
    /// It is let in no more, and holds programs that may still run.
    pub(crate) revoked: bool,
}

/// Everything that the core begins with.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) alive: Vec<AliveRow>,
    pub(crate) arrays: Vec<ArrayRow>,
    pub(crate) slaves: Vec<SlaveRow>,
    pub(crate) settings: BTreeMap<String, String>,
    /// Programs in each state, all owners together.
    pub(crate) totals: BTreeMap<State, u64>,
    /// The first number that no program and no body has.
    pub(crate) next_sequence: u64,
    pub(crate) next_spec: u64,
    /// No program has an ID beyond this one; none when there is no program.
    pub(crate) last_id: Option<ProgramId>,
}

/// Bodies and names that many rows refer to, each read once.
#[derive(Default)]
struct Bodies {
    specs: HashMap<i64, (Arc<ProgramSpec>, [u8; 32])>,
    names: HashMap<String, Arc<str>>,
}

impl Bodies {
    fn spec(&mut self, connection: &Connection, key: i64) -> Result<(Arc<ProgramSpec>, [u8; 32]), StoreError> {
        if let Some(known) = self.specs.get(&key) {
            return Ok(known.clone());
        }
        let mut found = connection.prepare_cached("SELECT body, hash, form FROM spec WHERE key = ?1")?;
        let (body, hash, form): (Vec<u8>, [u8; 32], i64) =
            found.query_row([key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        if *blake3::hash(&body).as_bytes() != hash {
            return Err(StoreError::Damaged(format!("the body {key} was changed")));
        }
        let spec = body::decode(form, &body).map_err(|error| StoreError::Unreadable(error.to_string()))?;
        let known = (Arc::new(spec), hash);
        self.specs.insert(key, known.clone());
        Ok(known)
    }

    fn name(&mut self, name: String) -> Arc<str> {
        self.names.entry(name).or_insert_with_key(|name| name.as_str().into()).clone()
    }
}

fn unsigned(value: i64) -> u64 {
    value.cast_unsigned()
}

impl SqliteStore {
    /// Reads what a master that starts needs.
    ///
    /// # Errors
    /// When the file cannot be read or a row makes no sense.
    pub(crate) fn load(&mut self) -> Result<Recovered, StoreError> {
        let next = |sql: &str| -> Result<u64, StoreError> {
            Ok(unsigned(self.connection.query_row(sql, [], |row| row.get::<_, i64>(0))?))
        };
        let next_sequence = next(
            "SELECT max((SELECT coalesce(max(sequence), 0) FROM program),
             (SELECT coalesce(max(first + count - 1), 0) FROM array)) + 1",
        )?;
        let next_spec = next("SELECT coalesce(max(key), 0) + 1 FROM spec")?;
        let last_of_rows: Option<_> = self.connection.query_row("SELECT max(id) FROM program", [], |row| row.get(0))?;
        let mut bodies = Bodies::default();
        let arrays = self.load_arrays(&mut bodies)?;
        let last_of_arrays = arrays.iter().filter_map(|array| array.id.nth(array.count.saturating_sub(1)));
        let last_id = last_of_arrays.chain(last_of_rows.map(ProgramId)).max();
        Ok(Recovered {
            alive: self.load_alive(&mut bodies)?,
            arrays,
            slaves: self.load_slaves()?,
            settings: self.load_settings()?,
            totals: self.load_totals()?,
            next_sequence,
            next_spec,
            last_id,
        })
    }

    fn load_alive(&self, bodies: &mut Bodies) -> Result<Vec<AliveRow>, StoreError> {
        let sql = format!(
            "SELECT p.sequence, p.id, p.spec, o.name, p.client, p.idx, p.copies, p.state, p.attempt, s.id,
             p.submitted_at, p.started_at, p.cancel_by, p.crashes, p.wall_time, p.suspend, p.entry FROM program p JOIN owner o ON o.key = p.owner
             LEFT JOIN slave s ON s.key = p.slave
             WHERE p.owner IN (SELECT key FROM owner) AND p.state IN ({}, {}, {}) ORDER BY p.sequence",
            state_number(State::Waiting),
            state_number(State::Running),
            state_number(State::Suspended)
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        let mut alive = Vec::new();
        while let Some(row) = rows.next()? {
            let spec_key: i64 = row.get(2)?;
            let (spec, spec_hash) = bodies.spec(&self.connection, spec_key)?;
            let user = bodies.name(row.get(3)?);
            alive.push(AliveRow {
                sequence: unsigned(row.get(0)?),
                id: ProgramId(row.get(1)?),
                spec_key: unsigned(spec_key),
                spec,
                spec_hash,
                user,
                client: ClientId(row.get(4)?),
                index: row.get(5)?,
                copies: row.get(6)?,
                state: state_of(row.get(7)?)?,
                attempt: row.get(8)?,
                slave: row.get::<_, Option<_>>(9)?.map(SlaveId),
                submitted_at: Timestamp(unsigned(row.get(10)?)),
                started_at: row.get::<_, Option<i64>>(11)?.map(|at| Timestamp(unsigned(at))),
                cancel_by: row.get::<_, Option<String>>(12)?.map(Into::into),
                crashes: row.get(13)?,
                wall_time: row.get::<_, Option<i64>>(14)?.map(|time| Duration(unsigned(time))),
                suspend: row.get(15)?,
                entry: row.get::<_, Option<Vec<u8>>>(16)?.map(RawText),
            });
        }
        Ok(alive)
    }

    fn load_arrays(&self, bodies: &mut Bodies) -> Result<Vec<ArrayRow>, StoreError> {
        let columns = super::arrays::COLUMNS;
        let sql = format!("SELECT {columns}, o.name FROM array a JOIN owner o ON o.key = a.owner ORDER BY a.first");
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        let mut arrays = Vec::new();
        while let Some(row) = rows.next()? {
            let read = super::arrays::Array::read(row)?;
            let (spec, spec_hash) = bodies.spec(&self.connection, read.spec.cast_signed())?;
            arrays.push(ArrayRow {
                first: read.first,
                id: read.id,
                index: read.index,
                count: read.count,
                copies: read.copies,
                spec_key: read.spec,
                spec,
                spec_hash,
                user: bodies.name(row.get(9)?),
                client: read.client,
                submitted_at: Timestamp(unsigned(read.submitted_at)),
            });
        }
        Ok(arrays)
    }

    fn load_slaves(&self) -> Result<Vec<SlaveRow>, StoreError> {
        // What a revoked slave holds may still run until its lease is over.
        let sql = format!(
            "SELECT id, name, instance, slots, languages, seen_at, aside, revoked FROM slave
             WHERE retired = 0 OR (revoked = 1 AND key IN (SELECT slave FROM program
             WHERE owner IN (SELECT key FROM owner) AND state IN ({}, {}, {}))) ORDER BY retired, name",
            state_number(State::Waiting),
            state_number(State::Running),
            state_number(State::Suspended)
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        let mut slaves = Vec::new();
        while let Some(row) = rows.next()? {
            let languages: Vec<u8> = row.get(4)?;
            slaves.push(SlaveRow {
                id: SlaveId(row.get(0)?),
                name: row.get(1)?,
                instance: unsigned(row.get(2)?),
                slots: row.get(3)?,
                // What an older release wrote is only a memory; the slave tells it anew.
                languages: decode_record(&languages).unwrap_or_default(),
                seen_at: Timestamp(unsigned(row.get(5)?)),
                aside: row.get(6)?,
                revoked: row.get(7)?,
            });
        }
        Ok(slaves)
    }

    fn load_settings(&self) -> Result<BTreeMap<String, String>, StoreError> {
        let mut statement = self.connection.prepare("SELECT name, value FROM setting")?;
        let settings = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(settings.collect::<Result<_, _>>()?)
    }

    fn load_totals(&self) -> Result<BTreeMap<State, u64>, StoreError> {
        let mut statement = self.connection.prepare("SELECT state, sum(programs) FROM total GROUP BY state")?;
        let mut rows = statement.query([])?;
        let mut totals = BTreeMap::new();
        while let Some(row) = rows.next()? {
            totals.insert(state_of(row.get(0)?)?, unsigned(row.get(1)?));
        }
        Ok(totals)
    }
}
