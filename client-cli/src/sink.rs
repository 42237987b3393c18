//! Standard output and error of programs: their bytes as they are, or shown safely on a terminal.

use common::escape::{Lines, visible};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::FileType,
    io::Errno,
};
use std::{
    io::{self, IsTerminal},
    os::fd::{AsFd, BorrowedFd},
};

/// What a pipe takes at once when it takes anything (`PIPE_BUF`).
const PIPE_BYTES: usize = 4 << 10;

/// Where the bytes of a program go: exactly as they are, or, on a terminal unless asked otherwise, with control
/// characters shown instead of obeyed. Never holds the connection up: what may wait is written on another thread.
pub(crate) struct Sink {
    out: Out,
    kind: Kind,
    /// The beginning of a character whose rest has not come; only on a terminal.
    held: Option<Vec<u8>>,
}

#[derive(Clone, Copy)]
enum Out {
    Stdout,
    Stderr,
}

/// What is behind a descriptor, as far as writing differs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A file or what swallows everything: takes it without waiting for anybody.
    Willing,
    /// A pipe: waits for its reader when it is full.
    Pipe,
    /// Anything else may wait whenever it likes.
    Other,
}

impl Sink {
    /// Standard output; with `raw` as it is also on a terminal.
    pub(crate) fn stdout(raw: bool) -> Self {
        Self::new(Out::Stdout, !raw && io::stdout().is_terminal())
    }

    /// Standard error; with `raw` as it is also on a terminal.
    pub(crate) fn stderr(raw: bool) -> Self {
        Self::new(Out::Stderr, !raw && io::stderr().is_terminal())
    }

    fn new(out: Out, shown: bool) -> Self {
        Self { out, kind: out.kind(), held: shown.then(Vec::new) }
    }

    /// Writes these bytes and waits until they are out.
    pub(crate) async fn write(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        match &mut self.held {
            None => self.put(bytes).await,
            Some(held) => {
                held.extend_from_slice(&bytes);
                let whole = whole_characters(held);
                let shown = visible(&held[..whole], Lines::Keep);
                held.drain(..whole);
                self.put(shown.into_bytes()).await
            }
        }
    }

    /// Writes what was held back because its end never came.
    pub(crate) async fn end(&mut self) -> io::Result<()> {
        match self.held.take() {
            Some(rest) if !rest.is_empty() => self.put(visible(&rest, Lines::Keep).into_bytes()).await,
            Some(_) | None => Ok(()),
        }
    }

    async fn put(&self, bytes: Vec<u8>) -> io::Result<()> {
        let out = self.out;
        let at_once = match self.kind {
            Kind::Willing => true,
            Kind::Pipe => bytes.len() <= PIPE_BYTES && out.has_room(),
            Kind::Other => false,
        };
        if at_once {
            return out.write(&bytes);
        }
        tokio::task::spawn_blocking(move || out.write(&bytes)).await.map_err(io::Error::other)?
    }
}

impl Out {
    fn with<R>(self, work: impl FnOnce(BorrowedFd<'_>) -> R) -> R {
        match self {
            Self::Stdout => work(io::stdout().as_fd()),
            Self::Stderr => work(io::stderr().as_fd()),
        }
    }

    fn kind(self) -> Kind {
        let Ok(found) = self.with(|fd| rustix::fs::fstat(fd)) else { return Kind::Other };
        let kind = FileType::from_raw_mode(found.st_mode);
        let is_null = || rustix::fs::stat("/dev/null").is_ok_and(|null| null.st_rdev == found.st_rdev);
        if kind.is_file() || kind.is_char_device() && is_null() {
            Kind::Willing
        } else if kind.is_fifo() {
            Kind::Pipe
        } else {
            Kind::Other
        }
    }

    /// Whether a pipe takes [`PIPE_BYTES`] now.
    fn has_room(self) -> bool {
        self.with(|fd| {
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
            poll(&mut fds, Some(&now)).is_ok_and(|ready| ready == 1)
        })
    }

    /// Writes all of it. Past the buffer of the standard library, which would cut it into lines.
    fn write(self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.with(|fd| rustix::io::write(fd, rest)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// How many of the bytes are whole characters, or will never be one.
fn whole_characters(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    for at in (tail..bytes.len()).rev() {
        let length = match bytes[at] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return bytes.len(),
        };
        return if at + length > bytes.len() { at } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e7_a_character_cut_between_two_pieces_is_held_back() {
        for (bytes, whole) in [
            (&b"abc"[..], 3),
            ("é".as_bytes(), 2),
            (&"é".as_bytes()[..1], 0),
            (b"a\xe2\x82", 1),
            (b"a\xf0\x9f\x98", 1),
            (b"a\xf0", 1),
            (b"\x80\x80\x80\x80", 4),
            (b"\xff", 1),
            (b"", 0),
        ] {
            assert_eq!(whole_characters(bytes), whole, "{bytes:x?}");
        }
    }
}
