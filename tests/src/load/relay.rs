//! A plain relay on the loopback that reaches the master from many 127.x addresses, as many machines would.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU32, Ordering},
};
use tokio::{
    io::copy_bidirectional_with_sizes,
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinHandle,
};

/// Addresses that connections come from, in turn.
pub const SOURCES: u32 = 16;
const BUFFER_BYTES: usize = 8 << 10;

/// Runs until it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Relay {
    /// Relays to the master at `to`.
    ///
    /// # Panics
    /// When the loopback has no port left, or outside of a runtime.
    #[must_use]
    pub fn start(to: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener: TcpListener = socket.listen(4_096).unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(accept(listener, to));
        Self { address, task }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, to: SocketAddr) {
    let next = AtomicU32::new(0);
    loop {
        let Ok((near, _)) = listener.accept().await else { continue };
        let source = Ipv4Addr::from(0x7f00_0002 + next.fetch_add(1, Ordering::Relaxed) % SOURCES);
        tokio::spawn(relay(near, source, to));
    }
}

/// Either end sees the other's end; a master that is away ends the connection at once.
async fn relay(mut near: TcpStream, source: Ipv4Addr, to: SocketAddr) {
    let Ok(socket) = TcpSocket::new_v4() else { return };
    if socket.bind(SocketAddr::new(IpAddr::V4(source), 0)).is_err() {
        return;
    }
    let Ok(mut far) = socket.connect(to).await else { return };
    // Only slower without it.
    near.set_nodelay(true).unwrap_or_default();
    far.set_nodelay(true).unwrap_or_default();
    // Whichever way it ends, both ends are closed.
    drop(copy_bidirectional_with_sizes(&mut near, &mut far, BUFFER_BYTES, BUFFER_BYTES).await);
}
