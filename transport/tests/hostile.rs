//! Peers that are not what they should be: strangers at the master's port, and false masters.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod support;

use common::{ErrorCode, UserError, limits::HANDSHAKE_TIMEOUT};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::{fs, io, path::Path, sync::Arc, time::Duration};
use support::{Master, slave_id, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::Instant,
};
use tokio_rustls::TlsAcceptor;
use transport::{
    CaPin, ConnectError, HandshakeError, Opening, ReceiveError, connect, connect_saying, fetch_pin, testing,
};

/// A TLS server with any certificates. Gives what `dial` returns, and every byte that it was sent inside TLS.
async fn against_false_master<T>(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    protocols: &[&[u8]],
    dial: impl AsyncFnOnce(&str) -> T,
) -> (T, io::Result<Vec<u8>>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let serve = async {
        let (stream, _) = socket.accept().await?;
        let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await?;
        let mut received = Vec::new();
        match stream.read_to_end(&mut received).await {
            Ok(_) => Ok(received),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(received),
            Err(error) => Err(error),
        }
    };
    within(async { tokio::join!(dial(&address), serve) }).await
}

/// A CA and a server certificate of its making, as a false master has them.
fn false_identity(
    change: impl FnOnce(&mut CertificateParams),
) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    server_of(Issuer::new(ca, ca_key), ca_certificate.der().clone(), change)
}

/// A server certificate that the real CA has signed, changed before that.
fn real_identity(
    folder: &Path,
    change: impl FnOnce(&mut CertificateParams),
) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let key = KeyPair::from_pem(&fs::read_to_string(folder.join("ca.key")).unwrap()).unwrap();
    let ca = CertificateDer::from_pem_file(folder.join("ca.crt")).unwrap();
    server_of(Issuer::from_ca_cert_der(&ca, key).unwrap(), ca.clone(), change)
}

