//! The way of a program through the master and through a slave, with nothing around it that moves: no connection, no
//! clock, no chance, no program. `cargo xtask budget` counts the instructions of it.
//!
//! Each end is the real core, codec and records, and plays its peers itself. The numbers mean nothing in seconds and
//! everything beside the recorded ones: they change with the code and with nothing else.

pub mod master;
pub mod slave;

use common::{ProgramId, Timestamp, frame::FrameHeader, limits, message::Message};
use uuid::Uuid;

/// The wall clock stands still.
const WALL: Timestamp = Timestamp(1_700_000_000_000_000);
/// Programs of one submit.
const PER_SUBMIT: usize = 100;
/// Programs that end between two turns; what a busy slave with two slots reports at once.
const PER_TURN: usize = 4;

fn id(number: usize) -> ProgramId {
    // In the order of their making, as those of real clients.
    ProgramId(Uuid::from_u128(0x018b_cfe5_6800_7000_8000_0000_0000_0000 + number as u128))
}

/// Writes a message as its sender does and reads it as its receiver does.
///
/// # Panics
/// When it does not fit into a frame.
fn over_the_wire(message: impl Into<Message>, buffer: &mut Vec<u8>) -> Message {
    buffer.clear();
    message.into().encode(WALL, buffer);
    let (header, data) = buffer.split_first_chunk().unwrap();
    let header = FrameHeader::decode(*header, limits::FRAME_DATA_BYTES_MAX).unwrap();
    Message::decode(header, data).unwrap()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_program_goes_the_whole_way_through_both_ends() {
        for programs in [1, 7, 230] {
            super::master::run(programs);
            super::slave::run(programs);
        }
    }
}
