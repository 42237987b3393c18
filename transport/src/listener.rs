//! Listening: accepts sockets, survives their exhaustion, and does the TLS handshake within its time.

use crate::{
    connection::{BeforeLogin, Connection, PeerIdentity, Socket, TlsStream},
    gate::{Gate, Permit},
    identity::{Authority, IdentityError, ends_at, slave_of},
    tls::{ALPN, TLS_BUFFER_BYTES, server_config},
};
use common::{
    ErrorCode, UserError,
    limits::{CONNECTIONS_BEFORE_LOGIN_MAX, CONNECTIONS_BEFORE_LOGIN_PER_ADDRESS_MAX, HANDSHAKE_TIMEOUT},
};
use rustls::ServerConfig;
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream, lookup_host},
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};
use tokio_rustls::TlsAcceptor;

/// How long accepting pauses when the system has no descriptor or memory for a socket.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Connections that the system holds until they are accepted; it may cut this to its own limit.
const BACKLOG: u32 = 4_096;

/// Why nothing listens at the address.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be used.
    #[error("cannot listen at {address}")]
    Address {
        /// The address.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The master's identity does not make a TLS configuration.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl From<ListenError> for UserError {
    fn from(error: ListenError) -> Self {
        match &error {
            ListenError::Address { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                Self::new(ErrorCode::AddressInUse, format!("{error}: another program listens there"))
            }
            ListenError::Address { source, .. } => Self::new(ErrorCode::ConfigInvalid, format!("{error}: {source}"))
                .with_hint(
                    "give `--listen` an address of this computer as HOST:PORT; ports below 1024 need privileges",
                ),
            ListenError::Identity(identity) => identity.into(),
        }
    }
}

/// Why a stranger did not become a connection. Worth a line in the log at most, and not each.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// It took too long, or gave way to others while too many had not logged in.
    #[error("the TLS handshake was not done in time")]
    Slow,
    /// It does not speak TLS 1.3, or its certificate is not of this master's CA, or it went away.
    #[error("the TLS handshake failed: {0}")]
    Tls(#[from] io::Error),
    /// It speaks TLS, but not our protocol.
    #[error("the peer does not offer the protocol `ruche/1`")]
    Protocol,
    /// Its certificate is of this CA, but names no slave.
    #[error("the peer's certificate names no slave")]
    Identity,
}

/// Accepts connections at one address.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    local_address: SocketAddr,
    config: Arc<ServerConfig>,
    gate: Gate,
}

/// A socket that was accepted; the handshake is still to be done, in a task of its own.
#[derive(Debug)]
pub struct Pending {
    /// Where the peer is.
    pub address: SocketAddr,
    socket: TcpStream,
    accepted: Instant,
    permit: Permit,
    config: Arc<ServerConfig>,
}

impl Listener {
    /// Listens at `HOST:PORT`; port 0 picks a free one.
    ///
    /// # Errors
    /// When the address is taken or not of this machine.
    pub async fn bind(address: &str, authority: &Authority) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Address { address: address.to_owned(), source };
        let config = server_config(authority)?;
        let socket = listen(address).await.map_err(failed)?;
        let local_address = socket.local_addr().map_err(failed)?;
        let gate = Gate::new(CONNECTIONS_BEFORE_LOGIN_MAX, CONNECTIONS_BEFORE_LOGIN_PER_ADDRESS_MAX);
        Ok(Self { socket, local_address, config, gate })
    }

    /// Where it listens, with the port that was picked.
    #[must_use]
    pub const fn local_address(&self) -> SocketAddr {
        self.local_address
    }

    /// The next socket. Waits while too many connections have not logged in, and while the system has no
    /// descriptors left; never fails. Nothing is lost when the future is dropped before it is ready.
    pub async fn accept(&self) -> Pending {
        let mut warned = false;
        loop {
            self.gate.room().await;
            match self.socket.accept().await {
                Ok((socket, address)) => {
                    let Some(permit) = self.gate.enter(address.ip()) else {
                        tracing::debug!(%address, "too many connections without a login from this address");
                        continue;
                    };
                    // Only slower without it.
                    socket.set_nodelay(true).unwrap_or_default();
                    let config = self.config.clone();
                    return Pending { address, socket, accepted: Instant::now(), permit, config };
                }
                Err(error) => {
                    // Once for a row of failures, which would fill the log.
                    if !std::mem::replace(&mut warned, true) {
                        tracing::warn!(%error, "connections cannot be accepted for now");
                    }
                    sleep(EXHAUSTED_PAUSE).await;
                }
            }
        }
    }
}

/// As `TcpListener::bind`, with a longer queue: thousands of slaves come back at once when a master starts again.
async fn listen(address: &str) -> io::Result<TcpListener> {
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for candidate in lookup_host(address).await? {
        let socket = if candidate.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        match socket.bind(candidate).and_then(|()| socket.listen(BACKLOG)) {
            Ok(listener) => return Ok(listener),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

impl Pending {
    /// Does the TLS handshake.
    ///
    /// # Errors
    /// When the peer is too slow, does not speak TLS 1.3 and our protocol, or shows a certificate of somebody else.
    pub async fn handshake(self) -> Result<Connection, HandshakeError> {
        let Self { address, socket, accepted, permit, config } = self;
        let accept = TlsAcceptor::from(config)
            .accept_with(Socket::new(socket), |tls| tls.set_buffer_limit(Some(TLS_BUFFER_BYTES)));
        let turned_out = Arc::new(Notify::new());
        let notify = turned_out.clone();
        permit.when_turned_out(move || notify.notify_one());
        let stream = tokio::select! {
            stream = timeout_at(accepted + HANDSHAKE_TIMEOUT.to_std(), accept) => {
                stream.map_err(|_| HandshakeError::Slow)??
            }
            () = turned_out.notified() => return Err(HandshakeError::Slow),
        };
        let tls = stream.get_ref().1;
        if tls.alpn_protocol() != Some(ALPN) {
            return Err(HandshakeError::Protocol);
        }
        let (peer, until) = match tls.peer_certificates() {
            None | Some([]) => (PeerIdentity::Anonymous, None),
            Some([leaf, ..]) => (PeerIdentity::Slave(slave_of(leaf).ok_or(HandshakeError::Identity)?), ends_at(leaf)),
        };
        let before_login = BeforeLogin { permit, accepted };
        let connection = Connection::start(TlsStream::Server(stream), peer, address, Some(before_login));
        Ok(Connection { certificate_until: until, ..connection })
    }
}
