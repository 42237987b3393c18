mod ahead;
mod control;
mod fetching;
mod lease;
mod restart;

use super::*;
use common::{
    id::ProgramId,
    limits::{INLINE_OUTPUT_BYTES_MAX, OUTPUT_CREDIT_BYTES},
    message::{StoredUpTo, Stream},
    program::{ProgramSpec, Work},
};
use std::sync::Arc;

/// A core and the actions that no test line has looked at yet.
struct Bench {
    core: Core,
    millis: u64,
    /// The wall clock is ahead of the boot-time clock by this much.
    wall_ahead: u64,
    actions: VecDeque<Action>,
    /// Heartbeats are answered at once.
    answers: bool,
    /// Heartbeats that were not.
    unanswered: Vec<u64>,
    lease: Option<BootTime>,
    epoch: u32,
    /// The connection has room for bulk.
    takes_bulk: bool,
}

fn key(number: u128) -> AttemptKey {
    AttemptKey { program: ProgramId(uuid::Uuid::from_u128(number)), attempt: 1 }
}

fn assign(numbers: std::ops::Range<u128>) -> Event {
    let spec = Arc::new(ProgramSpec::new("x", Work::Command { command: "x".into() }));
    Event::Order(Order::Assign(
        numbers.map(|number| Assignment { key: key(number), spec: spec.clone(), index: 0, fence: 1 }).collect(),
    ))
}

impl Bench {
    fn new(slots: u32) -> Self {
        let core = Core::new(slots, limits::SLOTS_MAX, Duration::from_secs(10));
        Self {
            core,
            millis: 1_000_000,
            wall_ahead: 0,
            actions: VecDeque::new(),
            answers: true,
            unanswered: Vec::new(),
            lease: None,
            epoch: 0,
            takes_bulk: true,
        }
    }

    fn connected(slots: u32) -> Self {
        let mut bench = Self::new(slots);
        bench.register(slots);
        bench
    }

    fn register(&mut self, slots: u32) {
        self.event(Event::Connected);
        let holdings = self.core.holdings();
        assert_eq!(self.actions.pop_back(), Some(Action::Register(holdings)));
        self.event(Event::Order(Order::Registered { slots, lease: limits::LEASE_SLAVE, epoch: 1 }));
    }

    fn event(&mut self, event: Event) {
        let micros = self.millis * 1_000;
        let now =
            Now { wall: Timestamp(micros + self.wall_ahead), boot: BootTime(micros), takes_bulk: self.takes_bulk };
        for action in self.core.handle(event, now) {
            match action {
                Action::Heartbeat(number) if self.answers => self.event(Event::HeartbeatAnswered(number)),
                Action::Heartbeat(number) => self.unanswered.push(number),
                Action::SetLease(until) => self.lease = Some(until),
                Action::RememberEpoch(epoch) => self.epoch = epoch,
                action => self.actions.push_back(action),
            }
        }
    }

    fn order(&mut self, order: Order) {
        self.event(Event::Order(order));
    }

    fn after(&mut self, millis: u64) {
        self.millis += millis;
        self.event(Event::Tick);
    }

    fn ended(&mut self, number: u128) {
        self.event(Event::Ended(Box::new(AttemptEnd {
            key: key(number),
            outcome: Outcome::Exited { code: 0 },
            started_at: Some(Timestamp(1)),
            ended_at: Timestamp(2),
            usage: Usage::default(),
            output_truncated: false,
            last_line: String::new(),
        })));
    }

    #[track_caller]
    fn next(&mut self) -> Action {
        self.actions.pop_front().expect("there is an action")
    }

    #[track_caller]
    fn expect_start(&mut self, number: u128) {
        assert!(matches!(self.next(), Action::Start(assignment) if assignment.key == key(number)));
    }

    #[track_caller]
    fn expect_started(&mut self, numbers: &[u128]) {
        let Action::Report(Report::Started(started)) = self.next() else { panic!("not a report of a start") };
        assert_eq!(
            started.iter().map(|(key, _)| *key).collect::<Vec<_>>(),
            numbers.iter().map(|n| key(*n)).collect::<Vec<_>>()
        );
    }

