//! B1 to B6: peers that mean harm, against a real master: bombs, slow ones, floods, garbage, and messages at the
//! wrong time. Each is refused in a way that says why or closed, costs little, and disturbs nobody.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod states;

use common::{
    AttemptKey, ProgramId, Timestamp,
    frame::FrameHeader,
    limits::{FRAME_DATA_BYTES_MAX, FRAME_HEADER_BYTES},
    message::{
        Alert, Command, Data, HistoryQuery, Message, Order, Report, Request, RequestId, Status, Stream, command::Secret,
    },
    session::{Hello, PeerKind},
};
use proptest::{prelude::*, test_runner::TestRunner};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use std::{fs, sync::Arc, time::Duration};
use tests::{
    load::{User, World, figures, user::tiny},
    soak, wait_until,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use uuid::Uuid;

/// Far longer than anything here takes.
const PATIENCE: Duration = tests::wait::PATIENCE;

fn pick(full: usize, small: usize) -> usize {
    if soak() { full } else { small }
}

/// TLS to the master, and bytes of one's own inside.
struct Raw {
    connector: TlsConnector,
    address: String,
}

impl Raw {
    fn new(world: &World) -> Self {
        let mut roots = RootCertStore::empty();
        let ca = world.cluster.data().join("identity").join("ca.crt");
        roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"ruche/1".to_vec()];
        Self { connector: TlsConnector::from(Arc::new(config)), address: world.cluster.address().to_owned() }
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.unwrap()
    }

    async fn tls(&self) -> TlsStream<TcpStream> {
        let name = ServerName::try_from("ruche-master").unwrap();
        self.connector.connect(name, self.tcp().await).await.unwrap()
    }

    /// A session that stands, continued with a token.
    async fn logged_in(&self, user: &User) -> TlsStream<TcpStream> {
        let mut stream = self.tls().await;
        let mut bytes = Vec::new();
        Message::from(Command::Hello(Hello::ours(PeerKind::ClientCli))).encode(Timestamp(1), &mut bytes);
        Message::from(Command::Resume { token: user.client.token().clone() }).encode(Timestamp(1), &mut bytes);
        stream.write_all(&bytes).await.unwrap();
        let mut received = Vec::new();
        while !answers(&received).any(|message| matches!(message, Message::Status(Status::LoggedIn { .. }))) {
            assert!(stream.read_buf(&mut received).await.unwrap() > 0, "the login is answered");
        }
        stream
    }
}

/// The whole messages in these bytes.
fn answers(mut bytes: &[u8]) -> impl Iterator<Item = Message> {
    std::iter::from_fn(move || {
        let (header, rest) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>()?;
        let header = FrameHeader::decode(*header, FRAME_DATA_BYTES_MAX).unwrap();
        let data = rest.get(..header.length)?;
        bytes = &rest[header.length..];
        Some(Message::decode(header, data).unwrap())
    })
}

/// Reads until the master closes.
async fn closed(mut stream: impl AsyncReadExt + Unpin) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset is an end, too.
    drop(timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the master closes"));
    rest
}

fn header(length: u32) -> Vec<u8> {
    [&3_u32.to_be_bytes()[..], &length.to_be_bytes(), &[0; 8], &[1; 64]].concat()
}

/// Somebody who came before still works, and somebody new comes in.
async fn works(world: &World, user: &User) {
    let id = user.submit_many(1, &tiny()).await[0];
    let new = User::login(&world.target, "admin").await.unwrap();
    let results = new.ask(Request::Cancel { ids: vec![id] }, client::reply::cancelled).await;
    assert!(results[0].is_ok(), "{results:?}");
}

fn descriptors(world: &World) -> usize {
    fs::read_dir(format!("/proc/{}/fd", world.master())).unwrap().count()
}

#[test]
fn b01_false_lengths_close_at_once_and_take_no_memory() {
    let world = World::new("");
    let (user, raw) = (world.user("alice", "submitter"), Raw::new(&world));
    let bombs = async |rounds: usize| {
        for _ in 0..rounds {
            let mut streams = Vec::new();
            for length in [u32::MAX, 1 << 31, (16 << 20) + 1, 16 << 20, (16 << 10) + 1] {
                let mut before = raw.tls().await;
                before.write_all(&header(length)).await.unwrap();
                streams.push(before);
                let mut after = raw.logged_in(&user).await;
                after.write_all(&header(length)).await.unwrap();
                // What a peer that is logged in may claim is waited for; the master must not set it aside.
                if length as usize > FRAME_DATA_BYTES_MAX {
                    streams.push(after);
                }
            }
            for stream in streams {
                let rest = closed(stream).await;
                let refused = |message| matches!(message, Message::Alert(Alert::Refused(error)) if error.code == "E-PROTOCOL-ERROR");
                assert!(answers(&rest).any(refused), "it is told why");
            }
        }
    };
    world.runtime.block_on(bombs(2));
    let before = figures::memory_bytes(world.master());
    let ((), most) = world.watching_memory(bombs(pick(100, 8)));
    assert!(most - before < 16 << 20, "the bombs cost {} bytes", most - before);
    world.runtime.block_on(works(&world, &user));
}

