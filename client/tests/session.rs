//! A client against a master that says what the test wants, over real TLS on the loopback.
#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test fails where it panics")]

use client::{
    connection::{Client, Credentials, Identity, Target},
    live::{Live, LiveTarget},
    mirror::{HistoryWindow, Link},
    reply,
    submit::{Entries, Submission},
};
use common::{
    ClientId, ErrorCode, ProgramId, ProgramSpec, UserError, Work,
    escape::RawText,
    message::{Alert, Change, Command, Message, Reply, Request, RequestId, Status, command::Secret},
    session::Role,
    units::Duration,
    view::{ClientKind, Summary},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration as StdDuration, Instant},
};
use transport::{Authority, Connection, Listener, testing};

/// Longest wait for anything in these tests.
const DEADLINE: StdDuration = StdDuration::from_secs(30);

struct Master {
    authority: Authority,
    listener: Listener,
    _folder: tempfile::TempDir,
}

impl Master {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (authority, listener) = testing::listen(folder.path()).await.unwrap();
        Self { authority, listener, _folder: folder }
    }

    fn target(&self) -> Target {
        Target { address: self.listener.local_address().to_string(), pin: self.authority.pin() }
    }

    /// Accepts one client and lets it in; gives what it logged in with.
    async fn accept(&self) -> (Connection, Command) {
        let accepted = async { self.listener.accept().await.handshake().await };
        let mut connection = soon("a client", accepted).await.unwrap();
        let hello = soon("a hello", connection.receiver.next()).await.unwrap();
        assert!(matches!(hello, Message::Command(Command::Hello(_))), "a hello, not {hello:?}");
        let Message::Command(login) = soon("a login", connection.receiver.next()).await.unwrap() else {
            panic!("a login")
        };
        connection
            .sender
            .send_all([
                Status::Welcome { protocol: 1, release: "0".into(), master: "m".into() }.into(),
                Status::LoggedIn {
                    client: client_id(),
                    user: "alice".into(),
                    role: Role::Admin,
                    token: Secret("token".into()),
                }
                .into(),
            ])
            .unwrap();
        connection.receiver.accept_large_frames();
        (connection, login)
    }

    async fn connected(&self) -> (Client, Connection) {
        let target = self.target();
        let login = password();
        let connect = Client::connect(&target, ClientKind::Cli, &login);
        let (client, (connection, _)) = soon("the login", async { tokio::join!(connect, self.accept()) }).await;
        (client.unwrap().0, connection)
    }
}

fn client_id() -> ClientId {
    ClientId(uuid::Uuid::from_u128(7))
}

fn password() -> Credentials {
    Credentials::Password { user: "alice".into(), password: Secret("correct horse".into()) }
}

fn spec() -> ProgramSpec {
    ProgramSpec::new("true", Work::Command { command: "true".into() })
}

/// Fails, rather than hangs, when what is awaited never comes.
async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let Ok(done) = tokio::time::timeout(DEADLINE, work).await else { panic!("waited in vain for {what}") };
    done
}

async fn next_request(connection: &mut Connection) -> (RequestId, Request) {
    match soon("a request", connection.receiver.next()).await.unwrap() {
        Message::Command(Command::Request { id, request }) => (id, request),
        other => panic!("a request, not {other:?}"),
    }
}

fn answer(connection: &Connection, id: RequestId, result: Result<Reply, UserError>) {
    connection.sender.send(Status::Reply { id, result }).unwrap();
}

#[tokio::test]
async fn e2_many_requests_are_open_at_once_and_each_gets_its_own_answer() {
    let master = Master::start().await;
    let (client, mut connection) = master.connected().await;
    let expected = Identity {
        client: client_id(),
        user: "alice".into(),
        role: Role::Admin,
        master: "m".into(),
        release: "0".into(),
    };
    assert_eq!(client.identity(), &expected);
    let slaves = client.request(Request::Slaves);
    let summary = client.request(Request::Summary);
    let (first, request) = next_request(&mut connection).await;
    assert_eq!(request, Request::Slaves);
    let (second, request) = next_request(&mut connection).await;
    assert_eq!(request, Request::Summary);
    // In the other order, and with an error.
    answer(&connection, second, Ok(Reply::Summary(Summary::default())));
    answer(&connection, first, Err(UserError::new(ErrorCode::NotAllowed, "no")));
    assert_eq!(soon("the summary", summary).await.and_then(reply::summary), Ok(Summary::default()));
    assert!(soon("the slaves", slaves).await.unwrap_err().is(ErrorCode::NotAllowed));
}

