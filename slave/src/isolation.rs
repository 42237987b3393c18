//! How far programs are shut in here: what is wished for by the configuration, what this machine allows, and what
//! people are told of it.

mod readable;

use crate::{
    config::{Config, IsolationWish, Memory},
    executor::WorkRoot,
};
use common::{
    ErrorCode, ResourceLimits, UserError,
    view::{Ceiling, Guard, Isolation, IsolationLevel},
};
use launcher::{
    cgroup::Base,
    isolation::{Facts, Wish, probe},
    protocol::{GroupVersion, Guards, NetworkGuard},
};
use rustix::process::Resource;
use std::path::{Path, PathBuf};

/// The guard that lets programs ask for the network.
const NETWORK: &str = "network-on-request";
/// Why a guard is off that the configuration turns off; no warning is due then.
const BY_CHOICE: [&str; 3] = ["by configuration", "by `--isolation plain`", "the configuration says"];

/// What was found out.
#[derive(Clone, Debug)]
pub struct Found {
    /// For the launcher.
    pub guards: Guards,
    /// For the master.
    pub isolation: Isolation,
    /// The ceiling as it really is: no network where nothing guards it.
    pub ceiling: Ceiling,
    /// Whether the configuration lets programs ask for the network.
    pub network_wished: bool,
    /// Guards that are required and missing, with the reason.
    pub missing: Vec<Guard>,
}

/// The control groups of this slave, without what the configuration leaves out; `again` finds those that an agent
/// before this one made.
#[must_use]
pub fn groups(config: &Config, name: &str, again: bool) -> Base {
    let base = match config.memory {
        Memory::Auto if again => Base::reuse(name),
        Memory::Auto => Base::prepare(name),
        Memory::Watch => Base::none("the configuration says `memory = \"watch\"`"),
    };
    config.without.iter().fold(base, |base, guard| base.without(guard, BY_CHOICE[0]))
}

/// Tries what this machine allows; programs see nothing of the folders in `own`. Must be called before the process
/// has threads.
#[must_use]
pub fn find(
    config: &Config,
    own: &[&Path],
    tools: &[PathBuf],
    groups: &Base,
    own_users: bool,
    master_port: Option<u16>,
) -> Found {
    let system = readable::folders(config, own, tools);
    let network = config.ceiling.network.then(|| NetworkGuard { ports: master_port.into_iter().collect() });
    let wish = Wish {
        plain: config.isolation == IsolationWish::Plain,
        own_users,
        system: system.clone(),
        network,
        without: config.without.clone(),
    };
    let Facts { level, mut guards, told } = probe(&wish, groups);
    guards.system = system;
    guards.writable.clone_from(&config.writable);
    let ceiling = Ceiling {
        network: config.ceiling.network && guards.network.is_some(),
        limits: within_the_system(config.ceiling.limits, rustix::process::getrlimit(Resource::Nofile).maximum),
    };
    let is_on = |name: &String| told.iter().any(|guard| guard.name == *name && guard.on);
    let missing = config.require.iter().filter(|name| !is_on(name)).map(|name| {
        let known = told.iter().find(|guard| guard.name == *name).cloned();
        known.unwrap_or_else(|| Guard {
            name: name.clone(),
            on: false,
            detail: "this machine has no such thing".into(),
        })
    });
    let missing = missing.collect();
    let isolation = told_to_master(level, told, groups, own_users);
    Found { guards, isolation, ceiling, network_wished: config.ceiling.network, missing }
}

/// More open files than this process may have itself it cannot give to a program: `hard` is its own limit, which the
/// system sets.
fn within_the_system(ceiling: ResourceLimits, hard: Option<u64>) -> ResourceLimits {
    let most = hard.and_then(|most| u32::try_from(most).ok()).unwrap_or(u32::MAX);
    ResourceLimits { open_files: ceiling.open_files.min(most), ..ceiling }
}

fn told_to_master(level: IsolationLevel, guards: Vec<Guard>, groups: &Base, own_users: bool) -> Isolation {
    let memory = match groups.memory_version() {
        Some(GroupVersion::V1) => "memory by cgroup v1",
        Some(GroupVersion::V2) => "memory by cgroup v2",
        None => "memory by watching",
    };
    let processes = if groups.limits_processes() { "processes by cgroup" } else { "processes by watching" };
    let user = if own_users { "a user for each slot" } else { "the slave's own user" };
    Isolation {
        level,
        summary: format!("{}: {user}, {memory}, {processes}", level.word()),
        memory_by_cgroup: groups.memory_version().is_some(),
        own_user: own_users,
        guards,
    }
}

impl Found {
    /// An error that names each guard that is required and missing; none when all are there.
    ///
    /// # Errors
    /// That one.
    pub fn meets_what_is_required(&self) -> Result<(), UserError> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let each: Vec<_> = self.missing.iter().map(|guard| format!("`{}` ({})", guard.name, guard.detail)).collect();
        let sentence = format!("this machine cannot enforce what `require` names: {}", each.join(", "));
        Err(UserError::new(ErrorCode::IsolationMissing, sentence))
    }

    /// Guards that are off though nobody turned them off: what whoever runs this slave should know.
    pub fn weaker(&self) -> impl Iterator<Item = &Guard> {
        let chosen = |guard: &&Guard| {
            // Nobody asked for the network, so nothing needs to guard it.
            let unasked = guard.name == NETWORK && !self.network_wished;
            !guard.on && !unasked && !BY_CHOICE.iter().any(|choice| guard.detail.contains(choice))
        };
        self.isolation.guards.iter().filter(chosen)
    }

    /// All of it that a tool may notice; the level is the first word.
    #[must_use]
    pub fn within(&self) -> String {
        let Guards { namespaces, landlock, seccomp, sockets_refused, system, .. } = &self.guards;
        let level = self.isolation.level.word();
        format!("{level} {namespaces:?} {landlock} {seccomp} {sockets_refused} {system:?}")
    }

    /// Says at the start how far programs are shut in.
    pub fn log(&self, work: &WorkRoot) {
        let off: Vec<&str> = self.weaker().map(|guard| guard.name.as_str()).collect();
        tracing::info!(
            level = self.isolation.level.word(),
            work = %work.path().display(),
            missing = off.join(", "),
            "how far programs are shut in; `ruche-slave doctor` says more"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i16_the_ceiling_on_open_files_is_what_the_system_allows_this_process() {
        let ceiling = ResourceLimits::MOST;
        for (hard, told) in [(Some(4_096), 4_096), (Some(1 << 20), ceiling.open_files), (None, ceiling.open_files)] {
            assert_eq!(within_the_system(ceiling, hard).open_files, told);
        }
        let lower = ResourceLimits { open_files: 512, ..ceiling };
        assert_eq!(within_the_system(lower, Some(4_096)).open_files, 512);
    }
}
