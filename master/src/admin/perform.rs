//! What each administrative request does to the store, and what the audit says of it.

use super::{AdminAnswer, AdminRequest, check_name};
use crate::{core::event::Event, store::Accounts};
use common::{ErrorCode, UserError, escape::RawText, session::Role};

/// What the answers say of the master itself.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) address: String,
    pub(crate) pin: String,
}

/// What a running master must know once a request is done: connections that end because of it.
pub(crate) fn event_of(request: &AdminRequest, done: &AdminAnswer) -> Option<Event> {
    let user_changed = |name: &String, sentence: &str| {
        let why = UserError::new(ErrorCode::LoginNeeded, sentence);
        Some(Event::UserChanged { user: name.clone(), why })
    };
    match request {
        AdminRequest::UserPasswd { name, .. } => user_changed(name, "the password was changed; log in again"),
        AdminRequest::UserRemove { name } => user_changed(name, "the user was removed"),
        AdminRequest::UserRole { name, .. } => user_changed(name, "the role was changed; log in again"),
        AdminRequest::RevokeUser { name } => user_changed(name, "the user was revoked"),
        AdminRequest::RevokeSlave { .. } => match done {
            AdminAnswer::Revoked(id) => Some(Event::SlaveRevoked(*id)),
            AdminAnswer::Done
            | AdminAnswer::Users(_)
            | AdminAnswer::Invited { .. }
            | AdminAnswer::Pin(_)
            | AdminAnswer::Checked(_)
            | AdminAnswer::Audit { .. } => None,
        },
        AdminRequest::UserAdd { .. }
        | AdminRequest::UserList
        | AdminRequest::Invite { .. }
        | AdminRequest::Pin
        | AdminRequest::Check
        | AdminRequest::NoteBackup { .. }
        | AdminRequest::Audit => None,
    }
}

/// What the audit says of a request; none for one that changes nothing and shows no secret.
fn act_of(request: &AdminRequest) -> Option<String> {
    let shown = |name: &String| RawText::from(name.as_str()).to_string();
    match request {
        AdminRequest::UserAdd { name, role, .. } => Some(format!("added the user {} as {}", shown(name), shown(role))),
        AdminRequest::UserPasswd { name, .. } => Some(format!("changed the password of {}", shown(name))),
        AdminRequest::UserRemove { name } => Some(format!("removed the user {}", shown(name))),
        AdminRequest::UserRole { name, role } => Some(format!("gave {} the role {}", shown(name), shown(role))),
        AdminRequest::RevokeUser { name } => Some(format!("revoked the user {}", shown(name))),
        AdminRequest::RevokeSlave { name } => Some(format!("revoked the slave {}", shown(name))),
        AdminRequest::Invite { uses, .. } => Some(format!("made a join string for {uses} slaves")),
        AdminRequest::NoteBackup { to } => Some(format!("made a backup into {}", shown(to))),
        AdminRequest::UserList | AdminRequest::Pin | AdminRequest::Check | AdminRequest::Audit => None,
    }
}

/// Does what only needs the accounts; `who` asks.
pub(crate) fn perform(
    request: &AdminRequest,
    accounts: &mut Accounts<'_>,
    about: &About,
    who: &str,
) -> Result<AdminAnswer, UserError> {
    match act_of(request) {
        Some(what) => accounts.audited(who, &what, |accounts| act(request, accounts, about)),
        None => act(request, accounts, about),
    }
}

fn act(request: &AdminRequest, accounts: &mut Accounts<'_>, about: &About) -> Result<AdminAnswer, UserError> {
    let now = transport::clock::now();
    let read_role =
        |role: &String| role.parse::<Role>().map_err(|error: String| UserError::new(ErrorCode::RequestInvalid, error));
    match request {
        AdminRequest::UserAdd { name, role, hash } => {
            check_name("user", name)?;
            accounts.add_user(name, read_role(role)?, hash, now)?;
            Ok(AdminAnswer::Done)
        }
        AdminRequest::UserList => Ok(AdminAnswer::Users(accounts.users()?.into_iter().map(Into::into).collect())),
        AdminRequest::UserPasswd { name, hash } => accounts.set_password(name, hash).map(|()| AdminAnswer::Done),
        AdminRequest::UserRemove { name } => accounts.remove_user(name).map(|()| AdminAnswer::Done),
        AdminRequest::UserRole { name, role } => accounts.set_role(name, read_role(role)?).map(|()| AdminAnswer::Done),
        AdminRequest::RevokeUser { name } => accounts.revoke_user(name).map(|()| AdminAnswer::Done),
        AdminRequest::RevokeSlave { name } => accounts.revoke_slave(name).map(AdminAnswer::Revoked),
        AdminRequest::Invite { hash, expires, uses } => {
            accounts.add_invitation(hash, *expires, *uses, now)?;
            Ok(AdminAnswer::Invited { address: about.address.clone(), pin: about.pin.clone() })
        }
        AdminRequest::Pin => Ok(AdminAnswer::Pin(about.pin.clone())),
        AdminRequest::NoteBackup { .. } => Ok(AdminAnswer::Done),
        AdminRequest::Audit => {
            let (rows, problem) = accounts.audit()?;
            Ok(AdminAnswer::Audit { entries: rows.into_iter().map(Into::into).collect(), problem })
        }
        // Reads the whole folder, so it is done elsewhere and never comes here.
        AdminRequest::Check => Err(UserError::new(ErrorCode::Internal, "a check needs the data folder")),
    }
}
