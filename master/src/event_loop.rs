//! The one task that owns the core: gather, handle, commit in one synced transaction, then speak.
//!
//! While one batch is being committed the next is gathered and handled; nothing of it leaves before
//! its own commit is done.

mod held;
mod perform;

use crate::{
    between::Between,
    core::{
        Core,
        action::{Action, Then},
        event::{Event, Guard, Joined, LinkId, Now},
    },
    inputs::Inputs,
    outputs::Outputs,
    pacing::{Batch, Pacing, bytes_of, left_a_file},
    store::{
        Record, StoreError,
        history::Reader,
        query::{Answer, LookUp},
        worker::{Readers, Writer},
    },
};
use common::{
    ClientId, ErrorCode, SlaveId, UserError,
    message::{Registration, Report, Request},
    units::Duration,
};
use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::Arc,
};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::Instant,
};
use transport::{Sender, clock};

/// Events that wait for the loop; sessions wait when it is full.
pub(crate) const INBOX_MAX: usize = 4_096;
/// Events handled before actions are gathered.
const EVENTS_AT_ONCE_MAX: usize = 512;
/// Room on the disk that is kept for results: with less, submits are refused.
const RESERVE_BYTES: u64 = 24 << 20;
/// How often the room on the disk is looked at while submits come.
const ROOM_INTERVAL: Duration = Duration::from_millis(250);
/// Actions that wait for their batch while another one is being committed: with more, nothing is taken in, so that
/// memory stays bounded and submits that wait are refused early. About a tenth of a second of writing.
const PENDING_MAX: usize = 8_192;
/// The same in bytes.
const PENDING_BYTES_MAX: usize = 64 << 20;
/// Bytes that wait to be written to a client that watches: one that is further behind is cut. It connects again
/// and asks for what it shows.
const CHANGES_QUEUED_BYTES_MAX: usize = 8 << 20;
/// Bytes of answers from the history that one client may have under way, asked for or not read by it: beyond that
/// it is told to read first. Sixty-four pieces of output, or some thousand rows.
const ANSWERS_BYTES_MAX: usize = 4 << 20;
/// Bytes that wait to be written to a slave: with more, it gets nothing of input files.
const INPUT_QUEUED_BYTES_MAX: usize = 16 << 20;
/// Pause before a batch that did not fit on the disk is tried again.
const FULL_PAUSE: Duration = Duration::from_millis(500);

/// What reaches the loop: events, and what only the loop can tell.
pub(crate) enum Input {
    /// Something happened.
    Event(Event),
    /// A client logged in; what is for it goes there.
    Client(Joined, Sender),
    /// A slave registered; what is for it goes there.
    Slave { link: LinkId, slave: SlaveId, address: String, registration: Box<Registration>, sender: Sender },
    /// A slave reports; there is room for its bytes until that is handled.
    Report { link: LinkId, report: Report, guard: Guard },
    /// The history's answer to a client, which was counted as so many bytes.
    Answer { client: ClientId, bytes: usize, event: Event },
    /// Which slaves may lose their names.
    Replaceable(oneshot::Sender<Vec<SlaveId>>),
    /// Room is wanted for so many bytes of input files that are not whole.
    MakeRoom(u64, oneshot::Sender<Result<(), UserError>>),
    /// Writes the state to the log and the event log, and tells it to operators.
    Dump,
    /// Stops: takes nothing new, commits everything, says good-bye.
    Stop,
}

/// What the loop works with.
pub(crate) struct Parts {
    pub(crate) core: Core,
    pub(crate) writer: Writer,
    pub(crate) readers: Readers,
    pub(crate) outputs: Outputs,
    pub(crate) input_files: Arc<Inputs>,
    /// Looks up IDs of submits.
    pub(crate) lookup: Reader,
    pub(crate) data: PathBuf,
    pub(crate) inbox: mpsc::Receiver<Input>,
    /// For answers of threads to come back.
    pub(crate) inputs: mpsc::Sender<Input>,
    /// Told when a program ended that left output in a file.
    pub(crate) to_seal: Arc<Notify>,
    /// Does small commits on the thread that drives everything, where one thread does.
    pub(crate) between: Option<Between>,
}

type Committed = (Result<(), StoreError>, Vec<Record>);

struct InFlight {
    actions: Vec<Action>,
    mark: u64,
}

