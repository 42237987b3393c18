//! Files that a program brings back: found in its working folder after its tree is dead, through descriptors only.
//! Only regular files of the program's own user are taken; whatever else fits a pattern is left out and told.
//!
//! The contents are copied and hashed first, behind room for the head; the head is written last, so that a stream
//! without one was not finished, whoever died meanwhile.

use common::{
    collected::{CollectedFile, HEAD_BYTES_MAX, HEAD_LENGTH_BYTES, Head, is_path_within, matches},
    escape::RawText,
    id::Digest,
    limits::{COLLECTED_BYTES_MAX, COLLECTED_FILES_MAX},
    units::ByteSize,
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};
use std::{
    ffi::{CStr, OsStr},
    fs::File,
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::FileExt},
    sync::Arc,
};

/// Folders below the working folder that are looked into.
const DEPTH_MAX: usize = 64;
/// Entries that are looked at.
const ENTRIES_MAX: usize = 200_000;
/// What is told of what was left out.
const LEFT_OUT_MAX: usize = 100;
/// Bytes of the names of all files: the head of them, and of what was left out, is never too long.
const NAMES_BYTES_MAX: usize = HEAD_BYTES_MAX / 2;
/// Bytes that are moved at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// Room on the disk that is left to other programs and the journal.
const RESERVE_BYTES: u64 = 64 << 20;
/// Why a file is left out for which there is no room.
const NO_ROOM: &str = "the slave's disk has no room for it";
/// Tries when files change while they are read: then something of the program is not dead, or the disk fails.
const TRIES_MAX: usize = 3;

const BENEATH: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// What is collected where from.
#[derive(Debug)]
pub(super) struct Collect {
    /// The working folder.
    pub(super) folder: OwnedFd,
    pub(super) patterns: Vec<String>,
    /// Whose files are taken.
    pub(super) owner: u32,
    /// What the program may have on the disk. Files with holes say that they are longer than what they take there,
    /// and would be written out in full.
    pub(super) disk_limit: ByteSize,
    /// Bytes that the disk has for the stream.
    pub(super) available: fn(&File) -> u64,
    /// Where the stream goes.
    pub(super) to: Arc<File>,
}

/// Bytes that the file system of a file has for it.
pub(super) fn available(to: &File) -> u64 {
    // What cannot be found out stops nobody; a full disk tells it when it is written to.
    rustix::fs::fstatvfs(to).map_or(u64::MAX, |found| found.f_bavail.saturating_mul(found.f_frsize))
}

impl Collect {
    fn room(&self) -> u64 {
        (self.available)(&self.to).saturating_sub(RESERVE_BYTES)
    }
}

#[derive(Debug)]
struct Found {
    path: Vec<u8>,
    size: u64,
    executable: bool,
}

/// What was found and what was left out.
#[derive(Debug, Default)]
struct Walk {
    files: Vec<Found>,
    bytes: u64,
    /// Bytes that the disk had for them.
    room: u64,
    names_bytes: usize,
    entries: usize,
    left_out: Vec<String>,
    more_left_out: usize,
}

impl Walk {
    fn new(collect: &Collect) -> Self {
        Self { room: collect.room(), ..Self::default() }
    }

    /// Bytes of all with one of this size more, or why it is left out.
    fn sum(&self, collect: &Collect, size: u64) -> Result<u64, String> {
        let sum = self.bytes.saturating_add(size);
        if sum > COLLECTED_BYTES_MAX.0 {
            Err(format!("more than {COLLECTED_BYTES_MAX} in all"))
        } else if sum > collect.disk_limit.0 {
            Err(format!("more than the disk limit of {} in all", collect.disk_limit))
        } else if sum > self.room {
            Err(NO_ROOM.to_owned())
        } else {
            Ok(sum)
        }
    }

    fn leave_out(&mut self, path: &[u8], why: &str) {
        if self.left_out.len() >= LEFT_OUT_MAX {
            self.more_left_out += 1;
            return;
        }
        self.left_out.push(format!("{}: {why}", RawText(path.to_vec())));
    }

    fn told(mut self) -> Vec<String> {
        if self.more_left_out > 0 {
            self.left_out.push(format!("and {} more", self.more_left_out));
        }
        self.left_out
    }
}