#[test]
fn b02_slow_peers_are_cut_at_their_deadline_while_others_work() {
    let world = World::new("");
    let (user, raw) = (world.user("alice", "submitter"), Raw::new(&world));
    let many = pick(2_000, 60);
    world.runtime.block_on(async {
        let mut slow = JoinSet::new();
        for number in 0..many {
            match number % 3 {
                0 => {
                    let mut stream = raw.tcp().await;
                    // The beginning of a TLS record that never comes.
                    drop(stream.write_all(&[22, 3, 1, 2]).await);
                    slow.spawn(drip(stream));
                }
                kind => {
                    // A full gate turns out the oldest, or refuses: that is an end as well.
                    let name = ServerName::try_from("ruche-master").unwrap();
                    let Ok(mut stream) = raw.connector.connect(name, raw.tcp().await).await else { continue };
                    let begun = header(64);
                    let length = if kind == 1 { 3 } else { FRAME_HEADER_BYTES + 1 };
                    drop(stream.write_all(&begun[..length]).await);
                    slow.spawn(drip(stream));
                }
            }
            if number % 20 == 0 {
                works(&world, &user).await;
            }
        }
        while !slow.is_empty() {
            let end = timeout(PATIENCE, slow.join_next()).await.expect("each slow peer is cut");
            end.unwrap().unwrap();
            if slow.len() % 20 == 0 {
                works(&world, &user).await;
            }
        }
    });
    assert!(user.client.lost().is_none(), "whoever was logged in was not disturbed");
}

/// A byte now and then, until the master has enough of it.
async fn drip(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) {
    let mut room = [0; 64];
    loop {
        match timeout(Duration::from_secs(2), stream.read(&mut room)).await {
            Ok(Ok(0) | Err(_)) => return,
            Ok(Ok(_)) => {}
            Err(_) => {
                if stream.write_all(&[1]).await.and(stream.flush().await).is_err() {
                    return;
                }
            }
        }
    }
}

/// The first bytes of a TLS handshake, as the real client library writes them.
fn client_hello() -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("ruche-master").unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

#[test]
fn b03_a_flood_of_half_handshakes_leaves_nothing_behind() {
    let world = World::new("");
    let (user, raw) = (world.user("alice", "submitter"), Raw::new(&world));
    world.runtime.block_on(works(&world, &user));
    let (before, hello) = (descriptors(&world), client_hello());
    let close_notify = [21, 3, 3, 0, 2, 1, 0];
    world.runtime.block_on(async {
        for number in 0..pick(20_000, 300) {
            let mut stream = raw.tcp().await;
            // The master may hang up in the middle.
            drop(match number % 3 {
                0 => stream.write_all(&hello).await,
                1 => stream.write_all(&hello[..hello.len() / 2]).await,
                _ => stream.write_all(&[&hello[..], &close_notify].concat()).await,
            });
            drop(stream);
            if number % 100 == 0 {
                works(&world, &user).await;
            }
        }
    });
    assert!(user.client.lost().is_none());
    wait_until("the master has let go of every half connection", || (descriptors(&world) <= before + 2).then_some(()));
}

#[test]
fn b04_what_speaks_something_else_is_refused_quietly() {
    let world = World::new("");
    let (user, raw) = (world.user("alice", "submitter"), Raw::new(&world));
    let log = |world: &World| world.cluster.master.as_ref().unwrap().log().lines().count();
    let before = log(&world);
    let hello = client_hello();
    let mut garbled = hello.clone();
    garbled.iter_mut().skip(60).step_by(7).for_each(|byte| *byte ^= 0x55);
    // The version and its extension: TLS 1.2 at most.
    let tls12: Vec<u8> = hello.iter().copied().take(43).chain([0; 4]).collect();
    let each: [(&str, &[u8]); 8] = [
        ("HTTP", b"GET / HTTP/1.1\r\nHost: master\r\n\r\n"),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("a garbled hello", &garbled),
        ("a cut hello", &hello[..50]),
        ("an old hello", &tls12),
        ("zeros", &[0; 4_096]),
        ("nothing", b""),
    ];
    world.runtime.block_on(async {
        for (what, bytes) in each.iter().cycle().take(each.len() * pick(100, 3)) {
            let mut stream = raw.tcp().await;
            drop(stream.write_all(bytes).await.and(stream.shutdown().await));
            let answer = closed(stream).await;
            assert!(answer.len() < 16, "{what} was answered with {answer:?}");
        }
        // A hello in pieces of one byte is a hello.
        let mut stream = raw.tcp().await;
        stream.set_nodelay(true).unwrap();
        for byte in &hello {
            stream.write_all(&[*byte]).await.unwrap();
        }
        let mut first = [0; 5];
        timeout(PATIENCE, stream.read_exact(&mut first)).await.expect("an answer").unwrap();
        assert!(matches!(first[0], 21 | 22), "a record of TLS: {first:?}");
        works(&world, &user).await;
    });
    let lines = log(&world) - before;
    assert!(lines < 10, "strangers wrote {lines} lines into the log");
}

