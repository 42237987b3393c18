//! S1: each message has golden bytes, so that no change moves the wire by accident; and no bytes of
//! a peer make the decoder panic or allocate more than it was sent.

use common::{
    AttemptKey, ByteSize, ClientId, Digest, Duration, ErrorCode, Limit, Outcome, ProgramId, ProgramSpec, SlaveId,
    Timestamp, UserError, Work,
    escape::RawText,
    frame::{FrameError, FrameHeader, FrameType},
    limits,
    message::{
        Alert, Assignment, Change, Command, Data, Finished, Heartbeat, HistoryQuery, Message, Order, Registration,
        Reply, Report, Request, RequestId, Status, StoredUpTo, Stream, Tail,
        command::Secret,
        status::{Event, InputHeld},
    },
    program::{InputFile, LiveInput, ProgramSignal, State, TerminalSize},
    session::{Hello, PeerKind, Role},
    view::{
        Ceiling, ClientKind, ClientView, Explanation, Guard, Isolation, IsolationLevel, LanguageOffer, Policy,
        ProgramView, Progress, SlaveReason, SlaveState, SlaveView, Summary, Usage,
    },
};
use std::{collections::BTreeMap, path::Path, sync::Arc};
use uuid::Uuid;

const AT: Timestamp = Timestamp(1_790_000_000_000_000);

fn program(n: u128) -> ProgramId {
    ProgramId(Uuid::from_u128(0x019a_71c2_8f3e_7b1c_8000_0000_0000_0000 + n))
}

fn slave() -> SlaveId {
    SlaveId(Uuid::from_u128(0x019a_71c2_8f3e_7b1c_9000_0000_0000_0001))
}

fn client() -> ClientId {
    ClientId(Uuid::from_u128(0x019a_71c2_8f3e_7b1c_a000_0000_0000_0001))
}

fn key() -> AttemptKey {
    AttemptKey { program: program(1), attempt: 2 }
}

fn spec() -> ProgramSpec {
    let work = Work::Source { language: "Python".into(), file_name: "a.py".into(), text: b"print(1)"[..].into() };
    let mut spec = ProgramSpec::new("a.py", work);
    spec.arguments = vec![RawText(vec![0xff, b'x'])];
    spec.stdin = Some(b"in"[..].into());
    spec.environment = vec![("A".into(), "b".into())];
    spec.limits.cpu_time = Some(Duration::from_secs(3));
    spec.slave = Some("pc-07".into());
    spec.inputs = vec![InputFile {
        name: RawText(vec![b'a', 0xfe]),
        digest: Digest([7; 32]),
        size: ByteSize(9),
        executable: true,
    }];
    spec.collect = vec!["out/*.csv".into()];
    spec.network = true;
    spec
}

fn command_spec() -> ProgramSpec {
    let mut spec = ProgramSpec::new("true", Work::Command { command: "true".into() });
    spec.live = Some(LiveInput { terminal: Some(TerminalSize { columns: 80, rows: 24 }) });
    spec
}

fn program_view(outcome: Option<Outcome>) -> ProgramView {
    ProgramView {
        id: program(1),
        sequence: 7,
        name: "a.py".into(),
        language: Some("Python".into()),
        state: outcome.as_ref().map_or(State::Running, Outcome::state),
        outcome,
        slave_id: Some(slave()),
        slave_name: Some("pc-07".into()),
        client: client(),
        user: "alice".into(),
        attempt: 2,
        priority: 50,
        index: 0,
        copies: 1,
        progress: Some(Progress { percent: 41.5, text: "reading".into() }),
        submitted_at: AT,
        started_at: Some(AT),
        ended_at: None,
        usage: Some(Usage {
            wall: Duration::from_millis(3_200),
            cpu: Duration::from_millis(2_900),
            memory_peak: ByteSize(256 << 20),
        }),
        output_bytes: 10,
        error_bytes: 11,
        compile_bytes: 12,
        output_truncated: true,
        last_line: "MemoryError".into(),
        unknown_since: None,
        files_bytes: 0,
        live: false,
    }
}

fn slave_view() -> SlaveView {
    SlaveView {
        id: slave(),
        name: "pc-07".into(),
        address: "127.0.0.1:9".into(),
        state: SlaveState::Unreachable,
        since: AT,
        connected_since: AT,
        running: 1,
        ahead: 2,
        slots: 4,
        languages: vec![offer()],
        isolation: isolation(),
        machine: "Debian 12, 2 processors".into(),
        release: "0.1.0".into(),
        aside: None,
        ceiling: Ceiling::default(),
    }
}

