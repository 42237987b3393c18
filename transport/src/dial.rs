//! Dialling a master: finds it, checks its pin before anything is sent, and says clearly what failed.

use crate::{
    connection::{Connection, PeerIdentity, Socket, TlsStream},
    identity::{CaPin, SlaveIdentity},
    opening::Opening,
    tls::{ALPN, PinVerifier, TLS_BUFFER_BYTES, client_config, master_name},
};
use common::{ErrorCode, UserError, escape::RawText, limits::HANDSHAKE_TIMEOUT};
use rustls::CertificateError;
use std::{
    io::{self, Write as _},
    net::SocketAddr,
    sync::Arc,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// Why there is no connection to the master.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address is not `HOST:PORT`, or its name is not known.
    #[error("the address `{}` cannot be found: {source}", RawText::from(address.as_str()))]
    Address {
        /// The address.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// Nothing answers there.
    #[error("no master answers at {}: {source}", RawText::from(address.as_str()))]
    Unreachable {
        /// The address.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// Something answers, but not in our protocol.
    #[error("what answers at {} is not a Ruche master: {reason}", RawText::from(address.as_str()))]
    NotMaster {
        /// The address.
        address: String,
        /// What it did.
        reason: String,
    },
    /// A master answers that is not the one that is pinned. Nothing was sent to it.
    #[error(
        "the master at {} is not the one with the pin {expected}{}",
        RawText::from(address.as_str()),
        shown.map_or_else(String::new, |pin| format!("; it showed {pin}"))
    )]
    PinWrong {
        /// The address.
        address: String,
        /// The pin of the right one.
        expected: CaPin,
        /// The pin that it showed, when it showed any. It need not own it.
        shown: Option<CaPin>,
    },
    /// The right CA, but the certificate is not valid now.
    #[error("the certificate of the master at {} is not valid at this time", RawText::from(address.as_str()))]
    OutOfDate {
        /// The address.
        address: String,
    },
    /// Our own identity does not work.
    #[error("this computer's identity cannot be used: {0}")]
    Identity(String),
}

impl From<&ConnectError> for UserError {
    fn from(error: &ConnectError) -> Self {
        let sentence = error.to_string();
        match error {
            ConnectError::Address { .. } => Self::new(ErrorCode::MasterUnreachable, sentence)
                .with_hint("write the address as HOST:PORT, for example 127.0.0.1:7420 or [::1]:7420"),
            ConnectError::Unreachable { .. } => Self::new(ErrorCode::MasterUnreachable, sentence),
            ConnectError::NotMaster { .. } => Self::new(ErrorCode::ProtocolError, sentence),
            ConnectError::PinWrong { .. } => Self::new(ErrorCode::PinWrong, sentence),
            ConnectError::OutOfDate { .. } => Self::new(ErrorCode::PinWrong, sentence)
                .with_hint("check the clocks of both computers; the master renews its certificate by itself"),
            ConnectError::Identity(_) => Self::new(ErrorCode::IdentityRefused, sentence),
        }
    }
}

impl From<ConnectError> for UserError {
    fn from(error: ConnectError) -> Self {
        Self::from(&error)
    }
}

type ClientStream = tokio_rustls::client::TlsStream<Socket>;

/// Connects to the master at `HOST:PORT` whose CA has the pin; with the identity as that slave, without it as
/// nobody yet. That it succeeds does not yet mean that the master accepts the identity: `Status::Welcome` does.
///
/// # Errors
/// When the master is not there, is another one, or does not answer within some seconds.
pub async fn connect(address: &str, pin: CaPin, identity: Option<&SlaveIdentity>) -> Result<Connection, ConnectError> {
    connect_saying(address, pin, identity, &Opening::default()).await
}

/// The same, with first messages that leave as soon as the master has proved who it is, together with the end of the
/// handshake: they cost no round trip and no write of their own.
///
/// # Errors
/// As [`connect`].
pub async fn connect_saying(
    address: &str,
    pin: CaPin,
    identity: Option<&SlaveIdentity>,
    opening: &Opening,
) -> Result<Connection, ConnectError> {
    let verifier = PinVerifier::expecting(pin);
    let (stream, peer_address) = dial(address, verifier, Some(pin), identity, opening).await?;
    Ok(Connection::start(TlsStream::Client(stream), PeerIdentity::Anonymous, peer_address, None))
}

