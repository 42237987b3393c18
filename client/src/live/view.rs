//! The session's own mirror, and how snapshots of it reach the window.

use crate::mirror::{Link, Mirror};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Least time between two snapshots: about 20 a second, so that a burst costs the window little.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(50);

/// Told after each snapshot.
pub(super) type Wake = Box<dyn Fn() + Send + Sync>;

/// The mirror and its published snapshot.
pub(super) struct View {
    pub(super) mirror: Mirror,
    shared: Arc<Mutex<Arc<Mirror>>>,
    wake: Wake,
    dirty: bool,
    published: Option<Instant>,
}

impl View {
    pub(super) fn new(shared: Arc<Mutex<Arc<Mirror>>>, wake: Wake) -> Self {
        Self { mirror: Mirror::default(), shared, wake, dirty: false, published: None }
    }

    /// Something changed, or an answer came: the window is to be told soon.
    pub(super) fn touch(&mut self) {
        self.dirty = true;
    }

    /// Changes how the session stands.
    pub(super) fn set_link(&mut self, link: Link) {
        if self.mirror.link != link {
            self.mirror.link = link;
            self.mirror.link_since = transport::clock::now();
            self.touch();
        }
    }

    /// When the next snapshot is due; none when nothing changed.
    pub(super) fn due(&self) -> Option<Instant> {
        let now = Instant::now();
        self.dirty.then(|| self.published.map_or(now, |published| (published + PUBLISH_INTERVAL).max(now)))
    }

    /// Publishes a snapshot and wakes the window.
    pub(super) fn publish(&mut self) {
        let snapshot = Arc::new(self.mirror.clone());
        let old = std::mem::replace(&mut *self.shared.lock().unwrap_or_else(PoisonError::into_inner), snapshot);
        // Outside the lock: thousands of rows may go with it.
        drop(old);
        self.dirty = false;
        self.published = Some(Instant::now());
        (self.wake)();
    }
}

/// Waits until `instant`; for ever when there is none.
pub(super) async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
