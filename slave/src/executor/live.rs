//! Input that comes while a program runs, through a pipe or a terminal.
//!
//! What came and is not in the pipe yet is in a file in memory, whose own position is how much the program was given:
//! the kernel moves bytes and position in one call, so that no byte is lost or given twice when this process dies.
//! The keeper holds the file and the writing end for an agent that may follow this one. It holds them inside a message
//! that waits in a socket (the *vault*): so this process can take the writing end away from it when the input ends.

use super::folder::{WorkFolder, own};
use common::{
    limits::{INPUT_CHUNK_BYTES_MAX, INPUT_PENDING_BYTES_MAX},
    program::{LiveInput, TerminalSize},
};
use rustix::{
    event::epoll::{self, EventData, EventFlags},
    fd::{AsFd, OwnedFd},
    fs::{FallocateFlags, MemfdFlags, SealFlags, SeekFrom},
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, SocketFlags, SocketType,
    },
    pipe::{PipeFlags, SpliceFlags},
    pty::OpenptFlags,
    termios::Winsize,
};
use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
};

/// Bytes that one call moves.
const MOVE_BYTES_MAX: usize = 64 << 10;
/// What the program was given is dropped from memory in pieces of this size.
const DROP_BYTES: u64 = 64 << 10;
/// Bytes that may wait here: what the master sends at most, and the part that it sends at once.
const PENDING_BYTES_MAX: u64 = (INPUT_PENDING_BYTES_MAX + INPUT_CHUNK_BYTES_MAX) as u64;
/// What ends the input of a program at a terminal, as Ctrl-D does.
const END_OF_FILE: u8 = 0x04;

/// The live input of one attempt.
#[derive(Debug)]
pub(super) struct Live {
    terminal: Option<TerminalSize>,
    /// Everything that came; its position is how much the program was given.
    file: OwnedFd,
    /// How much came.
    received: u64,
    /// Nothing more comes.
    ended: bool,
    /// Where it goes, once the program runs and until its input has ended.
    writer: Option<OwnedFd>,
    /// What the keeper holds for the next agent.
    vault: Option<OwnedFd>,
    /// The program was told that nothing more comes, or does not read any more.
    finished: bool,
    /// The executor waits until it can be written to.
    watched: bool,
    /// Bytes that are not in memory any more.
    dropped: u64,
}

/// What a program gets whose input is live.
pub(super) struct Ends {
    /// Its standard input.
    pub(super) input: OwnedFd,
    /// What the keeper holds.
    pub(super) vault: OwnedFd,
    /// With a terminal: what its output is read from. The program's output and errors are `input` as well.
    pub(super) screen: Option<OwnedFd>,
}

