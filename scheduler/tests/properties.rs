//! What the scheduler promises, on random fleets and random orders of events.

use common::SlaveId;
use proptest::prelude::*;
use scheduler::{Decision, Presence, Requirement, Scheduler, SlaveSlots};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

const LANGUAGES: [&str; 3] = ["python", "c", "lua"];

fn id(number: usize) -> SlaveId {
    SlaveId(Uuid::from_u128(number as u128 + 1))
}

fn slave(number: usize, slots: u32, languages: u8) -> SlaveSlots {
    let offered = LANGUAGES.iter().enumerate().filter(|(bit, _)| languages & (1 << bit) != 0);
    SlaveSlots::new(format!("s{number}").into(), offered.map(|(_, name)| (*name).to_owned()), slots)
}

fn need(kind: u8) -> Requirement {
    Requirement { language: LANGUAGES.get(usize::from(kind % 4)).map(|name| (*name).into()), slave: None }
}

/// A model of the fleet: what each slave was sent, in order, and how many of them run.
#[derive(Default)]
struct Fleet {
    scheduler: Scheduler,
    sent: BTreeMap<SlaveId, Vec<(u64, Requirement)>>,
    running: BTreeMap<SlaveId, BTreeSet<u64>>,
    slots: BTreeMap<SlaveId, u32>,
    kinds: BTreeMap<u64, Requirement>,
    started: Vec<u64>,
    ended: u64,
}

impl Fleet {
    fn add(&mut self, number: usize, slots: u32, languages: u8) {
        self.scheduler.connect(id(number), slave(number, slots, languages));
        self.slots.insert(id(number), slots);
    }

    fn submit(&mut self, program: u64, need: Requirement) {
        self.scheduler.enqueue(program, &need);
        self.kinds.insert(program, need);
    }

    /// One round; slaves start what they have slots for and answer withdrawals.
    fn settle(&mut self) {
        for _ in 0..100 {
            let decisions = self.scheduler.round();
            self.scheduler.check_invariants();
            for decision in &decisions {
                match *decision {
                    Decision::Assign { program, slave } => {
                        let need = self.kinds[&program].clone();
                        self.sent.entry(slave).or_default().push((program, need));
                    }
                    Decision::Withdraw { program, slave } => {
                        let sent = self.sent.entry(slave).or_default();
                        if let Some(place) = sent.iter().position(|(other, _)| *other == program) {
                            let (_, need) = sent.remove(place);
                            self.scheduler.release(program, slave);
                            self.scheduler.enqueue(program, &need);
                        }
                    }
                }
            }
            if decisions.is_empty() {
                break;
            }
        }
        for (slave, sent) in &mut self.sent {
            let running = self.running.entry(*slave).or_default();
            while running.len() < self.slots[slave] as usize && !sent.is_empty() {
                let (program, _) = sent.remove(0);
                running.insert(program);
                self.started.push(program);
                self.scheduler.started(program, *slave);
            }
        }
    }

