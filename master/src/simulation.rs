//! A thin door to the core and the store for the deterministic simulation of the tests: no socket, no thread, no
//! clock. What is behind it is the code that a master runs; what is around it (batches, syncs, connections) the
//! simulation plays itself, and lets it fail.

use crate::{
    core::{
        Core, Settings,
        action::{Action, Then},
        event::{Event, Guard, Joined, LinkId, Now},
    },
    store::{
        Record, SqliteStore, Storage, StoreError,
        history::Reader,
        load::Recovered,
        open::open_reader,
        query::{Answer, LookUp, Query},
    },
};
use common::{
    AttemptKey, ClientId, Duration, ProgramId, SlaveId, Timestamp, UserError,
    message::{Alert, Order, Registration, Report, Request, RequestId, Status, Stream},
    program::State,
    session::Role,
    units::BootTime,
    view::ClientKind,
};
use std::{
    collections::BTreeMap,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// The instant of an input on both clocks of the master's machine.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The wall clock, which may jump.
    pub wall: Timestamp,
    /// The clock that never jumps.
    pub boot: BootTime,
}

impl From<Moment> for Now {
    fn from(moment: Moment) -> Self {
        Self { wall: moment.wall, boot: moment.boot }
    }
}

/// What can happen to the master's core. Connections of slaves are told apart by a number.
#[derive(Debug)]
pub enum Input {
    /// A client logged in.
    ClientJoined {
        /// The connection.
        client: ClientId,
        /// As whom.
        user: String,
        /// With which role.
        role: Role,
    },
    /// A client's connection is gone.
    ClientLeft(ClientId),
    /// A client asks.
    Request {
        /// The connection.
        client: ClientId,
        /// The request's number.
        id: RequestId,
        /// What it asks.
        request: Box<Request>,
    },
    /// A reading thread has answered.
    Answered(Answered),
    /// A slave registered on a new connection.
    SlaveRegistered {
        /// The connection.
        link: u64,
        /// Who it has proved to be.
        slave: SlaveId,
        /// What it tells of itself.
        registration: Box<Registration>,
    },
    /// A slave reports.
    SlaveReported {
        /// The connection.
        link: u64,
        /// What.
        report: Report,
    },
    /// A slave sends output.
    SlaveOutput {
        /// The connection.
        link: u64,
        /// Whose output.
        key: AttemptKey,
        /// Which stream.
        stream: Stream,
        /// Place of the first byte.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A slave's connection is gone.
    SlaveLeft(u64),
    /// Output is synced up to this offset.
    OutputStored {
        /// Whose output.
        key: AttemptKey,
        /// Which stream.
        stream: Stream,
        /// Place after the last synced byte.
        offset: u64,
    },
    /// The batch that [`Master::mark`] closed is synced.
    Committed(u64),
    /// Whether the store takes submits; why not.
    Storage(Option<UserError>),
    /// The master stops.
    Stopping,
    /// A deadline has come.
    Tick,
}

/// Something to keep; only the store looks inside.
#[derive(Clone, Debug)]
pub struct Kept(Record);

/// A question to a reading thread.
#[derive(Debug)]
pub struct Question {
    client: ClientId,
    id: RequestId,
    query: Query,
    then: Then,
}

/// An answer of a reading thread.
#[derive(Debug)]
pub struct Answered {
    client: ClientId,
    id: RequestId,
    then: Then,
    answer: Answer,
}

/// What the core wants done, after all that it wanted kept before is synced.
#[derive(Debug)]
pub enum Effect {
    /// Keep this.
    Keep(Box<Kept>),
    /// Tell a client.
    ToClient(ClientId, Status),
    /// Warn a client.
    AlertClient(ClientId, Alert),
    /// Order a slave.
    ToSlave(u64, Order),
    /// End a client's connection for this reason.
    CutClient(ClientId, UserError),
    /// End a slave's connection for this reason; none when another one took its place.
    CutSlave(u64, Option<UserError>),
    /// Ask a reading thread.
    Ask(Box<Question>),
    /// Append to an output and sync it.
    Append {
        /// Whose output.
        key: AttemptKey,
        /// Which stream.
        stream: Stream,
        /// Place of the first byte.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Remove the output of an attempt that another replaces.
    RemoveOutput(AttemptKey),
}

/// Core and store of a running master. Dropping it without more is what a kill does to it.
pub struct Master {
    core: Core,
    store: SqliteStore,
    reader: Reader,
    outputs: PathBuf,
}

fn outputs_of(data: &Path) -> PathBuf {
    data.join("outputs")
}

/// Enrols a slave in a data folder that no master uses.
///
/// # Errors
/// When the store refuses.
pub fn enrol(data: &Path, id: SlaveId, name: &str, now: Timestamp) -> Result<(), UserError> {
    let mut store = SqliteStore::open(data)?;
    let secret = *blake3::hash(name.as_bytes()).as_bytes();
    let mut accounts = store.accounts();
    accounts.add_invitation(&secret, Timestamp(u64::MAX >> 1), 1, now)?;
    accounts.enrol(&secret, id, name, &[], now)?;
    Ok(())
}

impl Master {
    /// Starts on what the data folder holds, as a master does.
    ///
    /// # Errors
    /// When the store cannot be opened or read.
    pub fn start(data: &Path, lease: Duration, now: Moment) -> Result<Self, UserError> {
        let outputs = outputs_of(data);
        let mut store = SqliteStore::open(data)?;
        let recovered = store.load()?;
        let stored = stored_outputs(&recovered, &outputs);
        let settings = Settings {
            lease,
            max_processes: None,
            epoch: 1,
            programs_per_user: common::limits::PROGRAMS_PER_USER_MAX,
            fair_share: true,
        };
        let core = Core::recover(recovered, &stored, settings, now.into());
        let reader = Reader::new(open_reader(data)?, outputs.clone());
        Ok(Self { core, store, reader, outputs })
    }

