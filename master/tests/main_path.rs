//! The main path and its variations, with real TLS, a real store and a slave that does what the test says.

#![expect(clippy::wildcard_enum_match_arm, reason = "a message that does not fit fails the test")]

mod support;

use common::{
    ErrorCode, Outcome,
    message::{Change, HistoryQuery, Order, Reply, Report, Request},
    program::State,
    view::Policy,
};
use support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e1_a_program_is_submitted_runs_and_its_output_is_read() {
    let master = Master::start().await;
    let mut client = master.client("submitter").await;
    let mut slave = master.slave("s1", 2).await;
    let id = client.submit(command("first")).await;
    let assignment = slave.assignment().await;
    assert_eq!((assignment.key.program, assignment.key.attempt), (id, 1));
    slave.started(assignment.key);
    client.until(id, "it runs", |view| view.state == State::Running).await;
    slave.finish(assignment.key, GOOD, b"hello\n");
    assert_eq!(client.ended(id).await, GOOD);
    assert_eq!(slave.other_order().await, Order::Acknowledge(vec![assignment.key]));
    let view = client.show(id).await;
    assert_eq!((view.state, view.slave_name.as_deref(), view.output_bytes), (State::Done, Some("s1"), 6));
    assert!(view.submitted_at <= view.started_at.unwrap() && view.started_at <= view.ended_at);
    assert_eq!(client.output(id, 0, true).await, (b"hello\n".to_vec(), true));
    assert_eq!(client.output(id, 2, false).await, (b"llo\n".to_vec(), true));
    let (rows, total) = client.page(HistoryQuery { limit: 10, ..HistoryQuery::default() }).await;
    assert_eq!((rows.len(), total, rows[0].id), (1, 1, id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e1_a_repeated_submit_is_harmless_and_another_body_is_refused() {
    let master = Master::start().await;
    let mut client = master.client("submitter").await;
    let mut other = master.client("operator").await;
    let id = new_id();
    let sequence = client.try_submit(id, command("a")).await.unwrap();
    assert_eq!(client.try_submit(id, command("a")).await.unwrap(), sequence);
    let conflict = client.try_submit(id, command("b")).await.unwrap_err();
    assert!(conflict.is(ErrorCode::ProgramConflict), "{conflict}");
    assert!(other.try_submit(id, command("a")).await.unwrap_err().is(ErrorCode::ProgramConflict));
    // The same after it has ended and is in the store alone.
    let mut slave = master.slave("s1", 1).await;
    let key = slave.assignment().await.key;
    slave.finish(key, GOOD, b"");
    client.ended(id).await;
    assert_eq!(client.try_submit(id, command("a")).await.unwrap(), sequence);
    assert!(client.try_submit(id, command("b")).await.unwrap_err().is(ErrorCode::ProgramConflict));
    let (_, total) = client.page(HistoryQuery { limit: 1, ..HistoryQuery::default() }).await;
    assert_eq!(total, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e1_a_repeated_again_is_harmless_and_a_used_id_is_refused() {
    let master = Master::start().await;
    let mut client = master.client("submitter").await;
    let mut slave = master.slave("s1", 1).await;
    let id = client.submit(command("first")).await;
    let key = slave.assignment().await.key;
    slave.finish(key, GOOD, b"");
    client.ended(id).await;
    let again = Request::Again { id, new_id: new_id() };
    let first = client.ask(again.clone()).await.unwrap();
    let key = slave.assignment().await.key;
    slave.finish(key, GOOD, b"");
    client.ended(key.program).await;
    // Both have ended and are committed: only the store knows them.
    client.page(HistoryQuery { limit: 9, ..HistoryQuery::default() }).await;
    client.submit(command("other")).await;
    assert_eq!(client.ask(again).await.unwrap(), first);
    let other = client.submit(source("Python")).await;
    for new_id in [id, other] {
        let error = client.ask(Request::Again { id, new_id }).await.unwrap_err();
        assert!(error.is(ErrorCode::ProgramConflict), "{error}");
    }
    client.show(id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e7_output_streams_to_a_follower_and_is_complete_at_the_end() {
    let master = Master::start().await;
    let mut client = master.client("submitter").await;
    let mut slave = master.slave("s1", 1).await;
    let id = client.submit(command("talks")).await;
    let key = slave.assignment().await.key;
    slave.started(key);
    slave.output(key, 0, b"one ");
    assert_eq!(client.output(id, 0, true).await, (b"one ".to_vec(), false));
    match slave.other_order().await {
        Order::Stored(stored) => assert_eq!((stored[0].key, stored[0].offset), (key, 4)),
        other => panic!("{other:?}"),
    }
    // The result overtakes the output before it, and waits for it.
    slave.finish_after(key, GOOD, 8, b"three");
    slave.output(key, 4, b"two ");
    assert_eq!(client.ended(id).await, GOOD);
    assert_eq!(client.output(id, 0, false).await, (b"one two three".to_vec(), true));
    assert_eq!(client.output(id, 6, false).await, (b"o three".to_vec(), true));
    assert_eq!(client.show(id).await.output_bytes, 13);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e4_three_retries_are_four_starts_and_no_more() {
    let master = Master::start().await;
    let mut client = master.client("submitter").await;
    let mut slave = master.slave("s1", 1).await;
    let mut spec = command("fails");
    spec.retry = 3;
    let id = client.submit(spec).await;
    for attempt in 1..=4 {
        let key = slave.assignment().await.key;
        assert_eq!((key.program, key.attempt), (id, attempt));
        slave.started(key);
        slave.finish(key, Outcome::Exited { code: 7 }, b"x");
    }
    assert_eq!(client.ended(id).await, Outcome::Exited { code: 7 });
    assert_eq!(client.show(id).await.attempt, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e4_a_program_is_cancelled_in_each_state() {
    let master = Master::start().await;
    let mut client = master.client("submitter").await;
    let cancel = async |client: &mut Client, id| match client.ask(Request::Cancel { ids: vec![id] }).await.unwrap() {
        Reply::Cancelled { mut results } => results.remove(0),
        other => panic!("{other:?}"),
    };
    let waiting = client.submit(command("waits")).await;
    assert_eq!(cancel(&mut client, waiting).await.unwrap(), State::Cancelled);
    assert_eq!(client.ended(waiting).await, Outcome::Cancelled { by: "submitter".into() });
    assert!(cancel(&mut client, waiting).await.unwrap_err().is(ErrorCode::ProgramEnded));

    let mut slave = master.slave("s1", 1).await;
    for started in [false, true] {
        let id = client.submit(command("sent")).await;
        let key = slave.assignment().await.key;
        if started {
            slave.started(key);
            client.until(id, "it runs", |view| view.state == State::Running).await;
        }
        let state = cancel(&mut client, id).await.unwrap();
        assert_eq!(state, if started { State::Running } else { State::Waiting });
        loop {
            match slave.other_order().await {
                Order::Cancel { keys, by } => {
                    assert_eq!((keys, by.as_str()), (vec![key], "submitter"));
                    break;
                }
                Order::Acknowledge(_) => {}
                other => panic!("{other:?}"),
            }
        }
        slave.finish(key, Outcome::Cancelled { by: "submitter".into() }, b"");
        assert_eq!(client.ended(id).await, Outcome::Cancelled { by: "submitter".into() });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e4_slots_change_while_programs_run_and_what_is_ahead_comes_back() {
    let master = Master::start().await;
    let mut client = master.client("operator").await;
    let mut slave = master.slave("s1", 1).await;
    let first = client.submit(command("a")).await;
    let second = client.submit(command("b")).await;
    let (one, two) = (slave.assignment().await.key, slave.assignment().await.key);
    assert_eq!((one.program, two.program), (first, second), "the second is sent ahead");
    slave.started(one);
    // Another slave is free: what is ahead is taken back and given to it.
    let mut other = master.slave("s2", 1).await;
    assert_eq!(slave.other_order().await, Order::Withdraw(vec![two]));
    slave.report(Report::Withdrawn(vec![two]));
    assert_eq!(other.assignment().await.key, two, "under the same number: it was never started");
    // Nothing new with no slots.
    client.ask(Request::SetMaxProcesses { slave: None, slots: 0 }).await.unwrap();
    assert_eq!(slave.other_order().await, Order::SetSlots(0));
    let third = client.submit(command("c")).await;
    let Reply::Why(why) = client.ask(Request::Why { id: third }).await.unwrap() else { panic!() };
    assert!(why.slaves.iter().all(|slave| slave.reason.contains("at most 0")), "{why:?}");
    client.ask(Request::SetMaxProcesses { slave: Some("s1".into()), slots: 5 }).await.unwrap();
    assert_eq!(slave.other_order().await, Order::SetSlots(5));
    assert_eq!(slave.assignment().await.key.program, third);
    let refused = client.ask(Request::SetMaxProcesses { slave: Some("s9".into()), slots: 5 }).await.unwrap_err();
    assert!(refused.is(ErrorCode::SlaveUnknown));
    let refused = client.ask(Request::SetPolicy(Policy::Priority)).await.unwrap_err();
    assert!(refused.is(ErrorCode::PolicyUnavailable));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e9_a_language_that_nobody_has_fails_at_once_and_says_who_has_what() {
    let master = Master::start().await;
    let mut client = master.client("submitter").await;
    let early = client.submit(source("Kotlin")).await;
    assert_eq!(client.show(early).await.state, State::Waiting, "nobody is there to ask");
    let _slave = master.slave("s1", 1).await;
    for id in [early, client.submit(source("Kotlin")).await] {
        let Outcome::NotSupported { detail } = client.ended(id).await else { panic!() };
        assert!(detail.contains("`Kotlin`") && detail.contains("Python (s1)"), "{detail}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e8_watchers_see_programs_slaves_and_clients_change() {
    let master = Master::start().await;
    let mut watcher = master.client("viewer").await;
    watcher.ask(Request::Watch { programs: true, slaves: true, clients: true }).await.unwrap();
    let mut client = master.client("submitter").await;
    watcher.change("the client", |change| matches!(change, Change::Client(view) if view.user == "submitter")).await;
    let mut slave = master.slave("s1", 1).await;
    watcher.change("the slave", |change| matches!(change, Change::Slave(view) if view.name == "s1")).await;
    let id = client.submit(command("seen")).await;
    watcher.change("it waits", |change| matches!(change, Change::Program(view) if view.id == id)).await;
    let key = slave.assignment().await.key;
    slave.finish(key, GOOD, b"bye");
    let done = |change: &Change| matches!(change, Change::Program(view) if view.id == id && view.state == State::Done);
    watcher.change("it is done", done).await;
    watcher.change("the counts", |change| matches!(change, Change::Summary(summary) if summary.done == 1)).await;
    let left = slave.leave().await;
    watcher
        .change("the slave is gone", |change| {
            matches!(change, Change::Slave(view) if view.id == left.id && view.state == common::view::SlaveState::Unreachable)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l09_a_newcomer_starts_at_the_next_free_slot() {
    let master = Master::start().await;
    let (mut many, mut few) = (master.client("submitter").await, master.client("operator").await);
    let mut slave = master.slave("s1", 1).await;
    let ids: Vec<_> = (0..500).map(|_| new_id()).collect();
    let spec = Box::new(command("many"));
    many.ask(Request::Submit { ids, first_index: 0, copies: 500, spec }).await.unwrap();
    let running = slave.assignment().await.key;
    slave.started(running);
    let newcomer = few.submit(command("few")).await;
    // What was sent ahead is asked back, so that the slot is his next.
    loop {
        match slave.other_order().await {
            Order::Withdraw(keys) => {
                slave.assigned.retain(|assignment| !keys.contains(&assignment.key));
                slave.report(Report::Withdrawn(keys));
                break;
            }
            Order::Acknowledge(_) | Order::Stored(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(slave.assignment().await.key.program, newcomer);
    slave.finish(running, GOOD, b"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f18_a_slave_set_aside_stays_aside_over_a_restart() {
    let mut master = Master::start().await;
    let slave = master.slave("s1", 1).await;
    let mut operator = master.client("operator").await;
    let aside = Request::SetAside { slave: "s1".into(), reason: "new disk".into() };
    operator.ask(aside).await.unwrap();
    let identity = slave.leave().await;
    master.restart().await;
    let _slave = Slave::connect(&master, identity, registration(1)).await;
    let mut operator = master.client("operator").await;
    let Reply::Slaves(rows) = operator.ask(Request::Slaves).await.unwrap() else { panic!() };
    assert_eq!(rows[0].aside.as_deref(), Some("by `operator`: new disk"));
    let id = operator.submit(command("a")).await;
    assert_eq!(operator.show(id).await.attempt, 0);
    operator.ask(Request::TakeBack { slave: "s1".into() }).await.unwrap();
    operator.until(id, "it is sent", |view| view.attempt == 1).await;
}
