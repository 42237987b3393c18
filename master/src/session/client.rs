//! A client's session: login, then requests in their order.

use super::{Shared, next, protocol_error, refuse, tokens::Held};
use crate::{
    core::{
        event::{Event, Joined},
        permission::{self, Permission},
    },
    event_loop::Input,
    login::LoggedIn,
    secrets,
};
use common::{
    ClientId, ErrorCode, UserError,
    escape::RawText,
    message::{Command, Message, Request, Status, command::Secret},
    session::Role,
    view::ClientKind,
};
use std::sync::Arc;
use transport::{Connection, clock};
use uuid::Uuid;

/// Who asks, as far as the session knows.
struct Asker {
    id: ClientId,
    role: Role,
    token: String,
    /// For the audit.
    who: String,
    user: Arc<str>,
}

pub(super) async fn serve(shared: &Shared, mut connection: Connection, kind: ClientKind) {
    let logged_in = match login(shared, &mut connection).await {
        Ok(Some(logged_in)) => logged_in,
        Ok(None) => return,
        Err(error) => return refuse(connection, error).await,
    };
    let id = ClientId(Uuid::now_v7());
    let LoggedIn { user, role, token } = logged_in;
    let who = format!("user {} at {}", RawText::from(user.as_str()), connection.address.ip());
    let held = shared.tokens.hold(secrets::token_hash(&token));
    let told = Status::LoggedIn { client: id, user: user.clone(), role, token: Secret(token.clone()) };
    let user: Arc<str> = user.into();
    let joined = Joined { id, user: user.clone(), role, address: connection.address.to_string(), kind };
    if !shared.give(Input::Client(joined, connection.sender.clone())).await {
        return;
    }
    // The role too: what changed it before the loop knew of this connection did not cut it.
    let end = match shared.doorman.confirm(&token, &user, role).await {
        // A peer that is gone is noticed by the next read.
        Ok(()) => {
            connection.authenticated();
            connection.sender.send(told).unwrap_or_default();
            requests(shared, &mut connection, &Asker { id, role, token, who, user }, held).await
        }
        Err(ended) => {
            shared.audit.denied(who, format!("a login was not continued: {}", ended.code));
            Err(ended)
        }
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
    let from = connection.address.ip();
    let denied = |what: String| shared.audit.denied(format!("address {from}"), what);
    match command {
        Command::Login { user, password } => {
            let shown = RawText::from(user.as_str()).to_string();
            let result = shared.doorman.login(user, password.0, from).await;
            if let Err(error) = &result {
                // A name that is unknown may be a password that was typed into the wrong place. Whoever is slowed
                // costs the store nothing.
                let known = error.is(ErrorCode::LoginWrong) && shared.doorman.knows(&shown).await;
                denied(format!("login as {} refused: {}", if known { &shown } else { "somebody" }, error.code));
            }
            result.map(Some)
        }
        Command::Resume { token } => {
            let result = shared.doorman.resume(token.0).await;
            if let Err(error) = &result {
                denied(format!("a login was not continued: {}", error.code));
            }
            result.map(Some)
        }
        Command::Hello(_)
        | Command::Enrol { .. }
        | Command::Renew { .. }
        | Command::Request { .. }
        | Command::Order(_) => {
            denied("something else than a login was asked without one".to_owned());
            Err(protocol_error("a login"))
        }
    }
}

async fn requests(
    shared: &Shared,
    connection: &mut Connection,
    asker: &Asker,
    mut held: Held,
) -> Result<(), UserError> {
    let mut logged_out = false;
    loop {
        let message = tokio::select! {
            biased;
            () = held.ended(), if !logged_out => return Err(login_ended()),
            message = next(connection) => message?,
        };
        let Some(message) = message else { return Ok(()) };
        let Message::Command(Command::Request { id, request }) = message else {
            shared.audit.denied(asker.who.clone(), "something else than a request was sent".to_owned());
            return Err(protocol_error("a request"));
        };
        if logged_out {
            return Err(login_ended());
        }
        if matches!(request, Request::Logout) {
            shared.doorman.logout(&asker.token).await?;
            logged_out = true;
            held.end();
        }
        let privileged = matches!(permission::of(&request), Permission::Operate);
        match permission::check(asker.role, &request) {
            Ok(()) if privileged => {
                if let Err(error) = shared.audit.act(asker.who.clone(), act_of(&request)).await {
                    let refused = Status::Reply { id, result: Err(error) };
                    if connection.sender.send(refused).is_err() {
                        return Ok(());
                    }
                    continue;
                }
            }
            Ok(()) => {}
            // The core refuses it; here it is only noted.
            Err(_) => {
                shared.audit.denied(asker.who.clone(), format!("a {} asked for: {}", asker.role, act_of(&request)))
            }
        }
        if matches!(request, Request::InputsHeld { .. } | Request::PutInput { .. }) {
            // Files are not the core's business, until they are whole.
            let result = match permission::check(asker.role, &request) {
                Ok(()) => super::inputs::answer(shared, &asker.user, request).await,
                Err(error) => Err(error),
            };
            if connection.sender.send(Status::Reply { id, result }).is_err() {
                return Ok(());
            }
            continue;
        }
        // Before it waits for room: a busy master refuses what waited too long.
        let received = clock::boot_now();
        let guard = shared.room(crate::core::request_bytes(&request)).await;
        let request = Box::new(request);
        let event = Event::Request { client: asker.id, id, request, known: Vec::new(), received, guard };
        if !shared.give(Input::Event(event)).await {
            return Ok(());
        }
    }
}

fn login_ended() -> UserError {
    UserError::new(ErrorCode::LoginNeeded, "the login has ended; log in again")
}

/// A request in the words of the audit.
fn act_of(request: &Request) -> String {
    let shown = |text: &String| RawText::from(text.as_str()).to_string();
    match request {
        Request::SetMaxProcesses { slave: None, slots } => format!("at most {slots} programs at once on every slave"),
        Request::SetMaxProcesses { slave: Some(slave), slots } => {
            format!("at most {slots} programs at once on {}", shown(slave))
        }
        Request::SetPolicy(policy) => format!("the policy {}", policy.word()),
        Request::SetAside { slave, reason } => format!("setting aside {}: {}", shown(slave), shown(reason)),
        Request::TakeBack { slave } => format!("taking back {}", shown(slave)),
        Request::Submit { .. } | Request::SubmitCopies { .. } | Request::SubmitEntries { .. } => {
            "submitting programs".to_owned()
        }
        Request::Again { .. } => "running a program again".to_owned(),
        Request::Cancel { ids } => format!("stopping {} programs", ids.len()),
        Request::Suspend { ids } => format!("suspending {} programs", ids.len()),
        Request::Resume { ids } => format!("resuming {} programs", ids.len()),
        Request::SetWallTime { id, wall_time } => format!("a wall time of {wall_time} for {id}"),
        Request::Input { id, .. } => format!("input for {id}"),
        Request::Resize { id, .. } => format!("another size of the terminal of {id}"),
        Request::Signal { id, signal } => format!("the signal {signal:?} for {id}"),
        Request::InputsHeld { .. } | Request::PutInput { .. } => "sending input files".to_owned(),
        Request::List(_)
        | Request::Show { .. }
        | Request::Spec { .. }
        | Request::ReadOutput { .. }
        | Request::Wait { .. }
        | Request::Why { .. }
        | Request::Slaves
        | Request::Clients
        | Request::Summary
        | Request::Watch { .. }
        | Request::Logout
        | Request::Events { .. } => "looking".to_owned(),
    }
}
