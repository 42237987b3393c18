//! Backup, restore, check, revocation and the audit, on a master in this process.

#![expect(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    reason = "a message that does not fit, or a helper that fails, fails the test"
)]

mod support;

use common::{
    AttemptKey, ErrorCode, Outcome, UserError,
    message::{Alert, Command, Message, Order, Request, command::Secret},
    program::State,
    session::Role,
};
use master::{
    Config, Server,
    admin::{self, AdminAnswer, AdminRequest},
    backup,
};
use std::{
    fs,
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
};
use support::*;
use transport::Connection;

/// Why the master ended the connection.
async fn refusal(connection: &mut Connection) -> UserError {
    within("the connection is cut", async {
        loop {
            match connection.receiver.next().await {
                Ok(Message::Alert(Alert::Refused(error))) => return error,
                Ok(_) => {}
                Err(error) => panic!("cut without a reason: {error}"),
            }
        }
    })
    .await
}

async fn make_backup(master: &Master, name: &str) -> PathBuf {
    let (data, to) = (master.data().to_owned(), master.folder.path().join(name));
    let file = to.clone();
    tokio::task::spawn_blocking(move || backup::backup(&data, &file, false, &mut |_, _| ())).await.unwrap().unwrap();
    to
}

fn restore(data: &Path, from: &Path, keep_queue: bool) -> Result<backup::Restored, UserError> {
    backup::restore(data, from, keep_queue, &mut |_| ())
}

/// A master on a restored folder.
async fn restored(old: &mut Master, from: &Path, keep_queue: bool) -> (Master, backup::Restored) {
    if old.server.is_some() {
        old.stop().await;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let told = restore(&data, from, keep_queue).unwrap();
    let config = Config { data, ..old.config.clone() };
    let server = Server::start(config.clone()).await.unwrap();
    let address = server.address().to_string();
    (Master { folder, config, server: Some(server), address }, told)
}

fn large_output() -> Vec<u8> {
    (0..200_000_u32).map(|number| (number % 251) as u8).collect()
}

/// Submits a program and lets the slave run it with an output that needs a file.
async fn ended_with_output(client: &mut Client, slave: &mut Slave) -> common::ProgramId {
    let id = client.submit(command("large")).await;
    let key = slave.assignment().await.key;
    slave.started(key);
    let bytes = large_output();
    for (chunk, place) in bytes.chunks(50_000).zip(0..) {
        slave.output(key, place * 50_000, chunk);
    }
    slave.finish_after(key, GOOD, bytes.len() as u64, b"the end");
    assert_eq!(client.ended(id).await, GOOD);
    id
}

async fn whole_output(client: &mut Client, id: common::ProgramId) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let (bytes, end) = client.output(id, all.len() as u64, false).await;
        all.extend(bytes);
        if end {
            return all;
        }
    }
}

async fn problems(master: &Master) -> Vec<String> {
    match master.admin(AdminRequest::Check).await.unwrap() {
        AdminAnswer::Checked(problems) => problems,
        other => panic!("{other:?}"),
    }
}

async fn audit(master: &Master) -> (Vec<String>, Option<String>) {
    match master.admin(AdminRequest::Audit).await.unwrap() {
        AdminAnswer::Audit { entries, problem } => {
            (entries.into_iter().map(|entry| format!("{}: {}", entry.who, entry.what)).collect(), problem)
        }
        other => panic!("{other:?}"),
    }
}

