//! Puts the executor together: launcher, control groups, users, working folders and languages.

use crate::{
    ceiling::Policy,
    config::Config,
    data_folder::{DataFolder, UserRange},
    executor::{Executor, Outputs, Setup, WorkRoot},
    isolation,
    languages::{self, Found},
};
use common::{ErrorCode, UserError, view::Isolation};
use launcher::Launcher;

/// An executor that is ready, and what it was found to be able to do.
pub struct Ready {
    /// Runs attempts.
    pub executor: Executor,
    /// What works and what does not.
    pub languages: Vec<Found>,
    /// What can be enforced.
    pub isolation: Isolation,
    /// What it does whoever asks, and what never.
    pub policy: Policy,
    /// Guards that are off though nobody turned them off, with the reason of each.
    pub weaker: Vec<String>,
    /// The users that programs run as.
    pub users: Option<UserRange>,
}

/// Prepares everything, for a master that listens at `master_port`. Must be called before the process has threads.
///
/// # Errors
/// When programs could not be started here.
pub fn prepare(config: &Config, data: &DataFolder, master_port: Option<u16>) -> Result<Ready, UserError> {
    let unavailable = |what: &str, error: std::io::Error| {
        UserError::new(ErrorCode::LimitUnavailable, format!("{what} cannot be set up: {error}"))
    };
    let table = languages::table(config.languages.as_deref())?;
    config.keeps_apart(data.path())?;
    let is_root = rustix::process::geteuid().is_root();
    let base_name = format!("ruche-{}", data.id());
    let found = Launcher::find(data.path()).map_err(|error| unavailable("the launcher", error))?;
    // Programs of an agent before this one run on: their users stay taken, and their groups as they are.
    let is_first = found.is_none();
    let (launcher, users, (keepers, lease_until)) = match found {
        Some((launcher, found)) => {
            tracing::info!(slots = found.keepers.len(), "taking over what the agent before this one left");
            let users = UserRange::kept(&found.keep, found.held);
            if is_root && users.as_ref().is_none_or(|users| users.base == 0) {
                let sentence = "the launcher of the agent before this one has no users for programs";
                return Err(UserError::new(ErrorCode::LimitUnavailable, sentence)
                    .with_hint("end its process `ruche-slave launcher`; its programs end with it"));
            }
            (launcher, users, (found.keepers, found.lease_until))
        }
        None => {
            let users = if is_root { Some(UserRange::take(config.program_uid_base)?) } else { None };
            let launcher = Launcher::start().map_err(|error| unavailable("the launcher", error))?;
            let (keep, held) = users.as_ref().map(UserRange::to_keep).unwrap_or_default();
            launcher.outlive(data.path(), keep, held).map_err(|error| unavailable("the launcher's socket", error))?;
            (launcher, users, (Vec::new(), None))
        }
    };
    let groups = isolation::groups(config, &base_name, !keepers.is_empty());
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
    let uid = work.probe_uid();
    let tools = languages::tools(&table, &config.program_path, uid);
    let found = isolation::find(config, &[data.path(), work.path()], &tools, &groups, base.is_some(), master_port);
    found.log(&work);
    found.meets_what_is_required()?;
    // Also when an agent before this one left no users: nothing that is sent here ever runs as root.
    let as_root = uid == 0;
    let policy = Policy { ceiling: found.ceiling, as_root };
    let weaker = found.weaker().map(|guard| format!("{} ({})", guard.name, guard.detail)).collect();
    let outputs = Outputs::new(data.path()).map_err(|error| unavailable("the output folders", error))?;
    let within = found.within();
    let setup = Setup {
        program_path: config.program_path.clone(),
        ceiling: found.ceiling.limits,
        work,
        groups,
        guards: found.guards,
        outputs,
    };
    let mut executor =
        Executor::new(launcher, setup, keepers, lease_until).map_err(|error| unavailable("the executor", error))?;
    let cache = data.path().join("languages.json");
    let slots = std::thread::available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(1));
    let languages = languages::find_all(table, &mut executor, slots, &config.program_path, uid, &within, &cache)
        .map_err(|error| unavailable("the probes of languages", error))?;
    Ok(Ready { executor, languages, isolation: found.isolation, policy, weaker, users })
}
