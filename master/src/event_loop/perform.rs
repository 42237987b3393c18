//! What leaves the loop once its records are synced: messages, questions to the history, output for the disk.

use super::{ANSWERS_BYTES_MAX, CHANGES_QUEUED_BYTES_MAX, EventLoop, INPUT_QUEUED_BYTES_MAX, Input};
use crate::{
    core::{
        action::{Action, Then},
        event::{Event, LinkId},
    },
    outputs::Chunk,
    store::query::Query,
};
use common::{
    ClientId, ErrorCode, UserError,
    id::Digest,
    message::{Command, Message, Order, RequestId, Status},
    units::Duration,
};
use std::collections::BTreeMap;
use transport::{Encoded, Sender};

impl EventLoop {
    /// Does what was decided; all records before it are synced. Programs that slaves shall start leave before anything
    /// else: whoever submitted one need not hear that it was accepted before it begins. Otherwise clients are told
    /// first: they wait for what slaves only forget.
    pub(super) fn perform(&mut self, actions: Vec<Action>) {
        let begins = |action: &Action| matches!(action, Action::ToSlave(_, Order::Assign(_)));
        // A slave that is cut in the same batch is told nothing more.
        let cuts = |action: &Action| matches!(action, Action::CutSlave(..));
        let slaves_first = actions.iter().any(begins) && !actions.iter().any(cuts);
        let mut to_slaves: BTreeMap<LinkId, Vec<Message>> = BTreeMap::new();
        let mut others = Vec::with_capacity(actions.len());
        for action in actions {
            if let Action::AlertSlave(link, alert) = action {
                to_slaves.entry(link).or_default().push(alert.into());
            } else if let Action::ToSlave(link, order) = action {
                to_slaves.entry(link).or_default().push(Command::Order(order).into());
            } else {
                others.push(action);
            }
        }
        if slaves_first {
            self.tell_slaves(std::mem::take(&mut to_slaves));
        }
        others.into_iter().for_each(|action| self.perform_one(action));
        self.tell_slaves(to_slaves);
    }

    fn perform_one(&mut self, action: Action) {
        match action {
            Action::Record(_) | Action::AlertSlave(..) | Action::ToSlave(..) => {}
            Action::ToClient(client, status @ Status::Changes(_)) => {
                self.send_changes(client, &Encoded::new(&status.into()));
            }
            Action::ToClient(client, status) => self.send_client(client, status.into()),
            Action::ToClients(clients, status) => {
                let told = Encoded::new(&status.into());
                clients.into_iter().for_each(|client| self.send_changes(client, &told));
            }
            Action::AlertClient(client, alert) => self.send_client(client, alert.into()),
            Action::CutClient(client, error) => {
                if let Some(sender) = self.clients.remove(&client) {
                    tokio::spawn(async move { sender.refuse(error).await });
                }
            }
            Action::CutSlave(link, error) => {
                if let Some(sender) = self.slaves.remove(&link) {
                    match error {
                        Some(error) => drop(tokio::spawn(async move { sender.refuse(error).await })),
                        None => sender.close(),
                    }
                }
            }
            Action::Ask { client, id, query, then } => self.ask(client, id, query, then),
            Action::Append { key, stream, offset, bytes, guard } => {
                self.parts.outputs.append(Chunk { key, stream, offset, bytes, guard });
            }
            Action::RemoveOutput(key) => self.parts.outputs.remove(key),
            Action::SendInput { link, digest, offset } => self.send_input(link, digest, offset),
            Action::RemoveInput(digest) => {
                let inputs = self.parts.input_files.clone();
                drop(tokio::task::spawn_blocking(move || inputs.remove(digest)));
            }
        }
    }

    /// Asks the history, as far as the client reads what it asks for.
    fn ask(&mut self, client: ClientId, id: RequestId, query: Query, then: Then) {
        let Some(sender) = self.clients.get(&client) else { return };
        let (bytes, asked) = (query.answer_bytes(), self.asked.entry(client).or_default());
        let refused = if *asked + sender.queued_bytes() + bytes > ANSWERS_BYTES_MAX {
            "this connection asks for more than it reads"
        } else {
            if let Some(answer) = self.parts.outputs.at_once(&query) {
                *asked += bytes;
                let event = Event::Answered { client, id, then, answer, known: Vec::new() };
                return self.backlog.push_back(Input::Answer { client, bytes, event });
            }
            let inputs = self.parts.inputs.clone();
            let answered = Box::new(move |answer| {
                let event = Event::Answered { client, id, then, answer, known: Vec::new() };
                // The loop may have ended.
                drop(inputs.blocking_send(Input::Answer { client, bytes, event }));
            });
            if self.parts.readers.ask(query, answered).is_ok() {
                *asked += bytes;
                return;
            }
            "too many questions about the history wait"
        };
        let result = Err(UserError::new(ErrorCode::Busy, refused).retry_after(Duration::from_secs(1)));
        self.send_client(client, Status::Reply { id, result }.into());
    }

    /// Reads the next window of an input file on a thread that may wait, and sends it.
    fn send_input(&self, link: LinkId, digest: Digest, offset: u64) {
        let Some(sender) = self.slaves.get(&link) else { return };
        // A slave asks for the next window when it has the one before; one that was not answered it asks for again.
        let behind = sender.queued_bytes() > INPUT_QUEUED_BYTES_MAX;
        let Some(reading) = self.parts.input_files.may_read(link).filter(|_| !behind) else {
            return tracing::warn!("a slave asks for more input files than it reads");
        };
        let sender = sender.clone();
        drop(tokio::task::spawn_blocking(move || reading.send(&sender, digest, offset)));
    }

    /// Never waits: a client that reads too slowly is cut by its connection.
    pub(super) fn send_client(&self, client: ClientId, message: Message) {
        if let Some(sender) = self.clients.get(&client)
            && let Err(error) = sender.send(message)
        {
            tracing::debug!(%client, %error, "a message for a client that is gone");
        }
    }

    /// A watcher that reads too slowly is told so and cut, long before it costs much memory.
    fn send_changes(&mut self, client: ClientId, changes: &Encoded) {
        let behind = |sender: &mut Sender| sender.queued_bytes() > CHANGES_QUEUED_BYTES_MAX;
        if self.clients.get_mut(&client).is_some_and(behind)
            && let Some(sender) = self.clients.remove(&client)
        {
            let error = UserError::new(ErrorCode::ConnectionLost, "this client reads changes too slowly");
            tokio::spawn(async move { sender.refuse(error).await });
            return;
        }
        if let Some(sender) = self.clients.get(&client)
            && let Err(error) = sender.send_encoded(changes)
        {
            tracing::debug!(%client, %error, "changes for a client that is gone");
        }
    }
}
