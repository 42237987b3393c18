//! The connection of a command: by the login that is kept on this computer, and again after it is lost.

use client::{
    connection::{self, Client, Requests},
    context::{self, Context},
};
use common::{
    ErrorCode, ProgramId, UserError,
    message::{HistoryQuery, Reply, Request},
    view::ClientKind,
};
use std::{
    io::IsTerminal,
    path::PathBuf,
    time::{Duration, Instant},
};
use transport::Backoff;

/// How long a command that follows a program tries to get its connection back: longer than a master takes
/// to restart.
const RECONNECT_TIME: Duration = Duration::from_secs(120);

/// A connection that lasted less than this brought nothing forward.
const SHORT_LIFE: Duration = Duration::from_secs(5);
/// Connections in a row that may end so soon: then it is no accident, and trying on would never end.
const SHORT_LIVES_MAX: u32 = 5;

/// How long a command asks a busy master again: longer than a rush lasts, not for ever.
const BUSY_PATIENCE: Duration = Duration::from_secs(600);
/// Wait when a busy master names none.
const BUSY_WAIT: Duration = Duration::from_secs(1);

/// A wait of up to half as much again, so that those who were put off together do not come back together.
fn spread(wait: Duration) -> Duration {
    use std::hash::{BuildHasher, RandomState};
    let part = RandomState::new().hash_one(wait) % 512;
    wait + wait.mul_f64(part as f64 / 1_024.0)
}

/// A command's connection.
pub(crate) struct Session {
    folder: PathBuf,
    context: Context,
    client: Client,
    since: Instant,
    short_lives: u32,
    /// Since when the master puts off what is asked, and when it did so the last time.
    busy: Option<(Instant, Instant)>,
}

/// A command's connection that is about to be made: what is asked now leaves with the login.
pub(crate) struct Opening {
    folder: PathBuf,
    context: Context,
    opening: connection::Opening,
}

impl Opening {
    /// Reads the login that is kept.
    ///
    /// # Errors
    /// `E-LOGIN-NEEDED` without one.
    pub(crate) fn new() -> Result<Self, UserError> {
        let folder = context::folder()?;
        let context = Context::load(&folder)?.ok_or_else(context::login_needed)?;
        let opening = connection::Opening::new(&context.target, ClientKind::Cli, &context.credentials()?);
        Ok(Self { folder, context, opening })
    }

    /// To ask with at once.
    pub(crate) const fn requests(&self) -> &Requests {
        self.opening.requests()
    }

    /// Connects.
    ///
    /// # Errors
    /// Why there is no connection.
    pub(crate) async fn connect(self) -> Result<Session, UserError> {
        let Self { folder, context, opening } = self;
        let client = connect(&folder, &context, opening).await?;
        Ok(Session::new(folder, context, client))
    }

    /// Connects; when the connection is lost after something was asked that the master may do, tries for a while to
    /// get another one. What was asked is then answered with `E-CONNECTION-LOST`.
    ///
    /// # Errors
    /// Why there is no connection.
    pub(crate) async fn connect_surely(self) -> Result<Session, UserError> {
        let Self { folder, context, opening } = self;
        let requests = opening.requests().clone();
        let client = match connect(&folder, &context, opening).await {
            Err(error)
                if requests.have_left()
                    && (error.is(ErrorCode::ConnectionLost) || error.is(ErrorCode::MasterUnreachable)) =>
            {
                connect_for_a_while(&folder, &context, &error).await?
            }
            connected => connected?,
        };
        Ok(Session::new(folder, context, client))
    }
}

impl Session {
    fn new(folder: PathBuf, context: Context, client: Client) -> Self {
        Self { folder, context, client, since: Instant::now(), short_lives: 0, busy: None }
    }

    /// Connects with the login that is kept.
    ///
    /// # Errors
    /// `E-LOGIN-NEEDED` without one; otherwise why there is no connection.
    pub(crate) async fn open() -> Result<Self, UserError> {
        Opening::new()?.connect().await
    }

    /// The same, and the answer to what is asked at once: one round trip for both.
    ///
    /// # Errors
    /// As [`Session::open`], and what the master answers.
    pub(crate) async fn open_asking(request: Request) -> Result<(Self, Reply), UserError> {
        let opening = Opening::new()?;
        let answer = opening.requests().request(request);
        let session = opening.connect().await?;
        let reply = answer.await?;
        Ok((session, reply))
    }

    /// The answer to what is asked about the program that `text` names, as [`Session::program`] finds it.
    ///
    /// # Errors
    /// As [`Session::open_asking`] and [`Session::program`].
    pub(crate) async fn open_asking_about(
        text: &str,
        request: impl FnOnce(ProgramId) -> Request,
    ) -> Result<Reply, UserError> {
        if let Ok(id) = text.parse() {
            return Ok(Self::open_asking(request(id)).await?.1);
        }
        let session = Self::open().await?;
        let id = session.program(text).await?;
        session.ask(request(id)).await
    }

    /// The connection.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The login.
    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// Where the login is kept.
    pub(crate) fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// Asks and waits for the answer.
    pub(crate) async fn ask(&self, request: Request) -> Result<Reply, UserError> {
        self.client.request(request).await
    }

