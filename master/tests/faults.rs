//! Slaves that go and come back, masters that stop, folders and disks that are not as they should be.

#![expect(clippy::wildcard_enum_match_arm, reason = "a message that does not fit fails the test")]

mod support;

use common::{
    AttemptKey, Duration, ErrorCode, Outcome, Timestamp,
    message::{Order, Reply, Report, Request},
    program::State,
    session::PeerKind,
    view::SlaveState,
};
use master::Server;
use support::*;
use transport::clock;

fn lost(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Lost { .. })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e13_what_a_lost_slave_ran_is_lost_after_the_lease_and_retried_if_it_may() {
    let master = Master::start().await;
    let mut client = master.client("submitter").await;
    let mut slave = master.slave("s1", 2).await;
    assert!(slave.registered.1 < master.config.lease, "the slave's lease ends first");
    let once = client.submit(command("once")).await;
    let mut spec = command("again");
    spec.retry = 1;
    let again = client.submit(spec).await;
    for _ in 0..2 {
        let key = slave.assignment().await.key;
        slave.started(key);
    }
    client.until(again, "both run", |view| view.state == State::Running).await;
    let began = clock::boot_now();
    slave.leave().await;
    assert!(lost(&client.ended(once).await));
    assert!(clock::boot_now().since(began) >= master.config.lease, "not before the lease is over");
    let mut other = master.slave("s2", 1).await;
    let key = other.assignment().await.key;
    assert_eq!(key, AttemptKey { program: again, attempt: 2 });
    other.finish(key, GOOD, b"");
    assert_eq!(client.ended(again).await, GOOD);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e13_a_result_survives_a_cut_and_a_stale_one_changes_nothing() {
    let master = Master::start_with(|config| config.lease = Duration::from_secs(60)).await;
    let mut client = master.client("submitter").await;
    let mut slave = master.slave("s1", 1).await;
    let id = client.submit(command("a")).await;
    let ahead = client.submit(command("ahead")).await;
    let (key, ahead_key) = (slave.assignment().await.key, slave.assignment().await.key);
    slave.started(key);
    client.until(id, "it runs", |view| view.state == State::Running).await;
    let identity = slave.leave().await;
    let stale = AttemptKey { program: new_id(), attempt: 1 };
    let mut told = registration(1);
    told.finished = vec![key, stale];
    let mut slave = Slave::connect(&master, identity, told).await;
    // The one that was ahead never arrived, as the same agent says: it is sent anew, not lost.
    assert_eq!(slave.other_order().await, Order::Acknowledge(vec![stale]));
    assert_eq!(slave.assignment().await.key, ahead_key);
    slave.finish(key, Outcome::Exited { code: 3 }, b"kept");
    assert_eq!(client.ended(id).await, Outcome::Exited { code: 3 });
    // Repeated with another outcome: acknowledged, and the record stays.
    slave.finish(key, GOOD, b"changed");
    slave.finish(ahead_key, GOOD, b"");
    client.ended(ahead).await;
    assert_eq!(client.show(id).await.outcome, Some(Outcome::Exited { code: 3 }));
    assert_eq!(client.output(id, 0, false).await.0, b"kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e13_everything_goes_on_after_a_restart_of_the_master() {
    let mut master = Master::start_with(|config| config.lease = Duration::from_secs(60)).await;
    let mut client = master.client("submitter").await;
    let mut slave = master.slave("s1", 1).await;
    let running = client.submit(command("running")).await;
    let key = slave.assignment().await.key;
    slave.started(key);
    slave.output(key, 0, b"before ");
    client.until(running, "its output is stored", |view| view.output_bytes == 7).await;
    client.ask(Request::SetMaxProcesses { slave: None, slots: 3 }).await.unwrap_err();
    let mut python = source("Python");
    python.slave = Some("s1".into());
    let waiting = client.submit(python).await;
    let ahead = slave.assignment().await.key;
    let token = client.token.clone();
    let identity = slave.identity;
    drop(client);
    drop(slave.connection);
    master.restart().await;

    let resume = common::message::Command::Resume { token: common::message::command::Secret(token) };
    let mut client = master.try_enter(resume).await.unwrap();
    assert_eq!(client.show(waiting).await.state, State::Waiting);
    assert_eq!(client.show(running).await.state, State::Running);
    let Reply::Slaves(slaves) = client.ask(Request::Slaves).await.unwrap() else { panic!() };
    assert_eq!((slaves[0].name.as_str(), slaves[0].state), ("s1", SlaveState::Unreachable));
    let mut told = registration(1);
    told.running = vec![(key, clock::now())];
    told.waiting = vec![ahead];
    let mut slave = Slave::connect(&master, identity, told).await;
    match slave.other_order().await {
        Order::Stored(stored) => assert_eq!(stored[0].offset, 7, "the slave goes on from here"),
        other => panic!("{other:?}"),
    }
    slave.finish_after(key, GOOD, 7, b"after");
    assert_eq!(client.ended(running).await, GOOD);
    assert_eq!(client.output(running, 0, true).await, (b"before after".to_vec(), true));
    slave.finish(ahead, GOOD, b"");
    assert_eq!(client.ended(waiting).await, GOOD);
    assert_eq!(client.show(waiting).await.attempt, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e13_a_slave_that_stays_away_after_a_restart_of_the_master_has_lost_its_programs() {
    let mut master = Master::start().await;
    let mut client = master.client("submitter").await;
    let mut slave = master.slave("s1", 1).await;
    let id = client.submit(command("a")).await;
    let key = slave.assignment().await.key;
    slave.started(key);
    client.until(id, "it runs", |view| view.state == State::Running).await;
    drop(slave);
    drop(client);
    master.restart().await;
    let mut client = master.client("submitter").await;
    assert!(lost(&client.ended(id).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e13_what_a_new_agent_does_not_know_may_have_run_and_is_lost() {
    let master = Master::start_with(|config| config.lease = Duration::from_secs(2)).await;
    let mut client = master.client("submitter").await;
    let mut slave = master.slave("s1", 1).await;
    let id = client.submit(command("a")).await;
    slave.assignment().await;
    let identity = slave.leave().await;
    let mut told = registration(1);
    // What the agent before it started may run until the lease is over; then it is lost.
    told.instance = 2;
    let gone = AttemptKey { program: new_id(), attempt: 1 };
    told.running = vec![(gone, Timestamp(1))];
    let mut slave = Slave::connect(&master, identity, told).await;
    assert_eq!(slave.other_order().await, Order::Discard(vec![gone]));
    assert!(lost(&client.ended(id).await));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e13_two_agents_under_one_identity_never_both_get_work() {
    let master = Master::start().await;
    let slave = master.slave("s1", 1).await;
    let mut connection = master.dial(PeerKind::Slave, Some(&slave.identity)).await;
    let mut told = registration(1);
    told.instance = 2;
    connection.sender.send(common::message::Status::Report(Report::Register(Box::new(told)))).unwrap();
    match within("a refusal", connection.receiver.next()).await.unwrap() {
        common::message::Message::Alert(common::message::Alert::Refused(error)) => {
            assert!(error.is(ErrorCode::Busy) && error.retry_after.is_some(), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e13_a_slave_that_drains_gives_back_what_it_did_not_start() {
    let master = Master::start().await;
    let mut client = master.client("submitter").await;
    let mut slave = master.slave("s1", 1).await;
    client.submit(command("a")).await;
    let second = client.submit(command("b")).await;
    let (one, two) = (slave.assignment().await.key, slave.assignment().await.key);
    slave.started(one);
    slave.report(Report::Draining);
    assert_eq!(slave.other_order().await, Order::Withdraw(vec![two]));
    slave.report(Report::Withdrawn(vec![two]));
    let mut other = master.slave("s2", 1).await;
    assert_eq!(other.assignment().await.key.program, second);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e13_a_second_master_on_the_same_folder_is_refused() {
    let master = Master::start().await;
    let mut config = master.config.clone();
    config.listen = "127.0.0.1:0".to_owned();
    let error = Server::start(config).await.err().unwrap();
    assert!(error.is(ErrorCode::DataLocked), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e13_a_folder_of_a_newer_release_is_left_alone() {
    let mut master = Master::start().await;
    master.stop().await;
    let database = rusqlite::Connection::open(master.data().join("ruche.db")).unwrap();
    database.pragma_update(None, "user_version", 999).unwrap();
    drop(database);
    let error = Server::start(master.config.clone()).await.err().unwrap();
    assert!(error.is(ErrorCode::DataTooNew), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_a_master_that_stops_tells_its_clients_and_commits_everything() {
    let mut master = Master::start().await;
    let mut client = master.client("submitter").await;
    let id = client.submit(command("a")).await;
    master.stop().await;
    within("the notice", async {
        loop {
            match client.connection.receiver.next().await.unwrap() {
                common::message::Message::Alert(common::message::Alert::Stopping { .. }) => return,
                _ => continue,
            }
        }
    })
    .await;
    master.restart().await;
    let mut client = master.client("submitter").await;
    assert_eq!(client.show(id).await.state, State::Waiting);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e2_many_clients_submit_at_once() {
    let master = Master::start().await;
    let mut slave = master.slave("s1", 8).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        for role in ["submitter", "operator", "admin"] {
            clients.push(master.client(role).await);
        }
    }
    let mut ids = Vec::new();
    for client in &mut clients {
        for _ in 0..20 {
            let id = new_id();
            let request = Request::Submit { ids: vec![id], first_index: 0, copies: 1, spec: Box::new(command("many")) };
            ids.push(id);
            client.send(request);
        }
        client.send(Request::Wait { ids: ids[ids.len() - 20..].to_vec() });
    }
    for _ in 0..ids.len() {
        let key = slave.assignment().await.key;
        slave.finish(key, GOOD, b"out");
    }
    for client in &mut clients {
        let Reply::Ended { programs, count } = client.reply(common::message::RequestId(21)).await.unwrap() else {
            panic!()
        };
        assert_eq!((programs.len(), count), (20, 20));
    }
    let Reply::Summary(summary) = clients[0].ask(Request::Summary).await.unwrap() else { panic!() };
    assert_eq!((summary.programs, summary.done, summary.waiting, summary.running), (240, 240, 0, 0));
}
