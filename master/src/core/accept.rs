//! Accepting programs: a submit is all or nothing, and a repeat is harmless.

use super::{
    Core,
    arrays::Array,
    program::{Lot, Program, identity, weight},
};
use crate::store::{NewArray, NewProgram, Record, query::KnownProgram};
use common::{
    ClientId, ErrorCode, Outcome, ProgramId, ProgramSpec, UserError,
    escape::RawText,
    frame::encode_record,
    language,
    limits::{
        BUSY_RETRY, COPIES_MAX, COPIES_PER_REQUEST_MAX, ENTRIES_PER_REQUEST_MAX, PROGRAMS_ALIVE_MAX, QUEUE_LINES_MAX,
    },
    message::Reply,
};
use scheduler::Requirement;
use std::{collections::BTreeSet, sync::Arc};

/// Bytes of bodies of all programs that wait or run.
const BODIES_BYTES_MAX: usize = 2 << 30;

/// Body and entry, number among copies, and copies: what a repeat must have in common.
type Place = ([u8; 32], u32, u32);

/// A submit as the client sent it.
pub(super) struct Submit {
    ids: Vec<ProgramId>,
    first_index: u32,
    /// 0 when that is not known.
    copies: u32,
    spec: ProgramSpec,
    /// One for each program, where the spec is a template.
    entries: Option<Vec<RawText>>,
}

impl Submit {
    /// Copies with IDs that the client chose one by one.
    pub(super) fn of_copies(ids: Vec<ProgramId>, first_index: u32, copies: u32, spec: ProgramSpec) -> Self {
        Self { ids, first_index, copies, spec, entries: None }
    }

    /// One program.
    pub(super) fn one(id: ProgramId, spec: ProgramSpec) -> Self {
        Self::of_copies(vec![id], 0, 1, spec)
    }

    /// One program for each entry, a part of a longer submit.
    ///
    /// # Errors
    /// When their indexes or IDs run over.
    pub(super) fn of_entries(
        first: ProgramId,
        first_index: u32,
        copies: u32,
        spec: ProgramSpec,
        entries: Vec<RawText>,
    ) -> Result<Self, UserError> {
        let ids = ids_of(first, first_index, entries.len()).ok_or_else(|| no_room(first, entries.len() as u64))?;
        Ok(Self { ids, first_index, copies, spec, entries: Some(entries) })
    }

    fn check_form(&self) -> Result<(), UserError> {
        let count = self.ids.len();
        let most = if self.entries.is_some() { ENTRIES_PER_REQUEST_MAX } else { COPIES_PER_REQUEST_MAX };
        if count == 0 || count > most {
            return Err(invalid(format!("a submit of {count} programs; 1 to {most} are accepted at once")));
        }
        let last = u64::from(self.first_index) + count as u64;
        let open = self.entries.is_some() && self.copies == 0;
        if !open && (self.copies == 0 || self.copies > COPIES_MAX || last > u64::from(self.copies)) {
            return Err(invalid(format!("copies {} to {last} of {} do not fit", self.first_index, self.copies)));
        }
        self.spec.validate()?;
        match &self.entries {
            Some(entries) => self.spec.check_entries(entries, u64::from(self.first_index)),
            None => Ok(()),
        }
    }
}

/// The IDs of a part of a submit; none when they run over.
pub(super) fn ids_of(first: ProgramId, first_index: u32, count: usize) -> Option<Vec<ProgramId>> {
    let end = u64::from(first_index) + count as u64;
    (end <= u64::from(u32::MAX)).then_some(())?;
    (u64::from(first_index)..end).map(|place| first.nth(place)).collect()
}

/// The ID of the last of so many copies.
///
/// # Errors
/// When that is no count, or there is no room for it after the first ID.
pub(super) fn last_of(first: ProgramId, copies: u32) -> Result<ProgramId, UserError> {
    if copies == 0 || copies > COPIES_MAX {
        return Err(invalid(format!("a submit of {copies} copies; 1 to {COPIES_MAX} are accepted")));
    }
    first.nth(u64::from(copies) - 1).ok_or_else(|| no_room(first, copies.into()))
}

fn invalid(sentence: String) -> UserError {
    UserError::new(ErrorCode::SubmitInvalid, sentence)
}

fn no_room(first: ProgramId, count: u64) -> UserError {
    invalid(format!("the ID {first} has no room for {count} programs after it: the end of it runs over"))
}

