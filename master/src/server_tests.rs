//! A master whose store fails: nothing is acknowledged that is not on the disk.

#![expect(clippy::wildcard_enum_match_arm, reason = "a message that does not fit fails the test")]

use crate::{
    Config, Server,
    admin::{self, AdminRequest},
    between::Between,
    store::{Accounts, Record, SqliteStore, Storage, StoreError},
};
use common::{
    ErrorCode, ProgramId, ProgramSpec, UserError, Work,
    message::{Alert, Command, Message, Request, RequestId, Status, command::Secret},
    session::{Hello, PeerKind},
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    thread::{self, ThreadId},
    time::Duration,
};
use transport::Connection;
use uuid::Uuid;

const WORKS: u8 = 0;
const FULL: u8 = 1;
const BROKEN: u8 = 2;
const STALLED: u8 = 3;

struct Failing {
    store: SqliteStore,
    mode: Arc<AtomicU8>,
    /// The thread that a stalled disk holds up.
    stalls_on: Arc<Mutex<Option<ThreadId>>>,
}

fn sqlite(code: i32) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)
}

impl Storage for Failing {
    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        match self.mode.load(Ordering::SeqCst) {
            FULL => Err(sqlite(rusqlite::ffi::SQLITE_FULL).into()),
            BROKEN => Err(sqlite(rusqlite::ffi::SQLITE_IOERR_FSYNC).into()),
            STALLED => {
                *self.stalls_on.lock().unwrap() = Some(thread::current().id());
                while self.mode.load(Ordering::SeqCst) == STALLED {
                    thread::sleep(Duration::from_millis(5));
                }
                self.store.commit(records)
            }
            _ => self.store.commit(records),
        }
    }

    fn accounts(&mut self) -> Accounts<'_> {
        self.store.accounts()
    }
}

async fn start(mode: &Arc<AtomicU8>) -> (tempfile::TempDir, Server, Connection) {
    start_with(mode, &Arc::default(), None).await
}

async fn start_with(
    mode: &Arc<AtomicU8>,
    stalls_on: &Arc<Mutex<Option<ThreadId>>>,
    between: Option<Between>,
) -> (tempfile::TempDir, Server, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::new(folder.path().join("data"));
    config.listen = "127.0.0.1:0".to_owned();
    let data = config.data.clone();
    let (mode, stalls_on) = (mode.clone(), stalls_on.clone());
    let wrap = |store| Box::new(Failing { store, mode, stalls_on }) as Box<dyn Storage>;
    let server = Server::start_with(config, wrap, between).await.unwrap();
    let hash = admin::password_hash("correct horse").unwrap();
    let add = AdminRequest::UserAdd { name: "ann".into(), role: "admin".into(), hash };
    tokio::task::spawn_blocking(move || admin::ask(&data, add)).await.unwrap().unwrap();
    let address = server.address().to_string();
    let pin = transport::fetch_pin(&address).await.unwrap();
    let mut connection = transport::connect(&address, pin, None).await.unwrap();
    connection.sender.send(Command::Hello(Hello::ours(PeerKind::ClientCli))).unwrap();
    connection.sender.send(Command::Login { user: "ann".into(), password: Secret("correct horse".into()) }).unwrap();
    for _ in 0..2 {
        connection.receiver.next().await.unwrap();
    }
    (folder, server, connection)
}

fn submit(connection: &Connection, number: u32) {
    let ids = vec![ProgramId(Uuid::now_v7())];
    let spec = Box::new(ProgramSpec::new("p", Work::Command { command: "true".into() }));
    let request = Request::Submit { ids, first_index: 0, copies: 1, spec };
    connection.sender.send(Command::Request { id: RequestId(number), request }).unwrap();
}

