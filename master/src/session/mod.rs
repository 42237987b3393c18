//! One connection: what the peer wants to be, its proof, and then its messages as events.

mod client;
mod enrolment;
#[cfg(test)]
mod first_flight;
mod inputs;
mod slave;
mod tokens;

use crate::{
    audit::Audit, core::event::Guard, event_loop::Input, inputs::Inputs, login::Doorman, store::worker::Writer,
};
use common::{
    Duration, ErrorCode, UserError,
    message::{Command, Message, Status},
    session::{Hello, PeerKind},
    view::ClientKind,
};
use std::sync::{Arc, atomic::AtomicU64};
use tokio::sync::{Semaphore, mpsc};
use transport::{Authority, Connection, HandshakeError, PeerIdentity, Pending, ReceiveError};

/// Kilobytes of submits and outputs on their way to the core or the disk, of all connections together:
/// peers wait when it is used up.
const BUDGET_KIB: usize = 64 << 10;
/// Least kilobytes that one message counts.
const BUDGET_KIB_MIN: usize = 2;

/// What every session needs.
pub(crate) struct Shared {
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) writer: Writer,
    pub(crate) doorman: Doorman,
    pub(crate) authority: Authority,
    pub(crate) audit: Audit,
    pub(crate) inputs_kept: Arc<Inputs>,
    /// Life of the certificates of slaves.
    pub(crate) certificate_life: Duration,
    /// What peers are told that this master is called.
    pub(crate) name: String,
    tokens: tokens::Tokens,
    links: AtomicU64,
    budget: Arc<Semaphore>,
}

impl Shared {
    pub(crate) fn new(
        inputs: mpsc::Sender<Input>,
        writer: Writer,
        authority: Authority,
        name: String,
        certificate_life: Duration,
        inputs_kept: Arc<Inputs>,
    ) -> Self {
        Self {
            inputs,
            doorman: Doorman::new(writer.clone()),
            audit: Audit::new(writer.clone()),
            writer,
            authority,
            certificate_life,
            inputs_kept,
            name,
            tokens: tokens::Tokens::default(),
            links: AtomicU64::new(1),
            budget: Arc::new(Semaphore::new(BUDGET_KIB)),
        }
    }

    /// Waits until there is room for this many bytes; the guard gives it back.
    async fn room(&self, bytes: usize) -> Guard {
        let wanted = (bytes >> 10).clamp(BUDGET_KIB_MIN, BUDGET_KIB);
        let wanted = u32::try_from(wanted).unwrap_or(u32::MAX);
        let permit = self.budget.clone().acquire_many_owned(wanted).await;
        Guard(permit.ok().map(|permit| Box::new(permit) as Box<dyn std::any::Any + Send>))
    }

    /// Hands an input to the loop, waiting for room; whether the loop is still there.
    async fn give(&self, input: Input) -> bool {
        self.inputs.send(input).await.is_ok()
    }
}

/// Serves one accepted socket to its end.
pub(crate) async fn serve(shared: Arc<Shared>, pending: Pending) {
    let address = pending.address;
    let mut connection = match pending.handshake().await {
        Ok(connection) => connection,
        Err(error) => {
            if matches!(error, HandshakeError::Identity) {
                shared.audit.denied(format!("address {}", address.ip()), error.to_string());
            }
            return tracing::debug!(%address, %error, "no session");
        }
    };
    match begin(&shared, &mut connection).await {
        Ok(Some(PeerKind::Slave)) => slave::serve(&shared, connection).await,
        Ok(Some(PeerKind::Enrolment)) => enrolment::serve(&shared, connection).await,
        Ok(Some(PeerKind::ClientGui)) => client::serve(&shared, connection, ClientKind::Gui).await,
        Ok(Some(PeerKind::ClientCli)) => client::serve(&shared, connection, ClientKind::Cli).await,
        Ok(None) => {}
        Err(error) => refuse(connection, error).await,
    }
}

/// Tells the peer why and closes; the receiver lives until the peer has read it.
async fn refuse(connection: Connection, error: UserError) {
    tracing::debug!(address = %connection.address, %error, "refused");
    connection.sender.refuse(error).await;
}

fn protocol_error(what: &str) -> UserError {
    UserError::new(ErrorCode::ProtocolError, format!("{what} was expected"))
}

/// The next message, or why the session is over; none when the peer has just left.
async fn next(connection: &mut Connection) -> Result<Option<Message>, UserError> {
    match connection.receiver.next().await {
        Ok(message) => Ok(Some(message)),
        Err(error @ ReceiveError::Frame(_)) => Err(UserError::from(&error)),
        Err(ReceiveError::Closed | ReceiveError::Silent | ReceiveError::Io(_)) => Ok(None),
    }
}

/// Hello and Welcome; what the peer wants to be, when its certificate lets it.
async fn begin(shared: &Shared, connection: &mut Connection) -> Result<Option<PeerKind>, UserError> {
    let Some(message) = next(connection).await? else { return Ok(None) };
    let Message::Command(Command::Hello(hello)) = message else { return Err(protocol_error("a greeting")) };
    let protocol = hello.agree()?;
    let kind = hello.kind;
    match (connection.peer, kind) {
        (PeerIdentity::Slave(_), PeerKind::Slave)
        | (PeerIdentity::Anonymous, PeerKind::Enrolment | PeerKind::ClientGui | PeerKind::ClientCli) => {}
        (PeerIdentity::Anonymous, PeerKind::Slave) => {
            let who = format!("address {}", connection.address.ip());
            shared.audit.denied(who, "a peer without a certificate wanted to be a slave".to_owned());
            return Err(UserError::new(ErrorCode::IdentityRefused, "a slave shows a certificate; this peer has none"));
        }
        (PeerIdentity::Slave(id), PeerKind::Enrolment | PeerKind::ClientGui | PeerKind::ClientCli) => {
            let what = format!("a slave's certificate was used for another role: {kind:?}");
            shared.audit.denied(format!("slave {id} at {}", connection.address.ip()), what);
            return Err(UserError::new(ErrorCode::IdentityRefused, "a slave's certificate is good for a slave only"));
        }
    }
    let release = Hello::ours(kind).release;
    connection.sender.send(Status::Welcome { protocol, release, master: shared.name.clone() })?;
    Ok(Some(kind))
}
