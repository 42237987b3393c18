//! A machine becomes a slave: a join secret for a certificate, once.

use super::{Shared, next, protocol_error, refuse};
use crate::{admin::check_name, core::event::Event, event_loop::Input, secrets};
use common::{
    ErrorCode, SlaveId, UserError,
    limits::SLAVE_CERTIFICATE_LIFE,
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
            tracing::warn!(address = %connection.address, %error, "an enrolment was refused");
            refuse(connection, error).await;
        }
    }
}

async fn enrol(shared: &Shared, connection: &mut Connection) -> Result<Option<Status>, UserError> {
    let Some(message) = next(connection).await? else { return Ok(None) };
    let Message::Command(Command::Enrol { secret, name, certificate_request }) = message else {
        return Err(protocol_error("an enrolment"));
    };
    let name = if name.is_empty() { NAME_DEFAULT.to_owned() } else { name };
    check_name("slave", name.strip_suffix('*').unwrap_or(&name))?;
    let id = SlaveId(Uuid::now_v7());
    // A request that is not sound does not use up the secret.
    let chain = shared
        .authority
        .issue_slave(&certificate_request, id, SLAVE_CERTIFICATE_LIFE)
        .map_err(|error| UserError::from(&error))?;
    let (answer, answered) = oneshot::channel();
    let stopping = || UserError::new(ErrorCode::Stopping, "the master is stopping");
    if !shared.give(Input::Replaceable(answer)).await {
        return Err(stopping());
    }
    let replaceable = answered.await.map_err(|_| stopping())?;
    let hash = secrets::token_hash(&secret.0);
    let enrolled =
        shared.writer.operate(move |store| store.accounts().enrol(&hash, id, &name, &replaceable, clock::now())).await;
    let (name, retired) = enrolled.ok_or_else(stopping)??;
    if !shared.give(Input::Event(Event::SlaveEnrolled { id, name: name.clone(), retired })).await {
        return Err(stopping());
    }
    let certificates = chain.into_iter().map(serde_bytes::ByteBuf::from).collect();
    Ok(Some(Status::Enrolled { slave: id, name, certificates }))
}
