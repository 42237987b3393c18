//! The places for connections that have not logged in: bounded in all and for each address. When they are all
//! taken, the oldest gives way: an honest peer logs in within milliseconds, so the oldest is one that dawdles.

use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// A younger connection is not turned out, so that many honest peers that come at once wait for one another.
const TURNED_OUT_AFTER: Duration = Duration::from_secs(1);

type Action = Box<dyn FnOnce() + Send + Sync>;

/// Bounds the connections before login.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Arc<State>,
    places_max: usize,
    places_per_address_max: usize,
}

#[derive(Debug, Default)]
struct State {
    table: Mutex<Table>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// By arrival.
    places: BTreeMap<u64, Place>,
    per_address: BTreeMap<IpAddr, usize>,
}

struct Place {
    address: IpAddr,
    since: Instant,
    turn_out: Option<Action>,
}

/// A place among the connections before login; free again when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    state: Arc<State>,
    number: u64,
}

impl Gate {
    pub(crate) fn new(places_max: usize, places_per_address_max: usize) -> Self {
        Self { state: Arc::default(), places_max, places_per_address_max }
    }

    /// Waits until there is a place, or the oldest has had its time and gives way.
    pub(crate) async fn room(&self) {
        loop {
            let freed = self.state.freed.notified();
            let oldest = {
                let table = self.state.lock();
                if table.places.len() < self.places_max {
                    return;
                }
                table.places.iter().next().map(|(number, place)| (*number, place.since + TURNED_OUT_AFTER))
            };
            match oldest {
                Some((number, when)) if when <= Instant::now() => self.state.turn_out(number),
                Some((_, when)) => tokio::select! {
                    () = freed => {}
                    () = sleep_until(when) => {}
                },
                None => return,
            }
        }
    }

    /// Takes a place. None when the address has all of its own, each taken only a moment ago.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Permit> {
        let address = counted_as(address);
        let full = |table: &Table| table.per_address.get(&address).is_some_and(|n| *n >= self.places_per_address_max);
        let oldest = {
            let table = self.state.lock();
            let mut own = table.places.iter().filter(|(_, place)| place.address == address);
            if full(&table) { own.next().map(|(number, place)| (*number, place.since)) } else { None }
        };
        if let Some((number, since)) = oldest {
            if since + TURNED_OUT_AFTER > Instant::now() {
                return None;
            }
            self.state.turn_out(number);
        }
        let mut table = self.state.lock();
        let number = table.next;
        table.next += 1;
        table.places.insert(number, Place { address, since: Instant::now(), turn_out: None });
        *table.per_address.entry(address).or_default() += 1;
        drop(table);
        Some(Permit { state: self.state.clone(), number })
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frees the place; gives what was to be done at turning out.
    fn free(&self, number: u64) -> Option<Action> {
        let mut table = self.lock();
        let place = table.places.remove(&number)?;
        if let Some(count) = table.per_address.get_mut(&place.address) {
            *count -= 1;
            if *count == 0 {
                table.per_address.remove(&place.address);
            }
        }
        drop(table);
        self.freed.notify_one();
        place.turn_out
    }

    fn turn_out(&self, number: u64) {
        tracing::debug!("a connection that did not log in gives way to a new one");
        if let Some(action) = self.free(number) {
            action();
        }
    }
}

impl Permit {
    /// What to do when the place is taken away; at once when it already is. Replaces what was to be done before.
    pub(crate) fn when_turned_out(&self, action: impl FnOnce() + Send + Sync + 'static) {
        let mut table = self.state.lock();
        if let Some(place) = table.places.get_mut(&self.number) {
            place.turn_out = Some(Box::new(action));
            return;
        }
        drop(table);
        action();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // The owner leaves by itself: there is nothing to tell it.
        drop(self.state.free(self.number));
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").field("address", &self.address).field("since", &self.since).finish_non_exhaustive()
    }
}

/// One machine has one IPv4 address, or a whole /64 of IPv6.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::time::{advance, timeout};

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    fn counting(permit: &Permit, turned_out: &Arc<AtomicUsize>) {
        let turned_out = turned_out.clone();
        permit.when_turned_out(move || {
            turned_out.fetch_add(1, Ordering::Relaxed);
        });
    }

    #[tokio::test(start_paused = true)]
    async fn b2_a_full_gate_waits_for_the_young_and_turns_out_the_old() {
        let gate = Gate::new(2, 2);
        let turned_out = Arc::new(AtomicUsize::new(0));
        let first = gate.enter(A).unwrap();
        counting(&first, &turned_out);
        let second = gate.enter(B).unwrap();
        counting(&second, &turned_out);
        assert!(timeout(TURNED_OUT_AFTER / 2, gate.room()).await.is_err(), "both are young");
        gate.room().await;
        assert_eq!(turned_out.load(Ordering::Relaxed), 1);
        let third = gate.enter(A).unwrap();
        drop(first);
        drop((second, third));
        let table = gate.state.lock();
        assert!(table.places.is_empty() && table.per_address.is_empty(), "{table:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn b2_one_address_does_not_shut_out_another() {
        let gate = Gate::new(4, 2);
        let turned_out = Arc::new(AtomicUsize::new(0));
        let own: Vec<_> = (0..2).map(|_| gate.enter(A).unwrap()).collect();
        own.iter().for_each(|permit| counting(permit, &turned_out));
        assert!(gate.enter(A).is_none(), "its places were taken only now");
        assert!(gate.enter(B).is_some());
        advance(TURNED_OUT_AFTER).await;
        assert!(gate.enter(A).is_some(), "its oldest gives way");
        assert_eq!(turned_out.load(Ordering::Relaxed), 1);
        // A place that is already lost tells at once.
        counting(&own[0], &turned_out);
        assert_eq!(turned_out.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn b2_addresses_of_one_machine_count_together() {
        let counted = |text: &str| counted_as(text.parse().unwrap());
        assert_eq!(counted("2001:db8::1"), counted("2001:db8::ffff:2"));
        assert_ne!(counted("2001:db8:0:1::1"), counted("2001:db8:0:2::1"));
        assert_eq!(counted("::ffff:10.0.0.1"), A);
    }
}