    /// Gives the core one input.
    pub fn handle(&mut self, input: Input, now: Moment) {
        let event = match input {
            Input::ClientJoined { client, user, role } => Event::ClientJoined(Joined {
                id: client,
                user: user.into(),
                role,
                address: "simulated".to_owned(),
                kind: ClientKind::Cli,
            }),
            Input::ClientLeft(client) => Event::ClientLeft(client),
            Input::Request { client, id, request } => {
                let now: Now = now.into();
                let ids = self.core.ids_to_look_up(client, &request, now.boot, now);
                let known = self.reader.look_up(&ids).unwrap_or_default();
                Event::Request { client, id, request, known, received: now.boot, guard: Guard(None) }
            }
            Input::Answered(Answered { client, id, then, answer }) => {
                let again =
                    if let Then::Again(new_id) = &then { LookUp::These(vec![*new_id]) } else { LookUp::Nothing };
                let known = self.reader.look_up(&again).unwrap_or_default();
                Event::Answered { client, id, then, answer, known }
            }
            Input::SlaveRegistered { link, slave, registration } => {
                Event::SlaveRegistered { link: LinkId(link), slave, address: "simulated".to_owned(), registration }
            }
            Input::SlaveReported { link, report } => Event::SlaveReported { link: LinkId(link), report },
            Input::SlaveOutput { link, key, stream, offset, bytes } => {
                Event::SlaveOutput { link: LinkId(link), key, stream, offset, bytes, guard: Guard(None) }
            }
            Input::SlaveLeft(link) => Event::SlaveLeft(LinkId(link)),
            Input::OutputStored { key, stream, offset } => Event::OutputStored { key, stream, offset },
            Input::Committed(mark) => Event::Committed(mark),
            Input::Storage(refuse) => Event::Storage(refuse),
            Input::Stopping => Event::Stopping,
            Input::Tick => Event::Tick,
        };
        self.core.handle(event, now.into());
    }

    /// Decides what the inputs since the last call lead to together, and hands out all effects.
    pub fn settle(&mut self, now: Moment) -> Vec<Effect> {
        self.core.settle(now.into()).into_iter().filter_map(effect).collect()
    }

    /// Asserts what must always hold.
    ///
    /// # Panics
    /// When it does not.
    pub fn check_invariants(&self) {
        self.core.check_invariants();
    }

