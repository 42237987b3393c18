//! House rules that no other tool knows. Each is one function from the files to the complaints.

use crate::{
    errors, requirements,
    workspace::{TextFile, root, text_files},
};
use anyhow::bail;
use std::path::Path;

/// Lines of one source file.
const FILE_LINES_MAX: usize = 600;

/// Folders whose code decides and therefore knows no socket, file, clock or chance.
const PURE: [&str; 4] = ["common/src/", "scheduler/src/", "master/src/core/", "slave/src/core/"];

/// Words that code in [`PURE`] must not hold.
const IMPURE_WORDS: [&str; 10] = [
    "tokio",
    "std::fs",
    "std::net",
    "std::thread",
    "std::env",
    "Instant::now",
    "SystemTime::now",
    "Uuid::new_v4",
    "Uuid::now_v7",
    "getrandom",
];

/// Crates with a `clippy.toml` of their own. Clippy reads only the nearest, so each repeats the root's lines.
const OWN_CLIPPY: [&str; 3] = ["common", "scheduler", "client-gui"];

/// Prints what breaks a rule.
///
/// # Errors
/// When anything does, or a file cannot be read.
pub fn run() -> anyhow::Result<()> {
    let complaints = complaints()?;
    for complaint in &complaints {
        println!("{complaint}");
    }
    if complaints.is_empty() {
        println!("tidy");
        return Ok(());
    }
    bail!("{} house rules are broken", complaints.len());
}

/// Everything that breaks a rule, as `path:line: what`.
///
/// # Errors
/// When a file cannot be read.
pub fn complaints() -> anyhow::Result<Vec<String>> {
    let files = text_files()?;
    let mut found = Vec::new();
    for file in &files {
        found.extend(too_long(file));
        found.extend(without_purpose(file));
        found.extend(unfinished(file));
        found.extend(impure(file));
        found.extend(paths_of_a_machine(file));
        found.extend(broken_links(file, &root()));
    }
    found.extend(clippy_settings(&files));
    found.extend(crates_without_readme(&files));
    found.extend(requirements::unknown_ids(&files)?);
    if !files.iter().any(|file| file.path == errors::PATH && file.text == errors::document()) {
        found.push(format!("{}: is not current; run `cargo xtask errors`", errors::PATH));
    }
    Ok(found)
}

fn too_long(file: &TextFile) -> Option<String> {
    let lines = file.text.lines().count();
    (file.is(".rs") && lines > FILE_LINES_MAX)
        .then(|| format!("{}: {lines} lines; split it, {FILE_LINES_MAX} is the most", file.path))
}

/// The first line of a source file says what the file is for.
fn without_purpose(file: &TextFile) -> Option<String> {
    // A file called `tests.rs` says it with its name.
    let source = file.is(".rs") && file.path.contains("/src/") && !file.path.ends_with("/tests.rs");
    (source && !file.text.starts_with("//!")).then(|| format!("{}:1: begins without `//!` and its purpose", file.path))
}

/// Marks of unfinished work. Written in two halves, so that this file does not find itself.
fn unfinished(file: &TextFile) -> Vec<String> {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("db", "g!("),
        concat!("#[ig", "nore"),
        concat!("unimpl", "emented!("),
        concat!("to", "do!("),
    ];
    if file.is(".rs") { lines_with(file, &marks, "is unfinished work: ") } else { Vec::new() }
}

fn impure(file: &TextFile) -> Vec<String> {
    let pure = PURE.iter().any(|folder| file.path.starts_with(folder)) || is_core_file(&file.path);
    if file.is(".rs") && pure { lines_with(file, &IMPURE_WORDS, "belongs outside of pure code: ") } else { Vec::new() }
}

fn is_core_file(path: &str) -> bool {
    path == "master/src/core.rs" || path == "slave/src/core.rs"
}

/// Paths that exist on one machine only. Code that keeps programs out of homes may name them.
fn paths_of_a_machine(file: &TextFile) -> Vec<String> {
    let marks = [concat!("/wo", "rk/"), concat!("../sh", "ared"), concat!("/ro", "ot/.")];
    if file.path == "Cargo.lock" { Vec::new() } else { lines_with(file, &marks, "is a path of one machine: ") }
}

