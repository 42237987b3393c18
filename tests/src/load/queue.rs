//! L5: a queue of a million programs.

use super::{Figure, Scale, World, figures, user::tiny};
use std::time::Instant;

/// What the master may hold for each program that waits. Bodies are shared by copies.
const BYTES_PER_PROGRAM_MAX: u64 = 1 << 10;
/// What it may hold more than that whatever the number: the store's cache and what the allocator keeps.
const SLACK_BYTES: u64 = 48 << 20;
const USERS: usize = 2;

/// # Panics
/// When a submit is refused, or the master holds too much for each program.
pub fn l05_queue_depth(scale: &Scale) -> Vec<Figure> {
    let world = World::new("");
    let users: Vec<_> = (0..USERS).map(|user| world.user(&format!("user-{user}"), "submitter")).collect();
    let prober = world.admin();
    let probes = scale.pick(2_000, 200);
    // The first submits fill caches.
    world.runtime.block_on(prober.submit_times(probes / 4));
    let mut first = world.runtime.block_on(prober.submit_times(probes));
    let (first50, first99) = figures::p50_p99(&mut first);
    let before = figures::memory_bytes(world.master());
    let begun = Instant::now();
    for user in &users {
        world.runtime.block_on(user.submit_many(scale.waiting / USERS, &tiny()));
    }
    let rate = figures::rate(scale.waiting, begun);
    let held = figures::memory_bytes(world.master()).saturating_sub(before);
    let mut last = world.runtime.block_on(prober.submit_times(probes));
    let (last50, last99) = figures::p50_p99(&mut last);
    let summary = world.runtime.block_on(prober.summary());
    let all = scale.waiting + 2 * probes + probes / 4;
    assert_eq!(summary.waiting, all as u64, "{summary:?}");
    let each = held / scale.waiting as u64;
    assert!(
        held < BYTES_PER_PROGRAM_MAX * scale.waiting as u64 + SLACK_BYTES,
        "{} programs cost {held} bytes",
        scale.waiting
    );
    let ratio = last99.as_secs_f64() / first99.as_secs_f64();
    vec![
        Figure::plain(
            "L5",
            format!("{} programs submitted in requests of 4,096", scale.waiting),
            format!("{rate:.0} a second"),
        ),
        Figure::new(
            "L5",
            format!("the master's memory with {} programs waiting", scale.waiting),
            format!("{} more, {each} bytes each", figures::mib(held)),
            "bounded: under 1 KiB each",
            each < BYTES_PER_PROGRAM_MAX,
        ),
        Figure::plain(
            "L5",
            format!("submit of one program, empty queue, {probes} times"),
            format!("p50 {}, p99 {}", figures::ms(first50), figures::ms(first99)),
        ),
        Figure::new(
            "L5",
            format!("submit of one program, {} waiting, {probes} times", scale.waiting),
            format!("p50 {}, p99 {}, {ratio:.2} of the first p99", figures::ms(last50), figures::ms(last99)),
            "p99 under 2 of that at the start",
            ratio < 2.0,
        ),
    ]
}
