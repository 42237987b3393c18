//! Which process the kernel ends when memory runs out: better a program than its keeper, or anybody else.

use crate::best_effort;
use nix::fcntl::{OFlag, open};
use std::{fs::File, io, os::unix::fs::FileExt};

/// What the kernel goes by. A program inherits it from the process that starts it, which for that moment has it as
/// well: until a program executes it shares the memory of its keeper, so that both would end together in any case.
/// To open the file of each program would cost the kernel several times as much.
pub(crate) struct FirstVictim(Option<(File, Vec<u8>)>);

impl FirstVictim {
    /// Nothing is changed.
    pub(crate) const NONE: Self = Self(None);

    /// Best called while the process still is dumpable: else the file belongs to somebody else. Where it may not be
    /// written there and back again, nothing is changed.
    pub(crate) fn open() -> Self {
        Self(Self::try_open().ok())
    }

    fn try_open() -> io::Result<(File, Vec<u8>)> {
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let file = File::from(open("/proc/self/oom_score_adj", flags, nix::sys::stat::Mode::empty())?);
        let mut usual = vec![0; 16];
        let count = file.read_at(&mut usual, 0)?;
        usual.truncate(count);
        file.write_all_at(b"1000", 0)?;
        file.write_all_at(&usual, 0)?;
        Ok((file, usual))
    }

    /// Whether what is started now is to be it.
    pub(super) fn set(&self, first: bool) {
        if let Some((file, usual)) = &self.0 {
            best_effort(file.write_all_at(if first { b"1000" } else { usual }, 0));
        }
    }
}
