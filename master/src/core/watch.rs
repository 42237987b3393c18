//! Changes for those who watch: gathered over a moment, each row once, too many rows told as such.

use super::{Core, action::Action, permission};
use common::{
    ClientId, SlaveId,
    limits::{DELTA_INTERVAL, DELTA_ROWS_MAX},
    message::{Change, Status, status::Event},
    units::BootTime,
    view::ProgramView,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Events in one delta; more are read from the list of events.
const EVENTS_MAX: usize = 100;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Choice {
    pub(super) programs: bool,
    pub(super) slaves: bool,
    pub(super) clients: bool,
}

/// Who watches, and what changed since the last delta.
#[derive(Debug, Default)]
pub(super) struct Watch {
    watchers: BTreeMap<ClientId, Choice>,
    any: Choice,
    /// Ended programs with their last row: they are in memory no longer.
    programs: BTreeMap<u64, Option<Box<ProgramView>>>,
    many: bool,
    slaves: BTreeSet<SlaveId>,
    slaves_gone: BTreeSet<SlaveId>,
    clients: BTreeSet<ClientId>,
    /// Those that left, and as whom they were logged in.
    clients_gone: BTreeMap<ClientId, Arc<str>>,
    events: Vec<Event>,
    summary: bool,
    next: BootTime,
}

impl Watch {
    pub(super) fn choose(&mut self, client: ClientId, choice: Choice) {
        self.watchers.insert(client, choice);
        self.sum_up();
        // The counts come at once, so that a window is never empty.
        self.summary |= choice.programs;
    }

    fn sum_up(&mut self) {
        self.any = self.watchers.values().fold(Choice::default(), |any, choice| Choice {
            programs: any.programs || choice.programs,
            slaves: any.slaves || choice.slaves,
            clients: any.clients || choice.clients,
        });
    }

    pub(super) const fn wants_programs(&self) -> bool {
        self.any.programs
    }

    fn programs_changed(&mut self, sequence: u64, ended: Option<Box<ProgramView>>) {
        self.summary = true;
        if self.programs.len() < DELTA_ROWS_MAX || self.programs.contains_key(&sequence) {
            self.programs.insert(sequence, ended);
        } else {
            self.many = true;
        }
    }

    pub(super) fn program(&mut self, sequence: u64) {
        if self.any.programs {
            self.programs_changed(sequence, None);
        }
    }

    /// Programs that came together.
    pub(super) fn programs(&mut self, sequences: std::ops::Range<u64>) {
        if self.any.programs && sequences.end - sequences.start > DELTA_ROWS_MAX as u64 {
            self.summary = true;
            self.many = true;
        } else {
            sequences.for_each(|sequence| self.program(sequence));
        }
    }

    pub(super) fn program_ended(&mut self, view: &ProgramView) {
        if self.any.programs {
            self.programs_changed(view.sequence, Some(Box::new(view.clone())));
        }
    }

    pub(super) fn slave(&mut self, id: SlaveId) {
        self.summary |= self.any.programs;
        if self.any.slaves {
            self.slaves_gone.remove(&id);
            self.slaves.insert(id);
        }
    }

    pub(super) fn slave_gone(&mut self, id: SlaveId) {
        self.summary |= self.any.programs;
        if self.any.slaves {
            self.slaves.remove(&id);
            self.slaves_gone.insert(id);
        }
    }

    pub(super) fn client(&mut self, id: ClientId) {
        self.summary |= self.any.programs;
        if self.any.clients {
            self.clients.insert(id);
        }
    }

    pub(super) fn client_left(&mut self, id: ClientId, user: Arc<str>) {
        self.watchers.remove(&id);
        self.sum_up();
        self.summary |= self.any.programs;
        if self.any.clients {
            self.clients.remove(&id);
            self.clients_gone.insert(id, user);
        }
    }

    pub(super) fn event(&mut self, event: &Event) {
        if !self.watchers.is_empty() && self.events.len() < EVENTS_MAX {
            self.events.push(event.clone());
        }
    }

    fn is_clean(&self) -> bool {
        self.programs.is_empty()
            && !self.many
            && !self.summary
            && self.slaves.is_empty()
            && self.slaves_gone.is_empty()
            && self.clients.is_empty()
            && self.clients_gone.is_empty()
            && self.events.is_empty()
    }

    pub(super) fn deadline(&self) -> Option<BootTime> {
        (!self.is_clean() && !self.watchers.is_empty()).then_some(self.next)
    }
}

impl Core {
    /// Sends what changed, when the last delta is long enough ago.
    pub(super) fn flush_watch(&mut self) {
        if self.watch.deadline().is_none_or(|at| at > self.now.boot) {
            return;
        }
        let watchers = std::mem::take(&mut self.watch.watchers);
        let changed = std::mem::take(&mut self.watch);
        let programs: Vec<ProgramView> = changed
            .programs
            .into_iter()
            .filter_map(|(sequence, ended)| ended.map(|view| *view).or_else(|| self.program_view(sequence)))
            .collect();
        let slaves: Vec<Change> = changed
            .slaves
            .iter()
            .filter_map(|id| self.slave_view(*id))
            .map(|view| Change::Slave(Box::new(view)))
            .chain(changed.slaves_gone.iter().map(|id| Change::SlaveGone(*id)))
            .collect();
        let clients: Vec<_> = changed.clients.iter().filter_map(|id| self.client_view(*id)).collect();
        let summary = self.summary();
        // Those who watch the same and may see the same are told the same, which is made and encoded once.
        let mut alike: BTreeMap<(Choice, Option<Arc<str>>), Vec<ClientId>> = BTreeMap::new();
        for (id, choice) in &watchers {
            let Some(client) = self.clients.get(id) else { continue };
            let only_of = (!permission::sees(client.role, "", "-")).then(|| client.user.clone());
            alike.entry((*choice, only_of)).or_default().push(*id);
        }
        for ((choice, _), group) in alike {
            let Some(client) = group.first().and_then(|id| self.clients.get(id)) else { continue };
            let mut changes = Vec::new();
            if choice.programs {
                if changed.many {
                    changes.push(Change::ManyPrograms);
                } else {
                    let seen = programs.iter().filter(|view| permission::sees(client.role, &client.user, &view.user));
                    changes.extend(seen.map(|view| Change::Program(Box::new(view.clone()))));
                }
                if changed.summary {
                    changes.push(Change::Summary(summary));
                }
            }
            if choice.slaves {
                changes.extend(slaves.iter().cloned());
            }
            if choice.clients {
                let sees = |user: &str| permission::sees(client.role, &client.user, user);
                changes.extend(clients.iter().filter(|view| sees(&view.user)).cloned().map(Change::Client));
                let gone = changed.clients_gone.iter().filter(|(_, user)| sees(user));
                changes.extend(gone.map(|(gone, _)| Change::ClientGone(*gone)));
            }
            let events =
                changed.events.iter().filter(|event| permission::sees(client.role, &client.user, &event.subject));
            changes.extend(events.cloned().map(Change::Event));
            if changes.is_empty() {
                continue;
            }
            let told = Status::Changes(changes);
            let action = match group.as_slice() {
                [only] => Action::ToClient(*only, told),
                _ => Action::ToClients(group, told),
            };
            self.actions.push(action);
        }
        self.watch.watchers = watchers;
        self.watch.any = changed.any;
        self.watch.next = self.now.boot.plus(DELTA_INTERVAL);
    }
}
