//! What was submitted, once for each different body, however many programs have it.

use super::program::{Body, weight};
use common::ProgramSpec;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

/// The bodies of all programs that wait or run, by their hashes.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    known: BTreeMap<[u8; 32], Known>,
    bytes: usize,
}

#[derive(Debug)]
struct Known {
    body: Arc<Body>,
    /// Programs that have it.
    programs: u64,
}

impl Bodies {
    /// Bytes that all take in memory, about.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// So many programs more have this body; whether it is new. `key` is for one that is.
    pub(super) fn add(
        &mut self,
        hash: [u8; 32],
        programs: u64,
        spec: impl FnOnce() -> Arc<ProgramSpec>,
        key: u64,
    ) -> (Arc<Body>, bool) {
        match self.known.entry(hash) {
            Entry::Occupied(mut known) => {
                known.get_mut().programs += programs;
                (known.get().body.clone(), false)
            }
            Entry::Vacant(place) => {
                let spec = spec();
                let bytes = weight(&spec);
                self.bytes += bytes;
                let body = Arc::new(Body { spec, key, hash, bytes });
                place.insert(Known { body: body.clone(), programs });
                (body, true)
            }
        }
    }

    /// A program of this body ended; whether it was the last one.
    pub(super) fn end_one(&mut self, body: &Body) -> bool {
        let Entry::Occupied(mut known) = self.known.entry(body.hash) else { return false };
        known.get_mut().programs -= 1;
        if known.get().programs > 0 {
            return false;
        }
        known.remove();
        self.bytes -= body.bytes;
        true
    }

    /// Asserts what must always hold; `programs` are those that each body should have.
    pub(super) fn check(&self, programs: &BTreeMap<[u8; 32], u64>) {
        let known: BTreeMap<[u8; 32], u64> = self.known.iter().map(|(hash, known)| (*hash, known.programs)).collect();
        assert_eq!(known, *programs, "programs of bodies");
        assert_eq!(self.bytes, self.known.values().map(|known| known.body.bytes).sum::<usize>(), "bytes of bodies");
    }

    /// What they are.
    pub(super) fn specs(&self) -> impl Iterator<Item = &ProgramSpec> {
        self.known.values().map(|known| &*known.body.spec)
    }
}
