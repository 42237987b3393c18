//! Messages: one module for each family of frames, append-only enums, golden bytes beside each.
//!
//! Never reorder or remove a variant or a field: bincode tells them apart by place alone.
//! docs/checklists/add-a-message.md says how to add one.

pub mod alert;
pub mod command;
pub mod data;
pub mod heartbeat;
pub mod order;
pub mod request;
pub mod status;

use crate::{
    frame::{FrameError, FrameHeader, FrameType, decode_data, encode_frame},
    units::Timestamp,
};
pub use alert::Alert;
pub use command::Command;
pub use data::{Data, Stream};
pub use heartbeat::Heartbeat;
pub use order::{Assignment, Order, StoredUpTo};
pub use request::{HistoryQuery, Request, RequestId};
pub use status::{Change, Finished, Registration, Reply, Report, Status, Tail};

/// A message of any family.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Are you there?
    Ping(Heartbeat),
    /// I am.
    Pong(Heartbeat),
    /// A request or an order.
    Command(Command),
    /// Output of programs.
    Data(Data),
    /// Something went wrong or needs attention.
    Alert(Alert),
    /// A reply, a report or a change.
    Status(Status),
}

impl Message {
    /// Appends the message to `out` as one frame.
    pub fn encode(&self, timestamp: Timestamp, out: &mut Vec<u8>) {
        match self {
            Self::Ping(message) => encode_frame(FrameType::Ping, timestamp, message, out),
            Self::Pong(message) => encode_frame(FrameType::Pong, timestamp, message, out),
            Self::Command(message) => encode_frame(FrameType::Command, timestamp, message, out),
            Self::Data(message) => encode_frame(FrameType::Data, timestamp, message, out),
            Self::Alert(message) => encode_frame(FrameType::Alert, timestamp, message, out),
            Self::Status(message) => encode_frame(FrameType::Status, timestamp, message, out),
        }
    }

    /// Reads the message behind `header`.
    ///
    /// # Errors
    /// When `data` is not exactly one message of the header's family.
    pub fn decode(header: FrameHeader, data: &[u8]) -> Result<Self, FrameError> {
        let family = header.frame_type;
        match family {
            FrameType::Ping => decode_data(family, data).map(Self::Ping),
            FrameType::Pong => decode_data(family, data).map(Self::Pong),
            FrameType::Command => decode_data(family, data).map(Self::Command),
            FrameType::Data => decode_data(family, data).map(Self::Data),
            FrameType::Alert => decode_data(family, data).map(Self::Alert),
            FrameType::Status => decode_data(family, data).map(Self::Status),
        }
    }

    /// Whether the message is bulk, which control may overtake.
    #[must_use]
    pub const fn is_bulk(&self) -> bool {
        matches!(self, Self::Data(_))
    }
}

macro_rules! into_message {
    ($($family:ident($inner:ty)),+) => {
        $(impl From<$inner> for Message {
            fn from(message: $inner) -> Self {
                Self::$family(message)
            }
        })+
    };
}
into_message!(Command(Command), Data(Data), Alert(Alert), Status(Status));