impl Live {
    /// The input of a program that has not started.
    pub(super) fn new(live: LiveInput) -> io::Result<Self> {
        let file = rustix::fs::memfd_create("input", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        Ok(Self::of(live, file, None, None))
    }

    fn of(live: LiveInput, file: OwnedFd, writer: Option<OwnedFd>, vault: Option<OwnedFd>) -> Self {
        Self {
            terminal: live.terminal,
            file,
            received: 0,
            ended: false,
            writer,
            vault,
            finished: false,
            watched: false,
            dropped: 0,
        }
    }

    /// The input of a program that an agent before this one started.
    pub(super) fn adopt(live: LiveInput, vault: OwnedFd) -> io::Result<Self> {
        let Some((file, writer)) = look_into(&vault, RecvFlags::PEEK)? else {
            let mut live = Self::new(live)?;
            // It was taken out when the input had ended.
            (live.ended, live.finished) = (true, true);
            return Ok(live);
        };
        let mut live = Self::of(live, file, Some(writer), Some(vault));
        live.received = rustix::fs::fstat(&live.file)?.st_size.cast_unsigned();
        live.ended = rustix::fs::fcntl_get_seals(&live.file)?.contains(SealFlags::GROW);
        live.finished = live.ended && live.terminal.is_some() && live.taken()? == live.received;
        Ok(live)
    }

    /// The pipe or terminal of a program that is about to start, which `folder` belongs to as well.
    pub(super) fn open(&mut self, folder: &WorkFolder) -> io::Result<Ends> {
        let (input, writer, screen) = match self.terminal {
            None => {
                let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
                (read, write, None)
            }
            Some(size) => {
                let (program, ours) = terminal(size, folder)?;
                let writer = ours.try_clone()?;
                (program, writer, Some(ours))
            }
        };
        rustix::io::ioctl_fionbio(&writer, true)?;
        let vault = vault(&self.file, &writer)?;
        self.vault = Some(vault.try_clone()?);
        self.writer = Some(writer);
        Ok(Ends { input, vault, screen })
    }

    /// How much the program was given; `u64::MAX` when its input has ended for it.
    pub(super) fn offset(&self) -> u64 {
        if self.finished { u64::MAX } else { self.taken().unwrap_or(0) }
    }

    fn taken(&self) -> io::Result<u64> {
        Ok(rustix::fs::tell(&self.file)?)
    }

    /// Keeps what is new of this part. What came before is skipped, and a part that does not follow what came is not
    /// kept: whoever sent it learns from [`Live::offset`] where to go on.
    pub(super) fn give(&mut self, offset: u64, bytes: &[u8], end: bool) -> io::Result<()> {
        if self.ended || offset > self.received {
            return Ok(());
        }
        let known = usize::try_from(self.received - offset).unwrap_or(usize::MAX).min(bytes.len());
        let new = &bytes[known..];
        if self.received - self.taken()? + new.len() as u64 > PENDING_BYTES_MAX {
            return Ok(());
        }
        let mut rest = new;
        while !rest.is_empty() {
            let count = rustix::io::pwrite(&self.file, rest, self.received)?;
            self.received += count as u64;
            rest = &rest[count..];
        }
        if end {
            rustix::fs::fcntl_add_seals(&self.file, SealFlags::GROW)?;
            self.ended = true;
        }
        Ok(())
    }

    /// Gives the program what fits now. True when it must be called again once more fits.
    pub(super) fn pump(&mut self) -> io::Result<bool> {
        let Some(writer) = &self.writer else { return Ok(false) };
        loop {
            let taken = self.taken()?;
            if taken >= self.received {
                break;
            }
            let count = usize::try_from(self.received - taken).unwrap_or(usize::MAX).min(MOVE_BYTES_MAX);
            match self.transfer(writer, taken, count) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.forget_before(taken);
                    return Ok(true);
                }
                // Nobody reads it any more: it goes where it would go in a shell.
                Err(Errno::PIPE | Errno::IO) => {
                    rustix::fs::seek(&self.file, SeekFrom::Start(self.received))?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if self.ended && !self.finished {
            return self.finish();
        }
        self.forget_before(self.received);
        Ok(false)
    }

    fn transfer(&self, writer: &OwnedFd, taken: u64, count: usize) -> rustix::io::Result<()> {
        if self.terminal.is_none() {
            return rustix::pipe::splice(&self.file, None, writer, None, count, SpliceFlags::NONBLOCK).map(drop);
        }
        // Not every kernel moves bytes into a terminal by itself.
        let mut buffer = [0; 4_096];
        let count = rustix::io::pread(&self.file, &mut buffer[..count.min(4_096)], taken)?;
        let count = rustix::io::write(writer, &buffer[..count])?;
        rustix::fs::seek(&self.file, SeekFrom::Start(taken + count as u64)).map(drop)
    }

    /// Tells the program that nothing more comes.
    fn finish(&mut self) -> io::Result<bool> {
        if self.terminal.is_some() {
            let Some(writer) = &self.writer else { return Ok(false) };
            // A line that was not ended is given up by the first, and the second is the end.
            let mut last = [b'\n'];
            if self.received > 0 {
                rustix::io::pread(&self.file, &mut last, self.received - 1)?;
            }
            let bytes: &[u8] = if last == *b"\n" { &[END_OF_FILE] } else { &[END_OF_FILE, END_OF_FILE] };
            // Any other failure means that nobody is there to be told.
            if rustix::io::write(writer, bytes) == Err(Errno::AGAIN) {
                return Ok(true);
            }
        } else {
            self.writer = None;
            if let Some(vault) = self.vault.take() {
                look_into(&vault, RecvFlags::empty())?;
            }
        }
        self.finished = true;
        Ok(false)
    }

    /// Memory of what the program was given is free again. The last byte of a line is looked at once more.
    fn forget_before(&mut self, taken: u64) {
        let until = taken.saturating_sub(1) / DROP_BYTES * DROP_BYTES;
        if until > self.dropped {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            if let Err(error) = rustix::fs::fallocate(&self.file, flags, self.dropped, until - self.dropped) {
                tracing::debug!(%error, "input that was taken stays in memory");
            }
            self.dropped = until;
        }
    }

    /// Another size of the terminal.
    pub(super) fn resize(&mut self, size: TerminalSize) -> io::Result<()> {
        if self.terminal.is_none() {
            return Ok(());
        }
        self.terminal = Some(size);
        match &self.writer {
            Some(writer) => Ok(rustix::termios::tcsetwinsize(writer, winsize(size))?),
            None => Ok(()),
        }
    }

    /// Has the executor called when more fits, or no longer. The keeper holds the writing end open, so it must be taken
    /// out of what is watched by hand.
    pub(super) fn watch(&mut self, wanted: bool, epoll: &OwnedFd, token: u64) -> io::Result<()> {
        match (&self.writer, wanted) {
            (Some(writer), true) if !self.watched => {
                epoll::add(epoll, writer, EventData::new_u64(token), EventFlags::OUT)?;
                self.watched = true;
            }
            (Some(writer), false) if self.watched => {
                epoll::delete(epoll, writer)?;
                self.watched = false;
            }
            (Some(_) | None, _) => {}
        }
        Ok(())
    }
}

/// A terminal of this size: the program's end, and ours. The program may open its end again.
fn terminal(size: TerminalSize, folder: &WorkFolder) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = rustix::pty::openpt(flags)?;
    rustix::pty::unlockpt(&ours)?;
    let program = rustix::pty::ioctl_tiocgptpeer(&ours, flags)?;
    rustix::termios::tcsetwinsize(&ours, winsize(size))?;
    own(program.as_fd(), folder.user())?;
    Ok((program, ours))
}

const fn winsize(size: TerminalSize) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// A socket with a message that holds these two.
fn vault(file: &OwnedFd, writer: &OwnedFd) -> io::Result<OwnedFd> {
    let (ours, vault) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [file.as_fd(), writer.as_fd()];
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::net::sendmsg(&ours, &[IoSlice::new(b"v")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(vault)
}

/// What a vault holds: it stays there with [`RecvFlags::PEEK`]. None when it was taken out.
fn look_into(vault: &OwnedFd, how: RecvFlags) -> io::Result<Option<(OwnedFd, OwnedFd)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0; 1];
    let flags = how | RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    match rustix::net::recvmsg(vault, &mut [IoSliceMut::new(&mut byte)], &mut control, flags) {
        Ok(_) | Err(Errno::AGAIN) => {}
        Err(error) => return Err(error.into()),
    }
    let mut found: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            found.extend(descriptors);
        }
    }
    let mut found = found.into_iter();
    Ok(found.next().zip(found.next()))
}
