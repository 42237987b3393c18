//! The configuration: a TOML file, and what the command line puts in its place.

use crate::ceiling;
use common::{
    ErrorCode, UserError, limits,
    units::{ByteSize, Duration},
    view::Ceiling,
};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    str::FromStr,
};

/// Where programs and their commands are looked for when nothing else is said.
const PROGRAM_PATH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// The user of slot 0 when programs run as users of their own.
pub const PROGRAM_UID_BASE: u32 = 61_000;
/// Time that running programs get when the slave is stopped.
const GRACE: Duration = Duration::from_secs(10);
/// Input files that are kept when nothing else is said.
const CACHE_MAX: ByteSize = ByteSize(8 << 30);

/// What may stand between a program and the machine, by the words that `require`, `without` and `doctor` use.
pub const GUARDS: [&str; 14] = [
    "own-user",
    "process-namespace",
    "private-files",
    "no-network",
    "private-messages",
    "private-names",
    "landlock",
    "seccomp",
    "no-new-privileges",
    "memory-limit",
    "process-limit",
    "cgroup-kill",
    "cgroup-freeze",
    "network-on-request",
];
/// Folders that programs may never be shown as a whole: they hold what belongs to other people and the slave.
pub(crate) const NEVER_SHOWN: [&str; 8] = ["/", "/root", "/home", "/proc", "/sys", "/dev", "/run", "/var"];
/// Folders of the system, which programs never write to.
const SYSTEM: [&str; 12] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc", "/boot", "/proc", "/sys", "/dev", "/run"];

/// How far programs are shut in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IsolationWish {
    /// As far as this machine allows.
    #[default]
    Strongest,
    /// Limits and the end of whole trees, but no namespaces.
    Plain,
}

impl FromStr for IsolationWish {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "strongest" => Ok(Self::Strongest),
            "plain" => Ok(Self::Plain),
            other => {
                Err(format!("`{}` is no isolation; write `strongest` or `plain`", common::escape::RawText::from(other)))
            }
        }
    }
}

/// What the command line says in place of the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Slots that it offers.
    pub slots: Option<u32>,
    /// The name that it wants.
    pub name: Option<String>,
    /// How far programs are shut in.
    pub isolation: Option<IsolationWish>,
}

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
    cache_max: Option<String>,
    isolation: Option<String>,
    require: Vec<String>,
    without: Vec<String>,
    read_only: Vec<PathBuf>,
    writable: Vec<PathBuf>,
    network: bool,
    ceiling: ceiling::Written,
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
    /// Bytes of input files that are kept for programs to come.
    pub cache_max: ByteSize,
    /// How far programs are shut in.
    pub isolation: IsolationWish,
    /// Guards without which it does not start.
    pub require: BTreeSet<String>,
    /// Guards that are left out.
    pub without: BTreeSet<String>,
    /// Folders that programs may read and execute, beside those of the system.
    pub read_only: Vec<PathBuf>,
    /// Folders that programs may write, beside their own.
    pub writable: Vec<PathBuf>,
    /// What is never exceeded, and whether programs may ask for the network.
    pub ceiling: Ceiling,
}

impl Config {
    /// Reads `file`; the other arguments come from the command line and go before it.
    ///
    /// # Errors
    /// Names the file, the setting and what is accepted.
    pub fn load(file: Option<&Path>, overrides: Overrides) -> Result<Self, UserError> {
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
        Self::from_file(read, overrides)
    }

    fn from_file(file: File, overrides: Overrides) -> Result<Self, UserError> {
        let Overrides { slots, name, isolation } = overrides;
        let wrong = |reason: String| UserError::new(ErrorCode::ConfigInvalid, reason);
        let invalid = |reason: String| Err(wrong(reason));
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
        let cache_max = match file.cache_max.as_deref().map(str::parse) {
            None => CACHE_MAX,
            Some(Ok(size)) => size,
            Some(Err(error)) => return invalid(format!("cache_max: {error}")),
        };
        let isolation = match (isolation, file.isolation.as_deref().map(str::parse)) {
            (Some(wish), _) => wish,
            (None, None) => IsolationWish::default(),
            (None, Some(Ok(wish))) => wish,
            (None, Some(Err(error))) => return invalid(format!("isolation: {error}")),
        };
        let (require, without) = guards(&file.require, &file.without, isolation).map_err(wrong)?;
        for (setting, folders) in [("read_only", &file.read_only), ("writable", &file.writable)] {
            shown_folders(setting, folders).map_err(wrong)?;
        }
        let ceiling = file.ceiling.read(file.network).map_err(wrong)?;
        Ok(Self {
            slots,
            slots_max: slots_max.min(limits::SLOTS_MAX),
            name,
            languages: file.languages,
            program_path: program_path(file.program_path.unwrap_or_default()),
            program_uid_base: file.program_uid_base,
            grace,
            memory: file.memory,
            cache_max,
            isolation,
            require,
            without,
            read_only: file.read_only,
            writable: file.writable,
            ceiling,
        })
    }

