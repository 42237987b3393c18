//! Where the project is, its files, and how its commands are run.

use anyhow::{Context, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The folder that holds the whole project.
#[must_use]
pub fn root() -> PathBuf {
    // Asked at run time first, so that a moved checkout is found where it is now.
    let own = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    own.parent().map(Path::to_path_buf).unwrap_or(own)
}

/// A text file of the project.
#[derive(Clone, Debug)]
pub struct TextFile {
    /// From the root, with forward slashes.
    pub path: String,
    /// What is in it.
    pub text: String,
}

impl TextFile {
    /// Whether the file's name ends like this.
    #[must_use]
    pub fn is(&self, extension: &str) -> bool {
        self.path.ends_with(extension)
    }
}

/// Every text file of the project, by path. Build products, pictures and fonts are left out.
///
/// # Errors
/// When a folder or file cannot be read.
pub fn text_files() -> anyhow::Result<Vec<TextFile>> {
    let root = root();
    let mut files = Vec::new();
    collect(&root, &root, &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<TextFile>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let skipped = name == "target" || name == ".git" || name == "node_modules";
        let kind = entry.file_type()?;
        if kind.is_dir() && !skipped {
            collect(root, &path, files)?;
        } else if kind.is_file() && fs::metadata(&path)?.len() < 4 << 20 {
            // What is not text is a picture, a font or a stored frame, which these checks are not about.
            if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
                files.push(TextFile { path, text });
            }
        }
    }
    Ok(())
}

/// A command that runs in the project's root, with cargo's own variables of the outer run taken out,
/// so that what it builds is what the same line in a terminal would build.
#[must_use]
pub fn command(words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).current_dir(root());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "CARGO_BIN_NAME" {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a command to its end.
///
/// # Errors
/// When it cannot be started or ends with anything but 0.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let line = line_of(command);
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

/// Runs a command and gives its standard output.
///
/// # Errors
/// When it cannot be started, ends with anything but 0 or prints what is not text.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let line = line_of(command);
    let output = command.output().with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{line}` printed what is not text"))
}

/// The folder of the binaries of a profile.
#[must_use]
pub fn binaries(profile: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join(if profile == "dev" { "debug" } else { profile })
}

fn line_of(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
