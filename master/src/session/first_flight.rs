//! Peers that say everything at once: nothing is handled before who they are is known.

use crate::{
    Config, Server,
    admin::{self, AdminRequest},
    store::SqliteStore,
};
use common::{
    ErrorCode, ProgramId, ProgramSpec, Work,
    message::{Alert, Command, Message, Reply, Request, RequestId, Status, command::Secret},
    session::{Hello, PeerKind},
};
use std::path::PathBuf;
use transport::{CaPin, Opening};
use uuid::Uuid;

const PASSWORD: &str = "correct horse";

/// A master with the user `ann`, who may submit, and `bob`, who may look.
struct World {
    address: String,
    pin: CaPin,
    data: PathBuf,
    _server: Server,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(folder.path().join("data"));
        config.listen = "127.0.0.1:0".to_owned();
        let data = config.data.clone();
        let server = Server::start_with(config, |store: SqliteStore| Box::new(store), None).await.unwrap();
        let address = server.address().to_string();
        let pin = transport::fetch_pin(&address).await.unwrap();
        let world = Self { address, pin, data, _server: server, _folder: folder };
        for (name, role) in [("ann", "submitter"), ("bob", "viewer")] {
            let hash = admin::password_hash(PASSWORD).unwrap();
            world.administer(AdminRequest::UserAdd { name: name.into(), role: role.into(), hash }).await;
        }
        world
    }

    async fn administer(&self, request: AdminRequest) {
        let data = self.data.clone();
        tokio::task::spawn_blocking(move || admin::ask(&data, request)).await.unwrap().unwrap();
    }

    /// Says all of it in one flight and gives what is answered, to the end of the connection or to so many answers.
    async fn say(&self, commands: Vec<Command>, answers: usize) -> Vec<Message> {
        let mut opening = Opening::default();
        for command in commands {
            assert!(opening.push(&command.into()));
        }
        let mut connection = transport::connect_saying(&self.address, self.pin, None, &opening).await.unwrap();
        let mut heard = Vec::new();
        while heard.len() < answers {
            match connection.receiver.next().await {
                Ok(message) => heard.push(message),
                Err(_) => break,
            }
        }
        heard
    }

    async fn token(&self, name: &str) -> String {
        match self.say(vec![hello(), password(name, PASSWORD)], 2).await.as_slice() {
            [Message::Status(Status::Welcome { .. }), Message::Status(Status::LoggedIn { token, .. })] => {
                token.0.clone()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Whether the master knows the program.
    async fn knows(&self, token: &str, id: ProgramId) -> bool {
        let heard = self.say(vec![hello(), resume(token), request(1, Request::Show { id })], 3).await;
        match heard.last() {
            Some(Message::Status(Status::Reply { result, .. })) => result.is_ok(),
            other => panic!("{other:?}"),
        }
    }
}

fn hello() -> Command {
    Command::Hello(Hello::ours(PeerKind::ClientCli))
}

fn password(name: &str, password: &str) -> Command {
    Command::Login { user: name.into(), password: Secret(password.into()) }
}

fn resume(token: &str) -> Command {
    Command::Resume { token: Secret(token.into()) }
}

fn request(number: u32, request: Request) -> Command {
    Command::Request { id: RequestId(number), request }
}

fn submit(id: ProgramId) -> Command {
    let spec = Box::new(ProgramSpec::new("p", Work::Command { command: "true".into() }));
    request(1, Request::Submit { ids: vec![id], first_index: 0, copies: 1, spec })
}

fn new_id() -> ProgramId {
    ProgramId(Uuid::now_v7())
}

/// The code of the refusal that is the only answer besides the welcome.
fn refusal(heard: &[Message]) -> &ErrorCode {
    match heard {
        [Message::Status(Status::Welcome { .. }), Message::Alert(Alert::Refused(error))]
        | [Message::Alert(Alert::Refused(error))] => ErrorCode::ALL.iter().find(|code| error.is(**code)).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn e10_what_stands_behind_a_login_is_handled_after_it_and_behind_a_refused_one_never() {
    let world = World::new().await;
    let token = world.token("ann").await;
    let mut old = hello();
    if let Command::Hello(hello) = &mut old {
        (hello.protocol_min, hello.protocol_max) = (u16::MAX, u16::MAX);
    }
    for (commands, code) in [
        (vec![hello(), resume("a token of nobody")], ErrorCode::LoginNeeded),
        (vec![hello(), password("ann", "wrong horse")], ErrorCode::LoginWrong),
        (vec![hello()], ErrorCode::ProtocolError),
        (vec![resume(&token)], ErrorCode::ProtocolError),
        (vec![old, resume(&token)], ErrorCode::ProtocolMismatch),
    ] {
        let id = new_id();
        let said = commands.into_iter().chain([submit(id)]).collect();
        assert_eq!(refusal(&world.say(said, usize::MAX).await), &code);
        assert!(!world.knows(&token, id).await, "{code:?}");
    }
    let id = new_id();
    let heard = world.say(vec![hello(), resume(&token), submit(id)], 3).await;
    match heard.as_slice() {
        [
            Message::Status(Status::Welcome { .. }),
            Message::Status(Status::LoggedIn { .. }),
            Message::Status(Status::Reply { result: Ok(Reply::Submitted { .. }), .. }),
        ] => {}
        other => panic!("{other:?}"),
    }
    assert!(world.knows(&token, id).await);
}

#[tokio::test]
async fn e10_a_session_that_ended_is_refused_however_lately_it_was_used() {
    let world = World::new().await;
    let token = world.token("ann").await;
    let viewer = world.token("bob").await;
    // Used, so that the master remembers whose it is.
    assert!(!world.knows(&viewer, new_id()).await);
    let refused = new_id();
    let heard = world.say(vec![hello(), resume(&viewer), submit(refused)], 3).await;
    match heard.last() {
        Some(Message::Status(Status::Reply { result: Err(error), .. })) => assert!(error.is(ErrorCode::NotAllowed)),
        other => panic!("{other:?}"),
    }
    world.administer(AdminRequest::UserRemove { name: "bob".into() }).await;
    let id = new_id();
    let heard = world.say(vec![hello(), resume(&viewer), submit(id)], usize::MAX).await;
    assert_eq!(refusal(&heard), &ErrorCode::LoginNeeded);
    assert!(!world.knows(&token, refused).await && !world.knows(&token, id).await);
}