/// Comments may name what code may not.
fn lines_with(file: &TextFile, marks: &[&str], what: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        for mark in marks.iter().filter(|mark| line.contains(**mark)) {
            let comment = line.trim_start().starts_with("//");
            if !comment || mark.chars().all(|c| c.is_ascii_uppercase() || c == '/') {
                found.push(format!("{}:{}: {what}`{mark}`", file.path, number + 1));
            }
        }
    }
    found
}

/// Links between documents lead somewhere.
fn broken_links(file: &TextFile, root: &Path) -> Vec<String> {
    if !file.is(".md") {
        return Vec::new();
    }
    let folder = root.join(&file.path).parent().map(Path::to_path_buf).unwrap_or_default();
    let markdown = file.text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let html = ["src=\"", "srcset=\"", "href=\""]
        .into_iter()
        .flat_map(|mark| file.text.split(mark).skip(1).filter_map(|rest| rest.split('"').next()));
    markdown
        .chain(html)
        .map(|target| target.split('#').next().unwrap_or_default())
        .filter(|target| !target.is_empty() && !target.contains(':') && !target.contains(' '))
        .filter(|target| !folder.join(target).exists())
        .map(|target| format!("{}: the link to `{target}` leads nowhere", file.path))
        .collect()
}

fn clippy_settings(files: &[TextFile]) -> Vec<String> {
    let text_of = |path: &str| files.iter().find(|file| file.path == path).map(|file| file.text.as_str());
    let wanted = text_of("clippy.toml").unwrap_or_default();
    let mut found = Vec::new();
    for name in OWN_CLIPPY {
        let path = format!("{name}/clippy.toml");
        let Some(text) = text_of(&path) else {
            continue;
        };
        let manifest = text_of(&format!("{name}/Cargo.toml")).unwrap_or_default();
        let missing = wanted
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("allow-") || line.starts_with('{'))
            // A path into a crate that is not a dependency would itself be a warning.
            .filter(|line| !line.contains("\"tokio::") || manifest.contains("tokio"))
            .filter(|line| !text.lines().any(|other| other.trim() == *line));
        found.extend(missing.map(|line| format!("{path}: does not repeat the root's line `{line}`")));
    }
    found
}

fn crates_without_readme(files: &[TextFile]) -> Vec<String> {
    files
        .iter()
        .filter_map(|file| file.path.strip_suffix("/Cargo.toml"))
        .filter(|folder| !files.iter().any(|file| file.path == format!("{folder}/README.md")))
        .map(|folder| format!("{folder}: has no README.md that says what the crate is for"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_project_is_tidy() {
        let complaints = complaints().expect("the project can be read");
        assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
    }

    fn rust(path: &str, text: &str) -> TextFile {
        TextFile { path: path.into(), text: text.into() }
    }

    #[test]
    fn each_rule_finds_what_it_is_for() {
        assert!(too_long(&rust("a/src/b.rs", &"\n".repeat(601))).is_some());
        assert!(too_long(&rust("a/src/b.rs", &"\n".repeat(600))).is_none());
        assert!(without_purpose(&rust("a/src/b.rs", "use x;")).is_some());
        assert_eq!(unfinished(&rust("a/src/b.rs", concat!("// TO", "DO later"))).len(), 1);
        assert_eq!(impure(&rust("scheduler/src/b.rs", "let now = Instant::now();")).len(), 1);
        assert_eq!(impure(&rust("transport/src/b.rs", "let now = Instant::now();")).len(), 0);
        assert_eq!(impure(&rust("scheduler/src/b.rs", "// no tokio here")).len(), 0);
        assert_eq!(paths_of_a_machine(&rust("a.md", concat!("see /wo", "rk/main"))).len(), 1);
        assert_eq!(broken_links(&rust("a.md", "[x](no/such.md) [y](https://example.org)"), &root()).len(), 1);
    }

    #[test]
    fn a_pure_crate_must_repeat_the_lines_of_the_root() {
        let files = [
            rust("clippy.toml", "allow-unwrap-in-tests = true\n{ path = \"tokio::x\" },\n"),
            rust("common/clippy.toml", "# nothing\n"),
            rust("common/Cargo.toml", ""),
        ];
        assert_eq!(clippy_settings(&files).len(), 1);
    }
}
