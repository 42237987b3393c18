//! Who may come in: passwords, sessions, and the slowing down of those who guess.

use crate::{
    secrets,
    store::{Storage, worker::Writer},
};
use common::{
    Duration, ErrorCode, Timestamp, UserError,
    limits::{PASSWORD_BYTES_MAX, PASSWORD_HASHES_AT_ONCE_MAX, PEER_NAME_BYTES_MAX, SESSION_LIFE},
    session::Role,
    units::BootTime,
};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};
use tokio::sync::Semaphore;
use transport::clock;

/// Wrong passwords that cost nothing: of one account, and from one address, where many people may sit.
const FREE_TRIES_ACCOUNT: u32 = 3;
const FREE_TRIES_ADDRESS: u32 = 20;
/// Longest wait after a wrong password.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Accounts and addresses with wrong passwords that are remembered.
const REMEMBERED_MAX: usize = 10_000;
/// A wrong password is forgotten after this long.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(900);

/// Someone who logged in.
pub(crate) struct LoggedIn {
    pub(crate) user: String,
    pub(crate) role: Role,
    pub(crate) token: String,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Guesser {
    Account(String),
    Address(IpAddr),
}

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last: BootTime,
    until: BootTime,
}

/// Checks logins. At most a few passwords are hashed at once, so that memory and processor stay free.
pub(crate) struct Doorman {
    writer: Writer,
    hashes: Semaphore,
    failures: Mutex<HashMap<Guesser, Failures>>,
}

fn wrong() -> UserError {
    UserError::new(ErrorCode::LoginWrong, "the name or the password is wrong")
}

fn store_gone() -> UserError {
    UserError::new(ErrorCode::Stopping, "the master is stopping")
}

impl Doorman {
    pub(crate) fn new(writer: Writer) -> Self {
        let hashes = Semaphore::new(PASSWORD_HASHES_AT_ONCE_MAX);
        Self { writer, hashes, failures: Mutex::new(HashMap::new()) }
    }

    async fn with_store<R: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut dyn Storage) -> Result<R, UserError> + Send + 'static,
    ) -> Result<R, UserError> {
        self.writer.operate(operation).await.unwrap_or_else(|| Err(store_gone()))
    }

    /// Logs in with a password and begins a session.
    ///
    /// # Errors
    /// `E-LOGIN-WRONG`, or `E-LOGIN-SLOWED` with the time to wait.
    pub(crate) async fn login(&self, user: String, password: String, from: IpAddr) -> Result<LoggedIn, UserError> {
        let guessers = [Guesser::Account(user.clone()), Guesser::Address(from)];
        self.check_wait(&guessers)?;
        if user.len() > PEER_NAME_BYTES_MAX || password.len() > PASSWORD_BYTES_MAX {
            return Err(wrong());
        }
        let permit = self.hashes.acquire().await.map_err(|_| store_gone())?;
        // While this one waited, others may have failed: many connections do not make many tries.
        self.check_wait(&guessers)?;
        let name = user.clone();
        let known = self.with_store(move |store| store.accounts().credentials(&name)).await?;
        let (role, kept) = known.map_or((None, None), |(role, kept)| (Some(role), Some(kept)));
        let (good, fresh) = tokio::task::spawn_blocking(move || -> Result<_, UserError> {
            let (good, old) = secrets::verify_password(&password, kept.as_deref())?;
            let fresh = if good && old { Some(secrets::hash_password(&password)?) } else { None };
            Ok((good, fresh))
        })
        .await
        .map_err(|error| UserError::new(ErrorCode::Internal, format!("a password could not be checked: {error}")))??;
        drop(permit);
        let (true, Some(role)) = (good, role) else {
            self.note_failure(&guessers);
            tracing::warn!(user = %common::escape::RawText::from(user), %from, "a login failed");
            return Err(wrong());
        };
        self.forgive(&guessers[0]);
        let token = secrets::token()?;
        let (hash, name) = (secrets::token_hash(&token), user.clone());
        let now = clock::now();
        let expires = Timestamp(now.0.saturating_add(SESSION_LIFE.0));
        self.with_store(move |store| {
            let mut accounts = store.accounts();
            if let Some(fresh) = fresh {
                accounts.rehash(&name, &fresh)?;
            }
            accounts.add_session(&hash, &name, expires, now)
        })
        .await?;
        Ok(LoggedIn { user, role, token })
    }

    /// Continues a session.
    ///
    /// # Errors
    /// `E-LOGIN-NEEDED` when the token is unknown, has run out or was given up.
    pub(crate) async fn resume(&self, token: String) -> Result<LoggedIn, UserError> {
        let hash = secrets::token_hash(&token);
        let found = self.with_store(move |store| store.accounts().session(&hash, clock::now())).await?;
        let (user, role) =
            found.ok_or_else(|| UserError::new(ErrorCode::LoginNeeded, "the login has ended; log in again"))?;
        Ok(LoggedIn { user, role, token })
    }

    /// Ends a session for ever.
    ///
    /// # Errors
    /// When the store fails.
    pub(crate) async fn logout(&self, token: &str) -> Result<(), UserError> {
        let hash = secrets::token_hash(token);
        self.with_store(move |store| store.accounts().drop_session(&hash)).await
    }

    fn check_wait(&self, guessers: &[Guesser]) -> Result<(), UserError> {
        let now = clock::boot_now();
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let wait =
            guessers.iter().filter_map(|guesser| failures.get(guesser)).map(|known| known.until.since(now)).max();
        match wait {
            Some(wait) if wait > Duration::default() => {
                let sentence = format!("there were too many wrong passwords; try again in {wait}");
                Err(UserError::new(ErrorCode::LoginSlowed, sentence).retry_after(wait))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn note_failure(&self, guessers: &[Guesser; 2]) {
        let now = clock::boot_now();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= REMEMBERED_MAX {
            failures.retain(|_, known| now.since(known.last) < FORGOTTEN_AFTER);
        }
        if failures.len() >= REMEMBERED_MAX {
            // Somebody tries many names; his address is what counts, and it is entered again below.
            failures.retain(|guesser, _| matches!(guesser, Guesser::Address(_)));
        }
        for guesser in guessers {
            let free = match guesser {
                Guesser::Account(_) => FREE_TRIES_ACCOUNT,
                Guesser::Address(_) => FREE_TRIES_ADDRESS,
            };
            let known = failures.entry(guesser.clone()).or_insert(Failures { count: 0, last: now, until: now });
            if now.since(known.last) >= FORGOTTEN_AFTER {
                known.count = 0;
            }
            known.count = known.count.saturating_add(1);
            known.last = now;
            if let Some(over) = known.count.checked_sub(free) {
                let wait = Duration::from_secs(1_u64 << over.min(6)).min(WAIT_MAX);
                known.until = now.plus(wait);
            }
        }
    }

    fn forgive(&self, guesser: &Guesser) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(guesser);
    }
}