struct EventLoop {
    parts: Parts,
    clients: HashMap<ClientId, Sender>,
    /// Bytes of answers that clients have asked the history for.
    asked: HashMap<ClientId, usize>,
    slaves: HashMap<LinkId, Sender>,
    /// Orders for which there is no room yet.
    held: held::Held,
    pending: Vec<Action>,
    pending_bytes: usize,
    /// Something that waits is to be recorded: only that is worth waiting for more.
    pending_records: bool,
    /// Inputs that were taken out of the inbox and not handled yet.
    backlog: VecDeque<Input>,
    in_flight: Option<InFlight>,
    done: mpsc::Receiver<Committed>,
    done_to: mpsc::Sender<Committed>,
    /// A batch that did not fit on the disk, and when to try again.
    retry: Option<(Instant, Vec<Record>)>,
    pacing: Pacing,
    /// When the gathered batch may be committed.
    commit_at: Option<Instant>,
    room_checked: Option<Instant>,
    room: bool,
    stopping: bool,
}

/// Runs until it is told to stop and everything is committed.
///
/// # Errors
/// When the store fails for another reason than a full disk: nothing can be promised any more, and a
/// new start reads what is really on the disk.
pub(crate) async fn run(parts: Parts) -> Result<(), UserError> {
    let (done_to, done) = mpsc::channel(1);
    let mut event_loop = EventLoop {
        parts,
        clients: HashMap::new(),
        asked: HashMap::new(),
        slaves: HashMap::new(),
        held: held::Held::new(),
        pending: Vec::new(),
        pending_bytes: 0,
        pending_records: false,
        backlog: VecDeque::new(),
        in_flight: None,
        done,
        done_to,
        retry: None,
        pacing: Pacing::default(),
        commit_at: None,
        room_checked: None,
        room: true,
        stopping: false,
    };
    let result = event_loop.run().await;
    event_loop.good_bye().await;
    result
}

fn now() -> Now {
    Now { wall: clock::now(), boot: clock::boot_now() }
}