impl Core {
    /// Accepts a submit, or refuses all of it by name.
    pub(super) fn accept(
        &mut self,
        client: ClientId,
        mut submit: Submit,
        known: &[KnownProgram],
    ) -> Result<Reply, UserError> {
        self.check_admission(&submit.spec)?;
        submit.check_form()?;
        canonical_language(&mut submit.spec);
        let hash = *blake3::hash(&encode_record(&submit.spec)).as_bytes();
        let user = self.user_of(client)?;
        let mut entries = submit.entries.take().map(|entries| entries.into_iter().map(Arc::new));
        let mut sequences = Vec::with_capacity(submit.ids.len());
        let mut fresh = Vec::new();
        let mut next = self.next_sequence;
        let mut seen = BTreeSet::new();
        for (id, index) in submit.ids.iter().zip(submit.first_index..) {
            let entry = entries.as_mut().and_then(Iterator::next);
            if !seen.insert(*id) {
                return Err(conflict(*id));
            }
            let place = (identity(&hash, entry.as_deref()), index, submit.copies);
            match self.earlier(*id, known) {
                Some((owner, other, at)) if *owner == *user && other == place => sequences.push(at),
                Some(_) => return Err(conflict(*id)),
                None => {
                    sequences.push(next);
                    fresh.push((*id, index, next, entry));
                    next += 1;
                }
            }
        }
        if !fresh.is_empty() {
            let entries = fresh.iter().map(|(.., entry)| entry.as_ref().map_or(0, |entry| entry.0.len())).sum();
            self.check_room(&user, &submit.spec, fresh.len(), entries)?;
            self.next_sequence = next;
            self.last_id = fresh.iter().map(|(id, ..)| Some(*id)).fold(self.last_id, Option::max);
            self.add_all(client, &user, submit, hash, fresh);
        }
        Ok(Reply::Submitted { sequences })
    }

    /// Accepts copies that are kept together, or refuses all of them by name.
    pub(super) fn accept_copies(
        &mut self,
        client: ClientId,
        first: ProgramId,
        copies: u32,
        mut spec: ProgramSpec,
        known: &[KnownProgram],
    ) -> Result<Reply, UserError> {
        self.check_admission(&spec)?;
        let last = last_of(first, copies)?;
        spec.validate()?;
        canonical_language(&mut spec);
        let hash = *blake3::hash(&encode_record(&spec)).as_bytes();
        let user = self.user_of(client)?;
        // A submit is accepted as a whole: where its ends are, all of it is.
        let ends = self.earlier(first, known).zip(self.earlier(last, known));
        if let Some(((owner, place, at), (last_owner, last_place, last_at))) = ends
            && *owner == *user
            && last_owner == owner
            && place == (hash, 0, copies)
            && last_place == (hash, copies - 1, copies)
            && last_at.checked_sub(at) == Some(u64::from(copies) - 1)
        {
            return Ok(Reply::Submitted { sequences: vec![at] });
        }
        if let Some(taken) = self.known_between(first, last).or_else(|| known.first().map(|known| known.id)) {
            return Err(conflict(taken));
        }
        self.check_room(&user, &spec, copies as usize, 0)?;
        let sequence = self.next_sequence;
        self.next_sequence += u64::from(copies);
        self.last_id = self.last_id.max(Some(last));
        let lot = self.lot(client, &user, Arc::new(spec), hash, copies, copies.into());
        let submitted_at = self.now.wall;
        self.record(Record::Array(Box::new(NewArray {
            first: sequence,
            id: first,
            copies,
            spec: lot.body.key,
            user,
            client,
            submitted_at,
        })));
        let need = self.scheduler.need(&lot.body.spec);
        let impossible = self.impossible(&need, &lot.body.spec.limits).is_some();
        let array = Array { count: copies.into(), id: first, index: 0, lot, submitted_at, held: false };
        self.add_array(sequence, array, &need);
        if impossible {
            self.fail_impossible();
        }
        Ok(Reply::Submitted { sequences: vec![sequence] })
    }

    fn user_of(&self, client: ClientId) -> Result<Arc<str>, UserError> {
        let user = self.clients.get(&client).map(|client| client.user.clone());
        user.ok_or_else(|| UserError::new(ErrorCode::LoginNeeded, "this connection has ended"))
    }

    /// Whether anything is accepted now, and this in particular.
    fn check_admission(&self, spec: &ProgramSpec) -> Result<(), UserError> {
        if self.stopping {
            return Err(UserError::new(ErrorCode::Stopping, "the master is stopping and takes nothing new"));
        }
        if let Some(error) = &self.refuse {
            return Err(error.clone());
        }
        if let Some(name) = &spec.slave
            && !self.enrolled.contains_key(name)
        {
            let sentence = format!("no slave is called `{}`", RawText::from(name.as_str()));
            return Err(UserError::new(ErrorCode::SlaveUnknown, sentence));
        }
        Ok(())
    }

    /// Whether there is room for what is not known yet. A repeat needs none.
    fn check_room(
        &self,
        user: &Arc<str>,
        spec: &ProgramSpec,
        count: usize,
        entries_bytes: usize,
    ) -> Result<(), UserError> {
        if !self.scheduler.queue().is_empty() {
            self.check_needs(&self.scheduler.need(spec))?;
        }
        let bytes = self.bodies.bytes() + self.entries_bytes + weight(spec) + entries_bytes;
        if self.alive_count() + count as u64 > PROGRAMS_ALIVE_MAX as u64 || bytes > BODIES_BYTES_MAX {
            let sentence = format!("{} programs wait or run already; nothing was accepted", self.alive_count());
            return Err(UserError::new(ErrorCode::Busy, sentence).retry_after(BUSY_RETRY));
        }
        self.check_quota(user, count)?;
        self.check_inputs(spec)
    }

