//! Following a program: its output as it comes, then how it ended, through lost connections and Ctrl-C.

use crate::{
    failure::{CANCELLED, Failure, say},
    output::Sink,
    session::Session,
};
use client::{
    connection::{Client, Pending},
    reply,
};
use common::{
    ErrorCode, Outcome, ProgramId, UserError,
    limits::OUTPUT_CHUNK_BYTES_MAX,
    message::{Reply, Request, Stream},
};
use std::io::IsTerminal;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long a command that leaves waits for its last requests to be heard.
const LEAVE_TIME: std::time::Duration = std::time::Duration::from_secs(2);

/// One program that is followed.
pub(crate) struct Follow {
    id: ProgramId,
    stdout: Reading,
    stderr: Reading,
    waiting: Option<Pending>,
    outcome: Option<Outcome>,
}

/// One stream that is read to its end.
struct Reading {
    stream: Stream,
    offset: u64,
    end: bool,
    asked: Option<Pending>,
}

/// Where the output of programs goes.
pub(crate) struct Sinks {
    pub(crate) stdout: Sink,
    pub(crate) stderr: Sink,
}

impl Reading {
    fn new(stream: Stream) -> Self {
        Self { stream, offset: 0, end: false, asked: None }
    }

    fn ask(&mut self, client: &Client, id: ProgramId) {
        if !self.end && self.asked.is_none() {
            self.asked = Some(client.request(read_request(id, self.stream, self.offset, true)));
        }
    }

    /// The bytes of an answer, which may repeat what is known.
    fn take(&mut self, answer: Result<Reply, UserError>) -> Result<Vec<u8>, UserError> {
        let mut output = reply::output(answer?)?;
        let known = usize::try_from(self.offset.saturating_sub(output.offset)).unwrap_or(usize::MAX);
        output.bytes.drain(..known.min(output.bytes.len()));
        self.offset += output.bytes.len() as u64;
        self.end = output.end;
        Ok(output.bytes)
    }
}

/// The request for the next piece of a stream.
pub(crate) fn read_request(id: ProgramId, stream: Stream, offset: u64, follow: bool) -> Request {
    let bytes_max = u32::try_from(OUTPUT_CHUNK_BYTES_MAX).unwrap_or(u32::MAX);
    Request::ReadOutput { id, stream, offset, bytes_max, follow }
}

/// The answer, once there is a question; never without one. The question is gone afterwards.
async fn answer(asked: &mut Option<Pending>) -> Result<Reply, UserError> {
    match asked {
        Some(pending) => {
            let answer = pending.await;
            *asked = None;
            answer
        }
        None => std::future::pending().await,
    }
}

impl Follow {
    /// Begins to follow without waiting: the first requests leave with whatever else is sent now. Without
    /// `output` only the end is awaited.
    pub(crate) fn begin(client: &Client, id: ProgramId, output: bool) -> Self {
        let mut follow = Self {
            id,
            stdout: Reading::new(Stream::Stdout),
            stderr: Reading::new(Stream::Stderr),
            waiting: None,
            outcome: None,
        };
        follow.stdout.end = !output;
        follow.stderr.end = !output;
        follow.ask(client);
        follow
    }

    fn ask(&mut self, client: &Client) {
        self.stdout.ask(client, self.id);
        self.stderr.ask(client, self.id);
        if self.outcome.is_none() && self.waiting.is_none() {
            self.waiting = Some(client.request(Request::Wait { ids: vec![self.id] }));
        }
    }

