//! The opponent of the output figure: bytes over one connection of the same TLS with the same settings, and nothing
//! else: TLS 1.3 by rustls with ring, Nagle off, 64 KiB a write, a thread with a runtime of its own at each end.

use common::limits::OUTPUT_CREDIT_BYTES;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use rustls::{CipherSuite, ClientConfig, RootCertStore, ServerConfig, crypto::ring, version::TLS13};
use rustls_pki_types::{PrivateKeyDer, ServerName};
use std::{
    cell::RefCell,
    fs::File,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Instant,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

const NAME: &str = "raw.test";
/// As the writer of a connection writes.
const WRITE_BYTES: usize = 64 << 10;
/// As a connection of ours is set.
const BUFFER_BYTES: usize = 256 << 10;
/// What may wait to be stored, as much as a master lets a slave be ahead.
const AHEAD_PIECES: usize = OUTPUT_CREDIT_BYTES as usize / WRITE_BYTES;
/// Written so far, a part of the file is put on its way to the disk; as the master does it.
const BEGUN_BYTES: u64 = 512 << 10;

/// What stands between the two ends.
#[derive(Clone)]
enum Between {
    Nothing,
    /// Passes on.
    Relay,
    /// Passes on what it has appended to a file there and synced.
    Store(PathBuf),
}

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
    through(bytes, Between::Nothing)
}

/// Bytes a second over two connections, one after the other, with a third process-like thread between that does
/// nothing but pass on: the way of output from slave to master to client, without any of their work.
///
/// # Panics
/// When the loopback is not there.
#[must_use]
pub fn rate_of_two(bytes: u64) -> f64 {
    through(bytes, Between::Relay)
}

/// The same, and the thread between passes on only what another one has appended to a file in `folder` and synced, as
/// much ahead of the disk as a slave may be of a master: the way of output with all that a master promises of it, by
/// somebody who does nothing else. What is synced is passed on from memory.
///
/// # Panics
/// When the loopback or the disk is not there.
#[must_use]
pub fn rate_of_stored(bytes: u64, folder: &Path) -> f64 {
    let path = folder.join("relayed");
    let rate = through(bytes, Between::Store(path.clone()));
    assert_eq!(path.metadata().unwrap().len(), bytes);
    std::fs::remove_file(path).unwrap();
    rate
}

async fn relay(mut near: server::TlsStream<TcpStream>, mut far: client::TlsStream<TcpStream>) {
    let mut buffer = vec![0; WRITE_BYTES];
    loop {
        let count = near.read(&mut buffer).await.unwrap();
        if count == 0 {
            break;
        }
        far.write_all(&buffer[..count]).await.unwrap();
    }
    far.shutdown().await.unwrap();
}

type Piece = (Vec<u8>, usize);

async fn store(mut near: server::TlsStream<TcpStream>, mut far: client::TlsStream<TcpStream>, path: PathBuf) {
    let (to_store, from_near) = mpsc::channel::<Piece>(AHEAD_PIECES);
    let (to_far, mut from_store) = mpsc::channel::<Piece>(AHEAD_PIECES);
    let storing = named("store", move || append(&path, from_near, &to_far));
    // Buffers go round, so that no memory is taken anew: for what comes, for what is written, and for what leaves.
    let free = RefCell::new(vec![vec![0; WRITE_BYTES]; 3 * AHEAD_PIECES]);
    let back = tokio::sync::Notify::new();
    let reading = async {
        loop {
            let mut buffer = loop {
                let taken = free.borrow_mut().pop();
                match taken {
                    Some(buffer) => break buffer,
                    None => back.notified().await,
                }
            };
            let count = near.read(&mut buffer).await.unwrap();
            if count == 0 {
                break;
            }
            to_store.send((buffer, count)).await.unwrap();
        }
        drop(to_store);
    };
    let writing = async {
        while let Some((buffer, count)) = from_store.recv().await {
            far.write_all(&buffer[..count]).await.unwrap();
            free.borrow_mut().push(buffer);
            back.notify_one();
        }
        far.shutdown().await.unwrap();
    };
    tokio::join!(reading, writing);
    storing.join().unwrap();
}

/// Appends whatever came, syncs it once, and gives it back.
fn append(path: &Path, mut from_near: mpsc::Receiver<Piece>, to_far: &mpsc::Sender<Piece>) {
    let mut file = File::create(path).unwrap();
    let (mut length, mut begun, mut dropped) = (0, 0, 0);
    let not_needed = |file: &File, from: u64, until: u64| {
        let (from, length) = (i64::try_from(from).unwrap(), i64::try_from(until - from).unwrap());
        posix_fadvise(file, from, length, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
    };
    let mut pieces = Vec::new();
    while from_near.blocking_recv_many(&mut pieces, AHEAD_PIECES) > 0 {
        for (buffer, count) in &pieces {
            file.write_all(&buffer[..*count]).unwrap();
            length += *count as u64;
            if length - begun >= BEGUN_BYTES {
                not_needed(&file, begun, length);
                begun = length;
            }
        }
        file.sync_data().unwrap();
        if length - dropped >= OUTPUT_CREDIT_BYTES {
            not_needed(&file, dropped, length);
            dropped = length;
        }
        for piece in pieces.drain(..) {
            to_far.blocking_send(piece).unwrap();
        }
    }
}

fn through(bytes: u64, between: Between) -> f64 {
    let Ends { connector, acceptor } = ends();
    let receiver = runtime();
    let listener = receiver.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let mut target = listener.local_addr().unwrap();
    if !matches!(between, Between::Nothing) {
        let (connector, acceptor, last) = (connector.clone(), acceptor.clone(), target);
        let runtime = runtime();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        target = listener.local_addr().unwrap();
        named("between", move || {
            runtime.block_on(async {
                let near = accept(&acceptor, &listener).await;
                let far = connect(&connector, last).await;
                match between {
                    Between::Store(path) => store(near, far, path).await,
                    Between::Relay | Between::Nothing => relay(near, far).await,
                }
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

    #[test]
    fn every_byte_is_in_the_file_of_a_relay_that_stores() {
        let folder = tempfile::tempdir().unwrap();
        assert!(super::rate_of_stored((19 << 20) + 1, folder.path()) > 0.0);
    }
}
