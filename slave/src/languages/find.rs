//! Finds tools in the PATH of programs, with the eyes of the user that programs run as.

use common::language::Language;
use rustix::fs::{Access, AtFlags};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The tools of a language that the user may execute, best first; and why there is none.
pub(super) fn tools(language: &Language, program_path: &[PathBuf], uid: u32) -> (Vec<PathBuf>, String) {
    let mut found = Vec::new();
    let mut refused = None;
    for name in &language.find {
        for folder in program_path {
            let path = folder.join(name);
            if !path.is_file() {
                continue;
            }
            if may_execute(&path, uid) {
                found.push(path);
            } else {
                refused.get_or_insert(path);
            }
        }
    }
    let names = language.find.join(", ");
    let folders: Vec<_> = program_path.iter().map(|folder| folder.display().to_string()).collect();
    let reason = match refused {
        Some(path) => format!("{} may not be executed by the user that programs run as (uid {uid})", path.display()),
        None => format!("none of {names} is in {}", folders.join(":")),
    };
    (found, reason)
}

/// Whether a user who owns nothing here may reach and execute a file. Without change of user the system
/// is asked.
fn may_execute(path: &Path, uid: u32) -> bool {
    if rustix::process::geteuid().as_raw() == uid {
        return rustix::fs::accessat(rustix::fs::CWD, path, Access::EXEC_OK, AtFlags::EACCESS).is_ok();
    }
    let Ok(real) = path.canonicalize() else { return false };
    allows(&real, uid) && [path, &real].iter().all(|path| path.ancestors().skip(1).all(|folder| allows(folder, uid)))
}

fn allows(path: &Path, uid: u32) -> bool {
    if path.as_os_str().is_empty() {
        return true;
    }
    fs::metadata(path).is_ok_and(|found| {
        let mode = found.permissions().mode();
        if found.uid() == uid { mode & 0o100 != 0 } else { mode & 0o001 != 0 }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e12_a_tool_behind_a_closed_folder_is_not_a_tool() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let tool = folder.path().join("tool");
        fs::write(&tool, "").unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
        let stranger = 4_000_000;
        let ancestors_open = folder.path().ancestors().skip(1).all(|above| allows(above, stranger));
        assert_eq!(may_execute(&tool, stranger), ancestors_open);
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!may_execute(&tool, stranger));
    }
}
