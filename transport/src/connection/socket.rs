//! A socket that is read in large pieces: TLS alone asks for little at a time. A connection that is quiet holds no
//! buffer for it, as there may be ten thousand of them.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Bytes that one system call reads at most: four records of TLS.
const READ_BYTES: usize = 64 << 10;

thread_local! {
    /// What was just read, until it is given out: one for all connections of a thread.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A socket, and what was read from it and not given out yet.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    rest: Vec<u8>,
    given: usize,
}

impl Socket {
    pub(crate) const fn new(stream: TcpStream) -> Self {
        Self { stream, rest: Vec::new(), given: 0 }
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.given == this.rest.len() {
            let read = SCRATCH.with_borrow_mut(|scratch| {
                scratch.resize(READ_BYTES, 0);
                let mut read = ReadBuf::new(scratch);
                ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
                let (now, later) = read.filled().split_at(read.filled().len().min(room.remaining()));
                room.put_slice(now);
                // Nothing is allocated for nothing.
                (this.rest, this.given) = (later.to_vec(), 0);
                Poll::Ready(Ok(()))
            });
            return read;
        }
        let count = (this.rest.len() - this.given).min(room.remaining());
        room.put_slice(&this.rest[this.given..this.given + count]);
        this.given += count;
        if this.given == this.rest.len() {
            (this.rest, this.given) = (Vec::new(), 0);
        }
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
