//! A socket that is read in large pieces: TLS alone asks for little at a time. A connection that is quiet holds no
//! buffer for it, as there may be ten thousand of them.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    mem,
    ops::Range,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_util::io::poll_read_buf;

/// Bytes that one system call reads at most: four records of TLS.
const READ_BYTES: usize = 64 << 10;

/// What is left of a read and is smaller than this is copied; larger rests keep the buffer that they were read into.
const COPIED_BYTES: usize = 8 << 10;

thread_local! {
    /// What the next read goes to: one for all connections of a thread that have given out what they read.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A socket, and what was read from it and not given out yet.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    /// Of these, the bytes in `left` are to be given out.
    read: Vec<u8>,
    left: Range<usize>,
}

impl Socket {
    pub(crate) const fn new(stream: TcpStream) -> Self {
        Self { stream, read: Vec::new(), left: 0..0 }
    }

    /// Gives out what was read, as far as there is room.
    fn give(&mut self, room: &mut ReadBuf<'_>) {
        let count = self.left.len().min(room.remaining());
        room.put_slice(&self.read[self.left.start..self.left.start + count]);
        self.left.start += count;
    }

    /// Leaves the buffer to others once little or nothing in it is still to be given out.
    fn let_go(&mut self) {
        if self.read.capacity() >= READ_BYTES && self.left.len() < COPIED_BYTES {
            // Nothing is allocated for nothing.
            let rest = self.read[self.left.clone()].to_vec();
            self.left = 0..rest.len();
            SCRATCH.set(mem::replace(&mut self.read, rest));
        } else if self.left.is_empty() {
            (self.read, self.left) = (Vec::new(), 0..0);
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.left.is_empty() {
            let mut scratch = SCRATCH.take();
            scratch.clear();
            // Nothing is cleared: of sixteen pages a short command needs one or two.
            scratch.reserve_exact(READ_BYTES);
            let result = poll_read_buf(Pin::new(&mut this.stream), cx, &mut scratch);
            this.left = 0..scratch.len();
            this.read = scratch;
            if !matches!(result, Poll::Ready(Ok(_))) {
                this.let_go();
                return result.map_ok(|_| ());
            }
        }
        this.give(room);
        this.let_go();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use tokio::io::AsyncReadExt as _;

    /// Two sockets of one thread that are read in turns, with ever other rooms.
    #[tokio::test]
    async fn every_byte_is_given_out_in_order_whatever_room_there_is() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bytes = |seed: usize| -> Vec<u8> { (0..700_000).map(|at| ((at * seed) % 251) as u8).collect() };
        let mut both = Vec::new();
        for seed in [7, 11] {
            let writer = std::thread::Builder::new().spawn(move || {
                std::net::TcpStream::connect(address).unwrap().write_all(&bytes(seed)).unwrap();
            });
            let (stream, _) = listener.accept().await.unwrap();
            both.push((writer.unwrap(), Socket::new(stream), Vec::new()));
        }
        let rooms = [1, 70_000, 4_096, 5, 60_000, 9_000];
        let mut open = 2;
        for turn in 0.. {
            for (_, socket, read) in &mut both {
                let mut room = vec![0; rooms[turn % rooms.len()]];
                let count = socket.read(&mut room).await.unwrap();
                open -= usize::from(count == 0 && read.last() != Some(&255));
                read.extend_from_slice(if count == 0 { &[255] } else { &room[..count] });
            }
            if open == 0 {
                break;
            }
        }
        for ((writer, socket, mut read), seed) in both.into_iter().zip([7, 11]) {
            writer.join().unwrap();
            read.retain(|byte| *byte != 255);
            assert!(read == bytes(seed), "{} bytes, not the ones that were sent", read.len());
            assert_eq!(socket.read.capacity(), 0, "a quiet connection holds a buffer");
        }
    }
}