/// Learns the pin of whoever answers at `HOST:PORT`, and sends nothing else. The pin proves nothing before a
/// person has compared it.
///
/// # Errors
/// As [`connect`].
pub async fn fetch_pin(address: &str) -> Result<CaPin, ConnectError> {
    let verifier = PinVerifier::learning();
    let (mut stream, _) = dial(address, verifier.clone(), None, None, &Opening::default()).await?;
    // The pin is known; whether the goodbye arrives does not matter.
    stream.shutdown().await.unwrap_or_default();
    let reason = "it showed no certificate".to_owned();
    verifier.shown().ok_or_else(|| ConnectError::NotMaster { address: address.to_owned(), reason })
}

async fn dial(
    address: &str,
    verifier: Arc<PinVerifier>,
    pin: Option<CaPin>,
    identity: Option<&SlaveIdentity>,
    opening: &Opening,
) -> Result<(ClientStream, SocketAddr), ConnectError> {
    let config =
        client_config(verifier.clone(), identity).map_err(|error| ConnectError::Identity(error.to_string()))?;
    let (socket, peer_address) = dial_tcp(address).await?;
    // Only slower without it.
    socket.set_nodelay(true).unwrap_or_default();
    let mut refused = None;
    let handshake = TlsConnector::from(config).connect_with(master_name(), Socket::new(socket), |tls| {
        tls.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        // TLS keeps it until the master's certificate is checked, and writes it behind its own last message.
        refused = tls.writer().write_all(opening.bytes()).err();
    });
    if let Some(error) = refused {
        return Err(ConnectError::Identity(error.to_string()));
    }
    let not_master = |reason: String| ConnectError::NotMaster { address: address.to_owned(), reason };
    let stream = timeout(HANDSHAKE_TIMEOUT.to_std(), handshake)
        .await
        .map_err(|_| not_master("it did not answer the TLS handshake in time".to_owned()))?
        .map_err(|error| handshake_error(address, &verifier, pin, error))?;
    if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
        return Err(not_master("it does not speak the protocol `ruche/1`".to_owned()));
    }
    Ok((stream, peer_address))
}

/// Tries the addresses of the name one after the other; the last failure is told.
async fn dial_tcp(address: &str) -> Result<(TcpStream, SocketAddr), ConnectError> {
    let time = HANDSHAKE_TIMEOUT.to_std();
    let late = || io::Error::from(io::ErrorKind::TimedOut);
    let not_found = |source| ConnectError::Address { address: address.to_owned(), source };
    let found = timeout(time, lookup_host(address)).await.map_err(|_| not_found(late()))?.map_err(not_found)?;
    let mut failure = None;
    for candidate in found {
        match timeout(time, TcpStream::connect(candidate)).await.unwrap_or_else(|_| Err(late())) {
            Ok(socket) => return Ok((socket, candidate)),
            Err(error) => failure = Some(error),
        }
    }
    let address = address.to_owned();
    Err(match failure {
        Some(source) => ConnectError::Unreachable { address, source },
        None => ConnectError::Address { address, source: io::ErrorKind::NotFound.into() },
    })
}

fn handshake_error(address: &str, verifier: &PinVerifier, pin: Option<CaPin>, error: io::Error) -> ConnectError {
    let address = address.to_owned();
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match (tls, pin) {
        (
            Some(rustls::Error::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            )),
            _,
        ) => ConnectError::OutOfDate { address },
        (Some(rustls::Error::InvalidCertificate(_)), Some(expected)) => {
            ConnectError::PinWrong { address, expected, shown: verifier.shown() }
        }
        (Some(error), _) => ConnectError::NotMaster { address, reason: error.to_string() },
        (None, _) => ConnectError::Unreachable { address, source: error },
    }
}
