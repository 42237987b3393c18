//! A slave's session: registration, then reports and output.

use super::{Shared, next, protocol_error, refuse};
use crate::{
    core::event::{Event, LinkId},
    event_loop::Input,
};
use common::{
    UserError,
    message::{Data, Message, Report, Status},
};
use std::sync::atomic::Ordering;
use transport::{Connection, PeerIdentity};

pub(super) async fn serve(shared: &Shared, mut connection: Connection) {
    let PeerIdentity::Slave(slave) = connection.peer else { return };
    // TLS has proved who it is; whether this master still wants it, the core decides.
    connection.authenticated();
    let registration = match next(&mut connection).await {
        Ok(Some(Message::Status(Status::Report(Report::Register(registration))))) => registration,
        Ok(Some(_)) => return refuse(connection, protocol_error("a registration")).await,
        Ok(None) => return,
        Err(error) => return refuse(connection, error).await,
    };
    let link = LinkId(shared.links.fetch_add(1, Ordering::Relaxed));
    let address = connection.address.to_string();
    let sender = connection.sender.clone();
    if !shared.give(Input::Slave { link, slave, address, registration, sender }).await {
        return;
    }
    let end = reports(shared, &mut connection, link).await;
    if !shared.give(Input::Event(Event::SlaveLeft(link))).await {
        tracing::debug!(%slave, "left while the master stops");
    }
    if let Err(error) = end {
        tracing::warn!(%slave, %error, "a slave is cut");
        refuse(connection, error).await;
    }
}

async fn reports(shared: &Shared, connection: &mut Connection, link: LinkId) -> Result<(), UserError> {
    while let Some(message) = next(connection).await? {
        let event = match message {
            Message::Status(Status::Report(report)) => Event::SlaveReported { link, report },
            Message::Data(Data::Output { key, stream, offset, bytes }) => {
                let guard = shared.room(bytes.len()).await;
                Event::SlaveOutput { link, key, stream, offset, bytes, guard }
            }
            Message::Status(_) | Message::Command(_) | Message::Alert(_) | Message::Ping(_) | Message::Pong(_) => {
                return Err(protocol_error("a report"));
            }
        };
        if !shared.give(Input::Event(event)).await {
            break;
        }
    }
    Ok(())
}
