//! What clients ask, one function each. Who may ask stands in the permission table.

use super::{
    Core,
    accept::Submit,
    action::{Action, Then},
    event::{LinkId, Now},
    live::Given,
    lookups::not_found,
    permission,
    program::ProgramState,
    waiters::Follow,
    watch::Choice,
};
use crate::store::query::{KnownProgram, LookUp, Query};
use common::{
    AttemptKey, ClientId, ErrorCode, Outcome, ProgramId, UserError,
    limits::{BATCH_MAX, BUSY_AFTER, BUSY_RETRY, COPIES_PER_REQUEST_MAX, ENTRIES_PER_REQUEST_MAX, PAGE_ROWS_MAX},
    message::{Order, Reply, Request, RequestId},
    program::State,
    units::BootTime,
    view::{Explanation, ProgramView},
};
use std::{collections::BTreeMap, sync::Arc};

impl Core {
    pub(super) fn request(
        &mut self,
        client: ClientId,
        id: RequestId,
        request: Request,
        known: &[KnownProgram],
        received: BootTime,
    ) {
        let Some(asker) = self.clients.get(&client) else { return };
        let (role, user) = (asker.role, asker.user.clone());
        if let Err(error) = permission::check(role, &request) {
            return self.reply(client, id, Err(error));
        }
        if self.is_late(&request, received, self.now.boot) {
            let sentence = "the master is too busy to take programs now";
            return self.reply(client, id, Err(UserError::new(ErrorCode::Busy, sentence).retry_after(BUSY_RETRY)));
        }
        self.touch_what_is_asked(&request);
        let result = match request {
            Request::Submit { ids, first_index, copies, spec } => {
                self.accept(client, Submit::of_copies(ids, first_index, copies, *spec), known)
            }
            Request::SubmitCopies { first, copies, spec } => self.accept_copies(client, first, copies, *spec, known),
            Request::SubmitEntries { first, first_index, copies, spec, entries } => {
                match Submit::of_entries(first, first_index, copies, *spec, entries) {
                    Ok(submit) => self.accept(client, submit, known),
                    Err(error) => Err(error),
                }
            }
            Request::List(mut query) => {
                query.limit = query.limit.min(PAGE_ROWS_MAX);
                let own = query.mine || !permission::sees(role, &user, "");
                let query = Query::Page { query, owner: own.then_some(user) };
                return self.ask(client, id, query, Then::Page);
            }
            Request::Events { limit, before } => {
                // As with programs: who may not see everything sees only what concerns himself.
                let own = !permission::sees(role, &user, "");
                let query = Query::Events { limit, before, subject: own.then_some(user) };
                return self.ask(client, id, query, Then::Events);
            }
            Request::Show { id: program } => match self.live_view(client, program) {
                Some(result) => result.map(|view| Reply::Program(Box::new(view))),
                None => return self.ask(client, id, Query::Programs(vec![program]), Then::Show),
            },
            Request::Why { id: program } => match self.live_view(client, program) {
                Some(result) => result.map(|view| Reply::Why(self.explain(&view))),
                None => return self.ask(client, id, Query::Programs(vec![program]), Then::Why),
            },
            Request::Spec { id: program } => match self.alive(client, program) {
                Some(result) => result.map(|sequence| self.spec_of(sequence)).unwrap_or_else(Err),
                None => return self.ask(client, id, Query::Spec(program), Then::Spec),
            },
            Request::Again { id: program, new_id } if program == new_id => Err(super::accept::conflict(new_id)),
            Request::Again { id: program, new_id } => match self.alive(client, program) {
                Some(Ok(sequence)) => match self.spec_of(sequence) {
                    Ok(Reply::Spec(spec)) => {
                        let submit = Submit::one(new_id, *spec);
                        self.accept(client, submit, known)
                    }
                    other => other,
                },
                Some(Err(error)) => Err(error),
                None => return self.ask(client, id, Query::Spec(program), Then::Again(new_id)),
            },
            Request::ReadOutput { id: program, stream, offset, bytes_max, follow } => {
                match self.alive(client, program) {
                    Some(Ok(sequence)) => {
                        return self.read_alive(sequence, stream, follow, Follow { client, id, offset, bytes_max });
                    }
                    Some(Err(error)) => Err(error),
                    None => {
                        let query = Query::Output { id: program, stream, offset, bytes_max };
                        return self.ask(client, id, query, Then::Output);
                    }
                }
            }
            Request::Wait { ids } if ids.is_empty() => return self.wait_all(client, id),
            Request::Wait { ids } => match self.in_memory(&ids) {
                Err(error) => Err(error),
                Ok(true) => return self.wait(client, id, ids, &BTreeMap::new()),
                Ok(false) => return self.ask(client, id, Query::Outcomes(ids.clone()), Then::Wait(ids)),
            },
            Request::Cancel { ids } => match self.in_memory(&ids) {
                Err(error) => Err(error),
                Ok(true) => Ok(self.cancel(client, &ids, &BTreeMap::new())),
                Ok(false) => return self.ask(client, id, Query::Outcomes(ids.clone()), Then::Cancel(ids)),
            },
            Request::Slaves => Ok(Reply::Slaves(self.slave_views())),
            Request::Clients => Ok(Reply::Clients(self.client_views(client))),
            Request::Summary => Ok(Reply::Summary(self.summary())),
            Request::SetMaxProcesses { slave, slots } => self.set_max_processes(slave, slots, &user),
            Request::SetPolicy(policy) => Self::set_policy(policy),
            Request::SetAside { slave, reason } => self.set_aside(&slave, &reason, &user),
            Request::TakeBack { slave } => self.take_back(&slave, &user),
            Request::Watch { programs, slaves, clients } => {
                self.watch.choose(client, Choice { programs, slaves, clients });
                Ok(Reply::Ok)
            }
            Request::Suspend { ids } => return self.suspend_all(client, id, ids, true),
            Request::Resume { ids } => return self.suspend_all(client, id, ids, false),
            Request::SetWallTime { id: program, wall_time } => match self.controllable(client, id, program) {
                Some(Ok(sequence)) => self.set_wall_time(sequence, wall_time, &user),
                Some(Err(error)) => Err(error),
                None => return,
            },
            Request::Signal { id: program, signal } => match self.controllable(client, id, program) {
                Some(Ok(sequence)) => self.order_one(sequence, |key| Order::Signal { key, signal }),
                Some(Err(error)) => Err(error),
                None => return,
            },
            Request::Resize { id: program, size } => match self.controllable(client, id, program) {
                Some(Ok(sequence)) => self.resize(sequence, size),
                Some(Err(error)) => Err(error),
                None => return,
            },
            Request::Input { id: program, offset, bytes, end } => match self.controllable(client, id, program) {
                Some(Ok(sequence)) => return self.input(client, id, sequence, Given { offset, bytes, end }),
                Some(Err(error)) => Err(error),
                None => return,
            },
            Request::InputsHeld { .. } | Request::PutInput { .. } => {
                Err(UserError::new(ErrorCode::RequestInvalid, "this master cannot do this"))
            }
            // The session has forgotten the token before it passed this on.
            Request::Logout => Ok(Reply::Ok),
        };
        self.reply(client, id, result);
    }