/// Writes the stream and answers how long it is: nothing at all when nothing fits.
pub(super) fn collect(collect: &Collect, stopped: &dyn Fn() -> bool) -> io::Result<u64> {
    let mut refused: Vec<(Vec<u8>, String)> = Vec::new();
    for _ in 0..TRIES_MAX {
        collect.to.set_len(0)?;
        let mut walk = Walk::new(collect);
        walk_folder(collect, collect.folder.as_fd(), &mut Vec::new(), 0, &mut walk)?;
        walk.files.retain(|found| !refused.iter().any(|(path, _)| *path == found.path));
        for (path, why) in &refused {
            walk.leave_out(path, why);
        }
        match write(collect, walk, stopped)? {
            Ok(length) => return Ok(length),
            Err(changed) => refused.push(changed),
        }
    }
    let mut walk = Walk::default();
    for (path, why) in &refused {
        walk.leave_out(path, why);
    }
    walk.leave_out(b"", "files change all the time, or the slave's disk fills up; nothing is brought back");
    write(collect, walk, stopped)?.map_err(|(_, why)| io::Error::other(why))
}

fn walk_folder(
    collect: &Collect,
    folder: BorrowedFd<'_>,
    path: &mut Vec<u8>,
    depth: usize,
    walk: &mut Walk,
) -> io::Result<()> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        walk.entries += 1;
        if walk.entries > ENTRIES_MAX {
            if walk.entries == ENTRIES_MAX + 1 {
                walk.leave_out(path, &format!("more than {ENTRIES_MAX} files; the rest is not looked at"));
            }
            return Ok(());
        }
        let before = path.len();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        look(collect, folder, name, path, depth, walk)?;
        path.truncate(before);
    }
    Ok(())
}

fn fits(collect: &Collect, path: &[u8]) -> bool {
    collect.patterns.iter().any(|pattern| matches(pattern, path))
}

/// Whether something below this folder may fit. Cheap, and never wrong about what does not.
fn may_hold(collect: &Collect, path: &[u8]) -> bool {
    collect.patterns.iter().any(|pattern| {
        let mut names = path.split(|byte| *byte == b'/');
        for part in pattern.split('/') {
            if part == "**" {
                return true;
            }
            match names.next() {
                None => return true,
                Some(name) if matches(part, name) => {}
                Some(_) => return false,
            }
        }
        false
    })
}

fn look(
    collect: &Collect,
    folder: BorrowedFd<'_>,
    name: &CStr,
    path: &mut Vec<u8>,
    depth: usize,
    walk: &mut Walk,
) -> io::Result<()> {
    // What belongs to Ruche itself is nobody's result.
    if depth == 0 && name.to_bytes().starts_with(b".ruche-") {
        return Ok(());
    }
    let wanted = fits(collect, path);
    let found = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => found,
        Err(error) if wanted => {
            walk.leave_out(path, &error.to_string());
            return Ok(());
        }
        Err(_) => return Ok(()),
    };
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory if collect.patterns.iter().any(|pattern| pattern.as_bytes() == path.as_slice()) => {
            walk.leave_out(path, "a folder; a pattern that ends in `/**` brings back what is in it");
            return Ok(());
        }
        FileType::Directory if may_hold(collect, path) => return enter(collect, folder, name, path, depth, walk),
        FileType::RegularFile if wanted => {}
        FileType::Directory => return Ok(()),
        FileType::Symlink if wanted => walk.leave_out(path, "a symbolic link"),
        FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown
            if wanted =>
        {
            walk.leave_out(path, "not a regular file");
        }
        FileType::RegularFile
        | FileType::Symlink
        | FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => return Ok(()),
    }
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Ok(());
    }
    if found.st_uid != collect.owner {
        walk.leave_out(path, "it belongs to another user");
    } else if found.st_nlink != 1 {
        walk.leave_out(path, "it has other names (hard links)");
    } else if !is_path_within(path) {
        walk.leave_out(path, "its path is too long");
    } else if walk.files.len() >= COLLECTED_FILES_MAX || walk.names_bytes + path.len() > NAMES_BYTES_MAX {
        walk.leave_out(path, &format!("more than {COLLECTED_FILES_MAX} files, or too long names"));
    } else {
        let size = u64::try_from(found.st_size).unwrap_or(u64::MAX);
        match walk.sum(collect, size) {
            Err(why) => walk.leave_out(path, &why),
            Ok(bytes) => {
                walk.bytes = bytes;
                walk.names_bytes += path.len();
                walk.files.push(Found { path: path.clone(), size, executable: found.st_mode & 0o111 != 0 });
            }
        }
    }
    Ok(())
}

