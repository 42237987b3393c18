//! A client's copy of what the master shows. Pure: it is changed by what arrives and by nothing else.

mod history;

pub use history::{HISTORY_ROWS_MAX, History, HistoryFilter, HistoryWindow};

use crate::connection::Identity;
use common::{
    ClientId, ProgramId, SlaveId, Timestamp, UserError,
    message::{Change, status::Event},
    view::{ClientView, ProgramView, SlaveView, Summary},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// Events that a mirror holds, newest first; older ones are asked for when somebody reads them.
pub const EVENTS_MAX: usize = 1_000;
/// Programs that may be pinned at once: open windows with a program's details.
pub const PINNED_MAX: usize = 64;

/// How the session stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// Nobody has said where to connect.
    #[default]
    Off,
    /// Dialling or logging in.
    Connecting,
    /// Logged in; what the mirror shows is current.
    Connected,
    /// Cut off; it tries again by itself at `retry_at`. What the mirror shows is old.
    Waiting {
        /// Why it is not connected.
        reason: UserError,
        /// When it tries again.
        retry_at: Timestamp,
    },
    /// The master refuses this login. Only a person can help: see `Live::connect`.
    Refused {
        /// Why.
        reason: UserError,
    },
}

/// What a client knows of the master. Cheap to clone: rows are shared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mirror {
    /// How the session stands.
    pub link: Link,
    /// Since when it stands so.
    pub link_since: Timestamp,
    /// The address that it connects to; empty when `Link::Off`.
    pub address: String,
    /// When the master was heard the last time.
    pub heard_at: Option<Timestamp>,
    /// Who this client is to the master; kept while cut off.
    pub identity: Option<Identity>,
    /// The counts; none before the first were heard.
    pub summary: Option<Summary>,
    /// Every slave.
    pub slaves: BTreeMap<SlaveId, Arc<SlaveView>>,
    /// Every client; UUID v7, hence in the order of their logins.
    pub clients: BTreeMap<ClientId, Arc<ClientView>>,
    /// The part of the history that somebody looks at, and what is near it.
    pub history: History,
    /// Programs that somebody looks at one by one, whether or not the history holds them.
    pub pinned: BTreeMap<ProgramId, Arc<ProgramView>>,
    /// The last thing that the master told everybody, such as that it is stopping; for people to read.
    pub notice: Option<String>,
    /// Newest first, at most [`EVENTS_MAX`].
    pub events: VecDeque<Arc<Event>>,
}

impl Mirror {
    /// Whether what the mirror shows is current.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.link == Link::Connected
    }

    /// The newest known row of this program.
    #[must_use]
    pub fn program(&self, id: ProgramId) -> Option<&Arc<ProgramView>> {
        self.pinned.get(&id).or_else(|| self.history.by_id(id))
    }

    /// The names of the languages that connected slaves offer, each once, in order.
    #[must_use]
    pub fn languages(&self) -> Vec<String> {
        let names: std::collections::BTreeSet<_> =
            self.slaves.values().flat_map(|slave| slave.languages.iter().map(|offer| offer.name.clone())).collect();
        names.into_iter().collect()
    }

    /// A session begins. What another user, or the same one with another role, was shown is forgotten: this
    /// one may not be allowed to see it.
    pub fn begin_session(&mut self, identity: Identity) {
        let who = |identity: &Identity| (identity.user.clone(), identity.role);
        if self.identity.as_ref().is_some_and(|before| who(before) != who(&identity)) {
            let window = self.history.window().clone();
            let link = self.link.clone();
            let address = std::mem::take(&mut self.address);
            *self = Self { link, link_since: self.link_since, address, ..Self::default() };
            self.history.show(window);
        }
        self.identity = Some(identity);
    }

    /// Takes in one change. Repeating it changes nothing more.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Program(row) => {
                let row = Arc::new(*row);
                if let Some(pinned) = self.pinned.get_mut(&row.id)
                    && history::is_newer(&row, pinned)
                {
                    *pinned = Arc::clone(&row);
                }
                let me = self.identity.as_ref().map(|identity| identity.user.as_str());
                self.history.apply(row, me);
            }
            Change::ManyPrograms => self.history.invalidate(),
            Change::Slave(row) => {
                self.slaves.insert(row.id, Arc::new(*row));
            }
            Change::SlaveGone(id) => {
                self.slaves.remove(&id);
            }
            Change::Client(row) => {
                self.clients.insert(row.id, Arc::new(row));
            }
            Change::ClientGone(id) => {
                self.clients.remove(&id);
            }
            Change::Summary(summary) => self.summary = Some(summary),
            Change::Event(event) => self.add_event(event),
        }
    }

    /// Replaces the list of slaves.
    pub fn set_slaves(&mut self, slaves: Vec<SlaveView>) {
        self.slaves = slaves.into_iter().map(|row| (row.id, Arc::new(row))).collect();
    }

    /// Replaces the list of clients.
    pub fn set_clients(&mut self, clients: Vec<ClientView>) {
        self.clients = clients.into_iter().map(|row| (row.id, Arc::new(row))).collect();
    }

    /// Replaces the events; `events` is newest first.
    pub fn set_events(&mut self, events: Vec<Event>) {
        self.events = events.into_iter().take(EVENTS_MAX).map(Arc::new).collect();
    }

    /// Takes in a row that was asked for by ID, if it is still pinned or shown.
    pub fn set_pinned(&mut self, row: ProgramView) {
        let row = Arc::new(row);
        // A change that was told meanwhile is newer than the answer.
        if self.pinned.get(&row.id).is_some_and(|known| !history::is_newer(&row, known)) {
            return;
        }
        if self.pinned.len() < PINNED_MAX || self.pinned.contains_key(&row.id) {
            self.pinned.insert(row.id, row);
        }
    }

    fn add_event(&mut self, event: Event) {
        if self.events.front().is_some_and(|newest| **newest == event) {
            return;
        }
        self.events.push_front(Arc::new(event));
        self.events.truncate(EVENTS_MAX);
    }
}

#[cfg(test)]
mod tests;