    /// Copies that somebody asks more of than their rows become programs of their own.
    fn touch_what_is_asked(&mut self, request: &Request) {
        match request {
            Request::Wait { ids } | Request::Cancel { ids } | Request::Suspend { ids } | Request::Resume { ids } => {
                if ids.len() <= COPIES_PER_REQUEST_MAX {
                    self.touch_all(ids);
                }
            }
            Request::ReadOutput { id, .. }
            | Request::Why { id }
            | Request::Spec { id }
            | Request::Again { id, .. }
            | Request::SetWallTime { id, .. }
            | Request::Input { id, .. }
            | Request::Resize { id, .. }
            | Request::Signal { id, .. } => self.touch_all(&[*id]),
            Request::Submit { .. }
            | Request::SubmitCopies { .. }
            | Request::SubmitEntries { .. }
            | Request::List(_)
            | Request::Show { .. }
            | Request::Slaves
            | Request::Clients
            | Request::Summary
            | Request::SetMaxProcesses { .. }
            | Request::SetPolicy(_)
            | Request::Watch { .. }
            | Request::Logout
            | Request::Events { .. }
            | Request::SetAside { .. }
            | Request::TakeBack { .. }
            | Request::InputsHeld { .. }
            | Request::PutInput { .. } => {}
        }
    }

