//! A control group as an open folder: once it is open nothing is reached by a path any more, because a keeper may
//! change its root.

use crate::best_effort;
use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    sys::{
        signal::{Signal, kill},
        stat::{Mode, mkdirat},
    },
    unistd::{Pid, UnlinkatFlags, unlinkat},
};
use std::{
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt,
    },
    path::Path,
};

/// The folder of one group.
#[derive(Debug)]
pub(crate) struct Folder(File);

impl Folder {
    /// By its path: only before the root changes.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Self(nix::fcntl::open(path, flags, Mode::empty())?.into()))
    }

    /// The group of this name below `parent`, made when it is not there.
    pub(crate) fn make(parent: &Self, name: &str) -> io::Result<Self> {
        match mkdirat(&parent.0, name, Mode::from_bits_truncate(0o755)) {
            // One that is there was left behind by an earlier keeper of this slot.
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(Self(openat(&parent.0, name, flags, Mode::empty())?.into()))
    }

    /// The group at this path, and the folder that it is in. Makes it when it is not there.
    pub(crate) fn make_at(path: &Path) -> io::Result<(Self, Self, String)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        let parent = Self::open(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        let folder = Self::make(&parent, name)?;
        Ok((parent, folder, name.to_owned()))
    }

    /// Ends the group of this name below; none may be in it.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(unlinkat(&self.0, name, UnlinkatFlags::RemoveDir)?)
    }

    pub(crate) fn readable(&self, name: &str) -> io::Result<File> {
        self.file(name, OFlag::O_RDONLY)
    }

    pub(crate) fn writable(&self, name: &str) -> io::Result<File> {
        self.file(name, OFlag::O_WRONLY)
    }

    /// For figures that start anew when they are written to, where the kernel can do so.
    pub(crate) fn resettable(&self, name: &str) -> io::Result<(File, bool)> {
        self.file(name, OFlag::O_RDWR)
            .map(|file| (file, true))
            .or_else(|_| self.readable(name).map(|file| (file, false)))
    }

    fn file(&self, name: &str, access: OFlag) -> io::Result<File> {
        Ok(openat(&self.0, name, access | OFlag::O_CLOEXEC, Mode::empty())?.into())
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> io::Result<()> {
        self.writable(name)?.write_all(text.as_bytes())
    }

    /// Its processes, as this process's namespace numbers them.
    pub(crate) fn members(&self) -> Vec<i32> {
        let mut text = String::new();
        if let Ok(mut file) = self.readable("cgroup.procs") {
            best_effort(file.read_to_string(&mut text));
        }
        text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).filter(|pid| *pid > 0).collect()
    }

    /// Kills every process in the group but this one.
    pub(crate) fn kill_members(&self) {
        let own = std::process::id().cast_signed();
        for pid in self.members().into_iter().filter(|pid| *pid != own) {
            best_effort(kill(Pid::from_raw(pid), Signal::SIGKILL));
        }
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The files of control groups that are read here are short.
pub(super) fn text_of(file: &File) -> Option<String> {
    with_text_of(file, |text| Some(text.to_owned()))
}

/// A file that holds one number.
pub(super) fn number_of(file: &File) -> Option<u64> {
    with_text_of(file, |text| text.trim().parse().ok())
}

/// The number behind `key` in lines of `key number`.
pub(super) fn value_of(file: &File, key: &str) -> Option<u64> {
    with_text_of(file, |text| value_in(text, key))
}

fn with_text_of<T>(file: &File, take: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    let mut bytes = [0; 1_024];
    let count = file.read_at(&mut bytes, 0).ok()?;
    take(std::str::from_utf8(bytes.get(..count)?).ok()?)
}

fn value_in(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.split_once(' ').filter(|(name, _)| *name == key)?.1.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e5_counters_are_read_by_name() {
        assert_eq!(value_in("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill"), Some(3));
        assert_eq!(value_in("", "max"), None);
    }
}
