//! The file under the journal. Tests make it fail.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

/// An open file of the journal.
#[derive(Debug)]
pub(super) struct Medium {
    file: File,
    #[cfg(test)]
    faults: std::sync::Arc<super::tests::Faults>,
}

/// What makes media; in tests, media that fail as they are told.
#[derive(Clone, Debug, Default)]
pub(super) struct Media {
    #[cfg(test)]
    pub(super) faults: std::sync::Arc<super::tests::Faults>,
}

impl Media {
    fn medium(&self, file: File) -> Medium {
        Medium {
            file,
            #[cfg(test)]
            faults: self.faults.clone(),
        }
    }

    /// The file that is there.
    pub(super) fn open(&self, path: &Path) -> io::Result<Medium> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
        Ok(self.medium(file))
    }

    /// A new, empty file, for its owner alone.
    pub(super) fn create(&self, path: &Path) -> io::Result<Medium> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        Ok(self.medium(options.open(path)?))
    }
}

impl Medium {
    pub(super) fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        #[cfg(test)]
        let bytes = self.faults.write(bytes, |part| self.file.write_all_at(part, offset))?;
        self.file.write_all_at(bytes, offset)
    }

    pub(super) fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    pub(super) fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        self.faults.sync()?;
        self.file.sync_data()
    }
}
