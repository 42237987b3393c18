//! The thin loop around the core: receives, calls `handle`, performs. One thread for everything.

mod outgoing;
mod run;

pub use run::{Run, Wake};

use crate::{
    core::{Action, Core, Event, FinishedHead, Holdings, Now},
    data_folder::UserRange,
    executor::{Executor, ExecutorEvent},
    session,
    setup::Ready,
};
use common::{
    UserError,
    id::AttemptKey,
    message::{Alert, Command, Data, Finished, Message, Registration, Report, Status, Stream, Tail},
    view::Isolation,
};
use outgoing::Outgoing;
use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use transport::{Backoff, Connection, Sender, SlaveIdentity, clock};

/// Above this much waiting to be written, no more output is put into the connection.
const BULK_QUEUED_BYTES_MAX: usize = 4 << 20;
/// Turns of the executor before the connection has its turn again, so that a program that writes without
/// pause keeps nobody from hearing of this slave.
const TURNS_AT_ONCE_MAX: usize = 16;

/// What the world outside asks of the slave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Stop in order; the second time at once.
    Stop,
}

/// Says what people and scripts wait for.
pub trait Announce {
    /// A session began.
    fn connected(&mut self, line: &str);
}

type Connecting = Pin<Box<dyn Future<Output = Result<Connection, UserError>> + Send>>;

/// Where the slave stands with its master.
enum Link {
    /// Nobody to talk to until then.
    Resting(tokio::time::Instant),
    Connecting(Connecting),
    Connected(Box<Connection>),
}

/// The running slave; `R` runs its programs.
pub struct Slave<A, R = Executor> {
    core: Core,
    executor: R,
    /// Held so that no other slave takes the users of our programs.
    _users: Option<UserRange>,
    identity: Arc<SlaveIdentity>,
    template: Registration,
    announce: A,
    link: Link,
    backoff: Backoff,
    told: Option<String>,
    /// The session is registered and was announced.
    announced: bool,
    asked_to_stop: u32,
    leaving: bool,
}

/// What woke the loop.
enum Woken {
    Executor,
    Message(Result<Message, transport::ReceiveError>),
    Connection(Result<Connection, UserError>),
    Rested,
    Deadline,
    Asked(Ask),
}

impl<A: Announce> Slave<A> {
    /// A slave that has an identity and can run programs.
    #[must_use]
    pub fn new(core: Core, ready: Ready, identity: SlaveIdentity, slots: u32, announce: A) -> Self {
        let template = Registration {
            languages: ready.languages.iter().filter_map(crate::languages::Found::offer).collect(),
            isolation: ready.isolation.clone(),
            ..registration(slots)
        };
        Self { _users: ready.users, ..Self::over(core, ready.executor, template, identity, announce) }
    }
}

/// What a slave without languages tells of itself.
#[must_use]
pub fn registration(slots: u32) -> Registration {
    Registration {
        instance: instance(),
        epoch: 0,
        slots,
        languages: Vec::new(),
        isolation: Isolation::default(),
        machine: machine(),
        release: env!("CARGO_PKG_VERSION").to_owned(),
        waiting: Vec::new(),
        running: Vec::new(),
        finished: Vec::new(),
    }
}

impl<A: Announce, R: Run> Slave<A, R> {
    /// A slave whose programs `executor` runs and which tells `template` of itself.
    #[must_use]
    pub fn over(core: Core, executor: R, template: Registration, identity: SlaveIdentity, announce: A) -> Self {
        Self {
            core,
            executor,
            _users: None,
            identity: Arc::new(identity),
            template,
            announce,
            link: Link::Resting(tokio::time::Instant::now()),
            backoff: Backoff::new(),
            told: None,
            announced: false,
            asked_to_stop: 0,
            leaving: false,
        }
    }

    /// Serves until it is asked to stop.
    ///
    /// # Errors
    /// When programs can no longer be run, or the master refuses this slave for good.
    pub async fn run(mut self, mut asks: mpsc::Receiver<Ask>) -> Result<(), UserError> {
        let internal = |error: std::io::Error| {
            UserError::new(common::ErrorCode::Internal, format!("programs cannot be run any more: {error}"))
        };
        let mut wake = self.executor.wake().map_err(internal)?;
        let mut more = false;
        while !self.leaving {
            let woken = {
                let deadline = self.deadline();
                let link = Self::link_event(&mut self.link);
                tokio::select! {
                    ask = asks.recv() => ask.map_or(Woken::Deadline, Woken::Asked),
                    ready = wake.ready() => {
                        ready.map_err(internal)?;
                        Woken::Executor
                    }
                    woken = link => woken,
                    // Everything else, the connection's own tasks too, comes first once.
                    () = tokio::task::yield_now(), if more => Woken::Executor,
                    () = sleep_until(deadline) => Woken::Deadline,
                }
            };
            let looks = more || matches!(woken, Woken::Executor | Woken::Deadline);
            match woken {
                Woken::Executor => {}
                Woken::Message(result) => self.message(result)?,
                Woken::Connection(result) => self.connection(result)?,
                Woken::Rested => self.dial(),
                Woken::Deadline => self.handle([Event::Tick]),
                Woken::Asked(Ask::Stop) => self.asked_to_stop(),
            }
            // What was ordered ends at once when it cannot be started; else only a wake brings something new.
            if looks || !self.executor.is_idle() {
                more = self.turn_executor().map_err(internal)?;
            }
        }
        self.leave().await.map_err(internal)
    }

