//! Enrolment, and the beginning of a session with the master.

use common::{
    ErrorCode, SlaveId, UserError, limits,
    message::{Alert, Command, Message, Status, command::Secret},
    session::{Hello, PeerKind},
};
use std::{future::Future, path::Path};
use transport::{Connection, EnrolmentKey, JoinString, Receiver, SlaveIdentity};

/// Folder of the identity before a renewal, until the new one has worked.
pub(crate) const PREVIOUS_IDENTITY: &str = "previous";

/// The identity in `data`; one is asked for with `join` when there is none.
///
/// A join string for the master that the slave already belongs to changes nothing but that master's address, unless
/// the certificate has ended: then the slave enrols anew. One for another master is refused: a slave that changes masters takes a new data folder, so that no
/// result is told to the wrong one.
///
/// # Errors
/// When there is neither identity nor join string, or the master refuses.
pub async fn identity(data: &Path, join: Option<&str>, name: &str) -> Result<SlaveIdentity, UserError> {
    let join = join.map(str::parse::<JoinString>).transpose()?;
    match (SlaveIdentity::load(data)?, join) {
        (Some(identity), None) => Ok(identity),
        (Some(identity), Some(join)) if identity.pin() == join.pin && has_ended(&identity) => {
            tracing::warn!(slave = %identity.id, "the certificate has ended; enrolling anew");
            enrol_anew(data, &identity, join, name).await
        }
        (Some(identity), Some(join)) if identity.pin() == join.pin => {
            if identity.address() == join.address {
                return Ok(identity);
            }
            let moved = identity.with_address(join.address);
            moved.save(data)?;
            Ok(moved)
        }
        (Some(identity), Some(join)) => Err(UserError::new(
            ErrorCode::IdentityRefused,
            format!(
                "this slave belongs to the master at {}; the join string is for another one at {}",
                identity.address(),
                join.address
            ),
        )
        .with_hint("give it a data folder of its own with `--data`, or leave `--join` out")),
        (None, Some(join)) => {
            let identity = enrol(join, name).await?;
            identity.save(data)?;
            Ok(identity)
        }
        (None, None) => {
            Err(UserError::new(ErrorCode::IdentityMissing, format!("there is no identity in {}", data.display())))
        }
    }
}

fn has_ended(identity: &SlaveIdentity) -> bool {
    identity.valid_until().is_some_and(|end| end <= transport::clock::now())
}

/// Takes a new identity of the same master in place of one that the master accepts no more, which is kept under
/// another name.
///
/// # Errors
/// When the master refuses, or the identity cannot be written; then the old one is still in its place.
pub async fn enrol_anew(
    data: &Path,
    old: &SlaveIdentity,
    join: JoinString,
    name: &str,
) -> Result<SlaveIdentity, UserError> {
    let new = enrol(join, name).await?;
    old.save(&data.join(format!("identity-{}", old.id)))?;
    new.save(data)?;
    // One that was replaced by a renewal is of the old identity as well.
    if let Err(error) = std::fs::remove_dir_all(data.join(PREVIOUS_IDENTITY)) {
        tracing::debug!(%error, "there is no identity before a renewal");
    }
    Ok(new)
}

/// A new identity from the master of the join string. It is not yet on disk.
///
/// # Errors
/// When the master cannot be reached or refuses.
pub async fn enrol(join: JoinString, name: &str) -> Result<SlaveIdentity, UserError> {
    let key = EnrolmentKey::generate()?;
    let mut connection = transport::connect(&join.address, join.pin, None).await?;
    greet(&mut connection, PeerKind::Enrolment).await?;
    let request =
        Command::Enrol { secret: Secret(join.secret), name: name.to_owned(), certificate_request: key.request_der() };
    connection.sender.send(request)?;
    let (id, name, chain): (SlaveId, String, Vec<Vec<u8>>) = loop {
        let message = next(&mut connection.receiver).await?;
        if let Message::Status(Status::Enrolled { slave, name, certificates }) = message {
            break (slave, name, certificates.into_iter().map(serde_bytes::ByteBuf::into_vec).collect());
        }
        refused(message)?;
    };
    let identity = key.complete(id, name, chain, join.address, join.pin)?;
    connection.sender.close();
    tracing::info!(slave = %identity.id, name = %identity.name, "enrolled");
    Ok(identity)
}

/// A connection on which the master has said welcome.
///
/// # Errors
/// When the master cannot be reached or refuses.
pub async fn connect(identity: &SlaveIdentity) -> Result<Connection, UserError> {
    let mut connection = transport::connect(identity.address(), identity.pin(), Some(identity)).await?;
    greet(&mut connection, PeerKind::Slave).await?;
    // The master has proved who it is.
    connection.receiver.accept_large_frames();
    Ok(connection)
}

async fn greet(connection: &mut Connection, kind: PeerKind) -> Result<(), UserError> {
    connection.sender.send(Command::Hello(Hello::ours(kind)))?;
    loop {
        let message = next(&mut connection.receiver).await?;
        if matches!(message, Message::Status(Status::Welcome { .. })) {
            return Ok(());
        }
        refused(message)?;
    }
}

async fn next(receiver: &mut Receiver) -> Result<Message, UserError> {
    within(receiver.next()).await?.map_err(|error| UserError::from(&error))
}

async fn within<T>(future: impl Future<Output = T>) -> Result<T, UserError> {
    tokio::time::timeout(limits::LOGIN_TIMEOUT.to_std(), future)
        .await
        .map_err(|_| UserError::new(ErrorCode::Timeout, "the master did not answer in time"))
}

/// An error for a refusal; what does not matter here is passed over.
fn refused(message: Message) -> Result<(), UserError> {
    match message {
        Message::Alert(Alert::Refused(error)) => Err(error),
        Message::Alert(_) => Ok(()),
        Message::Ping(_) | Message::Pong(_) | Message::Command(_) | Message::Data(_) | Message::Status(_) => {
            Err(UserError::new(ErrorCode::ProtocolError, "the master answered with something else than was asked"))
        }
    }
}

/// Whether trying again is of no use until somebody does something.
pub fn is_final(error: &UserError) -> bool {
    [ErrorCode::IdentityRefused, ErrorCode::ProtocolMismatch, ErrorCode::PinWrong, ErrorCode::JoinInvalid]
        .iter()
        .any(|code| error.is(*code))
}
