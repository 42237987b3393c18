//! B6: sequences of valid messages, in and out of their place, compared with a model of a session.

use super::{PATIENCE, pick, slave_registration, works};
use common::{
    AttemptKey, ProgramId, Timestamp, UserError,
    message::{Alert, Command, Data, Message, Order, Report, Request, RequestId, Status, Stream, command::Secret},
    session::{Hello, PeerKind},
};
use proptest::{prelude::*, test_runner::TestRunner};
use tests::{
    cluster::PASSWORD,
    load::{User, World, user::tiny},
};
use tokio::time::timeout;
use uuid::Uuid;

/// A valid message that a peer may send, at whatever time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Say {
    HelloClient,
    HelloSlave,
    HelloEnrolment,
    HelloOfTheFuture,
    LoginRight,
    LoginWrong,
    ResumeRight,
    ResumeWrong,
    Enrol,
    Renew,
    Submit,
    Summary,
    SetSlots,
    Logout,
    Order,
    Register,
    Started,
    Output,
    Notice,
    Reply,
    Changes,
}

const ALL: [Say; 21] = [
    Say::HelloClient,
    Say::HelloSlave,
    Say::HelloEnrolment,
    Say::HelloOfTheFuture,
    Say::LoginRight,
    Say::LoginWrong,
    Say::ResumeRight,
    Say::ResumeWrong,
    Say::Enrol,
    Say::Renew,
    Say::Submit,
    Say::Summary,
    Say::SetSlots,
    Say::Logout,
    Say::Order,
    Say::Register,
    Say::Started,
    Say::Output,
    Say::Notice,
    Say::Reply,
    Say::Changes,
];

/// What the model of a session expects of the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Fresh,
    Client,
    Enrolling,
    LoggedIn,
    LoggedOut,
    Slave,
    Registered,
    Over,
}

/// What comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Welcome,
    LoggedIn,
    /// A reply to the request, good or an error.
    Reply,
    /// Why, and the end.
    Refused,
    /// Nothing need come back.
    Silence,
    /// An error in a reply, or the end.
    NothingGood,
}

/// What the master does with a message, and what comes after.
fn model(phase: Phase, is_slave: bool, say: Say) -> (Expect, Phase) {
    let request = matches!(say, Say::Submit | Say::Summary | Say::SetSlots);
    match (phase, say) {
        (Phase::Fresh, Say::HelloClient) if !is_slave => (Expect::Welcome, Phase::Client),
        (Phase::Fresh, Say::HelloEnrolment) if !is_slave => (Expect::Welcome, Phase::Enrolling),
        (Phase::Fresh, Say::HelloSlave) if is_slave => (Expect::Welcome, Phase::Slave),
        (Phase::Client, Say::LoginRight | Say::ResumeRight) => (Expect::LoggedIn, Phase::LoggedIn),
        (Phase::LoggedIn, Say::Logout) => (Expect::Reply, Phase::LoggedOut),
        (Phase::LoggedIn, _) if request => (Expect::Reply, Phase::LoggedIn),
        (Phase::LoggedOut, _) if request || say == Say::Logout => (Expect::NothingGood, Phase::Over),
        (Phase::Slave, Say::Register) => (Expect::Silence, Phase::Registered),
        (Phase::Registered, Say::Started | Say::Output) => (Expect::Silence, Phase::Registered),
        // Whether a slave may tell it all once more, the model leaves open; the connection is given up.
        (Phase::Registered, Say::Register | Say::Renew) => (Expect::Silence, Phase::Over),
        _ => (Expect::Refused, Phase::Over),
    }
}

struct Actor<'a> {
    world: &'a World,
    token: Secret,
}

