//! Every request, asked by everybody over a real session. What a master allows is the reviewed table in
//! `docs/permissions.md`; `RUCHE_BLESS=1` writes the table anew, for a review.

#![expect(clippy::unwrap_used, reason = "a helper that fails, fails the test")]

mod support;

use common::{
    Digest, Duration, ErrorCode,
    message::{Alert, Command, HistoryQuery, Message, Request, RequestId, Stream, command::Secret},
    program::{ProgramSignal, TerminalSize},
    session::{PeerKind, Role},
    view::Policy,
};
use std::{collections::BTreeSet, fmt::Write as _, path::Path};
use support::*;
use transport::Connection;

const REQUESTS: usize = 29;

/// Place and words of a request in the table. A new request does not compile before it stands here.
const fn place(request: &Request) -> (usize, &'static str) {
    match request {
        Request::Submit { .. } => (0, "submit programs"),
        Request::Again { .. } => (1, "run a program again"),
        Request::Cancel { .. } => (2, "stop programs"),
        Request::List(_) => (3, "list the history"),
        Request::Show { .. } => (4, "show a program"),
        Request::Spec { .. } => (5, "read what was submitted"),
        Request::ReadOutput { .. } => (6, "read an output"),
        Request::Wait { .. } => (7, "wait for programs"),
        Request::Why { .. } => (8, "ask why a program waits"),
        Request::Slaves => (9, "list the slaves"),
        Request::Clients => (10, "list the clients"),
        Request::Summary => (11, "see the counts"),
        Request::Watch { .. } => (12, "watch changes"),
        Request::Events { .. } => (13, "read the events"),
        Request::SetMaxProcesses { .. } => (14, "set how many programs run at once"),
        Request::SetPolicy(_) => (15, "set the policy"),
        Request::SetAside { .. } => (16, "set a slave aside"),
        Request::TakeBack { .. } => (17, "take a slave back"),
        Request::Logout => (18, "log out"),
        Request::Suspend { .. } => (19, "suspend programs"),
        Request::Resume { .. } => (20, "resume programs"),
        Request::SetWallTime { .. } => (21, "change a wall time"),
        Request::Input { .. } => (22, "give a program input"),
        Request::Resize { .. } => (23, "change the size of a terminal"),
        Request::Signal { .. } => (24, "send a signal"),
        Request::InputsHeld { .. } => (25, "ask which input files are there"),
        Request::PutInput { .. } => (26, "send input files"),
        Request::SubmitCopies { .. } => (27, "submit many copies"),
        Request::SubmitEntries { .. } => (28, "submit one program for each entry"),
    }
}

fn requests() -> Vec<Request> {
    let id = new_id();
    let requests = vec![
        Request::Submit { ids: vec![id], first_index: 0, copies: 1, spec: Box::new(command("p")) },
        Request::Again { id, new_id: new_id() },
        Request::Cancel { ids: vec![id] },
        Request::List(HistoryQuery { limit: 1, ..HistoryQuery::default() }),
        Request::Show { id },
        Request::Spec { id },
        Request::ReadOutput { id, stream: Stream::Stdout, offset: 0, bytes_max: 1, follow: false },
        Request::Wait { ids: vec![new_id()] },
        Request::Why { id },
        Request::Slaves,
        Request::Clients,
        Request::Summary,
        Request::Watch { programs: true, slaves: true, clients: true },
        Request::Events { limit: 1, before: None },
        Request::SetMaxProcesses { slave: None, slots: 1 },
        Request::SetPolicy(Policy::Fifo),
        Request::SetAside { slave: "nobody".into(), reason: "a test".into() },
        Request::TakeBack { slave: "nobody".into() },
        Request::Logout,
        Request::Suspend { ids: vec![id] },
        Request::Resume { ids: vec![id] },
        Request::SetWallTime { id, wall_time: Duration::from_secs(60) },
        Request::Input { id, offset: 0, bytes: Vec::new(), end: true },
        Request::Resize { id, size: TerminalSize { columns: 80, rows: 24 } },
        Request::Signal { id, signal: ProgramSignal::Interrupt },
        Request::InputsHeld { digests: Vec::new() },
        Request::PutInput { digest: Digest([0; 32]), size: 0, offset: 0, bytes: Vec::new() },
        Request::SubmitCopies { first: new_id().with_room(), copies: 2, spec: Box::new(command("p")) },
        Request::SubmitEntries {
            first: new_id().with_room(),
            first_index: 0,
            copies: 0,
            spec: Box::new(command("p")),
            entries: vec!["x".into()],
        },
    ];
    let places: BTreeSet<usize> = requests.iter().map(|request| place(request).0).collect();
    assert_eq!(places, (0..REQUESTS).collect(), "each request has one line");
    requests
}

