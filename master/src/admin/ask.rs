//! The asking side: a running master through its socket, else the files of a stopped one.

use super::{
    AdminAnswer, AdminRequest,
    perform::{About, perform},
};
use crate::{
    config::LISTEN_DEFAULT,
    data_folder::{DataFolder, control_socket, identity},
    store::{SqliteStore, Storage, check},
};
use common::{ErrorCode, UserError};
use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};
use transport::Authority;

/// Longest answer of a master.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// A check of a large database takes a while; anything longer is a hung master.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(600);

/// Asks the master of a data folder.
///
/// # Errors
/// What the master says, or why it cannot be asked.
pub fn ask(data: &Path, request: AdminRequest) -> Result<AdminAnswer, UserError> {
    match UnixStream::connect(control_socket(data)) {
        Ok(stream) => ask_running(stream, &request),
        Err(_) => ask_stopped(data, &request),
    }
}

fn ask_running(mut stream: UnixStream, request: &AdminRequest) -> Result<AdminAnswer, UserError> {
    let failed = |error: &dyn std::fmt::Display| {
        UserError::new(ErrorCode::MasterUnreachable, format!("the running master does not answer: {error}"))
    };
    let mut line = serde_json::to_string(request).map_err(|error| failed(&error))?;
    line.push('\n');
    stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(|error| failed(&error))?;
    stream.write_all(line.as_bytes()).map_err(|error| failed(&error))?;
    let mut answer = String::new();
    BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut answer).map_err(|error| failed(&error))?;
    serde_json::from_str::<Result<AdminAnswer, UserError>>(&answer).map_err(|error| failed(&error))?
}

fn ask_stopped(data: &Path, request: &AdminRequest) -> Result<AdminAnswer, UserError> {
    let folder = DataFolder::lock(data)?;
    if matches!(request, AdminRequest::Check) {
        return check::stopped(folder.path()).map(AdminAnswer::Checked);
    }
    let authority = Authority::load_or_create(&identity(folder.path())).map_err(|error| UserError::from(&error))?;
    let mut store = SqliteStore::open(folder.path())?;
    let remembered = std::fs::read_to_string(address_file(data)).ok().filter(|address| !address.trim().is_empty());
    let address = remembered.map_or_else(|| LISTEN_DEFAULT.to_owned(), |address| address.trim().to_owned());
    let about = About { address, pin: authority.pin().to_string() };
    let who = format!("uid {} on the master's machine", nix::unistd::geteuid());
    perform(request, &mut store.accounts(), &about, &who)
}

/// Where a master leaves the address that it listened at, for the time when it is stopped.
pub(crate) fn address_file(data: &Path) -> std::path::PathBuf {
    data.join("address")
}
