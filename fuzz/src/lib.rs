//! One target for each decoder: a function of bytes that must neither panic nor hang nor take memory, and that
//! asserts what is true of everything that was read.
//!
//! `cargo xtask fuzz` searches for bytes that break one. What it found, and what is needed to reach all of a decoder,
//! is kept in `corpus/TARGET` and runs with the ordinary tests.

mod files;
mod people;
mod wire;

/// A decoder.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folder in `corpus`.
    pub name: &'static str,
    /// What it reads.
    pub what: &'static str,
    /// Bytes of the longest input that is tried.
    pub bytes_max: usize,
    /// Reads the bytes.
    pub run: fn(&[u8]),
}

const fn new(name: &'static str, what: &'static str, bytes_max: usize, run: fn(&[u8])) -> Target {
    Target { name, what, bytes_max, run }
}

/// All of them: what strangers may send first.
pub const TARGETS: [Target; 33] = [
    new("frames", "a stream of frames, as a connection reads it", 8 << 10, wire::frames),
    new("heartbeat", "a message of the family PING or PONG", 64, wire::heartbeat),
    new("command", "a message of the family CMD", 4 << 10, wire::command),
    new("data", "a message of the family DATA", 4 << 10, wire::data),
    new("alert", "a message of the family ALERT", 4 << 10, wire::alert),
    new("status", "a message of the family STATUS", 4 << 10, wire::status),
    new("collected-head", "the list of files that a program brings back", 4 << 10, wire::collected_head),
    new("patterns", "a pattern and a path that it may fit", 512, wire::patterns),
    new("launcher", "a packet on the socket of launcher or keeper", 4 << 10, wire::launcher),
    new("kept", "what a keeper or journal holds for the next agent", 4 << 10, wire::kept),
    new("stat", "/proc/PID/stat, in which a program chooses its name", 1 << 10, wire::stat),
    new("mounts", "/proc/self/mountinfo and /proc/self/cgroup", 4 << 10, wire::mounts),
    new("progress", "the progress file of a program", 512, wire::progress),
    new("version", "what a tool says of its version", 1 << 10, wire::version),
    new("journal", "the journal of a slave", 16 << 10, files::journal),
    new("journal-record", "a whole record of the journal", 4 << 10, files::journal_record),
    new("languages-cache", "the languages that a slave remembers", 4 << 10, files::languages_cache),
    new("language-table", "a table of languages", 4 << 10, files::language_table),
    new("slave-config", "ruche-slave.toml", 2 << 10, files::slave_config),
    new("slave-identity", "identity.toml of a slave", 8 << 10, files::slave_identity),
    new("master-config", "ruche-master.toml", 2 << 10, files::master_config),
    new("backup", "a backup", 8 << 10, files::backup),
    new("backup-part", "a backup with one whole part", 2 << 10, files::backup_part),
    new("log", "SQLite's log and its index", 16 << 10, files::log),
    new("body", "a submitted program in the database", 4 << 10, files::body),
    new("password", "what is kept of a password", 512, files::password),
    new("control", "a line of the master's control socket", 2 << 10, files::control),
    new("context", "context.toml of the command line", 2 << 10, files::context),
    new("escape", "hostile text that is shown", 2 << 10, people::escape),
    new("units", "durations and sizes", 64, people::units),
    new("words", "identifiers, states and roles", 64, people::words),
    new("join-string", "join strings and pins", 512, people::join_string),
    new("arguments", "the words of a command line, and a source file's first line", 1 << 10, people::arguments),
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// What a decoder gives and no property is known of; it must be made all the same.
fn whatever<T>(value: T) {
    drop(std::hint::black_box(value));
}