fn offer() -> LanguageOffer {
    LanguageOffer { name: "Python".into(), version: "3.11.2".into(), extensions: vec!["py".into()] }
}

fn isolation() -> Isolation {
    Isolation {
        level: IsolationLevel::Delegated,
        guards: vec![Guard { name: "seccomp".into(), on: true, detail: "61 calls refused".into() }],
        summary: "own user, memory by cgroup v1".into(),
        memory_by_cgroup: true,
        own_user: true,
    }
}

fn client_view() -> ClientView {
    ClientView {
        id: client(),
        user: "alice".into(),
        role: Role::Operator,
        address: "127.0.0.1:10".into(),
        kind: ClientKind::Gui,
        connected_since: AT,
        running: 1,
        waiting: 2,
    }
}

fn summary() -> Summary {
    Summary {
        programs: 9,
        waiting: 1,
        running: 2,
        done: 3,
        failed: 2,
        failed_today: 1,
        cancelled: 1,
        lost: 0,
        slots: 4,
        slaves: 1,
        clients: 1,
        policy: Policy::RoundRobin { quantum: Duration::from_secs(10) },
    }
}

fn error() -> UserError {
    UserError::new(ErrorCode::Busy, "the queue is full").retry_after(Duration::from_secs(2))
}

fn finished() -> Finished {
    Finished {
        key: key(),
        outcome: Outcome::Limit { limit: Limit::Memory, detail: "Stopped by the memory limit.".into() },
        started_at: Some(AT),
        ended_at: AT,
        usage: Usage::default(),
        tails: [Tail { offset: 4, bytes: b"out".to_vec() }, Tail::default(), Tail::default(), Tail::default()],
        output_truncated: false,
        last_line: "out".into(),
    }
}

