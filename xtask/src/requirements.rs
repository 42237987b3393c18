//! Which requirements of `docs/requirements.md` have a test named after them.

use crate::workspace::{TextFile, root, text_files};
use anyhow::{Context, ensure};
use std::collections::{BTreeMap, BTreeSet};

/// Where the list stands, from the root.
pub const PATH: &str = "docs/requirements.md";
/// What the list says of a goal that this release does not have.
const LATER: &str = "later";
/// What it says of one that this release has a part of.
const IN_PART: &str = "in part";

/// Prints every requirement with the number of its tests.
///
/// # Errors
/// When the list or a source cannot be read.
pub fn run() -> anyhow::Result<()> {
    let known = known()?;
    let mut count: BTreeMap<&str, usize> = known.iter().map(|row| (row.id.as_str(), 0)).collect();
    let tests = text_files()?.iter().flat_map(test_names).collect::<Vec<_>>();
    for id in tests.iter().filter_map(|name| id_of(name)) {
        if let Some(number) = count.get_mut(id.as_str()) {
            *number += 1;
        }
    }
    for Requirement { id, words, place } in &known {
        let extent = if place == LATER {
            " (later)"
        } else if place.contains(IN_PART) {
            " (in part)"
        } else {
            ""
        };
        println!("{id:>4} {:>3} {words}{extent}", count[id.as_str()]);
    }
    let later = known.iter().filter(|row| row.place == LATER).map(|row| row.id.as_str()).collect::<Vec<_>>();
    let without = known.iter().filter(|row| row.place != LATER && count[row.id.as_str()] == 0);
    let without = without.map(|row| row.id.as_str()).collect::<Vec<_>>();
    let present = known.len() - later.len();
    println!("\nOf {present} in this release {} have a test of their name.", present - without.len());
    println!("Without: {}", without.join(" "));
    println!("Later: {}", later.join(" "));
    Ok(())
}

/// One row of the list.
#[derive(Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The identifier, as `E5`.
    pub id: String,
    /// What is asked for.
    pub words: String,
    /// Where it is done, or that it is not yet.
    pub place: String,
}

/// The requirements in the list's order.
///
/// # Errors
/// When the list cannot be read or is empty.
pub fn known() -> anyhow::Result<Vec<Requirement>> {
    let text = std::fs::read_to_string(root().join(PATH)).with_context(|| format!("cannot read {PATH}"))?;
    let known: Vec<_> = text.lines().filter_map(row).collect();
    ensure!(!known.is_empty(), "{PATH} lists no requirement");
    Ok(known)
}

fn row(line: &str) -> Option<Requirement> {
    let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
    let (id, words, place) = (cells.next()?, cells.next()?, cells.next()?);
    is_id(id).then(|| Requirement { id: id.to_owned(), words: words.to_owned(), place: place.to_owned() })
}

fn is_id(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next().is_some_and(|c| "ESRMVP".contains(c)) && text.len() > 1 && chars.all(|c| c.is_ascii_digit())
}

/// The requirement that a test's name begins with: `e13_a_result_stays` is about E13.
#[must_use]
pub fn id_of(test_name: &str) -> Option<String> {
    let id = test_name.split('_').next()?.to_uppercase();
    is_id(&id).then_some(id)
}

/// The names of the test functions in a Rust file.
#[must_use]
pub fn test_names(file: &TextFile) -> Vec<String> {
    if !file.is(".rs") {
        return Vec::new();
    }
    let mut names = Vec::new();
    let mut in_attributes = false;
    for line in file.text.lines().map(str::trim) {
        if line.starts_with("#[") && line.contains("test") {
            in_attributes = true;
        } else if in_attributes && !line.starts_with('#') && !line.starts_with("//") {
            let words = line.trim_start_matches("pub ").trim_start_matches("async ");
            if let Some(rest) = words.strip_prefix("fn ") {
                names.extend(rest.split('(').next().map(str::to_owned));
            }
            in_attributes = false;
        }
    }
    names
}

/// The tests that name a requirement which the list does not have.
///
/// # Errors
/// When the list cannot be read.
pub fn unknown_ids(files: &[TextFile]) -> anyhow::Result<Vec<String>> {
    let known: BTreeSet<_> = known()?.into_iter().map(|row| row.id).collect();
    Ok(files
        .iter()
        .flat_map(|file| test_names(file).into_iter().map(move |name| (file, name)))
        .filter_map(|(file, name)| {
            let id = id_of(&name).filter(|id| !known.contains(id))?;
            Some(format!("{}: the test `{name}` names {id}, which {PATH} does not list", file.path))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_behind_their_attributes() {
        let text =
            "#[test]\nfn e1_one() {}\n#[tokio::test(flavor = \"x\")]\n// why\n    async fn plain() {}\nfn e2_no() {}\n";
        let file = TextFile { path: "a.rs".into(), text: text.into() };
        assert_eq!(test_names(&file), ["e1_one", "plain"]);
        assert_eq!(id_of("e13_result"), Some("E13".into()));
        assert_eq!(id_of("plain"), None);
        assert_eq!(id_of("e_x"), None);
    }
}
