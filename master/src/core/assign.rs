//! Which program goes to which slave, as orders; and what no slave of this fleet will ever run.

use super::{Core, event::LinkId, program::weight, slaves::Slave};
use common::{
    AttemptKey, ErrorCode, Outcome, SlaveId,
    escape::shorten,
    limits::BATCH_MAX,
    message::{Assignment, Order},
    program::ResourceLimits,
};
use scheduler::{Decision, Requirement};
use std::collections::BTreeMap;

/// Programs that no slave will ever run that are ended before the next commit, as each makes a record.
const IMPOSSIBLE_AT_ONCE: usize = 4_096;
/// Bytes of bodies in one order; an order with a larger body carries it alone.
const ORDER_BYTES_MAX: usize = 4 << 20;

impl Core {
    /// One round of the scheduler, as orders.
    pub(super) fn schedule(&mut self) {
        let mut assign: BTreeMap<LinkId, (Vec<Assignment>, usize)> = BTreeMap::new();
        let mut withdraw: BTreeMap<LinkId, Vec<AttemptKey>> = BTreeMap::new();
        for decision in self.scheduler.round() {
            match decision {
                Decision::Assign { program: sequence, slave } => {
                    self.touch(sequence);
                    self.sent(sequence, slave);
                    let link = self.slaves.get(&slave).and_then(|slave| slave.link);
                    let (Some(link), Some(program)) = (link, self.programs.get(&sequence)) else { continue };
                    let (batch, bytes) = assign.entry(link).or_default();
                    let spec = program.spec();
                    // An entry may stand in its arguments many times.
                    let weight = program.entry().map_or(program.lot.body.bytes, |_| weight(&spec));
                    if !batch.is_empty() && (batch.len() >= BATCH_MAX || *bytes + weight > ORDER_BYTES_MAX) {
                        let full = std::mem::take(batch);
                        *bytes = 0;
                        self.orders.entry(link).or_default().push(Order::Assign(full));
                    }
                    *bytes += weight;
                    let key = program.key();
                    batch.push(Assignment { key, spec, index: program.index, fence: key.fence(self.settings.epoch) });
                }
                Decision::Withdraw { program, slave } => {
                    let link = self.slaves.get(&slave).and_then(|slave| slave.link);
                    if let (Some(link), Some(program)) = (link, self.programs.get(&program)) {
                        withdraw.entry(link).or_default().push(program.key());
                    }
                }
            }
        }
        for (link, (batch, _)) in assign {
            self.order(link, Order::Assign(batch));
        }
        for (link, keys) in withdraw {
            for keys in keys.chunks(BATCH_MAX) {
                self.order(link, Order::Withdraw(keys.to_vec()));
            }
        }
    }

    /// Orders of one batch of events go out together, each slave's in their order.
    pub(super) fn order(&mut self, link: LinkId, order: Order) {
        let orders = self.orders.entry(link).or_default();
        match (orders.last_mut(), order) {
            (Some(Order::Acknowledge(known)), Order::Acknowledge(more)) if known.len() < BATCH_MAX => {
                known.extend(more)
            }
            (Some(Order::Stored(known)), Order::Stored(more)) if known.len() < BATCH_MAX => known.extend(more),
            (_, order) => orders.push(order),
        }
    }

    /// Programs that no slave will ever run fail at once, instead of waiting for ever. Of very many the rest has its
    /// turn with the next commit.
    pub(super) fn fail_impossible(&mut self) {
        self.impossible_left = false;
        let mut room = IMPOSSIBLE_AT_ONCE;
        let needs: Vec<Requirement> = self.scheduler.queue().needs().cloned().collect();
        for need in needs {
            // What is said of one holds for all of its line, but for the limit that is named.
            if self.impossible(&need, &ResourceLimits::MOST).is_none() {
                continue;
            }
            let waiting: Vec<u64> = self.scheduler.queue().programs(&need).take(room + 1).collect();
            if waiting.len() > room {
                self.impossible_left = true;
            }
            let waiting: Vec<u64> = waiting.into_iter().take(room).collect();
            room -= waiting.len();
            for sequence in waiting {
                let limits = self.look_at(sequence, |program| program.template().limits);
                if let Some(detail) = self.impossible(&need, &limits.unwrap_or_default()) {
                    self.end_without_report(sequence, Outcome::NotSupported { detail });
                }
            }
        }
    }

