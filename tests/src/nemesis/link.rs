//! One client's way to the master: connects when it has to, and tells a refusal from an answer that never came.

use client::{Client, Context, Credentials, Target};
use common::{ErrorCode, UserError, message::Reply, message::Request, view::ClientKind};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::sync::Mutex;

/// After this long without an answer it is taken for lost.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// When to ask a master again that is being stopped.
const STOPPING_PAUSE: common::Duration = common::Duration::from_millis(100);

/// Who a client is and where its master is.
#[derive(Clone, Debug)]
pub struct Access {
    /// The master.
    pub target: Target,
    /// The login.
    pub credentials: Credentials,
}

impl Access {
    /// What the command line of `config` remembers; dials `address` instead of the master's own when one is given.
    ///
    /// # Panics
    /// When nobody has logged in there.
    #[must_use]
    pub fn of(config: &Path, address: Option<&str>) -> Self {
        let context = Context::load(config).unwrap().unwrap();
        let credentials = context.credentials().unwrap();
        let mut target = context.target;
        if let Some(address) = address {
            address.clone_into(&mut target.address);
        }
        Self { target, credentials }
    }
}

/// What became of a request.
#[derive(Debug)]
pub enum Answer {
    /// The master said yes.
    Yes(Reply),
    /// The master refused: nothing happened.
    No(UserError),
    /// No answer came: it may have happened.
    Unknown(String),
}

/// A way to the master, shared by the tasks of one client.
#[derive(Clone)]
pub struct Link {
    access: Access,
    client: Arc<Mutex<Option<Client>>>,
}

impl Link {
    /// Not connected yet.
    #[must_use]
    pub fn new(access: Access) -> Self {
        Self { access, client: Arc::default() }
    }

    /// The connection, made anew when it is gone.
    ///
    /// # Errors
    /// When the master cannot be reached now.
    pub async fn connect(&self) -> Result<Client, UserError> {
        let mut place = self.client.lock().await;
        if let Some(client) = place.as_ref().filter(|client| client.lost().is_none()) {
            return Ok(client.clone());
        }
        let dial = Client::connect(&self.access.target, ClientKind::Cli, &self.access.credentials);
        let (client, news) = tokio::time::timeout(ANSWER_MAX, dial)
            .await
            .unwrap_or_else(|_| Err(UserError::new(ErrorCode::MasterUnreachable, "no answer to the login")))?;
        // Nothing is watched: what comes unasked is not waited for.
        drop(news);
        *place = Some(client.clone());
        Ok(client)
    }

    /// Asks once. A master that cannot be reached has not been asked: the error says so.
    ///
    /// # Errors
    /// When there is no connection.
    pub async fn ask(&self, request: Request) -> Result<Answer, UserError> {
        let client = self.connect().await?;
        Ok(match tokio::time::timeout(ANSWER_MAX, client.request(request)).await {
            Ok(Ok(reply)) => Answer::Yes(reply),
            Ok(Err(error)) if is_unknown(&error) => Answer::Unknown(error.sentence),
            Ok(Err(error)) if error.is(ErrorCode::Stopping) => Answer::No(error.retry_after(STOPPING_PAUSE)),
            Ok(Err(error)) => Answer::No(error),
            Err(_) => Answer::Unknown("no answer in time".to_owned()),
        })
    }

    /// Asks until an answer comes, for what may be repeated. None when `give_up` turned true.
    pub async fn ask_until(&self, request: Request, give_up: impl Fn() -> bool) -> Option<Result<Reply, UserError>> {
        while !give_up() {
            match self.ask(request.clone()).await {
                Ok(Answer::Yes(reply)) => return Some(Ok(reply)),
                Ok(Answer::No(error)) if error.retry_after.is_none() => return Some(Err(error)),
                Ok(Answer::No(_) | Answer::Unknown(_)) | Err(_) => {
                    tokio::time::sleep(Duration::from_millis(30)).await;
                }
            }
        }
        None
    }
}

/// Errors after which nobody knows whether the request had an effect.
fn is_unknown(error: &UserError) -> bool {
    let unknown =
        [ErrorCode::ConnectionLost, ErrorCode::MasterUnreachable, ErrorCode::Internal, ErrorCode::StorageFailed];
    unknown.iter().any(|code| error.is(*code))
}