/// Whether somebody who is logged in may ask it; an answer that the thing does not exist is one.
async fn allowed(client: &mut Client, request: Request) -> bool {
    match client.ask(request).await {
        Ok(_) => true,
        Err(error) => !error.is(ErrorCode::NotAllowed),
    }
}

/// Sends it where nobody is logged in; the connection must end with a refusal.
async fn answered(mut connection: Connection, request: Request) -> bool {
    connection.sender.send(Command::Request { id: RequestId(1), request }).unwrap();
    within("an answer", async {
        loop {
            match connection.receiver.next().await {
                Ok(Message::Alert(Alert::Refused(error))) => {
                    assert!(error.is(ErrorCode::ProtocolError) || error.is(ErrorCode::LoginNeeded), "{error}");
                    return false;
                }
                Ok(Message::Status(common::message::Status::Reply { .. })) => return true,
                Ok(_) => {}
                Err(error) => panic!("cut without a reason: {error}"),
            }
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a01_every_request_is_answered_to_those_in_the_reviewed_table_and_to_nobody_else() {
    let master = Master::start().await;
    let mut table = String::from(HEADER);
    let slave = master.slave("s1", 1).await;
    for request in requests() {
        let mut columns = vec![answered(master.dial(PeerKind::ClientCli, None).await, request.clone()).await];
        // A login that was ended by a logout elsewhere.
        let mut ended = master.client("admin").await;
        let copy = master.try_enter(Command::Resume { token: Secret(ended.token.clone()) }).await.unwrap();
        ended.ask(Request::Logout).await.unwrap();
        let resume = master.try_enter(Command::Resume { token: Secret(ended.token.clone()) }).await;
        assert!(resume.err().unwrap().is(ErrorCode::LoginNeeded));
        drop(copy);
        columns.push(answered(ended.connection, request.clone()).await);
        for role in Role::ALL {
            let mut client = master.client(role.word()).await;
            columns.push(allowed(&mut client, request.clone()).await);
        }
        let connection = master.dial(PeerKind::Slave, Some(&slave.identity)).await;
        columns.push(answered(connection, request.clone()).await);
        write!(table, "| {} |", place(&request).1).unwrap();
        for column in columns {
            write!(table, " {} |", if column { "yes" } else { "–" }).unwrap();
        }
        table.push('\n');
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/permissions.md");
    if std::env::var_os("RUCHE_BLESS").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let reviewed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(reviewed, table, "what a master allows is not what was reviewed in docs/permissions.md");
}

const HEADER: &str = "# Permissions

Who may ask a master what.
The table is what a real master answered: the test `a01_` of `master/tests/permissions.rs` asks every request over a real session as everybody, and fails when an answer differs.
A change is written with `RUCHE_BLESS=1 cargo test -p master --test permissions` and reviewed here; a request that stands in no table does not compile.

- *nobody* is a connection without a login, *ended* one whose login was given up, *slave* one with a slave's certificate.
- A submitter sees, stops and repeats his own programs only; a program of somebody else is as unknown to him as one that does not exist.
- A viewer, an operator and an administrator see all programs; an operator and an administrator may stop all.
- Users, roles, join strings, revocation, backup and audit are changed with `ruche-master` on the master's machine alone, by the user that it runs as or root.

| request | nobody | ended | viewer | submitter | operator | admin | slave |
| --- | --- | --- | --- | --- | --- | --- | --- |
";
