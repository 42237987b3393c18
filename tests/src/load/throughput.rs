//! L1: tiny programs, each acknowledged, run and finished.

use super::{
    Figure, Scale, World, figures,
    user::{ids, tiny},
};
use slave::hollow::HollowConfig;
use std::{
    collections::VecDeque,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// Requests of the submitting connection that are under way at once.
const WINDOW: usize = 1_000;
const SLAVES: usize = 20;

/// So many programs, one request each, over twenty slaves; with the history synced.
///
/// # Panics
/// When one does not end well, or ran twice.
pub fn l01_throughput(scale: &Scale) -> Vec<Figure> {
    let mut world = World::new("");
    let config = HollowConfig::new(4, Duration::ZERO);
    world.slaves(SLAVES, &config);
    let user = world.user("alice", "submitter");
    let count = scale.programs;
    let ids = ids(count);
    let begun = Instant::now();
    let cpu = figures::cpu_time(world.master());
    let (acknowledged, all) = world.runtime.block_on(async {
        let spec = tiny();
        let mut open = VecDeque::new();
        for id in &ids {
            if open.len() >= WINDOW {
                let pending: client::Pending = open.pop_front().unwrap();
                pending.await.unwrap();
            }
            open.push_back(user.submit(&[*id], &spec));
        }
        for pending in open {
            pending.await.unwrap();
        }
        let acknowledged = figures::rate(count, begun);
        user.wait_well(&ids).await;
        (acknowledged, figures::rate(count, begun))
    });
    let used = figures::cpu_time(world.master()).saturating_sub(cpu);
    let counted = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    assert_eq!(counted(&config.counters.started), count as u64, "each runs once");
    assert_eq!(counted(&config.counters.ended), count as u64);
    let summary = world.runtime.block_on(user.summary());
    assert_eq!((summary.waiting, summary.running), (0, 0), "{summary:?}");
    world.assert_slaves_live();
    let each = used / u32::try_from(count).unwrap();
    vec![
        Figure::plain(
            "L1",
            format!("{count} submits of one program, acknowledged"),
            format!("{acknowledged:.0} a second"),
        ),
        Figure::new(
            "L1",
            format!("{count} programs over {SLAVES} slaves, acknowledged and finished"),
            format!("{all:.0} a second"),
            "at least 500 a second",
            all >= 500.0,
        ),
        Figure::plain("L1", "the master's processor time for each program", format!("{} us", each.as_micros())),
    ]
}
