//! Users, sessions, join secrets and the names of slaves. Secrets are kept as hashes only.

use super::{StoreError, commit::signed};
use common::{ErrorCode, SlaveId, Timestamp, UserError, escape::RawText, session::Role};
use rusqlite::{Connection, OptionalExtension, params};

/// What is kept in place of a password that lets nobody in.
const REVOKED: &str = "revoked";

/// The writing connection, seen as the book of accounts.
pub(crate) struct Accounts<'a>(&'a mut Connection);

/// A user, without the password.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct UserRow {
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) added_at: u64,
}

pub(super) fn storage(error: rusqlite::Error) -> UserError {
    StoreError::from(error).into()
}

fn read_role(word: &str) -> Result<Role, UserError> {
    word.parse().map_err(|error: String| StoreError::Unreadable(error).into())
}

fn unknown(name: &str) -> UserError {
    UserError::new(ErrorCode::UserUnknown, format!("there is no user `{}`", RawText::from(name)))
}

/// An error when `name` is the only administrator, or nobody.
fn keep_an_administrator(connection: &Connection, name: &str) -> Result<(), UserError> {
    let sql = "SELECT role = ?2, (SELECT count(*) FROM user WHERE role = ?2) FROM user WHERE name = ?1";
    let found: Option<(bool, i64)> = connection
        .query_row(sql, [name, Role::Admin.word()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .map_err(storage)?;
    match found {
        None => Err(unknown(name)),
        Some((true, ..=1)) => {
            let sentence = format!("`{}` is the last administrator and stays", RawText::from(name));
            Err(UserError::new(ErrorCode::RequestInvalid, sentence).with_hint("add another administrator first"))
        }
        Some(_) => Ok(()),
    }
}

impl<'a> Accounts<'a> {
    pub(super) const fn new(connection: &'a mut Connection) -> Self {
        Self(connection)
    }

    pub(super) const fn connection(&self) -> &Connection {
        self.0
    }

    /// Adds a user.
    pub(crate) fn add_user(&mut self, name: &str, role: Role, hash: &str, now: Timestamp) -> Result<(), UserError> {
        let sql = "INSERT OR IGNORE INTO user (name, role, password, added_at) VALUES (?1, ?2, ?3, ?4)";
        let added = self.0.execute(sql, params![name, role.word(), hash, signed(now.0)]).map_err(storage)?;
        if added == 0 {
            let sentence = format!("there is already a user `{}`", RawText::from(name));
            return Err(UserError::new(ErrorCode::UserExists, sentence));
        }
        Ok(())
    }

    /// All users, by name.
    pub(crate) fn users(&mut self) -> Result<Vec<UserRow>, UserError> {
        let mut statement =
            self.0.prepare_cached("SELECT name, role, added_at FROM user ORDER BY name").map_err(storage)?;
        let rows = statement.query_map([], |row| {
            Ok(UserRow { name: row.get(0)?, role: row.get(1)?, added_at: row.get::<_, i64>(2)?.cast_unsigned() })
        });
        rows.and_then(Iterator::collect).map_err(storage)
    }

    /// Sets a password and forgets the user's sessions.
    pub(crate) fn set_password(&mut self, name: &str, hash: &str) -> Result<(), UserError> {
        let transaction = self.0.savepoint().map_err(storage)?;
        let changed =
            transaction.execute("UPDATE user SET password = ?2 WHERE name = ?1", [name, hash]).map_err(storage)?;
        if changed == 0 {
            return Err(unknown(name));
        }
        transaction.execute("DELETE FROM session WHERE user = ?1", [name]).map_err(storage)?;
        transaction.commit().map_err(storage)
    }

    /// Sets a role and forgets the user's sessions. The last administrator stays one.
    pub(crate) fn set_role(&mut self, name: &str, role: Role) -> Result<(), UserError> {
        let transaction = self.0.savepoint().map_err(storage)?;
        if role != Role::Admin {
            keep_an_administrator(&transaction, name)?;
        }
        let sql = "UPDATE user SET role = ?2 WHERE name = ?1";
        if transaction.execute(sql, [name, role.word()]).map_err(storage)? == 0 {
            return Err(unknown(name));
        }
        transaction.execute("DELETE FROM session WHERE user = ?1", [name]).map_err(storage)?;
        transaction.commit().map_err(storage)
    }

    /// Ends all of a user's sessions; no password lets the user in until another one is set.
    pub(crate) fn revoke_user(&mut self, name: &str) -> Result<(), UserError> {
        self.set_password(name, REVOKED)
    }

    /// A slave gives up its name and is let in no more.
    pub(crate) fn revoke_slave(&mut self, name: &str) -> Result<SlaveId, UserError> {
        let sql = "UPDATE slave SET retired = 1, revoked = 1 WHERE name = ?1 AND retired = 0 RETURNING id";
        let id = self.0.query_row(sql, [name], |row| row.get(0).map(SlaveId)).optional().map_err(storage)?;
        id.ok_or_else(|| {
            let sentence = format!("no slave is called `{}`", RawText::from(name));
            UserError::new(ErrorCode::SlaveUnknown, sentence)
        })
    }

    /// Whether a slave is enrolled and was not revoked or replaced.
    pub(crate) fn is_enrolled(&mut self, id: SlaveId) -> Result<bool, UserError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM slave WHERE id = ?1 AND retired = 0)";
        self.0.prepare_cached(sql).and_then(|mut found| found.query_row([id.0], |row| row.get(0))).map_err(storage)
    }

    /// Replaces the stored hash `old` by one with today's parameters; sessions stay.
    pub(crate) fn rehash(&mut self, name: &str, old: &str, fresh: &str) -> Result<(), UserError> {
        let sql = "UPDATE user SET password = ?3 WHERE name = ?1 AND password = ?2";
        self.0.execute(sql, [name, old, fresh]).map(|_| ()).map_err(storage)
    }

    /// Removes a user and the user's sessions. The last administrator stays.
    pub(crate) fn remove_user(&mut self, name: &str) -> Result<(), UserError> {
        let transaction = self.0.savepoint().map_err(storage)?;
        keep_an_administrator(&transaction, name)?;
        transaction.execute("DELETE FROM user WHERE name = ?1", [name]).map_err(storage)?;
        transaction.execute("DELETE FROM session WHERE user = ?1", [name]).map_err(storage)?;
        transaction.commit().map_err(storage)
    }

    /// A user's role and password hash; none when there is no such user, or the user was revoked.
    pub(crate) fn credentials(&mut self, name: &str) -> Result<Option<(Role, String)>, UserError> {
        let mut statement =
            self.0.prepare_cached("SELECT role, password FROM user WHERE name = ?1").map_err(storage)?;
        let found: Option<(String, String)> =
            statement.query_row([name], |row| Ok((row.get(0)?, row.get(1)?))).optional().map_err(storage)?;
        let found = found.filter(|(_, hash)| hash != REVOKED);
        found.map(|(role, hash)| Ok((read_role(&role)?, hash))).transpose()
    }

    /// Keeps a session if the user still has the password (its hash) that was checked; whether so. Old
    /// sessions are swept out.
    pub(crate) fn add_session(
        &mut self,
        token: &[u8; 32],
        user: &str,
        password: &str,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<bool, UserError> {
        let transaction = self.0.savepoint().map_err(storage)?;
        transaction.execute("DELETE FROM session WHERE expires_at <= ?1", [signed(now.0)]).map_err(storage)?;
        let sql = "INSERT INTO session (token, user, expires_at)
                   SELECT ?1, name, ?3 FROM user WHERE name = ?2 AND password = ?4";
        let added = transaction.execute(sql, params![token, user, signed(expires.0), password]).map_err(storage)?;
        transaction.commit().map_err(storage)?;
        Ok(added > 0)
    }

    /// The user and role of a session that has not run out.
    pub(crate) fn session(&mut self, token: &[u8; 32], now: Timestamp) -> Result<Option<(String, Role)>, UserError> {
        let sql = "SELECT u.name, u.role FROM session s JOIN user u ON u.name = s.user
                   WHERE s.token = ?1 AND s.expires_at > ?2";
        let mut statement = self.0.prepare_cached(sql).map_err(storage)?;
        let found: Option<(String, String)> = statement
            .query_row(params![token, signed(now.0)], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .map_err(storage)?;
        found.map(|(user, role)| Ok((user, read_role(&role)?))).transpose()
    }

    /// Forgets all sessions and join secrets: some of them may have ended or been used since a backup.
    pub(crate) fn end_all_sessions(&mut self) -> Result<(), UserError> {
        self.0.execute_batch("DELETE FROM session; DELETE FROM invitation").map_err(storage)
    }

    /// Forgets a session.
    pub(crate) fn drop_session(&mut self, token: &[u8; 32]) -> Result<(), UserError> {
        self.0.execute("DELETE FROM session WHERE token = ?1", [token]).map(|_| ()).map_err(storage)
    }

    /// Keeps a join secret.
    pub(crate) fn add_invitation(
        &mut self,
        secret: &[u8; 32],
        expires: Timestamp,
        uses: u32,
        now: Timestamp,
    ) -> Result<(), UserError> {
        let transaction = self.0.savepoint().map_err(storage)?;
        transaction.execute("DELETE FROM invitation WHERE expires_at <= ?1", [signed(now.0)]).map_err(storage)?;
        let sql = "INSERT INTO invitation (secret, expires_at, uses) VALUES (?1, ?2, ?3)";
        transaction.execute(sql, params![secret, signed(expires.0), uses]).map_err(storage)?;
        transaction.commit().map_err(storage)
    }

    /// Uses a join secret once and enrols a slave under `name`, in one transaction. `replaceable` are
    /// slaves that are away for good: one of them gives up its name, and its identity with it.
    ///
    /// A name that ends in `*` is a wish: a number is added when it is taken.
    pub(crate) fn enrol(
        &mut self,
        secret: &[u8; 32],
        id: SlaveId,
        name: &str,
        replaceable: &[SlaveId],
        now: Timestamp,
    ) -> Result<(String, Option<SlaveId>), UserError> {
        let transaction = self.0.savepoint().map_err(storage)?;
        let sql = "UPDATE invitation SET uses = uses - 1 WHERE secret = ?1 AND expires_at > ?2 AND uses > 0";
        if transaction.execute(sql, params![secret, signed(now.0)]).map_err(storage)? == 0 {
            return Err(UserError::new(
                ErrorCode::JoinInvalid,
                "the join string is unknown to this master, used up or has run out",
            ));
        }
        let holder = |name: &str| -> Result<Option<SlaveId>, UserError> {
            let sql = "SELECT id FROM slave WHERE name = ?1 AND retired = 0";
            transaction.query_row(sql, [name], |row| row.get(0).map(SlaveId)).optional().map_err(storage)
        };
        let wish = name.strip_suffix('*');
        let mut chosen = wish.unwrap_or(name).to_owned();
        let mut retired = None;
        let mut number = 2_u32;
        while let Some(other) = holder(&chosen)? {
            if let Some(wish) = wish {
                chosen = format!("{wish}-{number}");
                number += 1;
            } else if replaceable.contains(&other) {
                transaction.execute("UPDATE slave SET retired = 1 WHERE id = ?1", [other.0]).map_err(storage)?;
                retired = Some(other);
            } else {
                let sentence = format!("a slave that is connected, or was a moment ago, has the name `{chosen}`");
                return Err(UserError::new(ErrorCode::SlaveNameTaken, sentence));
            }
        }
        let sql = "INSERT INTO slave (id, name, enrolled_at) VALUES (?1, ?2, ?3)";
        transaction.execute(sql, params![id.0, chosen, signed(now.0)]).map_err(storage)?;
        transaction.commit().map_err(storage)?;
        Ok((chosen, retired))
    }
}
