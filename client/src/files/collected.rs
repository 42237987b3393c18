//! What a program brought back: the list first, then each file from its place in the stream, checked as it comes.

use super::target::Target;
use crate::{
    connection::{Client, Pending},
    reply,
};
use common::{
    ErrorCode, ProgramId, UserError,
    collected::{HEAD_LENGTH_BYTES, Head},
    limits::OUTPUT_CHUNK_BYTES_MAX,
    message::{Request, Stream},
};
use std::collections::VecDeque;

/// Pieces that are asked for ahead.
const AHEAD: u64 = 16;

/// The list of what a program brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collected {
    /// The program.
    pub id: ProgramId,
    /// The files in the order of their contents, and what was left out.
    pub head: Head,
    /// Place in the stream of the first file's content.
    first: u64,
}

fn damaged(what: impl std::fmt::Display) -> UserError {
    let sentence = format!("what the program brought back cannot be read: {what}");
    UserError::new(ErrorCode::InputDamaged, sentence).with_hint("run the program again to bring its files back anew")
}

fn request(id: ProgramId, offset: u64, bytes: u64) -> Request {
    let bytes_max = u32::try_from(bytes.min(OUTPUT_CHUNK_BYTES_MAX as u64)).unwrap_or(u32::MAX);
    Request::ReadOutput { id, stream: Stream::Files, offset, bytes_max, follow: false }
}

/// Reads a part of the stream in order, in pieces that are asked for ahead.
async fn read(
    client: &Client,
    id: ProgramId,
    from: u64,
    length: u64,
    mut piece: impl AsyncFnMut(Vec<u8>) -> Result<(), UserError>,
) -> Result<(), UserError> {
    let end = from.saturating_add(length);
    let (mut at, mut asked_to) = (from, from);
    let mut asked: VecDeque<Pending> = VecDeque::new();
    while at < end {
        while asked_to < end && (asked.len() as u64) < AHEAD {
            asked.push_back(client.request(request(id, asked_to, end - asked_to)));
            asked_to = end.min(asked_to + OUTPUT_CHUNK_BYTES_MAX as u64);
        }
        let Some(answer) = asked.pop_front() else { break };
        let output = match answer.await.and_then(reply::output) {
            Err(error) if error.is(ErrorCode::Busy) => {
                asked.clear();
                asked_to = at;
                tokio::time::sleep(error.retry_after.unwrap_or(crate::submit::BUSY_WAIT).to_std()).await;
                continue;
            }
            other => other?,
        };
        if output.offset != at || output.bytes.is_empty() || output.bytes.len() as u64 > end - at {
            return Err(damaged("a part of it is missing"));
        }
        let wanted = (end - at).min(OUTPUT_CHUNK_BYTES_MAX as u64);
        at += output.bytes.len() as u64;
        if (output.bytes.len() as u64) < wanted {
            // A shorter piece than was asked for: what was asked for behind it does not fit any more.
            asked.clear();
            asked_to = at;
        }
        piece(output.bytes).await?;
    }
    Ok(())
}

impl Collected {
    /// Asks for the list; none when the program brought nothing back.
    ///
    /// # Errors
    /// What the master answered, or that the list is damaged.
    pub async fn open(client: &Client, id: ProgramId) -> Result<Option<Self>, UserError> {
        let length = reply::output(client.request(request(id, 0, HEAD_LENGTH_BYTES as u64)).await?)?;
        if length.bytes.is_empty() {
            return Ok(None);
        }
        let length: [u8; HEAD_LENGTH_BYTES] = length.bytes.try_into().map_err(|_| damaged("its list is cut"))?;
        let length = Head::length(length).map_err(damaged)?;
        let mut bytes = Vec::new();
        read(client, id, HEAD_LENGTH_BYTES as u64, length as u64, async |piece| {
            bytes.extend(piece);
            Ok(())
        })
        .await?;
        let head = Head::decode(&bytes).map_err(damaged)?;
        Ok(Some(Self { id, head, first: (HEAD_LENGTH_BYTES + length) as u64 }))
    }

    /// Place of a file's content in the stream.
    #[must_use]
    pub fn offset_of(&self, index: usize) -> u64 {
        self.first + self.head.files.iter().take(index).map(|file| file.size.0).sum::<u64>()
    }

    /// Writes one file to its place below `target`; nothing is there before all of it is checked.
    ///
    /// # Errors
    /// `E-FILE-UNWRITABLE`, `E-INPUT-DAMAGED`, or what the master answered.
    pub async fn save(&self, client: &Client, index: usize, target: &Target, replace: bool) -> Result<(), UserError> {
        let Some(file) = self.head.files.get(index) else { return Err(damaged("there is no such file")) };
        let mut sink = Some(target.create(file, replace)?);
        read(client, self.id, self.offset_of(index), file.size.0, async |piece| {
            let Some(mut writing) = sink.take() else { return Err(damaged("it was not written")) };
            let written = tokio::task::spawn_blocking(move || writing.take(&piece).map(|()| writing)).await;
            sink = Some(written.map_err(damaged)??);
            Ok(())
        })
        .await?;
        let Some(sink) = sink else { return Err(damaged("it was not written")) };
        tokio::task::spawn_blocking(move || sink.finish()).await.map_err(damaged)?
    }
}