    /// After `E-CONNECTION-LOST` connects again, trying for a while.
    ///
    /// # Errors
    /// `reason` itself when it is another one, else why it could not connect again.
    pub(crate) async fn reconnect(&mut self, reason: UserError) -> Result<(), UserError> {
        if !reason.is(ErrorCode::ConnectionLost) {
            return Err(reason);
        }
        if self.client.lost().is_none() {
            // It was connected again since; the one that is gone was used before.
            tokio::task::yield_now().await;
            return Ok(());
        }
        self.short_lives = if self.since.elapsed() < SHORT_LIFE { self.short_lives + 1 } else { 0 };
        if self.short_lives > SHORT_LIVES_MAX {
            let sentence = format!("the connection was lost {} times in a row: {}", self.short_lives, reason.sentence);
            let hint = "the master's log says why; `ruche list` shows what was accepted";
            return Err(UserError::new(ErrorCode::ConnectionLost, sentence).with_hint(hint));
        }
        self.client = connect_for_a_while(&self.folder, &self.context, &reason).await?;
        self.since = Instant::now();
        Ok(())
    }

    /// Makes it worth asking again: waits out a busy or stopping master, and connects again after
    /// `E-CONNECTION-LOST`.
    ///
    /// # Errors
    /// `reason` itself when the master has been busy for too long; else as [`Session::reconnect`].
    pub(crate) async fn recover(&mut self, reason: UserError) -> Result<(), UserError> {
        if !reason.is(ErrorCode::Busy) && !reason.is(ErrorCode::Stopping) {
            return self.reconnect(reason).await;
        }
        let now = Instant::now();
        // Another rush, when it took something since.
        let since = self.busy.filter(|(_, last)| last.elapsed() < BUSY_PATIENCE / 10).map_or(now, |(since, _)| since);
        if since.elapsed() > BUSY_PATIENCE {
            return Err(reason);
        }
        let wait = spread(reason.retry_after.map_or(BUSY_WAIT, common::Duration::to_std));
        if std::io::stderr().is_terminal() {
            crate::failure::say(&format!("ruche: {}; trying again in {:.1} s…\n", reason.sentence, wait.as_secs_f32()));
        }
        tokio::time::sleep(wait).await;
        self.busy = Some((since, Instant::now()));
        Ok(())
    }

    /// The program that `text` names: a whole ID, or the beginning or end of just one.
    ///
    /// # Errors
    /// `E-PROGRAM-UNKNOWN`.
    pub(crate) async fn program(&self, text: &str) -> Result<ProgramId, UserError> {
        if let Ok(id) = text.parse() {
            return Ok(id);
        }
        let shown = common::escape::RawText::from(text);
        let part = text.trim_start_matches('…').to_lowercase();
        let is_part = part.len() >= 4 && part.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        if !is_part {
            return Err(UserError::new(ErrorCode::ProgramUnknown, format!("`{shown}` is not the ID of a program")));
        }
        let query = HistoryQuery { search: part.clone(), limit: 50, ..HistoryQuery::default() };
        let (rows, _) = client::reply::page(self.ask(Request::List(query)).await?)?;
        let mut found = rows.iter().map(|row| row.id).filter(|id| {
            let id = id.to_string();
            id.starts_with(&part) || id.ends_with(&part)
        });
        match (found.next(), found.next()) {
            (Some(id), None) => Ok(id),
            (Some(_), Some(_)) => Err(UserError::new(
                ErrorCode::ProgramUnknown,
                format!("more than one program has an ID that begins or ends with `{shown}`"),
            )
            .with_hint("give more of the ID")),
            (None, _) => Err(UserError::new(
                ErrorCode::ProgramUnknown,
                format!("no program that you may see has an ID that begins or ends with `{shown}`"),
            )),
        }
    }

    /// The programs that `texts` name.
    ///
    /// # Errors
    /// As [`Session::program`].
    pub(crate) async fn programs(&self, texts: &[String]) -> Result<Vec<ProgramId>, UserError> {
        let mut ids = Vec::with_capacity(texts.len());
        for text in texts {
            ids.push(self.program(text).await?);
        }
        Ok(ids)
    }
}

/// Connects again, trying for a while.
async fn connect_for_a_while(
    folder: &std::path::Path,
    context: &Context,
    reason: &UserError,
) -> Result<Client, UserError> {
    if std::io::stderr().is_terminal() {
        crate::failure::say("ruche: the connection is lost; connecting again…\n");
    }
    tracing::info!(%reason, "connecting again");
    let deadline = Instant::now() + RECONNECT_TIME;
    let mut backoff = Backoff::new();
    loop {
        tokio::time::sleep(backoff.next_delay()).await;
        let opening = connection::Opening::new(&context.target, ClientKind::Cli, &context.credentials()?);
        match connect(folder, context, opening).await {
            Err(error) if passes(&error) && Instant::now() < deadline => {}
            result => return result,
        }
    }
}

/// Connects, and keeps the session's token when the master gave another one.
async fn connect(
    folder: &std::path::Path,
    context: &Context,
    opening: connection::Opening,
) -> Result<Client, UserError> {
    let (client, _news) = opening.connect().await.map_err(|error| {
        if !error.is(ErrorCode::LoginNeeded) {
            return error;
        }
        let hint = format!("run `ruche login {} --user {}`", context.target.address, context.user);
        error.with_hint(hint)
    })?;
    if context.token.as_ref() != Some(client.token()) {
        Context::of(&context.target, &client).save(folder)?;
    }
    Ok(client)
}

/// Whether a connection may succeed a moment later.
fn passes(error: &UserError) -> bool {
    [ErrorCode::ConnectionLost, ErrorCode::MasterUnreachable, ErrorCode::Busy, ErrorCode::Stopping]
        .iter()
        .any(|code| error.is(*code))
}
