//! Puts the executor together: launcher, control groups, users, working folders and languages.

use crate::{
    config::{Config, Memory},
    data_folder::{DataFolder, UserRange},
    executor::{Executor, Outputs, Setup, WorkRoot},
    languages::{self, Found},
};
use common::{
    ErrorCode, UserError,
    view::{Isolation, IsolationLevel},
};
use launcher::{Launcher, cgroup::Base, protocol::GroupVersion};

/// An executor that is ready, and what it was found to be able to do.
pub struct Ready {
    /// Runs attempts.
    pub executor: Executor,
    /// What works and what does not.
    pub languages: Vec<Found>,
    /// What can be enforced.
    pub isolation: Isolation,
    /// The users that programs run as.
    pub users: Option<UserRange>,
}

/// Prepares everything. Must be called before the process has threads.
///
/// # Errors
/// When programs could not be started here.
pub fn prepare(config: &Config, data: &DataFolder) -> Result<Ready, UserError> {
    let unavailable = |what: &str, error: std::io::Error| {
        UserError::new(ErrorCode::LimitUnavailable, format!("{what} cannot be set up: {error}"))
    };
    let table = languages::table(config.languages.as_deref())?;
    let is_root = rustix::process::geteuid().is_root();
    let base_name = format!("ruche-{}", data.id());
    let found = Launcher::find(data.path()).map_err(|error| unavailable("the launcher", error))?;
    // Programs of an agent before this one run on: their users stay taken, and their groups as they are.
    let is_first = found.is_none();
    let (launcher, users, (keepers, lease_until)) = match found {
        Some((launcher, found)) => {
            tracing::info!(slots = found.keepers.len(), "taking over what the agent before this one left");
            (launcher, UserRange::kept(&found.keep, found.held), (found.keepers, found.lease_until))
        }
        None => {
            let users = if is_root { Some(UserRange::take(config.program_uid_base)?) } else { None };
            let launcher = Launcher::start().map_err(|error| unavailable("the launcher", error))?;
            let (keep, held) = users.as_ref().map(UserRange::to_keep).unwrap_or_default();
            launcher.outlive(data.path(), keep, held).map_err(|error| unavailable("the launcher's socket", error))?;
            (launcher, users, (Vec::new(), None))
        }
    };
    let groups = match config.memory {
        Memory::Auto if keepers.is_empty() => Base::prepare(&base_name),
        Memory::Auto => Base::reuse(&base_name),
        Memory::Watch => Base::none("the configuration says `memory = \"watch\"`"),
    };
    let base = users.as_ref().map(|users| users.base);
    let work =
        WorkRoot::prepare(data.path(), base, &data.id()).map_err(|error| unavailable("working folders", error))?;
    if !work.moved.is_empty() {
        tracing::info!("{}", work.moved);
    }
    if is_first {
        // Agent, launcher and keepers may have been killed together: no program of theirs goes on unwatched.
        launcher::tree::kill_marked(&work.mark());
        for user in work.users() {
            launcher::end_all_of(user);
        }
    }
    let isolation = isolation(&groups, base);
    let uid = work.probe_uid();
    let outputs = Outputs::new(data.path()).map_err(|error| unavailable("the output folders", error))?;
    let guards = launcher::protocol::Guards::default();
    let setup = Setup { program_path: config.program_path.clone(), work, groups, guards, outputs };
    let mut executor =
        Executor::new(launcher, setup, keepers, lease_until).map_err(|error| unavailable("the executor", error))?;
    let cache = data.path().join("languages.json");
    let slots = std::thread::available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(1));
    let found = languages::find_all(table, &mut executor, slots, &config.program_path, uid, &cache)
        .map_err(|error| unavailable("the probes of languages", error))?;
    Ok(Ready { executor, languages: found, isolation, users })
}

fn isolation(groups: &Base, user_base: Option<u32>) -> Isolation {
    let memory = match groups.memory_version() {
        Some(GroupVersion::V1) => "memory by cgroup v1",
        Some(GroupVersion::V2) => "memory by cgroup v2",
        None => "memory by watching",
    };
    let processes = if groups.limits_processes() { "processes by cgroup" } else { "processes by watching" };
    let user = if user_base.is_some() { "a user for each slot" } else { "the slave's own user" };
    if !groups.problem.is_empty() {
        tracing::info!(reason = %groups.problem, "memory is limited by watching, not by the kernel");
    }
    Isolation {
        level: IsolationLevel::Plain,
        guards: Vec::new(),
        summary: format!("{user}, {memory}, {processes}"),
        memory_by_cgroup: groups.memory_version().is_some(),
        own_user: user_base.is_some(),
    }
}
