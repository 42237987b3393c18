//! Working folders: where they are, made for the program's user, reached through descriptors that are held.

use super::{
    cleaner::Cleaner,
    removal::{Remover, Trash, names, open_folder, remove},
};
use launcher::{FolderStamp, protocol::ProgramUser};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, RawDir, ResolveFlags, SeekFrom, Uid},
    io::Errno,
};
use std::{
    ffi::{CString, OsStr},
    fs, io,
    mem::MaybeUninit,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

/// The name of the file in the working folder that a program writes its progress to.
pub(super) const PROGRESS_FILE: &str = ".ruche-progress";

/// Where what programs left waits for its removal.
const TRASH: &str = "trash";

/// The folder that holds all working folders.
#[derive(Debug)]
pub struct WorkRoot {
    path: PathBuf,
    user_base: Option<u32>,
    /// Why it is not in the data folder; empty when it is.
    pub moved: String,
}

impl WorkRoot {
    /// `data/work`, or a folder in /var/tmp when the programs' users could not reach that one.
    /// `user_base` is the user of slot 0 when programs have users of their own; `id` names this slave.
    ///
    /// # Errors
    /// When no folder can be made.
    pub fn prepare(data: &Path, user_base: Option<u32>, id: &str) -> io::Result<Self> {
        let path = data.join("work");
        let Some(blocked) = user_base.and_then(|_| first_unreachable(data)) else {
            make_folder(&path)?;
            if user_base.is_some() {
                fs::set_permissions(data, fs::Permissions::from_mode(0o711))?;
            }
            return Ok(Self { path, user_base, moved: String::new() });
        };
        let own = rustix::process::geteuid().as_raw();
        let mut failure = io::Error::from(io::ErrorKind::NotFound);
        for parent in ["/var/tmp", "/tmp"] {
            let path = Path::new(parent).join(format!("ruche-{own}-{id}"));
            match make_folder(&path) {
                Ok(()) => {
                    let moved = format!("programs cannot enter {}; they work in {}", blocked.display(), path.display());
                    return Ok(Self { path, user_base, moved });
                }
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    /// Where the working folders are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the folder when it is not in the data folder: it is of no use without the slave.
    pub(super) fn remove(&self) {
        if self.moved.is_empty() {
            return;
        }
        let removed = rustix::fs::open("/", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(io::Error::from)
            .and_then(|root| remove(root.as_fd(), &CString::new(self.path.as_os_str().as_bytes())?));
        if let Err(error) = removed {
            tracing::debug!(%error, "the folder of working folders stays");
        }
    }

    /// What stands in the environment of every program of this slave, and of no other.
    #[must_use]
    pub fn mark(&self) -> Vec<u8> {
        [b"RUCHE_PROGRESS=", self.path.as_os_str().as_bytes(), b"/"].concat()
    }

    /// The users of the slots that there are folders of.
    #[must_use]
    pub fn users(&self) -> Vec<ProgramUser> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let slots = entries.filter_map(|entry| entry.file_name().to_str()?.strip_prefix("slot-")?.parse().ok());
        slots.filter_map(|slot| self.user(slot)).collect()
    }

    /// The user of a slot.
    #[must_use]
    pub fn user(&self, slot: u32) -> Option<ProgramUser> {
        self.user_base.map(|base| ProgramUser { uid: base + slot, gid: base + slot })
    }

    /// Whose programs run here: the user of slot 0, or the slave's own.
    #[must_use]
    pub fn probe_uid(&self) -> u32 {
        self.user(0).map_or_else(|| rustix::process::geteuid().as_raw(), |user| user.uid)
    }

    /// The folder that no program reaches, for what they left.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn trash(&self) -> io::Result<Arc<Trash>> {
        let path = self.path.join(TRASH);
        make_folder(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
        Trash::open(path)
    }

    /// The folder of one slot, emptied of what an earlier run left, but for the working folder `kept`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn slot(&self, slot: u32, kept: Option<&str>) -> io::Result<SlotFolder> {
        let path = self.path.join(format!("slot-{slot}"));
        make_folder(&path)?;
        let fd = open_folder(rustix::fs::CWD, path.as_os_str())?;
        let mut folder = SlotFolder {
            path,
            fd,
            trash: self.trash()?,
            buried: Vec::new(),
            user: self.user(slot),
            spare: None,
            lent: None,
        };
        folder.bury_all(kept.as_slice())?;
        Ok(folder)
    }
}

/// The nearest folder above (or at) `path` that a stranger cannot enter. The data folder itself does not
/// count: its permissions are ours to set.
fn first_unreachable(path: &Path) -> Option<PathBuf> {
    let full = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    full.ancestors()
        .skip(1)
        .find(|folder| fs::metadata(folder).is_ok_and(|found| found.permissions().mode() & 0o001 == 0))
        .map(Path::to_owned)
}

/// A folder of ours that others may enter but not list. One that is there must be ours and a folder.
fn make_folder(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o711).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = fs::symlink_metadata(path)?;
            if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
                let reason = format!("{} is not a folder of this user", path.display());
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
            }
        }
        Err(error) => return Err(error),
    }
    // The mask of the caller may have taken bits away.
    fs::set_permissions(path, fs::Permissions::from_mode(0o711))
}