    /// Writes the output as it comes, to its end, and gives the outcome.
    pub(crate) async fn run(
        &mut self,
        session: &mut Session,
        sinks: &mut Sinks,
        interrupts: &mut Interrupts,
    ) -> Result<Outcome, Failure> {
        loop {
            match self.until_lost(session.client(), sinks, interrupts).await {
                Ok(outcome) => return Ok(outcome),
                Err(Failure::Error(error)) => {
                    let busy = error.is(ErrorCode::Busy);
                    tokio::select! {
                        recovered = session.recover(error) => recovered?,
                        () = interrupts.next() => {
                            // While the master is only busy the connection stands.
                            if session.client().lost().is_none() {
                                interrupts.cancel_and_leave(session.client()).await;
                            }
                            return Err(Failure::Exit(CANCELLED));
                        }
                    }
                    if busy {
                        // The connection stands, and what else was asked over it will be answered.
                        continue;
                    }
                    self.stdout.asked = None;
                    self.stderr.asked = None;
                    self.waiting = None;
                    if interrupts.any() {
                        interrupts.cancel(session.client());
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn until_lost(
        &mut self,
        client: &Client,
        sinks: &mut Sinks,
        interrupts: &mut Interrupts,
    ) -> Result<Outcome, Failure> {
        loop {
            self.ask(client);
            if let Some(outcome) = self.outcome.take_if(|_| self.stdout.end && self.stderr.end) {
                sinks.stdout.end().await?;
                sinks.stderr.end().await?;
                return Ok(outcome);
            }
            tokio::select! {
                piece = answer(&mut self.stdout.asked) => {
                    let bytes = self.stdout.take(piece)?;
                    if let Err(error) = sinks.stdout.write(&bytes).await {
                        // As a pipe would end it here: nobody reads it any more, or it has no place.
                        interrupts.cancel_and_leave(client).await;
                        return Err(error.into());
                    }
                }
                piece = answer(&mut self.stderr.asked) => {
                    let bytes = self.stderr.take(piece)?;
                    // A closed standard error is the caller's choice.
                    drop(sinks.stderr.write(&bytes).await);
                }
                ended = answer(&mut self.waiting) => {
                    let (programs, _) = reply::ended(ended?)?;
                    self.outcome = programs.into_iter().find(|(id, _)| *id == self.id).map(|(_, outcome)| outcome);
                }
                () = interrupts.next() => {
                    if !interrupts.first() {
                        return Err(Failure::Exit(CANCELLED));
                    }
                    interrupts.cancel(client);
                }
            }
        }
    }
}

/// Ctrl-C and SIGTERM: the first cancels the programs, the second leaves at once.
pub(crate) struct Interrupts {
    signals: [Signal; 2],
    count: u32,
    ids: Vec<ProgramId>,
}

impl Interrupts {
    /// Watches for them in the name of these programs.
    pub(crate) fn watch(ids: &[ProgramId]) -> Result<Self, Failure> {
        let watch = |kind| signal(kind);
        let signals = [watch(SignalKind::interrupt())?, watch(SignalKind::terminate())?];
        Ok(Self { signals, count: 0, ids: ids.to_vec() })
    }

    /// The next one. May be dropped while it waits.
    pub(crate) async fn next(&mut self) {
        let [interrupt, terminate] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        self.count += 1;
    }

    fn any(&self) -> bool {
        self.count > 0
    }

    fn first(&self) -> bool {
        self.count == 1
    }

    /// Asks the master to stop the programs; that they are stopped comes as their outcome.
    pub(crate) fn cancel(&self, client: &Client) {
        if self.first() && std::io::stderr().is_terminal() {
            say("\nruche: stopping it; Ctrl-C again leaves at once\n");
        }
        for ids in self.ids.chunks(common::limits::COPIES_PER_REQUEST_MAX) {
            drop(client.request(Request::Cancel { ids: ids.to_vec() }));
        }
    }

    /// The same, and waits a little for the master's answer, for a command that leaves now.
    pub(crate) async fn cancel_and_leave(&self, client: &Client) {
        self.cancel(client);
        let heard = client.request(Request::Summary);
        if tokio::time::timeout(LEAVE_TIME, heard).await.is_err() {
            tracing::warn!("the master did not confirm that the programs are cancelled");
        }
    }
}
