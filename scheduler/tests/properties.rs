//! What the scheduler promises, on random fleets and random orders of events.

use common::{Duration, ProgramSpec, SlaveId, Work, program::ResourceLimits, view::Ceiling};
use proptest::prelude::*;
use scheduler::{Aside, Decision, Presence, Requirement, Scheduler, SlaveSlots};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
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
    Requirement { language: LANGUAGES.get(usize::from(kind % 4)).map(|name| (*name).into()), ..Requirement::default() }
}

/// A model of the fleet: what each slave was sent, in order, and how many of them run.
#[derive(Default)]
struct Fleet {
    scheduler: Scheduler,
    sent: BTreeMap<SlaveId, Vec<(u64, Requirement)>>,
    running: BTreeMap<SlaveId, BTreeSet<u64>>,
    slots: BTreeMap<SlaveId, u32>,
    kinds: BTreeMap<u64, (Requirement, Arc<str>)>,
    started: Vec<u64>,
    ended: u64,
}

impl Fleet {
    fn add(&mut self, number: usize, slots: u32, languages: u8) {
        drop(self.scheduler.connect(id(number), slave(number, slots, languages)));
        self.slots.insert(id(number), slots);
    }

    fn submit(&mut self, program: u64, need: Requirement) {
        self.submit_as(program, need, "ann");
    }

    fn submit_as(&mut self, program: u64, need: Requirement, user: &str) {
        let user: Arc<str> = user.into();
        self.scheduler.enqueue(program, &need, &user);
        self.kinds.insert(program, (need, user));
    }

