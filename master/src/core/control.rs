//! What people do to a program that has not ended: let it stand still and go on, send it a signal, give it another
//! wall time or another size of its terminal.
//!
//! That a program shall stand still, and its wall time, are recorded before they are acknowledged, and told again to a
//! slave that comes back without them. Signals and sizes are for a program that runs now, and for nothing later.

use super::{
    Core,
    action::Then,
    event::LinkId,
    lookups::not_found,
    permission,
    program::{Program, ProgramState},
};
use crate::store::{Changed, Record, query::Query};
use common::{
    AttemptKey, ClientId, Duration, ErrorCode, Outcome, ProgramId, SlaveId, UserError,
    escape::shorten,
    limits::{BATCH_MAX, DETAIL_BYTES_MAX, WALL_TIME_MAX},
    message::{Order, Reply, RequestId},
    program::{State, TerminalSize},
};
use std::collections::{BTreeMap, BTreeSet};

/// What the store knows of programs: their owners, and how they ended.
type Ends = BTreeMap<ProgramId, (String, Option<Outcome>)>;

impl Core {
    /// `Suspend` or `Resume`: at once where all of it is in memory, else when the store has answered.
    pub(super) fn suspend_all(&mut self, client: ClientId, id: RequestId, ids: Vec<ProgramId>, suspend: bool) {
        let result = match self.in_memory(&ids) {
            Err(error) => Err(error),
            Ok(true) => Ok(self.suspend(client, &ids, suspend, &Ends::new())),
            Ok(false) => return self.ask(client, id, Query::Outcomes(ids.clone()), Then::Suspend(ids, suspend)),
        };
        self.reply(client, id, result);
    }

    /// Lets stand still, or go on, what runs; `ended` is what the store knows of those that are not in memory.
    pub(super) fn suspend(&mut self, client: ClientId, ids: &[ProgramId], suspend: bool, ended: &Ends) -> Reply {
        let mut orders: BTreeMap<LinkId, Vec<AttemptKey>> = BTreeMap::new();
        let results = ids.iter().map(|id| self.suspend_one(client, *id, suspend, ended, &mut orders)).collect();
        for (link, keys) in orders {
            for keys in keys.chunks(BATCH_MAX) {
                let keys = keys.to_vec();
                self.order(link, if suspend { Order::Suspend(keys) } else { Order::Resume(keys) });
            }
        }
        Reply::Changed { results }
    }

    fn suspend_one(
        &mut self,
        client: ClientId,
        id: ProgramId,
        suspend: bool,
        ended: &Ends,
        orders: &mut BTreeMap<LinkId, Vec<AttemptKey>>,
    ) -> Result<State, UserError> {
        let Some(alive) = self.alive_for(client, id) else { return Err(self.too_late(client, id, ended)) };
        let sequence = alive?;
        let Some(program) = self.programs.get_mut(&sequence) else { return Err(not_found()) };
        let (state, key) = (program.shown_state(), program.key());
        let ProgramState::Running(run) = &program.state else {
            return Err(UserError::new(ErrorCode::NotRunning, format!("{id} waits and has not started")));
        };
        let slave = run.slave;
        if program.suspend() != suspend {
            program.rare_mut().suspend = suspend;
            self.record_changed(sequence);
        }
        // To a slave that is away it is told when it comes back.
        if let Some(link) = self.slaves.get(&slave).and_then(|slave| slave.link) {
            orders.entry(link).or_default().push(key);
        }
        Ok(state)
    }

    /// A slave says whether an attempt stands still.
    pub(super) fn stands_still(&mut self, slave: SlaveId, key: AttemptKey, suspended: bool) {
        let Some(sequence) = self.current(slave, key) else { return self.suspect(slave, key) };
        let Some(program) = self.programs.get_mut(&sequence) else { return };
        let was = program.shown_state();
        if let ProgramState::Running(run) = &mut program.state
            && run.suspended != suspended
        {
            run.suspended = suspended;
            self.moved(sequence, was);
        }
    }

    /// A slave did not do what an order said.
    pub(super) fn order_refused(&mut self, slave: SlaveId, key: AttemptKey, detail: &str) {
        let Some(sequence) = self.current(slave, key) else { return self.suspect(slave, key) };
        let Some(user) = self.programs.get(&sequence).map(|program| program.lot.user.clone()) else { return };
        let name = self.slaves.get(&slave).map_or_else(|| "?".into(), |slave| slave.name.clone());
        let detail = shorten(detail, DETAIL_BYTES_MAX);
        self.log(&user, format!("The slave `{name}` did not follow an order for {}: {detail}", key.program));
    }

    /// A slave came back with these: what people changed while it was away, or just before, is told again.
    pub(super) fn control_again(&mut self, id: SlaveId, link: LinkId, suspended: &[AttemptKey]) {
        let Some(slave) = self.slaves.get(&id) else { return };
        let suspended: BTreeSet<&AttemptKey> = suspended.iter().collect();
        let held: Vec<(AttemptKey, u64)> = slave.attempts.iter().map(|(key, sequence)| (*key, *sequence)).collect();
        for (key, sequence) in held {
            self.stands_still(id, key, suspended.contains(&key));
            let Some(program) = self.programs.get(&sequence) else { continue };
            let (suspend, wall_time) = (program.suspend(), program.wall_time());
            let runs = matches!(program.state, ProgramState::Running(_));
            if runs && suspend != suspended.contains(&key) {
                self.order(link, if suspend { Order::Suspend(vec![key]) } else { Order::Resume(vec![key]) });
            }
            if let Some(wall_time) = wall_time {
                self.order(link, Order::SetWallTime { key, wall_time });
            }
        }
    }