fn server_of(
    issuer: Issuer<'_, KeyPair>,
    ca: CertificateDer<'static>,
    change: impl FnOnce(&mut CertificateParams),
) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["ruche-master".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    change(&mut params);
    let leaf = params.signed_by(&key, &issuer).unwrap();
    (vec![leaf.der().clone(), ca], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
}

async fn connect_to(
    (chain, key): (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>),
    pin: CaPin,
) -> (ConnectError, io::Result<Vec<u8>>) {
    // It has something to say at once, and must not say it.
    let mut opening = Opening::default();
    assert!(opening.push(&support::notice("a secret")));
    let dial = async |address: &str| connect_saying(address, pin, None, &opening).await.map(drop).unwrap_err();
    against_false_master(chain, key, &[b"ruche/1"], dial).await
}

#[tokio::test]
async fn a8_a_master_with_another_pin_is_refused_before_anything_is_sent() {
    let master = Master::start().await;
    let pin = master.authority.pin();
    let ca = CertificateDer::from_pem_file(master.folder.path().join("ca.crt")).unwrap();
    let (chain, key) = false_identity(|_| ());
    // It may show the right CA beside its own; that proves nothing.
    for chain in [chain.clone(), vec![chain[0].clone(), ca.clone()], vec![chain[0].clone(), chain[1].clone(), ca]] {
        let (error, received) = connect_to((chain, key.clone_key()), pin).await;
        assert!(matches!(error, ConnectError::PinWrong { .. }), "{error:?}");
        assert!(UserError::from(error).is(ErrorCode::PinWrong));
        assert!(received.is_err(), "the handshake must not be completed: {received:?}");
    }
    let (error, received) = connect_to((vec![chain[0].clone()], key), pin).await;
    assert!(matches!(error, ConnectError::PinWrong { .. }), "{error:?}");
    assert!(received.is_err(), "{received:?}");
}

#[tokio::test]
async fn a8_the_shown_pin_is_told() {
    let (master, other) = (Master::start().await, Master::start().await);
    let address = master.address().to_string();
    let accept = async { master.listener.accept().await.handshake().await };
    let (dialled, accepted) = tokio::join!(connect(&address, other.authority.pin(), None), accept);
    let sentence = dialled.unwrap_err().to_string();
    for part in [master.authority.pin().to_string(), other.authority.pin().to_string(), address] {
        assert!(sentence.contains(&part), "{sentence}");
    }
    assert!(accepted.is_err());
    master.assert_serves().await;
}

#[tokio::test]
async fn a5_the_right_ca_is_not_enough_for_a_master() {
    let master = Master::start().await;
    let (pin, folder) = (master.authority.pin(), master.folder.path());
    type Change = fn(&mut CertificateParams);
    let wrong: [(&str, Change); 3] = [
        ("a slave's usage", |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
        ("another name", |params| {
            params.subject_alt_names = vec![rcgen::SanType::DnsName("other".try_into().unwrap())];
        }),
        ("out of date", |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1)),
    ];
    for (what, change) in wrong {
        let (error, received) = connect_to(real_identity(folder, change), pin).await;
        assert!(matches!(error, ConnectError::PinWrong { .. } | ConnectError::OutOfDate { .. }), "{what}: {error:?}");
        assert_eq!(matches!(error, ConnectError::OutOfDate { .. }), what == "out of date", "{error:?}");
        assert!(received.is_err(), "{what}: {received:?}");
    }
    // The same with nothing wrong is accepted, so the refusals above are for what they say.
    let (chain, key) = real_identity(folder, |_| ());
    let dial = async |address: &str| connect(address, pin, None).await.map(drop);
    let (result, received) = against_false_master(chain, key, &[b"ruche/1"], dial).await;
    assert!(result.is_ok() && received.unwrap().is_empty());
}

#[tokio::test]
async fn a8_learning_a_pin_sends_nothing() {
    let (chain, key) = false_identity(|_| ());
    let (pin, received) =
        against_false_master(chain, key, &[b"ruche/1"], async |address: &str| fetch_pin(address).await).await;
    assert!(pin.is_ok());
    assert_eq!(received.unwrap(), b"");
}

#[tokio::test]
async fn a6_only_our_protocol_is_spoken() {
    let master = Master::start().await;
    for protocols in [&[][..], &[b"h2".as_slice(), b"http/1.1"][..]] {
        let accept = async { master.listener.accept().await.handshake().await };
        let (raw, accepted) = within(async { tokio::join!(master.raw_client(protocols), accept) }).await;
        assert!(accepted.is_err(), "{protocols:?}");
        drop(raw);
    }
    let (chain, key) = real_identity(master.folder.path(), |_| ());
    let dial = async |address: &str| connect(address, master.authority.pin(), None).await.map(drop).unwrap_err();
    let (error, _) = against_false_master(chain, key, &[], dial).await;
    assert!(matches!(error, ConnectError::NotMaster { .. }), "{error:?}");
    master.assert_serves().await;
}

/// A ClientHello that offers TLS 1.2 at most, with the suites that TLS 1.2 servers take.
fn hello_of_tls12() -> Vec<u8> {
    let extensions = [
        &[0, 10, 0, 4, 0, 2, 0, 23][..], // groups: P-256
        &[0, 13, 0, 4, 0, 2, 4, 3],      // signatures: ECDSA P-256 SHA-256
        &[0, 16, 0, 10, 0, 8, 7],        // ALPN
        b"ruche/1",
    ]
    .concat();
    let mut body = vec![3, 3];
    body.extend([9; 32]);
    body.extend([0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0]);
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let length = u8::try_from(body.len()).unwrap();
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length], &body[..]].concat()
}

