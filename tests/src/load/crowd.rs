//! L2, L3, L4: thousands of slaves on one master: coming, resting, and coming back after a crash.

use super::{Figure, Scale, World, figures, user::tiny};
use crate::wait_until;
use common::view::SlaveState;
use slave::hollow::HollowConfig;
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// What the master may hold for each connected slave.
const BYTES_PER_SLAVE_MAX: u64 = 64 << 10;
/// What it may hold more than that whatever the number: pages that the allocator keeps.
const SLACK_BYTES: u64 = 8 << 20;

/// # Panics
/// When a slave does not come, is lost while nothing happens, or does not come back; when the master holds too
/// much for each; when a program that ran during the crash does not end well, or runs twice.
pub fn l02_l03_l04_many_slaves(scale: &Scale) -> Vec<Figure> {
    let mut world = World::new("");
    let count = scale.slaves;
    // Programs that outlast the crash of the master.
    let config = HollowConfig::new(4, Duration::from_secs(if scale.full { 20 } else { 3 }));
    let begun = Instant::now();
    let mut identities = world.enrol(count);
    let enrolled = begun.elapsed();
    // A few first: what the master takes once is not the price of a connection.
    let user = world.admin();
    let few = count / 10;
    world.start(identities.split_off(count - few), &config);
    registered(&config, 0, few, Instant::now());
    world.runtime.block_on(user.slaves());
    let before = figures::memory_bytes(world.master());
    let (begun, others) = (Instant::now(), count - few);
    world.start(identities, &config);
    let arrivals = registered(&config, few as u64, others, begun);
    let (_, all) = *arrivals.last().unwrap();
    assert_connected(&world, &user, count);
    let held = figures::memory_bytes(world.master()).saturating_sub(before);
    let each = held / others as u64;
    assert!(held < BYTES_PER_SLAVE_MAX * others as u64 + SLACK_BYTES, "{others} slaves cost {held} bytes");
    let mut figures = vec![
        Figure::plain("L2", format!("{count} slaves enrolled"), figures::seconds(enrolled)),
        Figure::new(
            "L2",
            format!("{others} slaves from {} addresses, until all are registered", super::relay::SOURCES),
            figures::seconds(all),
            "under 60 s",
            all < Duration::from_secs(60),
        ),
        Figure::new(
            "L2",
            format!("the master's memory for each of {others} slaves"),
            format!("{:.1} KiB", each as f64 / 1_024.0),
            "under 64 KiB",
            each < BYTES_PER_SLAVE_MAX,
        ),
    ];
    figures.push(rest(&world, &user, scale, &config));
    figures.extend(crash(&mut world, user, count, &config));
    figures
}

/// When how many were registered, from `from` on, until it is `count` more.
fn registered(config: &HollowConfig, from: u64, count: usize, begun: Instant) -> Vec<(u64, Duration)> {
    let mut seen = vec![(0, Duration::ZERO)];
    wait_until(&format!("{count} slaves are registered"), || {
        let now = config.counters.registered.load(Ordering::Relaxed) - from;
        if seen.last().is_none_or(|(last, _)| *last != now) {
            seen.push((now, begun.elapsed()));
        }
        (now >= count as u64).then_some(())
    });
    seen
}

fn assert_connected(world: &World, user: &super::User, count: usize) {
    let slaves = world.runtime.block_on(user.slaves());
    assert_eq!(slaves.len(), count);
    let away: Vec<_> = slaves.iter().filter(|slave| slave.state != SlaveState::Connected).collect();
    assert!(away.is_empty(), "{} of {count} are not connected, {:?} for one", away.len(), away.first());
}

/// L3: nothing but heartbeats. Longer than a peer may be silent, so that one that sends none is found.
fn rest(world: &World, user: &super::User, scale: &Scale, config: &HollowConfig) -> Figure {
    let sessions = config.counters.registered.load(Ordering::Relaxed);
    let (begun, cpu) = (Instant::now(), figures::cpu_time(world.master()));
    while begun.elapsed() < scale.idle {
        std::thread::park_timeout(scale.idle.saturating_sub(begun.elapsed()));
    }
    let (used, time) = (figures::cpu_time(world.master()).saturating_sub(cpu), begun.elapsed());
    assert_eq!(config.counters.registered.load(Ordering::Relaxed), sessions, "a slave had to come back");
    assert_connected(world, user, scale.slaves);
    let share = 100.0 * used.as_secs_f64() / time.as_secs_f64();
    Figure::new(
        "L3",
        format!("the master's processor at rest with {} slaves, over {} s", scale.slaves, time.as_secs()),
        format!("{share:.1} % of a core"),
        "under 10 %",
        share < 10.0,
    )
}

/// L4: the master is killed and started again while programs run on every slave.
fn crash(world: &mut World, user: super::User, count: usize, config: &HollowConfig) -> Vec<Figure> {
    let programs = world.runtime.block_on(user.submit_many(count, &tiny()));
    wait_until("a program runs on each slave", || {
        (config.counters.started.load(Ordering::Relaxed) == count as u64).then_some(())
    });
    let sessions = config.counters.registered.load(Ordering::Relaxed);
    let overflows = figures::listen_overflows();
    drop(user);
    world.cluster.kill_master();
    world.cluster.start_master();
    let begun = Instant::now();
    let arrivals = registered(config, sessions, count, begun);
    let (_, all) = *arrivals.last().unwrap();
    let overflows = figures::listen_overflows() - overflows;
    let user = world.admin();
    assert_connected(world, &user, count);
    world.runtime.block_on(user.wait_well(&programs));
    assert_eq!(config.counters.started.load(Ordering::Relaxed), count as u64, "nothing runs twice");
    world.assert_slaves_live();
    vec![
        Figure::new(
            "L4",
            format!("{count} slaves back after `kill -9` of the master"),
            figures::seconds(all),
            "under 60 s",
            all < Duration::from_secs(60),
        ),
        Figure::plain("L4", "of these, a tenth, half and nine tenths", spread(&arrivals, count as u64)),
        Figure::new(
            "L4",
            "connections that the system refused meanwhile",
            format!("{overflows}"),
            "none",
            overflows == 0,
        ),
        Figure::plain("L4", "programs that ran during it, all ended well, each started once", format!("{count}")),
    ]
}

/// When so many were back: that they do not come in the same instant is the work of the jitter.
fn spread(arrivals: &[(u64, Duration)], count: u64) -> String {
    let after =
        |part: u64| arrivals.iter().find(|(seen, _)| *seen * 10 >= count * part).map_or(Duration::ZERO, |(_, at)| *at);
    let [tenth, half, most] = [1, 5, 9].map(|part| figures::seconds(after(part)));
    format!("after {tenth}, {half}, {most}")
}
