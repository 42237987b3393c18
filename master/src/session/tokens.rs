//! Which connections live on which login: whoever logs out on one ends them all.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};
use tokio::sync::watch;

/// Logins of which at least one connection is open, by the hash of their token.
#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<[u8; 32], Weak<watch::Sender<bool>>>>);

/// Held by a connection as long as it lives on a login.
pub(super) struct Held {
    shared: Arc<watch::Sender<bool>>,
    ended: watch::Receiver<bool>,
}

impl Tokens {
    pub(super) fn hold(&self, hash: [u8; 32]) -> Held {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // No more of them than there are connections.
        tokens.retain(|_, held| held.strong_count() > 0);
        let shared = tokens.get(&hash).and_then(Weak::upgrade).unwrap_or_else(|| Arc::new(watch::Sender::new(false)));
        tokens.insert(hash, Arc::downgrade(&shared));
        Held { ended: shared.subscribe(), shared }
    }
}

impl Held {
    /// Ends the login on all connections.
    pub(super) fn end(&self) {
        self.shared.send_replace(true);
    }

    /// Resolves when the login has ended on any connection.
    pub(super) async fn ended(&mut self) {
        if self.ended.wait_for(|ended| *ended).await.is_err() {
            // We hold the sender ourselves.
            std::future::pending::<()>().await;
        }
    }
}
