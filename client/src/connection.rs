//! One authenticated connection that carries many requests at once.
//!
//! Requests leave in the order in which they are made, and those made without waiting in between leave
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
        atomic::{AtomicU64, Ordering},
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
    sender: transport::Sender,
    shared: Arc<Shared>,
    identity: Identity,
    token: Secret,
}

struct Shared {
    table: Mutex<Table>,
    heard_at: AtomicU64,
}

/// The open requests.
#[derive(Default)]
struct Table {
    next: u32,
    open: BTreeMap<RequestId, oneshot::Sender<Result<Reply, UserError>>>,
    /// Why the connection ended.
    lost: Option<UserError>,
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
        let transport::Connection { sender, mut receiver, .. } =
            transport::connect(&target.address, target.pin, None).await.map_err(UserError::from)?;
        let kind = match kind {
            ClientKind::Gui => PeerKind::ClientGui,
            ClientKind::Cli => PeerKind::ClientCli,
        };
        let login = match credentials.clone() {
            Credentials::Password { user, password } => Command::Login { user, password },
            Credentials::Token(token) => Command::Resume { token },
        };
        // Both in one write: a command line pays one round trip less.
        sender
            .send_all([Command::Hello(Hello::ours(kind)).into(), login.into()])
            .map_err(|_| lost("the connection ended before the login"))?;
        let answer = tokio::time::timeout(LOGIN_TIMEOUT.to_std(), read_login(&mut receiver));
        let (identity, token) = answer.await.unwrap_or_else(|_| {
            Err(UserError::new(
                ErrorCode::MasterUnreachable,
                format!("{} did not answer the login within {LOGIN_TIMEOUT}", target.address),
            ))
        })?;
        receiver.accept_large_frames();
        let shared = Arc::new(Shared { table: Mutex::default(), heard_at: AtomicU64::new(transport::clock::now().0) });
        let (news, reader) = mpsc::channel(CHANGES_MAX);
        tokio::spawn(receive(receiver, Arc::clone(&shared), news));
        Ok((Self(Arc::new(Handle { sender, shared, identity, token })), reader))
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
        Timestamp(self.0.shared.heard_at.load(Ordering::Relaxed))
    }

    /// Why the connection ended; none while it stands.
    #[must_use]
    pub fn lost(&self) -> Option<UserError> {
        self.0.shared.table().lost.clone()
    }

    /// Asks the master. The request is on its way when this returns; the answer is awaited.
    pub fn request(&self, request: Request) -> Pending {
        let (answer, receiver) = oneshot::channel();
        let mut table = self.0.shared.table();
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
        if self.0.sender.send(Command::Request { id, request }).is_err()
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
}

impl Table {
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
    let mut table = shared.table();
    for answer in std::mem::take(&mut table.open).into_values() {
        drop(answer.send(Err(lost(format!("the connection ended before the answer came: {}", reason.sentence)))));
    }
    table.lost = Some(reason);
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