    /// The new IDs of a request that the store must be asked for: none when it will be refused anyway, so
    /// that nobody makes the master read much for nothing, and no IDs when all of them are later than any known one, as
    /// those of new programs are.
    pub(crate) fn ids_to_look_up(&self, client: ClientId, request: &Request, received: BootTime, now: Now) -> LookUp {
        let asked = if let Request::Submit { ids, .. } = request {
            (ids.len() <= COPIES_PER_REQUEST_MAX).then(|| LookUp::These(ids.clone()))
        } else if let Request::Again { new_id, .. } = request {
            Some(LookUp::These(vec![*new_id]))
        } else if let Request::SubmitCopies { first, copies, .. } = request {
            super::accept::last_of(*first, *copies).ok().map(|last| LookUp::Between(*first, last))
        } else if let Request::SubmitEntries { first, first_index, entries, .. } = request {
            let count = Some(entries.len()).filter(|count| *count <= ENTRIES_PER_REQUEST_MAX);
            count.and_then(|count| super::accept::ids_of(*first, *first_index, count)).map(LookUp::These)
        } else {
            None
        };
        let allowed = self.clients.get(&client).is_some_and(|asker| permission::check(asker.role, request).is_ok());
        let refused = !allowed || self.is_late(request, received, self.now.boot.max(now.boot));
        match asked.filter(|_| !refused) {
            Some(LookUp::These(mut ids)) => {
                ids.retain(|id| Some(*id) <= self.last_id);
                LookUp::These(ids)
            }
            Some(LookUp::Between(first, _)) if Some(first) > self.last_id => LookUp::These(Vec::new()),
            asked => asked.unwrap_or(LookUp::Nothing),
        }
    }

    /// Whether a submit has waited so long that taking it would make everybody wait: refusing early keeps the
    /// answers to the others fast. What looks or stops is never refused.
    fn is_late(&self, request: &Request, received: BootTime, now: BootTime) -> bool {
        let submits = matches!(
            request,
            Request::Submit { .. }
                | Request::SubmitCopies { .. }
                | Request::SubmitEntries { .. }
                | Request::Again { .. }
        );
        submits && now.since(received) > BUSY_AFTER
    }

    fn client_views(&self, asker: ClientId) -> Vec<common::view::ClientView> {
        let Some(asker) = self.clients.get(&asker) else { return Vec::new() };
        let seen = self.clients.iter().filter(|(_, other)| permission::sees(asker.role, &asker.user, &other.user));
        seen.filter_map(|(id, _)| self.client_view(*id)).collect()
    }

    pub(super) fn ask(&mut self, client: ClientId, id: RequestId, query: Query, then: Then) {
        self.actions.push(Action::Ask { client, id, query, then });
    }

    pub(super) fn unknown(&self, id: ProgramId) -> UserError {
        UserError::new(ErrorCode::ProgramUnknown, format!("no program {id} is known to you"))
    }

    pub(super) fn may_see(&self, client: ClientId, owner: &str) -> bool {
        self.clients.get(&client).is_some_and(|client| permission::sees(client.role, &client.user, owner))
    }

    /// A program that has not ended, if the client may see it; none when the store must be asked.
    fn alive(&self, client: ClientId, id: ProgramId) -> Option<Result<u64, UserError>> {
        let sequence = *self.by_id.get(&id)?;
        let program = self.programs.get(&sequence)?;
        Some(if self.may_see(client, &program.lot.user) { Ok(sequence) } else { Err(not_found()) })
    }

    /// The row of a program that is in memory; none when the store must be asked.
    fn live_view(&self, client: ClientId, id: ProgramId) -> Option<Result<ProgramView, UserError>> {
        let view = match self.sequence_of(id) {
            Some(sequence) => self.program_view(sequence)?,
            None => {
                let view = self.just_ended.get(&id)?.view.clone();
                // Without room its end is not committed: it must not be told yet.
                match &self.refuse {
                    Some(refuse) if self.may_see(client, &view.user) => return Some(Err(refuse.clone())),
                    Some(_) | None => view,
                }
            }
        };
        Some(if self.may_see(client, &view.user) { Ok(view) } else { Err(not_found()) })
    }

    fn spec_of(&self, sequence: u64) -> Result<Reply, UserError> {
        let program = self.programs.get(&sequence);
        program
            .map(|program| Reply::Spec(Box::new((*program.spec()).clone())))
            .ok_or_else(|| UserError::new(ErrorCode::Internal, "a program vanished while it was looked at"))
    }

    /// Whether all of these are in memory, so that the store need not be asked.
    pub(super) fn in_memory(&self, ids: &[ProgramId]) -> Result<bool, UserError> {
        if ids.len() > COPIES_PER_REQUEST_MAX {
            let sentence =
                format!("{} programs in one request; at most {COPIES_PER_REQUEST_MAX} are accepted", ids.len());
            return Err(UserError::new(ErrorCode::RequestInvalid, sentence));
        }
        Ok(ids.iter().all(|id| self.by_id.contains_key(id) || self.just_ended.contains_key(id)))
    }

