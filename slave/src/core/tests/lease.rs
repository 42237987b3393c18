//! The lease counts from proof, whatever is late, lost, stopped or set.

use super::*;
use proptest::prelude::*;

const LEASE: u64 = limits::LEASE_SLAVE.as_millis();

/// A slave with one program, whose heartbeats nobody answers unless the test does.
fn unanswered() -> Bench {
    let mut bench = Bench::connected(1);
    bench.event(assign(1..3));
    bench.actions.clear();
    bench.answers = false;
    bench
}

#[test]
fn f08_an_agent_that_was_stopped_past_its_lease_ends_programs_before_it_hears_anything() {
    for late in [
        Event::Order(Order::Assign(vec![])),
        assign(7..9),
        Event::HeartbeatAnswered(1),
        Event::Order(Order::SetSlots(9)),
        Event::Output { key: key(1), stream: Stream::Stdout, end: 10 },
        Event::Tick,
    ] {
        let mut bench = unanswered();
        bench.after(5_000);
        assert_eq!(bench.unanswered, [1]);
        // Longer than the answer to that heartbeat would have helped.
        bench.millis += 2 * LEASE;
        bench.event(late.clone());
        assert_eq!(bench.next(), Action::Stop(key(1), Stop::LeaseEnded), "{late:?}");
        assert_eq!(bench.next(), Action::Reconnect);
        bench.nothing_more();
        assert_eq!(bench.core.counts(), (0, 1, 0), "{late:?}: nothing waits");
        bench.ended(1);
        bench.event(assign(4..5));
        bench.nothing_more();
        bench.register(1);
        bench.expect_finished(1);
        bench.event(assign(5..6));
        bench.expect_start(5);
    }
}

#[test]
fn f12_a_connection_on_which_nothing_is_answered_counts_as_none() {
    let mut bench = unanswered();
    for _ in 0..5 {
        bench.after(5_000);
        // The master is heard all the time.
        bench.order(Order::SetSlots(1));
    }
    assert_eq!(bench.unanswered, [1, 2, 3, 4, 5]);
    bench.after(4_999);
    bench.nothing_more();
    bench.after(1);
    assert_eq!(bench.next(), Action::Stop(key(1), Stop::LeaseEnded));
    assert_eq!(bench.next(), Action::Reconnect);
    bench.nothing_more();
    assert_eq!(bench.core.next_deadline(), None, "nothing is waited for until there is a session");
}

#[test]
fn f12_a_registration_that_is_not_accepted_proves_nothing() {
    let mut bench = unanswered();
    bench.event(Event::Disconnected);
    bench.after(20_000);
    bench.event(Event::Connected);
    assert!(matches!(bench.next(), Action::Register(_)));
    bench.after(9_999);
    bench.nothing_more();
    bench.after(1);
    assert_eq!(bench.next(), Action::Stop(key(1), Stop::LeaseEnded));
    assert_eq!(bench.next(), Action::Reconnect);
    // It comes too late: the session was given up.
    bench.order(Order::Registered { slots: 1, lease: limits::LEASE_SLAVE, epoch: 1 });
    bench.event(assign(7..8));
    bench.nothing_more();
}

#[test]
fn f12_a_late_answer_counts_from_its_heartbeat() {
    let mut bench = unanswered();
    let begin = bench.millis;
    bench.after(5_000);
    bench.after(5_000);
    bench.after(15_000);
    let until = |millis: u64| Some(BootTime((begin + millis + LEASE) * 1_000));
    assert_eq!(bench.lease, until(0), "of the registration");
    bench.event(Event::HeartbeatAnswered(2));
    assert_eq!(bench.lease, until(10_000));
    bench.event(Event::HeartbeatAnswered(1));
    bench.event(Event::HeartbeatAnswered(77));
    assert_eq!(bench.lease, until(10_000), "an older answer or one to nothing changes nothing");
    bench.event(Event::Disconnected);
    bench.register(1);
    assert_eq!(bench.lease, until(25_000));
    bench.event(Event::HeartbeatAnswered(3));
    assert_eq!(bench.lease, until(25_000), "an answer of another session proves nothing");
}

#[test]
fn p3_the_heartbeat_follows_the_lease() {
    for (lease, interval) in [
        (Duration::from_secs(30), 5_000),
        (Duration::from_secs(600), 5_000),
        (Duration::from_secs(5), 1_000),
        (Duration::from_secs(1), 200),
        (Duration::from_millis(1), 100),
    ] {
        let mut bench = Bench::new(1);
        bench.answers = false;
        bench.event(Event::Connected);
        bench.order(Order::Registered { slots: 1, lease, epoch: 1 });
        let begin = BootTime(bench.millis * 1_000);
        assert_eq!(bench.lease, Some(begin.plus(lease)));
        let heartbeat = bench.core.lease.heartbeat().map(|(at, _)| at);
        assert_eq!(heartbeat, Some(begin.plus(Duration::from_millis(interval))), "{lease}");
    }
}

