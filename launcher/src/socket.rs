//! A socket that carries whole messages with descriptors: SOCK_SEQPACKET and SCM_RIGHTS. A message that is
//! too large for a packet travels in a memory file.

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut, Read, Seek, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

/// Well below the kernel's default send buffer of 208 KiB.
const PACKET_BYTES_MAX: usize = 96 << 10;
/// Descriptors in one message.
const DESCRIPTORS_MAX: usize = 8;
/// The first byte says where the message is.
const INLINE: u8 = 0;
const IN_MEMORY_FILE: u8 = 1;

/// Whether a receive waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until there is a message.
    Yes,
    /// Not at all.
    No,
}

/// A message and the descriptors that came with it.
#[derive(Debug)]
pub struct Received<M> {
    /// The message.
    pub message: M,
    /// The descriptors, in the sender's order, closed on exec.
    pub descriptors: Vec<OwnedFd>,
}

/// One end of a connection between agent, launcher and keepers.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl Socket {
    /// Two connected ends, closed on exec.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((a.into(), b.into()))
    }

    /// Sends one message with descriptors, at most eight less one.
    ///
    /// # Errors
    /// When the other end is gone or the descriptors are too many.
    pub fn send(&self, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send_with(message, descriptors, MsgFlags::empty())
    }

    /// Sends one message as [`Socket::send`] does, unless it would have to wait. Whether it was sent.
    ///
    /// # Errors
    /// When the other end is gone or the descriptors are too many.
    pub fn try_send(&self, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<bool> {
        match self.send_with(message, descriptors, MsgFlags::MSG_DONTWAIT) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn send_with(&self, message: &impl Serialize, fds: &[BorrowedFd<'_>], flags: MsgFlags) -> io::Result<()> {
        let body = common::frame::encode_record(message);
        let mut raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        if raw.len() >= DESCRIPTORS_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors for one message"));
        }
        if body.len() <= PACKET_BYTES_MAX {
            return self.send_packet(&[IoSlice::new(&[INLINE]), IoSlice::new(&body)], &raw, flags);
        }
        let mut file = memory_file(&body)?;
        file.rewind()?;
        raw.push(file.as_raw_fd());
        self.send_packet(&[IoSlice::new(&[IN_MEMORY_FILE])], &raw, flags)
    }

    fn send_packet(&self, parts: &[IoSlice<'_>], raw: &[RawFd], flags: MsgFlags) -> io::Result<()> {
        let rights = [ControlMessage::ScmRights(raw)];
        let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
        loop {
            match sendmsg::<()>(self.fd.as_raw_fd(), parts, control, flags | MsgFlags::MSG_NOSIGNAL, None) {
                Ok(_) => return Ok(()),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next message; none when there is none and `wait` is [`Wait::No`].
    ///
    /// # Errors
    /// `UnexpectedEof` when the other end is gone, `InvalidData` for what is not a message.
    pub fn receive<M: DeserializeOwned>(&mut self, wait: Wait) -> io::Result<Option<Received<M>>> {
        let Some((bytes, mut descriptors)) = self.receive_packet(wait)? else {
            return Ok(None);
        };
        let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        let decoded = match self.buffer[..bytes].split_first() {
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
            Some((&IN_MEMORY_FILE, _)) => {
                let file = descriptors.pop().ok_or_else(|| invalid("the memory file is missing".to_owned()))?;
                let mut body = Vec::new();
                File::from(file).take(common::limits::FRAME_DATA_BYTES_MAX as u64).read_to_end(&mut body)?;
                common::frame::decode_record(&body)
            }
            Some((_, body)) => common::frame::decode_record(body),
        };
        let message = decoded.map_err(|error| invalid(error.to_string()))?;
        Ok(Some(Received { message, descriptors }))
    }

    fn receive_packet(&mut self, wait: Wait) -> io::Result<Option<(usize, Vec<OwnedFd>)>> {
        self.buffer.resize(PACKET_BYTES_MAX + 1, 0);
        let mut control = nix::cmsg_space!([RawFd; DESCRIPTORS_MAX]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC
            | match wait {
                Wait::Yes => MsgFlags::empty(),
                Wait::No => MsgFlags::MSG_DONTWAIT,
            };
        loop {
            let mut parts = [IoSliceMut::new(&mut self.buffer)];
            match recvmsg::<()>(self.fd.as_raw_fd(), &mut parts, Some(&mut control), flags) {
                Ok(received) if received.flags.contains(MsgFlags::MSG_CTRUNC) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "descriptors were cut off"));
                }
                Ok(received) => {
                    let mut descriptors = Vec::new();
                    for part in received.cmsgs()? {
                        if let ControlMessageOwned::ScmRights(raw) = part {
                            // SAFETY: the kernel has just installed these descriptors for us and nobody else
                            // knows their numbers.
                            descriptors.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                        }
                    }
                    return Ok(Some((received.bytes, descriptors)));
                }
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) => return Ok(None),
                Err(nix::errno::Errno::ECONNRESET) => return Ok(Some((0, Vec::new()))),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl From<OwnedFd> for Socket {
    fn from(fd: OwnedFd) -> Self {
        Self { fd, buffer: Vec::new() }
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        socket.fd
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn memory_file(bytes: &[u8]) -> io::Result<File> {
    let fd = nix::sys::memfd::memfd_create(c"message", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_any_size_arrive_whole_and_with_their_descriptors() {
        let (a, mut b) = Socket::pair().unwrap();
        for bytes in [0_usize, 10, PACKET_BYTES_MAX, 3 << 20] {
            let text = "x".repeat(bytes);
            a.send(&text, &[a.as_fd()]).unwrap();
            let received = b.receive::<String>(Wait::Yes).unwrap().unwrap();
            assert_eq!(received.message.len(), bytes);
            assert_eq!(received.descriptors.len(), 1);
        }
        assert!(b.receive::<String>(Wait::No).unwrap().is_none());
        drop(a);
        assert_eq!(b.receive::<String>(Wait::Yes).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