/// Waits until the audit has such an entry.
async fn audited(master: &Master, what: &str) {
    within(what, async {
        loop {
            if audit(master).await.0.iter().any(|entry| entry.contains(what)) {
                return;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a11_a_revoked_slave_is_cut_refused_and_its_programs_end_after_the_lease() {
    let mut master = Master::start().await;
    let mut slave = master.slave("s1", 1).await;
    let sibling = master.slave("s2", 1).await;
    let mut client = master.client("submitter").await;
    let mut spec = command("p");
    spec.slave = Some("s1".to_owned());
    let id = client.submit(spec).await;
    let key = slave.assignment().await.key;
    slave.started(key);
    client.until(id, "it runs", |view| view.state == State::Running).await;
    let unknown = master.admin(AdminRequest::RevokeSlave { name: "s9".into() }).await.unwrap_err();
    assert!(unknown.is(ErrorCode::SlaveUnknown), "{unknown}");
    master.admin(AdminRequest::RevokeSlave { name: "s1".into() }).await.unwrap();
    let error = refusal(&mut slave.connection).await;
    assert!(error.is(ErrorCode::IdentityRefused) && error.sentence.contains("revoked"), "{error}");
    // It may still run there: not before the lease is over is it lost, also across a restart of the master.
    assert_eq!(client.show(id).await.state, State::Running);
    let identity = slave.identity;
    let mut refused = master.dial(common::session::PeerKind::Slave, Some(&identity)).await;
    refused
        .sender
        .send(common::message::Status::Report(common::message::Report::Register(Box::new(registration(1)))))
        .unwrap();
    assert!(refusal(&mut refused).await.is(ErrorCode::IdentityRefused));
    audited(&master, "revoked or unknown tried to register").await;
    assert!(matches!(client.ended(id).await, Outcome::Lost { .. }));
    sibling.connection.sender.send(common::message::Status::Report(common::message::Report::Draining)).unwrap();
    // Its name is free for another.
    let _again = master.slave("s1", 1).await;
    master.restart().await;
    let mut refused = master.dial(common::session::PeerKind::Slave, Some(&identity)).await;
    refused
        .sender
        .send(common::message::Status::Report(common::message::Report::Register(Box::new(registration(1)))))
        .unwrap();
    assert!(refusal(&mut refused).await.is(ErrorCode::IdentityRefused));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a11_programs_of_a_revoked_slave_keep_their_lease_across_a_restart() {
    let mut master = Master::start_with(|config| config.lease = common::Duration::from_secs(600)).await;
    let mut slave = master.slave("s1", 1).await;
    let mut client = master.client("submitter").await;
    let id = client.submit(command("p")).await;
    let key = slave.assignment().await.key;
    slave.started(key);
    client.until(id, "it runs", |view| view.state == State::Running).await;
    master.admin(AdminRequest::RevokeSlave { name: "s1".into() }).await.unwrap();
    refusal(&mut slave.connection).await;
    master.restart().await;
    let mut client = master.client("submitter").await;
    assert_eq!(client.show(id).await.state, State::Running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a11_a_revoked_user_is_cut_and_stays_out_until_there_is_a_new_password() {
    let master = Master::start().await;
    let (mut one, mut two) = (master.client("submitter").await, master.client("submitter").await);
    let mut other = master.client("operator").await;
    master.admin(AdminRequest::RevokeUser { name: "submitter".into() }).await.unwrap();
    for client in [&mut one, &mut two] {
        assert!(refusal(&mut client.connection).await.is(ErrorCode::LoginNeeded));
        let resume = Command::Resume { token: Secret(client.token.clone()) };
        assert!(master.try_enter(resume).await.err().unwrap().is(ErrorCode::LoginNeeded));
    }
    let wrong = master.try_login("submitter", PASSWORD).await.err().unwrap();
    assert!(wrong.is(ErrorCode::LoginWrong), "{wrong}");
    other.ask(Request::Summary).await.unwrap();
    let hash = admin::password_hash("another horse").unwrap();
    master.admin(AdminRequest::UserPasswd { name: "submitter".into(), hash }).await.unwrap();
    master.try_login("submitter", "another horse").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a19_a_changed_role_and_a_logout_end_live_connections() {
    let master = Master::start().await;
    let mut operator = master.client("operator").await;
    master.admin(AdminRequest::UserRole { name: "operator".into(), role: "viewer".into() }).await.unwrap();
    assert!(refusal(&mut operator.connection).await.is(ErrorCode::LoginNeeded));
    let mut viewer = master.client("operator").await;
    let error = viewer.ask(Request::SetMaxProcesses { slave: None, slots: 1 }).await.unwrap_err();
    assert!(error.is(ErrorCode::NotAllowed));
    audited(&master, "a viewer asked for: at most 1 programs").await;

    // The token on another device, and the same one after its logout.
    let mut first = master.client("submitter").await;
    let resume = Command::Resume { token: Secret(first.token.clone()) };
    let mut copy = master.try_enter(resume.clone()).await.unwrap();
    let mut apart = master.client("submitter").await;
    first.ask(Request::Logout).await.unwrap();
    assert!(refusal(&mut copy.connection).await.is(ErrorCode::LoginNeeded));
    first.send(Request::Summary);
    assert!(refusal(&mut first.connection).await.is(ErrorCode::LoginNeeded));
    assert!(master.try_enter(resume).await.err().unwrap().is(ErrorCode::LoginNeeded));
    apart.ask(Request::Summary).await.unwrap();
    // Nobody takes the last administrator's role.
    let last = master.admin(AdminRequest::UserRole { name: "admin".into(), role: "viewer".into() }).await.unwrap_err();
    assert!(last.is(ErrorCode::RequestInvalid), "{last}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f22_a_backup_under_load_restores_what_was_acknowledged_before() {
    let mut master = Master::start().await;
    let mut slave = master.slave("s1", 2).await;
    let away = master.invite(1).await;
    master.enrol(&away, "elsewhere").await.unwrap();
    let mut client = master.client("submitter").await;
    let ended = ended_with_output(&mut client, &mut slave).await;
    let running = client.submit(command("running")).await;
    let key = slave.assignment().await.key;
    slave.started(key);
    slave.output(key, 0, b"some");
    client.until(running, "its output is stored", |view| view.output_bytes == 4).await;
    let mut spec = command("again");
    spec.retry = 1;
    spec.slave = Some("elsewhere".to_owned());
    let waiting = client.submit(spec).await;
    let mut spec = command("waits");
    spec.slave = Some("elsewhere".to_owned());
    let once = client.submit(spec).await;

    // Submits go on while it is made.
    let mut other = master.client("submitter").await;
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let load = tokio::spawn(async move {
        let mut submitted = 0_u32;
        while stopped.try_recv().is_err() {
            let mut spec = command("load");
            spec.slave = Some("elsewhere".to_owned());
            other.submit(spec).await;
            submitted += 1;
        }
        submitted
    });
    let file = make_backup(&master, "a.backup").await;
    stop.send(()).unwrap();
    assert!(load.await.unwrap() > 0);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(
        fs::read_dir(master.folder.path()).unwrap().all(|entry| !entry
            .unwrap()
            .file_name()
            .to_string_lossy()
            .contains("partial"))
    );
    audited(&master, "made a backup into").await;

    let before = fs::read(&file).unwrap();
    let exists = {
        let (data, to) = (master.data().to_owned(), file.clone());
        tokio::task::spawn_blocking(move || backup::backup(&data, &to, false, &mut |_, _| ())).await.unwrap()
    };
    assert!(exists.unwrap_err().sentence.contains("exists already"));
    assert_eq!(fs::read(&file).unwrap(), before);

    let token = client.token.clone();
    let identity = slave.identity;
    drop(slave.connection);
    let (master, told) = restored(&mut master, &file, false).await;
    assert_eq!(told.waiting, 1);
    // Restored once more it is yet another history.
    let twice = master.folder.path().join("twice");
    let first = told.epoch;
    let second = || transport::clock::now().0 / 1_000_000;
    let begun = second();
    while second() == begun {
        tokio::task::yield_now().await;
    }
    assert!(restore(&twice, &file, false).unwrap().epoch > first && first > 1);
    assert_eq!(problems(&master).await, [""; 0]);
    let resume = Command::Resume { token: Secret(token) };
    assert!(master.try_enter(resume).await.err().unwrap().is(ErrorCode::LoginNeeded));
    let mut client = master.client("submitter").await;
    assert_eq!(whole_output(&mut client, ended).await, [&large_output()[..], b"the end"].concat());
    let view = client.show(running).await;
    assert!(
        matches!(&view.outcome, Some(Outcome::Lost { detail }) if detail.contains("restored from a backup")),
        "{view:?}"
    );
    assert_eq!(whole_output(&mut client, running).await, b"some");
    assert_eq!(client.show(once).await.state, State::Lost);
    let view = client.show(waiting).await;
    assert_eq!((view.state, view.attempt), (State::Waiting, 1));
    // The slave is known, and what it holds of the old history is dropped.
    let mut told = registration(2);
    told.epoch = 1;
    told.running = vec![(key, transport::clock::now())];
    let mut slave = Slave::connect(&master, identity, told).await;
    assert!(matches!(slave.other_order().await, Order::Discard(keys) if keys == [key]));
    audited(&master, "restored a backup").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f22_a_queue_that_is_kept_goes_on_where_it_was() {
    let mut master = Master::start().await;
    let mut slave = master.slave("s1", 1).await;
    let mut client = master.client("submitter").await;
    let id = client.submit(command("running")).await;
    let key = slave.assignment().await.key;
    slave.started(key);
    client.until(id, "it runs", |view| view.state == State::Running).await;
    master.stop().await;
    let file = make_backup(&master, "a.backup").await;
    let (master, told) = restored(&mut master, &file, true).await;
    assert_eq!((told.epoch, told.waiting, told.lost), (1, 1, 0));
    let mut told = registration(1);
    told.running = vec![(key, transport::clock::now())];
    let slave = Slave::connect(&master, slave.identity, told).await;
    slave.finish(key, GOOD, b"done");
    let resume = Command::Resume { token: Secret(client.token.clone()) };
    let mut client = master.try_enter(resume).await.unwrap();
    assert_eq!(client.ended(id).await, GOOD);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f22_a_restore_refuses_a_folder_that_is_used_and_a_backup_that_is_damaged() {
    let master = Master::start().await;
    let file = make_backup(&master, "a.backup").await;
    let used = restore(master.data(), &file, false).unwrap_err();
    assert!(used.is(ErrorCode::DataLocked), "{used}");
    let full = tempfile::tempdir().unwrap();
    fs::set_permissions(full.path(), PermissionsExt::from_mode(0o700)).unwrap();
    fs::write(full.path().join("letter"), "mine").unwrap();
    let error = restore(full.path(), &file, false).unwrap_err();
    assert!(error.is(ErrorCode::DataUnusable) && error.sentence.contains("something is in it"), "{error}");
    let good = fs::read(&file).unwrap();
    let new = master.folder.path().join("new");
    for damage in [0, 20, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[damage] ^= 4;
        fs::write(&file, &bad).unwrap();
        let error = restore(&new, &file, false).unwrap_err();
        assert!(error.is(ErrorCode::DataUnusable), "{error}");
        assert!(!new.exists(), "byte {damage}");
    }
    fs::write(&file, &good[..good.len() - 40]).unwrap();
    assert!(restore(&new, &file, false).unwrap_err().sentence.contains("end is missing"));
    fs::write(&file, &good).unwrap();
    // A restore that was killed leaves a folder that no master uses.
    fs::create_dir_all(new.join("restoring")).unwrap();
    fs::set_permissions(&new, PermissionsExt::from_mode(0o700)).unwrap();
    let error = Server::start(Config::new(&new)).await.err().unwrap();
    assert!(error.sentence.contains("not finished"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f22_a_backup_replaces_files_and_nothing_else() {
    let master = Master::start().await;
    let fifo = master.folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
    let database = master.data().join("ruche.db");
    assert!(database.exists());
    for to in [fifo, database, master.data().join("inside.backup")] {
        let data = master.data().to_owned();
        let result = tokio::task::spawn_blocking(move || backup::backup(&data, &to, true, &mut |_, _| ()).map(drop))
            .await
            .unwrap();
        assert!(result.unwrap_err().is(ErrorCode::FileUnreadable));
    }
    assert_eq!(problems(&master).await, [""; 0]);
}

/// The file of the program's standard output.
fn output_file(data: &Path, id: common::ProgramId) -> PathBuf {
    let key = AttemptKey { program: id, attempt: 1 };
    let bytes = id.0.as_bytes();
    data.join("outputs")
        .join(format!("{:02x}", bytes[15]))
        .join(format!("{:02x}", bytes[14]))
        .join(format!("{}.{}.out", key.program, key.attempt))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f06_a_changed_cut_or_missing_output_is_told_and_never_shown() {
    let master = Master::start().await;
    let mut slave = master.slave("s1", 1).await;
    let mut client = master.client("submitter").await;
    let id = ended_with_output(&mut client, &mut slave).await;
    let file = output_file(master.data(), id);
    assert_eq!(problems(&master).await, [""; 0]);
    let good = fs::read(&file).unwrap();
    let flip = |place: usize| {
        let mut bad = good.clone();
        bad[place] ^= 1;
        // In place, as a disk does it.
        fs::OpenOptions::new().write(true).open(&file).unwrap().write_all_at(&bad, 0).unwrap();
    };
    let read_at = |offset: u64| Request::ReadOutput {
        id,
        stream: common::message::Stream::Stdout,
        offset,
        bytes_max: 100,
        follow: false,
    };
    // Its checksums are computed within a second of its end.
    let database = rusqlite::Connection::open(master.data().join("ruche.db")).unwrap();
    within("the output is sealed", async {
        let open = "SELECT count(*) FROM seal WHERE sums IS NULL";
        while database.query_row(open, [], |row| row.get::<_, i64>(0)).unwrap() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for place in [0, 65_535, 65_536, 199_999] {
        flip(place);
        let error = client.ask(read_at(place.saturating_sub(50) as u64)).await.unwrap_err();
        assert!(error.is(ErrorCode::StorageFailed) && error.sentence.contains("changed"), "{place}: {error}");
        let found = problems(&master).await;
        assert!(found.len() == 1 && found[0].contains("was changed"), "{found:?}");
    }
    fs::write(&file, &good[..150_000]).unwrap();
    assert!(client.ask(read_at(160_000)).await.is_err());
    assert!(problems(&master).await.iter().any(|problem| problem.contains("150000 of 200000 bytes")));
    fs::remove_file(&file).unwrap();
    assert!(client.ask(read_at(0)).await.is_err());
    assert!(problems(&master).await.iter().any(|problem| problem.contains("cannot be read")));
    fs::write(&file, &good).unwrap();
    assert_eq!(problems(&master).await, [""; 0]);
    assert_eq!(whole_output(&mut client, id).await.len(), 200_007);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f20_a_second_master_on_the_folder_is_refused() {
    let master = Master::start().await;
    let mut config = master.config.clone();
    config.listen = "127.0.0.1:0".to_owned();
    let error = Server::start(config).await.err().unwrap();
    assert!(error.is(ErrorCode::DataLocked), "{error}");
    master.client("viewer").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_acts_and_refusals_are_in_the_audit_and_a_change_is_found() {
    let mut master = Master::start().await;
    assert!(master.try_login("submitter", "wrong horse").await.is_err());
    assert!(master.try_login("hunter2 the secret", "wrong horse").await.is_err());
    assert!(master.enrol("guess", "s1").await.is_err());
    let mut operator = master.client("operator").await;
    operator.ask(Request::SetMaxProcesses { slave: None, slots: 3 }).await.unwrap();
    let _slave = master.slave("s1", 1).await;
    for what in [
        "added the user admin as admin",
        "login as submitter refused: E-LOGIN-WRONG",
        "login as somebody refused: E-LOGIN-WRONG",
        "an enrolment was refused: E-JOIN-INVALID",
        "user operator at 127.0.0.1: at most 3 programs at once on every slave",
        "made a join string",
        "enrolled as slave",
    ] {
        audited(&master, what).await;
    }
    let (entries, problem) = audit(&master).await;
    assert_eq!(problem, None);
    assert!(!entries.join(" ").contains("hunter2"), "what was typed for a name may be a password");
    master.stop().await;
    let database = rusqlite::Connection::open(master.data().join("ruche.db")).unwrap();
    database.execute("UPDATE audit SET what = 'did nothing' WHERE sequence = 2", []).unwrap();
    drop(database);
    let (_, problem) = audit(&master).await;
    assert!(problem.unwrap().contains("entry 2"));
    assert!(problems(&master).await.iter().any(|problem| problem.contains("entry 2 of the audit")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f06_rows_that_contradict_one_another_are_found() {
    let mut master = Master::start().await;
    let mut slave = master.slave("s1", 1).await;
    let mut client = master.client("submitter").await;
    ended_with_output(&mut client, &mut slave).await;
    client.submit(command("next")).await;
    master.stop().await;
    for (damage, told) in [
        ("UPDATE program SET state = 0 WHERE sequence = 1", "has ended at once"),
        ("UPDATE program SET state = 4 WHERE sequence = 1", "at once"),
        ("UPDATE program SET state = 77 WHERE sequence = 1", "its state is none"),
        ("UPDATE program SET outcome = x'ff' WHERE sequence = 1", "how it ended cannot be read"),
        ("UPDATE program SET spec = 99 WHERE sequence = 2", "its body does not exist"),
        ("UPDATE program SET slave = 99 WHERE sequence = 1", "its slave does not exist"),
        ("UPDATE spec SET name = 'other' WHERE key = 1", "the body 1 was changed"),
        ("UPDATE spec SET body = CAST(body || x'00' AS BLOB) WHERE key = 1", "the body 1 was changed"),
        ("UPDATE program SET ended_at = ended_at + 1 WHERE sequence = 1", "the row of"),
        ("UPDATE program SET last_line = 'the fnd' WHERE sequence = 1", "the row of"),
        ("UPDATE program SET stdout_bytes = stdout_bytes - 1 WHERE sequence = 1", "the row of"),
        ("UPDATE output SET bytes = x'00'", "the output of"),
        ("DELETE FROM output", "the output of"),
        ("UPDATE total SET programs = programs + 1 WHERE state = 3", "the totals say"),
        ("DELETE FROM total", "the totals say 0"),
    ] {
        let database = rusqlite::Connection::open(master.data().join("ruche.db")).unwrap();
        let before = fs::read(master.data().join("ruche.db")).unwrap();
        assert!(database.execute(damage, []).unwrap() > 0, "{damage}");
        drop(database);
        let found = problems(&master).await;
        assert!(found.iter().any(|problem| problem.contains(told)), "{damage}: {found:?}");
        fs::write(master.data().join("ruche.db"), before).unwrap();
        assert_eq!(problems(&master).await, [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e10_roles_are_words_that_people_know() {
    let master = Master::start().await;
    let error = master.admin(AdminRequest::UserRole { name: "viewer".into(), role: "king".into() }).await.unwrap_err();
    assert!(error.is(ErrorCode::RequestInvalid), "{error}");
    let error = master.admin(AdminRequest::UserRole { name: "nobody".into(), role: Role::Admin.word().into() }).await;
    assert!(error.unwrap_err().is(ErrorCode::UserUnknown));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f04_a_failed_write_of_an_output_ends_the_master_without_an_acknowledgement() {
    let mut master = Master::start().await;
    let mut slave = master.slave("s1", 1).await;
    let mut client = master.client("submitter").await;
    let id = client.submit(command("p")).await;
    let key = slave.assignment().await.key;
    slave.started(key);
    let outputs = master.data().join("outputs");
    fs::rename(&outputs, master.data().join("away")).unwrap();
    fs::write(&outputs, "a file in the way").unwrap();
    slave.output(key, 0, b"some");
    slave.finish_after(key, GOOD, 4, b" more");
    let error = within("the master ends", master.server.take().unwrap().wait()).await.unwrap_err();
    assert!(error.is(ErrorCode::StorageFailed) && error.hint.contains("check"), "{error}");
    within("the connection is cut", async {
        loop {
            match slave.connection.receiver.next().await {
                Ok(Message::Command(Command::Order(Order::Stored(_) | Order::Acknowledge(_)))) => {
                    panic!("told as stored")
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    })
    .await;
    // What is on the disk goes on with the next start.
    fs::remove_file(&outputs).unwrap();
    fs::rename(master.data().join("away"), &outputs).unwrap();
    let server = Server::start(master.config.clone()).await.unwrap();
    master.server = Some(server);
    let slave = Slave::connect(&master, slave.identity, {
        let mut told = registration(1);
        told.finished = vec![key];
        told
    })
    .await;
    slave.output(key, 0, b"some");
    slave.finish_after(key, GOOD, 4, b" more");
    let mut client = master.client("submitter").await;
    assert_eq!(client.ended(id).await, GOOD);
    assert_eq!(whole_output(&mut client, id).await, b"some more");
}
