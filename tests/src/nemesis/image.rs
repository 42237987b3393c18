//! A master whose every storage operation is known, and what another one finds on the disk that a loss of power left.

use super::{
    power::{Files, write_files},
    reading::Reader,
    shim::Shim,
};
use crate::{
    Cluster, Process, binaries,
    checker::{Call, Operation as Asked, Phase},
    cli::finish,
    cluster::Surroundings,
    wait::wait_until,
    witness::output_of,
};
use common::{ProgramId, program::State};
use std::{collections::BTreeMap, path::Path, process::Command};

/// A cluster whose master's data folder is watched.
///
/// # Panics
/// When it does not start.
#[must_use]
pub fn watched() -> (Cluster, Shim) {
    let folder = tempfile::Builder::new().prefix("ruche-test-").tempdir().unwrap();
    let shim = Shim::new(&folder.path().join("master"), "shim");
    let surroundings = Surroundings { master_environment: shim.environment(), ..Surroundings::default() };
    (Cluster::inside(folder, "", surroundings), shim)
}

/// A master over a folder that a loss of power has left, and what it says.
pub struct Revived {
    _master: Process,
    /// A reader of its history.
    pub reader: Reader,
}

/// Checks the folder and starts a master over it.
///
/// # Errors
/// What `check` or `serve` says against it.
///
/// # Panics
/// When the programs cannot be started.
pub fn revive(cluster: &Cluster, data: &Path) -> Result<Revived, String> {
    let mut check = Command::new(binaries::path("ruche-master"));
    let checked = finish(check.args(["check", "--data"]).arg(data), b"");
    if checked.code != 0 {
        return Err(format!("check ends with {}: {}{}", checked.code, checked.out(), checked.err()));
    }
    let mut serve = Command::new(binaries::path("ruche-master"));
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data);
    let mut master = Process::start(&mut serve, data.with_extension("log"));
    let address = wait_until("the master serves or ends", || match master.printed("listening on ") {
        Some(address) => Some(Ok(address)),
        None => master.ended().map(|status| Err(format!("serve ends with {status}: {}", master.log()))),
    })?;
    Ok(Revived { _master: master, reader: Reader::new(cluster).at(&address) })
}

/// What clients had been told when the power went: accepted programs and seen ends.
pub struct Told {
    /// Accepted, with the bytes that a whole run prints.
    pub accepted: BTreeMap<ProgramId, usize>,
    asked: BTreeMap<ProgramId, usize>,
    ended: BTreeMap<ProgramId, State>,
}

impl Told {
    /// A program that was submitted by other means, and the bytes that it prints.
    ///
    /// # Panics
    /// When it is no ID.
    pub fn also(&mut self, id: &str, bytes: usize) {
        self.asked.insert(id.parse().unwrap(), bytes);
    }
}

/// What clients had been told before this instant of the boot-time clock.
#[must_use]
pub fn told(calls: &[Call], until: u64) -> Told {
    let mut told = Told { accepted: BTreeMap::new(), asked: BTreeMap::new(), ended: BTreeMap::new() };
    for call in calls.iter().filter(|call| call.at < until) {
        match call.operation {
            Asked::Submit { id, bytes, .. } if call.phase == Phase::Ok => drop(told.accepted.insert(id, bytes)),
            Asked::Submit { id, bytes, .. } => drop(told.asked.insert(id, bytes)),
            Asked::Saw { id, state } => drop(told.ended.insert(id, state)),
            Asked::Cancel { .. } | Asked::Look { .. } => {}
        }
    }
    told
}

/// Opens what the disk holds and looks for everything that clients had been told.
///
/// # Panics
/// When something is missing, and when the folder does not open; says what.
pub fn check_image(cluster: &Cluster, files: &Files, told: &Told, what: &str) {
    let folder = tempfile::Builder::new().prefix("ruche-power-").tempdir().unwrap();
    let data = folder.path().join("data");
    write_files(&data, files);
    let revived = revive(cluster, &data).unwrap_or_else(|error| panic!("{what}: {error}"));
    check_told(&revived.reader, told, told, what);
}

/// Looks for everything that clients had been told, and for nothing that none of them has asked by the time of `later`.
///
/// # Panics
/// When something is missing or invented; says what.
pub fn check_told(reader: &Reader, told: &Told, later: &Told, what: &str) {
    let rows: BTreeMap<_, _> = reader.rows().unwrap().into_iter().map(|row| (row.id, row)).collect();
    for id in told.accepted.keys() {
        assert!(rows.contains_key(id), "{what}: {id} was acknowledged and is lost");
    }
    for id in rows.keys() {
        assert!(later.asked.contains_key(id), "{what}: {id} was never submitted");
    }
    for (id, state) in &told.ended {
        let row = &rows[id];
        assert_eq!(row.state, *state, "{what}: {id} was shown as {state}");
        if *state == State::Done {
            let output = reader.output(*id).unwrap();
            assert!(output == output_of(*id, row.attempt, later.asked[id]), "{what}: the output of {id} is not whole");
        }
    }
}
