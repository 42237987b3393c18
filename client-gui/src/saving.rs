//! Writes a whole stream of a program to a file, however long it is: asked piece by piece, written by a thread.

use crate::{
    backend::{Asked, Backend},
    files::in_background,
    widgets::shown,
};
use common::{
    ByteSize, ErrorCode, UserError,
    limits::OUTPUT_CHUNK_BYTES_MAX,
    message::{Reply, Request, data::Stream},
    view::ProgramView,
};
use std::{
    ffi::OsString,
    fs::File,
    io::{Error, Write},
    path::{Path, PathBuf},
    rc::Rc,
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
};

/// Pieces of at most 64 KiB that wait for the disk; the next is asked for when there is room.
const PIECES_MAX: usize = 16;

/// What the interface's thread hands to the one that writes.
enum Piece {
    Bytes(Vec<u8>),
    /// That was all. A channel that closes without it leaves no file.
    End,
}

/// Writes what `row` has printed so far on `stream` to `path`; gives how much it was and where it is.
///
/// The file appears under its name once it is whole.
pub(crate) fn save(backend: &Rc<dyn Backend>, row: &ProgramView, stream: Stream, path: &Path) -> Asked<String> {
    let (sender, pieces) = sync_channel(PIECES_MAX);
    let target = path.to_owned();
    let mut written = in_background(move || write(&target, &pieces));
    let (backend, id) = (Rc::clone(backend), row.id);
    let mut offset = 0_u64;
    let ask = move |offset| {
        backend.request(Request::ReadOutput {
            id,
            stream,
            offset,
            bytes_max: OUTPUT_CHUNK_BYTES_MAX as u32,
            follow: false,
        })
    };
    let mut asked = Some(ask(0));
    let mut waiting: Option<Piece> = None;
    let mut sender: Option<SyncSender<Piece>> = Some(sender);
    Asked::new(move || {
        if let Some(answer) = written.poll() {
            return Some(answer);
        }
        if waiting.is_none()
            && let Some(answer) = asked.as_mut().and_then(Asked::poll)
        {
            asked = None;
            match answer {
                Ok(Reply::Output { bytes, end, .. }) => {
                    offset += bytes.len() as u64;
                    if !end && !bytes.is_empty() {
                        asked = Some(ask(offset));
                    }
                    waiting = Some(Piece::Bytes(bytes));
                }
                Ok(_) => {
                    sender = None;
                    let error = UserError::new(ErrorCode::ProtocolError, "the master gave another answer than output");
                    return Some(Err(error));
                }
                Err(error) => {
                    sender = None;
                    return Some(Err(error));
                }
            }
        }
        hand_over(&mut sender, &mut waiting);
        if waiting.is_none() && asked.is_none() && sender.is_some() {
            waiting = Some(Piece::End);
            hand_over(&mut sender, &mut waiting);
        }
        None
    })
}

/// Gives the piece that waits to the thread, if there is room; after the last one the channel closes.
fn hand_over(sender: &mut Option<SyncSender<Piece>>, waiting: &mut Option<Piece>) {
    let (Some(channel), Some(piece)) = (sender.as_ref(), waiting.take()) else { return };
    let last = matches!(piece, Piece::End);
    match channel.try_send(piece) {
        Ok(()) if !last => {}
        // The thread has ended and says why itself.
        Ok(()) | Err(TrySendError::Disconnected(_)) => *sender = None,
        Err(TrySendError::Full(piece)) => *waiting = Some(piece),
    }
}

/// Writes the pieces beside `path` and then gives the whole its name.
fn write(path: &Path, pieces: &Receiver<Piece>) -> Result<String, UserError> {
    let name = shown(&path.to_string_lossy());
    let refuse = |error: &Error| unwritable(&name, error);
    // A pipe or device would keep the writer waiting, and must not be replaced.
    if let Ok(meta) = std::fs::metadata(path)
        && !meta.is_file()
    {
        return Err(refuse(&Error::other(if meta.is_dir() { "it is a folder" } else { "it is not a file" })));
    }
    let mut part: OsString = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    // What is left of an attempt before goes; anything else of that name is refused, a pipe too.
    if std::fs::symlink_metadata(&part).is_ok_and(|meta| meta.is_file()) {
        std::fs::remove_file(&part).map_err(|error| refuse(&error))?;
    }
    let mut file = File::create_new(&part).map_err(|error| refuse(&error))?;
    let whole = write_pieces(&mut file, pieces).and_then(|bytes| {
        std::fs::rename(&part, path)?;
        Ok(bytes)
    });
    match whole {
        Ok(bytes) => Ok(format!("{} in {name}", ByteSize(bytes))),
        Err(error) => {
            // The error told is the first one.
            std::fs::remove_file(&part).ok();
            Err(refuse(&error))
        }
    }
}

fn write_pieces(file: &mut File, pieces: &Receiver<Piece>) -> Result<u64, Error> {
    let mut written = 0;
    while let Ok(piece) = pieces.recv() {
        match piece {
            Piece::Bytes(bytes) => {
                file.write_all(&bytes)?;
                written += bytes.len() as u64;
            }
            Piece::End => return Ok(written),
        }
    }
    Err(Error::other("the output did not come to its end"))
}

fn unwritable(name: &str, error: &Error) -> UserError {
    UserError::new(ErrorCode::FileUnreadable, format!("`{name}` cannot be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::Demo;

    #[test]
    fn e7_an_output_is_saved_whole() {
        let demo: Rc<dyn Backend> = Rc::new(Demo::new());
        let mirror = demo.mirror();
        let row = mirror.history.known().find(|row| row.name == "matmul_bench.c").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.txt");
        let answer = wait(&mut save(&demo, row, Stream::Stdout, &path));
        assert!(answer.unwrap().contains("out.txt"));
        assert_eq!(std::fs::metadata(&path).unwrap().len(), row.output_bytes);
        assert!(!folder.path().join("out.txt.part").exists());
        let refused = wait(&mut save(&demo, row, Stream::Stdout, &folder.path().join("none/out.txt")));
        assert!(refused.unwrap_err().sentence.contains("cannot be written"));
        let refused = wait(&mut save(&demo, row, Stream::Stdout, folder.path()));
        assert!(refused.unwrap_err().sentence.contains("it is a folder"));
    }

    /// The answer of the thread, which takes a moment.
    fn wait(asked: &mut Asked<String>) -> Result<String, UserError> {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while std::time::Instant::now() < deadline {
            if let Some(answer) = asked.poll() {
                return answer;
            }
            std::thread::yield_now();
        }
        panic!("the file is not written in time");
    }
}
