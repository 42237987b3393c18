//! The whole-system tests again and again, to find what fails seldom.

use crate::workspace::{command, run as run_command};
use anyhow::Context;
use std::time::{Duration, Instant};

/// Repeats the tests of the package `tests` until `minutes` have passed; stops at the first failure.
///
/// # Errors
/// When a round fails; the message says which.
pub fn run(minutes: u64) -> anyhow::Result<()> {
    run_command(&mut command(&["cargo", "build", "--locked", "--workspace", "--all-targets"]))?;
    let (start, length) = (Instant::now(), Duration::from_secs(minutes * 60));
    let mut round = 0_u32;
    while start.elapsed() < length || round == 0 {
        round += 1;
        println!("soak: round {round}, {} s of {} s", start.elapsed().as_secs(), length.as_secs());
        run_command(&mut command(&["cargo", "test", "--locked", "-p", "tests", "--quiet"]))
            .with_context(|| format!("round {round} failed after {} s", start.elapsed().as_secs()))?;
    }
    println!("soak: {round} rounds without a failure");
    Ok(())
}
