//! One authenticated connection that carries many requests at once.
//!
//! An [`Opening`] takes requests before there is a connection: they leave with the login, in one flight behind the
//! handshake, and are answered once the login is. Requests leave in the order in which they are made, and those made without waiting in between leave
//! in one write; each answer finds its request by number. When the connection ends, every open request
//! is answered with `E-CONNECTION-LOST`.

use common::{
    ClientId, ErrorCode, Timestamp, UserError,
    limits::REQUESTS_OPEN_MAX,
    message::{Alert, Change, Command, Message, Reply, Request, RequestId, Status, command::Secret},
    session::{Hello, PeerKind, Role},
    units::Duration,
    view::ClientKind,
};
use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};
use tokio::sync::{mpsc, oneshot};
use transport::identity::CaPin;

/// Batches of changes that wait for their reader. When it is full the connection is not read on, and the
/// master cuts a watcher that falls too far behind.
const CHANGES_MAX: usize = 64;
/// Time for the answer to a login: the master computes few password hashes at once.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);

/// A master: where it is, and how its identity is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `HOST:PORT`.
    pub address: String,
    /// The pin of the master's CA.
    pub pin: CaPin,
}

/// A master's address with the port 7420 when it names none.
#[must_use]
pub fn with_port(address: &str) -> String {
    let address = address.strip_suffix(':').filter(|rest| !rest.ends_with(':')).unwrap_or(address);
    let has_port = match address.rsplit_once(':') {
        // An IPv6 address in brackets, or with several colons and no brackets.
        Some((host, port)) => !port.is_empty() && !port.contains(']') && (!host.contains(':') || host.ends_with(']')),
        None => false,
    };
    match has_port {
        true => address.to_owned(),
        false if address.contains(':') && !address.starts_with('[') => format!("[{address}]:7420"),
        false => format!("{address}:7420"),
    }
}

/// How a person proves who he is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// By name and password.
    Password {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// By the session that an earlier login began.
    Token(Secret),
}

/// Who a connection is to the master, and who the master says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// This connection.
    pub client: ClientId,
    /// The user's name.
    pub user: String,
    /// What the user may do.
    pub role: Role,
    /// The master's name, for people.
    pub master: String,
    /// The master's release.
    pub release: String,
}

/// What the master tells without being asked.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// What is watched has changed.
    Changes(Vec<Change>),
    /// The master stops; running programs have this long to end.
    Stopping {
        /// The grace period.
        grace: Duration,
    },
    /// For people to read.
    Notice(String),
}

/// An authenticated connection. Clones share it; it is closed when the last one is dropped.
#[derive(Clone)]
pub struct Client(Arc<Handle>);

struct Handle {
    requests: Requests,
    sender: transport::Sender,
    identity: Identity,
    token: Secret,
}

/// Asks the master: over a connection, or over one that is about to be made.
#[derive(Clone)]
pub struct Requests(Arc<Shared>);

/// A connection that is about to be made, and what is asked over it at once.
pub struct Opening {
    address: String,
    pin: CaPin,
    requests: Requests,
}

struct Shared {
    table: Mutex<Table>,
    heard_at: AtomicU64,
    /// What was asked before the connection stood may be with the master.
    left: AtomicBool,
}

/// The open requests.
struct Table {
    next: u32,
    open: BTreeMap<RequestId, oneshot::Sender<Result<Reply, UserError>>>,
    way: Way,
    /// Why the connection ended.
    lost: Option<UserError>,
}

/// Where requests go.
enum Way {
    /// Into the flight that begins the connection, as far as there is room. The rest waits for the login.
    Opening(transport::Opening, Vec<Message>),
    /// Out.
    Open(transport::Sender),
}

impl Way {
    fn send(&mut self, message: Message) -> Result<(), transport::SendError> {
        match self {
            Self::Opening(opening, later) => {
                if !opening.push(&message) {
                    later.push(message);
                }
                Ok(())
            }
            Self::Open(sender) => sender.send(message),
        }
    }
}

impl Opening {
    /// Prepares the connection to a master.
    #[must_use]
    pub fn new(target: &Target, kind: ClientKind, credentials: &Credentials) -> Self {
        let kind = match kind {
            ClientKind::Gui => PeerKind::ClientGui,
            ClientKind::Cli => PeerKind::ClientCli,
        };
        let login = match credentials.clone() {
            Credentials::Password { user, password } => Command::Login { user, password },
            Credentials::Token(token) => Command::Resume { token },
        };
        let mut way = Way::Opening(transport::Opening::default(), Vec::new());
        for message in [Command::Hello(Hello::ours(kind)), login] {
            // Nothing is sent yet, so nothing fails.
            way.send(message.into()).unwrap_or_default();
        }
        let table = Table { next: 0, open: BTreeMap::new(), way, lost: None };
        let heard_at = AtomicU64::new(transport::clock::now().0);
        let shared = Shared { table: Mutex::new(table), heard_at, left: AtomicBool::new(false) };
        Self { address: target.address.clone(), pin: target.pin, requests: Requests(Arc::new(shared)) }
    }