    async fn link_event(link: &mut Link) -> Woken {
        match link {
            Link::Resting(until) => {
                tokio::time::sleep_until(*until).await;
                Woken::Rested
            }
            Link::Connecting(connecting) => Woken::Connection(connecting.await),
            Link::Connected(connection) => Woken::Message(connection.receiver.next().await),
        }
    }

    fn deadline(&self) -> Option<std::time::Instant> {
        let core =
            self.core.next_deadline().map(|(at, _)| std::time::Instant::now() + at.since(clock::boot_now()).to_std());
        [core, self.executor.next_deadline()].into_iter().flatten().min()
    }

    /// Handles what the executor has, up to a share; true when there may be more.
    fn turn_executor(&mut self) -> std::io::Result<bool> {
        for _ in 0..TURNS_AT_ONCE_MAX {
            let turn = self.executor.turn()?;
            if turn.is_empty() && self.executor.is_idle() {
                return Ok(false);
            }
            self.handle(turn.into_iter().map(|event| match event {
                ExecutorEvent::Output { key, stream, end } => Event::Output { key, stream, end },
                ExecutorEvent::Progress { key, progress } => Event::Progress { key, progress },
                ExecutorEvent::Ended(end) => Event::Ended(end),
            }));
        }
        Ok(true)
    }

    fn asked_to_stop(&mut self) {
        self.asked_to_stop += 1;
        if self.asked_to_stop > 1 {
            tracing::info!("stopping at once");
            self.leaving = true;
            return;
        }
        let (_, running, unacknowledged) = self.core.counts();
        tracing::info!(running, unacknowledged, "stopping: programs may end first");
        self.handle([Event::Stop]);
    }

    fn dial(&mut self) {
        let identity = self.identity.clone();
        self.link = Link::Connecting(Box::pin(async move { session::connect(&identity).await }));
    }

    fn connection(&mut self, result: Result<Connection, UserError>) -> Result<(), UserError> {
        match result {
            Ok(connection) => {
                self.announced = false;
                self.link = Link::Connected(Box::new(connection));
                self.handle([Event::Connected]);
                Ok(())
            }
            Err(error) => {
                self.refused_or_unreachable(error)?;
                self.disconnected();
                Ok(())
            }
        }
    }

    /// Says once what keeps the slave from its master, and gives up when it never will be better.
    fn refused_or_unreachable(&mut self, error: UserError) -> Result<(), UserError> {
        if session::is_final(&error) {
            return Err(error);
        }
        let sentence = error.sentence.clone();
        if self.told.as_ref() != Some(&sentence) {
            tracing::warn!(code = %error.code, "{sentence}; trying again");
            self.told = Some(sentence);
        }
        Ok(())
    }

    fn disconnected(&mut self) {
        self.rest();
        self.handle([Event::Disconnected]);
    }

    /// Drops the connection and tries again after a while.
    fn rest(&mut self) {
        let delay = self.backoff.next_delay();
        self.link = Link::Resting(tokio::time::Instant::now() + delay);
        self.announced = false;
    }

    fn message(&mut self, result: Result<Message, transport::ReceiveError>) -> Result<(), UserError> {
        match result {
            Ok(Message::Command(Command::Order(order))) => {
                if matches!(order, common::message::Order::Registered { .. }) && !self.announced {
                    self.session_begins();
                }
                self.handle([Event::Order(order)]);
            }
            Ok(Message::Alert(Alert::Refused(error))) => {
                self.refused_or_unreachable(error)?;
                self.disconnected();
            }
            Ok(Message::Alert(Alert::Notice { text })) => {
                tracing::info!(text = %common::escape::RawText::from(text), "the master says");
            }
            Ok(Message::Alert(Alert::Stopping { .. })) => tracing::info!("the master stops"),
            Ok(Message::Pong(heartbeat)) => self.handle([Event::HeartbeatAnswered(heartbeat.sequence)]),
            Ok(Message::Ping(_) | Message::Command(_) | Message::Data(_) | Message::Status(_)) => {
                tracing::debug!("the master sent something that is not for a slave");
            }
            Err(error) => {
                self.refused_or_unreachable(UserError::from(&error))?;
                self.disconnected();
            }
        }
        Ok(())
    }

    fn session_begins(&mut self) {
        self.announced = true;
        self.told = None;
        self.backoff.reset();
        let Self { identity, announce, .. } = self;
        announce.connected(&format!("connected to {} as {} ({})", identity.address(), identity.name, identity.id));
    }

