//! L9: one user's queue does not shut out another user.

use super::{Figure, Scale, World, figures, user::tiny};
use slave::hollow::HollowConfig;
use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// One user queues very many programs; another submits ten, a third a few thousand.
///
/// # Panics
/// When the second has to wait for the first, or the third does not get about half.
pub fn l09_fairness(scale: &Scale) -> Vec<Figure> {
    let mut world = World::new("");
    // 40 slots of 20 ms: 2,000 programs a second.
    let config = HollowConfig::new(2, Duration::from_millis(20));
    world.slaves(20, &config);
    let [first, second, third] = ["alice", "bob", "carol"].map(|name| world.user(name, "submitter"));
    let (many, share) = (scale.pick(100_000, 4_000), scale.pick(4_000, 400));
    let ended = || config.counters.ended.load(Ordering::Relaxed);
    world.runtime.block_on(async {
        let queue = first.submit_many(many, &tiny()).await;
        let begun = Instant::now();
        let ten = second.submit_many(10, &tiny()).await;
        let start = ended();
        second.wait_well(&ten).await;
        let (waited, before) = (begun.elapsed(), ended() - start);
        assert!(before < many as u64 / 4, "{before} programs of a queue of {many} came before ten of another user");

        let start = ended();
        let own = third.submit_many(share, &tiny()).await;
        third.wait_well(&own).await;
        let all = ended() - start;
        let part = 100.0 * share as f64 / all as f64;
        assert!((25.0..=75.0).contains(&part), "two users with full queues: one got {part:.0} of 100");
        let left = first.summary().await.waiting;
        assert!(left > 0, "the first user's queue outlasted the others");
        drop(queue);
        vec![
            Figure::new(
                "L9",
                format!("ten programs of a user who comes behind {many} of another, until all ten have ended"),
                figures::seconds(waited),
                "first start under 2 s",
                waited < Duration::from_secs(2),
            ),
            Figure::new(
                "L9",
                format!("share of a user with {share} programs beside the one with the long queue"),
                format!("{part:.0} %"),
                "half",
                (40.0..=60.0).contains(&part),
            ),
        ]
    })
}
