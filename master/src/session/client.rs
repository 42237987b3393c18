//! A client's session: login, then requests in their order.

use super::{Shared, next, protocol_error, refuse};
use crate::{
    core::event::{Event, Joined},
    event_loop::Input,
    login::LoggedIn,
};
use common::{
    ClientId, UserError,
    message::{Command, Message, Request, Status, command::Secret},
    view::ClientKind,
};
use transport::Connection;
use uuid::Uuid;

pub(super) async fn serve(shared: &Shared, mut connection: Connection, kind: ClientKind) {
    let logged_in = match login(shared, &mut connection).await {
        Ok(Some(logged_in)) => logged_in,
        Ok(None) => return,
        Err(error) => return refuse(connection, error).await,
    };
    connection.authenticated();
    let id = ClientId(Uuid::now_v7());
    let LoggedIn { user, role, token } = logged_in;
    let told = Status::LoggedIn { client: id, user: user.clone(), role, token: Secret(token.clone()) };
    if connection.sender.send(told).is_err() {
        return;
    }
    let joined = Joined { id, user: user.into(), role, address: connection.address.to_string(), kind };
    if !shared.give(Input::Client(joined, connection.sender.clone())).await {
        return;
    }
    let end = match shared.doorman.confirm(&token).await {
        Ok(()) => requests(shared, &mut connection, id, &token).await,
        Err(ended) => Err(ended),
    };
    if !shared.give(Input::Event(Event::ClientLeft(id))).await {
        tracing::debug!(client = %id, "left while the master stops");
    }
    if let Err(error) = end {
        refuse(connection, error).await;
    }
}

async fn login(shared: &Shared, connection: &mut Connection) -> Result<Option<LoggedIn>, UserError> {
    let Some(message) = next(connection).await? else { return Ok(None) };
    let Message::Command(command) = message else { return Err(protocol_error("a login")) };
    match command {
        Command::Login { user, password } => {
            shared.doorman.login(user, password.0, connection.address.ip()).await.map(Some)
        }
        Command::Resume { token } => shared.doorman.resume(token.0).await.map(Some),
        Command::Hello(_)
        | Command::Enrol { .. }
        | Command::Renew { .. }
        | Command::Request { .. }
        | Command::Order(_) => Err(protocol_error("a login")),
    }
}

async fn requests(
    shared: &Shared,
    connection: &mut Connection,
    client: ClientId,
    token: &str,
) -> Result<(), UserError> {
    while let Some(message) = next(connection).await? {
        let Message::Command(Command::Request { id, request }) = message else {
            return Err(protocol_error("a request"));
        };
        if matches!(request, Request::Logout) {
            shared.doorman.logout(token).await?;
        }
        let bytes = if let Request::Submit { ids, spec, .. } = &request {
            crate::core::weight(spec) + 16 * ids.len()
        } else {
            0
        };
        let guard = shared.room(bytes).await;
        let event = Event::Request { client, id, request: Box::new(request), known: Vec::new(), guard };
        if !shared.give(Input::Event(event)).await {
            return Ok(());
        }
    }
    Ok(())
}
