//! Files that programs brought back: the list of each program that is looked at, and writing them into a folder.

use crate::{
    backend::{Asked, Backend},
    files::in_background,
};
use client::files::Target;
use common::{
    ByteSize, ErrorCode, ProgramId, UserError,
    collected::{CollectedFile, HEAD_LENGTH_BYTES, Head},
    escape::RawText,
    limits::OUTPUT_CHUNK_BYTES_MAX,
    message::{Reply, Request, data::Stream},
    view::ProgramView,
};
use std::{
    collections::{BTreeMap, VecDeque},
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    rc::Rc,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
};

/// Programs whose lists are kept: a list may have thousands of names.
const LISTS_MAX: usize = 16;
/// Pieces of at most 64 KiB that are asked for ahead, and as many that wait for the disk.
const AHEAD: usize = 16;

/// The lists of the programs that were looked at.
#[derive(Debug, Default)]
pub struct FileLists(BTreeMap<ProgramId, FileList>);

/// The list of one program.
#[derive(Debug, Default)]
struct FileList {
    attempt: u32,
    bytes: Vec<u8>,
    asked: Option<Asked<Reply>>,
    read: Option<Result<Arc<Listed>, UserError>>,
}

/// What one program brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The files, and what was left out.
    pub head: Head,
    /// Place of the first file's content.
    first: u64,
}

impl Listed {
    /// Place of a file's content.
    fn place(&self, index: usize) -> u64 {
        self.first + self.head.files.iter().take(index).map(|file| file.size.0).sum::<u64>()
    }
}

impl FileLists {
    /// The list of this program, or why there is none; nothing while it is read.
    #[must_use]
    pub fn get(&self, id: ProgramId) -> Option<&Result<Arc<Listed>, UserError>> {
        self.0.get(&id).and_then(|list| list.read.as_ref())
    }

    /// Reads the list of a program that has ended: called on each frame that shows it. Gives whether something came.
    pub fn follow(&mut self, program: &ProgramView, backend: &dyn Backend, connected: bool) -> bool {
        if program.files_bytes == 0 || !program.state.is_final() {
            return false;
        }
        if !self.0.contains_key(&program.id) {
            while self.0.len() >= LISTS_MAX {
                self.0.pop_first();
            }
        }
        let list = self.0.entry(program.id).or_default();
        if list.attempt != program.attempt {
            *list = FileList { attempt: program.attempt, ..FileList::default() };
        }
        list.step(program.id, backend, connected)
    }
}

impl FileList {
    fn step(&mut self, id: ProgramId, backend: &dyn Backend, connected: bool) -> bool {
        if self.read.is_some() {
            return false;
        }
        if let Some(asked) = &mut self.asked {
            let Some(answer) = asked.poll() else { return false };
            self.asked = None;
            match answer {
                Ok(Reply::Output { bytes, .. }) if bytes.is_empty() => self.read = Some(Err(damaged("it is cut"))),
                Ok(Reply::Output { bytes, .. }) => {
                    self.bytes.extend_from_slice(&bytes);
                    self.read = listed(&self.bytes).transpose();
                    if self.read.is_some() {
                        self.bytes = Vec::new();
                    }
                }
                Ok(_) => self.read = Some(Err(unexpected())),
                // It is asked for again when the master answers.
                Err(error) if error.is(ErrorCode::ConnectionLost) || error.is(ErrorCode::Busy) => {}
                Err(error) => self.read = Some(Err(error)),
            }
            return true;
        }
        if !connected {
            return false;
        }
        self.asked = Some(backend.request(read(id, self.bytes.len() as u64, OUTPUT_CHUNK_BYTES_MAX as u64)));
        true
    }
}

/// The list at the beginning of these bytes; none while some of it is missing.
fn listed(bytes: &[u8]) -> Result<Option<Arc<Listed>>, UserError> {
    let Some((length, rest)) = bytes.split_first_chunk::<HEAD_LENGTH_BYTES>() else { return Ok(None) };
    let length = Head::length(*length).map_err(|why| damaged(&why))?;
    let Some(head) = rest.get(..length) else { return Ok(None) };
    let head = Head::decode(head).map_err(|why| damaged(&why))?;
    Ok(Some(Arc::new(Listed { head, first: (HEAD_LENGTH_BYTES + length) as u64 })))
}

fn read(id: ProgramId, offset: u64, bytes: u64) -> Request {
    let bytes_max = u32::try_from(bytes.min(OUTPUT_CHUNK_BYTES_MAX as u64)).unwrap_or(u32::MAX);
    Request::ReadOutput { id, stream: Stream::Files, offset, bytes_max, follow: false }
}

fn damaged(what: &str) -> UserError {
    UserError::new(ErrorCode::InputDamaged, format!("what the program brought back cannot be read: {what}"))
        .with_hint("run the program again to bring its files back anew")
}

fn unexpected() -> UserError {
    UserError::new(ErrorCode::ProtocolError, "the master gave another answer than output")
}

/// Which files are written, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The program.
    pub id: ProgramId,
    /// Their numbers in its list, growing.
    pub files: Vec<usize>,
    /// The folder.
    pub folder: PathBuf,
    /// The name of the only file, where a person chose one.
    pub name: Option<OsString>,
    /// What becomes of files that are there.
    pub existing: Existing,
}

/// What becomes of files that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// The person is asked.
    Ask,
    /// They stay, and writing one of them is an error.
    Stay,
    /// They are written over.
    Replace,
}

impl Fetch {
    /// The files, under the names that they are written as.
    fn wanted(&self, listed: &Listed) -> Vec<CollectedFile> {
        let files = self.files.iter().filter_map(|index| listed.head.files.get(*index)).cloned();
        files
            .map(|file| match &self.name {
                Some(name) => CollectedFile { path: RawText(name.clone().into_vec()), ..file },
                None => file,
            })
            .collect()
    }

