//! A master in this process, clients, and slaves that do what a test says.
#![allow(dead_code, reason = "each test file uses a part")]
#![expect(clippy::unwrap_used, clippy::wildcard_enum_match_arm, reason = "a test that cannot go on has failed")]

use common::{
    AttemptKey, Outcome, ProgramId, ProgramSpec, SlaveId, Timestamp, UserError, Work,
    message::{
        Assignment, Command, Data, Finished, HistoryQuery, Message, Order, Registration, Reply, Report, Request,
        RequestId, Status, Stream, Tail, command::Secret,
    },
    session::{Hello, PeerKind, Role},
    view::{Isolation, LanguageOffer, ProgramView, Usage},
};
use master::{
    Config, Server,
    admin::{self, AdminAnswer, AdminRequest},
};
use std::{collections::VecDeque, path::Path, time::Duration};
use transport::{Connection, EnrolmentKey, SlaveIdentity, clock};
use uuid::Uuid;

pub(crate) const PASSWORD: &str = "correct horse";
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Master {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) config: Config,
    pub(crate) server: Option<Server>,
    pub(crate) address: String,
}

impl Master {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(folder.path().join("data"));
        config.listen = "127.0.0.1:0".to_owned();
        config.lease = common::Duration::from_millis(1_500);
        change(&mut config);
        let server = Server::start(config.clone()).await.unwrap();
        let address = server.address().to_string();
        // The same address after a restart, as slaves know it.
        config.listen.clone_from(&address);
        let master = Self { folder, config, server: Some(server), address };
        for role in Role::ALL {
            master.add_user(role.word(), role).await;
        }
        master
    }

    pub(crate) fn data(&self) -> &Path {
        &self.config.data
    }

    pub(crate) async fn admin(&self, request: AdminRequest) -> Result<AdminAnswer, UserError> {
        let data = self.config.data.clone();
        tokio::task::spawn_blocking(move || admin::ask(&data, request)).await.unwrap()
    }

    pub(crate) async fn add_user(&self, name: &str, role: Role) {
        let hash = admin::password_hash(PASSWORD).unwrap();
        let request = AdminRequest::UserAdd { name: name.to_owned(), role: role.word().to_owned(), hash };
        self.admin(request).await.unwrap();
    }

    pub(crate) async fn stop(&mut self) {
        let server = self.server.take().unwrap();
        server.handle().stop().await;
        server.wait().await.unwrap();
    }

    pub(crate) async fn restart(&mut self) {
        if self.server.is_some() {
            self.stop().await;
        }
        let config = self.config.clone();
        let server = within("the folder is free", async {
            loop {
                match Server::start(config.clone()).await {
                    Ok(server) => return server,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        self.server = Some(server.await);
    }

    pub(crate) async fn pin(&self) -> transport::CaPin {
        transport::fetch_pin(&self.address).await.unwrap()
    }

    pub(crate) async fn dial(&self, kind: PeerKind, identity: Option<&SlaveIdentity>) -> Connection {
        let pin = self.pin().await;
        let mut connection = transport::connect(&self.address, pin, identity).await.unwrap();
        connection.sender.send(Command::Hello(Hello::ours(kind))).unwrap();
        match connection.receiver.next().await.unwrap() {
            Message::Status(Status::Welcome { .. }) => connection,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn client(&self, user: &str) -> Client {
        self.try_login(user, PASSWORD).await.unwrap()
    }

    pub(crate) async fn try_login(&self, user: &str, password: &str) -> Result<Client, UserError> {
        let command = Command::Login { user: user.to_owned(), password: Secret(password.to_owned()) };
        self.try_enter(command).await
    }

    pub(crate) async fn try_enter(&self, command: Command) -> Result<Client, UserError> {
        let mut connection = self.dial(PeerKind::ClientCli, None).await;
        connection.sender.send(command).unwrap();
        match within("an answer to the login", connection.receiver.next()).await.unwrap() {
            Message::Status(Status::LoggedIn { token, .. }) => {
                connection.receiver.accept_large_frames();
                Ok(Client { connection, next: 0, token: token.0, changes: VecDeque::new(), replies: Vec::new() })
            }
            Message::Alert(common::message::Alert::Refused(error)) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn invite(&self, uses: u32) -> String {
        let (secret, hash) = admin::join_secret().unwrap();
        let expires = Timestamp(clock::now().0 + 60_000_000);
        self.admin(AdminRequest::Invite { hash, expires, uses }).await.unwrap();
        secret
    }

    pub(crate) async fn enrol(&self, secret: &str, name: &str) -> Result<SlaveIdentity, UserError> {
        let mut connection = self.dial(PeerKind::Enrolment, None).await;
        let key = EnrolmentKey::generate().unwrap();
        let enrol = Command::Enrol {
            secret: Secret(secret.to_owned()),
            name: name.to_owned(),
            certificate_request: key.request_der(),
        };
        connection.sender.send(enrol).unwrap();
        match within("an answer to the enrolment", connection.receiver.next()).await.unwrap() {
            Message::Status(Status::Enrolled { slave, name, certificates }) => {
                let chain = certificates.into_iter().map(serde_bytes::ByteBuf::into_vec).collect();
                Ok(key.complete(slave, name, chain, self.address.clone(), self.pin().await).unwrap())
            }
            Message::Alert(common::message::Alert::Refused(error)) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn slave(&self, name: &str, slots: u32) -> Slave {
        let secret = self.invite(1).await;
        let identity = self.enrol(&secret, name).await.unwrap();
        Slave::connect(self, identity, registration(slots)).await
    }
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not happen in time"))
}

pub(crate) fn new_id() -> ProgramId {
    ProgramId(Uuid::now_v7())
}

pub(crate) fn command(name: &str) -> ProgramSpec {
    ProgramSpec::new(name, Work::Command { command: "true".into() })
}

pub(crate) fn source(language: &str) -> ProgramSpec {
    let work = Work::Source { language: language.into(), file_name: "a.x".into(), text: b"print(1)"[..].into() };
    ProgramSpec::new(language, work)
}

pub(crate) fn registration(slots: u32) -> Registration {
    let language = |name: &str| LanguageOffer { name: name.into(), version: "1".into(), extensions: vec![] };
    Registration {
        instance: 1,
        epoch: 0,
        slots,
        languages: vec![language("Python"), language("C")],
        isolation: Isolation::default(),
        machine: "test".into(),
        release: "0".into(),
        waiting: vec![],
        running: vec![],
        finished: vec![],
        suspended: vec![],
        ceiling: Default::default(),
    }
}

pub(crate) struct Client {
    pub(crate) connection: Connection,
    next: u32,
    pub(crate) token: String,
    pub(crate) changes: VecDeque<common::message::Change>,
    replies: Vec<(RequestId, Result<Reply, UserError>)>,
}

impl Client {
    pub(crate) fn send(&mut self, request: Request) -> RequestId {
        self.next += 1;
        let id = RequestId(self.next);
        self.connection.sender.send(Command::Request { id, request }).unwrap();
        id
    }

    async fn receive(&mut self) {
        match within("a message", self.connection.receiver.next()).await.unwrap() {
            Message::Status(Status::Reply { id, result }) => self.replies.push((id, result)),
            Message::Status(Status::Changes(changes)) => self.changes.extend(changes),
            Message::Alert(_) => {}
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn reply(&mut self, id: RequestId) -> Result<Reply, UserError> {
        loop {
            if let Some(place) = self.replies.iter().position(|(other, _)| *other == id) {
                return self.replies.remove(place).1;
            }
            self.receive().await;
        }
    }

    pub(crate) async fn ask(&mut self, request: Request) -> Result<Reply, UserError> {
        let id = self.send(request);
        self.reply(id).await
    }

    pub(crate) async fn change(&mut self, what: &str, found: impl Fn(&common::message::Change) -> bool) {
        loop {
            while let Some(change) = self.changes.pop_front() {
                if found(&change) {
                    return;
                }
            }
            within(what, self.receive()).await;
        }
    }

    pub(crate) async fn try_submit(&mut self, id: ProgramId, spec: ProgramSpec) -> Result<u64, UserError> {
        let request = Request::Submit { ids: vec![id], first_index: 0, copies: 1, spec: Box::new(spec) };
        match self.ask(request).await? {
            Reply::Submitted { sequences } => Ok(sequences[0]),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn submit(&mut self, spec: ProgramSpec) -> ProgramId {
        let id = new_id();
        self.try_submit(id, spec).await.unwrap();
        id
    }

    pub(crate) async fn show(&mut self, id: ProgramId) -> ProgramView {
        match self.ask(Request::Show { id }).await.unwrap() {
            Reply::Program(view) => *view,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn ended(&mut self, id: ProgramId) -> Outcome {
        match self.ask(Request::Wait { ids: vec![id] }).await.unwrap() {
            Reply::Ended { programs, .. } => programs[0].1.clone(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn output(&mut self, id: ProgramId, offset: u64, follow: bool) -> (Vec<u8>, bool) {
        let request = Request::ReadOutput { id, stream: Stream::Stdout, offset, bytes_max: 1 << 20, follow };
        match self.ask(request).await.unwrap() {
            Reply::Output { bytes, end, offset: at } => {
                assert_eq!(at, offset);
                (bytes, end)
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn page(&mut self, query: HistoryQuery) -> (Vec<ProgramView>, u64) {
        match self.ask(Request::List(query)).await.unwrap() {
            Reply::Page { rows, total } => (rows, total),
            other => panic!("{other:?}"),
        }
    }

    /// Asks until the answer is as it should be.
    pub(crate) async fn until(
        &mut self,
        id: ProgramId,
        what: &str,
        good: impl Fn(&ProgramView) -> bool,
    ) -> ProgramView {
        within(what, async {
            loop {
                let view = self.show(id).await;
                if good(&view) {
                    return view;
                }
            }
        })
        .await
    }
}

pub(crate) struct Slave {
    pub(crate) connection: Connection,
    pub(crate) identity: SlaveIdentity,
    pub(crate) registered: (u32, common::Duration),
    pub(crate) orders: VecDeque<Order>,
    pub(crate) assigned: VecDeque<Assignment>,
}

impl Slave {
    pub(crate) async fn connect(master: &Master, identity: SlaveIdentity, registration: Registration) -> Self {
        let mut connection = master.dial(PeerKind::Slave, Some(&identity)).await;
        connection.receiver.accept_large_frames();
        let report = Report::Register(Box::new(registration));
        connection.sender.send(Status::Report(report)).unwrap();
        let mut slave = Self {
            connection,
            identity,
            registered: Default::default(),
            orders: VecDeque::new(),
            assigned: VecDeque::new(),
        };
        match slave.order().await {
            Order::Registered { slots, lease, epoch: _ } => slave.registered = (slots, lease),
            other => panic!("{other:?}"),
        }
        slave
    }

    pub(crate) fn id(&self) -> SlaveId {
        self.identity.id
    }

    pub(crate) fn report(&self, report: Report) {
        self.connection.sender.send(Status::Report(report)).unwrap();
    }

    pub(crate) async fn order(&mut self) -> Order {
        if let Some(order) = self.orders.pop_front() {
            return order;
        }
        match within("an order", self.connection.receiver.next()).await.unwrap() {
            Message::Command(Command::Order(order)) => order,
            other => panic!("{other:?}"),
        }
    }

    /// The next order that is not an assignment.
    pub(crate) async fn other_order(&mut self) -> Order {
        loop {
            match self.order().await {
                Order::Assign(more) => self.assigned.extend(more),
                other => return other,
            }
        }
    }

    /// The next assignment; other orders are kept.
    pub(crate) async fn assignment(&mut self) -> Assignment {
        let mut kept = VecDeque::new();
        while self.assigned.is_empty() {
            match self.order().await {
                Order::Assign(more) => self.assigned.extend(more),
                other => kept.push_back(other),
            }
        }
        kept.append(&mut self.orders);
        self.orders = kept;
        self.assigned.pop_front().unwrap()
    }

    pub(crate) fn started(&self, key: AttemptKey) {
        self.report(Report::Started(vec![(key, clock::now())]));
    }

    pub(crate) fn finish(&self, key: AttemptKey, outcome: Outcome, stdout: &[u8]) {
        self.finish_after(key, outcome, 0, stdout);
    }

    pub(crate) fn finish_after(&self, key: AttemptKey, outcome: Outcome, offset: u64, stdout: &[u8]) {
        let now = clock::now();
        let tail = Tail { offset, bytes: stdout.to_vec() };
        self.report(Report::Finished(vec![Finished {
            key,
            outcome,
            started_at: Some(now),
            ended_at: now,
            usage: Usage::default(),
            tails: [tail, Tail::default(), Tail::default(), Tail::default()],
            output_truncated: false,
            last_line: String::from_utf8_lossy(stdout).into_owned(),
        }]));
    }

    pub(crate) fn output(&self, key: AttemptKey, offset: u64, bytes: &[u8]) {
        let output = Data::Output { key, stream: Stream::Stdout, offset, bytes: bytes.to_vec() };
        self.connection.sender.send(output).unwrap();
    }

    /// Cuts the connection and waits until the master may have noticed.
    pub(crate) async fn leave(self) -> SlaveIdentity {
        self.connection.sender.close();
        self.connection.sender.closed().await;
        self.identity
    }
}

pub(crate) const GOOD: Outcome = Outcome::Exited { code: 0 };
