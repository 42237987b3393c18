//! Who a peer is, while it lives: join strings, renewal, and certificates in the wrong place.

#![expect(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_used,
    reason = "a message that does not fit, or a helper that fails, fails the test"
)]

mod support;

use common::{
    ErrorCode, Outcome, UserError,
    message::{Alert, Command, Message, Report, Request, RequestId, Status, command::Secret},
    program::State,
    session::PeerKind,
};
use master::admin::{AdminAnswer, AdminRequest};
use support::*;
use transport::{Connection, EnrolmentKey, SlaveIdentity};

/// Why the master ended the connection; none when it just did.
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

async fn audited(master: &Master, what: &str) {
    within(what, async {
        loop {
            match master.admin(AdminRequest::Audit).await.unwrap() {
                AdminAnswer::Audit { entries, .. } if entries.iter().any(|entry| entry.what.contains(what)) => return,
                _ => {}
            }
        }
    })
    .await;
}

/// Asks for the next certificate as a slave does.
async fn renew(slave: &mut Slave) -> SlaveIdentity {
    let key = EnrolmentKey::generate().unwrap();
    slave.connection.sender.send(Command::Renew { certificate_request: key.request_der() }).unwrap();
    loop {
        match within("the answer to a renewal", slave.connection.receiver.next()).await.unwrap() {
            Message::Status(Status::Renewed { certificates }) => {
                let chain = certificates.into_iter().map(serde_bytes::ByteBuf::into_vec).collect();
                return slave.identity.renewed(key, chain).unwrap();
            }
            Message::Command(Command::Order(order)) => slave.orders.push_back(order),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a07_of_two_enrolments_at_once_with_one_join_string_exactly_one_succeeds() {
    let master = Master::start().await;
    for _ in 0..10 {
        let secret = master.invite(1).await;
        let (one, two) = tokio::join!(master.enrol(&secret, "a*"), master.enrol(&secret, "b*"));
        assert_eq!([&one, &two].iter().filter(|result| result.is_ok()).count(), 1, "{one:?} {two:?}");
        let refused = one.err().or(two.err()).unwrap();
        assert!(refused.is(ErrorCode::JoinInvalid), "{refused}");
    }
    let names = std::fs::read(master.data().join("ruche.db")).unwrap();
    let log = std::fs::read(master.data().join("ruche.db-wal")).unwrap();
    let secret = master.invite(1).await;
    for file in [names, log] {
        assert!(!file.windows(secret.len()).any(|part| part == secret.as_bytes()), "it is kept as a hash only");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a07_an_address_that_guesses_join_strings_is_slowed() {
    let master = Master::start().await;
    let slowed = within("it is slowed", async {
        loop {
            let error = master.enrol("guess", "s1").await.err().unwrap();
            if !error.is(ErrorCode::JoinInvalid) {
                return error;
            }
        }
    })
    .await;
    assert!(slowed.is(ErrorCode::LoginSlowed) && slowed.retry_after.is_some(), "{slowed}");
    // Who logs in from there is not.
    master.client("viewer").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a07_a_join_string_that_has_run_out_and_a_blank_name_are_refused() {
    let master = Master::start().await;
    let (secret, hash) = master::admin::join_secret().unwrap();
    let expires = common::Timestamp(transport::clock::now().0 - 1);
    master.admin(AdminRequest::Invite { hash, expires, uses: 1 }).await.unwrap();
    assert!(master.enrol(&secret, "s1").await.err().unwrap().is(ErrorCode::JoinInvalid));
    let secret = master.invite(2).await;
    for blank in [" ", "\t \n"] {
        assert!(master.enrol(&secret, blank).await.err().unwrap().is(ErrorCode::RequestInvalid));
    }
    assert_eq!(master.enrol(&secret, " s1 ").await.unwrap().name, "s1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a09_renewal_disturbs_no_program_and_an_expired_certificate_ends_the_session() {
    let master = Master::start_with(|config| config.certificate_life = common::Duration::from_secs(3)).await;
    let mut renewing = master.slave("s1", 1).await;
    let mut lazy = master.slave("s2", 1).await;
    let mut client = master.client("submitter").await;
    let mut spec = command("p");
    spec.slave = Some("s1".to_owned());
    let id = client.submit(spec).await;
    let key = renewing.assignment().await.key;
    renewing.started(key);
    let lazy_end = tokio::spawn(async move {
        let error = refusal(&mut lazy.connection).await;
        (error, lazy.identity)
    });
    // The other one lives through several lives of a certificate.
    let begun = transport::clock::now();
    while transport::clock::now().since(begun) < common::Duration::from_secs(7) {
        let due = renewing.identity.renewal_at().unwrap();
        let wait = due.since(transport::clock::now()).to_std();
        tokio::time::sleep(wait).await;
        renewing.identity = renew(&mut renewing).await;
        assert!(!renewing.identity.renewal_due(transport::clock::now()));
    }
    let (error, expired) = within("the lazy one is cut", lazy_end).await.unwrap();
    assert!(error.is(ErrorCode::IdentityRefused) && error.sentence.contains("run out"), "{error}");
    let mut refused = transport::connect(&master.address, master.pin().await, Some(&expired)).await.unwrap();
    assert!(within("TLS refuses it", refused.receiver.next()).await.unwrap_err().is_identity_refused());
    // The program never noticed, and the newest certificate is good for the next connection.
    assert_eq!(client.show(id).await.state, State::Running);
    renewing.finish(key, GOOD, b"");
    assert_eq!(client.ended(id).await, GOOD);
    let identity = renewing.leave().await;
    Slave::connect(&master, identity, registration(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a12_a_renewal_gives_the_slave_that_asks_whatever_it_asks_for() {
    let master = Master::start().await;
    let mut one = master.slave("s1", 1).await;
    let two = master.slave("s2", 1).await;
    assert_eq!(renew(&mut one).await.id, one.id());
    // A request that is not sound cuts its sender and nobody else.
    one.connection.sender.send(Command::Renew { certificate_request: vec![0x30; 50] }).unwrap();
    assert!(refusal(&mut one.connection).await.is(ErrorCode::IdentityRefused));
    two.connection.sender.send(Status::Report(Report::Started(vec![]))).unwrap();
    let mut client = master.client("viewer").await;
    client.ask(Request::Summary).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a12_identities_in_the_wrong_place_are_refused_and_in_the_audit() {
    let master = Master::start().await;
    let slave = master.slave("s1", 1).await;
    let client = master.client("operator").await;
    // A slave's certificate as client, as newcomer, and a peer without one as slave.
    for (kind, identity, what) in [
        (PeerKind::ClientCli, Some(&slave.identity), "another role: ClientCli"),
        (PeerKind::ClientGui, Some(&slave.identity), "another role: ClientGui"),
        (PeerKind::Enrolment, Some(&slave.identity), "another role: Enrolment"),
        (PeerKind::Slave, None, "without a certificate"),
    ] {
        let mut connection = transport::connect(&master.address, master.pin().await, identity).await.unwrap();
        connection.sender.send(Command::Hello(common::session::Hello::ours(kind))).unwrap();
        assert!(refusal(&mut connection).await.is(ErrorCode::IdentityRefused), "{kind:?}");
        audited(&master, what).await;
    }
    // A slave that speaks as a client does, before and after it registered.
    let requests = [
        Command::Request { id: RequestId(1), request: Request::Slaves },
        Command::Resume { token: Secret(client.token.clone()) },
        Command::Login { user: "admin".into(), password: Secret(PASSWORD.into()) },
    ];
    for request in requests {
        let mut connection = master.dial(PeerKind::Slave, Some(&slave.identity)).await;
        connection.sender.send(request).unwrap();
        assert!(refusal(&mut connection).await.is(ErrorCode::ProtocolError));
    }
    audited(&master, "something else than a registration").await;
    let mut other = master.slave("s2", 1).await;
    other.connection.sender.send(Command::Request { id: RequestId(1), request: Request::Slaves }).unwrap();
    assert!(refusal(&mut other.connection).await.is(ErrorCode::ProtocolError));
    audited(&master, "something else than a report").await;
    // A client that speaks as a slave does, or asks for a slave's certificate.
    let key = EnrolmentKey::generate().unwrap();
    let certificate_request = key.request_der();
    let secret = Secret(master.invite(1).await);
    let wrong: [Message; 3] = [
        Status::Report(Report::Register(Box::new(registration(1)))).into(),
        Command::Renew { certificate_request: certificate_request.clone() }.into(),
        Command::Enrol { secret, name: "s9".into(), certificate_request }.into(),
    ];
    for message in wrong {
        let mut client = master.client("admin").await;
        client.connection.sender.send(message).unwrap();
        assert!(refusal(&mut client.connection).await.is(ErrorCode::ProtocolError));
    }
    audited(&master, "something else than a request").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a12_a_slave_that_reports_for_another_changes_nothing() {
    let master = Master::start().await;
    let mut holder = master.slave("s1", 1).await;
    let rogue = master.slave("s2", 1).await;
    let mut client = master.client("submitter").await;
    let mut spec = command("p");
    spec.slave = Some("s1".to_owned());
    let id = client.submit(spec).await;
    let key = holder.assignment().await.key;
    rogue.started(key);
    rogue.output(key, 0, b"forged");
    rogue.finish(key, Outcome::Exited { code: 3 }, b"forged");
    rogue.report(Report::Withdrawn(vec![key]));
    // What it says after that has been handled too.
    rogue.report(Report::Draining);
    let mut operator = master.client("operator").await;
    within("the rogue is heard", async {
        loop {
            match operator.ask(Request::Slaves).await.unwrap() {
                common::message::Reply::Slaves(slaves)
                    if slaves
                        .iter()
                        .any(|slave| slave.name == "s2" && slave.state == common::view::SlaveState::Draining) =>
                {
                    return;
                }
                _ => {}
            }
        }
    })
    .await;
    assert_eq!(client.show(id).await.state, State::Waiting);
    audited(&master, "which another slave holds").await;
    holder.started(key);
    holder.finish(key, GOOD, b"true");
    assert_eq!(client.ended(id).await, GOOD);
    assert_eq!(client.output(id, 0, false).await.0, b"true");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a13_of_two_agents_with_one_identity_only_the_first_gets_work() {
    let master = Master::start().await;
    let mut first = master.slave("s1", 4).await;
    let mut second = master.dial(PeerKind::Slave, Some(&first.identity)).await;
    let mut told = registration(4);
    told.instance = 2;
    second.sender.send(Status::Report(Report::Register(Box::new(told)))).unwrap();
    let error = refusal(&mut second).await;
    assert!(error.is(ErrorCode::Busy) && error.retry_after.is_some(), "{error}");
    let mut client = master.client("submitter").await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(client.submit(command("p")).await);
    }
    for _ in &ids {
        let key = first.assignment().await.key;
        assert!(ids.contains(&key.program));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l14_a_storm_of_logins_does_not_touch_those_who_are_in() {
    let master = std::sync::Arc::new(Master::start().await);
    let mut client = master.client("submitter").await;
    let mut slave = master.slave("s1", 1).await;
    let storm: Vec<_> = (0..120)
        .map(|number| {
            let master = master.clone();
            tokio::spawn(async move {
                let (user, password) = if number % 2 == 0 { ("viewer", PASSWORD) } else { ("nobody", "wrong horse") };
                master.try_login(user, password).await.map(|_| ())
            })
        })
        .collect();
    for _ in 0..20 {
        let id = client.submit(command("p")).await;
        let key = slave.assignment().await.key;
        slave.started(key);
        slave.finish(key, GOOD, b"");
        assert_eq!(client.ended(id).await, GOOD);
    }
    for (number, login) in storm.into_iter().enumerate() {
        match within("an answer", login).await.unwrap() {
            Ok(()) => assert_eq!(number % 2, 0),
            Err(error) => assert!(error.is(ErrorCode::LoginWrong) || error.is(ErrorCode::LoginSlowed), "{error}"),
        }
    }
    client.ask(Request::Summary).await.unwrap();
}
