//! A folder that files are written into, whatever their names are: never outside it, through no link, over nothing
//! that is there unless that is wanted, and never half.

use common::{
    ErrorCode, UserError,
    collected::{CollectedFile, is_path_within},
    escape::RawText,
};
use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, Mode, OFlags, RenameFlags, ResolveFlags},
    io::Errno,
};
use std::{ffi::OsStr, fs::File, io::Write, os::unix::ffi::OsStrExt, path::Path};

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// The folder.
#[derive(Debug)]
pub struct Target {
    folder: OwnedFd,
}

/// A file that is being written under a name of its own.
#[derive(Debug)]
pub struct Sink {
    folder: OwnedFd,
    temporary: String,
    file: Option<File>,
    wanted: CollectedFile,
    replace: bool,
    written: u64,
    hasher: blake3::Hasher,
}

fn unwritable(path: &RawText, why: &dyn std::fmt::Display) -> UserError {
    UserError::new(ErrorCode::FileUnwritable, format!("`{path}` cannot be written: {why}"))
}

fn name_of(path: &RawText) -> &OsStr {
    OsStr::from_bytes(path.0.rsplit(|byte| *byte == b'/').next().unwrap_or_default())
}

impl Target {
    /// Opens the folder, and makes it when it is missing.
    ///
    /// # Errors
    /// `E-FILE-UNWRITABLE`.
    pub fn open(folder: &Path) -> Result<Self, UserError> {
        let shown = RawText(folder.as_os_str().as_bytes().to_vec());
        std::fs::create_dir_all(folder).map_err(|error| unwritable(&shown, &error))?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let folder = rustix::fs::open(folder, flags, Mode::empty()).map_err(|error| unwritable(&shown, &error))?;
        Ok(Self { folder })
    }

    /// Whether something has this name, a link too, or the way to it is no folder.
    #[must_use]
    pub fn exists(&self, path: &RawText) -> bool {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = rustix::fs::openat2(&self.folder, OsStr::from_bytes(&path.0), flags, Mode::empty(), BENEATH);
        !matches!(found, Err(Errno::NOENT))
    }

    /// Begins a file. It has its name only when [`Sink::finish`] has checked it.
    ///
    /// # Errors
    /// `E-FILE-UNWRITABLE`, also when something has this name and `replace` is not set.
    pub fn create(&self, file: &CollectedFile, replace: bool) -> Result<Sink, UserError> {
        let path = &file.path;
        if !is_path_within(&path.0) {
            return Err(unwritable(path, &"it is not a path within the folder"));
        }
        if !replace && self.exists(path) {
            return Err(taken(path));
        }
        let folder = self.folder_of(path).map_err(|error| unwritable(path, &error))?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let temporary = format!(".ruche-{}.partial", uuid::Uuid::new_v4().simple());
        let opened = rustix::fs::openat2(&folder, &temporary, flags, Mode::from_raw_mode(0o666), BENEATH)
            .map_err(|error| unwritable(path, &error))?;
        Ok(Sink {
            folder,
            temporary,
            file: Some(File::from(opened)),
            wanted: file.clone(),
            replace,
            written: 0,
            hasher: blake3::Hasher::new(),
        })
    }

    /// The folder that a file belongs into; those on the way to it are made.
    fn folder_of(&self, path: &RawText) -> Result<OwnedFd, Errno> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let mut at = rustix::io::fcntl_dupfd_cloexec(&self.folder, 0)?;
        let mut names: Vec<&[u8]> = path.0.split(|byte| *byte == b'/').collect();
        names.pop();
        for name in names {
            let name = OsStr::from_bytes(name);
            match rustix::fs::mkdirat(&at, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            at = rustix::fs::openat2(&at, name, flags, Mode::empty(), BENEATH)?;
        }
        Ok(at)
    }
}

fn taken(path: &RawText) -> UserError {
    unwritable(path, &"something of this name is there already").with_hint("`--force` writes over files that are there")
}

