//! What people are shown of the state.

use super::{Core, program::Program, slaves::Slave};
use common::{
    ClientId, SlaveId,
    program::State,
    view::{ClientView, Policy, ProgramView, SlaveState, SlaveView, Summary},
};

impl Core {
    /// The row of a program that has not ended.
    pub(super) fn program_view(&self, sequence: u64) -> Option<ProgramView> {
        self.look_at(sequence, |program| self.view_of(sequence, program))
    }

    fn view_of(&self, sequence: u64, program: &Program) -> ProgramView {
        let slave = program.slave().and_then(|slave| self.slaves.get(&slave));
        // What its slave does not have, or a slave that is away may run, is not known.
        let unknown = self.strays.since(program.key()).or_else(|| {
            let slave = slave.filter(|slave| slave.link.is_none())?;
            Some(slave.cut_at.unwrap_or(slave.since))
        });
        program.view(sequence, slave.map(|slave| &*slave.name), unknown)
    }

    pub(super) fn slave_view(&self, id: SlaveId) -> Option<SlaveView> {
        let slave = self.slaves.get(&id)?;
        let slots = self.scheduler.slave(id);
        let ahead = slots.map_or(0, scheduler::SlaveSlots::unstarted);
        let aside = self.aside_reason(id);
        Some(SlaveView {
            id,
            name: slave.name.to_string(),
            address: slave.address.clone(),
            state: state(slave, aside.is_some()),
            since: slave.since,
            connected_since: slave.connected_since,
            running: slots.map_or(0, |slots| slots.assigned().saturating_sub(ahead)),
            ahead,
            slots: slots.map_or(0, |slots| slots.slots),
            languages: slave.languages.clone(),
            isolation: slave.isolation.clone(),
            machine: slave.machine.clone(),
            release: slave.release.clone(),
            aside,
            ceiling: slave.ceiling,
        })
    }

    pub(super) fn slave_views(&self) -> Vec<SlaveView> {
        let mut views: Vec<SlaveView> = self.slaves.keys().filter_map(|id| self.slave_view(*id)).collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    pub(super) fn client_view(&self, id: ClientId) -> Option<ClientView> {
        let client = self.clients.get(&id)?;
        Some(ClientView {
            id,
            user: client.user.to_string(),
            role: client.role,
            address: client.address.clone(),
            kind: client.kind,
            connected_since: client.since,
            running: client.running,
            waiting: client.waiting,
        })
    }

    pub(super) fn summary(&self) -> Summary {
        let total = |state| self.totals.get(&state).copied().unwrap_or(0);
        let connected = || self.slaves.iter().filter(|(_, slave)| slave.link.is_some());
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Summary {
            programs: self.totals.values().sum(),
            waiting: total(State::Waiting),
            running: total(State::Running) + total(State::Suspended),
            done: total(State::Done),
            failed: total(State::Failed),
            failed_today: self.failed_today(),
            cancelled: total(State::Cancelled),
            lost: total(State::Lost),
            slots: connected().filter_map(|(id, _)| self.scheduler.slave(*id)).map(|slave| slave.slots).sum(),
            slaves: count(connected().count()),
            clients: count(self.clients.len()),
            policy: Policy::Fifo,
        }
    }

    /// The state in a few lines, for the log.
    pub(crate) fn dump(&self) -> String {
        let summary = self.summary();
        let slaves: Vec<String> = self
            .slave_views()
            .iter()
            .map(|slave| {
                format!("{} {} {}+{}/{}", slave.name, slave.state.word(), slave.running, slave.ahead, slave.slots)
            })
            .collect();
        format!(
            "{summary:?}; queue {}; pausing {}; slaves [{}]",
            self.scheduler.queue().len(),
            self.pauses.len(),
            slaves.join(", ")
        )
    }
}

const fn state(slave: &Slave, aside: bool) -> SlaveState {
    match (slave.link, slave.draining || aside) {
        (None, _) => SlaveState::Unreachable,
        (Some(_), true) => SlaveState::Draining,
        (Some(_), false) => SlaveState::Connected,
    }
}
