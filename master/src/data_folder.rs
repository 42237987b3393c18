//! The data folder: private, and used by one master at a time.

use common::{ErrorCode, UserError};
use nix::fcntl::{Flock, FlockArg};
use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// A data folder that this process holds until it drops it. The lock ends with the process, however that ends.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    lock: Flock<File>,
}

fn unusable(path: &Path, why: impl std::fmt::Display) -> UserError {
    UserError::new(ErrorCode::DataUnusable, format!("the data folder `{}` cannot be used: {why}", path.display()))
}

impl DataFolder {
    /// Makes the folder when it is missing, and locks it.
    ///
    /// # Errors
    /// `E-DATA-LOCKED` when another master has it, `E-DATA-UNUSABLE` when others may read it, it is not a folder, or
    /// a restore was not finished.
    pub(crate) fn lock(path: &Path) -> Result<Self, UserError> {
        let folder = Self::lock_any(path)?;
        if path.join(RESTORING).exists() {
            return Err(unusable(path, "a restore was not finished")
                .with_hint(format!("remove what is in `{}` and restore the backup again", path.display())));
        }
        Ok(folder)
    }

    /// As [`Self::lock`], for a folder in which nothing may be yet.
    ///
    /// # Errors
    /// As [`Self::lock`], and `E-DATA-UNUSABLE` when something is in it.
    pub(crate) fn lock_empty(path: &Path) -> Result<Self, UserError> {
        let folder = Self::lock_any(path)?;
        let mut entries = std::fs::read_dir(path).map_err(|error| unusable(path, error))?;
        let full = entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != "lock"));
        if full {
            return Err(
                unusable(path, "something is in it already").with_hint("give a folder that is empty or missing")
            );
        }
        Ok(folder)
    }

    fn lock_any(path: &Path) -> Result<Self, UserError> {
        let missing: Vec<&Path> =
            path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()).collect();
        let build = || -> io::Result<()> {
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            // What is acknowledged is not lost with the folder that it is in.
            for made in missing {
                let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
                File::open(parent)?.sync_all()?;
            }
            Ok(())
        };
        build().map_err(|error| unusable(path, error))?;
        let metadata = std::fs::metadata(path).map_err(|error| unusable(path, error))?;
        if !metadata.is_dir() {
            return Err(unusable(path, "it is not a folder"));
        }
        if metadata.uid() != nix::unistd::geteuid().as_raw() {
            return Err(unusable(path, format!("it belongs to user {}", metadata.uid())));
        }
        if metadata.mode() & 0o077 != 0 {
            let why = format!("its permissions {:04o} let others in", metadata.mode() & 0o7777);
            return Err(unusable(path, why).with_hint(format!("`chmod 700 {}`", path.display())));
        }
        let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path.join("lock"));
        let file = open.map_err(|error| unusable(path, error))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Self { path: path.to_owned(), lock }),
            Err((_, error)) if error == nix::errno::Errno::EWOULDBLOCK => Err(UserError::new(
                ErrorCode::DataLocked,
                format!("another master uses the data folder `{}`", path.display()),
            )),
            Err((_, error)) => Err(unusable(path, error)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Remembers which run of the machine used the folder last. To be called after the store is open.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn remember_boot(&mut self) -> io::Result<()> {
        let boot = boot_id().unwrap_or_default();
        self.lock.set_len(0)?;
        self.lock.write_all_at(boot.as_bytes(), 0)
    }

    /// The folder of streamed outputs.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn outputs(&self) -> io::Result<PathBuf> {
        let outputs = self.path.join("outputs");
        DirBuilder::new().recursive(true).mode(0o700).create(&outputs)?;
        Ok(outputs)
    }
}

/// Names this run of the machine.
fn boot_id() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

/// Whether the machine has not been restarted since a master last used the folder, so that what was written without
/// a sync is still there.
pub(crate) fn same_boot(data: &Path) -> bool {
    let remembered = std::fs::read_to_string(data.join("lock")).unwrap_or_default();
    boot_id().is_some_and(|boot| boot == remembered.trim())
}

/// What is being restored; a folder that still has it is not whole.
pub(crate) const RESTORING: &str = "restoring";

/// Where the certificates are.
pub(crate) fn identity(data: &Path) -> PathBuf {
    data.join("identity")
}

/// The socket of the administration commands.
pub(crate) fn control_socket(data: &Path) -> PathBuf {
    data.join("control.sock")
}
