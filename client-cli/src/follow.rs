//! Following a program: its output as it comes, then how it ended, through lost connections and Ctrl-C.

use crate::{
    failure::{CANCELLED, Failure},
    interrupts::Interrupts,
    reading::Reading,
    session::Session,
    sink::Sink,
    typing::Typing,
};
use client::{
    connection::{Client, Pending, Requests},
    reply,
};
use common::{
    ErrorCode, Outcome, ProgramId, UserError,
    message::{Reply, Request, Stream},
};

/// One program that is followed.
pub(crate) struct Follow {
    id: ProgramId,
    stdout: Reading,
    stderr: Reading,
    waiting: Option<Pending>,
    outcome: Option<Outcome>,
}

/// Where the output of programs goes.
pub(crate) struct Sinks {
    pub(crate) stdout: Sink,
    pub(crate) stderr: Sink,
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
    pub(crate) fn begin(client: &Requests, id: ProgramId, output: bool) -> Self {
        let reading = |id, stream| if output { Reading::new(id, stream, true) } else { Reading::nothing(id, stream) };
        let mut follow = Self {
            id,
            stdout: reading(id, Stream::Stdout),
            stderr: reading(id, Stream::Stderr),
            waiting: None,
            outcome: None,
        };
        follow.ask(client);
        follow
    }

    fn ask(&mut self, client: &Requests) {
        self.stdout.ask(client);
        self.stderr.ask(client);
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
        typing: &mut Typing,
    ) -> Result<Outcome, Failure> {
        loop {
            match self.until_lost(session.client(), sinks, interrupts, typing).await {
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
                    self.stdout.forget();
                    self.stderr.forget();
                    self.waiting = None;
                    typing.again();
                    interrupts.act_again(session.client());
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
        typing: &mut Typing,
    ) -> Result<Outcome, Failure> {
        loop {
            self.ask(client);
            if let Some(outcome) = self.outcome.take_if(|_| self.stdout.ended() && self.stderr.ended()) {
                sinks.stdout.end().await?;
                sinks.stderr.end().await?;
                return Ok(outcome);
            }
            tokio::select! {
                piece = self.stdout.answer() => {
                    let bytes = self.stdout.take(piece)?;
                    // What follows comes while this is written.
                    self.stdout.ask(client);
                    if let Err(error) = sinks.stdout.write(bytes).await {
                        // As a pipe would end it here: nobody reads it any more, or it has no place.
                        interrupts.cancel_and_leave(client).await;
                        return Err(error.into());
                    }
                }
                piece = self.stderr.answer() => {
                    let bytes = self.stderr.take(piece)?;
                    self.stderr.ask(client);
                    // A closed standard error is the caller's choice.
                    drop(sinks.stderr.write(bytes).await);
                }
                ended = answer(&mut self.waiting) => {
                    let (programs, _) = reply::ended(ended?)?;
                    self.outcome = programs.into_iter().find(|(id, _)| *id == self.id).map(|(_, outcome)| outcome);
                }
                () = interrupts.next() => {
                    if interrupts.leaves() {
                        return Err(Failure::Exit(CANCELLED));
                    }
                    interrupts.act(client);
                }
                lost = typing.forward(client) => match lost? {},
            }
        }
    }
}