#[test]
fn f15_a_jump_of_the_wall_clock_moves_no_deadline() {
    let hour = 3_600_000_000;
    let year = 365 * 24 * hour;
    let trace = |jumps: [u64; 4]| {
        let mut bench = Bench::new(1);
        let mut trace = Vec::new();
        for (step, jump) in jumps.into_iter().enumerate() {
            bench.wall_ahead = jump;
            match step {
                0 => bench.register(1),
                1 => bench.event(assign(1..2)),
                2 => bench.event(Event::Disconnected),
                _ => bench.event(Event::Stop),
            }
            bench.after(1_000);
            trace.push((bench.lease, bench.core.next_deadline()));
        }
        bench.actions.clear();
        bench.after(LEASE);
        (trace, bench.actions)
    };
    let steady = trace([0; 4]);
    assert!(steady.1.contains(&Action::Stop(key(1), Stop::LeaseEnded)));
    for jumps in [[hour, 0, hour, 0], [0, year, 0, year], [year, hour, 0, 0]] {
        assert_eq!(trace(jumps), steady, "{jumps:?}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    After(u64),
    Connect,
    Accept,
    Disconnect,
    Answer(usize),
    Assign,
    End,
    Slots(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..12_000_u64).prop_map(Step::After),
        1 => (25_000..90_000_u64).prop_map(Step::After),
        2 => Just(Step::Connect),
        2 => Just(Step::Accept),
        1 => Just(Step::Disconnect),
        3 => (0..6_usize).prop_map(Step::Answer),
        4 => Just(Step::Assign),
        2 => Just(Step::End),
        1 => (0..4_u32).prop_map(Step::Slots),
    ]
}

/// What a master that answers as the steps say would have proved, worked out apart from the core.
#[derive(Default)]
struct Proof {
    registration: Option<u64>,
    heartbeats: Vec<(u64, u64)>,
    sent: Option<u64>,
}

fn check(steps: Vec<Step>) {
    let mut core = Core::new(3, limits::SLOTS_MAX, Duration::from_secs(10));
    let (mut millis, mut number) = (1_000_000_u64, 0_u128);
    let mut proof = Proof::default();
    let mut running: BTreeMap<AttemptKey, bool> = BTreeMap::new();
    for step in steps {
        let event = match step {
            Step::After(by) => {
                millis += by;
                Event::Tick
            }
            Step::Connect => Event::Connected,
            Step::Accept => {
                // Only an accepted registration of a live session is an answer.
                if let Some(sent) = proof.registration.take() {
                    proof.sent = Some(sent);
                }
                Event::Order(Order::Registered { slots: 3, lease: limits::LEASE_SLAVE, epoch: 1 })
            }
            Step::Disconnect => Event::Disconnected,
            Step::Answer(which) => match proof.heartbeats.get(which).copied() {
                None => continue,
                Some((number, sent)) => {
                    proof.sent = proof.sent.max(Some(sent));
                    Event::HeartbeatAnswered(number)
                }
            },
            Step::Assign => {
                number += 1;
                assign(number..number + 1)
            }
            Step::End => match running.keys().next().copied() {
                None => continue,
                Some(key) => {
                    running.remove(&key);
                    Event::Ended(Box::new(AttemptEnd {
                        key,
                        outcome: Outcome::Exited { code: 0 },
                        started_at: None,
                        ended_at: Timestamp(1),
                        usage: Usage::default(),
                        output_truncated: false,
                        last_line: String::new(),
                    }))
                }
            },
            Step::Slots(slots) => Event::Order(Order::SetSlots(slots)),
        };
        if matches!(event, Event::Connected | Event::Disconnected) {
            proof.registration = None;
            proof.heartbeats.clear();
        }
        let now = Now { wall: Timestamp(millis), boot: BootTime(millis * 1_000), takes_bulk: true };
        for action in core.handle(event, now) {
            match action {
                Action::Register(_) => proof.registration = Some(millis),
                Action::Heartbeat(number) => proof.heartbeats.push((number, millis)),
                Action::Reconnect => {
                    proof.registration = None;
                    proof.heartbeats.clear();
                }
                Action::Start(assignment) => drop(running.insert(assignment.key, false)),
                Action::Stop(key, _) => drop(running.insert(key, true)),
                _ => {}
            }
        }
        let holds = proof.sent.is_some_and(|sent| millis < sent + LEASE);
        assert!(holds || running.values().all(|stopped| *stopped), "something runs past the lease at {millis}");
        assert!(running.values().filter(|stopped| !**stopped).count() <= 3, "more than there are slots");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn p3_nothing_runs_unstopped_past_what_the_master_proved(steps in prop::collection::vec(step(), 1..120)) {
        check(steps);
    }
}