    /// Why a program waits, or how it ended.
    pub(super) fn explain(&self, view: &ProgramView) -> Explanation {
        let sentence = |sentence: String| Explanation { sentence, ahead: None, slaves: Vec::new() };
        if let Some(outcome) = &view.outcome {
            return sentence(outcome.sentence());
        }
        let Some(program) = self.programs.get(&view.sequence) else { return sentence("It has ended.".to_owned()) };
        let on = |slave| self.slaves.get(slave).map_or("?", |slave: &super::slaves::Slave| &*slave.name);
        match &program.state {
            ProgramState::Waiting => {
                self.explain_pause(view.sequence).unwrap_or_else(|| self.explain_wait(view.sequence, program))
            }
            ProgramState::Sent { slave } if self.strays.since(program.key()).is_some() => sentence(format!(
                "It was sent to `{}`, which came back without it; whether it runs there is not known yet.",
                on(slave)
            )),
            ProgramState::Sent { slave } => {
                let mut explanation = self.explain_wait(view.sequence, program);
                explanation.sentence = format!("It is at `{}` and starts there when a slot is free.", on(slave));
                explanation
            }
            ProgramState::Running(run) => sentence(match (view.unknown_since, self.lease_left(&run.slave, program)) {
                (None, _) => format!("It runs on `{}`.", on(&run.slave)),
                (Some(_), None) => {
                    format!(
                        "It ran on `{}` when the connection was lost; whether it still runs is not known.",
                        on(&run.slave)
                    )
                }
                (Some(_), Some(left)) => format!(
                    "It ran on `{}` when the connection was lost; whether it still runs is not known. It counts as lost in {left} s unless the slave comes back with it.",
                    on(&run.slave)
                ),
            }),
        }
    }

    fn explain_wait(&self, sequence: u64, program: &super::program::Program) -> Explanation {
        let spec = program.template();
        self.scheduler.explain(sequence, &self.scheduler.need(&spec), &spec.limits, &program.lot.user)
    }

    /// Seconds until a program whose slave is away counts as lost.
    fn lease_left(&self, slave: &common::SlaveId, program: &super::program::Program) -> Option<u64> {
        let until = self.strays.until(program.key()).or_else(|| self.slaves.get(slave)?.lease_at())?;
        Some(until.since(self.now.boot).0.div_ceil(1_000_000))
    }

    /// Stops what can be stopped; `ended` is what the store knows of those that are not in memory.
    pub(super) fn cancel(
        &mut self,
        client: ClientId,
        ids: &[ProgramId],
        ended: &BTreeMap<ProgramId, (String, Option<Outcome>)>,
    ) -> Reply {
        let asker = self.clients.get(&client).map(|client| (client.role, client.user.clone()));
        let Some((role, user)) = asker else { return Reply::Cancelled { results: Vec::new() } };
        let mut orders: BTreeMap<LinkId, Vec<AttemptKey>> = BTreeMap::new();
        let mut results = Vec::with_capacity(ids.len());
        for id in ids {
            let owner = match self.by_id.get(id).and_then(|sequence| self.programs.get(sequence)) {
                Some(program) => Some(program.lot.user.to_string()),
                None => self.just_ended.get(id).map(|ended| ended.view.user.clone()),
            };
            let owner = owner.or_else(|| ended.get(id).map(|(owner, _)| owner.clone()));
            results.push(match owner {
                Some(owner) if permission::stops(role, &user, &owner) => self.cancel_one(*id, &user, &mut orders),
                Some(_) | None => Err(self.unknown(*id)),
            });
        }
        for (link, keys) in orders {
            for keys in keys.chunks(BATCH_MAX) {
                self.order(link, Order::Cancel { keys: keys.to_vec(), by: user.to_string() });
            }
        }
        Reply::Cancelled { results }
    }

    fn cancel_one(
        &mut self,
        id: ProgramId,
        by: &Arc<str>,
        orders: &mut BTreeMap<LinkId, Vec<AttemptKey>>,
    ) -> Result<State, UserError> {
        let Some(sequence) = self.by_id.get(&id).copied() else {
            return Err(UserError::new(ErrorCode::ProgramEnded, format!("{id} has already ended")));
        };
        let Some(program) = self.programs.get_mut(&sequence) else { return Err(self.unknown(id)) };
        if matches!(program.state, ProgramState::Waiting) {
            self.end_without_report(sequence, Outcome::Cancelled { by: by.to_string() });
            return Ok(State::Cancelled);
        }
        let state = program.shown_state();
        let key = program.key();
        let slave = program.slave();
        if program.cancel_by().is_none() {
            program.rare_mut().cancel_by = Some(by.clone());
            self.moved(sequence, state);
        }
        // To a slave that is away it is told when it comes back.
        if let Some(link) = slave.and_then(|slave| self.slaves.get(&slave)).and_then(|slave| slave.link) {
            orders.entry(link).or_default().push(key);
        }
        Ok(state)
    }
}
