//! Which languages this machine can run: the table, the tools that are found, and a real run of each.

mod cache;
mod find;
pub mod java;
mod probe;

use crate::executor::Executor;
use cache::Cache;
use common::{ErrorCode, UserError, language::Language, view::LanguageOffer};
use std::path::{Path, PathBuf};

/// Entry for the fuzz targets.
pub(crate) fn fuzz_version(text: &str) -> Option<String> {
    probe::version_in(text)
}

/// Entry for the fuzz targets.
pub(crate) fn fuzz_cache(bytes: &[u8]) {
    drop(Cache::read(bytes));
}

/// A language that works here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// Its entry in the table.
    pub language: Language,
    /// The program that was found.
    pub tool: PathBuf,
    /// Its version, shortened to the number.
    pub version: String,
}

/// A language of the table and whether it works here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its entry in the table.
    pub language: Language,
    /// The tool and its version, or why the language cannot be used.
    pub result: Result<(PathBuf, String), String>,
}

impl Found {
    /// The language, when it works.
    #[must_use]
    pub fn offered(&self) -> Option<Offered> {
        let (tool, version) = self.result.as_ref().ok()?;
        Some(Offered { language: self.language.clone(), tool: tool.clone(), version: version.clone() })
    }

    /// What the master is told.
    #[must_use]
    pub fn offer(&self) -> Option<LanguageOffer> {
        let (_, version) = self.result.as_ref().ok()?;
        Some(LanguageOffer {
            name: self.language.name.clone(),
            version: version.clone(),
            extensions: self.language.extensions.clone(),
        })
    }
}

/// The built-in table with the languages of `file` added, or put in place of those of the same name.
///
/// # Errors
/// When the file cannot be read or has a mistake.
pub fn table(file: Option<&Path>) -> Result<Vec<Language>, UserError> {
    let mut table = common::language::built_in().to_vec();
    let Some(file) = file else { return Ok(table) };
    let invalid = |reason: String| {
        let sentence = format!("the table of languages {} cannot be used: {reason}", file.display());
        UserError::new(ErrorCode::ConfigInvalid, sentence)
    };
    let text = std::fs::read_to_string(file).map_err(|error| invalid(error.to_string()))?;
    for language in common::language::parse(&text).map_err(invalid)? {
        match table.iter_mut().find(|known| known.name.eq_ignore_ascii_case(&language.name)) {
            Some(known) => *known = language,
            None => table.push(language),
        }
    }
    if table.len() > common::limits::LANGUAGES_PER_SLAVE_MAX {
        return Err(invalid(format!("there are more than {} languages", common::limits::LANGUAGES_PER_SLAVE_MAX)));
    }
    Ok(table)
}

/// Where the tools of these languages are, whether they work or not.
#[must_use]
pub fn tools(table: &[Language], program_path: &[PathBuf], uid: u32) -> Vec<PathBuf> {
    table.iter().flat_map(|language| find::tools(language, program_path, uid).0).collect()
}

/// Looks for each language of `table` and runs its probe, as real programs run and `slots` at once. What
/// worked the last time with the same tool, shut in `within` the same, is not tried again.
///
/// # Errors
/// When the launcher is gone.
pub fn find_all(
    table: Vec<Language>,
    executor: &mut Executor,
    slots: u32,
    program_path: &[PathBuf],
    uid: u32,
    within: &str,
    cache_file: &Path,
) -> std::io::Result<Vec<Found>> {
    let mut cache = Cache::load(cache_file);
    let mut probes = Vec::new();
    let mut found = Vec::new();
    for language in table {
        let (tools, reason) = find::tools(&language, program_path, uid);
        let known = tools.iter().find_map(|tool| Some((tool.clone(), cache.get(&language, tool, uid, within)?)));
        let result = match known {
            Some(result) => Ok(result),
            None => {
                if !tools.is_empty() {
                    probes.push(probe::Probe::new(found.len(), language.clone(), tools));
                }
                Err(reason)
            }
        };
        found.push(Found { language, result });
    }
    for (index, result) in probe::run_all(probes, executor, slots.max(1) as usize)? {
        if let Ok((tool, version)) = &result {
            cache.put(&found[index].language, tool, uid, within, version);
        }
        found[index].result = result;
    }
    cache.save(cache_file);
    executor.set_languages(found.iter().filter_map(Found::offered));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e12_a_file_adds_languages_and_replaces_those_of_the_same_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("languages.toml");
        let entry = |name: &str, tool: &str| {
            format!(
                "[[language]]\nname = \"{name}\"\nextensions = [\"x\"]\nfind = [\"{tool}\"]\nversion = [\"{{tool}}\"]\nrun = [\"{{tool}}\"]\nprobe = \"\"\n"
            )
        };
        std::fs::write(&file, entry("Guile", "guile") + &entry("python", "mypython")).unwrap();
        let found = table(Some(&file)).unwrap();
        assert_eq!(found.len(), common::language::built_in().len() + 1);
        assert_eq!(common::language::by_name(&found, "Python").unwrap().find, ["mypython"]);
        std::fs::write(&file, "[[language]]\nname = 3\n").unwrap();
        assert!(table(Some(&file)).unwrap_err().is(ErrorCode::ConfigInvalid));
        assert!(table(Some(Path::new("/nonexistent"))).unwrap_err().is(ErrorCode::ConfigInvalid));
    }
}
