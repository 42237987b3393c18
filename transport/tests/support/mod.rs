//! Raw peers that do what our own code never would.
#![allow(dead_code, reason = "each test file uses some of it")]

use common::{
    AttemptKey, ProgramId, SlaveId,
    message::{Alert, Data, Message, Stream},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use transport::{Authority, Connection, Listener, testing};
use uuid::Uuid;

/// Longer than anything here takes, shorter than a person's patience.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A master's authority in a folder of its own, and its listener.
pub(crate) struct Master {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) authority: Authority,
    pub(crate) listener: Listener,
}

impl Master {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (authority, listener) = testing::listen(folder.path()).await.unwrap();
        Self { folder, authority, listener }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_address()
    }

    pub(crate) async fn pair(&self) -> (Connection, Connection) {
        testing::connected(&self.listener, &self.authority, None).await.unwrap()
    }

    /// A TLS stream that trusts this master and offers these protocols.
    pub(crate) async fn raw_client(&self, protocols: &[&[u8]]) -> std::io::Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(self.address()).await?;
        socket.set_nodelay(true)?;
        raw_handshake(socket, self.folder.path(), protocols).await
    }

    /// A raw client and the connection that it became.
    pub(crate) async fn raw_pair(&self) -> (TlsStream<TcpStream>, Connection) {
        let accept = async { self.listener.accept().await.handshake().await };
        let (raw, connection) = tokio::join!(self.raw_client(&[b"ruche/1"]), accept);
        (raw.unwrap(), connection.unwrap())
    }

    /// An honest client still gets through.
    pub(crate) async fn assert_serves(&self) {
        let (dialled, mut accepted) = within(self.pair()).await;
        dialled.sender.send(notice("still there?")).unwrap();
        assert_eq!(within(accepted.receiver.next()).await.unwrap(), notice("still there?"));
    }
}

pub(crate) async fn raw_handshake(
    socket: TcpStream,
    folder: &Path,
    protocols: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("ca.crt")).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("ruche-master").unwrap(), socket).await
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it takes too long")
}

pub(crate) fn notice(text: &str) -> Message {
    Alert::Notice { text: text.to_owned() }.into()
}

pub(crate) fn slave_id(number: u128) -> SlaveId {
    SlaveId(Uuid::from_u128(number))
}

pub(crate) fn output(offset: u64, size: usize) -> Message {
    let key = AttemptKey { program: ProgramId(Uuid::from_u128(1)), attempt: 1 };
    Data::Output { key, stream: Stream::Stdout, offset, bytes: vec![7; size] }.into()
}
