//! What the sender, the receiver and the writer of one connection have in common.

use super::{
    TlsStream,
    outgoing::{Batch, Outgoing, Phase},
};
use common::message::Heartbeat;
use std::{
    io,
    pin::Pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{Notify, watch},
};

/// Both locks are held for a moment only, never over an await, and never both at once.
#[derive(Debug)]
pub(super) struct Shared {
    outgoing: Mutex<Outgoing>,
    io: Mutex<Io>,
    wake_writer: Notify,
    gone: watch::Sender<bool>,
    /// One more than the greatest number of a heartbeat that the caller sent.
    own_heartbeats: AtomicU64,
}

/// Marks the numbers of heartbeats that the caller sends, apart from those of the connection itself.
pub(super) const OWN_HEARTBEAT: u64 = 1 << 63;

#[derive(Debug)]
struct Io {
    /// None once the connection is gone.
    stream: Option<TlsStream>,
    /// The writer reads what is left, to end the connection; the receiver does not read any more.
    draining: bool,
    /// Who waits to read and to write: woken when the connection goes away under them.
    reader: Option<Waker>,
    writer: Option<Waker>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn remember(slot: &mut Option<Waker>, waker: &Waker) {
    if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
        *slot = Some(waker.clone());
    }
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl Shared {
    pub(super) fn new(stream: TlsStream) -> Self {
        Self {
            outgoing: Mutex::new(Outgoing::new()),
            io: Mutex::new(Io { stream: Some(stream), draining: false, reader: None, writer: None }),
            wake_writer: Notify::new(),
            gone: watch::Sender::new(false),
            own_heartbeats: AtomicU64::new(0),
        }
    }

    pub(super) fn expect_answer(&self, number: u64) {
        self.own_heartbeats.fetch_max(number.saturating_add(1), Ordering::Relaxed);
    }

    /// The number of the caller's heartbeat that this answers; none when the caller sent none like it.
    pub(super) fn answered(&self, answer: Heartbeat) -> Option<u64> {
        let number = (answer.sequence & OWN_HEARTBEAT != 0).then_some(answer.sequence & !OWN_HEARTBEAT)?;
        (number < self.own_heartbeats.load(Ordering::Relaxed)).then_some(number)
    }

    pub(super) fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        lock(&self.outgoing)
    }

    /// Wakes the writer when it sleeps.
    pub(super) fn wake_writer(&self) {
        let waits = std::mem::take(&mut self.outgoing().writer_waits);
        if waits {
            self.wake_writer.notify_one();
        }
    }

    /// Waits until somebody has called [`Self::wake_writer`].
    pub(super) async fn writer_woken(&self) {
        self.wake_writer.notified().await;
    }

    /// Takes nothing new; what waits is written, then the connection ends.
    pub(super) fn close(&self) {
        let mut outgoing = self.outgoing();
        if outgoing.phase == Phase::Open {
            outgoing.phase = Phase::Closing;
        }
        drop(outgoing);
        self.wake_writer();
    }

    /// The receiver has come to the end. While we are closing, the writer still ends it politely.
    pub(super) fn peer_closed(&self) {
        let phase = self.outgoing().phase;
        if phase == Phase::Open {
            self.end();
        }
    }

    /// Ends the connection at once.
    pub(super) fn end(&self) {
        self.outgoing().clear();
        let mut io = lock(&self.io);
        let (stream, reader, writer) = (io.stream.take(), io.reader.take(), io.writer.take());
        drop(io);
        drop(stream);
        reader.into_iter().chain(writer).for_each(Waker::wake);
        self.gone.send_replace(true);
        self.wake_writer();
    }

    /// Resolves when the connection is gone.
    pub(super) async fn gone(&self) {
        let mut gone = self.gone.subscribe();
        let result = gone.wait_for(|gone| *gone).await;
        debug_assert!(result.is_ok(), "the sender of the watch is ours and lives");
    }

    /// Reads for the receiver. Zero bytes when the peer has closed, or we have.
    pub(super) fn poll_receive(&self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut io = lock(&self.io);
        if io.draining {
            return Poll::Ready(Ok(0));
        }
        let Some(stream) = &mut io.stream else { return Poll::Ready(Ok(0)) };
        let mut room = ReadBuf::new(room);
        match Pin::new(stream).poll_read(cx, &mut room) {
            Poll::Ready(result) => Poll::Ready(result.map(|()| room.filled().len())),
            Poll::Pending => {
                remember(&mut io.reader, cx.waker());
                Poll::Pending
            }
        }
    }

    /// Writes for the writer.
    pub(super) fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_writing(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    /// Hands everything written to the system.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_writing(cx, |stream, cx| stream.poll_flush(cx))
    }

    /// Tells the peer that nothing follows.
    pub(super) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_writing(cx, |stream, cx| stream.poll_shutdown(cx))
    }

    fn poll_writing<T>(
        &self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TlsStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut io = lock(&self.io);
        let Some(stream) = &mut io.stream else { return Poll::Ready(Err(gone())) };
        let result = write(Pin::new(stream), cx);
        if result.is_pending() {
            remember(&mut io.writer, cx.waker());
        }
        result
    }

    /// Takes reading away from the receiver.
    pub(super) fn begin_draining(&self) {
        let mut io = lock(&self.io);
        io.draining = true;
        let reader = io.reader.take();
        drop(io);
        reader.into_iter().for_each(Waker::wake);
    }

    /// Reads and forgets, for the writer. Zero bytes when the peer has closed.
    pub(super) fn poll_drain(&self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(room);
        ready!(self.poll_writing(cx, |stream, cx| stream.poll_read(cx, &mut room)))?;
        Poll::Ready(Ok(room.filled().len()))
    }

    /// The next batch for the writer, or why there is none. Notes that the writer is about to sleep.
    pub(super) fn take(&self, batch: &mut Batch) -> Taken {
        let mut outgoing = self.outgoing();
        if outgoing.phase == Phase::Gone {
            return Taken::Gone;
        }
        if outgoing.take(batch) {
            return Taken::Batch;
        }
        if outgoing.phase == Phase::Closing {
            return Taken::Last;
        }
        outgoing.writer_waits = true;
        Taken::Nothing
    }
}

/// What the writer has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Write the batch.
    Batch,
    /// Sleep.
    Nothing,
    /// Everything is written: end the connection politely.
    Last,
    /// Stop.
    Gone,
}
