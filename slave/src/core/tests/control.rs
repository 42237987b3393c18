//! Programs that are suspended, signalled and given input, over connections that end.

use super::*;
use crate::core::Left;
use common::program::{LiveInput, ProgramSignal, TerminalSize};

fn live(number: u128) -> Event {
    let mut spec = ProgramSpec::new("x", Work::Command { command: "x".into() });
    spec.live = Some(LiveInput { terminal: None });
    let assignment = Assignment { key: key(number), spec: Arc::new(spec), index: 0, fence: 1 };
    Event::Order(Order::Assign(vec![assignment]))
}

fn running(event: Event) -> Bench {
    let mut bench = Bench::connected(1);
    bench.event(event);
    bench.expect_start(1);
    bench.expect_started(&[1]);
    bench.nothing_more();
    bench
}

#[test]
fn i12_orders_for_what_runs_go_to_the_executor_and_others_nowhere() {
    let mut bench = running(assign(1..3));
    let size = TerminalSize { columns: 80, rows: 24 };
    let (signal, wall_time) = (ProgramSignal::Interrupt, Duration::from_secs(9));
    for (order, control) in [
        (Order::Suspend(vec![key(1), key(2), key(7)]), Control::Suspend),
        (Order::Resume(vec![key(1), key(2), key(7)]), Control::Resume),
        (Order::Signal { key: key(1), signal }, Control::Signal(signal)),
        (Order::Resize { key: key(1), size }, Control::Resize(size)),
        (Order::SetWallTime { key: key(1), wall_time }, Control::SetWallTime(wall_time)),
    ] {
        bench.order(order);
        assert_eq!(bench.next(), Action::Control(key(1), control));
        bench.nothing_more();
    }
    // One that waits has the new time when it starts.
    bench.order(Order::SetWallTime { key: key(2), wall_time });
    bench.nothing_more();
    bench.ended(1);
    bench.expect_finished(1);
    assert!(matches!(bench.next(), Action::Start(assignment) if assignment.spec.limits.wall_time == wall_time));
}

#[test]
fn i12_what_stands_still_is_told_and_told_again() {
    let mut bench = running(assign(1..2));
    bench.event(Event::Suspended { key: key(1), suspended: true });
    assert_eq!(bench.next(), Action::Report(Report::Suspended(vec![key(1)])));
    bench.event(Event::Disconnected);
    assert_eq!(bench.core.holdings().suspended, [key(1)]);
    // Told with the registration, also what happens while there is nobody to tell.
    bench.event(Event::Suspended { key: key(1), suspended: false });
    bench.nothing_more();
    assert!(bench.core.holdings().suspended.is_empty());
    bench.event(Event::Suspended { key: key(1), suspended: true });
    bench.register(1);
    bench.expect_started(&[1]);
    bench.event(Event::Suspended { key: key(1), suspended: false });
    assert_eq!(bench.next(), Action::Report(Report::Resumed(vec![key(1)])));
    bench.nothing_more();
}

#[test]
fn i13_how_far_input_is_is_told_on_each_connection() {
    let mut bench = running(live(1));
    bench.order(Order::Input { key: key(1), offset: 0, bytes: b"abc".to_vec(), end: false });
    let control = Control::Input { offset: 0, bytes: b"abc".to_vec(), end: false };
    assert_eq!(bench.next(), Action::Control(key(1), control));
    bench.event(Event::InputTaken { key: key(1), offset: 2 });
    assert_eq!(bench.next(), Action::Report(Report::InputTaken { key: key(1), offset: 2 }));
    bench.event(Event::Disconnected);
    bench.event(Event::InputTaken { key: key(1), offset: 3 });
    bench.nothing_more();
    bench.register(1);
    bench.expect_started(&[1]);
    assert_eq!(bench.next(), Action::Report(Report::InputTaken { key: key(1), offset: 3 }));
    bench.nothing_more();
}

#[test]
fn i13_a_new_agent_tells_how_far_input_is_and_what_stands_still() {
    let mut bench = Bench::new(1);
    bench.core.restore(Left {
        epoch: 1,
        running: vec![(key(1), Timestamp(5), [0; Stream::COUNT])],
        suspended: [key(1)].into(),
        inputs: [(key(1), 70)].into(),
        ..Left::default()
    });
    assert_eq!(bench.core.holdings().suspended, [key(1)]);
    bench.register(1);
    bench.expect_started(&[1]);
    assert_eq!(bench.next(), Action::Report(Report::InputTaken { key: key(1), offset: 70 }));
    bench.nothing_more();
}
