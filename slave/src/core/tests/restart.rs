//! What an earlier start of the agent left, other epochs, and a disk that keeps nothing.

use super::*;
use crate::core::Left;

fn end(number: u128) -> AttemptEnd {
    AttemptEnd {
        key: key(number),
        outcome: Outcome::Exited { code: 0 },
        started_at: Some(Timestamp(1)),
        ended_at: Timestamp(2),
        usage: Usage::default(),
        output_truncated: false,
        last_line: String::new(),
    }
}

/// A new agent: 1 runs and has written 70 bytes, 2 ended with the bytes 30..50 kept.
fn restarted() -> Bench {
    let mut bench = Bench::new(1);
    bench.core.restore(Left {
        epoch: 1,
        running: vec![(key(1), Timestamp(5), [70, 0, 0, 0])],
        ended: vec![(end(2), [(30, 50), (0, 0), (0, 0), (0, 0)])],
        ..Left::default()
    });
    bench
}

#[test]
fn p6_a_new_agent_goes_on_with_what_runs_and_tells_what_ended() {
    let mut bench = restarted();
    let expected =
        Holdings { running: vec![(key(1), Timestamp(5))], finished: vec![key(2)], epoch: 1, ..Holdings::default() };
    assert_eq!(bench.core.holdings(), expected);
    bench.register(1);
    bench.expect_started(&[1]);
    assert_eq!(bench.expect_finished(2).tails, [(30, 20), (0, 0), (0, 0), (0, 0)]);
    // Nobody knows how much of it was sent: all of it is, until the master says what it has.
    assert!(matches!(bench.next(), Action::SendOutput { offset: 0, count: 70, .. }));
    bench.order(Order::Stored(vec![StoredUpTo { key: key(1), stream: Stream::Stdout, offset: 70 }]));
    assert!(matches!(bench.next(), Action::ForgetBefore { offset: 70, .. }));
    bench.event(assign(3..4));
    bench.nothing_more();
    bench.ended(1);
    assert_eq!(bench.expect_finished(1).tails[0], (70, 0));
    bench.expect_start(3);
    bench.expect_started(&[3]);
    bench.order(Order::Acknowledge(vec![key(1), key(2)]));
    assert_eq!((bench.next(), bench.next()), (Action::Forget(key(1)), Action::Forget(key(2))));
    bench.nothing_more();
}

#[test]
fn f22_what_belongs_to_another_epoch_goes_before_the_new_one_is_remembered() {
    let mut bench = restarted();
    bench.event(Event::Connected);
    assert!(matches!(bench.next(), Action::Register(Holdings { epoch: 1, .. })));
    bench.order(Order::Registered { slots: 1, lease: limits::LEASE_SLAVE, epoch: 2 });
    assert_eq!(bench.epoch, 2);
    assert_eq!(bench.next(), Action::Stop(key(1), Stop::Discarded));
    assert_eq!(bench.next(), Action::Forget(key(2)));
    bench.nothing_more();
    assert_eq!(bench.core.holdings(), Holdings { epoch: 2, ..Holdings::default() });
    // An attempt of the new history may have the same number: it is given back until the old one is gone.
    bench.event(assign(1..2));
    assert_eq!(bench.next(), Action::Report(Report::Withdrawn(vec![key(1)])));
    bench.ended(1);
    assert_eq!(bench.next(), Action::Forget(key(1)));
    bench.event(assign(1..2));
    bench.expect_start(1);
    bench.expect_started(&[1]);
    bench.nothing_more();
}

#[test]
fn f22_the_first_epoch_and_the_same_again_discard_nothing() {
    let mut bench = Bench::connected(1);
    bench.event(assign(1..2));
    bench.actions.clear();
    bench.event(Event::Disconnected);
    bench.register(1);
    bench.expect_started(&[1]);
    bench.nothing_more();
    assert_eq!(bench.core.holdings().epoch, 1);
}

#[test]
fn f05_what_cannot_be_noted_is_given_back_and_nothing_starts_until_the_slave_is_fit() {
    let mut bench = Bench::connected(2);
    bench.event(assign(1..2));
    bench.actions.clear();
    bench.event(assign(2..4));
    let Action::Start(assignment) = bench.next() else { panic!("not a start") };
    bench.actions.clear();
    bench.event(Event::Fit(false));
    bench.event(Event::NotStarted(vec![assignment]));
    assert_eq!(bench.next(), Action::Reconnect);
    bench.nothing_more();
    assert_eq!(bench.core.counts(), (2, 1, 0), "what runs goes on");
    bench.register(2);
    assert_eq!(bench.next(), Action::Report(Report::Draining));
    assert_eq!(bench.next(), Action::Report(Report::Withdrawn(vec![key(2), key(3)])));
    bench.expect_started(&[1]);
    bench.event(assign(4..5));
    assert_eq!(bench.next(), Action::Report(Report::Withdrawn(vec![key(4)])));
    bench.ended(1);
    bench.expect_finished(1);
    bench.event(Event::Fit(false));
    bench.nothing_more();
    bench.event(Event::Fit(true));
    assert_eq!(bench.next(), Action::Reconnect);
    bench.register(2);
    bench.expect_finished(1);
    bench.event(assign(5..6));
    bench.expect_start(5);
    bench.expect_started(&[5]);
    bench.nothing_more();
}
