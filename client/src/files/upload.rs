//! Sends input files that the master does not have, in parts, from where it has stopped before.

use super::pick::{Picked, open, unreadable};
use crate::{
    connection::{Client, Pending},
    reply,
    submit::BUSY_WAIT,
};
use common::{
    ErrorCode, UserError,
    escape::RawText,
    limits::INPUT_FILES_MAX,
    message::{Request, status::InputHeld},
};
use std::{
    collections::{BTreeSet, VecDeque},
    os::unix::fs::FileExt,
    sync::Arc,
};

/// Bytes of one part.
const PART_BYTES: u64 = 1 << 20;
/// Parts that are on their way at once.
const IN_FLIGHT_MAX: usize = 4;

/// How far an upload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sending {
    /// The file that is being sent.
    pub name: RawText,
    /// Bytes that the master has, of all files together.
    pub sent: u64,
    /// Bytes of all files together.
    pub total: u64,
}

/// Sends what the master does not have of these files, and tells how far it is after each part. A busy master is
/// asked again after the time that it names. After `E-CONNECTION-LOST`, call it again with a new connection: it goes on
/// where it was.
///
/// # Errors
/// The first refusal; `E-INPUT-DAMAGED` when a file has changed since it was picked.
pub async fn upload(client: &Client, files: &[Picked], mut progress: impl FnMut(&Sending)) -> Result<(), UserError> {
    let mut seen = BTreeSet::new();
    let files: Vec<&Picked> = files.iter().filter(|picked| seen.insert(picked.file.digest)).collect();
    let total = files.iter().map(|picked| picked.file.size.0).sum();
    let mut sending = Sending { name: RawText::default(), sent: 0, total };
    for files in files.chunks(INPUT_FILES_MAX) {
        let digests = files.iter().map(|picked| picked.file.digest).collect();
        let held = reply::inputs_held(client.request(Request::InputsHeld { digests }).await?)?;
        if held.len() != files.len() {
            return Err(UserError::new(ErrorCode::ProtocolError, "the master did not answer for each input file"));
        }
        for (picked, held) in files.iter().zip(held) {
            let before = sending.sent;
            if let InputHeld::Part(from) = held {
                sending.name.clone_from(&picked.file.name);
                send(client, picked, from, |sent| {
                    sending.sent = before + sent;
                    progress(&sending);
                })
                .await?;
            }
            sending.sent = before + picked.file.size.0;
        }
    }
    Ok(())
}

fn changed(picked: &Picked) -> UserError {
    let sentence = format!("`{}` changed while it was sent", picked.file.name);
    UserError::new(ErrorCode::InputDamaged, sentence)
}

/// One file, from where the master has it.
async fn send(client: &Client, picked: &Picked, from: u64, mut progress: impl FnMut(u64)) -> Result<(), UserError> {
    let path = picked.path.clone();
    let opened = tokio::task::spawn_blocking(move || open(&path)).await.map_err(|error| internal(&error))??;
    let file = Arc::new(opened);
    let size = picked.file.size.0;
    let mut next = from.min(size);
    let mut open_parts: VecDeque<(u64, u64, Pending)> = VecDeque::new();
    let mut asked_all = false;
    loop {
        while !asked_all && open_parts.len() < IN_FLIGHT_MAX {
            let count = (size - next).min(PART_BYTES);
            let bytes = read(&file, picked, next, count).await?;
            let digest = picked.file.digest;
            let put = Request::PutInput { digest, size, offset: next, bytes };
            open_parts.push_back((next, next + count, client.request(put)));
            next += count;
            asked_all = next >= size;
        }
        let Some((begin, end, answer)) = open_parts.pop_front() else { return Ok(()) };
        match answer.await.and_then(reply::inputs_held) {
            Ok(held) => match held.first() {
                Some(InputHeld::Whole) => return Ok(()),
                Some(InputHeld::Part(at)) if *at == end && end < size => progress(end),
                // Somebody else sends the same file, or the master was restarted meanwhile: it says where to go on.
                Some(InputHeld::Part(at)) => {
                    for (_, _, answer) in open_parts.drain(..) {
                        // What it says is older than what is asked next.
                        drop(answer.await);
                    }
                    next = (*at).min(size);
                    asked_all = false;
                    tokio::time::sleep(RETRY_WAIT).await;
                }
                None => return Err(UserError::new(ErrorCode::ProtocolError, "the master did not answer for a part")),
            },
            Err(error) if error.is(ErrorCode::Busy) => {
                open_parts.clear();
                tokio::time::sleep(error.retry_after.unwrap_or(BUSY_WAIT).to_std()).await;
                next = begin;
                asked_all = false;
            }
            Err(error) if error.is(ErrorCode::InputDamaged) => {
                return Err(UserError { hint: error.hint.clone(), ..changed(picked) });
            }
            Err(error) => return Err(error),
        }
    }
}

/// Between two tries when the master is at another place of the file.
const RETRY_WAIT: std::time::Duration = std::time::Duration::from_millis(50);

fn internal(error: &dyn std::fmt::Display) -> UserError {
    UserError::new(ErrorCode::Internal, format!("a file was not read: {error}"))
}

async fn read(file: &Arc<std::fs::File>, picked: &Picked, offset: u64, count: u64) -> Result<Vec<u8>, UserError> {
    let file = file.clone();
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = vec![0; usize::try_from(count).unwrap_or_default()];
        file.read_exact_at(&mut bytes, offset).map(|()| bytes)
    });
    match read.await.map_err(|error| internal(&error))? {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(changed(picked)),
        Err(error) => Err(unreadable(&picked.path, &error)),
    }
}
