//! What a running master does now and then beside its work.

use crate::{
    session::Shared,
    store::{seal, worker::Writer},
};
use rusqlite::Connection;
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::Notify;

/// How often the age of the master's own certificate is looked at.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(3_600);
/// How long refusals are gathered before they are written into the audit.
const AUDIT_INTERVAL: Duration = Duration::from_secs(1);
/// How long outputs that ended are gathered before they are sealed.
const SEAL_INTERVAL: Duration = Duration::from_secs(1);

/// Renews the certificate that the master shows, in time and without a restart.
pub(crate) async fn renew_server(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(CERTIFICATE_INTERVAL).await;
        let shared = shared.clone();
        match tokio::task::spawn_blocking(move || shared.authority.renew_server()).await {
            Ok(Ok(true)) => tracing::info!("the master's certificate was renewed"),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => tracing::error!(%error, "the master's certificate cannot be renewed"),
            Err(error) => tracing::error!(%error, "the renewal of the master's certificate failed"),
        }
    }
}

/// Writes refusals into the audit.
pub(crate) async fn flush_audit(shared: Arc<Shared>) {
    loop {
        // A master that nobody knocks at is not woken for this.
        shared.audit.gathers().await;
        tokio::time::sleep(AUDIT_INTERVAL).await;
        shared.audit.flush().await;
    }
}

/// Computes checksums of outputs of programs that ended: those that an earlier master left, and some whenever
/// `ended` tells that one with a file has.
pub(crate) async fn seal(writer: Writer, connection: Connection, outputs: PathBuf, ended: Arc<Notify>) {
    let mut reader = Some(connection);
    while let Some(connection) = reader.take() {
        tokio::time::sleep(SEAL_INTERVAL).await;
        let folder = outputs.clone();
        let computed = tokio::task::spawn_blocking(move || (seal::compute(&connection, &folder), connection)).await;
        let Ok((result, connection)) = computed else { return tracing::error!("sealing outputs failed") };
        reader = Some(connection);
        match result {
            Ok(sealed) if sealed.is_empty() => ended.notified().await,
            Ok(sealed) => {
                if let Err(error) = writer.operate(move |store| store.accounts().seal(&sealed)).await {
                    tracing::warn!(%error, "checksums of outputs are not kept; trying again");
                }
            }
            Err(error) => tracing::error!(%error, "outputs cannot be sealed"),
        }
    }
}
