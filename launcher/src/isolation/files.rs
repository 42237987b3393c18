//! Landlock: files outside of a program's reach even where it could name them, sockets without a file and signals
//! to whoever is not of the program. Prepared once; entered by one call.

use super::Problem;
use landlock::{
    ABI, Access as _, AccessFs, BitFlags, PathBeneath, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, Scope,
    make_bitflags,
};
use std::{
    fs::{File, OpenOptions},
    io,
    os::{fd::OwnedFd, unix::fs::OpenOptionsExt},
    path::{Path, PathBuf},
};

/// The newest rules that are known here; of an older kernel what it has.
const NEWEST: ABI = ABI::V6;
/// From here on sockets without a file and signals stay within.
pub(super) const SCOPES_SINCE: i32 = 6;

const LIST: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadDir});
const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{Execute | ReadFile | ReadDir});
const DEVICES: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | Truncate | IoctlDev});
/// In a `/proc` of its own; in the machine's, others of the same user could be written to.
const PROCESSES: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | Truncate});
/// Everything but devices and their control.
const WRITE: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    Execute | WriteFile | ReadFile | ReadDir | RemoveDir | RemoveFile | MakeDir | MakeReg | MakeSock | MakeFifo
    | MakeSym | Refer | Truncate
});

/// The kernel's version of these rules; 0 where there are none.
pub(super) fn version() -> i32 {
    // SAFETY: with this flag the call takes nothing and answers with a number.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, 1_u32) };
    i32::try_from(version).unwrap_or(0).max(0)
}

/// `listed` is the root of a view, below which programs may list; below the others they read and execute, or write as
/// well. What is not there needs no rule.
pub(super) fn rules<'a>(
    listed: Option<&'a Path>,
    readable: impl Iterator<Item = &'a Path>,
    writable: impl Iterator<Item = &'a Path>,
) -> Result<OwnedFd, Problem> {
    let failed =
        |error: landlock::RulesetError| Problem::new("the rules of Landlock".to_owned(), io::Error::other(error));
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|rules| rules.scope(Scope::from_all(NEWEST)))
        .and_then(Ruleset::create)
        .map_err(failed)?;
    let wanted = readable.map(|path| (path, READ)).chain(writable.map(|path| (path, WRITE)));
    let wanted = wanted.chain(listed.map(|path| (path, LIST)));
    let processes = if listed.is_some() { PROCESSES } else { READ };
    let wanted = wanted.chain([(Path::new("/dev"), DEVICES), (Path::new("/proc"), processes)]);
    for (path, access) in wanted {
        rules = allow(rules, path, access)?;
    }
    let none = || Problem::new("Landlock".to_owned(), io::Error::from_raw_os_error(libc::ENOSYS));
    Option::<OwnedFd>::from(rules).ok_or_else(none)
}

fn allow(rules: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, Problem> {
    let failed = |error| Problem::new(format!("a rule of Landlock for {}", path.display()), error);
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(rules),
        Err(error) => return Err(failed(error)),
    };
    let access = if is_folder(&file).map_err(failed)? { access } else { access & AccessFs::from_file(NEWEST) };
    rules.add_rule(PathBeneath::new(file, access)).map_err(|error| failed(io::Error::other(error)))
}

fn is_folder(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.is_dir())
}

/// What may be read where programs see the machine's own files.
pub(super) fn readable_without_view(system: &[PathBuf]) -> impl Iterator<Item = &Path> {
    system.iter().map(PathBuf::as_path).chain([Path::new("/sys")])
}