/// The folder of one slot; working folders are made in it and removed from it.
#[derive(Debug)]
pub(super) struct SlotFolder {
    path: PathBuf,
    fd: OwnedFd,
    trash: Arc<Trash>,
    /// What the background shall remove.
    buried: Vec<Remover>,
    user: Option<ProgramUser>,
    /// An empty one for the next attempt.
    spare: Option<WorkFolder>,
    /// The one that the slot's keeper has for what it starts by itself.
    pub(super) lent: Option<WorkFolder>,
}

/// The working folder of one attempt.
#[derive(Debug)]
pub(super) struct WorkFolder {
    name: String,
    pub(super) path: PathBuf,
    pub(super) fd: OwnedFd,
    user: Option<ProgramUser>,
    made: FolderStamp,
    /// The program got it when every change to it would show in its stamp.
    traced: bool,
}

impl SlotFolder {
    /// An empty folder that belongs to the program's user alone: the spare one when there is one that nobody
    /// has touched, else a new one.
    pub(super) fn make(&mut self) -> io::Result<WorkFolder> {
        if self.spare.as_ref().is_some_and(|spare| spare.made.shows_changes())
            && let Some(mut spare) = self.spare.take()
        {
            // Without a user of its own the program before may have found it, when it was too young to show that.
            let is_new = self.user.is_some() || is_empty(spare.fd.as_fd());
            if is_new && FolderStamp::of(spare.fd.as_fd())? == spare.made {
                spare.traced = true;
                return Ok(spare);
            }
            self.remove_all(&spare);
        }
        let folder = self.make_new()?;
        if self.spare.is_none() {
            // It ages while the program runs.
            self.spare = self.make_new().inspect_err(|error| tracing::debug!(%error, "no spare folder")).ok();
        }
        Ok(folder)
    }

    /// The working folder `name`, which an earlier agent made and whose descriptor was kept.
    pub(super) fn adopt(&self, name: String, fd: OwnedFd) -> io::Result<WorkFolder> {
        let made = FolderStamp::of(fd.as_fd())?;
        Ok(WorkFolder { path: self.path.join(&name), name, fd, user: self.user, made, traced: false })
    }

    fn make_new(&mut self) -> io::Result<WorkFolder> {
        // Programs of a slot have the same user, and the spare folder lies beside the one that is in use. They cannot
        // list what is there, nor may a name follow from another: 62 bits by chance.
        let name = uuid::Uuid::new_v4().as_u64_pair().1.to_string();
        rustix::fs::mkdirat(&self.fd, &name, Mode::RWXU)?;
        let fd = open_folder(self.fd.as_fd(), OsStr::new(&name))?;
        own(fd.as_fd(), self.user)?;
        let made = FolderStamp::of(fd.as_fd())?;
        Ok(WorkFolder { path: self.path.join(&name), name, fd, user: self.user, made, traced: false })
    }

    /// Takes the folder of an attempt back: keeps it for the next one when its program surely left it as it
    /// was, else removes it. What cannot be removed at once is for the background.
    pub(super) fn take_back(&mut self, folder: WorkFolder) -> Option<Remover> {
        if folder.is_untouched() && self.spare.is_none() {
            self.spare = Some(folder);
            return None;
        }
        if self.remove_empty(&folder) { None } else { self.bury(folder.name()) }
    }

    /// Moves what has this name out of the reach of the slot's next program.
    fn bury(&self, name: &str) -> Option<Remover> {
        let buried =
            CString::new(name).map_err(io::Error::from).and_then(|name| self.trash.bury(self.fd.as_fd(), &name));
        buried
            .inspect_err(|error| tracing::warn!(%error, "what a program left stays until the next start"))
            .unwrap_or_default()
    }

    /// Moves everything out of the way but `kept`; few are there.
    fn bury_all(&mut self, kept: &[impl AsRef<str>]) -> io::Result<()> {
        loop {
            let mut left = names(self.fd.as_fd())?;
            left.retain(|name| !kept.iter().any(|kept| name.as_bytes() == kept.as_ref().as_bytes()));
            if left.is_empty() {
                return Ok(());
            }
            for name in left {
                self.buried.extend(self.trash.bury(self.fd.as_fd(), &name)?);
            }
        }
    }

