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
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Semaphore;
use transport::clock;

/// Wrong passwords that cost nothing: of one account from one address, and from one address, where many
/// people may sit. Nothing counts an account alone: a stranger must not lock out its owner.
const FREE_TRIES_ACCOUNT: u32 = 3;
const FREE_TRIES_ADDRESS: u32 = 20;
/// Longest wait after a wrong password.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Accounts and addresses with wrong passwords that are remembered.
const REMEMBERED_MAX: usize = 10_000;
/// Sessions of which it is remembered whose they are.
const SESSIONS_REMEMBERED_MAX: usize = 1_000;
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
    Account(String, IpAddr),
    Address(IpAddr),
    /// An address that tries join strings.
    Joiner(IpAddr),
}

/// What counts as one address: all of one IPv6 network, where one machine has as many as it likes.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
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
    /// Whose sessions were the last time, by the hash of their tokens: only a guess, see [`Doorman::resume`].
    sessions: Mutex<HashMap<[u8; 32], (String, Role)>>,
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
        Self { writer, hashes, failures: Mutex::default(), sessions: Mutex::default() }
    }

    async fn with_store<R: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut dyn Storage) -> Result<R, UserError> + Send + 'static,
    ) -> Result<R, UserError> {
        self.writer.operate(operation).await
    }

    /// Logs in with a password and begins a session.
    ///
    /// # Errors
    /// `E-LOGIN-WRONG`, or `E-LOGIN-SLOWED` with the time to wait.
    pub(crate) async fn login(&self, user: String, password: String, from: IpAddr) -> Result<LoggedIn, UserError> {
        if user.len() > PEER_NAME_BYTES_MAX || password.len() > PASSWORD_BYTES_MAX {
            return Err(wrong());
        }
        let network = counted_as(from);
        let guessers = [Guesser::Account(user.clone(), network), Guesser::Address(network)];
        self.check_wait(&guessers)?;
        let permit = self.hashes.acquire().await.map_err(|_| store_gone())?;
        // While this one waited, others may have failed: many connections do not make many tries.
        self.check_wait(&guessers)?;
        let name = user.clone();
        let known = self.with_store(move |store| store.accounts().credentials(&name)).await?;
        let (role, kept) = known.map_or((None, None), |(role, kept)| (Some(role), Some(kept)));
        let checked = kept.clone();
        let (good, fresh) = tokio::task::spawn_blocking(move || -> Result<_, UserError> {
            let (good, old) = secrets::verify_password(&password, kept.as_deref())?;
            let fresh = if good && old { Some(secrets::hash_password(&password)?) } else { None };
            Ok((good, fresh))
        })
        .await
        .map_err(|error| UserError::new(ErrorCode::Internal, format!("a password could not be checked: {error}")))??;
        drop(permit);
        let (true, Some(role), Some(checked)) = (good, role, checked) else {
            self.note_failure(&guessers);
            return Err(wrong());
        };
        self.forgive(&guessers[0]);
        let token = secrets::token()?;
        let (hash, name) = (secrets::token_hash(&token), user.clone());
        let now = clock::now();
        let expires = Timestamp(now.0.saturating_add(SESSION_LIFE.0));
        let added = self.with_store(move |store| {
            let mut accounts = store.accounts();
            let added = accounts.add_session(&hash, &name, &checked, expires, now)?;
            if let (true, Some(fresh)) = (added, fresh) {
                accounts.rehash(&name, &checked, &fresh)?;
            }
            Ok(added)
        });
        if !added.await? {
            // The password was changed, or the user removed, while the old one was checked.
            return Err(wrong());
        }
        Ok(LoggedIn { user, role, token })
    }

    /// Whose session this is, as far as is known: it may have ended since. Nothing may be told or done in its name
    /// before [`Doorman::confirm`] has looked.
    ///
    /// # Errors
    /// `E-LOGIN-NEEDED` when the token is unknown, has run out or was given up.
    pub(crate) async fn resume(&self, token: String) -> Result<LoggedIn, UserError> {
        let hash = secrets::token_hash(&token);
        // Whoever comes back for each command is looked up once for each, not twice.
        let remembered = self.sessions().get(&hash).cloned();
        let (user, role) = match remembered {
            Some(session) => session,
            None => self.look_up(hash).await?,
        };
        Ok(LoggedIn { user, role, token })
    }

    /// Whether a session stands, with this user and role. Asked once its connection is known to the event loop:
    /// whatever ends it from then on cuts the connection too.
    ///
    /// # Errors
    /// `E-LOGIN-NEEDED` when it has ended.
    pub(crate) async fn confirm(&self, token: &str, user: &str, role: Role) -> Result<(), UserError> {
        let (found_user, found_role) = self.look_up(secrets::token_hash(token)).await?;
        if found_user == user && found_role == role {
            return Ok(());
        }
        Err(UserError::new(ErrorCode::LoginNeeded, "the role was changed; log in again"))
    }

    /// A session as the store knows it, which is remembered.
    async fn look_up(&self, hash: [u8; 32]) -> Result<(String, Role), UserError> {
        let found = self.writer.look(move |store| store.accounts().session(&hash, clock::now())).await?;
        let mut sessions = self.sessions();
        match &found {
            Some(session) => {
                if sessions.len() >= SESSIONS_REMEMBERED_MAX && !sessions.contains_key(&hash) {
                    sessions.clear();
                }
                sessions.insert(hash, session.clone());
            }
            None => drop(sessions.remove(&hash)),
        }
        found.ok_or_else(|| UserError::new(ErrorCode::LoginNeeded, "the login has ended; log in again"))
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<[u8; 32], (String, Role)>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a user of this name; for the audit alone.
    pub(crate) async fn knows(&self, user: &str) -> bool {
        let user = user.to_owned();
        self.with_store(move |store| store.accounts().credentials(&user)).await.is_ok_and(|known| known.is_some())
    }

    /// Whether an address may try a join string now.
    ///
    /// # Errors
    /// `E-LOGIN-SLOWED` with the time to wait.
    pub(crate) fn may_join(&self, from: IpAddr) -> Result<(), UserError> {
        self.check_wait(&[Guesser::Joiner(counted_as(from))])
            .map_err(|error| UserError { sentence: error.sentence.replace("passwords", "join strings"), ..error })
    }

    /// Remembers that an address tried a join string that was not good.
    pub(crate) fn note_wrong_join(&self, from: IpAddr) {
        self.note_failure(&[Guesser::Joiner(counted_as(from))]);
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

    fn note_failure(&self, guessers: &[Guesser]) {
        let now = clock::boot_now();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= REMEMBERED_MAX {
            failures.retain(|_, known| now.since(known.last) < FORGOTTEN_AFTER);
        }
        if failures.len() >= REMEMBERED_MAX {
            // Somebody tries many names; his address is what counts, and it is entered again below.
            failures.retain(|guesser, _| matches!(guesser, Guesser::Address(_) | Guesser::Joiner(_)));
        }
        if failures.len() >= REMEMBERED_MAX {
            let oldest = failures.iter().min_by_key(|(_, known)| known.last).map(|(guesser, _)| guesser.clone());
            oldest.map(|guesser| failures.remove(&guesser));
        }
        for guesser in guessers {
            let free = match guesser {
                Guesser::Account(..) => FREE_TRIES_ACCOUNT,
                Guesser::Address(_) | Guesser::Joiner(_) => FREE_TRIES_ADDRESS,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SqliteStore;

    const PASSWORD: &str = "correct horse";

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    async fn doorman(folder: &std::path::Path) -> Doorman {
        let store = SqliteStore::open(folder).unwrap();
        let (writer, _thread) = Writer::start(Box::new(store), std::sync::Arc::new(|error| panic!("{error}"))).unwrap();
        let doorman = Doorman::new(writer);
        let hash = secrets::hash_password(PASSWORD).unwrap();
        doorman
            .with_store(move |store| store.accounts().add_user("ann", Role::Operator, &hash, clock::now()))
            .await
            .unwrap();
        doorman
    }

    #[tokio::test]
    async fn e10_a_stranger_does_not_lock_out_the_owner_of_an_account() {
        let folder = tempfile::tempdir().unwrap();
        let doorman = doorman(folder.path()).await;
        // One machine has a whole IPv6 network: all its addresses count together.
        for number in 0..FREE_TRIES_ACCOUNT {
            let from = address(&format!("2001:db8::{}", number + 1));
            let error = doorman.login("ann".into(), "wrong horse".into(), from).await.err().unwrap();
            assert!(error.is(ErrorCode::LoginWrong), "{error}");
        }
        let login = |from: &str| doorman.login("ann".into(), PASSWORD.into(), address(from));
        assert!(login("2001:db8::ffff").await.err().unwrap().is(ErrorCode::LoginSlowed));
        assert!(login("2001:db8:0:1::1").await.is_ok());
        assert!(login("192.0.2.7").await.is_ok());
    }

    #[tokio::test]
    async fn e10_a_login_with_the_old_password_makes_no_session_after_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let doorman = doorman(folder.path()).await;
        let (added, late) = doorman
            .with_store(|store| {
                let mut accounts = store.accounts();
                let Some((_, checked)) = accounts.credentials("ann")? else { panic!("ann is there") };
                let (now, expires) = (clock::now(), Timestamp(u64::MAX >> 1));
                let added = accounts.add_session(&[1; 32], "ann", &checked, expires, now)?;
                // The password changes between the check and the session.
                accounts.set_password("ann", "another hash")?;
                let late = accounts.add_session(&[2; 32], "ann", &checked, expires, now)?;
                accounts.rehash("ann", &checked, "the old one again")?;
                assert_eq!(accounts.credentials("ann")?, Some((Role::Operator, "another hash".to_owned())));
                assert_eq!(accounts.session(&[1; 32], now)?, None);
                Ok((added, late))
            })
            .await
            .unwrap();
        assert!(added && !late);
    }

    #[tokio::test]
    async fn a16_a_password_of_an_older_cost_is_hashed_anew_at_the_next_login() {
        let folder = tempfile::tempdir().unwrap();
        let doorman = doorman(folder.path()).await;
        let old = secrets::hash_with(PASSWORD, (8, 1, 1)).unwrap();
        let kept = old.clone();
        doorman.with_store(move |store| store.accounts().set_password("ann", &kept)).await.unwrap();
        let from = address("192.0.2.7");
        assert!(doorman.login("ann".into(), "wrong horse".into(), from).await.is_err());
        let kept = || doorman.with_store(|store| store.accounts().credentials("ann"));
        assert_eq!(kept().await.unwrap().unwrap().1, old, "only the right password is hashed anew");
        let session = doorman.login("ann".into(), PASSWORD.into(), from).await.unwrap();
        let fresh = kept().await.unwrap().unwrap().1;
        assert!(fresh.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{fresh}");
        doorman.resume(session.token).await.unwrap();
        doorman.login("ann".into(), PASSWORD.into(), from).await.unwrap();
        assert_eq!(kept().await.unwrap().unwrap().1, fresh);
    }

    #[tokio::test]
    async fn a17_guessing_is_slowed_before_anything_is_hashed_and_costs_bounded_memory() {
        let folder = tempfile::tempdir().unwrap();
        let doorman = doorman(folder.path()).await;
        let from = address("192.0.2.7");
        // Many names from one address: the address counts.
        for number in 0..FREE_TRIES_ADDRESS {
            let error = doorman.login(format!("user{number}"), "wrong horse".into(), from).await.err().unwrap();
            assert!(error.is(ErrorCode::LoginWrong), "{error}");
        }
        for number in 0..10_000 {
            let error = doorman.login(format!("other{number}"), "wrong horse".into(), from).await.err().unwrap();
            assert!(error.is(ErrorCode::LoginSlowed) && error.retry_after.is_some(), "{error}");
        }
        // Whoever has a session goes on with it, also from there.
        let session = doorman.login("ann".into(), PASSWORD.into(), address("198.51.100.1")).await.unwrap();
        doorman.resume(session.token).await.unwrap();
        // Many addresses try many names.
        for number in 0..3 * REMEMBERED_MAX as u128 {
            let from = IpAddr::V6((number << 64).into());
            doorman.note_failure(&[Guesser::Account(format!("user{number}"), from), Guesser::Address(from)]);
        }
        assert!(doorman.failures.lock().unwrap().len() <= REMEMBERED_MAX + 2);
    }
}