#[tokio::test]
async fn b4_strangers_are_refused_without_disturbing_others() {
    let master = Master::start().await;
    let (dialled, mut accepted) = master.pair().await;
    let big: Vec<u8> = (0..100_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let tls12 = hello_of_tls12();
    for (what, bytes) in [
        ("HTTP", b"GET / HTTP/1.1\r\nHost: master\r\n\r\n".as_slice()),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("garbage", &big),
        ("nothing", b""),
        ("a cut ClientHello", &tls12[..40]),
        ("TLS 1.2", &tls12),
    ] {
        let pending = async { master.listener.accept().await };
        let (mut socket, pending) = within(async { tokio::join!(TcpStream::connect(master.address()), pending) }).await;
        let socket = socket.as_mut().unwrap();
        let stranger = async {
            // The master may hang up in the middle.
            let written = socket.write_all(bytes).await.and(socket.shutdown().await);
            let mut answer = Vec::new();
            let read = socket.read_to_end(&mut answer).await;
            (written, read, answer)
        };
        let (result, (_, _, answer)) = within(async { tokio::join!(pending.handshake(), stranger) }).await;
        assert!(matches!(result, Err(HandshakeError::Tls(_))), "{what}: {result:?}");
        assert!(answer.len() < 16, "{what} was answered with {answer:?}");
        if what == "TLS 1.2" {
            assert_eq!(answer, [21, 3, 3, 0, 2, 2, 70], "the alert protocol_version");
        }
    }
    dialled.sender.send(support::notice("undisturbed")).unwrap();
    assert_eq!(within(accepted.receiver.next()).await.unwrap(), support::notice("undisturbed"));
    master.assert_serves().await;
}

#[tokio::test]
async fn b2_a_slow_handshake_is_cut_at_its_deadline() {
    let master = Master::start().await;
    let (socket, pending) = tokio::join!(TcpStream::connect(master.address()), master.listener.accept());
    let mut socket = socket.unwrap();
    socket.write_all(&hello_of_tls12()[..5]).await.unwrap();
    tokio::time::pause();
    let start = Instant::now();
    assert!(matches!(pending.handshake().await, Err(HandshakeError::Slow)));
    assert!(start.elapsed().abs_diff(HANDSHAKE_TIMEOUT.to_std()) < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test]
async fn b5_bytes_that_are_no_message_break_only_their_connection() {
    let master = Master::start().await;
    for (frame_type, data) in
        [(0_u32, &[][..]), (7, &[]), (3, &[0xff; 30]), (3, &[]), (6, &[5, 0xfc, 255, 255, 255]), (1, &[1, 1])]
    {
        let (mut raw, mut accepted) = master.raw_pair().await;
        let length = u32::try_from(data.len()).unwrap();
        raw.write_all(&[&frame_type.to_be_bytes()[..], &length.to_be_bytes(), &[0; 8], data].concat()).await.unwrap();
        for _ in 0..2 {
            let error = within(accepted.receiver.next()).await.unwrap_err();
            assert!(matches!(error, ReceiveError::Frame(_)), "{frame_type} {data:?}: {error:?}");
        }
    }
    master.assert_serves().await;
}

#[tokio::test]
async fn b2_a_peer_that_asks_and_never_reads_is_cut() {
    let master = Master::start().await;
    let (mut raw, mut accepted) = master.raw_pair().await;
    accepted.authenticated();
    let pings = [&[0, 0, 0, 1, 0, 0, 0, 1][..], &[0; 8], &[1]].concat().repeat(4_096);
    let flood = async { while raw.write_all(&pings).await.is_ok() {} };
    let (_, error) = within(async {
        tokio::join!(flood, async {
            let error = accepted.receiver.next().await.unwrap_err();
            drop(accepted);
            error
        })
    })
    .await;
    assert!(matches!(error, ReceiveError::Closed), "{error:?}");
}

#[tokio::test]
async fn e9_an_address_where_no_master_is_gives_a_clear_error() {
    let master = Master::start().await;
    let pin = master.authority.pin();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    for (address, code) in [
        (free.as_str(), ErrorCode::MasterUnreachable),
        ("127.0.0.1", ErrorCode::MasterUnreachable),
        ("", ErrorCode::MasterUnreachable),
        ("no-such-host.invalid:7420", ErrorCode::MasterUnreachable),
        ("127.0.0.1:99999", ErrorCode::MasterUnreachable),
    ] {
        let error = UserError::from(within(connect(address, pin, None)).await.map(drop).unwrap_err());
        assert!(error.is(code) && error.sentence.contains(address), "{error}");
    }
    // Something else answers there.
    let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap().to_string();
    let answer = async {
        let (mut socket, _) = other.accept().await.unwrap();
        socket.write_all(b"220 mail.example ESMTP\r\n").await.unwrap();
        socket
    };
    let (result, _socket) = within(async { tokio::join!(connect(&address, pin, None), answer) }).await;
    let error = UserError::from(result.map(drop).unwrap_err());
    assert!(error.is(ErrorCode::ProtocolError) && error.sentence.contains(&address), "{error}");
}

#[tokio::test]
async fn a5_a_slaves_certificate_does_not_make_a_master() {
    let master = Master::start().await;
    let identity = testing::enrolled_slave(&master.authority, slave_id(1), "s1", "").unwrap();
    let folder = tempfile::tempdir().unwrap();
    identity.save(folder.path()).unwrap();
    let text = fs::read_to_string(folder.path().join("identity.toml")).unwrap();
    let chain = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).unwrap();
    assert_eq!(chain.len(), 2);
    let (error, received) = connect_to((chain, key), master.authority.pin()).await;
    assert!(matches!(error, ConnectError::PinWrong { .. }), "{error:?}");
    assert!(received.is_err());
}
