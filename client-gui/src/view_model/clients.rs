//! The list of clients.

use super::Clock;
use crate::widgets::shown;
use client::Mirror;
use common::view::ClientKind;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientRow {
    /// Who logged in.
    pub user: String,
    /// Whether this is this window.
    pub this: bool,
    /// What the user may do.
    pub role: &'static str,
    /// Window or command line.
    pub kind: &'static str,
    /// Where it connects from.
    pub address: String,
    /// Since when, relative.
    pub since: String,
    /// Since when, exactly.
    pub exact: String,
    /// Its programs that run.
    pub running: u32,
    /// Its programs that wait.
    pub waiting: u32,
}

/// The rows, in the order of their logins.
#[must_use]
pub fn rows(mirror: &Mirror, clock: &Clock) -> Vec<ClientRow> {
    let me = mirror.identity.as_ref().map(|identity| identity.client);
    mirror
        .clients
        .values()
        .map(|client| ClientRow {
            user: shown(&client.user),
            this: Some(client.id) == me,
            role: client.role.word(),
            kind: match client.kind {
                ClientKind::Gui => "Window",
                ClientKind::Cli => "Command line",
            },
            address: shown(&client.address),
            since: clock.ago(client.connected_since),
            exact: clock.exact(client.connected_since),
            running: client.running,
            waiting: client.waiting,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::clock::tests::clock, *};
    use crate::demo::scene;

    #[test]
    fn e8_clients_are_listed_with_what_they_do() {
        let clock = clock();
        let text: Vec<_> = rows(&scene::mirror(clock.now), &clock)
            .into_iter()
            .map(|row| {
                format!(
                    "{}{} | {} | {} | {} | {} | {} running, {} waiting",
                    row.user,
                    if row.this { " (this)" } else { "" },
                    row.role,
                    row.kind,
                    row.address,
                    row.since,
                    row.running,
                    row.waiting
                )
            })
            .collect();
        insta::assert_snapshot!(text.join("\n"));
    }
}