    #[track_caller]
    fn expect_finished(&mut self, number: u128) -> FinishedHead {
        match self.next() {
            Action::ReportFinished(head) if head.end.key == key(number) => head,
            other => panic!("not the end of {number}: {other:?}"),
        }
    }

    /// Bytes of output in what no test line has looked at, which is gone with it.
    fn sent(&mut self) -> u64 {
        let counts = self.actions.drain(..).map(|action| match action {
            Action::SendOutput { count, .. } => count as u64,
            _ => 0,
        });
        counts.sum()
    }

    /// Nothing happens until the core itself wants to send something.
    fn rest_of_flush(&mut self) {
        for _ in 0..100 {
            let Some((at, why)) = self.core.next_deadline() else { break };
            self.after(at.0.div_ceil(1_000).saturating_sub(self.millis));
            if why == "output is sent" {
                return;
            }
        }
        panic!("nothing is to be sent");
    }

    #[track_caller]
    fn nothing_more(&self) {
        assert!(self.actions.is_empty(), "{:?}", self.actions);
    }
}

#[test]
fn e4_no_more_run_than_there_are_slots_and_in_order() {
    let mut bench = Bench::connected(2);
    bench.event(assign(1..5));
    bench.expect_start(1);
    bench.expect_start(2);
    bench.expect_started(&[1, 2]);
    bench.nothing_more();
    bench.ended(2);
    bench.expect_finished(2);
    bench.expect_start(3);
    bench.expect_started(&[3]);
    bench.order(Order::SetSlots(1));
    bench.ended(1);
    bench.expect_finished(1);
    bench.nothing_more();
    bench.order(Order::SetSlots(5));
    bench.expect_start(4);
    bench.expect_started(&[4]);
    bench.nothing_more();
}

#[test]
fn p4_an_assignment_that_is_known_is_not_started_again() {
    let mut bench = Bench::connected(1);
    bench.event(assign(1..2));
    bench.event(assign(1..2));
    bench.expect_start(1);
    bench.expect_started(&[1]);
    bench.ended(1);
    bench.expect_finished(1);
    bench.event(assign(1..2));
    bench.nothing_more();
}

#[test]
fn e13_a_result_is_told_again_at_each_connection_until_it_is_acknowledged() {
    let mut bench = Bench::connected(1);
    bench.event(assign(1..2));
    bench.actions.clear();
    bench.ended(1);
    bench.expect_finished(1);
    bench.event(Event::Disconnected);
    assert_eq!(bench.core.holdings(), Holdings { finished: vec![key(1)], epoch: 1, ..Holdings::default() });
    bench.register(1);
    bench.expect_finished(1);
    bench.order(Order::Acknowledge(vec![key(1)]));
    assert_eq!(bench.next(), Action::Forget(key(1)));
    bench.event(Event::Disconnected);
    bench.register(1);
    bench.nothing_more();
}

#[test]
fn e5_short_output_travels_in_the_result_and_long_output_within_credit() {
    let mut bench = Bench::connected(1);
    bench.event(assign(1..2));
    bench.actions.clear();
    bench.event(Event::Output { key: key(1), stream: Stream::Stdout, end: 10 });
    bench.ended(1);
    assert_eq!(bench.expect_finished(1).tails, [(0, 10), (0, 0), (0, 0), (0, 0)]);
    bench.nothing_more();

    bench.event(assign(2..3));
    bench.actions.clear();
    let end = OUTPUT_CREDIT_BYTES + 500_000;
    bench.event(Event::Output { key: key(2), stream: Stream::Stderr, end });
    bench.ended(2);
    let mut sent = 0;
    while let Some(Action::SendOutput { offset, count, stream: Stream::Stderr, .. }) = bench.actions.pop_front() {
        assert_eq!(offset, sent);
        sent += count as u64;
    }
    assert_eq!(sent, OUTPUT_CREDIT_BYTES, "no more than the credit");
    bench.nothing_more();
    bench.order(Order::Stored(vec![StoredUpTo { key: key(2), stream: Stream::Stderr, offset: sent }]));
    assert!(matches!(bench.next(), Action::ForgetBefore { .. }));
    while let Some(Action::SendOutput { offset, count, .. }) = bench.actions.front().cloned() {
        assert_eq!(offset, sent);
        sent += count as u64;
        bench.actions.pop_front();
    }
    let head = bench.expect_finished(2);
    assert_eq!(head.tails[1].0, sent);
    assert_eq!(head.tails[1].0 + head.tails[1].1 as u64, end);
    assert!(head.tails[1].1 <= INLINE_OUTPUT_BYTES_MAX);
}

