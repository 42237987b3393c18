//! Orders that a slave does not read fast enough. Bodies may hold megabytes, a slave has many slots, and a connection
//! with too much queued is cut: what is beyond a bound waits here, unencoded and sharing its bodies with the programs,
//! until there is room.

use super::EventLoop;
use crate::core::event::LinkId;
use common::message::Message;
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// Bytes that wait to be written to a slave: beyond that, orders are held. With one more order, of at most 4 MiB or one
/// program's body, this is far below what a connection takes.
const ORDERS_QUEUED_BYTES_MAX: usize = 8 << 20;
/// How often is looked whether there is room again.
pub(super) const HELD_INTERVAL: Duration = Duration::from_millis(20);

impl EventLoop {
    /// Sends to slaves, each slave's in their order.
    pub(super) fn tell_slaves(&mut self, to_slaves: BTreeMap<LinkId, Vec<Message>>) {
        for (link, messages) in to_slaves {
            let Some(sender) = self.slaves.get(&link) else { continue };
            if let Some(held) = self.held.get_mut(&link) {
                held.extend(messages);
                continue;
            }
            // As a rule there is one order, with what is acknowledged beside it, in one piece.
            if messages.len() <= 2 && sender.queued_bytes() < ORDERS_QUEUED_BYTES_MAX {
                if let Err(error) = sender.send_all(messages) {
                    tracing::debug!(%error, "orders for a slave that is gone");
                }
                continue;
            }
            self.held.insert(link, messages.into());
            self.send_held_to(link);
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
            && let Some(message) = held.pop_front()
        {
            if let Err(error) = sender.send(message) {
                return tracing::debug!(%error, "orders for a slave that is gone");
            }
        }
        if !held.is_empty() {
            self.held.insert(link, held);
        }
    }

    /// Whether anything waits for room.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }
}

/// What is held, by connection.
pub(super) type Held = BTreeMap<LinkId, VecDeque<Message>>;