#[tokio::test]
async fn e13_a_lost_connection_answers_every_open_request() {
    let master = Master::start().await;
    let (client, mut connection) = master.connected().await;
    let open: Vec<_> = (0..5).map(|_| client.request(Request::Slaves)).collect();
    for _ in 0..5 {
        next_request(&mut connection).await;
    }
    drop(connection);
    for pending in open {
        assert!(soon("an answer", pending).await.unwrap_err().is(ErrorCode::ConnectionLost));
    }
    assert!(client.lost().is_some());
    assert!(client.request(Request::Slaves).await.unwrap_err().is(ErrorCode::ConnectionLost));
}

#[tokio::test]
async fn e10_a_wrong_pin_and_a_refused_login_are_told_by_name() {
    let master = Master::start().await;
    let other = Master::start().await;
    let wrong = Target { pin: other.authority.pin(), ..master.target() };
    let login = password();
    let connect = Client::connect(&wrong, ClientKind::Cli, &login);
    let accept = async { master.listener.accept().await.handshake().await.map(drop) };
    let (client, handshake) = soon("a failed handshake", async { tokio::join!(connect, accept) }).await;
    assert!(client.map(drop).unwrap_err().is(ErrorCode::PinWrong));
    assert!(handshake.is_err(), "nothing was sent");

    let target = master.target();
    let connect = Client::connect(&target, ClientKind::Cli, &login);
    let refuse = async {
        let mut connection = master.listener.accept().await.handshake().await.unwrap();
        connection.receiver.next().await.unwrap();
        connection.receiver.next().await.unwrap();
        connection.sender.refuse(UserError::new(ErrorCode::LoginWrong, "wrong")).await;
    };
    let (client, ()) = soon("a refused login", async { tokio::join!(connect, refuse) }).await;
    assert!(client.map(drop).unwrap_err().is(ErrorCode::LoginWrong));
}

#[tokio::test]
async fn e13_a_submit_goes_on_over_the_next_connection_with_the_same_ids() {
    let master = Master::start().await;
    let (client, mut connection) = master.connected().await;
    let mut submission = Submission::new(spec(), 5_000).unwrap();
    let first = async {
        let (_, request) = next_request(&mut connection).await;
        drop(connection);
        request
    };
    let (lost, sent) = soon("the first end", async { tokio::join!(submission.send(&client), first) }).await;
    assert!(lost.unwrap_err().is(ErrorCode::ConnectionLost));
    assert_eq!(submission.acknowledged(), 0);

    let (client, mut connection) = master.connected().await;
    let ids: Vec<ProgramId> = submission.ids().collect();
    let second = async {
        let (id, request) = next_request(&mut connection).await;
        let busy = UserError::new(ErrorCode::Busy, "busy").retry_after(Duration::from_millis(10));
        answer(&connection, id, Err(busy));
        let (id, again) = next_request(&mut connection).await;
        assert_eq!(request, again, "asked again after the time that was named");
        assert_eq!(request, sent, "the same over each connection");
        let Request::SubmitCopies { first, copies, .. } = again else { panic!("copies") };
        assert_eq!((first, copies, ids.len()), (ids[0], 5_000, 5_000));
        answer(&connection, id, Ok(Reply::Submitted { sequences: vec![7] }));
    };
    let (sent, ()) = soon("the second end", async { tokio::join!(submission.send(&client), second) }).await;
    assert_eq!(sent, Ok(()));
    assert_eq!((submission.sequence(), submission.acknowledged()), (Some(7), 5_000));
}

