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
/// Between two requests, when the first brought nothing: at most this long.
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(600);
/// And often enough for several requests in what is left of the certificate's life.
const REQUESTS_IN_REST: u32 = 8;

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
    /// The identity in use is not on disk.
    unsaved: bool,
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
        if self.renewal.unsaved
            && let Some(data) = &self.renewal.data
        {
            self.renewal.unsaved = self.identity.save(data).is_err();
        }
        let wall = clock::now();
        if !self.identity.renewal_due(wall) {
            let until = self.identity.renewal_at().map_or(LOOK_INTERVAL, |at| at.since(wall).to_std());
            let interval = if self.renewal.unsaved { AGAIN_AFTER_MAX } else { LOOK_INTERVAL };
            self.renewal.look_at = Some(now + until.min(interval).max(Duration::from_secs(1)));
            return;
        }
        let rest = self.identity.valid_until().map_or(Duration::ZERO, |end| end.since(wall).to_std());
        let again = (rest / REQUESTS_IN_REST).clamp(Duration::from_secs(1), AGAIN_AFTER_MAX);
        self.renewal.look_at = Some(now + again);
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
        let new = match self.identity.renewed(key, chain) {
            Ok(new) => new,
            Err(error) => {
                return tracing::error!(%error, "the new certificate cannot be used; the present one stays");
            }
        };
        // The present one first: whatever happens, one that works is on disk.
        match self.identity.save(&data.join(PREVIOUS_IDENTITY)).and_then(|()| new.save(&data)) {
            Ok(()) => {
                tracing::info!("the certificate is renewed");
                self.renewal.look_at = None;
            }
            // It serves as long as this process lives, and is asked for again in a while.
            Err(error) => {
                tracing::error!(%error, "the renewed certificate cannot be saved; trying again");
                self.renewal.unsaved = true;
            }
        }
        self.renewal.previous = Some(std::mem::replace(&mut self.identity, Arc::new(new)));
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
        let now = clock::now();
        let previous = self.renewal.previous.take();
        if let Some(previous) = previous.filter(|previous| previous.valid_until().is_none_or(|end| end > now)) {
            tracing::warn!("the master refuses the renewed certificate; the one before is used");
            self.identity = previous;
            return Ok(());
        }
        let ended = self.identity.valid_until().is_some_and(|end| end <= now);
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
