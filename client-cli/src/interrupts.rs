//! Ctrl-C and SIGTERM while programs are followed: what each means, and the requests that it leads to.

use crate::failure::say;
use client::connection::{Client, Pending};
use common::{ErrorCode, ProgramId, message::Request, program::ProgramSignal};
use std::io::IsTerminal;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long a command that leaves waits for its last requests to be heard.
pub(crate) const LEAVE_TIME: std::time::Duration = std::time::Duration::from_secs(2);

/// What an interrupt leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Nothing happened.
    Quiet,
    /// The program was sent SIGINT.
    Interrupted,
    /// The programs were cancelled.
    Cancelled,
    /// The command leaves.
    Leaving,
}

/// Interrupts in the name of some programs. One program is sent SIGINT first, as in front of a terminal; the next
/// interrupt cancels it, and one more leaves at once. Several programs are cancelled at once, and so is what SIGTERM
/// asks for.
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Option<Signal>,
    stage: Stage,
    ids: Vec<ProgramId>,
    /// The answer to the signal: a program that does not run yet is cancelled instead.
    asked: Option<Pending>,
}

impl Interrupts {
    /// Watches for them in the name of these programs; with `terminal` also for its end.
    pub(crate) fn watch(ids: &[ProgramId], terminal: bool) -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: terminal.then(|| signal(SignalKind::hangup())).transpose()?,
            stage: Stage::Quiet,
            ids: ids.to_vec(),
            asked: None,
        })
    }

    /// The next one, or the answer that the last one came too early. May be dropped while it waits.
    pub(crate) async fn next(&mut self) {
        loop {
            let soft = tokio::select! {
                _ = self.interrupt.recv() => true,
                _ = self.terminate.recv() => false,
                () = hung_up(&mut self.hang_up) => false,
                waits = waits(&mut self.asked) => {
                    self.asked = None;
                    if waits {
                        self.stage = self.stage.max(Stage::Cancelled);
                        return;
                    }
                    continue;
                }
            };
            self.stage = match self.stage {
                Stage::Quiet if soft && self.ids.len() == 1 => Stage::Interrupted,
                Stage::Quiet | Stage::Interrupted => Stage::Cancelled,
                Stage::Cancelled | Stage::Leaving => Stage::Leaving,
            };
            return;
        }
    }

    /// Whether it is time to leave at once.
    pub(crate) fn leaves(&self) -> bool {
        self.stage == Stage::Leaving
    }

    /// Sends what the last one leads to.
    pub(crate) fn act(&mut self, client: &Client) {
        match (self.stage, self.ids.as_slice()) {
            (Stage::Interrupted, [id]) => {
                let request = Request::Signal { id: *id, signal: ProgramSignal::Interrupt };
                self.asked = Some(client.request(request));
            }
            (Stage::Quiet, _) => {}
            (Stage::Interrupted | Stage::Cancelled | Stage::Leaving, _) => self.cancel(client),
        }
    }

    /// The same after the connection was made anew: a cancel that was wanted is wanted still.
    pub(crate) fn act_again(&mut self, client: &Client) {
        // What became of the signal is not known; one more would be another.
        self.asked = None;
        if self.stage >= Stage::Cancelled {
            self.cancel(client);
        }
    }

    /// Asks the master to stop the programs; that they are stopped comes as their outcome.
    fn cancel(&mut self, client: &Client) {
        if self.stage == Stage::Cancelled && std::io::stderr().is_terminal() {
            say("\nruche: stopping it; Ctrl-C again leaves at once\n");
        }
        for ids in self.ids.chunks(common::limits::COPIES_PER_REQUEST_MAX) {
            drop(client.request(Request::Cancel { ids: ids.to_vec() }));
        }
    }

    /// Cancels, and waits a little for the master's answer, for a command that leaves now.
    pub(crate) async fn cancel_and_leave(&mut self, client: &Client) {
        self.stage = Stage::Leaving;
        self.cancel(client);
        let heard = client.request(Request::Summary);
        if tokio::time::timeout(LEAVE_TIME, heard).await.is_err() {
            tracing::warn!("the master did not confirm that the programs are cancelled");
        }
    }
}

async fn hung_up(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether the program that was sent a signal does not run yet; never without a question.
async fn waits(asked: &mut Option<Pending>) -> bool {
    match asked {
        Some(asked) => asked.await.is_err_and(|error| error.is(ErrorCode::NotRunning)),
        None => std::future::pending().await,
    }
}
