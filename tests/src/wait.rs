//! Waiting on conditions, never on time.

use std::time::{Duration, Instant};

/// How long a condition may take before the test fails: far longer than it should, because the
/// machine may be busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until `condition` gives a value.
///
/// # Panics
/// When it gives none within [`PATIENCE`]; `what` says what was waited for.
#[track_caller]
pub fn wait_until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