    /// Why no slave of this fleet will run a program with these needs; none when one may. What is known of a slave
    /// that is away counts, as it may come back.
    pub(super) fn impossible(&self, need: &Requirement, limits: &ResourceLimits) -> Option<String> {
        if !self.slaves.values().any(|slave| slave.link.is_some()) {
            return None;
        }
        let named = match &need.slave {
            Some(name) => Some(self.slaves.values().find(|slave| slave.name == *name && slave.link.is_some())?),
            None => None,
        };
        self.without_language(need, named)
            .or_else(|| self.without_network(need, named))
            .or_else(|| self.beyond_ceiling(need, named, limits))
    }

    fn without_language(&self, need: &Requirement, named: Option<&Slave>) -> Option<String> {
        let language = need.language.as_deref()?;
        if let Some(slave) = named {
            return (!offers(slave, need))
                .then(|| format!("The slave `{}` does not have `{language}`. {}", slave.name, self.who_offers_what()));
        }
        let nobody = !self.slaves.values().any(|slave| offers(slave, need));
        nobody.then(|| format!("No slave can run `{language}`. {}", self.who_offers_what()))
    }

    fn without_network(&self, need: &Requirement, named: Option<&Slave>) -> Option<String> {
        let allows = |slave: &Slave| slave.ceiling.network || !slave.ceiling_told;
        let code = ErrorCode::NetworkNone.code();
        match named {
            _ if !need.network => None,
            Some(slave) => {
                (!allows(slave)).then(|| format!("{code}: The slave `{}` lets no program use the network.", slave.name))
            }
            None => {
                let nobody = !self.slaves.values().any(|slave| allows(slave) && offers(slave, need));
                nobody.then(|| format!("{code}: No slave that could run it lets programs use the network."))
            }
        }
    }

    fn beyond_ceiling(&self, need: &Requirement, named: Option<&Slave>, limits: &ResourceLimits) -> Option<String> {
        let code = ErrorCode::BeyondCeiling.code();
        if need.beyond == Default::default() {
            return None;
        }
        let beyond = |id: &SlaveId| self.scheduler.slave(*id).is_some_and(|slave| need.is_beyond(slave));
        let say = |slave: &Slave| match limits.beyond(&slave.ceiling.limits) {
            Some(beyond) => format!("`{}` refuses {beyond}.", slave.name),
            None => format!("`{}` has a ceiling below it.", slave.name),
        };
        if let Some(slave) = named {
            let id = self.slaves.iter().find(|(_, other)| other.name == slave.name).map(|(id, _)| id)?;
            return beyond(id).then(|| format!("{code}: It asks for more than its slave allows: {}", say(slave)));
        }
        let able = |(id, slave): (&SlaveId, &Slave)| {
            offers(slave, need) && !beyond(id) && (!need.network || slave.ceiling.network || !slave.ceiling_told)
        };
        if self.slaves.iter().any(able) {
            return None;
        }
        let mut over =
            self.slaves.iter().filter(|(id, slave)| offers(slave, need) && beyond(id)).map(|(_, slave)| say(slave));
        let first: Vec<String> = over.by_ref().take(3).collect();
        let rest = over.count();
        let more = if rest > 0 { format!(" So do {rest} more.") } else { String::new() };
        let text = format!("{code}: It asks for more than every slave allows: {}{more}", first.join(" "));
        Some(shorten(&text, 1_024))
    }

    fn who_offers_what(&self) -> String {
        let mut offers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for slave in self.slaves.values() {
            for language in &slave.languages {
                offers.entry(&language.name).or_default().push(&slave.name);
            }
        }
        let offers = offers.into_iter().map(|(language, slaves)| match slaves.as_slice() {
            [first, second, third, rest @ ..] if !rest.is_empty() => {
                format!("{language} ({first}, {second}, {third} and {} more)", rest.len())
            }
            few => format!("{language} ({})", few.join(", ")),
        });
        let offers = offers.collect::<Vec<_>>();
        if offers.is_empty() {
            return "No slave offers any language.".to_owned();
        }
        shorten(&format!("Slaves offer {}.", offers.join(", ")), 1_024)
    }
}

/// Whether a slave has the language that is needed.
fn offers(slave: &Slave, need: &Requirement) -> bool {
    let is = |language: &str| slave.languages.iter().any(|offer| offer.name.eq_ignore_ascii_case(language));
    need.language.as_deref().is_none_or(is)
}