    /// To ask with before the connection stands. The master handles none of it before it has accepted the login, and
    /// answers none of it when it refuses. Only what the oldest protocol of [`Hello`] knows may be asked: which one the
    /// master speaks is not known yet.
    #[must_use]
    pub const fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Dials, checks the pin and logs in. The second value gives what the master tells unasked; drop it when it is not
    /// wanted.
    ///
    /// # Errors
    /// `E-MASTER-UNREACHABLE`, `E-PIN-WRONG`, or the reason why the login is refused.
    pub async fn connect(self) -> Result<(Client, mpsc::Receiver<News>), UserError> {
        let shared = Arc::clone(&self.requests.0);
        // Whoever asked before is told, too.
        self.log_in().await.inspect_err(|error| shared.end(error))
    }

    async fn log_in(self) -> Result<(Client, mpsc::Receiver<News>), UserError> {
        let Self { address, pin, requests } = self;
        let opening = requests.0.table().take_opening();
        let transport::Connection { sender, mut receiver, .. } =
            transport::connect_saying(&address, pin, None, &opening).await.map_err(UserError::from)?;
        requests.0.left.store(true, Ordering::Relaxed);
        let answer = tokio::time::timeout(LOGIN_TIMEOUT.to_std(), read_login(&mut receiver));
        let (identity, token) = answer.await.unwrap_or_else(|_| {
            Err(UserError::new(
                ErrorCode::MasterUnreachable,
                format!("{address} did not answer the login within {LOGIN_TIMEOUT}"),
            ))
        })?;
        receiver.accept_large_frames();
        requests.0.heard_at.store(transport::clock::now().0, Ordering::Relaxed);
        requests.0.table().begin(&sender)?;
        let (news, reader) = mpsc::channel(CHANGES_MAX);
        tokio::spawn(receive(receiver, Arc::clone(&requests.0), news));
        Ok((Client(Arc::new(Handle { requests, sender, identity, token })), reader))
    }
}

impl Client {
    /// Dials, checks the pin and logs in. The second value gives what the master tells unasked; drop it
    /// when it is not wanted.
    ///
    /// # Errors
    /// `E-MASTER-UNREACHABLE`, `E-PIN-WRONG`, or the reason why the login is refused.
    pub async fn connect(
        target: &Target,
        kind: ClientKind,
        credentials: &Credentials,
    ) -> Result<(Self, mpsc::Receiver<News>), UserError> {
        Opening::new(target, kind, credentials).connect().await
    }

    /// Who this connection is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.0.identity
    }

    /// What continues the session on the next connection.
    #[must_use]
    pub fn token(&self) -> &Secret {
        &self.0.token
    }

    /// When the master was heard the last time.
    #[must_use]
    pub fn heard_at(&self) -> Timestamp {
        Timestamp(self.0.requests.0.heard_at.load(Ordering::Relaxed))
    }
}

impl std::ops::Deref for Client {
    type Target = Requests;

    fn deref(&self) -> &Requests {
        &self.0.requests
    }
}

impl Requests {
    /// Whether what was asked may have reached the master: not while it is still being dialled.
    #[must_use]
    pub fn have_left(&self) -> bool {
        self.0.left.load(Ordering::Relaxed)
    }

    /// Why the connection ended; none while it stands, and before it does.
    #[must_use]
    pub fn lost(&self) -> Option<UserError> {
        self.0.table().lost.clone()
    }

