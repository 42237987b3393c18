//! The slave's certificate: renewed over the session, saved, and used from the next connection on. What runs is
//! not touched.

use super::{Announce, Link, Run, Slave};
use crate::session::PREVIOUS_IDENTITY;
use common::{ErrorCode, UserError, message::Command};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use transport::{EnrolmentKey, SlaveIdentity, clock};

/// The wall clock, by which certificates end, may be set: it is looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(3_600);
/// Between two requests, when the master does not answer the first.
const AGAIN_AFTER: Duration = Duration::from_secs(600);

/// The care for the certificate.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    /// Where the identity is saved; without it nothing is renewed.
    data: Option<PathBuf>,
    /// The key of the request that was sent.
    requested: Option<EnrolmentKey>,
    /// What was used before, while the new one has not worked yet.
    previous: Option<Arc<SlaveIdentity>>,
    look_at: Option<Instant>,
}

impl Renewal {
    pub(super) fn in_folder(data: PathBuf) -> Self {
        let previous = SlaveIdentity::load(&data.join(PREVIOUS_IDENTITY)).ok().flatten().map(Arc::new);
        Self { data: Some(data), previous, ..Self::default() }
    }

    pub(super) const fn next_deadline(&self) -> Option<Instant> {
        self.look_at
    }
}

impl<A: Announce, R: Run> Slave<A, R> {
    /// Asks for the next certificate when it is time. Only while the session is registered.
    pub(super) fn look_at_certificate(&mut self) {
        let now = Instant::now();
        if !self.announced || self.renewal.data.is_none() || self.renewal.look_at.is_some_and(|at| now < at) {
            return;
        }
        let Link::Connected(connection) = &self.link else { return };
        let wall = clock::now();
        if !self.identity.renewal_due(wall) {
            let until = self.identity.renewal_at().map_or(LOOK_INTERVAL, |at| at.since(wall).to_std());
            self.renewal.look_at = Some(now + until.min(LOOK_INTERVAL).max(Duration::from_secs(1)));
            return;
        }
        self.renewal.look_at = Some(now + AGAIN_AFTER);
        match EnrolmentKey::generate() {
            Ok(key) => {
                let request = Command::Renew { certificate_request: key.request_der() };
                if let Err(error) = connection.sender.send(request) {
                    tracing::debug!(%error, "the request for a new certificate could not be sent");
                }
                self.renewal.requested = Some(key);
            }
            Err(error) => tracing::error!(%error, "no key can be made for a new certificate"),
        }
    }

    /// The master has answered the request.
    pub(super) fn renewed(&mut self, certificates: Vec<serde_bytes::ByteBuf>) {
        let (Some(key), Some(data)) = (self.renewal.requested.take(), self.renewal.data.clone()) else { return };
        let chain = certificates.into_iter().map(serde_bytes::ByteBuf::into_vec).collect();
        let saved = self.identity.renewed(key, chain).and_then(|new| {
            // The present one first: whatever happens, one that works is on disk.
            self.identity.save(&data.join(PREVIOUS_IDENTITY))?;
            new.save(&data)?;
            Ok(new)
        });
        match saved {
            Ok(new) => {
                tracing::info!("the certificate is renewed");
                self.renewal.previous = Some(std::mem::replace(&mut self.identity, Arc::new(new)));
                self.renewal.look_at = None;
            }
            Err(error) => tracing::error!(%error, "the new certificate cannot be used; the present one stays"),
        }
    }

    /// The master has taken the certificate of this connection.
    pub(super) fn certificate_works(&mut self) {
        self.renewal.look_at = None;
        if self.renewal.previous.take().is_some()
            && let Some(data) = &self.renewal.data
            && let Err(error) = std::fs::remove_dir_all(data.join(PREVIOUS_IDENTITY))
        {
            tracing::debug!(%error, "the identity before the renewal stays");
        }
    }

    /// Goes on with the certificate before the renewal when the new one is refused; else gives up and says what
    /// helps.
    pub(super) fn identity_refused(&mut self, error: UserError) -> Result<(), UserError> {
        if !error.is(ErrorCode::IdentityRefused) {
            return Err(error);
        }
        if let Some(previous) = self.renewal.previous.take() {
            tracing::warn!("the master refuses the renewed certificate; the one before is used");
            self.identity = previous;
            return Ok(());
        }
        let ended = self.identity.valid_until().is_some_and(|end| end <= clock::now());
        let sentence = if ended {
            format!("the certificate of this slave has ended: it was away for too long ({})", error.sentence)
        } else {
            error.sentence
        };
        Err(UserError::new(ErrorCode::IdentityRefused, sentence).with_hint(
            "make a new join string with `ruche-master join-string` and enrol again with `ruche-slave run --join …`",
        ))
    }
}
