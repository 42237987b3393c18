//! The configuration: a TOML file, and what the command line puts in its place.

use common::{ErrorCode, UserError, limits, units::Duration};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Where programs and their commands are looked for when nothing else is said.
const PROGRAM_PATH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// The user of slot 0 when programs run as users of their own.
pub const PROGRAM_UID_BASE: u32 = 61_000;
/// Time that running programs get when the slave is stopped.
const GRACE: Duration = Duration::from_secs(10);

/// The file, as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    slots: Option<u32>,
    slots_max: Option<u32>,
    name: Option<String>,
    languages: Option<PathBuf>,
    program_path: Option<Vec<PathBuf>>,
    program_uid_base: Option<u32>,
    grace: Option<String>,
    memory: Memory,
}

/// Who keeps the memory and process limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Memory {
    /// Control groups where they work, else watching.
    #[default]
    Auto,
    /// Watching, everywhere.
    Watch,
}

/// The settings of a slave.
#[derive(Clone, Debug)]
pub struct Config {
    /// Slots that it offers.
    pub slots: u32,
    /// Slots that it never exceeds, whatever the master says.
    pub slots_max: u32,
    /// The name that it wants.
    pub name: String,
    /// A table of languages that adds to the built-in one.
    pub languages: Option<PathBuf>,
    /// Where programs are looked for, and their PATH.
    pub program_path: Vec<PathBuf>,
    /// The user of slot 0; none when the slave chooses.
    pub program_uid_base: Option<u32>,
    /// Time that running programs get when the slave is stopped.
    pub grace: Duration,
    /// Who keeps the memory limit.
    pub memory: Memory,
}

impl Config {
    /// Reads `file`; the other arguments come from the command line and go before it.
    ///
    /// # Errors
    /// Names the file, the setting and what is accepted.
    pub fn load(file: Option<&Path>, slots: Option<u32>, name: Option<String>) -> Result<Self, UserError> {
        let read = match file {
            None => File::default(),
            Some(path) => {
                let invalid = |reason: String| {
                    let sentence = format!("the configuration {} cannot be used: {reason}", path.display());
                    UserError::new(ErrorCode::ConfigInvalid, sentence)
                };
                let text = std::fs::read_to_string(path).map_err(|error| invalid(error.to_string()))?;
                toml::from_str(&text).map_err(|error| invalid(error.to_string()))?
            }
        };
        Self::from_file(read, slots, name)
    }

    fn from_file(file: File, slots: Option<u32>, name: Option<String>) -> Result<Self, UserError> {
        let invalid = |reason: String| Err(UserError::new(ErrorCode::ConfigInvalid, reason));
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let slots_max = file.slots_max.unwrap_or(limits::SLOTS_MAX);
        let default = u32::try_from(cpus).unwrap_or(1).min(slots_max);
        let slots = slots.or(file.slots).unwrap_or(default);
        if slots > slots_max.min(limits::SLOTS_MAX) {
            return invalid(format!(
                "{slots} slots are too many; at most {} are accepted",
                slots_max.min(limits::SLOTS_MAX)
            ));
        }
        let name = name.or(file.name).unwrap_or_else(host_name);
        let is_name_character = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > limits::PEER_NAME_BYTES_MAX || !name.chars().all(is_name_character) {
            let shown = common::escape::RawText::from(name.as_str());
            return invalid(format!(
                "`{shown}` cannot be a slave's name; letters, digits, `-`, `_` and `.` are accepted, at most {} bytes",
                limits::PEER_NAME_BYTES_MAX
            ));
        }
        if let Some(folder) = file.program_path.iter().flatten().find(|folder| !folder.is_absolute()) {
            return invalid(format!("program_path has `{}`, which does not begin with `/`", folder.display()));
        }
        if let Some(base) = file.program_uid_base.filter(|base| *base < 1_000 || *base > u32::MAX - 2_000) {
            return invalid(format!("program_uid_base is {base}; users below 1000 belong to the system"));
        }
        let grace = match file.grace.as_deref().map(str::parse) {
            None => GRACE,
            Some(Ok(grace)) => grace,
            Some(Err(error)) => return invalid(format!("grace: {error}")),
        };
        Ok(Self {
            slots,
            slots_max: slots_max.min(limits::SLOTS_MAX),
            name,
            languages: file.languages,
            program_path: program_path(file.program_path.unwrap_or_default()),
            program_uid_base: file.program_uid_base,
            grace,
            memory: file.memory,
        })
    }
}

/// The given folders, then the usual ones; an ordinary user's own tools come between.
fn program_path(given: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut all = given;
    if !rustix::process::geteuid().is_root()
        && let Some(home) = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute())
    {
        all.extend(
            [".cargo/bin", ".local/bin"].map(|folder| home.join(folder)).into_iter().filter(|path| path.is_dir()),
        );
    }
    all.extend(PROGRAM_PATH.map(PathBuf::from));
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|folder| seen.insert(folder.clone()));
    all
}

/// The host's name, with what no name may have replaced.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let fits = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let name: String = name.chars().map(fits).take(limits::PEER_NAME_BYTES_MAX).collect();
    if name.is_empty() { "slave".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        Config::from_file(file, None, None).map_err(|error| error.sentence)
    }

    #[test]
    fn e9_a_mistake_in_the_configuration_is_named() {
        for (text, named) in [
            ("slot = 3", "slot"),
            ("slots = 5000", "5000"),
            ("name = \"a b\"", "a b"),
            ("program_path = [\"bin\"]", "bin"),
            ("program_uid_base = 0", "program_uid_base"),
            ("grace = \"soon\"", "soon"),
            ("memory = \"magic\"", "magic"),
        ] {
            assert!(load(text).unwrap_err().contains(named), "{text}");
        }
        let config = load("slots = 3\ngrace = \"2s\"\nprogram_path = [\"/opt/bin\"]\nmemory = \"watch\"").unwrap();
        assert_eq!((config.slots, config.grace, config.memory), (3, Duration::from_secs(2), Memory::Watch));
        assert_eq!(config.program_path[0], Path::new("/opt/bin"));
    }
}
