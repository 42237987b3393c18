//! The connection to the master: made, lost, made again, and what comes on it.

use super::{Announce, Link, Run, Slave, outgoing::Outgoing};
use crate::{core::Event, session};
use common::{
    UserError,
    id::Digest,
    message::{Alert, Command, Data, Message, Status},
};
use transport::Connection;

impl<A: Announce, R: Run> Slave<A, R> {
    pub(super) fn dial(&mut self) {
        let identity = self.identity.clone();
        self.link = Link::Connecting(Box::pin(async move { session::connect(&identity).await }));
    }

    pub(super) fn connection(&mut self, result: Result<Connection, UserError>) -> Result<(), UserError> {
        match result {
            Ok(connection) => {
                self.announced = false;
                self.outgoing = Outgoing::default();
                self.link = Link::Connected(Box::new(connection));
                self.handle([Event::Connected]);
                Ok(())
            }
            Err(error) => {
                self.refused_or_unreachable(error)?;
                self.disconnected();
                Ok(())
            }
        }
    }

    /// Says once what keeps the slave from its master, and gives up when it never will be better.
    fn refused_or_unreachable(&mut self, error: UserError) -> Result<(), UserError> {
        if session::is_final(&error) {
            return self.identity_refused(error);
        }
        let sentence = error.sentence.clone();
        if self.told.as_ref() != Some(&sentence) {
            tracing::warn!(code = %error.code, "{sentence}; trying again");
            self.told = Some(sentence);
        }
        Ok(())
    }

    fn disconnected(&mut self) {
        self.rest();
        self.handle([Event::Disconnected]);
    }

    /// Drops the connection and tries again after a while.
    pub(super) fn rest(&mut self) {
        let delay = self.backoff.next_delay();
        self.link = Link::Resting(tokio::time::Instant::now() + delay);
        self.announced = false;
        // Told again on the next connection.
        self.outgoing = Outgoing::default();
    }

    pub(super) fn message(&mut self, result: Result<Message, transport::ReceiveError>) -> Result<(), UserError> {
        match result {
            Ok(Message::Command(Command::Order(order))) => {
                if matches!(order, common::message::Order::Registered { .. }) && !self.announced {
                    self.session_begins();
                }
                self.handle([Event::Order(order)]);
            }
            Ok(Message::Alert(Alert::Refused(error))) => {
                self.refused_or_unreachable(error)?;
                self.disconnected();
            }
            Ok(Message::Alert(Alert::Notice { text })) => {
                tracing::info!(text = %common::escape::RawText::from(text), "the master says");
            }
            Ok(Message::Alert(Alert::Stopping { .. })) => tracing::info!("the master stops"),
            Ok(Message::Status(Status::Renewed { certificates })) => self.renewed(certificates),
            Ok(Message::Pong(heartbeat)) => self.handle([Event::HeartbeatAnswered(heartbeat.sequence)]),
            Ok(Message::Data(Data::Input { digest, offset, size, bytes })) => {
                self.input_came(digest, offset, size, bytes);
            }
            Ok(Message::Ping(_) | Message::Command(_) | Message::Data(_) | Message::Status(_)) => {
                tracing::debug!("the master sent something that is not for a slave");
            }
            Err(error) => {
                self.refused_or_unreachable(UserError::from(&error))?;
                self.disconnected();
            }
        }
        Ok(())
    }

    /// Nothing of a file waits for the disk that nobody asked for.
    fn input_came(&mut self, digest: Digest, offset: u64, size: u64, bytes: Vec<u8>) {
        let Some(files) = &self.files else { return };
        let taken = self.core.asked_for(digest, offset, size, bytes.len()) && files.take(digest, offset, size, bytes);
        if !taken && !std::mem::replace(&mut self.unasked_told, true) {
            tracing::warn!(%digest, offset, "the master sent a piece of an input file that was not asked for");
        }
    }

    fn session_begins(&mut self) {
        self.announced = true;
        self.told = None;
        self.unasked_told = false;
        self.backoff.reset();
        self.certificate_works();
        let Self { identity, announce, .. } = self;
        announce.connected(&format!("connected to {} as {} ({})", identity.address(), identity.name, identity.id));
    }
}
