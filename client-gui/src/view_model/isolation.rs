//! How far a slave shuts programs in: its level as words, each guard with its reason, and its ceiling.

use super::counted;
use crate::widgets::shown;
use common::{
    program::ResourceLimits,
    view::{Ceiling, Isolation, IsolationLevel, SlaveView},
};

/// The guard that only says whether programs may ask for the network: without it they are shut in no less.
const NETWORK: &str = "network-on-request";

/// Said of a limit that a slave leaves to what Ruche itself allows.
pub const NO_MAXIMUM: &str = "no maximum of its own";

/// What the detail of one slave says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlaveDetail {
    /// The level, for its sign.
    pub level: IsolationLevel,
    /// The level as a word.
    pub word: &'static str,
    /// Whether a guard is missing.
    pub weak: bool,
    /// What the level means.
    pub meaning: String,
    /// Each guard, those that are off first.
    pub guards: Vec<GuardRow>,
    /// What it never exceeds: words and values.
    pub ceiling: Vec<(&'static str, String)>,
}

/// One guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardRow {
    /// Its word, as the slave's configuration names it.
    pub name: String,
    /// What it does, for people.
    pub label: String,
    /// Whether it is in force.
    pub on: bool,
    /// Whether programs are shut in less without it.
    pub counts: bool,
    /// How, or why not.
    pub detail: String,
}

impl GuardRow {
    /// `On` or `Off`.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        if self.on { "On" } else { "Off" }
    }

    /// What a screen reader says.
    #[must_use]
    pub fn spoken(&self) -> String {
        let detail = if self.detail.is_empty() { String::new() } else { format!(": {}", self.detail) };
        format!("{} {}{detail}", self.word(), self.label)
    }
}

impl SlaveDetail {
    /// What is told about `slave`.
    #[must_use]
    pub fn new(slave: &SlaveView) -> Self {
        let isolation = &slave.isolation;
        let mut guards: Vec<_> = isolation
            .guards
            .iter()
            .map(|guard| GuardRow {
                name: shown(&guard.name),
                label: label(&guard.name),
                on: guard.on,
                counts: guard.name != NETWORK,
                detail: shown(&guard.detail),
            })
            .collect();
        // The sort is stable: within each half they stay in the slave's order.
        guards.sort_by_key(|guard| guard.on || !guard.counts);
        let off = off(isolation);
        let missing = match off {
            0 if guards.is_empty() => " It does not say which guards are in force.".to_owned(),
            0 => " Every guard is in force.".to_owned(),
            off => format!(" {} off.", counted(off, "guard is", "guards are")),
        };
        Self {
            level: isolation.level,
            word: word(isolation.level),
            weak: is_weak(isolation),
            meaning: format!("{}{missing}", meaning(isolation.level)),
            guards,
            ceiling: ceiling(&slave.ceiling),
        }
    }
}

/// Guards that count and are off.
fn off(isolation: &Isolation) -> u64 {
    isolation.guards.iter().filter(|guard| !guard.on && guard.name != NETWORK).count() as u64
}

/// Whether programs are shut in less than they could be.
#[must_use]
pub fn is_weak(isolation: &Isolation) -> bool {
    let level = match isolation.level {
        IsolationLevel::Plain | IsolationLevel::UserNamespaces => true,
        IsolationLevel::Delegated | IsolationLevel::Root => false,
    };
    level || off(isolation) > 0 || !isolation.memory_by_cgroup || !isolation.own_user
}

/// The line of the list: `plain, 9 guards off: the slave's own user, memory by watching`.
#[must_use]
pub fn line(isolation: &Isolation) -> String {
    let off = match off(isolation) {
        0 => String::new(),
        off => format!(", {} off", counted(off, "guard", "guards")),
    };
    // A slave may begin with its level itself.
    let summary =
        isolation.summary.strip_prefix(isolation.level.word()).map(|rest| rest.trim_start_matches([':', ',', ' ']));
    let summary = shown(summary.unwrap_or(&isolation.summary));
    let summary = if summary.is_empty() { summary } else { format!(": {summary}") };
    format!("{}{off}{summary}", word(isolation.level).to_lowercase())
}

/// The level as a word, as the command line writes it.
const fn word(level: IsolationLevel) -> &'static str {
    match level {
        IsolationLevel::Plain => "Plain",
        IsolationLevel::UserNamespaces => "User namespaces",
        IsolationLevel::Delegated => "Delegated",
        IsolationLevel::Root => "Root",
    }
}

const fn meaning(level: IsolationLevel) -> &'static str {
    match level {
        IsolationLevel::Plain => {
            "Limits and the end of the whole tree; programs see the machine's files and processes."
        }
        IsolationLevel::UserNamespaces => {
            "Programs see their own files and processes only; they share the slave's user, and limits are kept by \
             watching."
        }
        IsolationLevel::Delegated => {
            "Programs see their own files and processes only; they share the slave's user, and the kernel keeps limits."
        }
        IsolationLevel::Root => {
            "Programs see their own files and processes only, each has a user of its own, and the kernel keeps limits."
        }
    }
}