#[tokio::test]
async fn e13_entries_go_on_over_the_next_connection_with_the_same_ids() {
    let master = Master::start().await;
    let (client, mut connection) = master.connected().await;
    let mut entries = Entries::new(spec()).unwrap();
    let texts = |range: std::ops::Range<u32>| range.map(|n| RawText::from(n.to_string().as_str())).collect::<Vec<_>>();
    entries.push(&client, texts(0..1_000)).unwrap();
    entries.push(&client, texts(1_000..1_500)).unwrap();
    let (id, first) = next_request(&mut connection).await;
    let (_, second) = next_request(&mut connection).await;
    let Request::SubmitEntries { first: whole, first_index: 1_000, copies: 0, entries: sent, .. } = &second else {
        panic!("{second:?}")
    };
    assert_eq!(*sent, texts(1_000..1_500));
    answer(&connection, id, Ok(Reply::Submitted { sequences: (1..=1_000).collect() }));
    let ids: Vec<ProgramId> = soon("an answer", entries.acknowledged()).await.unwrap().unwrap().collect();
    assert_eq!((ids.len(), ids[0], ids[999]), (1_000, *whole, whole.nth(999).unwrap()));
    drop(connection);
    let Err(lost) = soon("the loss", entries.acknowledged()).await.map(drop) else { panic!("it is lost") };
    assert!(lost.is(ErrorCode::ConnectionLost) && entries.accepted() == 1_000);
    // What no program can be given is refused before it is sent, by its place in the whole.
    let refused = entries.push(&client, vec!["a\0".into()]).unwrap_err();
    assert!(refused.sentence.contains("entry 1500 holds a NUL byte"), "{refused}");

    let (client, mut connection) = master.connected().await;
    entries.send_again(&client);
    let (id, again) = next_request(&mut connection).await;
    assert_eq!(again, second, "only what was not acknowledged, and as it was");
    assert_ne!(again, first);
    answer(&connection, id, Ok(Reply::Submitted { sequences: (1_001..=1_500).collect() }));
    let ids: Vec<ProgramId> = soon("an answer", entries.acknowledged()).await.unwrap().unwrap().collect();
    assert_eq!((ids.len(), ids[499], entries.accepted()), (500, whole.nth(1_499).unwrap(), 1_500));
    assert!(!entries.is_open() && soon("nothing", entries.acknowledged()).await.unwrap().is_none());
}

#[tokio::test]
async fn p7_parts_that_were_taken_behind_one_that_was_refused_are_told() {
    let master = Master::start().await;
    let (client, mut connection) = master.connected().await;
    let mut entries = Entries::new(spec()).unwrap();
    for count in [3, 2, 1] {
        entries.push(&client, vec!["x".into(); count]).unwrap();
    }
    let (id, request) = next_request(&mut connection).await;
    let Request::SubmitEntries { first, .. } = request else { panic!("{request:?}") };
    answer(&connection, id, Err(UserError::new(ErrorCode::QuotaReached, "three are too many")));
    let (id, _) = next_request(&mut connection).await;
    answer(&connection, id, Ok(Reply::Submitted { sequences: vec![1, 2] }));
    let Err(refused) = soon("the refusal", entries.acknowledged()).await.map(drop) else { panic!("it is refused") };
    assert!(refused.is(ErrorCode::QuotaReached));
    next_request(&mut connection).await;
    let (behind, ()) = soon("the rest", async { tokio::join!(entries.give_up(), async { drop(connection) }) }).await;
    assert_eq!(behind, (vec![first.nth(3).unwrap(), first.nth(4).unwrap()], true));
    assert!(!entries.is_open() && entries.accepted() == 0);
}

/// Answers what a session asks for itself until it asks for something else.
async fn next_of_window(connection: &mut Connection) -> (RequestId, Request) {
    soon("a request of the window", asked_by_window(connection)).await
}