impl Sink {
    /// Adds bytes.
    ///
    /// # Errors
    /// `E-FILE-UNWRITABLE`.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), UserError> {
        self.write_all(bytes).map_err(|error| unwritable(&self.wanted.path, &error))
    }

    /// Checks what was written and gives the file its name.
    ///
    /// # Errors
    /// `E-INPUT-DAMAGED` when it is not what the list says, `E-FILE-UNWRITABLE`.
    pub fn finish(mut self) -> Result<(), UserError> {
        let path = &self.wanted.path;
        if self.written != self.wanted.size.0 || *self.hasher.finalize().as_bytes() != self.wanted.digest.0 {
            let sentence = format!("`{path}` did not come as the program left it");
            return Err(UserError::new(ErrorCode::InputDamaged, sentence).with_hint("fetch it again"));
        }
        let Some(file) = &self.file else { return Err(unwritable(path, &"it is closed")) };
        let unwritable = |error: &dyn std::fmt::Display| unwritable(path, error);
        if self.wanted.executable {
            // For those who may read it, as the caller's mask has it.
            let found = rustix::fs::fstat(file.as_fd()).map_err(|error| unwritable(&error))?;
            let mode = Mode::from_raw_mode((found.st_mode | (found.st_mode & 0o444) >> 2) & 0o777);
            rustix::fs::fchmod(file.as_fd(), mode).map_err(|error| unwritable(&error))?;
        }
        file.sync_all().map_err(|error| unwritable(&error))?;
        let name = name_of(path);
        let flags = if self.replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        match rustix::fs::renameat_with(&self.folder, &self.temporary, &self.folder, name, flags) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(taken(path)),
            // A file system that does not know the flag: a link never replaces.
            Err(Errno::INVAL) if !self.replace => {
                match rustix::fs::linkat(&self.folder, &self.temporary, &self.folder, name, AtFlags::empty()) {
                    // The other name goes with the sink.
                    Ok(()) => return Ok(()),
                    Err(Errno::EXIST) => return Err(taken(path)),
                    Err(error) => return Err(unwritable(&error)),
                }
            }
            Err(error) => return Err(unwritable(&error)),
        }
        self.file = None;
        Ok(())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let Some(file) = &mut self.file else { return Err(std::io::ErrorKind::NotConnected.into()) };
        let count = file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if self.file.is_some()
            && let Err(error) = rustix::fs::unlinkat(&self.folder, &self.temporary, AtFlags::empty())
        {
            tracing::warn!(name = self.temporary, %error, "a part of a file is left over");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{id::Digest, units::ByteSize};

    fn file(path: &[u8], content: &[u8]) -> CollectedFile {
        CollectedFile {
            path: RawText(path.to_vec()),
            size: ByteSize(content.len() as u64),
            digest: Digest(*blake3::hash(content).as_bytes()),
            executable: false,
        }
    }

    fn save(target: &Target, path: &[u8], content: &[u8], replace: bool) -> Result<(), UserError> {
        let mut sink = target.create(&file(path, content), replace)?;
        sink.take(content)?;
        sink.finish()
    }

    #[test]
    fn b12_nothing_is_written_outside_the_folder_or_through_a_link() {
        let root = tempfile::tempdir().unwrap();
        let (inside, outside) = (root.path().join("in"), root.path().join("out"));
        std::fs::create_dir(&outside).unwrap();
        let target = Target::open(&inside).unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
        std::os::unix::fs::symlink(outside.join("victim"), inside.join("dangling")).unwrap();
        for path in [&b"../x"[..], b"/etc/x", b"a/../../x", b"link/x", b"", b".", b"a//b", b"a\0b"] {
            for replace in [false, true] {
                let error = save(&target, path, b"evil", replace).unwrap_err();
                assert!(error.is(ErrorCode::FileUnwritable), "{error}");
                assert!(!error.sentence.contains('\0'));
            }
        }
        // A link of the file's own name is not followed: refused, or replaced itself.
        assert!(save(&target, b"dangling", b"evil", false).is_err());
        save(&target, b"dangling", b"fine", true).unwrap();
        assert!(std::fs::symlink_metadata(inside.join("dangling")).unwrap().is_file());
        assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
        save(&target, b"a/b/\xff\x1b[2J", b"kept", false).unwrap();
        let name = std::ffi::OsStr::from_bytes(b"a/b/\xff\x1b[2J");
        assert_eq!(std::fs::read(inside.join(name)).unwrap(), b"kept");
        let shown = save(&target, b"a/b/\xff\x1b[2J", b"other", false).unwrap_err();
        assert!(!shown.sentence.contains('\x1b'), "{shown}");
    }

    #[test]
    fn e5_a_file_that_is_there_is_kept_and_nothing_is_half() {
        let root = tempfile::tempdir().unwrap();
        let target = Target::open(root.path()).unwrap();
        std::fs::write(root.path().join("a"), b"mine").unwrap();
        assert!(target.exists(&"a".into()) && !target.exists(&"b".into()));
        assert!(save(&target, b"a", b"theirs", false).unwrap_err().is(ErrorCode::FileUnwritable));
        assert_eq!(std::fs::read(root.path().join("a")).unwrap(), b"mine");
        // It appears while the other is being written.
        let mut sink = target.create(&file(b"b", b"theirs"), false).unwrap();
        sink.take(b"theirs").unwrap();
        std::fs::write(root.path().join("b"), b"mine").unwrap();
        assert!(sink.finish().is_err());
        assert_eq!(std::fs::read(root.path().join("b")).unwrap(), b"mine");
        save(&target, b"a", b"theirs", true).unwrap();
        assert_eq!(std::fs::read(root.path().join("a")).unwrap(), b"theirs");
        // Cut, or another content.
        let mut sink = target.create(&file(b"c", b"whole"), false).unwrap();
        sink.take(b"who").unwrap();
        assert!(sink.finish().unwrap_err().is(ErrorCode::InputDamaged));
        let mut sink = target.create(&file(b"c", b"whole"), false).unwrap();
        sink.take(b"other").unwrap();
        assert!(sink.finish().unwrap_err().is(ErrorCode::InputDamaged));
        drop(target.create(&file(b"c", b"whole"), false).unwrap());
        let mut left: Vec<_> =
            std::fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["a", "b"]);
    }
}