    /// Checks that no folder that programs are shown has to do with the slave's own one: its identity is there.
    ///
    /// # Errors
    /// Names the setting and the folder.
    pub fn keeps_apart(&self, data: &Path) -> Result<(), UserError> {
        for (setting, folders) in [("read_only", &self.read_only), ("writable", &self.writable)] {
            for folder in folders {
                let refuse = |why: &str| {
                    let sentence = format!("{setting} has `{}`, {why}", shown(folder));
                    Err(UserError::new(ErrorCode::ConfigInvalid, sentence))
                };
                let Ok(full) = folder.canonicalize() else { return refuse("which is not there") };
                if !full.is_dir() {
                    return refuse("which is no folder");
                }
                if full.starts_with(data) || data.starts_with(&full) {
                    return refuse("which is or holds the slave's data folder, or lies in it");
                }
                // A link may lead to what may not be named.
                shown_folders(setting, std::slice::from_ref(&full))
                    .map_err(|reason| UserError::new(ErrorCode::ConfigInvalid, reason))?;
            }
        }
        Ok(())
    }
}

fn shown(folder: &Path) -> common::escape::RawText {
    common::escape::RawText(folder.as_os_str().as_encoded_bytes().to_vec())
}

/// The guards of `require` and `without`, once they are known and agree.
fn guards(
    require: &[String],
    without: &[String],
    isolation: IsolationWish,
) -> Result<(BTreeSet<String>, BTreeSet<String>), String> {
    for (setting, names) in [("require", require), ("without", without)] {
        if let Some(name) = names.iter().find(|name| !GUARDS.contains(&name.as_str())) {
            let shown = common::escape::RawText::from(name.as_str());
            return Err(format!("{setting} has `{shown}`, which is no guard; there are {}", GUARDS.join(", ")));
        }
    }
    if without.iter().any(|name| name == "own-user") && rustix::process::geteuid().is_root() {
        return Err(
            "without has `own-user`: what root runs has a user of its own always, so that nothing runs as root"
                .to_owned(),
        );
    }
    if let Some(both) = require.iter().find(|name| without.contains(name)) {
        return Err(format!("`{both}` stands in `require` and in `without`; leave one of them out"));
    }
    let of_namespaces = |name: &&String| {
        matches!(name.as_str(), "process-namespace" | "private-files" | "private-messages" | "private-names")
    };
    if isolation == IsolationWish::Plain
        && let Some(name) = require.iter().find(of_namespaces)
    {
        return Err(format!("`{name}` is required, and isolation `plain` does without it; write `strongest`"));
    }
    Ok((require.iter().cloned().collect(), without.iter().cloned().collect()))
}

