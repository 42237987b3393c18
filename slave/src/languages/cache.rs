//! Remembers which tools worked, so that a restart is quick. Wrong or old content is as good as none.

use common::language::Language;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt, path::Path};

/// Rises when the probe itself changes.
const FORMAT: u32 = 2;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Cache {
    format: u32,
    /// By language and level of isolation: what was tried, and the version that it said.
    languages: BTreeMap<String, Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    tried: Tried,
    version: String,
}

/// All that the answer depends on.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Tried {
    tool: String,
    modified: i64,
    modified_nanos: i64,
    bytes: u64,
    uid: u32,
    within: String,
    entry: String,
}

impl Tried {
    fn now(language: &Language, tool: &Path, uid: u32, within: &str) -> Option<Self> {
        let found = fs::metadata(tool).ok()?;
        Some(Self {
            tool: tool.canonicalize().ok()?.to_str()?.to_owned(),
            modified: found.mtime(),
            modified_nanos: found.mtime_nsec(),
            bytes: found.size(),
            uid,
            within: within.to_owned(),
            entry: toml::to_string(language).ok()?,
        })
    }
}

impl Cache {
    pub(super) fn load(file: &Path) -> Self {
        fs::read(file).ok().and_then(|bytes| Self::read(&bytes)).unwrap_or_default()
    }

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice::<Self>(bytes).ok().filter(|cache| cache.format == FORMAT)
    }

    /// The version that this tool said, when nothing has changed since.
    pub(super) fn get(&self, language: &Language, tool: &Path, uid: u32, within: &str) -> Option<String> {
        let entry = self.languages.get(&key(language, within))?;
        (entry.tried == Tried::now(language, tool, uid, within)?).then(|| entry.version.clone())
    }

    pub(super) fn put(&mut self, language: &Language, tool: &Path, uid: u32, within: &str, version: &str) {
        if let Some(tried) = Tried::now(language, tool, uid, within) {
            self.languages.insert(key(language, within), Entry { tried, version: version.to_owned() });
        }
    }

    /// Best effort: without it the next start takes a little longer.
    pub(super) fn save(mut self, file: &Path) {
        self.format = FORMAT;
        let temporary = file.with_extension("new");
        let written = serde_json::to_vec_pretty(&self).map_err(std::io::Error::other);
        let saved = written.and_then(|bytes| fs::write(&temporary, bytes)).and_then(|()| fs::rename(&temporary, file));
        if let Err(error) = saved {
            tracing::warn!(path = %file.display(), %error, "the languages that were found cannot be remembered");
        }
    }
}

/// The level is the first word of `within`: a slave that is tried at another one remembers both.
fn key(language: &Language, within: &str) -> String {
    format!("{} {}", language.name, within.split(' ').next().unwrap_or_default())
}