    /// Closes a batch; [`Input::Committed`] with this number says that it is synced.
    pub fn mark(&mut self) -> u64 {
        self.core.mark()
    }

    /// When to call with [`Input::Tick`] though nothing happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<BootTime> {
        self.core.next_deadline().map(|(at, _)| at)
    }

    /// Commits a batch in one transaction.
    ///
    /// # Errors
    /// When the store fails, which nothing here makes it do.
    pub fn commit(&mut self, batch: &[Kept]) -> Result<(), UserError> {
        let records: Vec<Record> = batch.iter().map(|kept| kept.0.clone()).collect();
        self.store.commit(&records).map_err(|error: StoreError| error.into())
    }

    /// Answers a question from what is committed.
    pub fn answer(&mut self, question: Question) -> Answered {
        let Question { client, id, query, then } = question;
        Answered { client, id, then, answer: self.reader.answer(&query) }
    }

    /// Appends to an output and syncs it, as the threads of a master do; where it ends then.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(&self, key: AttemptKey, stream: Stream, offset: u64, bytes: &[u8]) -> io::Result<u64> {
        let file = crate::store::files::open(&self.outputs, key, stream)?;
        let length = file.metadata()?.len();
        let end = offset + bytes.len() as u64;
        if offset > length || end <= length {
            return Ok(length);
        }
        let known = usize::try_from(length - offset).map_err(io::Error::other)?;
        file.write_all_at(&bytes[known..], length)?;
        Ok(end)
    }

    /// Removes an attempt's output.
    pub fn remove_output(&self, key: AttemptKey) {
        crate::store::files::remove(&self.outputs, key);
    }

    /// What the store finds wrong with its own file; nothing when it is sound.
    ///
    /// # Errors
    /// When it cannot be read at all.
    pub fn check_store(&self) -> Result<Vec<String>, UserError> {
        Ok(crate::store::check::of(&self.store, &self.outputs))
    }
}

impl Kept {
    /// The programs that this makes known, and their places in the history.
    #[must_use]
    pub fn accepted(&self) -> Vec<(ProgramId, u64)> {
        if let Record::New(program) = &self.0 {
            return vec![(program.id, program.sequence)];
        }
        let Record::Array(array) = &self.0 else { return Vec::new() };
        let copies = 0..u64::from(array.copies);
        copies.filter_map(|place| Some((array.id.nth(place)?, array.first + place))).collect()
    }
}

fn effect(action: Action) -> Option<Effect> {
    Some(match action {
        // Slaves only log it.
        Action::AlertSlave(..) => return None,
        Action::Record(record) => Effect::Keep(Box::new(Kept(record))),
        Action::ToClient(client, status) => Effect::ToClient(client, status),
        // Nobody watches there.
        Action::ToClients(..) => return None,
        Action::AlertClient(client, alert) => Effect::AlertClient(client, alert),
        Action::ToSlave(LinkId(link), order) => Effect::ToSlave(link, order),
        Action::CutClient(client, error) => Effect::CutClient(client, error),
        Action::CutSlave(LinkId(link), error) => Effect::CutSlave(link, error),
        Action::Ask { client, id, query, then } => Effect::Ask(Box::new(Question { client, id, query, then })),
        Action::Append { key, stream, offset, bytes, guard: _ } => Effect::Append { key, stream, offset, bytes },
        Action::RemoveOutput(key) => Effect::RemoveOutput(key),
        // The simulation has no input files.
        Action::SendInput { .. } | Action::RemoveInput(_) => return None,
    })
}

fn stored_outputs(recovered: &Recovered, outputs: &Path) -> BTreeMap<AttemptKey, [u64; Stream::COUNT]> {
    let running = recovered.alive.iter().filter(|row| row.state == State::Running || row.slave.is_some());
    running
        .map(|row| {
            let key = AttemptKey { program: row.id, attempt: row.attempt };
            (key, Stream::ALL.map(|stream| crate::store::files::length(outputs, key, stream).unwrap_or_default()))
        })
        .collect()
}