    /// One round; slaves start what they have slots for and answer withdrawals.
    fn settle(&mut self) {
        for _ in 0..100 {
            let decisions = self.scheduler.round();
            self.scheduler.check_invariants();
            for decision in &decisions {
                match *decision {
                    Decision::Assign { program, slave } => {
                        let (need, _) = self.kinds[&program].clone();
                        self.sent.entry(slave).or_default().push((program, need));
                    }
                    Decision::Withdraw { program, slave } => {
                        let sent = self.sent.entry(slave).or_default();
                        if let Some(place) = sent.iter().position(|(other, _)| *other == program) {
                            let (_, need) = sent.remove(place);
                            self.scheduler.release(program, slave);
                            self.scheduler.enqueue(program, &need, &self.kinds[&program].1);
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
        let expected = model.kinds.values().filter(|(kind, _)| possible(kind)).count() as u64;
        prop_assert_eq!(model.ended, expected);
        prop_assert_eq!(model.scheduler.queue().len(), programs.len() as u64 - expected);
    }

    /// Each user's programs start in their order, and no user waits while others get more than he.
    #[test]
    fn l09_no_user_starves_and_each_keeps_his_order(
        slots in 1_u32..5,
        programs in prop::collection::vec(0_usize..4, 1..120),
        settles in prop::collection::vec(any::<bool>(), 120),
        choices in prop::collection::vec(any::<usize>(), 400),
    ) {
        let names = ["ann", "bob", "eve", "joe"];
        let mut model = Fleet::default();
        model.add(0, slots, 7);
        for (program, user) in programs.iter().enumerate() {
            model.submit_as(program as u64, need(0), names[*user]);
            if settles[program] {
                model.settle();
            }
        }
        model.settle();
        let mut seen = model.started.len();
        for choice in choices {
            // Whoever is served now had no more than anybody who still waits, but for what was sent ahead.
            let running = |model: &Fleet, name: &str| {
                let programs = model.running.values().flatten().chain(model.sent.values().flatten().map(|(program, _)| program));
                programs.filter(|program| *model.kinds[program].1 == *name).count()
            };
            model.end_one(choice);
            model.settle();
            for &program in &model.started[seen..] {
                let served = model.kinds[&program].1.clone();
                for name in names.iter().filter(|name| ***name != *served) {
                    let waits = model.scheduler.queue().programs(&need(0)).any(|program| *model.kinds[&program].1 == **name);
                    prop_assert!(
                        !waits || running(&model, name) > 0 || running(&model, &served) <= 1,
                        "{name} has nothing while {served} is served"
                    );
                }
            }
            seen = model.started.len();
        }
        prop_assert_eq!(model.started.len(), programs.len(), "all started");
        for name in names {
            let own: Vec<u64> = model.started.iter().copied().filter(|program| *model.kinds[program].1 == *name).collect();
            prop_assert!(own.is_sorted(), "{:?}", own);
        }
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
    let explanation = model.scheduler.explain(19, &need(1), &ResourceLimits::default(), "ann");
    assert_eq!(explanation.slaves[0].reason, "does not have the language `c`");
    assert!(!explanation.slaves[0].able && explanation.slaves[1].able);
    assert!(explanation.ahead.unwrap() > 0);
}

#[test]
fn e4_a_round_is_cheap_with_a_million_waiting() {
    let mut scheduler = Scheduler::new();
    let kind = need(0);
    let users: Vec<Arc<str>> = (0..7).map(|number| format!("u{number}").into()).collect();
    for program in 0..1_000_000 {
        scheduler.enqueue(program, &kind, &users[program as usize % users.len()]);
    }
    drop(scheduler.connect(id(0), slave(0, 2, 7)));
    let mut sent: std::collections::VecDeque<u64> = scheduler
        .round()
        .into_iter()
        .map(|decision| match decision {
            Decision::Assign { program, .. } | Decision::Withdraw { program, .. } => program,
        })
        .collect();
    // A hundred thousand rounds: a scan of what waits would take hours. So would one for each question.
    for round in 0..100_000 {
        let program = sent.pop_front().unwrap();
        scheduler.ended(program, id(0));
        assert!(round % 100 != 0 || scheduler.queue().before(999_999, &users[0]) > 0);
        for decision in scheduler.round() {
            if let Decision::Assign { program, .. } = decision {
                sent.push_back(program);
            }
        }
    }
    assert_eq!(scheduler.queue().len() + sent.len() as u64, 900_000);
}

#[test]
fn e4_different_wall_times_are_a_line_for_each_ceiling() {
    const PROGRAMS: u64 = 200_000;
    const MOST: [u64; 3] = [150_000, 100_000, 100];
    let mut scheduler = Scheduler::new();
    let spec = |seconds: u64| {
        let mut spec = ProgramSpec::new("x", Work::Command { command: "x".into() });
        spec.limits.wall_time = Duration(seconds * 1_000_001);
        spec
    };
    let user: Arc<str> = "ann".into();
    for program in 0..PROGRAMS {
        scheduler.enqueue(program, &scheduler.need(&spec(program + 1)), &user);
    }
    assert_eq!(scheduler.queue().lines(), 1);
    // Each slave with a ceiling of its own moves those that are beyond it, once.
    for (number, most) in MOST.into_iter().enumerate() {
        let limits = ResourceLimits { wall_time: Duration(most * 1_000_000), ..ResourceLimits::MOST };
        let before = scheduler.connect(id(number), slave(number, 2, 7).within(Ceiling { limits, network: false }));
        let before = before.expect("a ceiling that no other has");
        for program in 0..PROGRAMS {
            scheduler.need_again(program..program + 1, &spec(program + 1), &user, None, &before);
        }
    }
    scheduler.check_invariants();
    assert!(scheduler.queue().lines() <= 4, "{} lines", scheduler.queue().lines());
    let mut sent: Vec<(u64, SlaveId)> = Vec::new();
    for _ in 0..PROGRAMS / 10 {
        if let Some((program, slave)) = sent.pop() {
            scheduler.ended(program, slave);
        }
        for decision in scheduler.round() {
            if let Decision::Assign { program, slave } = decision {
                let most = MOST[usize::try_from(slave.0.as_u128() - 1).unwrap()];
                assert!((program + 1) * 1_000_001 <= most * 1_000_000, "{program} is beyond the ceiling of {slave}");
                sent.push((program, slave));
            }
        }
    }
    assert!(scheduler.queue().len() <= PROGRAMS - PROGRAMS / 10);
}

#[test]
fn e4_what_ends_quickly_is_sent_further_ahead_until_the_next_batch() {
    let mut scheduler = Scheduler::new();
    for program in 0..10_000 {
        scheduler.enqueue(program, &need(0), &"ann".into());
    }
    drop(scheduler.connect(id(0), slave(0, 2, 7)));
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
    for _ in 0..8 {
        for _ in 0..sent.len().min(14) {
            scheduler.ended(sent.pop_front().unwrap(), id(0));
            round(&mut scheduler, &mut sent);
        }
        scheduler.adapt();
        round(&mut scheduler, &mut sent);
        scheduler.check_invariants();
    }
    assert_eq!(sent.len(), 2 + 42, "two slots, and three batches of fourteen ahead");
}

#[test]
fn l09_a_newcomer_starts_at_the_next_free_slot_whatever_was_sent_ahead() {
    for fair in [true, false] {
        let mut model = Fleet::default();
        model.scheduler.set_fair(fair);
        model.add(0, 2, 7);
        for program in 0..100_000 {
            model.submit(program, need(0));
        }
        model.settle();
        for program in 0..10 {
            model.submit_as(100_000 + program, need(0), "bob");
        }
        // The model's round of withdrawals is answered in between.
        model.settle();
        let before = model.started.len();
        model.end_one(0);
        model.settle();
        assert_eq!(model.started[before..], [if fair { 100_000 } else { 2 }], "fair: {fair}");
        for _ in 0..40 {
            model.end_one(0);
            model.settle();
        }
        let bob = model.started.iter().filter(|program| **program >= 100_000).count();
        assert_eq!(bob, if fair { 10 } else { 0 }, "fair: {fair}");
    }
}

#[test]
fn l09_the_programs_before_one_are_those_that_go_first() {
    for fair in [true, false] {
        let mut model = Fleet::default();
        model.scheduler.set_fair(fair);
        for program in 0..3_000 {
            model.submit_as(program, need(program as u8), ["ann", "bob", "bob", "eve"][program as usize % 4]);
        }
        for program in 3_000..3_010 {
            model.submit_as(program, need(0), "joe");
        }
        let asked: Vec<u64> = (0..3_010).step_by(101).chain(3_000..3_010).collect();
        let told: Vec<u64> =
            asked.iter().map(|program| model.scheduler.queue().before(*program, &model.kinds[program].1)).collect();
        // One slave with room for all takes them in the order in which they go.
        model.add(0, 4_000, 7);
        let decisions = model.scheduler.round();
        for (program, told) in asked.into_iter().zip(told) {
            let place = decisions
                .iter()
                .position(|decision| matches!(decision, Decision::Assign { program: other, .. } if *other == program));
            assert_eq!(place, Some(told as usize), "program {program}, fair: {fair}");
        }
    }
}

#[test]
fn f18_a_slave_set_aside_gives_back_what_it_has_not_started_and_is_tried_with_one() {
    let mut model = Fleet::default();
    model.add(0, 2, 7);
    for program in 0..8 {
        model.submit(program, need(0));
    }
    model.settle();
    model.scheduler.set_aside(id(0), Aside::Yes("as it fails".into()));
    model.settle();
    assert_eq!(model.sent[&id(0)], []);
    assert_eq!(
        model.scheduler.explain(7, &need(0), &ResourceLimits::default(), "ann").slaves[0].reason,
        "is set aside as it fails"
    );
    model.end_one(0);
    model.end_one(0);
    model.settle();
    assert_eq!(model.started.len(), 2);
    model.scheduler.set_aside(id(0), Aside::Trial);
    model.settle();
    assert_eq!((model.started.len(), model.sent[&id(0)].len()), (3, 0), "one, and nothing ahead");
    model.scheduler.set_aside(id(0), Aside::No);
    model.settle();
    assert_eq!((model.started.len(), model.sent[&id(0)].len()), (4, 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn e3_copies_that_wait_together_are_dealt_like_ones_that_came_alone(
        fleet in prop::collection::vec((0_u32..4, 1_u8..8), 1..4),
        lots in prop::collection::vec((0_u8..4, 0_u8..3, 1_u64..3_000), 1..5),
        steps in prop::collection::vec((any::<bool>(), any::<usize>()), 0..120),
    ) {
        let (mut together, mut alone) = (Fleet::default(), Fleet::default());
        for (number, (slots, languages)) in fleet.iter().enumerate() {
            together.add(number, *slots, *languages);
            alone.add(number, *slots, *languages);
        }
        let mut next = 0;
        for (kind, user, count) in lots {
            let user: Arc<str> = ["ann", "bob", "cid"][usize::from(user)].into();
            together.scheduler.enqueue_all(next..next + count, &need(kind), &user);
            for program in next..next + count {
                alone.submit_as(program, need(kind), &user);
            }
            next += count;
        }
        together.kinds = alone.kinds.clone();
        for (ends, choice) in steps {
            together.settle();
            alone.settle();
            prop_assert_eq!(&together.started, &alone.started);
            let program = choice as u64 % next;
            let (kind, user) = alone.kinds[&program].clone();
            prop_assert_eq!(together.scheduler.queue().before(program, &user), alone.scheduler.queue().before(program, &user));
            if ends {
                together.end_one(choice);
                alone.end_one(choice);
            } else {
                prop_assert_eq!(
                    together.scheduler.dequeue(program, &kind, &user),
                    alone.scheduler.dequeue(program, &kind, &user)
                );
            }
            prop_assert_eq!(together.scheduler.queue().len(), alone.scheduler.queue().len());
        }
        prop_assert!(together.scheduler.queue().programs(&need(0)).eq(alone.scheduler.queue().programs(&need(0))));
    }
}
