//! Who gets in, and what each may see and do.

#![expect(clippy::wildcard_enum_match_arm, reason = "a message that does not fit fails the test")]

mod support;

use common::{
    ErrorCode, UserError,
    message::{Command, HistoryQuery, Message, Reply, Request, command::Secret},
    session::{PeerKind, Role},
};
use master::admin::AdminRequest;
use support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e10_wrong_passwords_are_refused_alike_and_then_slowed() {
    let master = Master::start().await;
    for (user, password) in [("submitter", "wrong horse"), ("nobody", PASSWORD), ("submitter", "")] {
        let error = master.try_login(user, password).await.err().unwrap();
        assert!(error.is(ErrorCode::LoginWrong), "{error}");
    }
    master.try_login("submitter", "wrong horse").await.err().unwrap();
    let error = master.try_login("submitter", PASSWORD).await.err().unwrap();
    assert!(error.is(ErrorCode::LoginSlowed) && error.retry_after.is_some(), "{error}");
    // Others are not slowed by it.
    master.client("viewer").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e10_a_session_ends_with_logout_password_change_and_removal() {
    let master = Master::start().await;
    let resume = |token: &str| Command::Resume { token: Secret(token.to_owned()) };
    let mut client = master.client("submitter").await;
    let token = client.token.clone();
    master.try_enter(resume(&token)).await.unwrap();
    client.ask(Request::Logout).await.unwrap();
    assert!(master.try_enter(resume(&token)).await.err().unwrap().is(ErrorCode::LoginNeeded));
    assert!(master.try_enter(resume("guess")).await.err().unwrap().is(ErrorCode::LoginNeeded));

    let changes: [fn(String) -> AdminRequest; 2] = [
        |name| AdminRequest::UserPasswd { name, hash: master::admin::password_hash("another horse").unwrap() },
        |name| AdminRequest::UserRemove { name },
    ];
    for (user, change) in ["submitter", "viewer"].into_iter().zip(changes) {
        let mut client = master.client(user).await;
        let token = client.token.clone();
        master.admin(change(user.to_owned())).await.unwrap();
        let refused = within("the live connection is cut", async {
            loop {
                match client.connection.receiver.next().await.unwrap() {
                    Message::Alert(common::message::Alert::Refused(error)) => return error,
                    _ => continue,
                }
            }
        })
        .await;
        assert!(refused.is(ErrorCode::LoginNeeded), "{refused}");
        assert!(master.try_enter(resume(&token)).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e10_a_join_string_is_good_once_and_names_are_unique() {
    let master = Master::start().await;
    let secret = master.invite(1).await;
    let first = master.enrol(&secret, "s1").await.unwrap();
    assert_eq!(first.name, "s1");
    let used: Result<_, UserError> = master.enrol(&secret, "s2").await;
    assert!(used.err().unwrap().is(ErrorCode::JoinInvalid));
    assert!(master.enrol("guess", "s2").await.err().unwrap().is(ErrorCode::JoinInvalid));
    // A connected slave keeps its name; a wish gets a number.
    let _slave = Slave::connect(&master, first, registration(1)).await;
    let secret = master.invite(3).await;
    assert!(master.enrol(&secret, "s1").await.err().unwrap().is(ErrorCode::SlaveNameTaken));
    assert_eq!(master.enrol(&secret, "s1*").await.unwrap().name, "s1-2");
    assert_eq!(master.enrol(&secret, "").await.unwrap().name, "slave");
    for name in ["a b", "-x", "a/b", "\u{202e}x"] {
        assert!(master.enrol(&secret, name).await.err().unwrap().is(ErrorCode::RequestInvalid), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e10_a_slaves_certificate_is_no_login_and_a_login_is_no_slave() {
    let master = Master::start().await;
    let slave = master.slave("s1", 1).await;
    let pin = master.pin().await;
    for (kind, identity) in [
        (PeerKind::ClientCli, Some(&slave.identity)),
        (PeerKind::Enrolment, Some(&slave.identity)),
        (PeerKind::Slave, None),
    ] {
        let mut connection = transport::connect(&master.address, pin, identity).await.unwrap();
        connection.sender.send(Command::Hello(common::session::Hello::ours(kind))).unwrap();
        match within("a refusal", connection.receiver.next()).await.unwrap() {
            Message::Alert(common::message::Alert::Refused(error)) => {
                assert!(error.is(ErrorCode::IdentityRefused), "{kind:?} {error}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e10_a_submitter_sees_only_own_programs() {
    let master = Master::start().await;
    master.add_user("other", Role::Submitter).await;
    let mut owner = master.client("submitter").await;
    let mut other = master.client("other").await;
    let mut viewer = master.client("viewer").await;
    let mut operator = master.client("operator").await;
    let id = owner.submit(command("secret")).await;
    let unknown = new_id();
    let requests = |id| {
        [
            Request::Show { id },
            Request::Spec { id },
            Request::Why { id },
            Request::Wait { ids: vec![id] },
            Request::Again { id, new_id: new_id() },
            Request::ReadOutput { id, stream: common::message::Stream::Stdout, offset: 0, bytes_max: 9, follow: true },
        ]
    };
    for ended in [false, true] {
        for (hidden, missing) in requests(id).into_iter().zip(requests(unknown)) {
            let hidden = other.ask(hidden).await.unwrap_err();
            let missing = other.ask(missing).await.unwrap_err();
            assert!(hidden.is(ErrorCode::ProgramUnknown), "{hidden}");
            // The same answer but for the ID: nothing tells that it exists.
            assert_eq!(
                hidden.sentence.replace(&id.to_string(), ""),
                missing.sentence.replace(&unknown.to_string(), "")
            );
        }
        let Reply::Cancelled { results } = other.ask(Request::Cancel { ids: vec![id] }).await.unwrap() else {
            panic!()
        };
        assert!(results[0].as_ref().unwrap_err().is(ErrorCode::ProgramUnknown));
        assert_eq!(other.page(HistoryQuery { limit: 9, ..HistoryQuery::default() }).await.1, 0);
        assert_eq!(viewer.page(HistoryQuery { limit: 9, ..HistoryQuery::default() }).await.1, 1);
        assert!(viewer.ask(Request::Cancel { ids: vec![id] }).await.unwrap_err().is(ErrorCode::NotAllowed));
        if !ended {
            operator.ask(Request::Cancel { ids: vec![id] }).await.unwrap();
            owner.ended(id).await;
        }
    }
    assert!(owner.ask(Request::SetMaxProcesses { slave: None, slots: 1 }).await.unwrap_err().is(ErrorCode::NotAllowed));
    assert!(viewer.try_submit(new_id(), command("x")).await.unwrap_err().is(ErrorCode::NotAllowed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e10_administration_works_on_a_running_and_on_a_stopped_master() {
    let mut master = Master::start().await;
    let pin = master.pin().await.to_string();
    for running in [true, false] {
        let request = AdminRequest::UserAdd {
            name: format!("new-{running}"),
            role: "viewer".into(),
            hash: master::admin::password_hash(PASSWORD).unwrap(),
        };
        master.admin(request).await.unwrap();
        let master::admin::AdminAnswer::Pin(told) = master.admin(AdminRequest::Pin).await.unwrap() else { panic!() };
        assert_eq!(told, pin);
        let master::admin::AdminAnswer::Checked(problems) = master.admin(AdminRequest::Check).await.unwrap() else {
            panic!()
        };
        assert!(problems.is_empty(), "{problems:?}");
        let last = master.admin(AdminRequest::UserRemove { name: "admin".into() }).await.unwrap_err();
        assert!(last.is(ErrorCode::RequestInvalid), "{last}");
        if running {
            master.stop().await;
        }
    }
    master.restart().await;
    master.client("new-false").await;
}