#[test]
fn l6_output_goes_on_when_the_last_word_of_the_master_met_a_connection_without_room() {
    for ends_before in [true, false] {
        let mut bench = Bench::connected(1);
        bench.event(assign(1..2));
        bench.after(200);
        bench.actions.clear();
        let end = 2 * OUTPUT_CREDIT_BYTES;
        bench.event(Event::Output { key: key(1), stream: Stream::Stdout, end });
        if ends_before {
            bench.ended(1);
        }
        assert_eq!(bench.sent(), OUTPUT_CREDIT_BYTES);
        bench.takes_bulk = false;
        bench.order(Order::Stored(vec![StoredUpTo {
            key: key(1),
            stream: Stream::Stdout,
            offset: OUTPUT_CREDIT_BYTES,
        }]));
        assert_eq!(bench.sent(), 0);
        bench.takes_bulk = true;
        // Nothing else happens: only the core's own deadline can wake it.
        let (at, why) = bench.core.next_deadline().expect("it looks again");
        assert_eq!(why, "output is sent");
        bench.after(at.0.div_ceil(1_000) - bench.millis);
        let left = if ends_before { OUTPUT_CREDIT_BYTES - INLINE_OUTPUT_BYTES_MAX as u64 } else { OUTPUT_CREDIT_BYTES };
        assert!(bench.sent() >= left, "the rest follows");
    }
}

#[test]
fn e5_output_that_stands_still_in_the_first_moments_goes_on_by_itself() {
    let mut bench = Bench::connected(1);
    bench.event(assign(1..2));
    bench.actions.clear();
    let end = 2 * OUTPUT_CREDIT_BYTES;
    bench.event(Event::Output { key: key(1), stream: Stream::Stdout, end });
    assert_eq!(bench.sent(), OUTPUT_CREDIT_BYTES);
    bench.order(Order::Stored(vec![StoredUpTo { key: key(1), stream: Stream::Stdout, offset: OUTPUT_CREDIT_BYTES }]));
    bench.rest_of_flush();
    assert_eq!(bench.sent(), OUTPUT_CREDIT_BYTES, "the program is quiet, and so is the master");
}

#[test]
fn p5_much_output_of_many_programs_never_leaves_at_once_and_all_of_it_leaves() {
    const ATTEMPTS: u128 = 12;
    let mut bench = Bench::connected(12);
    bench.event(assign(1..ATTEMPTS + 1));
    bench.after(200);
    let end = OUTPUT_CREDIT_BYTES;
    for number in 1..=ATTEMPTS {
        bench.event(Event::Output { key: key(number), stream: Stream::Stdout, end });
        if number % 2 == 0 {
            bench.ended(number);
        }
    }
    // The connection breaks: all that is not stored is sent again.
    bench.event(Event::Disconnected);
    bench.after(1_000);
    bench.actions.clear();
    bench.register(12);
    let mut sent = std::collections::BTreeMap::<AttemptKey, u64>::new();
    let mut turns = 0;
    while sent.len() < ATTEMPTS as usize || sent.values().any(|sent| end > *sent + INLINE_OUTPUT_BYTES_MAX as u64) {
        let mut at_once = 0;
        for action in bench.actions.drain(..) {
            if let Action::SendOutput { key, count, .. } = action {
                *sent.entry(key).or_default() += count as u64;
                at_once += count as u64;
            }
        }
        assert!(at_once <= BULK_AT_ONCE_BYTES, "{at_once} bytes at once");
        turns += 1;
        assert!(turns < 100, "some has no turn: {sent:?}");
        bench.rest_of_flush();
    }
}

