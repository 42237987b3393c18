//! Input files are put into the working folder: copied from what this slave keeps, read once more against their hash,
//! so that a program finds what was submitted or does not start.

use super::folder::own;
use common::{escape::RawText, id::Digest, program::InputFile};
use launcher::protocol::ProgramUser;
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{Mode, OFlags, ResolveFlags},
};
use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read, Write},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
};

/// Bytes that are moved at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// What is to be placed where.
#[derive(Debug)]
pub(super) struct Place {
    /// The working folder.
    pub(super) folder: OwnedFd,
    pub(super) user: Option<ProgramUser>,
    /// Where the slave keeps input files.
    pub(super) cache: PathBuf,
    pub(super) files: Vec<InputFile>,
}

/// Why an input file is not in its place.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) name: RawText,
    pub(super) why: String,
    /// What this slave kept has another content.
    pub(super) damaged: Option<Digest>,
}

/// Places all of them; each belongs to the program's user.
pub(super) fn place(place: &Place, stopped: &dyn Fn() -> bool) -> Result<(), Failure> {
    let mut chunk = vec![0; CHUNK_BYTES];
    for file in &place.files {
        let sound = place_one(place, file, &mut chunk, stopped);
        let failure = |why: String, damaged| Failure { name: file.name.clone(), why, damaged };
        match sound {
            Ok(true) => {}
            Ok(false) => return Err(failure("it was damaged on the slave's disk".to_owned(), Some(file.digest))),
            Err(error) => return Err(failure(error.to_string(), None)),
        }
    }
    Ok(())
}

fn place_one(place: &Place, file: &InputFile, chunk: &mut [u8], stopped: &dyn Fn() -> bool) -> io::Result<bool> {
    let mut from = File::open(place.cache.join(file.digest.to_string()))?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let name = OsStr::from_bytes(&file.name.0);
    let mode = Mode::from_raw_mode(if file.executable { 0o755 } else { 0o644 });
    let to = rustix::fs::openat2(&place.folder, name, flags, mode, beneath)?;
    // The slave's own mask shall not matter.
    rustix::fs::fchmod(&to, mode)?;
    own(to.as_fd(), place.user)?;
    let (mut to, mut hasher, mut left) = (File::from(to), blake3::Hasher::new(), file.size.0);
    loop {
        if stopped() {
            return Err(io::Error::other("it was stopped"));
        }
        match from.read(chunk)? {
            0 => break,
            count if count as u64 > left => return Ok(false),
            count => {
                left -= count as u64;
                hasher.update(&chunk[..count]);
                to.write_all(&chunk[..count])?;
            }
        }
    }
    Ok(left == 0 && *hasher.finalize().as_bytes() == file.digest.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::units::ByteSize;
    use std::os::unix::fs::PermissionsExt;

    fn file(name: &[u8], content: &[u8], executable: bool) -> InputFile {
        InputFile {
            name: RawText(name.to_vec()),
            digest: Digest(*blake3::hash(content).as_bytes()),
            size: ByteSize(content.len() as u64),
            executable,
        }
    }

    #[test]
    fn s1_files_are_placed_as_they_were_and_nowhere_else() {
        let root = tempfile::tempdir().unwrap();
        let (cache, work) = (root.path().join("cache"), root.path().join("work"));
        std::fs::create_dir(&cache).unwrap();
        std::fs::create_dir(&work).unwrap();
        let keep = |content: &[u8]| {
            std::fs::write(cache.join(Digest(*blake3::hash(content).as_bytes()).to_string()), content).unwrap();
        };
        keep(b"data");
        keep(b"tool");
        let run = |files: Vec<InputFile>| {
            let folder = rustix::fs::open(&work, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap();
            place(&Place { folder, user: None, cache: cache.clone(), files }, &|| false)
        };
        run(vec![file(b"\xff\n x", b"data", false), file(b"tool", b"tool", true)]).unwrap();
        let mode = |name: &[u8]| {
            let found = std::fs::metadata(work.join(OsStr::from_bytes(name))).unwrap();
            found.permissions().mode() & 0o7777
        };
        assert_eq!((mode(b"\xff\n x"), mode(b"tool")), (0o644, 0o755));
        assert_eq!(std::fs::read(work.join("tool")).unwrap(), b"tool");
        std::os::unix::fs::symlink("../outside", work.join("link")).unwrap();
        for name in [&b"../outside"[..], b"link", b"link/x", b"/outside", b"tool"] {
            assert!(run(vec![file(name, b"data", false)]).is_err(), "{}", RawText(name.to_vec()));
        }
        assert!(!root.path().join("outside").exists());
        // What is kept was changed on the disk.
        let changed = file(b"changed", b"data", false);
        std::fs::write(cache.join(changed.digest.to_string()), b"evil").unwrap();
        assert_eq!(run(vec![changed.clone()]).unwrap_err().damaged, Some(changed.digest));
        let missing = run(vec![file(b"missing", b"nowhere", false)]).unwrap_err();
        assert!(missing.damaged.is_none());
    }
}