/// One sample of each variant. [`name`] lists the variants without a wildcard, so that a new one
/// does not compile until it has a name, and has no golden line until it has a sample.
fn samples() -> Vec<Message> {
    let request = |request| Message::from(Command::Request { id: RequestId(3), request });
    let order = |order| Message::from(Command::Order(order));
    let reply = |result| Message::from(Status::Reply { id: RequestId(3), result });
    let report = |report| Message::from(Status::Report(report));
    let change = |change| Message::from(Status::Changes(vec![change]));
    let mut all = vec![
        Message::Ping(Heartbeat { sequence: 300 }),
        Message::Pong(Heartbeat { sequence: 300 }),
        Alert::Refused(error()).into(),
        Alert::Stopping { grace: Duration::from_secs(10) }.into(),
        Alert::Notice { text: "hello".into() }.into(),
        Command::Hello(Hello {
            protocol_min: 1,
            protocol_max: 2,
            kind: PeerKind::ClientCli,
            release: "0.1.0".into(),
            features: vec!["x".into()],
        })
        .into(),
        Command::Login { user: "alice".into(), password: Secret("correct horse".into()) }.into(),
        Command::Resume { token: Secret("t".into()) }.into(),
        Command::Enrol { secret: Secret("s".into()), name: "pc-07".into(), certificate_request: vec![0x30, 0] }.into(),
        Command::Renew { certificate_request: vec![0x30, 0] }.into(),
        Status::Renewed { certificates: vec![serde_bytes::ByteBuf::from(vec![1, 2])] }.into(),
        Data::Output { key: key(), stream: Stream::Stderr, offset: 70_000, bytes: b"bytes".to_vec() }.into(),
        Data::Input { digest: Digest([7; 32]), offset: 70_000, size: 70_005, bytes: b"bytes".to_vec() }.into(),
        Status::Welcome { protocol: 1, release: "0.1.0".into(), master: "lab".into() }.into(),
        Status::LoggedIn { client: client(), user: "alice".into(), role: Role::Admin, token: Secret("t".into()) }
            .into(),
        Status::Enrolled {
            slave: slave(),
            name: "pc-07".into(),
            certificates: vec![serde_bytes::ByteBuf::from(vec![1, 2])],
        }
        .into(),
    ];
    all.extend(
        [
            Request::Submit { ids: vec![program(1), program(2)], first_index: 5, copies: 7, spec: Box::new(spec()) },
            Request::List(HistoryQuery {
                states: vec![State::Failed, State::Lost],
                search: "x".into(),
                mine: true,
                before: Some(9),
                skip: 1,
                limit: 50,
            }),
            Request::Show { id: program(1) },
            Request::Spec { id: program(1) },
            Request::ReadOutput { id: program(1), stream: Stream::Stdout, offset: 1, bytes_max: 2, follow: true },
            Request::Wait { ids: vec![program(1)] },
            Request::Cancel { ids: vec![program(1)] },
            Request::Why { id: program(1) },
            Request::Slaves,
            Request::Clients,
            Request::Summary,
            Request::SetMaxProcesses { slave: Some("pc-07".into()), slots: 4 },
            Request::SetPolicy(Policy::Priority),
            Request::Watch { programs: true, slaves: false, clients: true },
            Request::Logout,
            Request::Events { limit: 10, before: Some(AT) },
            Request::Again { id: program(1), new_id: program(2) },
            Request::SetAside { slave: "lab-3".to_owned(), reason: "new disk".to_owned() },
            Request::TakeBack { slave: "lab-3".to_owned() },
            Request::Suspend { ids: vec![program(1)] },
            Request::Resume { ids: vec![program(1)] },
            Request::SetWallTime { id: program(1), wall_time: Duration::from_secs(90) },
            Request::Input { id: program(1), offset: 5, bytes: b"yes".to_vec(), end: false },
            Request::Resize { id: program(1), size: TerminalSize { columns: 80, rows: 24 } },
            Request::Signal { id: program(1), signal: ProgramSignal::User2 },
            Request::InputsHeld { digests: vec![Digest([7; 32])] },
            Request::PutInput { digest: Digest([7; 32]), size: 9, offset: 5, bytes: b"data".to_vec() },
            Request::SubmitCopies { first: program(1), copies: 1_000_000, spec: Box::new(command_spec()) },
            Request::SubmitEntries {
                first: program(1),
                first_index: 5,
                copies: 0,
                spec: Box::new(command_spec()),
                entries: vec!["a b".into(), RawText(vec![0xff])],
            },
        ]
        .map(request),
    );
    all.extend(
        [
            Order::Assign(vec![Assignment {
                key: key(),
                spec: Arc::new(command_spec()),
                index: 1,
                fence: key().fence(1),
            }]),
            Order::Withdraw(vec![key()]),
            Order::Cancel { keys: vec![key()], by: "bob".into() },
            Order::Acknowledge(vec![key()]),
            Order::Stored(vec![StoredUpTo { key: key(), stream: Stream::Compile, offset: 300 }]),
            Order::SetSlots(4),
            Order::Discard(vec![key()]),
            Order::Registered { slots: 4, lease: limits::LEASE_SLAVE, epoch: 1 },
            Order::Suspend(vec![key()]),
            Order::Resume(vec![key()]),
            Order::SetWallTime { key: key(), wall_time: Duration::from_secs(90) },
            Order::Signal { key: key(), signal: ProgramSignal::Interrupt },
            Order::Input { key: key(), offset: 5, bytes: b"yes".to_vec(), end: true },
            Order::Resize { key: key(), size: TerminalSize { columns: 132, rows: 43 } },
            Order::InputMissing(Digest([7; 32])),
        ]
        .map(order),
    );
    all.extend(
        [
            Err(error()),
            Ok(Reply::Ok),
            Ok(Reply::Submitted { sequences: vec![1, 300] }),
            Ok(Reply::Page { rows: vec![program_view(None)], total: 1_000_000 }),
            Ok(Reply::Program(Box::new(program_view(Some(Outcome::Exited { code: 3 }))))),
            Ok(Reply::Spec(Box::new(spec()))),
            Ok(Reply::Output { offset: 5, bytes: b"x".to_vec(), end: true }),
            Ok(Reply::Ended { programs: vec![(program(1), Outcome::Signalled { signal: 9 })], count: 1 }),
            Ok(Reply::Cancelled { results: vec![Ok(State::Cancelled), Err(error())] }),
            Ok(Reply::Why(Explanation {
                sentence: "It waits.".into(),
                ahead: Some(4),
                slaves: vec![SlaveReason { slave: "pc-07".into(), able: true, reason: "full".into() }],
            })),
            Ok(Reply::Slaves(vec![slave_view()])),
            Ok(Reply::Clients(vec![client_view()])),
            Ok(Reply::Summary(summary())),
            Ok(Reply::Events(vec![Event { at: AT, subject: "pc-07".into(), text: "Connected".into() }])),
            Ok(Reply::Changed { results: vec![Ok(State::Suspended), Err(error())] }),
            Ok(Reply::InputTaken { offset: 300 }),
            Ok(Reply::InputsHeld { files: vec![InputHeld::Whole, InputHeld::Part(70_000)] }),
        ]
        .map(reply),
    );
    all.extend(
        [
            Report::Register(Box::new(Registration {
                instance: 8,
                epoch: 1,
                slots: 4,
                languages: vec![offer()],
                isolation: isolation(),
                machine: "Debian 12".into(),
                release: "0.1.0".into(),
                waiting: vec![key()],
                running: vec![(key(), AT)],
                finished: vec![key()],
                suspended: vec![key()],
                ceiling: Ceiling { network: true, ..Ceiling::default() },
            })),
            Report::Started(vec![(key(), AT)]),
            Report::Finished(vec![finished()]),
            Report::Withdrawn(vec![key()]),
            Report::Progress { key: key(), progress: Progress { percent: 40.0, text: String::new() } },
            Report::Draining,
            Report::Suspended(vec![key()]),
            Report::Resumed(vec![key()]),
            Report::InputTaken { key: key(), offset: 300 },
            Report::Fetch { key: key(), digest: Digest([7; 32]), offset: 70_000 },
            Report::Refused { key: key(), detail: "too much".into() },
        ]
        .map(report),
    );
    all.extend(
        [
            Change::Program(Box::new(program_view(Some(Outcome::Cancelled { by: "bob".into() })))),
            Change::ManyPrograms,
            Change::Slave(Box::new(slave_view())),
            Change::SlaveGone(slave()),
            Change::Client(client_view()),
            Change::ClientGone(client()),
            Change::Summary(summary()),
            Change::Event(Event { at: AT, subject: "alice".into(), text: "Set slots".into() }),
        ]
        .map(change),
    );
    all.extend(
        [
            Outcome::CompileError { detail: "a.c:1: error".into() },
            Outcome::NotSupported { detail: "no Kotlin".into() },
            Outcome::NotFound { detail: "no such command".into() },
            Outcome::Lost { detail: "slave lost".into() },
        ]
        .map(|outcome| change(Change::Program(Box::new(program_view(Some(outcome)))))),
    );
    all
}

