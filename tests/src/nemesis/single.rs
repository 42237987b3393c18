//! One witness, submitted as a user does it.

use crate::{
    Cluster, wait_until,
    witness::{Line, Witness},
};

/// Submits one witness by the command line and gives its ID.
///
/// # Panics
/// When it is refused.
#[must_use]
#[track_caller]
pub fn submit(cluster: &Cluster, witness: &Witness, run_ms: u64, options: &[&str]) -> String {
    let program = witness.program().to_str().unwrap().to_owned();
    let options = options.iter().map(|word| (*word).to_owned());
    let command = ["--memory", "256M", "--"].map(str::to_owned).into_iter().chain([program]);
    cluster.admin().submit(options.chain(command).chain(witness.arguments(run_ms, 500)))
}

/// Waits until the witness of this program has written such a line.
#[track_caller]
pub fn wait_for_line(witness: &Witness, id: &str, what: &str, wanted: impl Fn(&Line) -> bool) -> Line {
    wait_until(what, || witness.lines_of(id).into_iter().find(|line| wanted(line)))
}
