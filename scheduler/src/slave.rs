//! What the scheduler knows of one slave.

use crate::{ability::Requirement, ceilings::Place};
use common::view::Ceiling;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Programs sent ahead of the slots, at least: a slot that becomes free finds the next program there.
const AHEAD_MIN: u32 = 2;
/// Programs sent ahead of the slots, at most: what ten thousand a second are in three batches of 20 ms and a half.
const AHEAD_MAX: u32 = 768;

/// Whether a slave takes programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Connected and taking programs.
    Connected,
    /// Connected, taking nothing new.
    Draining,
    /// Not connected; what it held may still run.
    Unreachable,
}

/// Whether a slave is set aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Aside {
    /// It takes programs.
    #[default]
    No,
    /// It is given nothing new, for this reason.
    Yes(Arc<str>),
    /// It is given one program at a time, until one has shown that it works again.
    Trial,
}

/// Where a program is on its slave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Sent, not reported as started; the number orders what was sent.
    Sent(u64),
    /// Asked back.
    Withdrawing,
    /// Reported as started.
    Started,
}

/// A program that a slave holds.
#[derive(Clone, Debug)]
struct Held {
    need: Requirement,
    user: Arc<str>,
    step: Step,
}

/// One slave's slots and what fills them.
#[derive(Clone, Debug)]
pub struct SlaveSlots {
    /// Its name.
    pub name: Arc<str>,
    /// The languages that it has.
    pub languages: BTreeSet<String>,
    /// What it never exceeds.
    pub ceiling: Ceiling,
    /// Where that ceiling stands among all.
    pub(crate) place: Place,
    /// Programs that may run there at once.
    pub slots: u32,
    /// Whether it takes programs.
    pub presence: Presence,
    /// Whether it is set aside.
    pub aside: Aside,
    held: BTreeMap<u64, Held>,
    sent: BTreeSet<(u64, u64)>,
    withdrawing: u32,
    /// Programs that ended since the last batch of decisions.
    ended: u32,
    /// Programs sent ahead, as many as it takes.
    ahead: u32,
    /// When it was given a program last, in the scheduler's count: ties go to who waited longest.
    pub(crate) turn: u64,
}

impl SlaveSlots {
    /// A connected slave that holds nothing.
    #[must_use]
    pub fn new(name: Arc<str>, languages: impl IntoIterator<Item = String>, slots: u32) -> Self {
        Self {
            name,
            languages: languages.into_iter().collect(),
            ceiling: Ceiling::default(),
            place: Place::default(),
            slots,
            presence: Presence::Connected,
            aside: Aside::No,
            held: BTreeMap::new(),
            sent: BTreeSet::new(),
            withdrawing: 0,
            ended: 0,
            ahead: AHEAD_MIN,
            turn: 0,
        }
    }

    /// The same slave, which never exceeds this.
    #[must_use]
    pub const fn within(mut self, ceiling: Ceiling) -> Self {
        self.ceiling = ceiling;
        self
    }