/// Frames of every family, to be broken.
fn frames() -> Vec<Vec<u8>> {
    let key = AttemptKey { program: ProgramId(Uuid::from_u128(7)), attempt: 1 };
    let messages: Vec<Message> = vec![
        Message::Ping(common::message::Heartbeat { sequence: 9 }),
        Command::Hello(Hello::ours(PeerKind::Slave)).into(),
        Command::Login { user: "admin".into(), password: Secret("x".into()) }.into(),
        Command::Request {
            id: RequestId(1),
            request: Request::Submit { ids: vec![key.program; 3], first_index: 0, copies: 3, spec: Box::new(tiny()) },
        }
        .into(),
        Command::Request { id: RequestId(2), request: Request::List(HistoryQuery::default()) }.into(),
        Command::Order(Order::Cancel { keys: vec![key], by: "x".into() }).into(),
        Data::Output { key, stream: Stream::Stderr, offset: 3, bytes: vec![1; 40] }.into(),
        Alert::Notice { text: "hello".into() }.into(),
        Status::Report(Report::Register(Box::new(slave_registration()))).into(),
        Status::Report(Report::Started(vec![(key, Timestamp(5))])).into(),
    ];
    messages
        .iter()
        .map(|message| {
            let mut bytes = Vec::new();
            message.encode(Timestamp(1), &mut bytes);
            bytes
        })
        .collect()
}

fn slave_registration() -> common::message::Registration {
    slave::event_loop::registration(2)
}

/// What the receiver does with bytes of a peer; how many messages were in them.
fn decode(bytes: &[u8], most: usize) -> usize {
    let (mut rest, mut count) = (bytes, 0);
    while let Some((header, data)) = rest.split_first_chunk::<FRAME_HEADER_BYTES>() {
        let Ok(header) = FrameHeader::decode(*header, most) else { break };
        let Some(own) = data.get(..header.length) else { break };
        if Message::decode(header, own).is_err() {
            break;
        }
        count += 1;
        rest = &data[header.length..];
    }
    count
}

#[test]
fn b05_no_bytes_make_the_decoder_panic() {
    let frames = frames();
    assert!(frames.iter().all(|frame| decode(frame, FRAME_DATA_BYTES_MAX) == 1));
    let cases = u32::try_from(pick(2_000_000, 4_000)).unwrap();
    let mut runner = TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() });
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12);
    let shape = (0..frames.len(), changes, any::<prop::sample::Index>(), any::<bool>(), any::<bool>());
    runner
        .run(&shape, |(frame, changes, cut, keep_header, cuts)| {
            let mut bytes = frames[frame].clone();
            for (place, byte) in changes {
                // With the header kept, what changes reaches the decoder of messages.
                let from = if keep_header { FRAME_HEADER_BYTES } else { 0 };
                let place = from + place.index(bytes.len() - from);
                bytes[place] = byte;
            }
            if cuts {
                bytes.truncate(cut.index(bytes.len()));
                let length = u32::try_from(bytes.len().saturating_sub(FRAME_HEADER_BYTES)).unwrap();
                if keep_header && bytes.len() >= 8 {
                    bytes[4..8].copy_from_slice(&length.to_be_bytes());
                }
            }
            decode(&bytes, FRAME_DATA_BYTES_MAX);
            Ok(())
        })
        .unwrap();
    let any_bytes = (1_u32..8, prop::collection::vec(any::<u8>(), 0..300));
    runner
        .run(&any_bytes, |(family, data)| {
            let length = u32::try_from(data.len()).unwrap();
            let bytes = [&family.to_be_bytes()[..], &length.to_be_bytes(), &[0; 8], &data].concat();
            decode(&bytes, FRAME_DATA_BYTES_MAX);
            Ok(())
        })
        .unwrap();
    runner
        .run(&".{0,200}", |text| {
            // Whatever they say, they say it.
            drop(text.parse::<transport::JoinString>());
            drop(text.parse::<transport::CaPin>());
            Ok(())
        })
        .unwrap();
}