#[test]
fn p5_very_many_results_after_a_cut_leave_in_turns() {
    const ATTEMPTS: u128 = 2_000;
    let mut bench = Bench::connected(1);
    for number in 1..=ATTEMPTS {
        bench.event(assign(number..number + 1));
        let end = INLINE_OUTPUT_BYTES_MAX as u64;
        bench.event(Event::Output { key: key(number), stream: Stream::Stdout, end });
        bench.ended(number);
    }
    bench.event(Event::Disconnected);
    bench.after(1_000);
    bench.actions.clear();
    bench.register(1);
    let mut told = std::collections::BTreeSet::new();
    loop {
        let before = told.len();
        let mut at_once = 0;
        for action in bench.actions.drain(..) {
            if let Action::ReportFinished(head) = action {
                at_once += head.tails.iter().map(|(_, count)| *count as u64).sum::<u64>();
                told.insert(head.end.key);
            }
        }
        assert!(at_once <= BULK_AT_ONCE_BYTES + INLINE_OUTPUT_BYTES_MAX as u64, "{at_once} bytes at once");
        if told.len() == ATTEMPTS as usize {
            break;
        }
        assert!(told.len() > before, "{before} are told, and no more");
        bench.rest_of_flush();
    }
}

#[test]
fn p2_output_that_cannot_be_read_ends_its_stream_and_is_told_as_cut() {
    let mut bench = Bench::connected(1);
    bench.event(assign(1..2));
    bench.actions.clear();
    bench.after(150);
    bench.event(Event::Output { key: key(1), stream: Stream::Stdout, end: 100_000 });
    bench.after(50);
    assert!(matches!(bench.next(), Action::SendOutput { offset: 0, .. }));
    bench.actions.clear();
    bench.event(Event::OutputLost { key: key(1), stream: Stream::Stdout, offset: 65_536 });
    bench.event(Event::Output { key: key(1), stream: Stream::Stdout, end: 200_000 });
    bench.event(Event::Output { key: key(1), stream: Stream::Stderr, end: 7 });
    bench.ended(1);
    bench.actions.retain(|action| matches!(action, Action::ReportFinished(_)));
    let head = bench.expect_finished(1);
    assert_eq!(head.tails, [(65_536, 0), (0, 7), (0, 0), (0, 0)]);
    assert!(head.end.output_truncated);
}

#[test]
fn e13_output_on_its_way_is_sent_again_after_a_cut() {
    let mut bench = Bench::connected(1);
    bench.event(assign(1..2));
    bench.actions.clear();
    bench.event(Event::Output { key: key(1), stream: Stream::Stdout, end: 100 });
    bench.nothing_more();
    bench.after(150);
    assert!(matches!(bench.next(), Action::SendOutput { offset: 0, count: 100, .. }));
    bench.order(Order::Stored(vec![StoredUpTo { key: key(1), stream: Stream::Stdout, offset: 60 }]));
    assert!(matches!(bench.next(), Action::ForgetBefore { offset: 60, .. }));
    bench.event(Event::Disconnected);
    bench.event(Event::Output { key: key(1), stream: Stream::Stdout, end: 120 });
    bench.nothing_more();
    bench.register(1);
    bench.expect_started(&[1]);
    assert!(matches!(bench.next(), Action::SendOutput { offset: 60, count: 60, .. }));
    bench.nothing_more();
}

#[test]
fn p3_what_was_started_is_ended_with_the_lease_and_told_at_the_next_connection() {
    let mut bench = Bench::connected(1);
    bench.event(assign(1..4));
    bench.actions.clear();
    bench.event(Event::Disconnected);
    bench.ended(1);
    // Its start cannot be told, so the master believes that it was only sent.
    bench.expect_start(2);
    bench.after(limits::LEASE_SLAVE.as_millis() - 1);
    bench.nothing_more();
    bench.after(1);
    assert_eq!(bench.next(), Action::Stop(key(2), Stop::LeaseEnded));
    bench.nothing_more();
    let Holdings { waiting, running, finished, epoch: _, suspended: _ } = bench.core.holdings();
    assert_eq!((waiting, finished), (vec![], vec![key(1)]), "what never started is given up");
    assert_eq!(running.len(), 1, "it is told of while it is being ended");
    bench.ended(2);
    bench.nothing_more();
    assert_eq!(bench.core.holdings(), Holdings { finished: vec![key(1), key(2)], epoch: 1, ..Holdings::default() });
    bench.register(1);
    bench.expect_finished(1);
    bench.expect_finished(2);
    bench.nothing_more();
}