    /// How long a program may run, from now on and in whatever attempts follow.
    pub(super) fn set_wall_time(
        &mut self,
        sequence: u64,
        wall_time: Duration,
        by: &std::sync::Arc<str>,
    ) -> Result<Reply, UserError> {
        if wall_time == Duration(0) || wall_time > WALL_TIME_MAX {
            let sentence = format!("a wall time of {wall_time} is outside what is accepted, up to {WALL_TIME_MAX}");
            return Err(UserError::new(ErrorCode::RequestInvalid, sentence));
        }
        let Some(program) = self.programs.get(&sequence) else { return Err(not_found()) };
        let (key, slave, user) = (program.key(), program.slave(), program.lot.user.clone());
        let at = slave.and_then(|slave| self.slaves.get(&slave));
        if let Some(slave) = at
            && wall_time > slave.ceiling.limits.wall_time
        {
            let most = slave.ceiling.limits.wall_time;
            let sentence = format!("the slave `{}` lets programs run for at most {most}", slave.name);
            return Err(UserError::new(ErrorCode::BeyondCeiling, sentence));
        }
        let link = at.and_then(|slave| slave.link);
        let before = self.scheduler.need(&program.template());
        let text = format!("Set the wall time of {} to {wall_time}.", program.id);
        // In line it stands by what it needs, and that may be another slave now.
        let in_line = matches!(program.state, ProgramState::Waiting) && self.explain_pause(sequence).is_none();
        let Some(program) = self.programs.get_mut(&sequence) else { return Err(not_found()) };
        program.rare_mut().wall_time = Some(wall_time);
        let needs_other = self.scheduler.need(&program.template()) != before;
        if in_line && needs_other {
            self.scheduler.dequeue(sequence, &before, &user);
            self.enqueue(sequence);
        }
        self.record_changed(sequence);
        self.fail_impossible();
        self.log(by, text);
        if let Some(link) = link {
            self.order(link, Order::SetWallTime { key, wall_time });
        }
        self.watch_program(sequence);
        Ok(Reply::Ok)
    }

    /// Another size of a program's terminal.
    pub(super) fn resize(&mut self, sequence: u64, size: TerminalSize) -> Result<Reply, UserError> {
        let terminal = |program: &Program| program.lot.body.spec.live.is_some_and(|live| live.terminal.is_some());
        if size.columns == 0 || size.rows == 0 {
            let sentence = "a terminal has at least one column and one row";
            return Err(UserError::new(ErrorCode::RequestInvalid, sentence));
        }
        if !self.programs.get(&sequence).is_some_and(terminal) {
            return Err(UserError::new(ErrorCode::NotLive, "the program was not submitted with a terminal"));
        }
        self.order_one(sequence, |key| Order::Resize { key, size })
    }

    /// An order for a program that runs, to the slave that runs it.
    pub(super) fn order_one(
        &mut self,
        sequence: u64,
        order: impl FnOnce(AttemptKey) -> Order,
    ) -> Result<Reply, UserError> {
        let Some(program) = self.programs.get(&sequence) else { return Err(not_found()) };
        let (id, key) = (program.id, program.key());
        let not_running = |why: &str| UserError::new(ErrorCode::NotRunning, format!("{id} {why}"));
        let ProgramState::Running(run) = &program.state else {
            return Err(not_running("waits and has not started"));
        };
        let Some(link) = self.slaves.get(&run.slave).and_then(|slave| slave.link) else {
            return Err(not_running("is out of reach: the connection to its slave is lost"));
        };
        self.order(link, order(key));
        Ok(Reply::Ok)
    }

    /// The program of a request that only one gets that has not ended; none when the store was asked what became of
    /// it.
    pub(super) fn controllable(
        &mut self,
        client: ClientId,
        id: RequestId,
        program: ProgramId,
    ) -> Option<Result<u64, UserError>> {
        let alive = self.alive_for(client, program);
        if alive.is_none() {
            self.ask(client, id, Query::Outcomes(vec![program]), Then::Late(program));
        }
        alive
    }

    /// A program that has not ended, if the client may do with it what he likes; none when it is not in memory.
    fn alive_for(&self, client: ClientId, id: ProgramId) -> Option<Result<u64, UserError>> {
        let sequence = *self.by_id.get(&id)?;
        let program = self.programs.get(&sequence)?;
        let asker = self.clients.get(&client);
        let may = asker.is_some_and(|asker| permission::stops(asker.role, &asker.user, &program.lot.user));
        Some(if may { Ok(sequence) } else { Err(self.unknown(id)) })
    }

    /// Why nothing can be done to a program that is not in memory.
    pub(super) fn too_late(&self, client: ClientId, id: ProgramId, ended: &Ends) -> UserError {
        let just = self.just_ended.get(&id).map(|ended| ended.view.user.as_str());
        let owner = just.or_else(|| ended.get(&id).map(|(owner, _)| owner.as_str()));
        match owner {
            Some(owner) if self.may_see(client, owner) => {
                UserError::new(ErrorCode::ProgramEnded, format!("{id} has already ended"))
            }
            Some(_) | None => self.unknown(id),
        }
    }

    pub(super) fn record_changed(&mut self, sequence: u64) {
        let Some(program) = self.programs.get(&sequence) else { return };
        let changed = Changed { sequence, wall_time: program.wall_time(), suspend: program.suspend() };
        self.record(Record::Changed(changed));
    }
}