    /// Removes the folders that are kept for attempts to come.
    pub(super) fn remove_spare(&mut self) {
        for folder in [self.spare.take(), self.lent.take()].into_iter().flatten() {
            self.remove_all(&folder);
        }
    }

    /// Removes a folder that a program may have changed, at once or in the background, with what lies beside it.
    pub(super) fn clean(&mut self, folder: WorkFolder, cleaner: &Cleaner) {
        if let Some(remover) = self.take_back(folder) {
            cleaner.remove(remover);
        }
        for stray in self.strays() {
            cleaner.remove(stray);
        }
    }

    /// Whether programs may put something beside their working folders.
    pub(super) const fn is_shared(&self) -> bool {
        self.user.is_none()
    }

    fn remove_all(&mut self, folder: &WorkFolder) {
        if !self.remove_empty(folder) {
            let buried = self.bury(folder.name());
            self.buried.extend(buried);
        }
    }

    /// Removes an empty working folder. False when it is not empty.
    fn remove_empty(&self, folder: &WorkFolder) -> bool {
        match rustix::fs::unlinkat(&self.fd, &folder.name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => true,
            Err(_) => false,
        }
    }

    /// What the background shall remove, with what a program without a user of its own may have put beside its
    /// working folder. Called while the slot runs nothing.
    pub(super) fn strays(&mut self) -> Vec<Remover> {
        if self.user.is_none() {
            let kept = self.spare.iter().chain(&self.lent).map(|folder| folder.name.clone()).collect::<Vec<_>>();
            if let Err(error) = self.bury_all(&kept) {
                tracing::warn!(%error, "what a program left beside its folder stays until the next start");
            }
        }
        std::mem::take(&mut self.buried)
    }
}

impl WorkFolder {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn is_untouched(&self) -> bool {
        self.traced
            && FolderStamp::of(self.fd.as_fd()).is_ok_and(|stamp| stamp == self.made)
            && is_empty(self.fd.as_fd())
    }

    /// Whose folder it is; none is the slave's own user.
    pub(super) const fn user(&self) -> Option<ProgramUser> {
        self.user
    }

    /// Writes a file of the program's user.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Whatever the name is, nothing outside the folder is made.
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let file = rustix::fs::openat2(&self.fd, name, flags, Mode::from_raw_mode(0o644), beneath)?;
        own(file.as_fd(), self.user)?;
        io::Write::write_all(&mut fs::File::from(file), bytes)
    }

    /// Removes a file, if it is there.
    pub(super) fn remove_file(&self, name: &str) {
        if !name.contains('/')
            && let Err(error) = rustix::fs::unlinkat(&self.fd, name, AtFlags::empty())
            && error != Errno::NOENT
        {
            tracing::debug!(name, %error, "a file stays for the background to remove");
        }
    }
}

pub(super) fn own(fd: BorrowedFd<'_>, user: Option<ProgramUser>) -> io::Result<()> {
    match user {
        Some(user) => Ok(rustix::fs::fchown(fd, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)))?),
        None => Ok(()),
    }
}

/// Whether nothing is in a folder, read through this descriptor itself.
fn is_empty(folder: BorrowedFd<'_>) -> bool {
    if rustix::fs::seek(folder, SeekFrom::Start(0)).is_err() {
        return false;
    }
    let mut buffer = [MaybeUninit::uninit(); 1_024];
    let mut entries = RawDir::new(folder, &mut buffer);
    while let Some(entry) = entries.next() {
        if !entry.is_ok_and(|entry| matches!(entry.file_name().to_bytes(), b"." | b"..")) {
            return false;
        }
    }
    true
}

/// Whether the folder or one of its near descendants holds a file of exactly `bytes`: a program that met
/// the limit on file size and handled the signal leaves one. Looks at a bounded number of entries.
pub(super) fn holds_file_of_size(folder: &WorkFolder, bytes: u64) -> Option<String> {
    let mut left = 500_usize;
    holds_file(folder.fd.as_fd(), bytes, 3, &mut left)
}

fn holds_file(folder: BorrowedFd<'_>, bytes: u64, depth: usize, left: &mut usize) -> Option<String> {
    for entry in Dir::read_from(folder).ok()? {
        let name = entry.ok()?.file_name().to_owned();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        *left = left.checked_sub(1)?;
        let found = rustix::fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile if u64::try_from(found.st_size).ok() == Some(bytes) => {
                return Some(String::from_utf8_lossy(name.to_bytes()).into_owned());
            }
            FileType::Directory if depth > 0 => {
                let below = open_folder(folder, OsStr::from_bytes(name.to_bytes())).ok();
                if let Some(name) = below.and_then(|fd| holds_file(fd.as_fd(), bytes, depth - 1, left)) {
                    return Some(name);
                }
            }
            FileType::RegularFile
            | FileType::Directory
            | FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => {}
        }
    }
    None
}

#[cfg(test)]
mod tests;
