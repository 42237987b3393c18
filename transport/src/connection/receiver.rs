//! The receiving half: reads, checks and decodes in the task that asks.

use super::{BeforeLogin, shared::Shared};
use common::{
    ErrorCode, UserError,
    frame::{FrameError, FrameHeader},
    limits::{
        FRAME_DATA_BYTES_MAX, FRAME_DATA_BYTES_MAX_BEFORE_LOGIN, FRAME_HEADER_BYTES, HANDSHAKE_TIMEOUT, LOGIN_TIMEOUT,
        SILENCE_MAX,
    },
    message::{Heartbeat, Message},
};
use std::{future::poll_fn, io, pin::Pin, sync::Arc, task::Poll};
use tokio::time::{Instant, Sleep, sleep_until};

/// A new connection's buffer; a thousand strangers cost little.
const BUFFER_BYTES_MIN: usize = 4 << 10;
/// What the buffer of a busy connection grows to when its frames are small.
const BUFFER_BYTES_BUSY: usize = 64 << 10;
/// A buffer that a large frame made larger than this shrinks again.
const BUFFER_BYTES_KEPT: usize = 256 << 10;

/// Why nothing more is received.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The connection is closed, by the peer, by us or by the way between.
    #[error("the connection is closed")]
    Closed,
    /// Nothing came for too long, or no login within its time.
    #[error("the peer was silent for too long")]
    Silent,
    /// The peer does not speak the protocol.
    #[error("the peer broke the protocol: {0}")]
    Frame(#[from] FrameError),
    /// The socket or TLS failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

impl ReceiveError {
    /// Whether the peer refused our certificate in TLS: it is expired, revoked or of another master. A dialler
    /// learns this only with the first message that it waits for.
    #[must_use]
    pub fn is_identity_refused(&self) -> bool {
        use rustls::AlertDescription as Alert;
        let Self::Io(error) = self else { return false };
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        matches!(
            inner,
            Some(rustls::Error::AlertReceived(
                Alert::UnknownCA
                    | Alert::BadCertificate
                    | Alert::UnsupportedCertificate
                    | Alert::CertificateRevoked
                    | Alert::CertificateExpired
                    | Alert::CertificateUnknown
                    | Alert::DecryptError
                    | Alert::AccessDenied
            ))
        )
    }
}

impl From<&ReceiveError> for UserError {
    fn from(error: &ReceiveError) -> Self {
        if error.is_identity_refused() {
            return Self::new(ErrorCode::IdentityRefused, "the master refused this computer's certificate");
        }
        let code = match error {
            ReceiveError::Closed | ReceiveError::Silent | ReceiveError::Io(_) => ErrorCode::ConnectionLost,
            ReceiveError::Frame(_) => ErrorCode::ProtocolError,
        };
        Self::new(code, error.to_string())
    }
}

/// Receives messages. Dropping it closes the connection.
#[derive(Debug)]
pub struct Receiver {
    shared: Arc<Shared>,
    buffer: Vec<u8>,
    /// The bytes that were read and not yet decoded are `buffer[start..end]`.
    start: usize,
    end: usize,
    frame_data_bytes_max: usize,
    last_heard: Instant,
    /// Fires at the earliest moment at which something may be too late, and is set anew then: most of the time
    /// the timer is not touched.
    timer: Pin<Box<Sleep>>,
    before_login: Option<BeforeLogin>,
    /// A first message came.
    spoken: bool,
    broken: Option<FrameError>,
}

impl Receiver {
    pub(super) fn new(shared: Arc<Shared>, before_login: Option<BeforeLogin>) -> Self {
        let now = Instant::now();
        let mut receiver = Self {
            shared,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            frame_data_bytes_max: FRAME_DATA_BYTES_MAX_BEFORE_LOGIN,
            last_heard: now,
            timer: Box::pin(sleep_until(now)),
            before_login,
            spoken: false,
            broken: None,
        };
        receiver.timer = Box::pin(sleep_until(receiver.deadline()));
        receiver
    }

    /// Accepts frames of an authenticated peer's size from now on, and frees the connection's place among those
    /// before login.
    pub fn accept_large_frames(&mut self) {
        self.frame_data_bytes_max = FRAME_DATA_BYTES_MAX;
        self.before_login = None;
    }

    /// The next message; heartbeats are handled inside, but for the answers to [`super::Sender::heartbeat`]. Nothing is lost when the future is dropped before it is
    /// ready.
    ///
    /// # Errors
    /// When the connection is over. After a broken frame it is still possible to refuse the peer with a reason.
    pub async fn next(&mut self) -> Result<Message, ReceiveError> {
        loop {
            while let Some(message) = self.decode()? {
                match message {
                    Message::Ping(heartbeat) => self.answer(heartbeat),
                    Message::Pong(heartbeat) => {
                        if let Some(sequence) = self.shared.answered(heartbeat) {
                            return Ok(Message::Pong(Heartbeat { sequence }));
                        }
                    }
                    Message::Command(_) | Message::Data(_) | Message::Alert(_) | Message::Status(_) => {
                        self.spoken = true;
                        return Ok(message);
                    }
                }
            }
            self.fill().await?;
        }
    }

    fn answer(&self, heartbeat: Heartbeat) {
        let mut outgoing = self.shared.outgoing();
        let result = outgoing.push(&Message::Pong(heartbeat));
        drop(outgoing);
        match result {
            Ok(()) => self.shared.wake_writer(),
            // It asks and never reads the answers.
            Err(_) => self.shared.end(),
        }
    }

    /// The next message of the buffer; none when it is not complete.
    fn decode(&mut self) -> Result<Option<Message>, FrameError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let bytes = &self.buffer[self.start..self.end];
        let Some((header, rest)) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>() else { return Ok(None) };
        let decoded = FrameHeader::decode(*header, self.frame_data_bytes_max).and_then(|header| {
            let Some(data) = rest.get(..header.length) else { return Ok(None) };
            Message::decode(header, data).map(|message| Some((message, FRAME_HEADER_BYTES + header.length)))
        });
        match decoded {
            Ok(Some((message, used))) => {
                self.start += used;
                Ok(Some(message))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.broken = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Waits for more bytes.
    async fn fill(&mut self) -> Result<(), ReceiveError> {
        self.make_room();
        loop {
            let (shared, timer, room) = (&self.shared, &mut self.timer, &mut self.buffer[self.end..]);
            let read = poll_fn(|cx| match shared.poll_receive(cx, room) {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                Poll::Pending => timer.as_mut().poll(cx).map(|()| None),
            })
            .await;
            let now = Instant::now();
            match read {
                Some(Ok(0)) => {
                    self.shared.peer_closed();
                    return Err(ReceiveError::Closed);
                }
                Some(Ok(count)) => {
                    self.end += count;
                    self.last_heard = now;
                    // A peer that is never quiet must not outlast the time for its login.
                    if now >= self.deadline() {
                        return Err(self.ended(ReceiveError::Silent));
                    }
                    return Ok(());
                }
                Some(Err(error)) => return Err(self.ended(failed(error))),
                None if now >= self.deadline() => return Err(self.ended(ReceiveError::Silent)),
                None => {
                    let deadline = self.deadline();
                    self.timer.as_mut().reset(deadline);
                }
            }
        }
    }

    fn ended(&self, error: ReceiveError) -> ReceiveError {
        self.shared.end();
        error
    }

    /// When the connection ends unless something comes.
    fn deadline(&self) -> Instant {
        let silent = self.last_heard + SILENCE_MAX.to_std();
        match &self.before_login {
            Some(BeforeLogin { accepted, .. }) if self.spoken => silent.min(*accepted + LOGIN_TIMEOUT.to_std()),
            Some(BeforeLogin { accepted, .. }) => silent.min(*accepted + HANDSHAKE_TIMEOUT.to_std()),
            None => silent,
        }
    }

    /// Makes room at the end of the buffer. It grows only when what has really arrived has filled it.
    fn make_room(&mut self) {
        let waiting = self.end - self.start;
        let filled = self.end == self.buffer.len();
        if waiting == 0 && self.buffer.len() > BUFFER_BYTES_KEPT {
            self.buffer = Vec::new();
        } else {
            self.buffer.copy_within(self.start..self.end, 0);
        }
        (self.start, self.end) = (0, waiting);
        let busy = filled && self.buffer.len() < BUFFER_BYTES_BUSY;
        if busy || waiting == self.buffer.len() {
            let largest = BUFFER_BYTES_BUSY.max(FRAME_HEADER_BYTES + self.frame_data_bytes_max);
            let size = (self.buffer.len() * 2).clamp(BUFFER_BYTES_MIN, largest);
            self.buffer.resize(size, 0);
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// A peer that vanishes without a goodbye is closed; the rest is worth telling.
fn failed(error: io::Error) -> ReceiveError {
    use io::ErrorKind as Kind;
    let vanished = [Kind::UnexpectedEof, Kind::ConnectionReset, Kind::ConnectionAborted, Kind::BrokenPipe];
    if vanished.contains(&error.kind()) { ReceiveError::Closed } else { ReceiveError::Io(error) }
}
