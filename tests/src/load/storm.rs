//! L10: very much output at once.

use super::{
    Figure, Scale, World, figures,
    user::{ids, with_output_limit},
};
use common::{Outcome, ProgramSpec, Work, outcome::Limit};
use slave::hollow::HollowConfig;
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

/// What the master may hold of output on its way, beside what it holds anyway.
const GROWTH_MAX: u64 = 160 << 20;

/// Two hundred programs write at once through many slaves.
///
/// # Panics
/// When a byte is lost, a slave's heartbeat came too late, or the master holds too much.
pub fn l10_output_storm(scale: &Scale) -> Vec<Figure> {
    let mut world = World::new("");
    let (count, size) = (scale.pick(200, 40), scale.pick(20 << 20, 1 << 20));
    let mut config = HollowConfig::new(10, Duration::from_millis(100));
    config.output = (0..size).map(|place| (place % 251) as u8).collect::<Arc<[u8]>>();
    world.slaves(20, &config);
    let user = world.user("alice", "submitter");
    let sessions = config.counters.registered.load(Ordering::Relaxed);
    let before = figures::memory_bytes(world.master());
    let begun = Instant::now();
    let spec = with_output_limit(size as u64);
    let (ids, most) = world.watching_memory(async {
        let ids = user.submit_many(count, &spec).await;
        user.wait_well(&ids).await;
        ids
    });
    let time = begun.elapsed();
    let grown = most.saturating_sub(before);
    assert!(grown < GROWTH_MAX, "{count} outputs cost {grown} bytes");
    assert_eq!(config.counters.registered.load(Ordering::Relaxed), sessions, "a slave was cut");
    world.assert_slaves_live();
    world.runtime.block_on(async {
        for id in &ids {
            let view = user.show(*id).await;
            assert_eq!((view.output_bytes, view.output_truncated), (size as u64, false), "{view:?}");
        }
        let whole = user.output(ids[0]).await;
        assert!(whole[..] == config.output[..], "the bytes are those that were written");
    });
    let rate = (count * size) as f64 / 1_048_576.0 / time.as_secs_f64();
    vec![
        Figure::plain(
            "L10",
            format!("{count} programs on 20 slaves write {} each at once", figures::mib(size as u64)),
            format!("{rate:.0} MiB a second into the store, every byte kept"),
        ),
        Figure::new(
            "L10",
            "the master's memory meanwhile",
            format!("{} more", figures::mib(grown)),
            "bounded: under 160 MiB",
            grown < GROWTH_MAX,
        ),
        Figure::plain("L10", "slaves that were cut, of 20", "0"),
    ]
}

/// Real programs write more than they may, beside some that write exactly as much.
///
/// # Panics
/// When a limit is not exact.
pub fn l10_real_caps(scale: &Scale) -> Vec<Figure> {
    const LIMIT: u64 = 1 << 20;
    let mut world = World::new("");
    world.cluster.slave("real", 4);
    let user = world.user("alice", "submitter");
    let count = scale.pick(100, 6);
    let program = |bytes: u64| {
        let work = Work::Command { command: "/bin/sh".into() };
        let script = format!("yes 0123456789abcde | head -c {bytes}");
        let arguments = ["-c".into(), script.as_str().into()].into();
        ProgramSpec { arguments, ..ProgramSpec { work, ..with_output_limit(LIMIT) } }
    };
    let (too_much, exact) = (program(5 * LIMIT), program(LIMIT));
    let begun = Instant::now();
    world.runtime.block_on(async {
        let (over, within) = (ids(count), ids(count));
        for (over, within) in over.iter().zip(&within) {
            user.submit(&[*over], &too_much).await.unwrap();
            user.submit(&[*within], &exact).await.unwrap();
        }
        for (id, outcome) in user.wait(&over).await {
            assert!(matches!(outcome, Outcome::Limit { limit: Limit::Output, .. }), "{id}: {outcome:?}");
            let view = user.show(id).await;
            assert_eq!((view.output_bytes, view.output_truncated), (LIMIT, true), "{view:?}");
        }
        user.wait_well(&within).await;
        for id in &within {
            let view = user.show(*id).await;
            assert_eq!((view.output_bytes, view.output_truncated), (LIMIT, false), "{view:?}");
        }
    });
    vec![Figure::plain(
        "L10",
        format!("{count} real programs that write five times their limit beside {count} that write exactly it"),
        format!("cut at the byte and told so, the others whole; {}", figures::seconds(begun.elapsed())),
    )]
}
