//! A million waiting programs: as copies of one, and one by one.

use super::{Figure, Goal, Plan, Unit, rate, usage};
use crate::load::{
    World,
    user::{ids, tiny},
};
use client::Pending;
use std::{
    collections::VecDeque,
    process::Stdio,
    time::{Duration, Instant},
};

/// Requests of one connection that are under way at once.
const WINDOW: usize = 2_000;
/// Until what the master does after its answer is done.
const SETTLE: Duration = Duration::from_secs(2);
/// A fresh master a round, so fewer rounds than elsewhere.
const ROUNDS_MAX: usize = 3;

/// On masters without slaves.
///
/// # Panics
/// When a submit is refused.
#[must_use]
pub fn measure(plan: &Plan) -> Vec<Figure> {
    let (mut times, mut each, mut rates, mut each_single) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.rounds.min(ROUNDS_MAX) {
        let (time, bytes) = copies(plan.waiting);
        times.push(time);
        each.push(bytes / 1_024.0);
        let (rate, bytes) = one_by_one(plan.pipelined);
        rates.push(rate);
        each_single.push(bytes / 1_024.0);
    }
    let waiting = plan.waiting;
    #[expect(clippy::cast_precision_loss, reason = "at most a million")]
    let most = 1.0 * waiting as f64 / 1e6;
    vec![
        Figure::new(
            "bulk-count",
            format!("`ruche submit --count {waiting}`, whole process, acknowledged"),
            Unit::Seconds,
            Goal::AtMost(most),
            times,
        ),
        Figure::new(
            "bulk-memory",
            format!("the master's memory for each of {waiting} copies that wait"),
            Unit::KiB,
            Goal::AtMost(0.2),
            each,
        ),
        Figure::new(
            "bulk-pipelined",
            format!("{} submits of one program each, pipelined, acknowledged", plan.pipelined),
            Unit::PerSecond,
            Goal::AtLeast(50_000.0),
            rates,
        ),
        Figure::plain(
            "bulk-memory-single",
            format!("the master's memory for each of {} such programs", plan.pipelined),
            Unit::KiB,
            each_single,
        ),
    ]
}

/// Seconds, and bytes of the master for each.
#[expect(clippy::cast_precision_loss, reason = "for people")]
fn copies(count: usize) -> (f64, f64) {
    let world = World::new("");
    // What a first submit allocates once is not the price of a program; nobody may have more than a million in all.
    world.cluster.admin().run(["submit", "--count", "1000", "--", "true"]).expect(0);
    let count = count - 1_000;
    let before = usage::own(world.master());
    let mut command = world.cluster.admin().command(["submit", "--count", &count.to_string(), "--", "true"]);
    let begun = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap();
    let time = begun.elapsed().as_secs_f64();
    assert!(status.success(), "{status}");
    let at_once = usage::own(world.master());
    std::thread::park_timeout(SETTLE);
    let held = at_once.max(usage::own(world.master())).saturating_sub(before);
    assert_eq!(world.runtime.block_on(world.admin().summary()).waiting, count as u64 + 1_000);
    (time, held as f64 / count as f64)
}

/// Programs a second, and bytes of the master for each.
#[expect(clippy::cast_precision_loss, reason = "for people")]
fn one_by_one(count: usize) -> (f64, f64) {
    let world = World::new("");
    let user = world.admin();
    world.runtime.block_on(user.submit_times(100));
    let before = usage::own(world.master());
    let ids = ids(count);
    let spec = tiny();
    let begun = Instant::now();
    world.runtime.block_on(async {
        let mut open: VecDeque<Pending> = VecDeque::with_capacity(WINDOW);
        for id in &ids {
            if open.len() >= WINDOW {
                open.pop_front().unwrap().await.unwrap();
            }
            open.push_back(user.submit(&[*id], &spec));
        }
        for pending in open {
            pending.await.unwrap();
        }
    });
    let rate = rate(count, begun.elapsed());
    std::thread::park_timeout(SETTLE);
    (rate, usage::own(world.master()).saturating_sub(before) as f64 / count as f64)
}
