//! Frames that wait to be written: control in one buffer, bulk in pieces behind it.

use super::SendError;
use crate::clock;
use common::{
    limits::{FRAME_DATA_BYTES_MAX, FRAME_HEADER_BYTES, OUTBOUND_BYTES_MAX, OUTBOUND_FRAMES_MAX},
    message::Message,
};
use std::{collections::VecDeque, mem};

/// Bulk goes out in pieces of about this size; between two pieces control overtakes.
const BULK_PIECE_BYTES: usize = 64 << 10;
/// What a frame is larger than the part of an output in it.
const BULK_FRAME_ROOM_BYTES: usize = 256;
/// A buffer that once grew beyond this is given back to the system.
const BUFFER_KEPT_BYTES: usize = 256 << 10;

/// How far the connection's life is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Messages are taken.
    Open,
    /// What waits is still written, then the connection ends.
    Closing,
    /// Nothing is written any more.
    Gone,
}

/// A message that is encoded once and sent to several peers.
#[derive(Clone, Debug)]
pub struct Encoded {
    bytes: Vec<u8>,
    bulk: bool,
}

impl Encoded {
    /// Encodes it; its timestamp is now.
    #[must_use]
    pub fn new(message: &Message) -> Self {
        let mut bytes = Vec::new();
        message.encode(clock::now(), &mut bytes);
        Self { bytes, bulk: message.is_bulk() }
    }
}

/// Frames and their bytes.
#[derive(Debug, Default)]
struct Frames {
    bytes: Vec<u8>,
    count: usize,
}

/// Everything that waits to be written to one peer.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) phase: Phase,
    /// The writer sleeps and must be woken.
    pub(super) writer_waits: bool,
    control: Frames,
    bulk: VecDeque<Frames>,
    /// Frames and bytes that wait or are being written.
    frames: usize,
    bytes: usize,
}

/// What the writer writes at once. Its buffer is used again and again.
#[derive(Debug, Default)]
pub(super) struct Batch {
    frames: Frames,
}

impl Batch {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.frames.bytes
    }
}

impl Outgoing {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Open,
            writer_waits: false,
            control: Frames::default(),
            bulk: VecDeque::new(),
            frames: 0,
            bytes: 0,
        }
    }

    /// Bytes that wait or are being written.
    pub(super) const fn queued_bytes(&self) -> usize {
        self.bytes
    }

    /// Encodes the message behind what waits. Leaves everything as it was when it does not fit.
    pub(super) fn push(&mut self, message: &Message) -> Result<(), SendError> {
        self.add(message.is_bulk(), |bytes| message.encode(clock::now(), bytes))
    }

    /// As [`Self::push`], with what was encoded for several peers.
    pub(super) fn push_encoded(&mut self, message: &Encoded) -> Result<(), SendError> {
        self.add(message.bulk, |bytes| bytes.extend_from_slice(&message.bytes))
    }

    fn add(&mut self, bulk: bool, encode: impl FnOnce(&mut Vec<u8>)) -> Result<(), SendError> {
        let queue = if bulk {
            if self.bulk.back().is_none_or(|piece| piece.bytes.len() >= BULK_PIECE_BYTES) {
                let bytes = Vec::with_capacity(BULK_PIECE_BYTES + BULK_FRAME_ROOM_BYTES);
                self.bulk.push_back(Frames { bytes, count: 0 });
            }
            self.bulk.back_mut().expect("there is a piece")
        } else {
            &mut self.control
        };
        let before = queue.bytes.len();
        encode(&mut queue.bytes);
        let added = queue.bytes.len() - before;
        let error = if added > FRAME_HEADER_BYTES + FRAME_DATA_BYTES_MAX {
            SendError::TooLarge
        } else if self.frames >= OUTBOUND_FRAMES_MAX || self.bytes + added > OUTBOUND_BYTES_MAX {
            SendError::Full
        } else {
            queue.count += 1;
            self.frames += 1;
            self.bytes += added;
            return Ok(());
        };
        queue.bytes.truncate(before);
        Err(error)
    }

    /// Moves what is to be written next into `batch`, whose own frames have been written: all control, then one
    /// piece of bulk. False when nothing waits.
    pub(super) fn take(&mut self, batch: &mut Batch) -> bool {
        self.frames -= batch.frames.count;
        self.bytes -= batch.frames.bytes.len();
        batch.frames.count = 0;
        batch.frames.bytes.clear();
        if batch.frames.bytes.capacity() > BUFFER_KEPT_BYTES {
            batch.frames.bytes = Vec::new();
        }
        mem::swap(&mut self.control, &mut batch.frames);
        match self.bulk.pop_front() {
            // The piece is written from where it was made.
            Some(piece) if batch.frames.count == 0 => batch.frames = piece,
            Some(piece) => {
                batch.frames.bytes.extend_from_slice(&piece.bytes);
                batch.frames.count += piece.count;
            }
            None => {}
        }
        batch.frames.count > 0
    }

    /// Forgets everything that waits.
    pub(super) fn clear(&mut self) {
        self.phase = Phase::Gone;
        self.control = Frames::default();
        self.bulk = VecDeque::new();
    }
}
