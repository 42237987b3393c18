//! The deterministic simulation over many seeds, and the proof that its checker finds what is wrong.

use std::time::{Duration, Instant};
use tests::{
    simulation::{Bug, Told, run},
    soak,
};

/// Seeds of `make test`.
const SEEDS: u64 = 200;
/// Seeds within which each planted bug must be found.
const SEEDS_FOR_A_BUG: u64 = 150;

/// Seeds that failed once, one a line, each with what was wrong behind `#`.
fn known_seeds() -> Vec<u64> {
    let text = include_str!("../data/simulation/seeds.txt");
    let numbers = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("`{text}` is not a seed"));
    numbers.filter(|number| !number.is_empty()).map(number).collect()
}

fn must_be_right(seed: u64) -> Told {
    run(seed, None).unwrap_or_else(|failure| panic!("{failure}"))
}

/// A soak goes on for as long as it is told, from a seed of its own.
fn seeds() -> Box<dyn Iterator<Item = u64>> {
    if !soak() {
        return Box::new(0..SEEDS);
    }
    let number =
        |name: &str, default: u64| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let first = number("RUCHE_SIMULATION_FIRST", 1_000_000);
    let length = Duration::from_secs(60 * number("RUCHE_SOAK_MINUTES", 60));
    let begun = Instant::now();
    Box::new((first..).take_while(move |_| begun.elapsed() < length))
}

#[test]
fn f01_to_f18_no_fault_breaks_the_contract() {
    let mut sum = Told::default();
    let mut runs = 0_u64;
    for seed in known_seeds().into_iter().chain(seeds()) {
        let told = must_be_right(seed);
        runs += 1;
        sum.submitted += told.submitted;
        sum.acknowledged += told.acknowledged;
        sum.recovered += told.recovered;
        sum.starts += told.starts;
        sum.reruns += told.reruns;
        sum.answered += told.answered;
        sum.refused += told.refused;
        sum.unanswered += told.unanswered;
    }
    println!("{runs} runs: {sum:?}");
    // A run in which nothing is accepted proves nothing.
    assert!(sum.acknowledged * 10 > sum.submitted * 7, "{sum:?}");
    assert!(sum.reruns > 0 && sum.unanswered > 0 && sum.refused > 0, "{sum:?}");
}

#[test]
fn one_seed() {
    if let Ok(seed) = std::env::var("RUCHE_SIMULATION_SEED") {
        println!("{:?}", must_be_right(seed.parse().unwrap()));
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [1, 17, 40] {
        assert_eq!(must_be_right(seed), must_be_right(seed));
    }
    assert_ne!(must_be_right(1).hash, must_be_right(2).hash);
}

/// The same seeds are right without a bug: `f01_to_f18_no_fault_breaks_the_contract` runs them all.
#[test]
fn the_checker_finds_each_planted_bug() {
    const _: () = assert!(SEEDS_FOR_A_BUG <= SEEDS);
    for bug in Bug::ALL {
        let found = (0..SEEDS_FOR_A_BUG).find_map(|seed| run(seed, Some(bug)).err());
        // It is the bug that was found, and nothing else.
        let found = found.filter(|failure| run(failure.seed, None).is_ok());
        let Some(failure) = found else { panic!("{bug:?} is not found within {SEEDS_FOR_A_BUG} seeds") };
        println!("{bug:?}: seed {}: {}", failure.seed, failure.what);
    }
}