async fn reply(connection: &mut Connection) -> (u32, Result<(), UserError>) {
    let next = tokio::time::timeout(Duration::from_secs(20), connection.receiver.next());
    match next.await.unwrap().unwrap() {
        Message::Status(Status::Reply { id, result }) => (id.0, result.map(|_| ())),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e13_a_full_disk_holds_the_acknowledgement_and_refuses_what_comes_after() {
    let mode = Arc::new(AtomicU8::new(WORKS));
    let (_folder, server, mut connection) = start(&mode).await;
    mode.store(FULL, Ordering::SeqCst);
    submit(&connection, 1);
    // The first is in the batch that does not fit; those that come when that is known are refused.
    let mut number = 1;
    loop {
        number += 1;
        submit(&connection, number);
        let received = tokio::time::timeout(Duration::from_millis(300), reply(&mut connection)).await;
        match received {
            Err(_) => continue,
            Ok((id, result)) => {
                assert!(id > 1 && result.unwrap_err().is(ErrorCode::StorageFull));
                break;
            }
        }
    }
    mode.store(WORKS, Ordering::SeqCst);
    // The held one is acknowledged once it is on the disk, and submits are accepted again.
    let mut acknowledged = Vec::new();
    while !acknowledged.contains(&1) {
        let (id, result) = reply(&mut connection).await;
        if result.is_ok() {
            acknowledged.push(id);
        }
    }
    submit(&connection, 1_000);
    loop {
        let (id, result) = reply(&mut connection).await;
        if id == 1_000 {
            result.unwrap();
            break;
        }
    }
    server.handle().stop().await;
    server.wait().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e13_a_failed_sync_ends_the_master_without_an_acknowledgement() {
    let mode = Arc::new(AtomicU8::new(WORKS));
    let (_folder, server, mut connection) = start(&mode).await;
    mode.store(BROKEN, Ordering::SeqCst);
    submit(&connection, 1);
    assert!(server.wait().await.unwrap_err().is(ErrorCode::StorageFailed));
    loop {
        match connection.receiver.next().await {
            Ok(Message::Status(Status::Reply { result: Ok(_), .. })) => panic!("acknowledged"),
            Ok(Message::Alert(Alert::Refused(_))) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// What is recorded and leaves nothing in the queue.
fn change(connection: &Connection, number: u32) {
    let request = Request::SetMaxProcesses { slave: None, slots: 1 + number % 8 };
    connection.sender.send(Command::Request { id: RequestId(number), request }).unwrap();
}

#[test]
fn p3_heartbeats_are_answered_while_the_disk_holds_up_the_thread_that_drives_everything() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (between, driver) = (Between::default(), thread::current().id());
    let given = between.clone();
    // As a task: what drives the runtime is held up.
    let service = async move {
        let (mode, stalls_on) = (Arc::new(AtomicU8::new(WORKS)), Arc::default());
        let (_folder, server, mut connection) = start_with(&mode, &stalls_on, Some(given)).await;
        let mut number = 0;
        // The disk proves to be quick; a slow machine may need more of them.
        while *stalls_on.lock().unwrap() != Some(driver) {
            for _ in 0..8 {
                number += 1;
                change(&connection, number);
                reply(&mut connection).await.1.unwrap();
            }
            mode.store(STALLED, Ordering::SeqCst);
            number += 1;
            change(&connection, number);
            connection.sender.heartbeat(number.into()).unwrap();
            let answer = connection.receiver.next().await.unwrap();
            assert!(
                matches!(answer, Message::Pong(heartbeat) if heartbeat.sequence == u64::from(number)),
                "{answer:?}"
            );
            while stalls_on.lock().unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // Once more, when it surely stands still.
            connection.sender.heartbeat(u64::from(number) + 1).unwrap();
            let answer = connection.receiver.next().await.unwrap();
            assert!(matches!(answer, Message::Pong(_)), "{answer:?}");
            mode.store(WORKS, Ordering::SeqCst);
            let (id, result) = reply(&mut connection).await;
            result.unwrap();
            assert_eq!(id, number);
            if *stalls_on.lock().unwrap() != Some(driver) {
                *stalls_on.lock().unwrap() = None;
            }
        }
        server.handle().stop().await;
        server.wait().await.unwrap();
    };
    between.drive(&runtime, async { tokio::spawn(service).await.unwrap() });
}