    /// Which of the files have a name that is taken already, looked at by a thread of its own.
    pub(crate) fn taken(&self, listed: &Listed) -> Asked<Vec<usize>> {
        let (folder, files) = (self.folder.clone(), self.wanted(listed));
        let numbers = self.files.clone();
        in_background(move || {
            let target = Target::open(&folder)?;
            let taken = numbers.into_iter().zip(&files).filter(|(_, file)| target.exists(&file.path));
            Ok(taken.map(|(number, _)| number).collect())
        })
    }

    /// Asks for the files and writes them; gives what was written.
    pub(crate) fn run(&self, listed: &Listed, backend: &Rc<dyn Backend>) -> Asked<String> {
        let (sender, pieces) = sync_channel(AHEAD);
        let (folder, files) = (self.folder.clone(), self.wanted(listed));
        let replace = self.existing == Existing::Replace;
        let written = in_background(move || write(&folder, &files, replace, &pieces));
        let sizes = |index: &usize| listed.head.files.get(*index).map(|file| (listed.place(*index), file.size.0));
        let reading = Reading {
            backend: Rc::clone(backend),
            id: self.id,
            parts: self.files.iter().filter_map(sizes).filter(|(_, size)| *size > 0).collect(),
            open: VecDeque::new(),
            waiting: None,
            sender: Some(sender),
        };
        reading.follow(written)
    }
}

/// Parts of the stream that are asked for in order, some ahead.
struct Reading {
    backend: Rc<dyn Backend>,
    id: ProgramId,
    /// What is not asked for: places and lengths.
    parts: VecDeque<(u64, u64)>,
    /// What is: place, length, answer.
    open: VecDeque<(u64, u64, Asked<Reply>)>,
    /// A piece that has no room at the thread.
    waiting: Option<Vec<u8>>,
    sender: Option<SyncSender<Vec<u8>>>,
}

impl Reading {
    fn follow(mut self, mut written: Asked<String>) -> Asked<String> {
        Asked::new(move || {
            if let Some(answer) = written.poll() {
                return Some(answer);
            }
            match self.step() {
                Ok(()) => None,
                Err(error) => {
                    // The thread finds its channel closed and leaves no half file.
                    self.sender = None;
                    Some(Err(error))
                }
            }
        })
    }

    fn step(&mut self) -> Result<(), UserError> {
        loop {
            self.ask();
            if !self.hand_over() {
                return Ok(());
            }
            let Some((place, length, asked)) = self.open.front_mut() else {
                // All of it was handed over: the thread sees the end.
                self.sender = None;
                return Ok(());
            };
            let (place, length) = (*place, *length);
            let Some(answer) = asked.poll() else { return Ok(()) };
            self.open.pop_front();
            match answer {
                Ok(Reply::Output { offset, bytes, .. })
                    if offset == place && !bytes.is_empty() && bytes.len() as u64 <= length =>
                {
                    let here = bytes.len() as u64;
                    if here < length {
                        self.again(place + here, length - here);
                    }
                    self.waiting = Some(bytes);
                }
                Ok(Reply::Output { .. }) => return Err(damaged("a part of it is missing")),
                Ok(_) => return Err(unexpected()),
                Err(error) if error.is(ErrorCode::Busy) => {
                    self.again(place, length);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// This part, and what was asked for behind it, is asked for anew.
    fn again(&mut self, place: u64, length: u64) {
        while let Some((place, length, _)) = self.open.pop_back() {
            self.parts.push_front((place, length));
        }
        self.parts.push_front((place, length));
    }

    fn ask(&mut self) {
        while self.open.len() < AHEAD
            && let Some((place, length)) = self.parts.pop_front()
        {
            let now = length.min(OUTPUT_CHUNK_BYTES_MAX as u64);
            if now < length {
                self.parts.push_front((place + now, length - now));
            }
            self.open.push_back((place, now, self.backend.request(read(self.id, place, now))));
        }
    }

    /// Gives the piece that waits to the thread; gives whether there is none any more.
    fn hand_over(&mut self) -> bool {
        let (Some(channel), Some(piece)) = (&self.sender, self.waiting.take()) else { return self.sender.is_some() };
        match channel.try_send(piece) {
            Ok(()) => true,
            Err(TrySendError::Full(piece)) => {
                self.waiting = Some(piece);
                false
            }
            // The thread has ended and says why itself.
            Err(TrySendError::Disconnected(_)) => {
                self.sender = None;
                false
            }
        }
    }
}

/// Writes the files into the folder, each under its name only once it is whole and checked.
fn write(
    folder: &Path,
    files: &[CollectedFile],
    replace: bool,
    pieces: &Receiver<Vec<u8>>,
) -> Result<String, UserError> {
    let target = Target::open(folder)?;
    let mut piece = Vec::new();
    for file in files {
        let mut sink = target.create(file, replace)?;
        let mut left = file.size.0;
        while left > 0 {
            if piece.is_empty() {
                piece = pieces.recv().map_err(|_| damaged("it did not come to its end"))?;
            }
            let here = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            sink.take(&piece[..here])?;
            piece.drain(..here);
            left -= here as u64;
        }
        sink.finish()?;
    }
    let bytes = ByteSize(files.iter().map(|file| file.size.0).sum());
    let folder = RawText(folder.as_os_str().as_bytes().to_vec());
    Ok(match files {
        [file] => format!("{} ({bytes}) in {folder}", file.path),
        files => format!("{} files ({bytes}) in {folder}", files.len()),
    })
}

#[cfg(test)]
mod tests;
