//! L8: more submits than the master can take.

use super::{
    Figure, Scale, User, World, figures,
    user::{ids, tiny},
};
use crate::wait_until;
use common::{ErrorCode, ProgramId};
use slave::hollow::HollowConfig;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

/// Connections that submit without pause, and how many requests of each are under way.
const FLOODERS: usize = 10;
const WINDOW: usize = 1_000;

/// What one connection saw.
#[derive(Default)]
struct Seen {
    accepted: Vec<ProgramId>,
    times: Vec<Duration>,
    refused: BTreeMap<String, usize>,
    untimed: usize,
}

/// Ten connections submit as fast as they can, far beyond what the slaves run.
///
/// # Panics
/// When a refusal is not of a kind that says what to do, or something accepted does not end well.
pub fn l08_overload(scale: &Scale) -> Vec<Figure> {
    // Few enough that refusals come in a short run too.
    let mut world = World::new(&format!("programs_per_user = {}\n", scale.pick(5_000, 300)));
    // 400 programs a second at most.
    let config = HollowConfig::new(2, Duration::from_millis(if scale.full { 50 } else { 5 }));
    world.slaves(10, &config);
    let prober = world.user("prober", "submitter");
    let probes = scale.pick(500, 50);
    let mut before = world.runtime.block_on(prober.submit_times(probes));
    let (_, before99) = figures::p50_p99(&mut before);
    let users: Vec<_> = (0..FLOODERS).map(|user| world.user(&format!("user-{user}"), "submitter")).collect();
    let begun = Instant::now();
    let (seen, most) = world.watching_memory(async {
        let all: Vec<_> = users.iter().map(|user| tokio::spawn(flood(user.clone(), scale.overload))).collect();
        let mut seen = Vec::new();
        for one in all {
            seen.push(one.await.unwrap());
        }
        seen
    });
    let flooded = begun.elapsed();
    let mut times: Vec<Duration> = seen.iter().flat_map(|seen| seen.times.iter().copied()).collect();
    let accepted = times.len();
    let (_, accepted99) = figures::p50_p99(&mut times);
    let mut refused: BTreeMap<String, usize> = BTreeMap::new();
    for (code, count) in seen.iter().flat_map(|seen| &seen.refused) {
        *refused.entry(code.clone()).or_default() += count;
    }
    let known = ["E-BUSY", "E-QUOTA-REACHED"];
    assert!(refused.keys().all(|code| known.contains(&code.as_str())), "{refused:?}");
    assert!(!refused.is_empty(), "nothing was refused, so there was no overload");
    assert_eq!(seen.iter().map(|seen| seen.untimed).sum::<usize>(), 0, "E-BUSY says when to try again");
    let mut after = world.runtime.block_on(prober.submit_times(probes));
    let (_, after99) = figures::p50_p99(&mut after);
    let expected = (accepted + 2 * probes) as u64;
    for (user, seen) in users.iter().zip(&seen) {
        world.runtime.block_on(user.wait_well(&seen.accepted));
    }
    wait_until("everything has ended", || {
        let summary = world.runtime.block_on(prober.summary());
        (summary.waiting + summary.running == 0).then_some(())
    });
    assert_eq!(config.counters.started.load(Ordering::Relaxed), expected, "what was accepted ran once, the rest never");
    let all: usize = refused.values().sum();
    vec![
        Figure::plain(
            "L8",
            format!("{FLOODERS} connections submit for {} without pause", figures::seconds(flooded)),
            format!(
                "{:.0} a second; {accepted} accepted, {all} refused: {refused:?}",
                (accepted + all) as f64 / flooded.as_secs_f64()
            ),
        ),
        Figure::new(
            "L8",
            "accepted submits meanwhile, p99",
            figures::ms(accepted99),
            "under 1 s",
            accepted99 < Duration::from_secs(1),
        ),
        Figure::plain("L8", "accepted and then lost, or run twice", "0"),
        Figure::plain("L8", "the most memory of the master", figures::mib(most)),
        Figure::plain(
            "L8",
            "a submit of another user, p99, before and right after",
            format!("{} and {}", figures::ms(before99), figures::ms(after99)),
        ),
    ]
}

async fn flood(user: User, time: Duration) -> Seen {
    let (mut seen, mut open, begun, spec) = (Seen::default(), VecDeque::new(), Instant::now(), tiny());
    while begun.elapsed() < time {
        let id = ids(1)[0];
        open.push_back((id, Instant::now(), user.submit(&[id], &spec)));
        if open.len() >= WINDOW
            && let Some(oldest) = open.pop_front()
        {
            answer(&mut seen, oldest).await;
        }
    }
    for one in open {
        answer(&mut seen, one).await;
    }
    seen
}

async fn answer(seen: &mut Seen, (id, begun, pending): (ProgramId, Instant, client::Pending)) {
    match pending.await {
        Ok(_) => {
            seen.accepted.push(id);
            seen.times.push(begun.elapsed());
        }
        Err(error) => {
            seen.untimed += usize::from(error.is(ErrorCode::Busy) && error.retry_after.is_none());
            *seen.refused.entry(error.code).or_default() += 1;
        }
    }
}