    /// Asks the master. The request is on its way when this returns; the answer is awaited.
    pub fn request(&self, request: Request) -> Pending {
        let (answer, receiver) = oneshot::channel();
        let mut table = self.0.table();
        if let Some(error) = table.lost.clone() {
            drop(answer.send(Err(error)));
            return Pending(receiver);
        }
        if table.open.len() >= REQUESTS_OPEN_MAX {
            drop(answer.send(Err(UserError::new(
                ErrorCode::Busy,
                format!("{REQUESTS_OPEN_MAX} requests of this connection wait for an answer"),
            ))));
            return Pending(receiver);
        }
        let id = table.free_id();
        table.open.insert(id, answer);
        // Sent under the lock, so that requests leave in the order of their numbers.
        if table.way.send(Command::Request { id, request }.into()).is_err()
            && let Some(answer) = table.open.remove(&id)
        {
            drop(answer.send(Err(lost("the request could not be sent"))));
        }
        Pending(receiver)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.sender.close();
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers every open request, and from now on each one at once.
    fn end(&self, reason: &UserError) {
        let mut table = self.table();
        for answer in std::mem::take(&mut table.open).into_values() {
            drop(answer.send(Err(lost(format!("the connection ended before the answer came: {}", reason.sentence)))));
        }
        table.lost = Some(reason.clone());
    }
}

impl Table {
    /// What leaves with the handshake; what is asked from now on waits for the login.
    fn take_opening(&mut self) -> transport::Opening {
        match &mut self.way {
            Way::Opening(opening, _) => {
                let taken = opening.clone();
                opening.close();
                taken
            }
            Way::Open(_) => transport::Opening::default(),
        }
    }

    /// Sends what waited for the login, and everything else from now on.
    fn begin(&mut self, sender: &transport::Sender) -> Result<(), UserError> {
        let before = std::mem::replace(&mut self.way, Way::Open(sender.clone()));
        let later = match before {
            Way::Opening(_, later) => later,
            Way::Open(_) => Vec::new(),
        };
        sender.send_all(later).map_err(|_| lost("the connection ended after the login"))
    }

    fn free_id(&mut self) -> RequestId {
        loop {
            let id = RequestId(self.next);
            self.next = self.next.wrapping_add(1);
            if !self.open.contains_key(&id) {
                return id;
            }
        }
    }
}

/// An answer on its way. Dropping it means that nobody wants it any more.
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Result<Reply, UserError>>);

impl Future for Pending {
    type Output = Result<Reply, UserError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|answer| answer.unwrap_or_else(|_| Err(lost("the connection ended before the answer came"))))
    }
}

/// `E-CONNECTION-LOST` with this reason.
pub(crate) fn lost(sentence: impl Into<String>) -> UserError {
    UserError::new(ErrorCode::ConnectionLost, sentence)
}

async fn read_login(receiver: &mut transport::Receiver) -> Result<(Identity, Secret), UserError> {
    let mut welcome = None;
    loop {
        let message = receiver.next().await.map_err(|error| ended(&error))?;
        match message {
            Message::Status(Status::Welcome { release, master, .. }) if welcome.is_none() => {
                welcome = Some((release, master));
            }
            Message::Status(Status::LoggedIn { client, user, role, token }) => {
                let Some((release, master)) = welcome else { return Err(out_of_place()) };
                return Ok((Identity { client, user, role, master, release }, token));
            }
            Message::Alert(Alert::Refused(error)) => return Err(error),
            Message::Alert(Alert::Stopping { .. } | Alert::Notice { .. }) => {}
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Command(_) | Message::Data(_) | Message::Status(_) => return Err(out_of_place()),
        }
    }
}

/// Reads the connection until it ends, then answers every open request.
async fn receive(mut receiver: transport::Receiver, shared: Arc<Shared>, news: mpsc::Sender<News>) {
    let reason = loop {
        let message = match receiver.next().await {
            Ok(message) => message,
            Err(error) => break ended(&error),
        };
        shared.heard_at.store(transport::clock::now().0, Ordering::Relaxed);
        match message {
            Message::Status(Status::Reply { id, result }) => {
                if let Some(answer) = shared.table().open.remove(&id) {
                    // Whoever asked may have stopped waiting.
                    drop(answer.send(result));
                }
            }
            // Without a reader nothing is watched, and a change that is under way is not missed.
            Message::Status(Status::Changes(changes)) => drop(news.send(News::Changes(changes)).await),
            Message::Alert(Alert::Refused(error)) => break error,
            Message::Alert(Alert::Stopping { grace }) => drop(news.try_send(News::Stopping { grace })),
            Message::Alert(Alert::Notice { text }) => drop(news.try_send(News::Notice(text))),
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Command(_) | Message::Data(_) | Message::Status(_) => break out_of_place(),
        }
    };
    shared.end(&reason);
}

fn ended(error: &transport::ReceiveError) -> UserError {
    lost(format!("the connection to the master ended: {error}"))
}

fn out_of_place() -> UserError {
    UserError::new(ErrorCode::ProtocolError, "the master sent a message that does not belong here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e10_the_port_of_a_master_may_be_left_out() {
        for (given, address) in [
            ("host", "host:7420"),
            ("host:1", "host:1"),
            ("host:", "host:7420"),
            ("[::1]", "[::1]:7420"),
            ("[::1]:5", "[::1]:5"),
            ("::1", "[::1]:7420"),
        ] {
            assert_eq!(with_port(given), address);
        }
    }
}
