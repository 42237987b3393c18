//! What this machine allows: each guard is really tried, by a process of its own that starts a program behind it.

mod trial;

use super::files;
use crate::{
    cgroup::Base,
    protocol::{Guards, Namespaces, NetworkGuard},
};
use common::view::{Guard, IsolationLevel};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};
use trial::Trial;

/// What the slave's configuration wishes.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Programs may use the machine's files and its network as their user may.
    pub plain: bool,
    /// Programs have users of their own.
    pub own_users: bool,
    /// Folders that programs may read and execute.
    pub system: Vec<PathBuf>,
    /// Programs that ask for the network may have it.
    pub network: Option<NetworkGuard>,
    /// Guards to leave out, by name.
    pub without: BTreeSet<String>,
}

/// What there is.
#[derive(Clone, Debug)]
pub struct Facts {
    /// In one word.
    pub level: IsolationLevel,
    /// What keepers are to build. The slot's folder and the writable ones are not named yet.
    pub guards: Guards,
    /// Each guard, with how or why not.
    pub told: Vec<Guard>,
}

/// Namespaces come together: a root without its own processes, or the other way round, guards little.
const NAMESPACES: [(&str, &str); 5] = [
    ("process-namespace", "programs see and reach their own processes alone; their keeper is process 1"),
    ("private-files", "a root of its own: the system read only, the program's folder, a private `/tmp`"),
    ("no-network", "a network of its own with loopback alone"),
    ("private-messages", "shared memory, semaphores and queues of its own"),
    ("private-names", "host and domain name of its own"),
];
const NO_NETWORK: &str = "no-network";
const BY_PLAIN: &str = "by `--isolation plain`";
const BY_CONFIGURATION: &str = "by configuration";

/// Folders of the system that programs need, as far as this machine has them.
#[must_use]
pub fn usual_system_folders() -> Vec<PathBuf> {
    let all = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt"];
    all.iter().map(PathBuf::from).filter(|path| path.exists()).collect()
}

/// Tries each guard. Nothing is left of it.
#[must_use]
pub fn probe(wish: &Wish, groups: &Base) -> Facts {
    let is_root = nix::unistd::geteuid().is_root();
    let trial = Trial { own_user: wish.own_users && is_root, group: None };
    let mut guards = Guards { system: wish.system.clone(), ..Guards::default() };
    let mut told = vec![own_user(wish, &trial)];

    let seccomp = chosen(wish, "seccomp").or_else(|| trial.run(&Guards { seccomp: true, ..guards.clone() }).err());
    let landlock = why_no_landlock(wish, &trial, &guards);
    guards.seccomp = seccomp.is_none();
    guards.landlock = landlock.is_none();
    let kind = if is_root { Namespaces::Own } else { Namespaces::OfUser };
    // With all the others, as programs will meet them.
    let namespaces =
        why_no_namespaces(wish).or_else(|| trial.run(&Guards { namespaces: kind, ..guards.clone() }).err());
    match &namespaces {
        None => {
            guards.namespaces = kind;
            told.extend(NAMESPACES.map(|(name, how)| on(name, how)));
        }
        Some(reason) => {
            guards.sockets_refused = guards.seccomp && chosen(wish, NO_NETWORK).is_none();
            told.extend(NAMESPACES.map(|(name, _)| {
                if name == NO_NETWORK && guards.sockets_refused {
                    on(name, "sockets that reach a network are refused")
                } else {
                    off(name, chosen(wish, name).unwrap_or_else(|| reason.clone()))
                }
            }));
        }
    }
    told.push(tell("landlock", landlock, &landlock_words()));
    told.push(tell("seccomp", seccomp, "calls that no program needs are refused"));
    told.push(on("no-new-privileges", "no file gives a program more than it has"));
    told.extend(groups.guards());
    let network = why_no_network(wish, &trial, groups, &guards);
    if network.is_none() {
        guards.network.clone_from(&wish.network);
    }
    let words = "the machine's network for programs that ask, without its loopback and the master's ports";
    told.push(tell("network-on-request", network, words));
    Facts { level: level(&guards, trial.own_user, groups), guards, told }
}

