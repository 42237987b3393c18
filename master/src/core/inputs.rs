//! Input files: which are here, which are needed by what waits or runs, and which make room for others.

use super::{Core, action::Action, event::LinkId};
use common::{AttemptKey, ErrorCode, ProgramSpec, SlaveId, UserError, id::Digest, units::ByteSize};
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

/// What the core knows of input files.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    held: BTreeMap<Digest, Held>,
    /// Held files by their last use, the earliest first.
    by_use: BTreeMap<u64, Digest>,
    uses: u64,
    /// Bodies of programs that wait or run, for each file that they need, held or not.
    needed: BTreeMap<Digest, u32>,
    /// Bytes of all that are held.
    bytes: u64,
    /// Bytes above which what nothing needs is removed when room is wanted.
    bytes_max: u64,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    size: u64,
    used: u64,
}

impl Inputs {
    fn touch(&mut self, digest: Digest) {
        let Some(held) = self.held.get_mut(&digest) else { return };
        self.by_use.remove(&held.used);
        self.uses += 1;
        held.used = self.uses;
        self.by_use.insert(self.uses, digest);
    }

    fn add(&mut self, digest: Digest, size: u64) {
        if let Entry::Vacant(place) = self.held.entry(digest) {
            place.insert(Held { size, used: 0 });
            self.bytes += size;
        }
        self.touch(digest);
    }

    /// The file that was used least recently and that nothing needs.
    fn remove_one(&mut self) -> Option<Digest> {
        let (used, digest) = self
            .by_use
            .iter()
            .find(|(_, digest)| !self.needed.contains_key(digest))
            .map(|(used, digest)| (*used, *digest))?;
        self.by_use.remove(&used);
        if let Some(held) = self.held.remove(&digest) {
            self.bytes -= held.size;
        }
        Some(digest)
    }

    /// A body comes to life.
    pub(super) fn need(&mut self, spec: &ProgramSpec) {
        for digest in distinct(spec) {
            *self.needed.entry(digest).or_default() += 1;
            self.touch(digest);
        }
    }

    /// The last program of a body has ended.
    pub(super) fn release(&mut self, spec: &ProgramSpec) {
        for digest in distinct(spec) {
            if let Some(count) = self.needed.get_mut(&digest) {
                *count -= 1;
                if *count == 0 {
                    self.needed.remove(&digest);
                }
            }
        }
    }

    /// Asserts what must always hold.
    pub(super) fn check<'a>(&self, bodies: impl Iterator<Item = &'a ProgramSpec>) {
        let mut needed: BTreeMap<Digest, u32> = BTreeMap::new();
        for digest in bodies.flat_map(distinct) {
            *needed.entry(digest).or_default() += 1;
        }
        assert_eq!(needed, self.needed, "input files that are needed");
        assert_eq!(self.bytes, self.held.values().map(|held| held.size).sum::<u64>(), "bytes of input files");
        assert_eq!(self.held.len(), self.by_use.len());
    }
}

fn distinct(spec: &ProgramSpec) -> BTreeSet<Digest> {
    spec.inputs.iter().map(|input| input.digest).collect()
}

impl Core {
    /// What was found at the start, the least recently used first, and how much is kept. To be called before the
    /// first event.
    pub(crate) fn inputs_found(&mut self, found: Vec<(Digest, u64)>, bytes_max: u64) {
        self.inputs.bytes_max = bytes_max;
        for (digest, size) in found {
            self.inputs.add(digest, size);
        }
    }

    /// A file is here, checked and synced.
    pub(super) fn input_kept(&mut self, digest: Digest, size: u64) {
        self.inputs.add(digest, size);
    }

    /// Makes room for this many bytes beside what is held, by removing what nothing needs and was not used for the
    /// longest time.
    ///
    /// # Errors
    /// When too much is needed.
    pub(crate) fn room_for_input(&mut self, bytes: u64) -> Result<(), UserError> {
        while self.inputs.bytes.saturating_add(bytes) > self.inputs.bytes_max {
            let Some(digest) = self.inputs.remove_one() else {
                let (held, most) = (ByteSize(self.inputs.bytes), ByteSize(self.inputs.bytes_max));
                return Err(crate::inputs::no_room(&format!(
                    "{} more beside {held} that waiting and running programs need; {most} are kept",
                    ByteSize(bytes)
                )));
            };
            self.actions.push(Action::RemoveInput(digest));
        }
        Ok(())
    }

    /// Whether all input files of a submit are here.
    pub(super) fn check_inputs(&self, spec: &ProgramSpec) -> Result<(), UserError> {
        for input in &spec.inputs {
            match self.inputs.held.get(&input.digest) {
                Some(held) if held.size == input.size.0 => {}
                Some(_) => {
                    let sentence = format!("the input file `{}` has another size than was said", input.name);
                    return Err(UserError::new(ErrorCode::InputDamaged, sentence));
                }
                None => {
                    let sentence = format!(
                        "the master does not have the content of the input file `{}`; nothing was accepted",
                        input.name
                    );
                    return Err(UserError::new(ErrorCode::InputMissing, sentence));
                }
            }
        }
        Ok(())
    }

    /// A slave asks for a piece of an input file: it gets what its own attempts need, and nothing else is told.
    pub(super) fn fetch(&mut self, link: LinkId, slave: SlaveId, key: AttemptKey, digest: Digest, offset: u64) {
        let Some(program) = self.current(slave, key).and_then(|sequence| self.programs.get(&sequence)) else {
            // The attempt may have been taken from it meanwhile.
            return tracing::debug!(%slave, attempt = %key, "a slave asks for an input of an attempt that it does not have");
        };
        if !program.lot.body.spec.inputs.iter().any(|input| input.digest == digest) {
            return tracing::warn!(%slave, attempt = %key, "a slave asks for a file that is no input of its attempt");
        }
        self.inputs.touch(digest);
        self.actions.push(Action::SendInput { link, digest, offset });
    }
}
