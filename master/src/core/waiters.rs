//! Requests that wait for something: the end of programs, or the next byte of an output.

use super::{
    Core,
    action::{Action, Then},
    change::End,
    outputs::end_of,
    permission,
};
use crate::store::query::Query;
use common::{
    ClientId, ErrorCode, Outcome, ProgramId, UserError,
    limits::REQUESTS_OPEN_MAX,
    message::{Reply, RequestId, Stream},
    view::ProgramView,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

type Asker = (ClientId, RequestId);

/// A reader at the end of an output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Follow {
    pub(super) client: ClientId,
    pub(super) id: RequestId,
    pub(super) offset: u64,
    pub(super) bytes_max: u32,
}

#[derive(Debug)]
struct Wait {
    ids: Vec<ProgramId>,
    outcomes: BTreeMap<ProgramId, Outcome>,
    open: BTreeSet<u64>,
}

/// Waits for all that were alive when it was asked.
#[derive(Debug)]
struct WaitAll {
    before: u64,
    only_of: Option<Arc<str>>,
    open: u64,
    count: u64,
}

/// All requests that wait.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    waits: BTreeMap<Asker, Wait>,
    all: BTreeMap<Asker, WaitAll>,
    by_program: BTreeMap<u64, BTreeSet<Asker>>,
    follows: BTreeMap<u64, Vec<(Stream, Follow)>>,
    open: BTreeMap<ClientId, usize>,
}

impl Waiters {
    pub(super) fn admit(&mut self, client: ClientId) -> Result<(), UserError> {
        let open = self.open.entry(client).or_default();
        if *open >= REQUESTS_OPEN_MAX {
            let sentence = format!("this connection has {REQUESTS_OPEN_MAX} requests open already");
            return Err(UserError::new(ErrorCode::Busy, sentence));
        }
        *open += 1;
        Ok(())
    }

    pub(super) fn leave(&mut self, client: ClientId) {
        if let Some(open) = self.open.get_mut(&client) {
            *open = open.saturating_sub(1);
        }
    }

    /// A client is gone, and with it what it waits for.
    pub(super) fn forget(&mut self, client: ClientId) {
        if self.open.remove(&client).is_none_or(|open| open == 0) {
            return;
        }
        self.waits.retain(|asker, _| asker.0 != client);
        self.all.retain(|asker, _| asker.0 != client);
        self.by_program.retain(|_, askers| {
            askers.retain(|asker| asker.0 != client);
            !askers.is_empty()
        });
        self.follows.retain(|_, follows| {
            follows.retain(|(_, follow)| follow.client != client);
            !follows.is_empty()
        });
    }

    /// Takes the followers of a stream that stand before `offset`.
    pub(super) fn follows_before(&mut self, sequence: u64, stream: Stream, offset: u64) -> Vec<Follow> {
        let Some(follows) = self.follows.get_mut(&sequence) else { return Vec::new() };
        let taken: Vec<Follow> = follows
            .extract_if(.., |(of, follow)| *of == stream && follow.offset < offset)
            .map(|(_, follow)| follow)
            .collect();
        if follows.is_empty() {
            self.follows.remove(&sequence);
        }
        for follow in &taken {
            self.leave(follow.client);
        }
        taken
    }

    /// `others` are requests that wait elsewhere and were admitted here.
    pub(super) fn check(&self, alive: impl Fn(u64) -> bool, others: usize) {
        assert!(self.follows.keys().chain(self.by_program.keys()).all(|sequence| alive(*sequence)));
        for (asker, wait) in &self.waits {
            assert!(!wait.open.is_empty(), "{asker:?} waits for nothing");
        }
        let waiting = others + self.waits.len() + self.all.len() + self.follows.values().map(Vec::len).sum::<usize>();
        assert_eq!(self.open.values().sum::<usize>(), waiting, "open requests");
    }
}

impl Core {
    pub(super) fn follow(&mut self, sequence: u64, stream: Stream, want: Follow) {
        if let Err(error) = self.waiters.admit(want.client) {
            return self.reply(want.client, want.id, Err(error));
        }
        self.waiters.follows.entry(sequence).or_default().push((stream, want));
    }