fn level(guards: &Guards, own_user: bool, groups: &Base) -> IsolationLevel {
    match guards.namespaces {
        Namespaces::None => IsolationLevel::Plain,
        Namespaces::Own if own_user => IsolationLevel::Root,
        Namespaces::Own | Namespaces::OfUser if groups.memory_version().is_some() => IsolationLevel::Delegated,
        Namespaces::Own | Namespaces::OfUser => IsolationLevel::UserNamespaces,
    }
}

fn on(name: &str, how: &str) -> Guard {
    Guard { name: name.to_owned(), on: true, detail: how.to_owned() }
}

fn off(name: &str, why: String) -> Guard {
    Guard { name: name.to_owned(), on: false, detail: why }
}

fn tell(name: &str, why_not: Option<String>, how: &str) -> Guard {
    why_not.map_or_else(|| on(name, how), |why| off(name, why))
}

/// Why a guard is off by somebody's choice, if it is.
fn chosen(wish: &Wish, name: &str) -> Option<String> {
    if wish.without.contains(name) {
        return Some(BY_CONFIGURATION.to_owned());
    }
    let is_of_files = name == "landlock" || NAMESPACES.iter().any(|(of_namespaces, _)| *of_namespaces == name);
    (wish.plain && is_of_files).then(|| BY_PLAIN.to_owned())
}

fn own_user(wish: &Wish, trial: &Trial) -> Guard {
    const NAME: &str = "own-user";
    if let Some(why) = chosen(wish, NAME) {
        return off(NAME, why);
    }
    if !trial.own_user {
        return off(NAME, "programs run as the slave's own user; a slave that root starts gives each its own".into());
    }
    tell(NAME, trial.run(&Guards::default()).err(), "each program that runs at the same time has a user of its own")
}

fn why_no_namespaces(wish: &Wish) -> Option<String> {
    if wish.plain {
        return Some(BY_PLAIN.to_owned());
    }
    let left_out = NAMESPACES.iter().find(|(name, _)| wish.without.contains(*name))?.0;
    Some(format!("{BY_CONFIGURATION}: it comes with `{left_out}`, which is left out"))
}

fn why_no_landlock(wish: &Wish, trial: &Trial, guards: &Guards) -> Option<String> {
    chosen(wish, "landlock")
        .or_else(|| {
            let reason = "this kernel has none, or its boot parameter `lsm=` does not name `landlock`";
            (files::version() == 0).then(|| reason.to_owned())
        })
        .or_else(|| trial.run(&Guards { landlock: true, ..guards.clone() }).err())
}

fn landlock_words() -> String {
    let version = files::version();
    if version >= files::SCOPES_SINCE {
        return format!("version {version}: files, sockets without a file, signals");
    }
    format!("version {version}: files; sockets without a file and signals need version {}", files::SCOPES_SINCE)
}

fn why_no_network(wish: &Wish, trial: &Trial, groups: &Base, guards: &Guards) -> Option<String> {
    let Some(guard) = &wish.network else { return Some("the configuration does not allow it".to_owned()) };
    if let Some(why) = chosen(wish, "network-on-request") {
        return Some(why);
    }
    if !nix::unistd::geteuid().is_root() {
        return Some("it takes root to put programs of the kernel in the way".to_owned());
    }
    if !guards.seccomp {
        return Some("it needs `seccomp`".to_owned());
    }
    let slot = groups.slot(0).identity;
    let Some(base) = slot.as_deref().and_then(Path::parent) else {
        return Some("it needs a mount of cgroup v2, by which programs are told from all others".to_owned());
    };
    let trial = Trial { group: Some(base.join("network-trial")), own_user: trial.own_user };
    trial.run(&Guards { network: Some(guard.clone()), ..guards.clone() }).err()
}