#[test]
fn p2_an_assignment_of_what_is_being_discarded_is_given_back() {
    let mut bench = Bench::connected(1);
    bench.event(assign(1..2));
    bench.actions.clear();
    bench.order(Order::Discard(vec![key(1)]));
    assert_eq!(bench.next(), Action::Stop(key(1), Stop::Discarded));
    bench.event(assign(1..2));
    assert_eq!(bench.next(), Action::Report(Report::Withdrawn(vec![key(1)])));
    bench.ended(1);
    assert_eq!(bench.next(), Action::Forget(key(1)));
    bench.nothing_more();
}

#[test]
fn s3_a_slave_that_stops_gives_back_what_waits_and_lets_the_rest_end() {
    let mut bench = Bench::connected(1);
    bench.event(assign(1..3));
    bench.actions.clear();
    bench.event(Event::Stop);
    assert_eq!(bench.next(), Action::Report(Report::Draining));
    assert_eq!(bench.next(), Action::Report(Report::Withdrawn(vec![key(2)])));
    bench.event(assign(3..4));
    assert_eq!(bench.next(), Action::Report(Report::Withdrawn(vec![key(3)])));
    bench.after(9_999);
    bench.nothing_more();
    bench.after(1);
    assert_eq!(bench.next(), Action::Stop(key(1), Stop::SlaveStops));
    bench.ended(1);
    bench.expect_finished(1);
    bench.nothing_more();
    bench.order(Order::Acknowledge(vec![key(1)]));
    assert_eq!(bench.next(), Action::Forget(key(1)));
    assert_eq!(bench.next(), Action::Leave);
}

#[test]
fn p5_a_slave_that_is_stopped_while_cut_off_keeps_its_results_for_the_delivery_time() {
    let mut bench = Bench::connected(1);
    bench.event(assign(1..2));
    bench.actions.clear();
    bench.order(Order::SetSlots(0));
    bench.event(assign(2..3));
    bench.event(Event::Disconnected);
    bench.ended(1);
    bench.event(Event::Stop);
    bench.nothing_more();
    bench.after(4_999);
    bench.nothing_more();
    let expected = Holdings { waiting: vec![key(2)], finished: vec![key(1)], epoch: 1, ..Holdings::default() };
    assert_eq!(bench.core.holdings(), expected);
    bench.register(1);
    assert_eq!(bench.next(), Action::Report(Report::Draining));
    assert_eq!(bench.next(), Action::Report(Report::Withdrawn(vec![key(2)])));
    bench.expect_finished(1);
    bench.order(Order::Acknowledge(vec![key(1)]));
    assert_eq!(bench.next(), Action::Forget(key(1)));
    assert_eq!(bench.next(), Action::Leave);

    let mut bench = Bench::connected(1);
    bench.event(assign(1..2));
    bench.event(Event::Disconnected);
    bench.ended(1);
    bench.actions.clear();
    bench.event(Event::Stop);
    bench.after(5_000);
    assert_eq!(bench.next(), Action::Leave, "five seconds, not the whole grace");
}

#[test]
fn p5_withdraw_and_cancel_and_discard_meet_every_state() {
    let mut bench = Bench::connected(1);
    bench.event(assign(1..4));
    bench.actions.clear();
    bench.order(Order::Withdraw(vec![key(1), key(2), key(99)]));
    assert_eq!(bench.next(), Action::Report(Report::Withdrawn(vec![key(2), key(99)])));
    bench.expect_started(&[1]);
    bench.order(Order::Cancel { keys: vec![key(1), key(3), key(98)], by: "alice".into() });
    assert_eq!(bench.next(), Action::Stop(key(1), Stop::Cancelled { by: "alice".into() }));
    assert_eq!(bench.expect_finished(3).end.outcome, Outcome::Cancelled { by: "alice".into() });
    bench.order(Order::Discard(vec![key(1), key(3), key(97)]));
    assert_eq!(bench.next(), Action::Stop(key(1), Stop::Discarded));
    assert_eq!(bench.next(), Action::Forget(key(3)));
    bench.ended(1);
    assert_eq!(bench.next(), Action::Forget(key(1)));
    bench.nothing_more();
    assert_eq!(bench.core.counts(), (0, 0, 0));
}
