//! The folders that programs may read and execute: those of the system, and those where their tools are. Never the
//! slave's own folder, and of a person's home only what tools need.

use crate::config::{Config, NEVER_SHOWN};
use launcher::isolation::usual_system_folders;
use std::path::{Path, PathBuf};

/// In a home, where rustup's tools are. Not `.cargo` itself: `.cargo/credentials.toml` holds a person's tokens.
const RUST_FOLDERS: [&str; 2] = [".cargo/bin", ".rustup"];

/// All of them, none within another.
pub(super) fn folders(config: &Config, own: &[&Path], tools: &[PathBuf]) -> Vec<PathBuf> {
    let usual = usual_system_folders();
    let is_usual = |path: &Path| usual.iter().any(|folder| path.starts_with(folder));
    let mut more: Vec<PathBuf> = config.program_path.iter().filter(|folder| !is_usual(folder)).cloned().collect();
    if !rustix::process::geteuid().is_root()
        && let Some(home) = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute())
    {
        more.extend(RUST_FOLDERS.map(|folder| home.join(folder)));
    }
    for tool in tools {
        // A link may lead out of the folder that it is in; its target must be seen as well.
        let real = tool.canonicalize().unwrap_or_else(|_| tool.clone());
        more.extend([tool, &real].into_iter().filter(|path| !is_usual(path)).filter_map(|path| home_of(path)));
    }
    more.extend(config.read_only.iter().filter(|folder| !is_usual(folder)).cloned());
    more.retain(|folder| folder.is_dir() && !is_never_shown(folder));
    let mut all: Vec<PathBuf> = usual;
    all.extend(more);
    own.iter().fold(without_inner(all), |all, own| {
        let mut shown = Vec::new();
        all.into_iter().for_each(|folder| without_own(folder, own, &mut shown));
        shown
    })
}

fn is_never_shown(folder: &Path) -> bool {
    let real = folder.canonicalize();
    let real = real.as_deref().unwrap_or(folder);
    NEVER_SHOWN.iter().any(|never| real == Path::new(never) || folder == Path::new(never))
        || std::env::var_os("HOME").is_some_and(|home| real == Path::new(&home))
}

/// The folder that a tool needs to work: with `…/python/bin/python3` its libraries are in `…/python/lib`. Of a hidden
/// folder such as `.cargo` only the tools themselves: other things are in it.
fn home_of(tool: &Path) -> Option<PathBuf> {
    let folder = tool.parent()?;
    let above = folder.parent()?;
    let is_hidden = above.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let whole = folder.ends_with("bin") && !is_hidden && !is_never_shown(above);
    Some(if whole { above } else { folder }.to_owned())
}

/// Leaves out what lies within another.
fn without_inner(mut all: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|folder| seen.insert(folder.clone()));
    let outer = |folder: &PathBuf| !seen.iter().any(|other| folder != other && folder.starts_with(other));
    all.into_iter().filter(outer).collect()
}

/// The folder; or, where a folder of the slave's own is in it, what is beside that.
fn without_own(folder: PathBuf, own: &Path, shown: &mut Vec<PathBuf>) {
    let real = folder.canonicalize();
    let real = real.as_deref().unwrap_or(&folder);
    if real.starts_with(own) {
        return;
    }
    if !own.starts_with(real) {
        return shown.push(folder);
    }
    let mut inner: Vec<PathBuf> =
        std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    inner.sort();
    for inner in inner.into_iter().filter(|inner| inner.is_dir()) {
        without_own(inner, own, shown);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i18_the_slaves_own_folder_is_in_none_that_programs_see() {
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().canonicalize().unwrap();
        for path in ["opt/a", "opt/ruche/data/work", "opt/ruche/bin"] {
            std::fs::create_dir_all(folder.join(path)).unwrap();
        }
        std::os::unix::fs::symlink(folder.join("opt/ruche/data"), folder.join("opt/link")).unwrap();
        let mut shown = Vec::new();
        without_own(folder.join("opt"), &folder.join("opt/ruche/data"), &mut shown);
        assert_eq!(shown, [folder.join("opt/a"), folder.join("opt/ruche/bin")]);
    }

    #[test]
    fn i18_of_a_home_only_the_tools_are_seen() {
        for (tool, seen) in [
            ("/home/ann/.cargo/bin/rustc", "/home/ann/.cargo/bin"),
            ("/home/ann/.local/bin/tool", "/home/ann/.local/bin"),
            ("/home/ann/.pyenv/versions/3.12/bin/python3", "/home/ann/.pyenv/versions/3.12"),
            ("/srv/tools/go/bin/go", "/srv/tools/go"),
            ("/home/bin/tool", "/home/bin"),
            ("/srv/tool", "/srv"),
        ] {
            assert_eq!(home_of(Path::new(tool)).unwrap(), Path::new(seen), "{tool}");
        }
        assert_eq!(
            without_inner(["/usr", "/usr/bin", "/srv/a", "/usr", "/srv/ab"].map(PathBuf::from).to_vec()),
            ["/usr", "/srv/a", "/srv/ab"].map(PathBuf::from)
        );
    }
}