    /// `Wait` for these; `ended` is what the store knows of those that are not alive.
    pub(super) fn wait(
        &mut self,
        client: ClientId,
        id: RequestId,
        ids: Vec<ProgramId>,
        ended: &BTreeMap<ProgramId, (String, Option<Outcome>)>,
    ) {
        let Some((role, user)) = self.clients.get(&client).map(|client| (client.role, client.user.clone())) else {
            return;
        };
        if self.waiters.waits.contains_key(&(client, id)) || self.waiters.all.contains_key(&(client, id)) {
            return self.reply(client, id, Err(number_in_use()));
        }
        let mut wait = Wait { ids, outcomes: BTreeMap::new(), open: BTreeSet::new() };
        for program in &wait.ids {
            let unknown = || self.unknown(*program);
            let alive = self.by_id.get(program).and_then(|sequence| Some((*sequence, self.programs.get(sequence)?)));
            let just_ended = || {
                let view = &self.just_ended.get(program)?.view;
                Some((view.user.clone(), view.outcome.clone()))
            };
            let result = match alive {
                Some((sequence, program)) if permission::sees(role, &user, &program.lot.user) => {
                    wait.open.insert(sequence);
                    Ok(())
                }
                Some(_) => Err(unknown()),
                None => match just_ended().or_else(|| ended.get(program).cloned()) {
                    Some((owner, Some(outcome))) if permission::sees(role, &user, &owner) => {
                        wait.outcomes.insert(*program, outcome);
                        Ok(())
                    }
                    // It was alive when the store was read and has ended since: the store knows its outcome now.
                    Some((owner, None)) if permission::sees(role, &user, &owner) => {
                        let query = Query::Outcomes(wait.ids.clone());
                        return self.ask(client, id, query, Then::Wait(wait.ids));
                    }
                    Some(_) | None => Err(unknown()),
                },
            };
            if let Err(error) = result {
                return self.reply(client, id, Err(error));
            }
        }
        if wait.open.is_empty() {
            let reply = ended_reply(wait);
            return self.reply(client, id, Ok(reply));
        }
        if let Err(error) = self.waiters.admit(client) {
            return self.reply(client, id, Err(error));
        }
        for sequence in &wait.open {
            self.waiters.by_program.entry(*sequence).or_default().insert((client, id));
        }
        self.waiters.waits.insert((client, id), wait);
    }

    /// `Wait` for everything that is alive and visible now.
    pub(super) fn wait_all(&mut self, client: ClientId, id: RequestId) {
        let Some(asker) = self.clients.get(&client) else { return };
        if self.waiters.waits.contains_key(&(client, id)) || self.waiters.all.contains_key(&(client, id)) {
            return self.reply(client, id, Err(number_in_use()));
        }
        let only_of = (!permission::sees(asker.role, "", "-")).then(|| asker.user.clone());
        let open = match &only_of {
            None => self.alive_count(),
            Some(user) => self.of_users.get(user).copied().unwrap_or(0) as u64,
        };
        if open == 0 {
            return self.reply(client, id, Ok(Reply::Ended { programs: Vec::new(), count: 0 }));
        }
        if let Err(error) = self.waiters.admit(client) {
            return self.reply(client, id, Err(error));
        }
        self.waiters.all.insert((client, id), WaitAll { before: self.next_sequence, only_of, open, count: open });
    }

    /// A program ended: answers whoever waited for that.
    pub(super) fn tell_waiters(&mut self, sequence: u64, view: &ProgramView, end: &End) {
        for (stream, follow) in self.waiters.follows.remove(&sequence).unwrap_or_default() {
            self.waiters.leave(follow.client);
            let place = stream as usize;
            match end_of(&end.tails[place], end.bytes[place], follow.offset, follow.bytes_max) {
                Some(reply) => self.reply(follow.client, follow.id, Ok(reply)),
                None => {
                    let Follow { client, id, offset, bytes_max } = follow;
                    let query = Query::Output { id: view.id, stream, offset, bytes_max };
                    self.actions.push(Action::Ask { client, id, query, then: Then::Output });
                }
            }
        }
        for asker in self.waiters.by_program.remove(&sequence).unwrap_or_default() {
            let Some(wait) = self.waiters.waits.get_mut(&asker) else { continue };
            wait.open.remove(&sequence);
            wait.outcomes.insert(view.id, end.outcome.clone());
            if wait.open.is_empty()
                && let Some(wait) = self.waiters.waits.remove(&asker)
            {
                self.waiters.leave(asker.0);
                self.reply(asker.0, asker.1, Ok(ended_reply(wait)));
            }
        }
        let mut done = Vec::new();
        for (asker, all) in &mut self.waiters.all {
            if sequence < all.before && all.only_of.as_ref().is_none_or(|user| **user == *view.user) {
                all.open -= 1;
                if all.open == 0 {
                    done.push((*asker, all.count));
                }
            }
        }
        for (asker, count) in done {
            self.waiters.all.remove(&asker);
            self.waiters.leave(asker.0);
            self.reply(asker.0, asker.1, Ok(Reply::Ended { programs: Vec::new(), count }));
        }
    }
}

fn number_in_use() -> UserError {
    UserError::new(ErrorCode::RequestInvalid, "a request with this number is still open on this connection")
}

fn ended_reply(mut wait: Wait) -> Reply {
    let count = wait.ids.len() as u64;
    let programs = wait.ids.iter().filter_map(|id| Some((*id, wait.outcomes.remove(id)?))).collect();
    Reply::Ended { programs, count }
}
