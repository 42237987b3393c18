//! The data folder: private, and used by one master at a time.

use common::{ErrorCode, UserError};
use nix::fcntl::{Flock, FlockArg};
use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// A data folder that this process holds until it drops it. The lock ends with the process, however that ends.
#[derive(Debug)]
pub(crate) struct DataFolder {
    path: PathBuf,
    _lock: Flock<File>,
}

fn unusable(path: &Path, why: impl std::fmt::Display) -> UserError {
    UserError::new(ErrorCode::DataUnusable, format!("the data folder `{}` cannot be used: {why}", path.display()))
}

impl DataFolder {
    /// Makes the folder when it is missing, and locks it.
    ///
    /// # Errors
    /// `E-DATA-LOCKED` when another master has it, `E-DATA-UNUSABLE` when others may read it or it is not a folder.
    pub(crate) fn lock(path: &Path) -> Result<Self, UserError> {
        let build = DirBuilder::new().recursive(true).mode(0o700).create(path);
        build.map_err(|error| unusable(path, error))?;
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
            Ok(lock) => Ok(Self { path: path.to_owned(), _lock: lock }),
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

/// Where the certificates are.
pub(crate) fn identity(data: &Path) -> PathBuf {
    data.join("identity")
}

/// The socket of the administration commands.
pub(crate) fn control_socket(data: &Path) -> PathBuf {
    data.join("control.sock")
}