impl Actor<'_> {
    fn message(&self, say: Say, number: u32) -> Message {
        let key = AttemptKey { program: ProgramId(Uuid::from_u128(77)), attempt: 1 };
        let request = |request| Command::Request { id: RequestId(number), request }.into();
        let hello = |kind| Command::Hello(Hello::ours(kind)).into();
        let user = || "carol".to_owned();
        match say {
            Say::HelloClient => hello(PeerKind::ClientGui),
            Say::HelloSlave => hello(PeerKind::Slave),
            Say::HelloEnrolment => hello(PeerKind::Enrolment),
            Say::HelloOfTheFuture => {
                Command::Hello(Hello { protocol_min: 900, protocol_max: 901, ..Hello::ours(PeerKind::ClientCli) })
                    .into()
            }
            Say::LoginRight => Command::Login { user: user(), password: Secret(PASSWORD.to_owned()) }.into(),
            Say::LoginWrong => Command::Login { user: "nobody".into(), password: Secret("wrong".into()) }.into(),
            Say::ResumeRight => Command::Resume { token: self.token.clone() }.into(),
            Say::ResumeWrong => Command::Resume { token: Secret("no token".into()) }.into(),
            Say::Enrol => {
                let secret = Secret("no secret".into());
                Command::Enrol { secret, name: "x".into(), certificate_request: vec![1, 2, 3] }.into()
            }
            Say::Renew => Command::Renew { certificate_request: vec![1, 2, 3] }.into(),
            Say::Submit => {
                let ids = vec![ProgramId(Uuid::now_v7())];
                request(Request::Submit { ids, first_index: 0, copies: 1, spec: Box::new(tiny()) })
            }
            Say::Summary => request(Request::Summary),
            Say::SetSlots => request(Request::SetMaxProcesses { slave: None, slots: 3 }),
            Say::Logout => request(Request::Logout),
            Say::Order => Command::Order(Order::SetSlots(1)).into(),
            Say::Register => Status::Report(Report::Register(Box::new(slave_registration()))).into(),
            Say::Started => Status::Report(Report::Started(vec![(key, Timestamp(5))])).into(),
            Say::Output => Data::Output { key, stream: Stream::Stdout, offset: 0, bytes: vec![1; 10] }.into(),
            Say::Notice => Alert::Notice { text: "hello".into() }.into(),
            Say::Reply => Status::Reply { id: RequestId(1), result: Ok(common::message::Reply::Ok) }.into(),
            Say::Changes => Status::Changes(Vec::new()).into(),
        }
    }

    /// Says all of these one after the other and compares each answer with the model.
    async fn play(&self, slave: Option<&transport::SlaveIdentity>, script: &[Say]) -> Result<(), String> {
        let target = &self.world.target;
        let mut connection =
            transport::connect(&target.address, target.pin, slave).await.map_err(|error| error.to_string())?;
        connection.receiver.accept_large_frames();
        let mut phase = Phase::Fresh;
        for (number, say) in (1..).zip(script) {
            if phase == Phase::Over {
                return Ok(());
            }
            let (expect, next) = model(phase, slave.is_some(), *say);
            if connection.sender.send(self.message(*say, number)).is_err() {
                return Err(format!("{say:?} in {phase:?}: the connection had ended"));
            }
            if expect != Expect::Silence {
                let answer = answer(&mut connection.receiver).await?;
                let fits = match (&answer, expect) {
                    (Some(Message::Status(Status::Welcome { .. })), Expect::Welcome)
                    | (Some(Message::Status(Status::LoggedIn { .. })), Expect::LoggedIn)
                    | (Some(Message::Status(Status::Reply { .. })), Expect::Reply)
                    | (Some(Message::Status(Status::Reply { result: Err(_), .. })) | None, Expect::NothingGood) => true,
                    (Some(Message::Alert(Alert::Refused(error))), Expect::Refused | Expect::NothingGood) => {
                        typed(error)
                    }
                    _ => false,
                };
                if !fits {
                    return Err(format!("{say:?} in {phase:?}: {expect:?} is expected, {answer:?} came"));
                }
            }
            phase = next;
        }
        Ok(())
    }
}

/// An error of the catalogue, and not our own bug.
fn typed(error: &UserError) -> bool {
    error.code.starts_with("E-") && error.code != "E-INTERNAL" && !error.sentence.is_empty()
}

/// What comes next, heartbeats, orders and notices apart; none when the connection has ended.
async fn answer(receiver: &mut transport::Receiver) -> Result<Option<Message>, String> {
    loop {
        match timeout(PATIENCE, receiver.next()).await.map_err(|_| "no answer came".to_owned())? {
            Ok(Message::Command(Command::Order(_)) | Message::Alert(Alert::Notice { .. })) => {}
            Ok(message) => return Ok(Some(message)),
            Err(_) => return Ok(None),
        }
    }
}

#[test]
fn b06_valid_messages_at_the_wrong_time_are_refused_by_name() {
    let world = World::new("");
    let user = world.user("alice", "submitter");
    // Whoever logs out in the middle takes no token from another.
    let carol = world.user("carol", "submitter");
    let identity = world.enrol(1).pop().unwrap();
    let fresh = || {
        let again = world.runtime.block_on(User::login(&world.target, "carol")).unwrap();
        Actor { world: &world, token: again.client.token().clone() }
    };
    let check = |script: &[Say], actor: &Actor<'_>| {
        world.runtime.block_on(actor.play(None, script))?;
        world.runtime.block_on(actor.play(Some(&identity), script))
    };
    // Every message first, and second after each greeting, and in a session.
    let mut actor = fresh();
    for say in ALL {
        for before in [
            &[][..],
            &[Say::HelloClient],
            &[Say::HelloEnrolment],
            &[Say::HelloSlave],
            &[Say::HelloSlave, Say::Register],
            &[Say::HelloClient, Say::ResumeRight],
        ] {
            let script = [before, &[say, Say::Summary]].concat();
            check(&script, &actor).unwrap_or_else(|error| panic!("{script:?}: {error}"));
            if script.contains(&Say::Logout) {
                actor = fresh();
            }
        }
    }
    let cases = u32::try_from(pick(20_000, 60)).unwrap();
    let mut runner = TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() });
    // Passwords take a hash each, so tokens stand for most logins.
    let say = prop::sample::select(
        ALL.into_iter()
            .filter(|say| !matches!(say, Say::LoginRight | Say::Logout | Say::LoginWrong))
            .collect::<Vec<_>>(),
    );
    let start = prop::sample::select(vec![
        vec![],
        vec![Say::HelloClient, Say::ResumeRight],
        vec![Say::HelloSlave, Say::Register],
        vec![Say::HelloClient],
    ]);
    runner
        .run(&(start, prop::collection::vec(say, 1..6)), |(start, rest)| {
            let script = [start, rest].concat();
            check(&script, &actor).map_err(|error| TestCaseError::fail(format!("{script:?}: {error}")))
        })
        .unwrap();
    drop(carol);
    world.runtime.block_on(works(&world, &user));
    assert!(user.client.lost().is_none());
    let log = world.cluster.master.as_ref().unwrap().log();
    assert!(!log.contains("panicked"), "{log}");
}
