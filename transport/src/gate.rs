//! The places for connections that have not logged in.

use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A place among the connections before login; free again when dropped.
#[derive(Debug)]
pub(crate) struct Permit(#[expect(dead_code, reason = "it is held for its drop")] OwnedSemaphorePermit);

/// Bounds the connections before login.
#[derive(Debug)]
pub(crate) struct Gate {
    places: Arc<Semaphore>,
}

impl Gate {
    pub(crate) fn new(places: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(places)) }
    }

    pub(crate) async fn enter(&self) -> Permit {
        Permit(self.places.clone().acquire_owned().await.expect("the semaphore is never closed"))
    }
}
