//! What each administrative request does to the store.

use super::{AdminAnswer, AdminRequest, check_name};
use crate::store::Accounts;
use common::{ErrorCode, UserError, session::Role};

/// What the answers say of the master itself.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) address: String,
    pub(crate) pin: String,
}

/// Whose sessions end because of a request.
pub(crate) fn user_changed(request: &AdminRequest) -> Option<(String, UserError)> {
    let (name, sentence) = match request {
        AdminRequest::UserPasswd { name, .. } => (name, "the password was changed; log in again"),
        AdminRequest::UserRemove { name } => (name, "the user was removed"),
        AdminRequest::UserAdd { .. }
        | AdminRequest::UserList
        | AdminRequest::Invite { .. }
        | AdminRequest::Pin
        | AdminRequest::Check => return None,
    };
    Some((name.clone(), UserError::new(ErrorCode::LoginNeeded, sentence)))
}

/// Does what only needs the accounts.
pub(crate) fn perform(
    request: AdminRequest,
    accounts: &mut Accounts<'_>,
    about: &About,
    check: impl FnOnce() -> Result<Vec<String>, UserError>,
) -> Result<AdminAnswer, UserError> {
    let now = transport::clock::now();
    match request {
        AdminRequest::UserAdd { name, role, hash } => {
            check_name("user", &name)?;
            let role: Role = role.parse().map_err(|error: String| UserError::new(ErrorCode::RequestInvalid, error))?;
            accounts.add_user(&name, role, &hash, now)?;
            Ok(AdminAnswer::Done)
        }
        AdminRequest::UserList => Ok(AdminAnswer::Users(accounts.users()?.into_iter().map(Into::into).collect())),
        AdminRequest::UserPasswd { name, hash } => accounts.set_password(&name, &hash).map(|()| AdminAnswer::Done),
        AdminRequest::UserRemove { name } => accounts.remove_user(&name).map(|()| AdminAnswer::Done),
        AdminRequest::Invite { hash, expires, uses } => {
            accounts.add_invitation(&hash, expires, uses, now)?;
            Ok(AdminAnswer::Invited { address: about.address.clone(), pin: about.pin.clone() })
        }
        AdminRequest::Pin => Ok(AdminAnswer::Pin(about.pin.clone())),
        AdminRequest::Check => check().map(AdminAnswer::Checked),
    }
}