fn name(message: &Message) -> String {
    match message {
        Message::Ping(_) => "ping".into(),
        Message::Pong(_) => "pong".into(),
        Message::Alert(alert) => match alert {
            Alert::Refused(_) => "alert.refused",
            Alert::Stopping { .. } => "alert.stopping",
            Alert::Notice { .. } => "alert.notice",
        }
        .into(),
        Message::Data(Data::Output { .. }) => "data.output".into(),
        Message::Data(Data::Input { .. }) => "data.input".into(),
        Message::Command(command) => match command {
            Command::Hello(_) => "command.hello".into(),
            Command::Login { .. } => "command.login".into(),
            Command::Resume { .. } => "command.resume".into(),
            Command::Enrol { .. } => "command.enrol".into(),
            Command::Request { request, .. } => format!("request.{}", variant(request)),
            Command::Order(order) => format!("order.{}", variant(order)),
            Command::Renew { .. } => "command.renew".into(),
        },
        Message::Status(status) => match status {
            Status::Welcome { .. } => "status.welcome".into(),
            Status::LoggedIn { .. } => "status.logged-in".into(),
            Status::Enrolled { .. } => "status.enrolled".into(),
            Status::Reply { result: Ok(reply), .. } => format!("reply.{}", variant(reply)),
            Status::Reply { result: Err(_), .. } => "reply.error".into(),
            Status::Report(report) => format!("report.{}", variant(report)),
            Status::Changes(changes) => match changes.as_slice() {
                [Change::Program(view)] => match &view.outcome {
                    Some(outcome) => format!("change.program.{}", outcome.kind()),
                    None => "change.program".into(),
                },
                [other] => format!("change.{}", variant(other)),
                _ => "changes".into(),
            },
            Status::Renewed { .. } => "status.renewed".into(),
        },
    }
}

/// The variant's own name, from `Debug`.
fn variant(value: &impl std::fmt::Debug) -> String {
    let debug = format!("{value:?}");
    debug.chars().take_while(|c| c.is_alphanumeric()).collect()
}

fn encode(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(AT, &mut bytes);
    bytes
}

fn decode(bytes: &[u8]) -> Result<Message, FrameError> {
    let header =
        FrameHeader::decode(*bytes.first_chunk().expect("a frame has a header"), limits::FRAME_DATA_BYTES_MAX)?;
    Message::decode(header, &bytes[16..])
}

