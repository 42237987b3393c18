//! Accepting programs: a submit is all or nothing, and a repeat is harmless.

use super::{
    Core,
    program::{Body, Program, ProgramState, weight},
};
use crate::store::{NewProgram, Record, query::KnownProgram};
use common::{
    ClientId, ErrorCode, Outcome, ProgramId, ProgramSpec, UserError,
    escape::RawText,
    frame::encode_record,
    language,
    limits::{BUSY_RETRY, COPIES_MAX, COPIES_PER_REQUEST_MAX, PROGRAMS_ALIVE_MAX, QUEUE_LINES_MAX},
    message::Reply,
};
use scheduler::Requirement;
use std::{collections::BTreeSet, sync::Arc};

/// Bytes of bodies of all programs that wait or run.
const BODIES_BYTES_MAX: usize = 2 << 30;

/// Body, number among copies, and copies: what a repeat must have in common.
type Place = ([u8; 32], u32, u32);

/// A submit as the client sent it.
pub(super) struct Submit {
    pub(super) ids: Vec<ProgramId>,
    pub(super) first_index: u32,
    pub(super) copies: u32,
    pub(super) spec: ProgramSpec,
}

impl Core {
    /// Accepts a submit, or refuses all of it by name.
    pub(super) fn accept(
        &mut self,
        client: ClientId,
        mut submit: Submit,
        known: &[KnownProgram],
    ) -> Result<Reply, UserError> {
        self.check_admission(&submit)?;
        submit.spec.validate()?;
        canonical_language(&mut submit.spec);
        let hash = *blake3::hash(&encode_record(&submit.spec)).as_bytes();
        let Some(user) = self.clients.get(&client).map(|client| client.user.clone()) else {
            return Err(UserError::new(ErrorCode::LoginNeeded, "this connection has ended"));
        };
        let mut sequences = Vec::with_capacity(submit.ids.len());
        let mut fresh = Vec::new();
        let mut next = self.next_sequence;
        let mut seen = BTreeSet::new();
        for (id, index) in submit.ids.iter().zip(submit.first_index..) {
            let earlier = self.earlier(*id, known);
            if !seen.insert(*id) {
                return Err(conflict(*id));
            }
            match earlier {
                Some((owner, other, at)) if *owner == *user && other == (hash, index, submit.copies) => {
                    sequences.push(at)
                }
                Some(_) => return Err(conflict(*id)),
                None => {
                    sequences.push(next);
                    fresh.push((*id, index, next));
                    next += 1;
                }
            }
        }
        if !fresh.is_empty() {
            self.check_quota(&user, fresh.len())?;
            self.check_inputs(&submit.spec)?;
            self.next_sequence = next;
            self.add_all(client, &user, submit, hash, fresh);
        }
        Ok(Reply::Submitted { sequences })
    }

    fn check_admission(&self, submit: &Submit) -> Result<(), UserError> {
        if self.stopping {
            return Err(UserError::new(ErrorCode::Stopping, "the master is stopping and takes nothing new"));
        }
        if let Some(error) = &self.refuse {
            return Err(error.clone());
        }
        let count = submit.ids.len();
        let invalid = |sentence: String| Err(UserError::new(ErrorCode::SubmitInvalid, sentence));
        if count == 0 || count > COPIES_PER_REQUEST_MAX {
            return invalid(format!(
                "a submit of {count} programs; 1 to {COPIES_PER_REQUEST_MAX} are accepted at once"
            ));
        }
        let last = u64::from(submit.first_index) + count as u64;
        if submit.copies == 0 || submit.copies > COPIES_MAX || last > u64::from(submit.copies) {
            return invalid(format!("copies {} to {last} of {} do not fit", submit.first_index, submit.copies));
        }
        if let Some(name) = &submit.spec.slave
            && !self.enrolled.contains_key(name)
        {
            let sentence = format!("no slave is called `{}`", RawText::from(name.as_str()));
            return Err(UserError::new(ErrorCode::SlaveUnknown, sentence));
        }
        if !self.scheduler.queue().is_empty() {
            self.check_needs(&self.scheduler.need(&submit.spec))?;
        }
        if self.programs.len() + count > PROGRAMS_ALIVE_MAX
            || self.bodies_bytes + weight(&submit.spec) > BODIES_BYTES_MAX
        {
            let sentence = format!("{} programs wait or run already; nothing was accepted", self.programs.len());
            return Err(UserError::new(ErrorCode::Busy, sentence).retry_after(BUSY_RETRY));
        }
        Ok(())
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
        if let Some(sequence) = self.by_id.get(&id)
            && let Some(program) = self.programs.get(sequence)
        {
            let body = (program.body.hash, program.index, program.copies);
            return Some((program.user.to_string(), body, *sequence));
        }
        if let Some(ended) = self.just_ended.get(&id) {
            let view = &ended.view;
            return Some((view.user.clone(), (ended.hash, view.index, view.copies), view.sequence));
        }
        let known = known.iter().find(|known| known.id == id)?;
        Some((known.owner.clone(), (known.spec_hash, known.index, known.copies), known.sequence))
    }

    fn add_all(
        &mut self,
        client: ClientId,
        user: &Arc<str>,
        submit: Submit,
        hash: [u8; 32],
        fresh: Vec<(ProgramId, u32, u64)>,
    ) {
        let bytes = weight(&submit.spec);
        let body = Arc::new(Body { spec: Arc::new(submit.spec), key: self.next_spec, hash, bytes });
        self.next_spec += 1;
        self.bodies_bytes += bytes;
        self.inputs.need(&body.spec);
        self.record(Record::Spec { key: body.key, spec: body.spec.clone(), hash });
        let need = self.scheduler.need(&body.spec);
        let impossible = self.impossible(&need, &body.spec.limits);
        let submitted_at = self.now.wall;
        for (id, index, sequence) in fresh {
            self.record(Record::New(NewProgram {
                sequence,
                id,
                spec: body.key,
                user: user.clone(),
                client,
                index,
                copies: submit.copies,
                submitted_at,
            }));
            let program = Program {
                id,
                body: body.clone(),
                user: user.clone(),
                client,
                index,
                copies: submit.copies,
                submitted_at,
                attempt: 0,
                cancel_by: None,
                crashes: 0,
                wall_time: None,
                suspend: false,
                state: ProgramState::Waiting,
            };
            self.add_program(sequence, program, &need);
            if let Some(detail) = &impossible {
                self.end_without_report(sequence, Outcome::NotSupported { detail: detail.clone() });
            }
        }
        // Those that ended at once could not tell that they were the last to need it.
        if Arc::strong_count(&body) == 1 {
            self.bodies_bytes = self.bodies_bytes.saturating_sub(bytes);
            self.inputs.release(&body.spec);
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