    /// Whether it has the language, in any case: a slave has a dozen, and most are named exactly.
    #[must_use]
    pub(crate) fn has_language(&self, name: &str) -> bool {
        self.languages.contains(name) || self.languages.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Programs that it holds, started or not.
    #[must_use]
    pub fn assigned(&self) -> u32 {
        u32::try_from(self.held.len()).unwrap_or(u32::MAX)
    }

    /// Programs that it has and has not started, as far as it told.
    #[must_use]
    pub fn unstarted(&self) -> u32 {
        u32::try_from(self.sent.len()).unwrap_or(u32::MAX).saturating_add(self.withdrawing)
    }

    /// Slots that nothing fills; of a slave on trial, at most one.
    #[must_use]
    pub fn free(&self) -> u32 {
        let slots = if self.aside == Aside::Trial { self.slots.min(1) } else { self.slots };
        slots.saturating_sub(self.assigned())
    }

    /// Whether it is given anything new.
    #[must_use]
    pub(crate) const fn takes_programs(&self) -> bool {
        matches!(self.presence, Presence::Connected) && !matches!(self.aside, Aside::Yes(_))
    }

    /// Whether a program may be sent there ahead of its slots.
    #[must_use]
    pub(crate) fn has_room_ahead(&self) -> bool {
        let ahead = self.ahead_max();
        ahead > 0 && self.assigned() < self.slots.saturating_add(ahead)
    }

    fn ahead_max(&self) -> u32 {
        if self.slots == 0 || self.aside != Aside::No { 0 } else { self.ahead.max(self.slots).min(AHEAD_MAX) }
    }

    /// Sends further ahead what ends quickly: three times what ended between two batches of decisions. Ends are known
    /// with one commit, what is decided then arrives after the next, and until a slave's ends reach the one after that
    /// it must not stand still. Long programs bring it back to the least.
    pub(crate) fn adapt(&mut self) {
        let ended = std::mem::take(&mut self.ended);
        let calmer = self.ahead.saturating_sub(self.ahead.div_ceil(8));
        self.ahead = ended.saturating_mul(3).max(calmer).clamp(AHEAD_MIN, AHEAD_MAX);
    }

    pub(crate) fn note_end(&mut self) {
        self.ended = self.ended.saturating_add(1);
    }

    /// How full it is, comparable between slaves of different sizes.
    #[must_use]
    pub(crate) fn load(&self) -> u64 {
        (u64::from(self.assigned()) << 32) / u64::from(self.slots.max(1))
    }

    /// Programs sent ahead that another slave with a free slot may take over.
    #[must_use]
    pub(crate) fn surplus(&self) -> u32 {
        if self.presence == Presence::Unreachable {
            return 0;
        }
        let sent = u32::try_from(self.sent.len()).unwrap_or(u32::MAX);
        sent.min((self.assigned() - self.withdrawing).saturating_sub(self.slots))
    }

    /// Programs sent ahead that must come back whoever is free: the slave leaves, or has fewer slots now.
    #[must_use]
    pub(crate) fn excess(&self) -> u32 {
        let sent = u32::try_from(self.sent.len()).unwrap_or(u32::MAX);
        match (self.presence, &self.aside) {
            (Presence::Unreachable, _) => 0,
            (Presence::Draining, _) | (Presence::Connected, Aside::Yes(_)) => sent,
            (Presence::Connected, Aside::No | Aside::Trial) => sent
                .min((self.assigned() - self.withdrawing).saturating_sub(self.slots.saturating_add(self.ahead_max()))),
        }
    }

    /// Programs asked back and not answered.
    #[must_use]
    pub(crate) fn withdrawing(&self) -> u32 {
        self.withdrawing
    }

    /// What was sent and not started, oldest first.
    pub(crate) fn sent(&self) -> impl DoubleEndedIterator<Item = (u64, &Requirement, &Arc<str>)> {
        let held = |(_, program): &(u64, u64)| self.held.get(program).map(|held| (*program, &held.need, &held.user));
        self.sent.iter().filter_map(held)
    }

    /// Programs that were sent and neither started nor asked back.
    pub(crate) fn sent_count(&self) -> usize {
        self.sent.len()
    }

    /// Whose the programs are that it holds.
    pub(crate) fn users(&self) -> impl Iterator<Item = &Arc<str>> {
        self.held.values().map(|held| &held.user)
    }

    pub(crate) fn send(&mut self, program: u64, need: Requirement, user: Arc<str>, turn: u64) {
        self.turn = turn;
        self.sent.insert((turn, program));
        self.held.insert(program, Held { need, user, step: Step::Sent(turn) });
    }

    /// What a program that it holds needs is said in other words.
    pub(crate) fn set_need(&mut self, program: u64, need: Requirement) {
        if let Some(held) = self.held.get_mut(&program) {
            held.need = need;
        }
    }

    pub(crate) fn withdraw(&mut self, program: u64) {
        if let Some(held) = self.held.get_mut(&program)
            && let Step::Sent(turn) = held.step
        {
            self.sent.remove(&(turn, program));
            held.step = Step::Withdrawing;
            self.withdrawing += 1;
        }
    }

    pub(crate) fn started(&mut self, program: u64) {
        if let Some(held) = self.held.get_mut(&program) {
            match held.step {
                Step::Sent(turn) => {
                    self.sent.remove(&(turn, program));
                }
                Step::Withdrawing => self.withdrawing -= 1,
                Step::Started => {}
            }
            held.step = Step::Started;
        }
    }

    /// It holds the program no longer; whose it was, when it did.
    pub(crate) fn release(&mut self, program: u64) -> Option<Arc<str>> {
        let held = self.held.remove(&program)?;
        match held.step {
            Step::Sent(turn) => {
                self.sent.remove(&(turn, program));
            }
            Step::Withdrawing => self.withdrawing -= 1,
            Step::Started => {}
        }
        Some(held.user)
    }
}
