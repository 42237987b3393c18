//! A machine becomes a slave: a join secret for a certificate, once.

use super::{Shared, next, protocol_error, refuse};
use crate::{admin::check_name, core::event::Event, event_loop::Input, secrets, store::Accounts};
use common::{
    ErrorCode, SlaveId, UserError,
    message::{Command, Message, Status},
};
use tokio::sync::oneshot;
use transport::{Connection, clock};
use uuid::Uuid;

/// The name of a slave that does not say how it wants to be called.
const NAME_DEFAULT: &str = "slave*";

pub(super) async fn serve(shared: &Shared, mut connection: Connection) {
    match enrol(shared, &mut connection).await {
        Ok(Some(enrolled)) => {
            if connection.sender.send(enrolled).is_ok() {
                connection.sender.close();
                connection.sender.closed().await;
            }
        }
        Ok(None) => {}
        Err(error) => {
            let who = format!("address {}", connection.address.ip());
            shared.audit.denied(who, format!("an enrolment was refused: {}", error.code));
            refuse(connection, error).await;
        }
    }
}

async fn enrol(shared: &Shared, connection: &mut Connection) -> Result<Option<Status>, UserError> {
    let Some(message) = next(connection).await? else { return Ok(None) };
    let Message::Command(Command::Enrol { secret, name, certificate_request }) = message else {
        return Err(protocol_error("an enrolment"));
    };
    let from = connection.address.ip();
    shared.doorman.may_join(from)?;
    let name = match name.trim() {
        "" if name.is_empty() => NAME_DEFAULT.to_owned(),
        trimmed => trimmed.to_owned(),
    };
    check_name("slave", name.strip_suffix('*').unwrap_or(&name))?;
    let id = SlaveId(Uuid::now_v7());
    // A request that is not sound does not use up the secret.
    let chain = shared
        .authority
        .issue_slave(&certificate_request, id, shared.certificate_life)
        .map_err(|error| UserError::from(&error))?;
    let (answer, answered) = oneshot::channel();
    let stopping = || UserError::new(ErrorCode::Stopping, "the master is stopping");
    if !shared.give(Input::Replaceable(answer)).await {
        return Err(stopping());
    }
    let replaceable = answered.await.map_err(|_| stopping())?;
    let hash = secrets::token_hash(&secret.0);
    let what = format!("enrolled as slave {id}, wanting the name {name}");
    let who = format!("address {from}");
    // The secret is used up in the transaction that makes the slave. It is found by its hash, so the time that it
    // takes tells nothing of a secret that is nearly right.
    let enrolled = shared
        .writer
        .operate(move |store| {
            let enrol = |accounts: &mut Accounts<'_>| accounts.enrol(&hash, id, &name, &replaceable, clock::now());
            store.accounts().audited(&who, &what, enrol)
        })
        .await;
    if enrolled.as_ref().is_err_and(|error| error.is(ErrorCode::JoinInvalid)) {
        shared.doorman.note_wrong_join(from);
    }
    let (name, retired) = enrolled?;
    if !shared.give(Input::Event(Event::SlaveEnrolled { id, name: name.clone(), retired })).await {
        return Err(stopping());
    }
    let certificates = chain.into_iter().map(serde_bytes::ByteBuf::from).collect();
    Ok(Some(Status::Enrolled { slave: id, name, certificates }))
}
