//! Our standard input on its way to a program that runs, and the size of our terminal.

use client::{
    connection::{Client, Pending},
    reply,
};
use common::{
    ErrorCode, ProgramId, UserError,
    limits::INPUT_CHUNK_BYTES_MAX,
    message::{Reply, Request},
};
use std::{collections::VecDeque, time::Duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

/// Parts that are on their way and not answered. What they hold together is less than the master takes.
const PARTS_MAX: usize = 3;
/// Before a part that the master had no room for is sent again, when it names no time.
const BUSY_WAIT: Duration = Duration::from_millis(200);

/// What a followed program is given of what is typed here.
pub(crate) struct Typing {
    id: ProgramId,
    /// Pieces of our standard input; none when nothing more is given.
    pieces: Option<mpsc::Receiver<Vec<u8>>>,
    /// What was sent and is not answered, in order.
    parts: VecDeque<Part>,
    /// Place of the next piece.
    offset: u64,
    /// Until then nothing is sent again.
    busy_until: Option<tokio::time::Instant>,
    resized: Option<Signal>,
}

struct Part {
    offset: u64,
    bytes: Vec<u8>,
    end: bool,
    asked: Option<Pending>,
}

impl Part {
    fn until(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

impl Typing {
    /// A program that is given nothing.
    pub(crate) const fn none(id: ProgramId) -> Self {
        Self { id, pieces: None, parts: VecDeque::new(), offset: 0, busy_until: None, resized: None }
    }

    /// Reads our standard input from now on, and with `terminal` tells its size when that changes.
    pub(crate) fn begin(id: ProgramId, terminal: bool) -> std::io::Result<Self> {
        // One piece ahead: what is typed for the next command stays there for it.
        let (sender, pieces) = mpsc::channel(1);
        std::thread::Builder::new().name("input".to_owned()).spawn(move || read(&sender))?;
        let resized = terminal.then(|| signal(SignalKind::window_change())).transpose()?;
        Ok(Self { pieces: Some(pieces), resized, ..Self::none(id) })
    }

    /// Sends what there is and takes note of what has arrived; never ends without an error. May be dropped while it
    /// waits: nothing is lost.
    pub(crate) async fn forward(&mut self, client: &Client) -> Result<std::convert::Infallible, UserError> {
        loop {
            self.send(client);
            let room = self.parts.len() < PARTS_MAX && self.parts.back().is_none_or(|part| !part.end);
            let wait = self.busy_until;
            tokio::select! {
                answer = front(&mut self.parts) => self.answered(answer)?,
                piece = next(&mut self.pieces), if room => {
                    let end = piece.is_none();
                    if end {
                        self.pieces = None;
                    }
                    let bytes = piece.unwrap_or_default();
                    let part = Part { offset: self.offset, bytes, end, asked: None };
                    self.offset = part.until();
                    self.parts.push_back(part);
                }
                () = resized(&mut self.resized) => {
                    if let Some(size) = crate::terminal::size() {
                        drop(client.request(Request::Resize { id: self.id, size }));
                    }
                }
                () = tokio::time::sleep_until(wait.unwrap_or_else(tokio::time::Instant::now)), if wait.is_some() => {
                    self.busy_until = None;
                }
            }
        }
    }

    /// What was not answered is asked again, over another connection.
    pub(crate) fn again(&mut self) {
        for part in &mut self.parts {
            part.asked = None;
        }
    }

    fn send(&mut self, client: &Client) {
        if self.busy_until.is_some() {
            return;
        }
        for part in self.parts.iter_mut().filter(|part| part.asked.is_none()) {
            let (offset, bytes, end) = (part.offset, part.bytes.clone(), part.end);
            part.asked = Some(client.request(Request::Input { id: self.id, offset, bytes, end }));
        }
    }

    fn answered(&mut self, answer: Result<Reply, UserError>) -> Result<(), UserError> {
        let Some(part) = self.parts.front_mut() else { return Ok(()) };
        part.asked = None;
        match answer.and_then(reply::input_taken) {
            Ok(offset) if offset >= part.until() => drop(self.parts.pop_front()),
            Ok(offset) if offset >= part.offset => {
                // A master before this one had the rest: it is given again.
                let taken = usize::try_from(offset - part.offset).unwrap_or(usize::MAX);
                part.bytes.drain(..taken.min(part.bytes.len()));
                part.offset = offset;
                self.again();
            }
            // Of an attempt that begins anew, and what it needs is not here any more.
            Ok(_) => self.stop(),
            Err(error) if error.is(ErrorCode::Busy) => {
                let wait = error.retry_after.map_or(BUSY_WAIT, common::Duration::to_std);
                self.busy_until = Some(tokio::time::Instant::now() + wait);
                self.again();
            }
            Err(error) if error.is(ErrorCode::ConnectionLost) => {
                self.again();
                return Err(error);
            }
            // It has ended, or takes nothing: what becomes of it is told by its outcome.
            Err(error) => {
                tracing::debug!(%error, "input is given no more");
                self.stop();
            }
        }
        Ok(())
    }

    fn stop(&mut self) {
        self.pieces = None;
        self.parts.clear();
    }
}

/// The answer to the oldest part; never when there is none.
async fn front(parts: &mut VecDeque<Part>) -> Result<Reply, UserError> {
    match parts.front_mut().and_then(|part| part.asked.as_mut()) {
        Some(asked) => asked.await,
        None => std::future::pending().await,
    }
}

async fn next(pieces: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match pieces {
        Some(pieces) => pieces.recv().await,
        None => std::future::pending().await,
    }
}

async fn resized(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Reads standard input to its end. The thread ends with the process, however long a read waits.
fn read(sender: &mpsc::Sender<Vec<u8>>) {
    let mut buffer = vec![0; INPUT_CHUNK_BYTES_MAX];
    loop {
        match rustix::io::read(std::io::stdin(), &mut buffer) {
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                // Somebody shares it with us and does not wait.
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(0) | Err(_) => return,
            Ok(count) => {
                if sender.blocking_send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        }
    }
}
