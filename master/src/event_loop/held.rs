//! Orders that a slave does not read fast enough. Bodies may hold megabytes, a slave has many slots, and a connection
//! with too much queued is cut: what is beyond a bound waits here, unencoded and sharing its bodies with the programs,
//! until there is room.

use super::EventLoop;
use crate::core::{event::LinkId, weight};
use common::{
    ErrorCode, UserError,
    message::{Assignment, Command, Message, Order},
};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// Bytes that wait to be written to a slave: beyond that, orders are held. With one more order, of at most 4 MiB or one
/// program's body, this is far below what a connection takes.
const ORDERS_QUEUED_BYTES_MAX: usize = 8 << 20;
/// What one slave may have held: beyond that it is cut, as if its connection were full, and everything is decided anew
/// when it returns. All slots of a large machine with the largest bodies are less.
const HELD_BYTES_MAX: usize = 1 << 30;
/// Beside its bodies.
const MESSAGE_BYTES: usize = 256;
/// Messages that one slave may have held: all that a slave has, twice.
const HELD_MAX: usize = 16_384;
/// How often is looked whether there is room again.
pub(super) const HELD_INTERVAL: Duration = Duration::from_millis(20);

impl EventLoop {
    /// Sends to slaves, each slave's in their order.
    pub(super) fn tell_slaves(&mut self, to_slaves: BTreeMap<LinkId, Vec<Message>>) {
        for (link, messages) in to_slaves {
            let Some(sender) = self.slaves.get(&link) else { continue };
            // As a rule there is one order with bodies at most, and what is acknowledged beside it: in one piece.
            let few = messages.iter().filter(|message| bodies_of(message).is_some()).count() <= 1;
            if few && !self.held.contains_key(&link) && sender.queued_bytes() < ORDERS_QUEUED_BYTES_MAX {
                if let Err(error) = sender.send_all(messages) {
                    tracing::debug!(%error, "orders for a slave that is gone");
                }
                continue;
            }
            let held = self.held.entry(link).or_default();
            held.bytes += messages.iter().map(bytes_of).sum::<usize>();
            held.messages.extend(messages);
            self.send_held_to(link);
            self.cut_if_far_behind(link);
        }
    }

    fn cut_if_far_behind(&mut self, link: LinkId) {
        let behind =
            self.held.get(&link).is_some_and(|held| held.bytes > HELD_BYTES_MAX || held.messages.len() > HELD_MAX);
        if behind && let Some(sender) = self.slaves.remove(&link) {
            self.held.remove(&link);
            let error = UserError::new(ErrorCode::ConnectionLost, "this slave reads its orders too slowly");
            tokio::spawn(async move { sender.refuse(error).await });
        }
    }

    /// Sends what was held, as far as there is room.
    pub(super) fn send_held(&mut self) {
        let links: Vec<LinkId> = self.held.keys().copied().collect();
        links.into_iter().for_each(|link| self.send_held_to(link));
    }

    fn send_held_to(&mut self, link: LinkId) {
        let Some(mut held) = self.held.remove(&link) else { return };
        // Of one that was cut everything is decided anew.
        let Some(sender) = self.slaves.get(&link) else { return };
        while sender.queued_bytes() < ORDERS_QUEUED_BYTES_MAX
            && let Some(message) = held.messages.pop_front()
        {
            held.bytes -= bytes_of(&message);
            if let Err(error) = sender.send(message) {
                tracing::debug!(%error, "orders for a slave that is gone");
                // It is decided anew at its return what of these it gets.
                sender.close();
                return;
            }
        }
        if !held.messages.is_empty() {
            self.held.insert(link, held);
        }
    }

    /// Whether anything waits for room.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }
}

/// What is held for one connection.
#[derive(Default)]
pub(super) struct HeldOrders {
    messages: VecDeque<Message>,
    bytes: usize,
}

/// What is held, by connection.
pub(super) type Held = BTreeMap<LinkId, HeldOrders>;

/// About what a message takes until it is encoded; bodies count fully, also where they are shared.
fn bytes_of(message: &Message) -> usize {
    let bodies = bodies_of(message).unwrap_or_default();
    MESSAGE_BYTES + bodies.iter().map(|assignment| weight(&assignment.spec)).sum::<usize>()
}

fn bodies_of(message: &Message) -> Option<&[Assignment]> {
    if let Message::Command(Command::Order(Order::Assign(assignments))) = message { Some(assignments) } else { None }
}