#[test]
fn s1_every_message_has_its_golden_bytes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v1/messages.txt");
    let mut found = BTreeMap::new();
    for message in samples() {
        let bytes = encode(&message);
        assert_eq!(decode(&bytes).as_ref(), Ok(&message));
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(found.insert(name(&message), hex).is_none(), "{} has two samples", name(&message));
    }
    let text: String = found.iter().map(|(name, hex)| format!("{name} {hex}\n")).collect();
    if std::env::var_os("RUCHE_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).expect("golden bytes are committed");
    for (line, expected) in text.lines().zip(golden.lines()) {
        assert_eq!(line, expected, "the wire changed; see docs/checklists/add-a-message.md");
    }
    assert_eq!(text.lines().count(), golden.lines().count(), "a message was added or lost");
}

/// The sources name the variants; each must have a sample.
#[test]
fn s1_no_variant_is_without_a_sample() {
    let names: Vec<_> = samples().iter().map(name).collect();
    for (file, enumeration, prefix) in [
        ("request", "Request", "request"),
        ("order", "Order", "order"),
        ("status", "Reply", "reply"),
        ("status", "Report", "report"),
        ("status", "Change", "change"),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/message/{file}.rs"));
        let source = std::fs::read_to_string(path).unwrap();
        let body = source.split(&format!("pub enum {enumeration} {{\n")).nth(1).unwrap();
        for line in body.lines().take_while(|line| *line != "}") {
            let Some(rest) = line.strip_prefix("    ").filter(|rest| rest.starts_with(char::is_uppercase)) else {
                continue;
            };
            let variant: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
            let prefix = format!("{prefix}.{variant}");
            assert!(
                names.iter().any(|name| name.to_lowercase().starts_with(&prefix.to_lowercase())),
                "{prefix} has no sample"
            );
        }
    }
}

#[test]
fn s1_a_header_is_checked_before_anything_is_allocated() {
    let header = |number: u32, length: u32| {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        bytes[4..8].copy_from_slice(&length.to_be_bytes());
        FrameHeader::decode(bytes, limits::FRAME_DATA_BYTES_MAX_BEFORE_LOGIN)
    };
    assert_eq!(header(3, 16 << 10).map(|header| header.frame_type), Ok(FrameType::Command));
    assert!(matches!(header(3, (16 << 10) + 1), Err(FrameError::TooLong { .. })));
    assert!(matches!(header(3, u32::MAX), Err(FrameError::TooLong { .. })));
    assert!(matches!(header(0, 0), Err(FrameError::UnknownType(0))));
    assert!(matches!(header(u32::from_be_bytes(*b"GET "), 0), Err(FrameError::UnknownType(_))));
}

#[test]
fn s1_left_over_and_missing_bytes_are_refused() {
    for message in samples() {
        let bytes = encode(&message);
        let header = FrameHeader::decode(bytes[..16].try_into().unwrap(), limits::FRAME_DATA_BYTES_MAX).unwrap();
        let mut longer = bytes[16..].to_vec();
        longer.push(0);
        assert!(Message::decode(header, &longer).is_err(), "{}", name(&message));
        assert!(Message::decode(header, &bytes[16..bytes.len() - 1]).is_err(), "{}", name(&message));
    }
}

#[test]
fn s1_a_claim_of_endless_length_is_an_error_and_not_an_allocation() {
    // A Data frame whose byte string claims 2^60 bytes, and a Changes frame that claims 2^60 rows.
    let mut data = vec![0];
    data.extend([0; 17]);
    data.extend([0, 0, 253]);
    data.extend((1_u64 << 60).to_le_bytes());
    for (frame_type, data) in
        [(FrameType::Data, data), (FrameType::Status, [&[5, 253][..], &(1_u64 << 60).to_le_bytes()].concat())]
    {
        let header = FrameHeader { frame_type, length: data.len(), timestamp: AT };
        assert!(Message::decode(header, &data).is_err());
    }
}

proptest::proptest! {
    #[test]
    fn s1_no_bytes_make_the_decoder_panic(kind in 1_u32..=6, data in proptest::collection::vec(0_u8.., 0..400)) {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&kind.to_be_bytes());
        bytes[4..8].copy_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes());
        let header = FrameHeader::decode(bytes, limits::FRAME_DATA_BYTES_MAX).unwrap();
        let _error_or_message = Message::decode(header, &data);
    }

    #[test]
    fn s1_a_damaged_message_never_panics(which in 0_usize..1_000, place in 0_usize..10_000, byte in 0_u8..) {
        let all = samples();
        let mut bytes = encode(&all[which % all.len()]);
        let place = 16 + place % (bytes.len() - 15);
        if let Some(target) = bytes.get_mut(place) {
            *target = byte;
        }
        let _error_or_message = decode(&bytes);
    }
}
