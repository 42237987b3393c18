//! Clients that are logged in.

use super::{Core, action::Action, event::Joined, program::Lot};
use common::{
    ClientId, Duration, ErrorCode, Timestamp, UserError,
    escape::shorten,
    limits::{CLIENTS_MAX, CLIENTS_PER_USER_MAX},
    message::{Alert, Reply, RequestId, Status},
    session::Role,
    view::ClientKind,
};
use std::sync::{Arc, Weak};

/// When a client that finds the master full may try again.
const FULL_RETRY: Duration = Duration::from_secs(5);

/// Bytes of the state as it is told to people.
const STATE_BYTES_MAX: usize = 4 << 10;

/// A client that is logged in.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) user: Arc<str>,
    pub(super) role: Role,
    pub(super) address: String,
    pub(super) kind: ClientKind,
    pub(super) since: Timestamp,
    pub(super) running: u32,
    pub(super) waiting: u32,
    /// What the programs share that it submitted last.
    pub(super) lot: Weak<Lot>,
}

impl Core {
    pub(super) fn client_joined(&mut self, joined: Joined) {
        let of_user = self.clients.values().filter(|client| client.user == joined.user).count();
        if self.clients.len() >= CLIENTS_MAX || of_user >= CLIENTS_PER_USER_MAX {
            let sentence =
                format!("{} clients are connected, {of_user} of them as `{}`", self.clients.len(), joined.user);
            let error = UserError::new(ErrorCode::Busy, sentence).retry_after(FULL_RETRY);
            return self.actions.push(Action::CutClient(joined.id, error));
        }
        // One copy of a name, however often its user connects.
        let user = self.clients.values().find(|client| client.user == joined.user).map(|client| client.user.clone());
        let client = Client {
            user: user.unwrap_or(joined.user),
            role: joined.role,
            address: joined.address,
            kind: joined.kind,
            since: self.now.wall,
            running: 0,
            waiting: 0,
            lot: Weak::new(),
        };
        self.clients.insert(joined.id, client);
        self.watch.client(joined.id);
    }

    pub(super) fn client_left(&mut self, id: ClientId) {
        if let Some(client) = self.clients.remove(&id) {
            self.waiters.forget(id);
            self.inputs_live.forget(id);
            self.watch.client_left(id, client.user);
        }
    }

    pub(super) fn user_changed(&mut self, user: &str, why: &UserError) {
        let of_user = self.clients.iter().filter(|(_, client)| *client.user == *user);
        for id in of_user.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.client_left(id);
            self.actions.push(Action::CutClient(id, why.clone()));
        }
        self.log(user, capital(&why.sentence));
    }

    pub(super) fn stop(&mut self) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        let grace = self.settings.slave_lease();
        for client in self.clients.keys() {
            self.actions.push(Action::AlertClient(*client, Alert::Stopping { grace }));
        }
        for link in self.links.keys() {
            self.actions.push(Action::AlertSlave(*link, Alert::Stopping { grace }));
        }
        self.log("master", "The master stops; what runs goes on at the slaves.".to_owned());
    }

    /// The state in a few lines: in the event log, and to the operators who are there.
    pub(crate) fn tell_state(&mut self) {
        let text = shorten(&self.dump(), STATE_BYTES_MAX);
        for (client, _) in self.clients.iter().filter(|(_, client)| client.role >= Role::Operator) {
            self.actions.push(Action::AlertClient(*client, Alert::Notice { text: text.clone() }));
        }
        self.log("master", text);
    }

    pub(super) fn reply(&mut self, client: ClientId, id: RequestId, result: Result<Reply, UserError>) {
        self.actions.push(Action::ToClient(client, Status::Reply { id, result }));
    }

    /// Programs of a client that wait or run are counted while it is connected.
    pub(super) fn count_for(&mut self, id: ClientId, waiting: i64, running: i64) {
        if let Some(client) = self.clients.get_mut(&id) {
            let add = |count: u32, change: i64| u32::try_from(i64::from(count) + change).unwrap_or(0);
            client.waiting = add(client.waiting, waiting);
            client.running = add(client.running, running);
            self.watch.client(id);
        }
    }
}

/// A sentence for people begins with a capital letter; sentences of errors are parts of longer ones.
fn capital(sentence: &str) -> String {
    let mut rest = sentence.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}
