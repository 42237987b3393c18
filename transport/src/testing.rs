//! For the tests of every crate: a master's authority in a folder, enrolled slaves, and connections over loopback.

use crate::{Authority, Connection, EnrolmentKey, IdentityError, Listener, SlaveIdentity, connect};
use common::{SlaveId, UserError, units::Duration};
use std::path::Path;

/// The identity of a slave that `authority` has enrolled for an hour. It is not on disk.
///
/// # Errors
/// When a key or a certificate cannot be made.
pub fn enrolled_slave(
    authority: &Authority,
    id: SlaveId,
    name: &str,
    address: &str,
) -> Result<SlaveIdentity, IdentityError> {
    let key = EnrolmentKey::generate()?;
    let chain = authority.issue_slave(&key.request_der(), id, Duration::from_secs(3_600))?;
    key.complete(id, name.to_owned(), chain, address.to_owned(), authority.pin())
}

/// An authority in `dir` and a listener of it on a free port of the loopback.
///
/// # Errors
/// When the folder cannot be used or the loopback is not there.
pub async fn listen(dir: &Path) -> Result<(Authority, Listener), UserError> {
    let authority = Authority::load_or_create(dir)?;
    let listener = Listener::bind("127.0.0.1:0", &authority).await?;
    Ok((authority, listener))
}

/// Both ends of a new connection to the listener: the dialler's, then the master's.
///
/// # Errors
/// When the connection fails.
pub async fn connected(
    listener: &Listener,
    authority: &Authority,
    identity: Option<&SlaveIdentity>,
) -> Result<(Connection, Connection), UserError> {
    let address = listener.local_address().to_string();
    let accept = async { listener.accept().await.handshake().await };
    let (dialled, accepted) = tokio::join!(connect(&address, authority.pin(), identity), accept);
    let accepted = accepted.map_err(|error| UserError::new(common::ErrorCode::IdentityRefused, error.to_string()))?;
    Ok((dialled?, accepted))
}
