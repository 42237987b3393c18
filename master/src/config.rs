//! The configuration file: few keys, every one with a default, unknown ones refused by line.

use common::{ByteSize, Duration, ErrorCode, UserError, limits};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The address when none is given: only this machine reaches it.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:7420";

/// Bytes of input files that are kept when the configuration says nothing: the largest file fits.
pub(crate) const INPUTS_MAX_DEFAULT: ByteSize = limits::INPUT_FILE_BYTES_MAX;

/// Shortest and longest life of a slave's certificate that may be asked for.
const CERTIFICATE_LIFE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(365 * 86_400);

/// How a master runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data folder.
    pub data: PathBuf,
    /// `HOST:PORT` to listen at; port 0 picks one.
    pub listen: String,
    /// What clients are told that this master is called.
    pub name: String,
    /// Programs that each slave may run at once, unless set otherwise while running; none leaves it to the slaves.
    pub max_processes: Option<u32>,
    /// Programs of one user that may wait or run.
    pub programs_per_user: usize,
    /// Whether a free slot goes to the user with the fewest programs on slaves, rather than to the oldest program.
    pub fair_share: bool,
    /// Bytes of input files that are kept beyond what waiting and running programs need.
    pub inputs_max: ByteSize,
    /// How long a slave may be away before its programs are lost.
    pub lease: Duration,
    /// Life of the certificates that slaves get; they renew them when two thirds are over.
    pub certificate_life: Duration,
    /// The file that it was read from, read again on SIGHUP.
    pub file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    listen: Option<String>,
    name: Option<String>,
    max_processes: Option<u32>,
    programs_per_user: Option<usize>,
    fair_share: Option<bool>,
    inputs_max: Option<String>,
    lease: Option<String>,
    certificate_life: Option<String>,
}

impl Config {
    /// Every setting at its default.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            listen: LISTEN_DEFAULT.to_owned(),
            name: nix::unistd::gethostname()
                .map_or_else(|_| "master".to_owned(), |name| name.to_string_lossy().into_owned()),
            max_processes: None,
            programs_per_user: limits::PROGRAMS_PER_USER_MAX,
            fair_share: true,
            inputs_max: INPUTS_MAX_DEFAULT,
            lease: limits::LEASE_MASTER,
            certificate_life: limits::SLAVE_CERTIFICATE_LIFE,
            file: None,
        }
    }

    /// The settings of a file over the defaults.
    ///
    /// # Errors
    /// When the file cannot be read or has a mistake; the line is named.
    pub fn read(data: impl Into<PathBuf>, file: &Path) -> Result<Self, UserError> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            UserError::new(ErrorCode::FileUnreadable, format!("`{}` cannot be read: {error}", file.display()))
        })?;
        let invalid = |what: String| UserError::new(ErrorCode::ConfigInvalid, format!("`{}`: {what}", file.display()));
        let keys: Keys = toml::from_str(&text).map_err(|error| invalid(error.to_string().trim_end().to_owned()))?;
        let mut config = Self { file: Some(file.to_owned()), ..Self::new(data) };
        if let Some(listen) = keys.listen {
            config.listen = listen;
        }
        if let Some(name) = keys.name {
            if name.is_empty() || name.len() > limits::PEER_NAME_BYTES_MAX {
                return Err(invalid(format!("`name` has 1 to {} bytes", limits::PEER_NAME_BYTES_MAX)));
            }
            config.name = name;
        }
        if let Some(slots) = keys.max_processes {
            if slots > limits::SLOTS_MAX {
                return Err(invalid(format!("`max_processes = {slots}` is more than {}", limits::SLOTS_MAX)));
            }
            config.max_processes = Some(slots);
        }
        if let Some(programs) = keys.programs_per_user {
            if !(1..=limits::PROGRAMS_ALIVE_MAX).contains(&programs) {
                let what = format!("`programs_per_user = {programs}` is outside 1 to {}", limits::PROGRAMS_ALIVE_MAX);
                return Err(invalid(what));
            }
            config.programs_per_user = programs;
        }
        config.fair_share = keys.fair_share.unwrap_or(config.fair_share);
        if let Some(size) = keys.inputs_max {
            config.inputs_max = size.parse().map_err(|error| invalid(format!("`inputs_max`: {error}")))?;
        }
        if let Some(lease) = keys.lease {
            config.lease = lease.parse().map_err(|error| invalid(format!("`lease`: {error}")))?;
            if config.lease < Duration::from_millis(100) || config.lease > Duration::from_secs(86_400) {
                return Err(invalid(format!("a `lease` of {} is outside 100 ms to 1 day", config.lease)));
            }
        }
        if let Some(life) = keys.certificate_life {
            config.certificate_life = life.parse().map_err(|error| invalid(format!("`certificate_life`: {error}")))?;
            if !CERTIFICATE_LIFE.contains(&config.certificate_life) {
                let what = format!("a `certificate_life` of {} is outside 1 s to 365 days", config.certificate_life);
                return Err(invalid(what));
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, UserError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ruche-master.toml");
        std::fs::write(&file, text).unwrap();
        Config::read(folder.path(), &file)
    }

    #[test]
    fn s4_the_example_is_complete_and_holds_the_defaults() {
        let config = read(include_str!("../ruche-master.toml")).unwrap();
        assert_eq!((config.listen.as_str(), config.lease), (LISTEN_DEFAULT, limits::LEASE_MASTER));
        assert_eq!((config.programs_per_user, config.fair_share), (limits::PROGRAMS_PER_USER_MAX, true));
        // Every line that is commented out is accepted too.
        let all = include_str!("../ruche-master.toml").replace("#: ", "");
        assert_eq!(read(&all).unwrap().max_processes, Some(4));
    }

    #[test]
    fn s4_a_mistake_is_named_with_its_line() {
        for (text, part) in [
            ("listen = 7", "line 1"),
            ("\nlisten_at = \"x\"", "listen_at"),
            ("lease = \"soon\"", "lease"),
            ("max_processes = 9999", "9999"),
            ("programs_per_user = 0", "programs_per_user"),
            ("fair_share = 1", "fair_share"),
            ("name = \"\"", "name"),
            ("inputs_max = \"lots\"", "inputs_max"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.is(ErrorCode::ConfigInvalid) && error.sentence.contains(part), "{error}");
        }
    }
}
