//! The opponent of the output figure: bytes over one connection of the same TLS with the same settings, and nothing
//! else: TLS 1.3 by rustls with ring, Nagle off, 64 KiB a write, a thread with a runtime of its own at each end.

use rustls::{CipherSuite, ClientConfig, RootCertStore, ServerConfig, crypto::ring, version::TLS13};
use rustls_pki_types::{PrivateKeyDer, ServerName};
use std::{net::SocketAddr, sync::Arc, thread, time::Instant};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

const NAME: &str = "raw.test";
/// As the writer of a connection writes.
const WRITE_BYTES: usize = 64 << 10;
/// As a connection of ours is set.
const BUFFER_BYTES: usize = 256 << 10;

struct Ends {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
}

fn ends() -> Ends {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let mut provider = ring::default_provider();
    // The suite that connections of ours take.
    provider.cipher_suites.retain(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
    let provider = Arc::new(provider);
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    // As ours; and a sender that never reads would reset the connection over tickets.
    server.send_tls13_tickets = 0;
    Ends { connector: Arc::new(client).into(), acceptor: Arc::new(server).into() }
}

async fn accept(acceptor: &TlsAcceptor, listener: &TcpListener) -> server::TlsStream<TcpStream> {
    let (socket, _) = listener.accept().await.unwrap();
    socket.set_nodelay(true).unwrap();
    acceptor.accept_with(socket, |tls| tls.set_buffer_limit(Some(BUFFER_BYTES))).await.unwrap()
}

async fn connect(connector: &TlsConnector, address: SocketAddr) -> client::TlsStream<TcpStream> {
    let socket = TcpStream::connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let name = ServerName::try_from(NAME).unwrap();
    connector.connect_with(name, socket, |tls| tls.set_buffer_limit(Some(BUFFER_BYTES))).await.unwrap()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn named(name: &str, work: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).unwrap()
}

/// Bytes a second over one connection.
///
/// # Panics
/// When the loopback is not there.
#[must_use]
pub fn rate(bytes: u64) -> f64 {
    through(bytes, false)
}

/// Bytes a second over two connections, one after the other, with a third process-like thread between that does
/// nothing but pass on: the way of output from slave to master to client, without any of their work.
///
/// # Panics
/// When the loopback is not there.
#[must_use]
pub fn rate_of_two(bytes: u64) -> f64 {
    through(bytes, true)
}

fn through(bytes: u64, relayed: bool) -> f64 {
    let Ends { connector, acceptor } = ends();
    let receiver = runtime();
    let listener = receiver.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let mut target = listener.local_addr().unwrap();
    if relayed {
        let (connector, acceptor, last) = (connector.clone(), acceptor.clone(), target);
        let between = runtime();
        let listener = between.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        target = listener.local_addr().unwrap();
        named("between", move || {
            between.block_on(async {
                let mut near = accept(&acceptor, &listener).await;
                let mut far = connect(&connector, last).await;
                let mut buffer = vec![0; WRITE_BYTES];
                loop {
                    let count = near.read(&mut buffer).await.unwrap();
                    if count == 0 {
                        break;
                    }
                    far.write_all(&buffer[..count]).await.unwrap();
                }
                far.shutdown().await.unwrap();
            });
        });
    }
    let sender = named("sender", move || {
        runtime().block_on(async {
            let mut stream = connect(&connector, target).await;
            let piece = vec![7; WRITE_BYTES];
            let mut left = bytes;
            while left > 0 {
                let count = usize::try_from(left).unwrap_or(WRITE_BYTES).min(WRITE_BYTES);
                stream.write_all(&piece[..count]).await.unwrap();
                left -= count as u64;
            }
            stream.shutdown().await.unwrap();
        });
    });
    let rate = receiver.block_on(async {
        let mut stream = accept(&acceptor, &listener).await;
        let mut buffer = vec![0; WRITE_BYTES];
        let (begun, mut seen) = (Instant::now(), 0);
        loop {
            let count = stream.read(&mut buffer).await.unwrap();
            if count == 0 {
                break;
            }
            seen += count as u64;
        }
        assert_eq!(seen, bytes);
        #[expect(clippy::cast_precision_loss, reason = "far below what a float holds")]
        let rate = seen as f64 / begun.elapsed().as_secs_f64();
        rate
    });
    sender.join().unwrap();
    rate
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_byte_arrives_over_one_connection_and_over_two() {
        assert!(super::rate(3 << 20) > 0.0);
        assert!(super::rate_of_two((3 << 20) + 1) > 0.0);
    }
}