    /// A program that has an ID of this span, ends included, as far as it is in memory.
    fn known_between(&self, first: ProgramId, last: ProgramId) -> Option<ProgramId> {
        let alive = self.by_id.range(first..=last).next().map(|(id, _)| *id);
        let ended = self.just_ended.range(first..=last).next().map(|(id, _)| *id);
        alive.or(ended).or_else(|| self.arrays.any_between(first, last))
    }

    /// Programs with different needs wait in different lines, and each line is looked at in each round.
    fn check_needs(&self, need: &Requirement) -> Result<(), UserError> {
        let queue = self.scheduler.queue();
        if queue.lines() < QUEUE_LINES_MAX || queue.has_line(need) {
            return Ok(());
        }
        let sentence = format!("programs with {QUEUE_LINES_MAX} different needs wait already; nothing was accepted");
        Err(UserError::new(ErrorCode::Busy, sentence).retry_after(BUSY_RETRY))
    }

    /// Nobody shuts out the others by the number of his programs.
    fn check_quota(&self, user: &Arc<str>, count: usize) -> Result<(), UserError> {
        let (alive, most) = (self.of_users.get(user).copied().unwrap_or(0), self.settings.programs_per_user);
        if alive + count <= most {
            return Ok(());
        }
        let sentence = format!(
            "{count} more programs would be too many: {alive} of `{user}` wait or run, and each user may have {most}"
        );
        Err(UserError::new(ErrorCode::QuotaReached, sentence))
    }

    /// What is known under an ID: its owner, its body and place, and its sequence.
    fn earlier(&self, id: ProgramId, known: &[KnownProgram]) -> Option<(String, Place, u64)> {
        if let Some(sequence) = self.sequence_of(id) {
            return self.look_at(sequence, |program| {
                let place = (program.identity(), program.index, program.lot.copies);
                (program.lot.user.to_string(), place, sequence)
            });
        }
        if let Some(ended) = self.just_ended.get(&id) {
            let view = &ended.view;
            return Some((view.user.clone(), (ended.hash, view.index, view.copies), view.sequence));
        }
        let known = known.iter().find(|known| known.id == id)?;
        Some((known.owner.clone(), (known.identity, known.index, known.copies), known.sequence))
    }

    /// What these programs share. Of a client that submits the same again and again they share it all.
    fn lot(
        &mut self,
        client: ClientId,
        user: &Arc<str>,
        spec: Arc<ProgramSpec>,
        hash: [u8; 32],
        copies: u32,
        programs: u64,
    ) -> Arc<Lot> {
        let (body, is_new) = self.bodies.add(hash, programs, || spec, self.next_spec);
        if is_new {
            self.next_spec += 1;
            self.inputs.need(&body.spec);
            self.record(Record::Spec { key: body.key, spec: body.spec.clone(), hash });
        }
        let asker = self.clients.get_mut(&client);
        let last = asker.as_ref().and_then(|asker| asker.lot.upgrade());
        if let Some(lot) = last.filter(|lot| lot.copies == copies && Arc::ptr_eq(&lot.body, &body)) {
            return lot;
        }
        let lot = Arc::new(Lot { body, user: user.clone(), client, copies });
        if let Some(asker) = asker {
            asker.lot = Arc::downgrade(&lot);
        }
        lot
    }

    fn add_all(
        &mut self,
        client: ClientId,
        user: &Arc<str>,
        submit: Submit,
        hash: [u8; 32],
        fresh: Vec<(ProgramId, u32, u64, Option<Arc<RawText>>)>,
    ) {
        let lot = self.lot(client, user, Arc::new(submit.spec), hash, submit.copies, fresh.len() as u64);
        let need = self.scheduler.need(&lot.body.spec);
        let impossible = self.impossible(&need, &lot.body.spec.limits);
        let submitted_at = self.now.wall;
        for (id, index, sequence, entry) in fresh {
            self.record(Record::New(NewProgram {
                sequence,
                id,
                spec: lot.body.key,
                user: user.clone(),
                client,
                index,
                copies: submit.copies,
                submitted_at,
                entry: entry.clone(),
            }));
            let mut program = Program::new(id, lot.clone(), index, submitted_at);
            if entry.is_some() {
                program.rare_mut().entry = entry;
            }
            self.add_program(sequence, program, &need);
            if let Some(detail) = &impossible {
                self.end_without_report(sequence, Outcome::NotSupported { detail: detail.clone() });
            }
        }
    }
}

/// A language has one name in the history, whichever alias was given.
fn canonical_language(spec: &mut ProgramSpec) {
    if let common::Work::Source { language, .. } = &mut spec.work
        && let Some(known) = language::by_name(language::built_in(), language)
    {
        language.clone_from(&known.name);
    }
}

pub(super) fn conflict(id: ProgramId) -> UserError {
    UserError::new(ErrorCode::ProgramConflict, format!("another program was submitted as {id}"))
}
