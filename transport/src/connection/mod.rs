//! One connection: frames in both directions over TLS, heartbeats, bounded queues.
//!
//! Sending puts the encoded frame into a buffer; one writer task empties the buffer with as few writes as
//! possible. Receiving reads and decodes in the task that calls [`Receiver::next`], so that a frame costs no
//! hand-over between tasks.

mod outgoing;
mod receiver;
mod sender;
mod shared;
mod socket;
mod writer;

pub use outgoing::Encoded;
pub use receiver::{ReceiveError, Receiver};
pub use sender::{SendError, Sender};
pub(crate) use socket::Socket;

use crate::gate::Permit;
use common::{SlaveId, Timestamp};
use shared::Shared;
use std::{net::SocketAddr, sync::Arc};
use tokio::time::Instant;

/// TLS over a socket that is read in large pieces.
pub(crate) type TlsStream = tokio_rustls::TlsStream<Socket>;

/// Who the peer has proved to be in TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerIdentity {
    /// It showed no certificate.
    Anonymous,
    /// It showed this slave's certificate.
    Slave(SlaveId),
}

/// A connection, TLS done, nothing said yet.
#[derive(Debug)]
pub struct Connection {
    /// To send with; clone it freely.
    pub sender: Sender,
    /// To receive with. Dropping it closes the connection.
    pub receiver: Receiver,
    /// Who the peer is. A dialler knows the master by its pin, so it sees `Anonymous`.
    pub peer: PeerIdentity,
    /// When the certificate that the peer showed ends, on the wall clock; none without one.
    pub certificate_until: Option<Timestamp>,
    /// Where the peer is.
    pub address: SocketAddr,
}

/// What an accepted connection holds until its peer has logged in.
#[derive(Debug)]
pub(crate) struct BeforeLogin {
    pub(crate) permit: Permit,
    pub(crate) accepted: Instant,
}

impl Connection {
    pub(crate) fn start(
        stream: TlsStream,
        peer: PeerIdentity,
        address: SocketAddr,
        before_login: Option<BeforeLogin>,
    ) -> Self {
        crate::heap::keep_freed();
        let shared = Arc::new(Shared::new(stream));
        if let Some(before_login) = &before_login {
            let shared = Arc::downgrade(&shared);
            before_login.permit.when_turned_out(move || {
                if let Some(shared) = shared.upgrade() {
                    shared.end();
                }
            });
        }
        tokio::spawn(writer::run(shared.clone()));
        let sender = Sender::new(shared.clone());
        Self { sender, receiver: Receiver::new(shared, before_login), peer, certificate_until: None, address }
    }

    /// The peer has proved who it is: large frames are accepted, and the connection no longer counts among
    /// those before login. The same as [`Receiver::accept_large_frames`].
    pub fn authenticated(&mut self) {
        self.receiver.accept_large_frames();
    }
}
