//! A slave's session: registration, then reports and output, and now and then a new certificate.

use super::{Shared, next, protocol_error, refuse};
use crate::{
    core::event::{Event, LinkId},
    event_loop::Input,
};
use common::{
    Duration, ErrorCode, SlaveId, Timestamp, UserError,
    message::{Command, Data, Message, Report, Status},
};
use std::sync::atomic::Ordering;
use tokio::time::{Instant, sleep_until};
use transport::{Connection, PeerIdentity, clock};

/// Later than any certificate ends; further instants leave the clock's range.
const LIFE_MAX: Duration = Duration::from_secs(30 * 365 * 86_400);

pub(super) async fn serve(shared: &Shared, mut connection: Connection) {
    let PeerIdentity::Slave(slave) = connection.peer else { return };
    // TLS has proved who it is; whether this master still wants it, the core decides.
    connection.authenticated();
    let registration = match next(&mut connection).await {
        Ok(Some(Message::Status(Status::Report(Report::Register(registration))))) => registration,
        Ok(Some(_)) => {
            denied(shared, slave, "something else than a registration was sent");
            return refuse(connection, protocol_error("a registration")).await;
        }
        Ok(None) => return,
        Err(error) => return refuse(connection, error).await,
    };
    match enrolled(shared, slave).await {
        Ok(true) => {}
        Ok(false) => denied(shared, slave, "a slave that is revoked or unknown tried to register"),
        Err(error) => return refuse(connection, error).await,
    }
    let link = LinkId(shared.links.fetch_add(1, Ordering::Relaxed));
    let address = connection.address.to_string();
    let sender = connection.sender.clone();
    if !shared.give(Input::Slave { link, slave, address, registration, sender }).await {
        return;
    }
    let end = reports(shared, &mut connection, link, slave).await;
    if !shared.give(Input::Event(Event::SlaveLeft(link))).await {
        tracing::debug!(%slave, "left while the master stops");
    }
    if let Err(error) = end {
        tracing::warn!(%slave, %error, "a slave is cut");
        refuse(connection, error).await;
    }
}

fn denied(shared: &Shared, slave: SlaveId, what: &str) {
    shared.audit.denied(format!("slave {slave}"), what.to_owned());
}

async fn enrolled(shared: &Shared, slave: SlaveId) -> Result<bool, UserError> {
    shared.writer.operate(move |store| store.accounts().is_enrolled(slave)).await
}

/// When a certificate that ends at `until` ends on the clock that never jumps.
fn end_of(until: Option<Timestamp>) -> Instant {
    let left = until.map_or(Duration::default(), |until| until.since(clock::now()));
    Instant::now() + left.min(LIFE_MAX).to_std()
}

async fn reports(shared: &Shared, connection: &mut Connection, link: LinkId, slave: SlaveId) -> Result<(), UserError> {
    let mut certificate_ends = end_of(connection.certificate_until);
    loop {
        let message = tokio::select! {
            message = next(connection) => message?,
            () = sleep_until(certificate_ends) => {
                let sentence = "the slave's certificate has run out and was not renewed";
                return Err(UserError::new(ErrorCode::IdentityRefused, sentence));
            }
        };
        let Some(message) = message else { return Ok(()) };
        let event = match message {
            Message::Status(Status::Report(report)) => {
                let guard = shared.room(crate::core::report_bytes(&report)).await;
                if !shared.give(Input::Report { link, report, guard }).await {
                    return Ok(());
                }
                continue;
            }
            Message::Data(Data::Output { key, stream, offset, bytes }) => {
                let guard = shared.room(bytes.len()).await;
                Event::SlaveOutput { link, key, stream, offset, bytes, guard }
            }
            Message::Command(Command::Renew { certificate_request }) => {
                connection.sender.send(renew(shared, slave, &certificate_request).await?)?;
                certificate_ends = Instant::now() + shared.certificate_life.min(LIFE_MAX).to_std();
                continue;
            }
            Message::Status(_)
            | Message::Command(_)
            | Message::Data(Data::Input { .. })
            | Message::Alert(_)
            | Message::Ping(_)
            | Message::Pong(_) => {
                denied(shared, slave, "something else than a report was sent");
                return Err(protocol_error("a report"));
            }
        };
        if !shared.give(Input::Event(event)).await {
            return Ok(());
        }
        // A slave that sends much at once does not hold up what others ask meanwhile.
        tokio::task::yield_now().await;
    }
}

/// The next certificate of the slave that TLS has proved the peer to be, whatever names the request has.
async fn renew(shared: &Shared, slave: SlaveId, request: &[u8]) -> Result<Status, UserError> {
    if !enrolled(shared, slave).await? {
        denied(shared, slave, "a slave that is revoked asked for a certificate");
        return Err(UserError::new(ErrorCode::IdentityRefused, "the slave was revoked"));
    }
    let chain = shared.authority.issue_slave(request, slave, shared.certificate_life)?;
    tracing::info!(%slave, life = %shared.certificate_life, "a slave's certificate is renewed");
    Ok(Status::Renewed { certificates: chain.into_iter().map(serde_bytes::ByteBuf::from).collect() })
}