/// Checks the folders of `read_only` or `writable`, as far as it can be done without looking at the disk.
fn shown_folders(setting: &str, folders: &[PathBuf]) -> Result<(), String> {
    for folder in folders {
        let shown = shown(folder);
        if !folder.is_absolute() || folder.components().any(|part| part == std::path::Component::ParentDir) {
            return Err(format!("{setting} has `{shown}`; write each folder in full, from `/` on and without `..`"));
        }
        if NEVER_SHOWN.iter().any(|never| *folder == Path::new(never)) {
            return Err(format!(
                "{setting} has `{shown}`, which programs are never shown as a whole; name the folders in it that they need"
            ));
        }
        let of_system = |system: &&&str| folder.starts_with(**system) || Path::new(**system).starts_with(folder);
        if setting == "writable"
            && let Some(system) = SYSTEM.iter().find(of_system)
        {
            return Err(format!(
                "writable has `{shown}`; `{system}` belongs to the system, and no program may change it"
            ));
        }
    }
    Ok(())
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
        Config::from_file(file, Overrides::default()).map_err(|error| error.sentence)
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
            ("cache_max = \"lots\"", "cache_max"),
            ("isolation = \"loose\"", "`strongest` or `plain`"),
            ("require = [\"firewall\"]", "there are own-user"),
            ("without = [\"\\u001b[2J\"]", "\\x1b[2J"),
            ("require = [\"seccomp\"]\nwithout = [\"seccomp\"]", "seccomp"),
            ("isolation = \"plain\"\nrequire = [\"private-files\"]", "private-files"),
            ("read_only = [\"data\"]", "data"),
            ("read_only = [\"/srv/../etc\"]", "without `..`"),
            ("read_only = [\"/\"]", "never shown"),
            ("writable = [\"/usr/share/x\"]", "`/usr`"),
            ("writable = [\"/etc\"]", "`/etc`"),
            ("writable = [\"/var\"]", "never shown"),
            ("writable = [\"results\"]", "results"),
            ("network = 1", "network"),
            ("[ceiling]\nwall_time = \"soon\"", "soon"),
            ("[ceiling]\nwall_time = \"0s\"", "a wall time"),
            ("[ceiling]\nmemory = \"1K\"", "1 MiB"),
            ("[ceiling]\nprocesses = 0", "processes"),
            ("[ceiling]\nopen_files = 1", "16"),
            ("[ceiling]\noutput = \"1T\"", "4 GiB"),
            ("[ceiling]\nwidth = 3", "width"),
        ] {
            assert!(load(text).unwrap_err().contains(named), "{text}");
        }
        let config = load("slots = 3\ngrace = \"2s\"\nprogram_path = [\"/opt/bin\"]\nmemory = \"watch\"").unwrap();
        assert_eq!((config.slots, config.grace, config.memory), (3, Duration::from_secs(2), Memory::Watch));
        assert_eq!(config.program_path[0], Path::new("/opt/bin"));
    }

    #[test]
    fn i18_what_is_never_exceeded_is_read_from_the_configuration() {
        let config = load("network = true\n[ceiling]\nwall_time = \"1h\"\nmemory = \"2G\"\nopen_files = 512").unwrap();
        assert!(config.ceiling.network);
        assert_eq!(config.ceiling.limits.wall_time, Duration::from_secs(3_600));
        assert_eq!(config.ceiling.limits.memory.0, 2 << 30);
        assert_eq!((config.ceiling.limits.open_files, config.ceiling.limits.cpu_time), (512, None));
        assert_eq!(load("").unwrap().ceiling, Ceiling::default());
    }

    #[test]
    fn i18_programs_are_never_shown_the_slaves_own_folder() {
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().canonicalize().unwrap();
        let data = folder.join("data");
        let results = folder.join("results");
        for path in [&data, &data.join("work"), &results] {
            std::fs::create_dir(path).unwrap();
        }
        std::os::unix::fs::symlink(&data, folder.join("link")).unwrap();
        std::os::unix::fs::symlink("/etc", folder.join("etc")).unwrap();
        let check = |setting: &str, path: &Path| {
            load(&format!("{setting} = [\"{}\"]", path.display())).unwrap().keeps_apart(&data)
        };
        for setting in ["read_only", "writable"] {
            check(setting, &results).unwrap();
            for path in [&data, &data.join("work"), &folder, &folder.join("link"), &folder.join("gone")] {
                let error = check(setting, path).unwrap_err();
                assert!(error.is(ErrorCode::ConfigInvalid) && error.sentence.contains(setting), "{error:?}");
            }
        }
        assert!(check("writable", &folder.join("etc")).unwrap_err().sentence.contains("`/etc`"));
    }

    #[test]
    fn i19_the_command_line_goes_before_the_file() {
        let file: File = toml::from_str("isolation = \"strongest\"").unwrap();
        let overrides = Overrides { isolation: Some(IsolationWish::Plain), ..Overrides::default() };
        assert_eq!(Config::from_file(file, overrides).unwrap().isolation, IsolationWish::Plain);
    }
}