fn enter(
    collect: &Collect,
    folder: BorrowedFd<'_>,
    name: &CStr,
    path: &mut Vec<u8>,
    depth: usize,
    walk: &mut Walk,
) -> io::Result<()> {
    if depth >= DEPTH_MAX {
        walk.leave_out(path, &format!("more than {DEPTH_MAX} folders deep"));
        return Ok(());
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    match rustix::fs::openat2(folder, name, flags, Mode::empty(), BENEATH) {
        Ok(inner) => walk_folder(collect, inner.as_fd(), path, depth + 1, walk),
        Err(error) => {
            walk.leave_out(path, &error.to_string());
            Ok(())
        }
    }
}

/// Opens one of the files that were found. A FIFO that took its place is not waited for.
fn open(collect: &Collect, found: &Found) -> Result<File, String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::CLOEXEC;
    let path = OsStr::from_bytes(&found.path);
    let opened = match rustix::fs::openat2(&collect.folder, path, flags, Mode::empty(), BENEATH) {
        Ok(opened) => opened,
        Err(Errno::ACCESS) => return Err("its program took the right to read it".to_owned()),
        Err(error) => return Err(error.to_string()),
    };
    let now = rustix::fs::fstat(&opened).map_err(|error| error.to_string())?;
    let same = FileType::from_raw_mode(now.st_mode) == FileType::RegularFile
        && now.st_uid == collect.owner
        && now.st_nlink == 1
        && u64::try_from(now.st_size).is_ok_and(|size| size == found.size);
    if same { Ok(File::from(opened)) } else { Err("it changed while it was read".to_owned()) }
}

/// The length of the stream; or the file that could not be read as it was found, and why.
fn write(collect: &Collect, walk: Walk, stopped: &dyn Fn() -> bool) -> io::Result<Result<u64, (Vec<u8>, String)>> {
    let file = |found: &Found| CollectedFile {
        path: RawText(found.path.clone()),
        size: ByteSize(found.size),
        digest: Digest([0; 32]),
        executable: found.executable,
    };
    let mut head = Head { files: walk.files.iter().map(file).collect(), left_out: Vec::new() };
    let found = walk.files.iter().map(|found| Found { path: found.path.clone(), ..*found }).collect::<Vec<_>>();
    head.left_out = walk.told();
    if head.files.is_empty() && head.left_out.is_empty() {
        return Ok(Ok(0));
    }
    // A digest takes the same room whatever it is.
    let room = head.encode().len();
    if room > HEAD_LENGTH_BYTES + HEAD_BYTES_MAX {
        return Err(io::Error::other("the list of files is too long"));
    }
    collect.to.set_len(0)?;
    let mut at = room as u64;
    let mut chunk = vec![0; CHUNK_BYTES];
    for (found, told) in found.iter().zip(&mut head.files) {
        let copied = open(collect, found).and_then(|from| copy(collect, from, found.size, at, &mut chunk, stopped));
        match copied {
            Ok(Ok(digest)) => told.digest = digest,
            Ok(Err(error)) => return Err(error),
            Err(why) => return Ok(Err((found.path.clone(), why))),
        }
        at += found.size;
    }
    let head = head.encode();
    if head.len() != room {
        return Err(io::Error::other("the list of files changed its length"));
    }
    collect.to.write_all_at(&head, 0)?;
    Ok(Ok(at))
}

/// Copies exactly `size` bytes. The outer failure is the file's, the inner one that of the slave's own disk.
fn copy(
    collect: &Collect,
    mut from: File,
    size: u64,
    offset: u64,
    chunk: &mut [u8],
    stopped: &dyn Fn() -> bool,
) -> Result<io::Result<Digest>, String> {
    let (mut hasher, mut done) = (blake3::Hasher::new(), 0);
    loop {
        if stopped() {
            return Ok(Err(io::Error::other("it was stopped")));
        }
        let count = match from.read(chunk) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.to_string()),
        };
        if count == 0 {
            break;
        }
        if count as u64 > size - done {
            return Err("it changed while it was read".to_owned());
        }
        if collect.room() < count as u64 {
            return Err(NO_ROOM.to_owned());
        }
        hasher.update(&chunk[..count]);
        if let Err(error) = collect.to.write_all_at(&chunk[..count], offset + done) {
            return Ok(Err(error));
        }
        done += count as u64;
    }
    if done < size {
        return Err("it changed while it was read".to_owned());
    }
    Ok(Ok(Digest(*hasher.finalize().as_bytes())))
}

/// How long a stream is that an agent before this one finished; none when it did not finish it.
pub(super) fn finished(file: &File) -> io::Result<Option<u64>> {
    let length = file.metadata()?.len();
    let mut first = [0; HEAD_LENGTH_BYTES];
    if length < first.len() as u64 {
        return Ok(None);
    }
    file.read_exact_at(&mut first, 0)?;
    let Ok(head_length) = Head::length(first) else { return Ok(None) };
    let mut head = vec![0; head_length];
    if head.is_empty() || file.read_exact_at(&mut head, HEAD_LENGTH_BYTES as u64).is_err() {
        return Ok(None);
    }
    let Ok(head) = Head::decode(&head) else { return Ok(None) };
    let begin = (HEAD_LENGTH_BYTES + head_length) as u64;
    let end = head.files.iter().try_fold(begin, |end, file| end.checked_add(file.size.0));
    Ok(Some(length).filter(|length| Some(*length) == end))
}

#[cfg(test)]
mod tests;