impl EventLoop {
    async fn run(&mut self) -> Result<(), UserError> {
        let mut inputs = Vec::with_capacity(EVENTS_AT_ONCE_MAX);
        loop {
            let deadline = self.deadline();
            let room = self.has_room();
            tokio::select! {
                biased;
                Some((result, records)) = self.done.recv() => self.committed(result, records)?,
                () = std::future::ready(()), if room && !self.backlog.is_empty() => {}
                count = self.parts.inbox.recv_many(&mut inputs, EVENTS_AT_ONCE_MAX), if room => {
                    if count == 0 {
                        return Ok(());
                    }
                }
                () = tokio::time::sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    self.parts.core.handle(Event::Tick, now());
                }
            }
            self.backlog.extend(inputs.drain(..));
            // A submit of many copies is many actions: the rest has its turn when these are gathered.
            while self.parts.core.undone() < PENDING_MAX
                && let Some(input) = self.backlog.pop_front()
            {
                self.take(input);
            }
            let actions = self.parts.core.settle(now());
            self.gather(actions);
            self.ship();
            self.send_held();
            if self.stopping && self.in_flight.is_none() && self.pending.is_empty() {
                return Ok(());
            }
        }
    }

    /// Whether more is taken in. While the disk is full everything is: submits are refused then, people may read,
    /// and slaves start nothing new, so that what they report is bounded by what they hold.
    fn has_room(&self) -> bool {
        let little = self.pending.len() < PENDING_MAX && self.pending_bytes < PENDING_BYTES_MAX;
        little || self.in_flight.is_none() || self.retry.is_some()
    }

    /// Actions wait for their batch. While the disk is full, people may go on reading: what needs no record
    /// and changes nothing at a slave does not wait for room.
    fn gather(&mut self, actions: Vec<Action>) {
        let records = actions.iter().any(|action| matches!(action, Action::Record(_)));
        self.pending_records |= records;
        if self.retry.is_none() || records {
            self.pending_bytes += actions.iter().map(bytes_of).sum::<usize>();
            return self.pending.extend(actions);
        }
        // Changes may tell ends that wait for room themselves.
        let reads = |action: &Action| {
            let changes = matches!(action, Action::ToClient(_, common::message::Status::Changes(_)));
            !changes && matches!(action, Action::ToClient(..) | Action::Ask { .. })
        };
        let (now, later): (Vec<Action>, Vec<Action>) = actions.into_iter().partition(reads);
        self.pending_bytes += later.iter().map(bytes_of).sum::<usize>();
        self.pending.extend(later);
        self.perform(now);
    }

    /// Whether a request would need a record while there is no room for one.
    fn refuses(&self, request: &Request) -> bool {
        let reads = matches!(
            request,
            Request::List(_)
                | Request::Show { .. }
                | Request::Spec { .. }
                | Request::ReadOutput { .. }
                | Request::Why { .. }
                | Request::Wait { .. }
                | Request::Slaves
                | Request::Clients
                | Request::Summary
                | Request::Watch { .. }
                | Request::Logout
                | Request::Events { .. }
        );
        self.retry.is_some() && !reads
    }

    fn deadline(&self) -> Option<Instant> {
        let core = self.parts.core.next_deadline().map(|(at, _)| Instant::now() + at.since(clock::boot_now()).to_std());
        let retry = self.retry.as_ref().map(|(at, _)| *at);
        let held = self.holds().then(|| Instant::now() + held::HELD_INTERVAL);
        core.into_iter().chain(retry).chain(self.commit_at).chain(held).min()
    }

    fn take(&mut self, input: Input) {
        let now = now();
        let event = match input {
            Input::Event(Event::Request { client, id, request, known: _, received, guard }) => {
                if self.refuses(&request) {
                    let status = common::message::Status::Reply { id, result: Err(full()) };
                    return self.send_client(client, status.into());
                }
                let ids = self.parts.core.ids_to_look_up(client, &request, received, now);
                match self.known(&ids) {
                    Ok(known) => Event::Request { client, id, request, known, received, guard },
                    Err(error) => {
                        let status = common::message::Status::Reply { id, result: Err(error.into()) };
                        return self.send_client(client, status.into());
                    }
                }
            }
            Input::Event(Event::Answered { client, id, then: then @ Then::Again(new_id), answer, known: _ }) => {
                // Only now: since the request, another one may have used the ID.
                match self.known(&LookUp::These(vec![new_id])) {
                    Ok(known) => Event::Answered { client, id, then, answer, known },
                    Err(error) => {
                        Event::Answered { client, id, then, answer: Answer::Failed(error.into()), known: Vec::new() }
                    }
                }
            }
            Input::Answer { client, bytes, event } => {
                if let Some(asked) = self.asked.get_mut(&client) {
                    *asked = asked.saturating_sub(bytes);
                }
                return self.take(Input::Event(event));
            }
            Input::Event(Event::ClientLeft(client)) => {
                self.clients.remove(&client);
                self.asked.remove(&client);
                Event::ClientLeft(client)
            }
            Input::Event(Event::SlaveLeft(link)) => {
                self.slaves.remove(&link);
                self.held.remove(&link);
                Event::SlaveLeft(link)
            }
            Input::Event(event) => event,
            Input::Report { link, report, guard } => {
                self.parts.core.handle(Event::SlaveReported { link, report }, now);
                return drop(guard);
            }
            Input::Client(joined, sender) => {
                self.clients.insert(joined.id, sender);
                Event::ClientJoined(joined)
            }
            Input::Slave { link, slave, address, registration, sender } => {
                self.slaves.insert(link, sender);
                Event::SlaveRegistered { link, slave, address, registration }
            }
            Input::Replaceable(answer) => {
                // Whoever asked may have left.
                drop(answer.send(self.parts.core.replaceable()));
                return;
            }
            Input::MakeRoom(bytes, answer) => {
                // Whoever asked may have left.
                drop(answer.send(self.parts.core.room_for_input(bytes)));
                return;
            }
            Input::Dump => {
                tracing::info!(state = self.parts.core.dump(), in_flight = self.in_flight.is_some(), "state");
                return self.parts.core.tell_state();
            }
            Input::Stop => {
                self.stopping = true;
                Event::Stopping
            }
        };
        self.parts.core.handle(event, now);
    }

    /// What the store knows of IDs that a client submits; also looks whether there is room.
    fn known(&mut self, ids: &LookUp) -> Result<Vec<crate::store::query::KnownProgram>, StoreError> {
        if *ids == LookUp::Nothing {
            return Ok(Vec::new());
        }
        self.look_at_room();
        self.parts.lookup.look_up(ids)
    }

    fn look_at_room(&mut self) {
        let fresh = self.room_checked.is_some_and(|at| at.elapsed() < ROOM_INTERVAL.to_std());
        if fresh || self.retry.is_some() {
            return;
        }
        self.room_checked = Some(Instant::now());
        let room = nix::sys::statvfs::statvfs(&self.parts.data)
            .map_or(true, |found| found.blocks_available() * found.fragment_size() >= RESERVE_BYTES);
        if room != self.room {
            self.room = room;
            self.set_storage((!room).then(full));
        }
    }

    fn set_storage(&mut self, refuse: Option<UserError>) {
        match &refuse {
            Some(error) => tracing::error!(%error, "submits are refused"),
            None => tracing::info!("the disk has room again; submits are accepted"),
        }
        self.parts.core.handle(Event::Storage(refuse), now());
    }

    /// Hands the gathered batch to the store when the one before is done.
    fn ship(&mut self) {
        if let Some((at, _)) = &self.retry {
            if *at <= Instant::now()
                && let Some((_, records)) = self.retry.take()
            {
                self.commit(records, false);
            }
            return;
        }
        self.commit_at = None;
        if self.in_flight.is_some() || self.pending.is_empty() {
            return;
        }
        let busy = self.parts.core.is_busy() && self.pending_records;
        let batch = Batch { actions: self.pending.len(), busy, last: self.stopping };
        if let Some(until) = self.pacing.wait(batch, Instant::now().into_std()) {
            self.commit_at = Some(until.into());
            return;
        }
        let bytes = std::mem::take(&mut self.pending_bytes);
        self.pending_records = false;
        let mut records = Vec::new();
        let mut actions = Vec::with_capacity(self.pending.len());
        for action in self.pending.drain(..) {
            if let Action::Record(record) = action {
                records.push(record);
            } else {
                actions.push(action);
            }
        }
        if records.is_empty() {
            // Everything before is synced: nothing to wait for.
            return self.perform(actions);
        }
        self.pacing.began(Instant::now().into_std());
        let connections = self.clients.len() + self.slaves.len();
        let small = self.pacing.is_small(batch, records.len(), bytes, connections);
        let mark = self.parts.core.mark();
        self.in_flight = Some(InFlight { actions, mark });
        self.commit(records, small);
    }

    /// On the writing thread, or when the batch is `small` on the thread that drives everything.
    fn commit(&self, records: Vec<Record>, small: bool) {
        let done = self.done_to.clone();
        let done = Box::new(move |result, records| {
            // One batch is out at a time, so that there is always room; the loop may have ended.
            drop(done.try_send((result, records)));
        });
        let writer = self.parts.writer.clone();
        match self.parts.between.as_ref().filter(|_| small) {
            Some(between) => between.give(Box::new(move || writer.commit_here(records, done))),
            None => writer.commit(records, done),
        }
    }

    fn committed(&mut self, result: Result<(), StoreError>, records: Vec<Record>) -> Result<(), UserError> {
        self.pacing.ended(Instant::now().into_std());
        match result {
            Ok(()) => {
                if !self.room {
                    self.room_checked = None;
                }
                if records.iter().any(left_a_file) {
                    self.parts.to_seal.notify_one();
                }
                if let Some(InFlight { actions, mark }) = self.in_flight.take() {
                    self.perform(actions);
                    self.parts.core.handle(Event::Committed(mark), now());
                }
                Ok(())
            }
            Err(StoreError::Full(error)) if self.stopping && !self.room => {
                // Nothing of this batch was acknowledged to anybody.
                tracing::error!(%error, records = records.len(), "still no room on the disk; the master ends without this batch");
                Err(full())
            }
            Err(StoreError::Full(error)) => {
                tracing::error!(%error, records = records.len(), "a batch does not fit on the disk; trying again");
                self.room = false;
                self.set_storage(Some(full()));
                self.retry = Some((Instant::now() + FULL_PAUSE.to_std(), records));
                Ok(())
            }
            Err(error) => {
                // After a failed sync nobody knows what is on the disk: stop, and read it at the next start.
                tracing::error!(%error, "the store failed; the master ends");
                Err(error.into())
            }
        }
    }

    /// Flushes and closes every connection.
    async fn good_bye(&mut self) {
        let senders: Vec<Sender> = self
            .clients
            .drain()
            .map(|(_, sender)| sender)
            .chain(self.slaves.drain().map(|(_, sender)| sender))
            .collect();
        for sender in &senders {
            sender.close();
        }
        for sender in senders {
            sender.closed().await;
        }
    }
}

fn full() -> UserError {
    UserError::new(ErrorCode::StorageFull, "the master's disk is full; nothing was accepted")
        .retry_after(Duration::from_secs(5))
}