    fn end_one(&mut self, choice: usize) {
        let busy: Vec<(SlaveId, u64)> = self
            .running
            .iter()
            .flat_map(|(slave, programs)| programs.iter().map(|program| (*slave, *program)))
            .collect();
        if let Some((slave, program)) = busy.get(choice % busy.len().max(1)) {
            self.running.entry(*slave).or_default().remove(program);
            self.scheduler.ended(*program, *slave);
            self.ended += 1;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn e4_never_more_run_than_slots_and_everything_ends(
        fleet in prop::collection::vec((0_u32..5, 1_u8..8), 1..6),
        programs in prop::collection::vec(0_u8..4, 0..80),
        choices in prop::collection::vec(any::<usize>(), 600),
    ) {
        let mut model = Fleet::default();
        for (number, (slots, languages)) in fleet.iter().enumerate() {
            model.add(number, *slots, *languages);
        }
        for (program, kind) in programs.iter().enumerate() {
            model.submit(program as u64, need(*kind));
            if program % 7 == 0 {
                model.settle();
            }
        }
        for choice in choices {
            model.settle();
            for (slave, running) in &model.running {
                prop_assert!(running.len() <= model.slots[slave] as usize);
            }
            model.end_one(choice);
        }
        // What is left is what no slave with slots can run.
        let possible = |kind: &Requirement| fleet.iter().any(|(slots, languages)| {
            *slots > 0 && kind.language.as_ref().is_none_or(|wanted| {
                LANGUAGES.iter().enumerate().any(|(bit, name)| languages & (1 << bit) != 0 && **name == **wanted)
            })
        });
        let expected = model.kinds.values().filter(|kind| possible(kind)).count() as u64;
        prop_assert_eq!(model.ended, expected);
        prop_assert_eq!(model.scheduler.queue().len() as u64, programs.len() as u64 - expected);
    }

    #[test]
    fn e3_equal_slaves_share_evenly(slaves in 1_usize..8, slots in 1_u32..4, programs in 1_u64..40) {
        let mut model = Fleet::default();
        for number in 0..slaves {
            model.add(number, slots, 7);
        }
        for program in 0..programs.min(slaves as u64 * u64::from(slots)) {
            model.submit(program, need(3));
        }
        model.settle();
        let counts: Vec<usize> = (0..slaves).map(|number| model.running.get(&id(number)).map_or(0, BTreeSet::len)).collect();
        prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{:?}", counts);
    }

    #[test]
    fn s5_one_slave_starts_equal_programs_in_their_order(slots in 1_u32..4, choices in prop::collection::vec(any::<usize>(), 60)) {
        let mut model = Fleet::default();
        model.add(0, slots, 7);
        for program in 0..40 {
            model.submit(program, need(0));
        }
        for choice in choices {
            model.settle();
            model.end_one(choice);
        }
        prop_assert!(model.started.is_sorted(), "{:?}", model.started);
    }
}

#[test]
fn e3_the_least_full_slave_relative_to_its_slots_is_chosen() {
    let mut model = Fleet::default();
    model.add(0, 2, 7);
    model.add(1, 8, 7);
    for program in 0..10 {
        model.submit(program, need(0));
    }
    model.settle();
    assert_eq!(model.running[&id(0)].len(), 2);
    assert_eq!(model.running[&id(1)].len(), 8);
}

#[test]
fn e3_programs_sent_ahead_are_taken_back_when_another_slave_is_free() {
    let mut model = Fleet::default();
    model.add(0, 1, 7);
    for program in 0..6 {
        model.submit(program, need(0));
    }
    model.settle();
    assert_eq!(model.sent[&id(0)].len(), 2, "ahead of its slots");
    model.add(1, 3, 7);
    model.settle();
    assert_eq!(model.running[&id(1)], BTreeSet::from([3, 4, 5]), "the oldest that waited");
}

#[test]
fn e4_lowering_the_slots_to_zero_takes_everything_back() {
    let mut model = Fleet::default();
    model.add(0, 1, 7);
    for program in 0..3 {
        model.submit(program, need(0));
    }
    model.settle();
    model.slots.insert(id(0), 0);
    model.scheduler.set_slots(id(0), 0);
    model.settle();
    assert_eq!(model.scheduler.queue().len(), 2);
    assert_eq!(model.sent[&id(0)].len(), 0);
    model.scheduler.set_presence(id(0), Presence::Unreachable);
    model.scheduler.check_invariants();
    assert!(model.scheduler.round().is_empty());
}

#[test]
fn e9_the_explanation_names_each_slaves_reason() {
    let mut model = Fleet::default();
    model.add(0, 1, 1);
    model.add(1, 1, 2);
    for program in 0..20 {
        model.submit(program, need(1));
    }
    model.settle();
    let explanation = model.scheduler.explain(19, &need(1));
    assert_eq!(explanation.slaves[0].reason, "does not have the language `c`");
    assert!(!explanation.slaves[0].able && explanation.slaves[1].able);
    assert!(explanation.ahead.unwrap() > 0);
}

#[test]
fn e4_a_round_is_cheap_with_a_million_waiting() {
    let mut scheduler = Scheduler::new();
    let kind = need(0);
    for program in 0..1_000_000 {
        scheduler.enqueue(program, &kind);
    }
    scheduler.connect(id(0), slave(0, 2, 7));
    let mut sent: std::collections::VecDeque<u64> = scheduler
        .round()
        .into_iter()
        .map(|decision| match decision {
            Decision::Assign { program, .. } | Decision::Withdraw { program, .. } => program,
        })
        .collect();
    // A hundred thousand rounds: a scan of what waits would take hours.
    for _ in 0..100_000 {
        let program = sent.pop_front().unwrap();
        scheduler.ended(program, id(0));
        for decision in scheduler.round() {
            if let Decision::Assign { program, .. } = decision {
                sent.push_back(program);
            }
        }
    }
    assert_eq!(scheduler.queue().len() + sent.len(), 900_000);
}

#[test]
fn e4_what_ends_quickly_is_sent_further_ahead_until_the_next_batch() {
    let mut scheduler = Scheduler::new();
    for program in 0..10_000 {
        scheduler.enqueue(program, &need(0));
    }
    scheduler.connect(id(0), slave(0, 2, 7));
    let mut sent = std::collections::VecDeque::new();
    let round = |scheduler: &mut Scheduler, sent: &mut std::collections::VecDeque<u64>| {
        for decision in scheduler.round() {
            if let Decision::Assign { program, .. } = decision {
                sent.push_back(program);
            }
        }
    };
    round(&mut scheduler, &mut sent);
    assert_eq!(sent.len(), 4);
    // Each batch ends what was sent before it, at most 14 programs, one report at a time.
    for _ in 0..6 {
        for _ in 0..sent.len().min(14) {
            scheduler.ended(sent.pop_front().unwrap(), id(0));
            round(&mut scheduler, &mut sent);
        }
        scheduler.adapt();
        round(&mut scheduler, &mut sent);
        scheduler.check_invariants();
    }
    assert_eq!(sent.len(), 2 + 28, "two slots, and two batches of fourteen ahead");
}
