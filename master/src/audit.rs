//! What sessions tell the audit. Privileged acts are recorded before they are done; refusals are gathered and
//! counted, so that strangers who knock all day fill neither the disk nor the time of the store.

use crate::store::worker::Writer;
use common::{Timestamp, UserError, units::BootTime};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};
use tokio::sync::Notify;
use transport::clock;

/// Different refusals that are held apart until they are written; the rest is only counted.
const KINDS_MAX: usize = 64;
/// Entries that refusals may make at once, and the time after which there is room for one more.
const ENTRIES_MAX: u64 = 128;
const ENTRY_EVERY_US: u64 = 5_000_000;

/// Takes what was done and denied.
pub(crate) struct Audit {
    writer: Writer,
    gathered: Mutex<Gathered>,
    /// Something waits to be written.
    waits: Notify,
}

/// Refusals that are not written yet.
struct Gathered {
    /// By who and what: when first, and how often.
    kinds: BTreeMap<(String, String), (Timestamp, u64)>,
    more: Option<(Timestamp, u64)>,
    room: u64,
    room_since: BootTime,
}

impl Audit {
    pub(crate) fn new(writer: Writer) -> Self {
        let gathered =
            Gathered { kinds: BTreeMap::new(), more: None, room: ENTRIES_MAX, room_since: clock::boot_now() };
        Self { writer, gathered: Mutex::new(gathered), waits: Notify::new() }
    }

    /// Records a privileged act; it may be done when this has returned.
    ///
    /// # Errors
    /// When it cannot be recorded, for example because the disk is full: then it must not be done.
    pub(crate) async fn act(&self, who: String, what: String) -> Result<(), UserError> {
        let acts = vec![(clock::now(), who, what)];
        self.writer.operate(move |store| store.accounts().note(&acts)).await
    }

    /// Notes that something was denied; never waits.
    pub(crate) fn denied(&self, who: String, what: String) {
        tracing::warn!(who, what, "denied");
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner).add(who, what, clock::now());
        self.waits.notify_one();
    }

    /// Resolves when something waits to be written.
    pub(crate) async fn gathers(&self) {
        self.waits.notified().await;
    }

    /// Writes what was gathered. To be called once a second while something was, and at the end.
    pub(crate) async fn flush(&self) {
        let (acts, rest) = {
            let mut gathered = self.gathered.lock().unwrap_or_else(PoisonError::into_inner);
            (gathered.take(clock::boot_now()), !gathered.is_empty())
        };
        if rest {
            // For want of room: looked at again.
            self.waits.notify_one();
        }
        if acts.is_empty() {
            return;
        }
        if let Err(error) = self.writer.operate(move |store| store.accounts().note(&acts)).await {
            tracing::error!(%error, "refusals are missing from the audit");
        }
    }
}

impl Gathered {
    fn is_empty(&self) -> bool {
        self.kinds.is_empty() && self.more.is_none()
    }

    fn add(&mut self, who: String, what: String, at: Timestamp) {
        let full = self.kinds.len() >= KINDS_MAX;
        match self.kinds.get_mut(&(who.clone(), what.clone())) {
            Some((_, count)) => *count += 1,
            None if full => self.more.get_or_insert((at, 0)).1 += 1,
            None => {
                self.kinds.insert((who, what), (at, 1));
            }
        }
    }

    /// As many as there is room for; what has no room stays, and is counted on.
    fn take(&mut self, now: BootTime) -> Vec<(Timestamp, String, String)> {
        let new = now.since(self.room_since).0 / ENTRY_EVERY_US;
        if new > 0 {
            self.room = (self.room + new).min(ENTRIES_MAX);
            self.room_since = now;
        }
        let mut acts = Vec::new();
        while self.room > 0
            && let Some(((who, what), (at, count))) = self.kinds.pop_first()
        {
            self.room -= 1;
            acts.push((at, who, if count > 1 { format!("{what} ({count} times)") } else { what }));
        }
        if self.room > 0
            && let Some((at, count)) = self.more.take()
        {
            self.room -= 1;
            acts.push((at, "many".to_owned(), format!("{count} more acts were denied")));
        }
        acts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::Duration;

    #[test]
    fn a20_a_flood_of_refusals_makes_few_entries_and_loses_no_count() {
        let mut gathered = Gathered { kinds: BTreeMap::new(), more: None, room: ENTRIES_MAX, room_since: BootTime(0) };
        let mut entries = 0;
        let mut counted = 0;
        for second in 0..600 {
            for number in 0..500 {
                gathered.add(format!("address {number}"), "login refused".to_owned(), Timestamp(second));
            }
            for (_, _, what) in gathered.take(BootTime(0).plus(Duration::from_secs(second))) {
                entries += 1;
                let number: u64 = what.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap_or(1);
                counted += number;
            }
        }
        assert!(entries <= ENTRIES_MAX + 600 / 5, "{entries}");
        let left: u64 =
            gathered.kinds.values().map(|(_, count)| count).sum::<u64>() + gathered.more.map_or(0, |more| more.1);
        assert_eq!(counted + left, 600 * 500);
    }
}
