//! Commands about people and slaves: who may come in.

use super::{RevokeCommand, UserCommand, print, rfc3339, unexpected};
use crate::{
    admin::{AdminAnswer, AdminRequest, ask, check_name},
    secrets,
};
use common::{
    Duration, ErrorCode, Timestamp, UserError,
    limits::{JOIN_LIFE_MAX, PASSWORD_BYTES_MAX},
    units::ParseUnitError,
};
use std::{
    io::{BufRead, Read},
    path::Path,
};
use transport::{CaPin, JoinString};

fn read_password() -> Result<String, UserError> {
    let mut line = Vec::new();
    let limit = PASSWORD_BYTES_MAX as u64 + 2;
    let read = std::io::stdin().lock().take(limit).read_until(b'\n', &mut line);
    read.map_err(|error| UserError::new(ErrorCode::FileUnreadable, format!("standard input cannot be read: {error}")))?;
    while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        line.pop();
    }
    let password = String::from_utf8(line)
        .map_err(|_| UserError::new(ErrorCode::PasswordWeak, "the password is not text").with_hint("use UTF-8"))?;
    secrets::check_password(&password)?;
    Ok(password)
}

/// `user …`
///
/// # Errors
/// What a person should read.
pub(super) fn execute(user: UserCommand) -> Result<(), UserError> {
    match user {
        UserCommand::Add { name, role, password: _, data } => {
            check_name("user", &name)?;
            let hash = secrets::hash_password(&read_password()?)?;
            let request = AdminRequest::UserAdd { name: name.clone(), role: role.word().to_owned(), hash };
            ask(&data.path, request)?;
            print(&format!("added {name} as {role}"))
        }
        UserCommand::List { data, json } => list(&data.path, json),
        UserCommand::Passwd { name, password: _, data } => {
            let hash = secrets::hash_password(&read_password()?)?;
            ask(&data.path, AdminRequest::UserPasswd { name: name.clone(), hash })?;
            print(&format!("changed the password of {name}; the user's logins have ended"))
        }
        UserCommand::Remove { name, data } => {
            ask(&data.path, AdminRequest::UserRemove { name: name.clone() })?;
            print(&format!("removed {name}; the user's logins have ended"))
        }
        UserCommand::Role { name, role, data } => {
            ask(&data.path, AdminRequest::UserRole { name: name.clone(), role: role.word().to_owned() })?;
            print(&format!("{name} is {role} now; the user's logins have ended"))
        }
    }
}

fn list(data: &Path, json: bool) -> Result<(), UserError> {
    let answer = ask(data, AdminRequest::UserList)?;
    let AdminAnswer::Users(users) = &answer else { return Err(unexpected(&answer)) };
    if json {
        let users: Vec<_> = users
            .iter()
            .map(|user| {
                let added_at = rfc3339(Timestamp(user.added_at));
                serde_json::json!({"name": user.name, "role": user.role, "added_at": added_at})
            })
            .collect();
        return print(&serde_json::Value::from(users).to_string());
    }
    let widest = users.iter().map(|user| user.name.len()).max().unwrap_or(0);
    users.iter().try_for_each(|user| print(&format!("{:widest$}  {}", user.name, user.role)))
}

/// `revoke …`
///
/// # Errors
/// What a person should read.
pub(super) fn revoke(revoke: RevokeCommand) -> Result<(), UserError> {
    match revoke {
        RevokeCommand::Slave { name, data } => {
            crate::backup::must_be_there(&data.path)?;
            ask(&data.path, AdminRequest::RevokeSlave { name: name.clone() })?;
            print(&format!("revoked the slave {name}; it comes back only with a new join string"))
        }
        RevokeCommand::User { name, data } => {
            crate::backup::must_be_there(&data.path)?;
            ask(&data.path, AdminRequest::RevokeUser { name: name.clone() })?;
            print(&format!("revoked {name}; the user's logins have ended"))
        }
    }
}

/// `join-string`
///
/// # Errors
/// What a person should read.
/// How long a join string may be good.
pub(super) fn join_life(text: &str) -> Result<Duration, String> {
    let ttl: Duration = text.parse().map_err(|error: ParseUnitError| error.to_string())?;
    let in_range = ttl >= Duration::from_secs(1) && ttl <= JOIN_LIFE_MAX;
    if in_range { Ok(ttl) } else { Err(format!("a life of {ttl} is outside 1 s to {JOIN_LIFE_MAX}")) }
}

/// An address that a slave can dial.
pub(super) fn join_host(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or_default();
    let fits = |c: char| !c.is_whitespace() && !c.is_control() && c != '/';
    let known = !host.is_empty() && host.chars().all(fits) && port.parse::<u16>().is_ok_and(|port| port > 0);
    if known { Ok(text.to_owned()) } else { Err("write HOST:PORT, for example master.example:7420".to_owned()) }
}

pub(super) fn join_string(data: &Path, ttl: Duration, uses: u32, host: Option<String>) -> Result<(), UserError> {
    let secret = secrets::token()?;
    let expires = Timestamp(transport::clock::now().0.saturating_add(ttl.0));
    let request = AdminRequest::Invite { hash: secrets::token_hash(&secret), expires, uses };
    let AdminAnswer::Invited { address, pin } = ask(data, request)? else {
        return Err(UserError::new(ErrorCode::ProtocolMismatch, "the running master gave another answer"));
    };
    let address = host.unwrap_or_else(|| reachable(&address));
    let pin: CaPin = pin.parse().map_err(|error| {
        UserError::new(ErrorCode::ProtocolMismatch, format!("the master's pin cannot be read: {error}"))
    })?;
    print(&JoinString { address, pin, secret }.to_string())
}

/// An address that others can use: one that means "everywhere" is replaced by this host's name.
fn reachable(address: &str) -> String {
    let port = address.strip_prefix("0.0.0.0:").or_else(|| address.strip_prefix("[::]:"));
    let Some(port) = port else { return address.to_owned() };
    let host =
        nix::unistd::gethostname().map_or_else(|_| "localhost".to_owned(), |name| name.to_string_lossy().into_owned());
    let chosen = format!("{host}:{port}");
    eprintln!("note: the master listens on every address; slaves are told {chosen} (change it with --host)");
    chosen
}
