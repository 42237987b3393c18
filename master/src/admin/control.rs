//! The answering side: a socket under the data folder that only the same user and root may use.

use super::{
    AdminAnswer, AdminRequest,
    perform::{About, event_of, perform},
};
use crate::{event_loop::Input, session::Shared, store::check};
use common::{ErrorCode, UserError};
use std::{os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
};

/// Longest request.
const REQUEST_BYTES_MAX: u64 = 64 << 10;
/// Time for one request to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests served at once.
const AT_ONCE_MAX: usize = 16;

/// Listens at `path`, which the holder of the data folder's lock may replace.
///
/// # Errors
/// When the socket cannot be made.
pub(crate) fn listen(path: &Path) -> std::io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    // The folder is private already; this says it of the socket too.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers until it is dropped.
pub(crate) async fn serve(listener: UnixListener, shared: Arc<Shared>, about: About, data: std::path::PathBuf) {
    let places = Arc::new(Semaphore::new(AT_ONCE_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (shared, about, data) = (shared.clone(), about.clone(), data.clone());
                tokio::spawn(async move {
                    answer(stream, &shared, about, data).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket failed");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn answer(stream: UnixStream, shared: &Shared, about: About, data: std::path::PathBuf) {
    let own = nix::unistd::geteuid().as_raw();
    let who = match stream.peer_cred() {
        Ok(peer) if peer.uid() == own || peer.uid() == 0 => format!("uid {} on the master's machine", peer.uid()),
        Ok(peer) => return tracing::warn!(uid = peer.uid(), "another user tried the control socket"),
        Err(error) => return tracing::warn!(%error, "a peer of the control socket is unknown"),
    };
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(REQUEST_BYTES_MAX));
    let read = tokio::time::timeout(REQUEST_TIMEOUT, reader.read_line(&mut line)).await;
    if !matches!(read, Ok(Ok(1..))) {
        return;
    }
    let result = match serde_json::from_str(&line) {
        Ok(request) => act(request, shared, about, data, who).await,
        Err(error) => Err(UserError::new(ErrorCode::RequestInvalid, format!("not a request of this release: {error}"))),
    };
    let mut answer = serde_json::to_string(&result).unwrap_or_default();
    answer.push('\n');
    if let Err(error) = write.write_all(answer.as_bytes()).await {
        tracing::debug!(%error, "an administrator left before the answer");
    }
}

async fn act(
    request: AdminRequest,
    shared: &Shared,
    about: About,
    data: std::path::PathBuf,
    who: String,
) -> Result<AdminAnswer, UserError> {
    if matches!(request, AdminRequest::Check) {
        // It reads everything: on a connection and a thread of its own.
        return tokio::task::spawn_blocking(move || check::running(&data).map(AdminAnswer::Checked))
            .await
            .map_err(|error| UserError::new(ErrorCode::Internal, error.to_string()))?;
    }
    let (request, done) = shared
        .writer
        .operate(move |store| perform(&request, &mut store.accounts(), &about, &who).map(|done| (request, done)))
        .await?;
    if let Some(event) = event_of(&request, &done)
        && shared.inputs.send(Input::Event(event)).await.is_err()
    {
        tracing::debug!("the master stops; all connections end anyway");
    }
    Ok(done)
}
