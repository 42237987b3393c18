//! L14: very many logins, right and wrong.

use super::{Figure, Scale, User, World, figures};
use client::Target;
use common::ErrorCode;
use std::{collections::BTreeMap, sync::Arc, time::Instant};
use tokio::{sync::Semaphore, task::JoinSet};

/// What all connections and hashes of a storm may cost the master: two hashes of 19 MiB, and five hundred
/// connections before their login.
const GROWTH_MAX: u64 = (2 * 19 + 64) << 20;
/// Logins under way at once.
const AT_ONCE: usize = 400;

/// Wrong logins come from many addresses without pause, with some right ones among them; a session that stands
/// goes on.
///
/// # Panics
/// When a wrong password is accepted, a refusal does not say why, a session is disturbed, or the master holds
/// too much.
pub fn l14_login_storm(scale: &Scale) -> Vec<Figure> {
    let world = World::new("");
    let (wrong, right) = (scale.pick(2_000, 80), scale.pick(20, 3));
    let user = world.user("alice", "submitter");
    let probes = scale.pick(500, 50);
    let mut quiet = world.runtime.block_on(user.submit_times(probes));
    let (_, quiet99) = figures::p50_p99(&mut quiet);
    let before = figures::memory_bytes(world.master());
    let (stranger, honest) = (world.target_through_relay(), world.target.clone());
    let begun = Instant::now();
    let ((answers, mut good, mut busy), most) = world.watching_memory(async {
        let storm = tokio::spawn(storm(stranger, wrong));
        let logins = tokio::spawn(async move {
            let mut times = Vec::new();
            for _ in 0..right {
                let begun = Instant::now();
                // As a person does who is told that the master is busy.
                while let Err(error) = User::login(&honest, "alice").await {
                    assert!(!error.is(ErrorCode::LoginWrong), "{error}");
                }
                times.push(begun.elapsed());
            }
            times
        });
        let busy = user.submit_times(probes).await;
        (storm.await.unwrap(), logins.await.unwrap(), busy)
    });
    let time = begun.elapsed();
    assert!(user.client.lost().is_none(), "a session was disturbed");
    assert!(!answers.contains_key("accepted"), "{answers:?}");
    let grown = most.saturating_sub(before);
    assert!(grown < GROWTH_MAX, "the storm cost {grown} bytes");
    let (good50, good99) = figures::p50_p99(&mut good);
    let (_, busy99) = figures::p50_p99(&mut busy);
    vec![
        Figure::plain(
            "L14",
            format!("{wrong} wrong logins from {} addresses, {AT_ONCE} at once", super::relay::SOURCES),
            format!("{:.0} a second answered: {answers:?}", wrong as f64 / time.as_secs_f64()),
        ),
        Figure::new(
            "L14",
            "the master's memory meanwhile",
            format!("{} more", figures::mib(grown)),
            "under 102 MiB: two hashes and 500 connections",
            grown < GROWTH_MAX,
        ),
        Figure::plain(
            "L14",
            format!("{right} right logins meanwhile, from another address"),
            format!("all in; p50 {}, p99 {}", figures::ms(good50), figures::ms(good99)),
        ),
        Figure::plain(
            "L14",
            "submit over a session that stands, p99, before and meanwhile",
            format!("{} and {}", figures::ms(quiet99), figures::ms(busy99)),
        ),
    ]
}

/// What became of so many wrong logins, by code.
async fn storm(target: Target, count: usize) -> BTreeMap<String, usize> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut all = JoinSet::new();
    for number in 0..count {
        let place = Arc::clone(&places).acquire_owned().await.unwrap();
        let target = target.clone();
        all.spawn(async move {
            let _place = place;
            // Half try one account, half a name each.
            let name = if number % 2 == 0 { "alice".to_owned() } else { format!("nobody-{number}") };
            match User::login_with(&target, &name, "a wrong password").await {
                Ok(_) => "accepted".to_owned(),
                Err(error) => error.code,
            }
        });
    }
    let mut answers = BTreeMap::new();
    while let Some(answer) = all.join_next().await {
        *answers.entry(answer.unwrap()).or_default() += 1;
    }
    answers
}