async fn asked_by_window(connection: &mut Connection) -> (RequestId, Request) {
    loop {
        let (id, request) = next_request(connection).await;
        let reply = match &request {
            Request::Watch { .. } => Reply::Ok,
            Request::Summary => Reply::Summary(Summary { running: 3, ..Summary::default() }),
            Request::Slaves => Reply::Slaves(Vec::new()),
            Request::Clients => Reply::Clients(Vec::new()),
            Request::Events { .. } => Reply::Events(Vec::new()),
            Request::List(_) => Reply::Page { rows: Vec::new(), total: 0 },
            _ => return (id, request),
        };
        answer(connection, id, Ok(reply));
    }
}

fn submitted_ids(request: &Request) -> Option<Vec<ProgramId>> {
    match request {
        Request::Submit { ids, .. } => Some(ids.clone()),
        Request::SubmitCopies { first, .. } => Some(vec![*first]),
        _ => None,
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(StdDuration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e13_the_window_reconnects_by_itself_and_no_answer_is_lost() {
    let master = Master::start().await;
    let wakes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&wakes);
    let live = Live::start(ClientKind::Gui, move || {
        counted.fetch_add(1, Ordering::Relaxed);
    })
    .unwrap();
    assert!(live.request(Request::Slaves).wait_off_the_runtime().await.unwrap_err().is(ErrorCode::LoginNeeded));
    live.connect(LiveTarget { target: master.target(), credentials: password(), remember_in: None });
    let (mut connection, login) = master.accept().await;
    assert!(matches!(login, Command::Login { .. }));
    // Only from here on is a request sent: before, it is refused, since the answer to the login is on its way.
    until("it is connected", || live.mirror().link == Link::Connected).await;
    let mut submit = live.submit(spec(), 2);
    let mut open = live.request(Request::Why { id: client::submit::new_id() });
    let requests = [next_of_window(&mut connection).await.1, next_of_window(&mut connection).await.1];
    let before = requests.iter().find_map(submitted_ids).expect("a submit");
    assert!(requests.iter().any(|request| matches!(request, Request::Why { .. })));
    live.show_history(&HistoryWindow { first: 0, rows: 30, ..HistoryWindow::default() });
    drop(connection);

    let mut lost = None;
    until("the open request is answered", || {
        lost = lost.take().or_else(|| open.poll());
        lost.is_some()
    })
    .await;
    assert!(lost.unwrap().unwrap_err().is(ErrorCode::ConnectionLost));
    let (mut connection, login) = master.accept().await;
    assert_eq!(login, Command::Resume { token: Secret("token".into()) }, "the password is not sent again");
    let (id, again) = next_of_window(&mut connection).await;
    assert_eq!(submitted_ids(&again), Some(before), "the submit again, under the same IDs");
    answer(&connection, id, Ok(Reply::Submitted { sequences: vec![1] }));
    let mut end = None;
    until("the submit is acknowledged", || {
        end = end.take().or_else(|| submit.poll());
        end.is_some()
    })
    .await;
    assert_eq!(end.unwrap().map(|submitted| (submitted.sequence, submitted.count)), Ok((1, 2)));
    assert_eq!(submit.progress(), (2, 2));

    let change = Change::Summary(Summary { waiting: 9, ..Summary::default() });
    connection.sender.send(Status::Changes(vec![change])).unwrap();
    until("the change is shown", || live.mirror().summary.is_some_and(|summary| summary.waiting == 9)).await;
    assert!(wakes.load(Ordering::Relaxed) > 0);
    let open = live.request(Request::Logout);
    next_of_window(&mut connection).await;
    connection.sender.send(Alert::Refused(UserError::new(ErrorCode::LoginNeeded, "revoked"))).unwrap();
    assert!(open.wait_off_the_runtime().await.unwrap_err().is(ErrorCode::ConnectionLost));
    // A revoked session is not tried again: only a person can log in anew.
    until("the refusal is shown", || matches!(live.mirror().link, Link::Refused { .. })).await;
    live.disconnect();
    until("it is off", || live.mirror().link == Link::Off).await;
    soon("the session to end", tokio::task::spawn_blocking(move || drop(live))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e9_a_window_knows_until_when_a_busy_master_puts_its_submit_off() {
    let master = Master::start().await;
    let live = Live::start(ClientKind::Gui, || {}).unwrap();
    live.connect(LiveTarget { target: master.target(), credentials: password(), remember_in: None });
    let (mut connection, _) = master.accept().await;
    until("it is connected", || live.mirror().link == Link::Connected).await;
    let mut submit = live.submit(spec(), 1);
    let (id, first) = next_of_window(&mut connection).await;
    assert_eq!(submit.busy(), None);
    answer(&connection, id, Err(UserError::new(ErrorCode::Busy, "busy").retry_after(Duration::from_millis(300))));
    until("it waits", || submit.busy().is_some_and(|busy| busy.reason.sentence == "busy")).await;
    assert_eq!(submit.poll(), None, "it is not refused");
    let (id, again) = next_of_window(&mut connection).await;
    assert_eq!(submitted_ids(&again), submitted_ids(&first), "the same IDs");
    assert_eq!(submit.busy(), None);
    answer(&connection, id, Ok(Reply::Submitted { sequences: vec![7] }));
    let mut end = None;
    until("the submit is acknowledged", || {
        end = end.take().or_else(|| submit.poll());
        end.is_some()
    })
    .await;
    assert_eq!(end.unwrap().map(|submitted| (submitted.sequence, submitted.count)), Ok((7, 1)));
    soon("the session to end", tokio::task::spawn_blocking(move || drop(live))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e10_a_logout_reaches_the_master_though_nobody_waits_for_its_answer() {
    let master = Master::start().await;
    // Which of the two is heard first is a matter of luck.
    for _ in 0..20 {
        let live = Live::start(ClientKind::Gui, || {}).unwrap();
        live.connect(LiveTarget { target: master.target(), credentials: password(), remember_in: None });
        let (mut connection, _) = master.accept().await;
        until("it is connected", || live.mirror().link == Link::Connected).await;
        drop(live.request(Request::Logout));
        live.disconnect();
        assert_eq!(next_of_window(&mut connection).await.1, Request::Logout);
        soon("the session to end", tokio::task::spawn_blocking(move || drop(live))).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e7_a_pinned_program_is_asked_for_again_after_a_burst() {
    let master = Master::start().await;
    let live = Live::start(ClientKind::Gui, || {}).unwrap();
    live.connect(LiveTarget { target: master.target(), credentials: password(), remember_in: None });
    let (mut connection, _) = master.accept().await;
    let id = client::submit::new_id();
    live.pin(id);
    for _ in 0..2 {
        let (number, request) = next_of_window(&mut connection).await;
        assert_eq!(request, Request::Show { id });
        answer(&connection, number, Err(UserError::new(ErrorCode::ProgramUnknown, "not here")));
        connection.sender.send(Status::Changes(vec![Change::ManyPrograms])).unwrap();
    }
    soon("the session to end", tokio::task::spawn_blocking(move || drop(live))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e10_a_wrong_pin_waits_for_a_person() {
    let (master, other) = (Master::start().await, Master::start().await);
    let target = Target { pin: other.authority.pin(), ..master.target() };
    let live = Live::start(ClientKind::Gui, || {}).unwrap();
    live.connect(LiveTarget { target, credentials: password(), remember_in: None });
    let accept = async { master.listener.accept().await.handshake().await.map(drop) };
    assert!(soon("a failed handshake", accept).await.is_err());
    until(
        "it is refused",
        || matches!(&live.mirror().link, Link::Refused { reason } if reason.is(ErrorCode::PinWrong)),
    )
    .await;
    soon("the session to end", tokio::task::spawn_blocking(move || drop(live))).await.unwrap();
}

/// Waits for an answer without holding the test's runtime up.
trait WaitOffTheRuntime {
    async fn wait_off_the_runtime(self) -> Result<Reply, UserError>;
}

impl WaitOffTheRuntime for client::Answer {
    async fn wait_off_the_runtime(self) -> Result<Reply, UserError> {
        let mut answer = self;
        let mut end = None;
        until("the answer is here", || {
            end = end.take().or_else(|| answer.poll());
            end.is_some()
        })
        .await;
        end.unwrap()
    }
}
