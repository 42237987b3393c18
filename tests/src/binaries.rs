//! The programs under test, built once.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The path of one of the project's programs. `RUCHE_BINARIES` names a folder whose programs go before those
/// of the workspace: how the mutation gate puts broken ones under test.
///
/// # Panics
/// When the workspace does not build.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    match std::env::var_os("RUCHE_BINARIES").map(PathBuf::from) {
        Some(given) if given.join(name).exists() => given.join(name),
        Some(_) => own_folder().join(name),
        None => folder().join(name),
    }
}

/// Copies a program so that it can be executed at once. By another process: a child that a test beside this one forks
/// while the file is open for writing would make it busy.
///
/// # Panics
/// When it cannot be copied.
pub fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").args([from, to]).status().unwrap();
    assert!(copied.success(), "{} cannot be copied to {}", from.display(), to.display());
}

/// Where the programs of this build lie, without building them.
fn own_folder() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let beside = own.parent().unwrap();
    let deps = beside.file_name().is_some_and(|name| name == "deps");
    if deps { beside.parent().unwrap().to_owned() } else { beside.to_owned() }
}

fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let own = std::env::current_exe().unwrap();
        let beside = own.parent().unwrap();
        if beside.file_name().is_none_or(|name| name != "deps") {
            // The benchmark: built together with the programs that it measures.
            return beside.to_owned();
        }
        // A test, in target/PROFILE/deps.
        let folder = beside.parent().unwrap().to_owned();
        // The same targets, and so the same features, as `cargo xtask check`: nothing is compiled twice,
        // and when all is built it costs a fraction of a second.
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--workspace", "--all-targets"]).current_dir(workspace());
        if folder.file_name().is_some_and(|name| name != "debug") {
            build.arg("--profile").arg(folder.file_name().unwrap());
        }
        assert!(build.status().unwrap().success(), "the programs under test do not build");
        folder
    })
}

/// The project's top folder.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
