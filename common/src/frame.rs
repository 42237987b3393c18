//! The frame: `[TYPE u32][LENGTH u32][TIMESTAMP u64][DATA]`, big-endian, and the codec behind it.
//!
//! The only place besides `message/` that knows bincode (docs/decisions/0002).

use crate::{limits::FRAME_HEADER_BYTES, units::Timestamp};
use serde::{Serialize, de::DeserializeOwned};

/// The family of a frame's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum FrameType {
    /// Are you there?
    Ping = 1,
    /// I am.
    Pong = 2,
    /// A request or an order.
    Command = 3,
    /// Bulk: output of programs.
    Data = 4,
    /// Something went wrong or needs attention.
    Alert = 5,
    /// A reply, a report or a change.
    Status = 6,
}

impl FrameType {
    const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Ping),
            2 => Some(Self::Pong),
            3 => Some(Self::Command),
            4 => Some(Self::Data),
            5 => Some(Self::Alert),
            6 => Some(Self::Status),
            _ => None,
        }
    }
}

/// A frame's header, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// The message's family.
    pub frame_type: FrameType,
    /// Bytes of DATA that follow.
    pub length: usize,
    /// When the sender made it, by its own wall clock.
    pub timestamp: Timestamp,
}

/// Why bytes are not a frame or a message. The connection that brought them is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// TYPE is none of the six.
    #[error("{0} is not a frame type; this peer does not speak Ruche's protocol")]
    UnknownType(u32),
    /// LENGTH is over the limit of the session's state.
    #[error("a frame claims {length} bytes; at most {limit} are accepted here")]
    TooLong {
        /// What the header claims.
        length: u32,
        /// What is accepted.
        limit: usize,
    },
    /// DATA is not a message of the family.
    #[error("a {frame_type:?} frame of {length} bytes is not a message: {reason}")]
    Undecodable {
        /// The family.
        frame_type: FrameType,
        /// Bytes of DATA.
        length: usize,
        /// What the codec says.
        reason: String,
    },
}

impl FrameHeader {
    /// Reads a header and checks LENGTH against `data_bytes_max` before anything is allocated.
    ///
    /// # Errors
    /// An unknown TYPE, or a LENGTH over the limit.
    pub fn decode(bytes: [u8; FRAME_HEADER_BYTES], data_bytes_max: usize) -> Result<Self, FrameError> {
        let [t0, t1, t2, t3, l0, l1, l2, l3, stamp @ ..] = bytes;
        let number = u32::from_be_bytes([t0, t1, t2, t3]);
        let frame_type = FrameType::from_number(number).ok_or(FrameError::UnknownType(number))?;
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        if length as usize > data_bytes_max {
            return Err(FrameError::TooLong { length, limit: data_bytes_max });
        }
        Ok(Self { frame_type, length: length as usize, timestamp: Timestamp(u64::from_be_bytes(stamp)) })
    }
}

/// The one codec setting: varint, little-endian, and a bound on what a message may claim to hold.
const fn codec() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<{ crate::limits::FRAME_DATA_BYTES_MAX }>()
}

/// Appends one frame to `out`.
///
/// # Panics
/// When a message of our own does not serialize or is over 4 GiB, which would be a bug of ours.
pub(crate) fn encode_frame(frame_type: FrameType, timestamp: Timestamp, message: &impl Serialize, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&(frame_type as u32).to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&timestamp.0.to_be_bytes());
    bincode::serde::encode_into_std_write(message, out, codec()).expect("a message of our own serializes");
    let length = u32::try_from(out.len() - start - FRAME_HEADER_BYTES).expect("a frame is shorter than 4 GiB");
    out[start + 4..start + 8].copy_from_slice(&length.to_be_bytes());
}

/// Reads the message of one frame; all of `data` must belong to it.
///
/// # Errors
/// When `data` is not exactly one message of the family.
pub(crate) fn decode_data<M: DeserializeOwned>(frame_type: FrameType, data: &[u8]) -> Result<M, FrameError> {
    let undecodable = |reason: String| FrameError::Undecodable { frame_type, length: data.len(), reason };
    let (message, used) =
        bincode::serde::decode_from_slice(data, codec()).map_err(|error| undecodable(error.to_string()))?;
    if used == data.len() {
        Ok(message)
    } else {
        Err(undecodable(format!("{} bytes are left over", data.len() - used)))
    }
}

/// Bytes for a record that a store keeps: the same codec, without a frame.
///
/// # Panics
/// When a type of our own does not serialize, which would be a bug of ours.
#[must_use]
pub fn encode_record(value: &impl Serialize) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, codec()).expect("a record of our own serializes")
}

/// Appends what [`encode_record`] gives.
///
/// # Panics
/// As that.
pub fn append_record(value: &impl Serialize, out: &mut Vec<u8>) {
    bincode::serde::encode_into_std_write(value, out, codec()).expect("a record of our own serializes");
}

/// Reads what [`encode_record`] wrote.
///
/// # Errors
/// When the bytes are not exactly one such value.
pub fn decode_record<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, FrameError> {
    decode_data(FrameType::Data, bytes)
}
