//! Which program goes to which slave, as orders; and what no slave of this fleet will ever run.

use super::{Core, event::LinkId, slaves::Slave};
use common::{
    AttemptKey, Outcome,
    escape::shorten,
    limits::BATCH_MAX,
    message::{Assignment, Order},
};
use scheduler::{Decision, Requirement};
use std::collections::BTreeMap;

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
                    self.sent(sequence, slave);
                    let link = self.slaves.get(&slave).and_then(|slave| slave.link);
                    let (Some(link), Some(program)) = (link, self.programs.get(&sequence)) else { continue };
                    let (batch, bytes) = assign.entry(link).or_default();
                    let spec = program.body.spec.clone();
                    if !batch.is_empty() && (batch.len() >= BATCH_MAX || *bytes + program.body.bytes > ORDER_BYTES_MAX)
                    {
                        let full = std::mem::take(batch);
                        *bytes = 0;
                        self.orders.entry(link).or_default().push(Order::Assign(full));
                    }
                    *bytes += program.body.bytes;
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

    /// Programs in languages that nobody has fail at once, instead of waiting for ever.
    pub(super) fn fail_impossible(&mut self) {
        let needs: Vec<Requirement> = self.scheduler.queue().needs().cloned().collect();
        for need in needs {
            let Some(detail) = self.impossible(&need) else { continue };
            let waiting: Vec<u64> = self.scheduler.queue().programs(&need).collect();
            for sequence in waiting {
                self.end_without_report(sequence, Outcome::NotSupported { detail: detail.clone() });
            }
        }
    }

    /// Why no slave of this fleet will run a program with these needs; none when one may.
    pub(super) fn impossible(&self, need: &Requirement) -> Option<String> {
        let language = need.language.as_deref()?;
        let has = |slave: &Slave| slave.languages.iter().any(|offer| offer.name.eq_ignore_ascii_case(language));
        if !self.slaves.values().any(|slave| slave.link.is_some()) {
            return None;
        }
        if let Some(name) = &need.slave {
            let slave = self.slaves.values().find(|slave| slave.name == *name && slave.link.is_some())?;
            return (!has(slave))
                .then(|| format!("The slave `{name}` does not have `{language}`. {}", self.who_offers_what()));
        }
        let nobody = !self.slaves.values().any(has);
        nobody.then(|| format!("No slave can run `{language}`. {}", self.who_offers_what()))
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