/// What a guard does; a guard that this window does not know is called as the slave calls it.
fn label(name: &str) -> String {
    let known = match name {
        "own-user" => "A user of its own",
        "process-namespace" => "Sees its own processes only",
        "private-files" => "Sees its own files only",
        "no-network" => "No network",
        "private-messages" => "Messages of its own",
        "private-names" => "Names of its own",
        "landlock" => "Files by Landlock",
        "seccomp" => "Calls that none needs refused",
        "no-new-privileges" => "No new privileges",
        "memory-limit" => "Memory limit",
        "process-limit" => "Process limit",
        "cgroup-kill" => "Whole tree ended at once",
        "cgroup-freeze" => "Whole tree suspended at once",
        NETWORK => "Network on request",
        _ => return shown(name),
    };
    known.to_owned()
}

fn ceiling(ceiling: &Ceiling) -> Vec<(&'static str, String)> {
    let most = ResourceLimits::MOST;
    let limits = ceiling.limits;
    let row =
        |word, own: bool, value: String| (word, if own { format!("at most {value}") } else { NO_MAXIMUM.to_owned() });
    vec![
        row("Wall time", limits.wall_time < most.wall_time, limits.wall_time.to_string()),
        row("CPU time", limits.cpu_time.is_some(), limits.cpu_time.map(|time| time.to_string()).unwrap_or_default()),
        row("Memory", limits.memory < most.memory, limits.memory.to_string()),
        row("Processes", limits.processes < most.processes, super::grouped(u64::from(limits.processes))),
        row("Output", limits.output < most.output, limits.output.to_string()),
        row("File size", limits.file_size < most.file_size, limits.file_size.to_string()),
        row("Disk", limits.disk < most.disk, limits.disk.to_string()),
        row("Open files", limits.open_files < most.open_files, super::grouped(u64::from(limits.open_files))),
        ("Network", if ceiling.network { "for programs that ask for it" } else { "for no program" }.to_owned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::{super::clock::tests::clock, *};
    use crate::demo::scene;
    use common::view::Guard;
    use std::fmt::Write;

    #[test]
    fn i19_each_slave_says_its_level_its_guards_and_its_ceiling() {
        let mirror = scene::mirror(clock().now);
        let mut text = String::new();
        for slave in mirror.slaves.values().filter(|slave| ["pc-02", "pc-04", "pc-07"].contains(&slave.name.as_str())) {
            let detail = SlaveDetail::new(slave);
            let weak = if detail.weak { " (weak)" } else { "" };
            writeln!(text, "{}: {}{weak}\n{}", slave.name, detail.word, detail.meaning).unwrap();
            for guard in &detail.guards {
                writeln!(text, "  {}", guard.spoken()).unwrap();
            }
            for (word, value) in &detail.ceiling {
                writeln!(text, "  {word}: {value}").unwrap();
            }
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn i19_less_than_all_is_never_shown_as_all() {
        let full = Isolation {
            level: IsolationLevel::Root,
            guards: vec![
                Guard { name: "seccomp".into(), on: true, detail: String::new() },
                Guard { name: NETWORK.into(), on: false, detail: "not configured".into() },
            ],
            summary: "all".into(),
            memory_by_cgroup: true,
            own_user: true,
        };
        assert!(!is_weak(&full), "a network that nobody gets is no weakness");
        assert_eq!(line(&full), "root: all");
        for change in [
            (|isolation: &mut Isolation| isolation.level = IsolationLevel::Plain) as fn(&mut Isolation),
            |isolation| isolation.level = IsolationLevel::UserNamespaces,
            |isolation| isolation.guards[0].on = false,
            |isolation| isolation.memory_by_cgroup = false,
            |isolation| isolation.own_user = false,
        ] {
            let mut less = full.clone();
            change(&mut less);
            assert!(is_weak(&less), "{less:?}");
        }
        let told = Isolation { summary: "root: all".into(), ..full.clone() };
        assert_eq!(line(&told), "root: all", "the level is told once");
        let mut less = full;
        less.guards[0].on = false;
        assert_eq!(line(&less), "root, 1 guard off: all");
    }

    #[test]
    fn b19_hostile_guards_are_shown_escaped() {
        let mut slave = (**scene::mirror(clock().now).slaves.values().next().unwrap()).clone();
        slave.isolation.guards = vec![Guard { name: "\x1b[2Jnone".into(), on: false, detail: "\u{202e}yes\n".into() }];
        let detail = SlaveDetail::new(&slave);
        assert_eq!(detail.guards[0].spoken(), "Off \\x1b[2Jnone: \\u{202e}yes\\n");
        assert_eq!(detail.guards[0].name, "\\x1b[2Jnone");
    }
}
