//! The slaves of the demonstration, with what each can enforce.

use super::scene;
use common::{
    ByteSize, Duration, Timestamp,
    view::{Ceiling, Guard, Isolation, IsolationLevel, LanguageOffer, SlaveState, SlaveView},
};

/// Each guard, how it works where it does, and why not on the slave at the plain level.
const GUARDS: &[(&str, &str, &str)] = &[
    ("own-user", "users 61000 to 61003", "only root can give programs users of their own"),
    ("process-namespace", "", "this kernel makes namespaces for root only"),
    ("private-files", "9 folders of the system, read only", "this kernel makes namespaces for root only"),
    ("no-network", "only loopback, of its own", "this kernel makes namespaces for root only"),
    ("private-messages", "", "this kernel makes namespaces for root only"),
    ("private-names", "", "this kernel makes namespaces for root only"),
    ("landlock", "ABI 4", "not in this kernel"),
    ("seccomp", "61 calls refused", ""),
    ("no-new-privileges", "", ""),
    ("memory-limit", "cgroup v2", "by watching every 10 ms: a fast program can pass it for a moment"),
    ("process-limit", "cgroup v2", "by watching"),
    ("cgroup-kill", "cgroup v2", "/sys/fs/cgroup cannot be written"),
    ("cgroup-freeze", "cgroup v2", "/sys/fs/cgroup cannot be written; signals are used"),
    ("network-on-request", "ports 7420 and loopback stay out of reach", "`network` is not set in its configuration"),
];

fn guards(name: &str) -> Vec<Guard> {
    GUARDS
        .iter()
        .map(|(guard, how, why_not)| {
            let on = match (name, *guard) {
                ("pc-07", guard) => matches!(guard, "seccomp" | "no-new-privileges"),
                ("pc-04", "landlock") => false,
                ("pc-02", "network-on-request") => true,
                (_, guard) => guard != "network-on-request",
            };
            let detail = if on { how } else { why_not };
            Guard { name: (*guard).to_owned(), on, detail: (*detail).to_owned() }
        })
        .collect()
}

fn ceiling(name: &str) -> Ceiling {
    let mut ceiling = Ceiling { network: name == "pc-02", ..Ceiling::default() };
    if name != "pc-07" {
        ceiling.limits.memory = ByteSize(8 << 30);
        ceiling.limits.disk = ByteSize(20 << 30);
    }
    if name == "pc-04" {
        ceiling.limits.wall_time = Duration::from_secs(3_600);
        ceiling.limits.processes = 512;
        ceiling.limits.open_files = 4_096;
    }
    ceiling
}

pub(super) fn slave(now: Timestamp, number: u32, name: &str, slots: (u32, u32), languages: &[&str]) -> SlaveView {
    let (state, since) = match name {
        "pc-05" => (SlaveState::Unreachable, 7 * 60),
        "pc-06" => (SlaveState::Unreachable, scene::CUT),
        "pc-08" => (SlaveState::Draining, 340),
        _ => (SlaveState::Connected, 11_520),
    };
    let plain = name == "pc-07";
    SlaveView {
        id: scene::slave_id(number),
        name: name.to_owned(),
        address: format!("10.0.4.{}:51{}20", number + 12, number),
        state,
        since: scene::ago(now, since),
        connected_since: scene::ago(now, 11_520),
        running: slots.0,
        ahead: 0,
        slots: slots.1,
        languages: languages
            .iter()
            .map(|language| LanguageOffer {
                name: (*language).to_owned(),
                version: if *language == "Python" { "3.12.3".to_owned() } else { "13.2".to_owned() },
                extensions: Vec::new(),
            })
            .collect(),
        isolation: Isolation {
            level: if plain { IsolationLevel::Plain } else { IsolationLevel::Root },
            guards: guards(name),
            summary: match name {
                "pc-07" => "the slave's own user, memory by watching, processes by watching".to_owned(),
                "pc-04" => "a user for each slot, memory by cgroup v1, processes by cgroup".to_owned(),
                _ => "a user for each slot, memory by cgroup v2, processes by cgroup".to_owned(),
            },
            memory_by_cgroup: !plain,
            own_user: !plain,
        },
        machine: "Linux 6.1.0-18-amd64, 4 CPUs".to_owned(),
        release: env!("CARGO_PKG_VERSION").to_owned(),
        aside: (name == "pc-08")
            .then(|| "as 5 attempts in a row failed there, the last: no space left on device".to_owned()),
        ceiling: ceiling(name),
    }
}