    /// Gives events to the core and performs what follows, reports of one kind together.
    fn handle(&mut self, events: impl IntoIterator<Item = Event>) {
        let mut actions = Vec::new();
        for event in events {
            let now = Now { wall: clock::now(), boot: clock::boot_now(), takes_bulk: self.takes_bulk() };
            actions.extend(self.core.handle(event, now));
        }
        if actions.is_empty() {
            return;
        }
        let mut outgoing = Outgoing::default();
        for action in actions {
            self.perform(action, &mut outgoing);
        }
        let lost = std::mem::take(&mut outgoing.lost);
        let messages = outgoing.finish();
        if !messages.is_empty()
            && let Some(sender) = self.sender()
            && let Err(error) = sender.send_all(messages)
        {
            // The receiver meets the end next, and everything is told again, a registration too.
            tracing::debug!(%error, "reports could not be sent");
        }
        if !lost.is_empty() {
            // A stream is lost once, so this comes to an end.
            let event = |((key, stream), offset)| Event::OutputLost { key, stream, offset };
            self.handle(lost.into_iter().map(event).collect::<Vec<_>>());
        }
    }

    fn sender(&self) -> Option<&Sender> {
        match &self.link {
            Link::Connected(connection) => Some(&connection.sender),
            Link::Resting(_) | Link::Connecting(_) => None,
        }
    }

    fn takes_bulk(&self) -> bool {
        self.sender().is_some_and(|sender| sender.queued_bytes() < BULK_QUEUED_BYTES_MAX)
    }

    fn perform(&mut self, action: Action, outgoing: &mut Outgoing) {
        match action {
            Action::Register(Holdings { waiting, running, finished }) => {
                let registration = Registration { waiting, running, finished, ..self.template.clone() };
                outgoing.push(Status::Report(Report::Register(Box::new(registration))));
            }
            Action::Heartbeat(number) => {
                // What cannot be sent is not answered: nothing more is to be done.
                if let Some(Err(error)) = self.sender().map(|sender| sender.heartbeat(number)) {
                    tracing::debug!(%error, "a heartbeat could not be sent");
                }
            }
            Action::SetLease(until) => self.executor.set_lease(until),
            Action::Reconnect => {
                tracing::warn!("the master does not answer; the connection is made anew");
                self.rest();
            }
            Action::Start(assignment) => self.executor.start(assignment, clock::now()),
            Action::Stop(key, stop) => self.executor.stop(key, stop),
            Action::Report(report) => outgoing.report(report),
            Action::ReportFinished(head) => {
                let finished = self.finished(head, &outgoing.lost);
                outgoing.finished(finished);
            }
            Action::SendOutput { key, stream, offset, count } => {
                // What comes after a gap is of no use.
                if outgoing.lost.contains_key(&(key, stream)) {
                    return;
                }
                match self.read(key, stream, offset, count) {
                    Some(bytes) => outgoing.push(Data::Output { key, stream, offset, bytes }),
                    None => drop(outgoing.lost.insert((key, stream), offset)),
                }
            }
            Action::ForgetBefore { key, stream, offset } => self.executor.forget_before(key, stream, offset),
            Action::Forget(key) => self.executor.forget(key),
            Action::Leave => self.leaving = true,
        }
    }

    fn read(&mut self, key: AttemptKey, stream: Stream, offset: u64, count: usize) -> Option<Vec<u8>> {
        match self.executor.read(key, stream, offset, count) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                tracing::error!(attempt = %key, %error, "output that was kept cannot be read");
                None
            }
        }
    }

    fn finished(&mut self, head: FinishedHead, lost: &BTreeMap<(AttemptKey, Stream), u64>) -> Finished {
        let FinishedHead { end, tails } = head;
        let key = end.key;
        let mut truncated = end.output_truncated;
        let mut read = [Tail::default(), Tail::default(), Tail::default()];
        for ((stream, (offset, count)), tail) in Stream::ALL.into_iter().zip(tails).zip(&mut read) {
            let (offset, read) = match lost.get(&(key, stream)) {
                Some(lost) => (*lost, None),
                None if count == 0 => (offset, Some(Vec::new())),
                None => (offset, self.read(key, stream, offset, count)),
            };
            truncated |= read.is_none();
            *tail = Tail { offset, bytes: read.unwrap_or_default() };
        }
        Finished {
            key,
            outcome: end.outcome,
            started_at: end.started_at,
            ended_at: end.ended_at,
            usage: end.usage,
            tails: read,
            output_truncated: truncated,
            last_line: end.last_line,
        }
    }

    /// Closes the connection in order and ends everything that still runs.
    async fn leave(self) -> std::io::Result<()> {
        if let Link::Connected(connection) = &self.link {
            connection.sender.close();
            if tokio::time::timeout(Duration::from_secs(3), connection.sender.closed()).await.is_err() {
                tracing::debug!("the connection did not close in time");
            }
        }
        self.executor.shut_down()
    }
}

async fn sleep_until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// A number that another start of the agent does not have.
fn instance() -> u64 {
    let bytes = uuid::Uuid::new_v4().into_bytes();
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Operating system and processors, for people.
fn machine() -> String {
    let name = rustix::system::uname();
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{} {}, {cpus} CPUs", name.sysname().to_string_lossy(), name.release().to_string_lossy())
}
