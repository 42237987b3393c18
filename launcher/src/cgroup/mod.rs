//! Control groups: which of them this machine lets us use, and a base group for one data folder.

mod backend;
mod counter;
mod folder;
mod identity;
mod mounts;
mod processes;
mod slot;
mod v1;
mod v2;

pub(crate) use slot::SlotFiles;

use crate::best_effort;
use crate::protocol::{GroupVersion, SlotGroups};
use common::view::Guard;
use folder::Folder;
use mounts::Mounts;
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Leftovers of an earlier run are killed for at most this long before they are given up.
const LEFT_OVER_END_MAX: Duration = Duration::from_secs(5);

/// The base groups of one slave: the best that this machine lets it make.
#[derive(Clone, Debug, Default)]
pub struct Base {
    version: Option<GroupVersion>,
    memory: Option<PathBuf>,
    processes: Option<PathBuf>,
    cpu: Option<PathBuf>,
    /// In the unified hierarchy, with or without controllers.
    identity: Option<PathBuf>,
    /// Version 1; for a machine where the unified hierarchy does not freeze.
    freezer: Option<PathBuf>,
    /// Where that group is, or would be.
    freezer_place: Option<PathBuf>,
    /// Keepers of an agent before this one live in the groups.
    lived_in: bool,
    /// Why version 2 does not limit; empty when it does.
    not_v2: String,
    /// Why there is no identity; empty when there is one.
    no_identity: String,
    /// Why memory is not limited by a group; empty when it is.
    pub problem: String,
}

impl Base {
    /// Finds the usable controllers and makes the base group `name` in each, after ending whatever an
    /// earlier run left in it.
    #[must_use]
    pub fn prepare(name: &str) -> Self {
        let mounts = Mounts::of_this_process();
        let mut base = Self::prepare_v2(&mounts, name);
        if base.memory.is_none() {
            let not_v2 = base.problem;
            base = match mounts.folder("memory") {
                Some(memory) => Self { not_v2, ..Self::prepare_v1(&mounts, &memory, name) },
                None => Self { problem: not_v2.clone(), not_v2, ..Self::default() },
            };
            match make_identity(&mounts, name) {
                Ok(folder) => base.identity = Some(folder),
                Err(reason) => base.no_identity = reason,
            }
        }
        base.freezer_place = mounts.folder("freezer").map(|of| of.join(name));
        if base.identity.is_none() {
            base.make_freezer();
        }
        base
    }

    /// The base group `name` as an earlier run made it, whose keepers live in it still.
    #[must_use]
    pub fn reuse(name: &str) -> Self {
        let mounts = Mounts::of_this_process();
        let there = |folder: PathBuf| Some(folder.join(name)).filter(|folder| folder.is_dir());
        let of = |controller: &str| mounts.folder(controller).and_then(there);
        let identity = mounts.unified.clone().and_then(|(mount, own)| there(own).or_else(|| there(mount)));
        let mut base = Self { identity: identity.clone(), freezer: of("freezer"), lived_in: true, ..Self::default() };
        if let Some(folder) = identity.filter(|folder| folder.join("memory.max").exists()) {
            base.version = Some(GroupVersion::V2);
            [base.memory, base.processes, base.cpu] = [(); 3].map(|()| Some(folder.clone()));
        } else if let Some(memory) = of("memory") {
            base.version = Some(GroupVersion::V1);
            [base.memory, base.processes, base.cpu] = [Some(memory), of("pids"), of("cpuacct")];
            base.not_v2 = v2_is_missing(&mounts);
        } else {
            "the agent before this one had no control group".clone_into(&mut base.problem);
        }
        if base.identity.is_none() {
            "the agent before this one had none".clone_into(&mut base.no_identity);
        }
        base
    }

    /// No control groups.
    #[must_use]
    pub fn none(reason: &str) -> Self {
        Self {
            problem: reason.to_owned(),
            not_v2: reason.to_owned(),
            no_identity: reason.to_owned(),
            ..Self::default()
        }
    }

    /// The same without what one guard needs: `memory-limit`, `process-limit`, `cgroup-kill` or `cgroup-freeze`.
    /// With version 2 the first three are one group.
    #[must_use]
    pub fn without(mut self, guard: &str, reason: &str) -> Self {
        let v2 = self.version == Some(GroupVersion::V2);
        let lived_in = self.lived_in;
        let drop_group = |group: &mut Option<PathBuf>| {
            if let Some(folder) = group.take().filter(|_| !lived_in) {
                best_effort(remove_tree(&folder));
            }
        };
        match guard {
            "memory-limit" | "process-limit" | "cgroup-kill" | "cgroup-freeze" if v2 => {
                if !lived_in {
                    self.remove();
                }
                return Self::none(reason);
            }
            "memory-limit" => {
                drop_group(&mut self.memory);
                reason.clone_into(&mut self.problem);
            }
            "process-limit" => drop_group(&mut self.processes),
            "cgroup-kill" | "cgroup-freeze" => {
                drop_group(&mut self.identity);
                reason.clone_into(&mut self.no_identity);
                if guard == "cgroup-kill" {
                    self.make_freezer();
                } else {
                    drop_group(&mut self.freezer);
                    self.freezer_place = None;
                }
            }
            _ => {}
        }
        self
    }

    /// For programs without an identity.
    fn make_freezer(&mut self) {
        if self.freezer.is_none() {
            self.freezer = self.freezer_place.as_ref().and_then(|place| make_base(place, "freezer.state").ok());
        }
    }

    fn prepare_v1(mounts: &Mounts, memory: &Path, name: &str) -> Self {
        let mut base = Self { version: Some(GroupVersion::V1), ..Self::default() };
        match make_base(&memory.join(name), "memory.limit_in_bytes") {
            Ok(folder) => base.memory = Some(folder),
            Err(error) => base.problem = format!("{}: {error}", memory.display()),
        }
        let other = |controller: &str, file: &str| make_base(&mounts.folder(controller)?.join(name), file).ok();
        base.processes = other("pids", "pids.max");
        base.cpu = other("cpuacct", "cpuacct.usage");
        base
    }

    fn prepare_v2(mounts: &Mounts, name: &str) -> Self {
        let Some((mount, own)) = mounts.unified.clone() else { return Self::none(&v2_is_missing(mounts)) };
        let mut problem = String::new();
        for parent in [own, mount] {
            match enable_controllers(&parent).and_then(|()| make_base_v2(&parent.join(name))) {
                Ok(folder) => {
                    let mut base = Self { version: Some(GroupVersion::V2), ..Self::default() };
                    [base.memory, base.processes, base.cpu, base.identity] = [(); 4].map(|()| Some(folder.clone()));
                    return base;
                }
                // The reason at the own group is the one that an administrator can do something about.
                Err(error) if problem.is_empty() => problem = format!("{}: {error}", parent.display()),
                Err(_) => {}
            }
        }
        Self { problem, ..Self::default() }
    }

    /// Which interface limits memory, if one does.
    #[must_use]
    pub const fn memory_version(&self) -> Option<GroupVersion> {
        if self.memory.is_some() { self.version } else { None }
    }

    /// Whether a group limits the number of processes.
    #[must_use]
    pub const fn limits_processes(&self) -> bool {
        self.processes.is_some()
    }

    /// What keeps the limits and ends and stops programs, and why it is not something better.
    #[must_use]
    pub fn guards(&self) -> Vec<Guard> {
        let guard = |name: &str, on: bool, detail: String| Guard { name: name.to_owned(), on, detail };
        let limit = |on: bool, watched: &str| match (on, self.version) {
            (true, Some(GroupVersion::V2)) => "cgroup v2".to_owned(),
            (true, _) if self.not_v2.is_empty() => "cgroup v1".to_owned(),
            (true, _) => format!("cgroup v1; not v2: {}", self.not_v2),
            (false, _) if self.problem.is_empty() => format!("{watched}: no controller of processes"),
            (false, _) => format!("{watched}: {}", self.problem),
        };
        let watched = "kept by watching, so a program may pass it for a moment";
        let identity = self.identity.as_deref().map(|folder| folder.display().to_string());
        let freeze = match (&identity, &self.freezer) {
            (Some(_), _) => (true, "cgroup v2".to_owned()),
            (None, Some(_)) => (true, format!("cgroup v1; not v2: {}", self.no_identity)),
            (None, None) => (false, format!("suspended programs are stopped by signals: {}", self.no_identity)),
        };
        let kill = match &identity {
            Some(folder) => format!("all processes of a program at once, in {folder}"),
            None => format!("processes are looked for and killed one by one: {}", self.no_identity),
        };
        vec![
            guard("memory-limit", self.memory.is_some(), limit(self.memory.is_some(), watched)),
            guard("process-limit", self.processes.is_some(), limit(self.processes.is_some(), watched)),
            guard("cgroup-kill", identity.is_some(), kill),
            guard("cgroup-freeze", freeze.0, freeze.1),
        ]
    }

    /// The groups of one slot, made when its keeper starts.
    #[must_use]
    pub fn slot(&self, slot: u32) -> SlotGroups {
        let of = |folder: &Option<PathBuf>| folder.as_ref().map(|folder| folder.join(format!("slot-{slot}")));
        SlotGroups {
            version: self.version.unwrap_or(GroupVersion::V1),
            memory: of(&self.memory),
            processes: of(&self.processes),
            cpu: of(&self.cpu),
            identity: of(&self.identity),
            freezer: if self.identity.is_none() { of(&self.freezer) } else { None },
        }
    }

    /// Removes the base groups, once the launcher has ended.
    pub fn remove(&self) {
        let all = [&self.memory, &self.processes, &self.cpu, &self.identity, &self.freezer];
        for folder in all.into_iter().flatten() {
            best_effort(remove_tree(folder));
        }
    }
}

fn v2_is_missing(mounts: &Mounts) -> String {
    let Some((mount, _)) = &mounts.unified else { return "the unified hierarchy is not mounted".to_owned() };
    let offered = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
    format!(
        "the unified hierarchy offers {}",
        if offered.trim().is_empty() { "no controllers" } else { offered.trim() }
    )
}

/// A new, empty base group that has the controller's file and lets us make groups below.
fn make_base(folder: &Path, file: &str) -> io::Result<PathBuf> {
    if folder.is_dir() {
        remove_tree(folder)?;
    }
    fs::create_dir(folder)?;
    if !folder.join(file).exists() {
        best_effort(fs::remove_dir(folder));
        return Err(io::Error::new(io::ErrorKind::Unsupported, format!("the controller has no {file}")));
    }
    let trial = folder.join("trial");
    fs::create_dir(&trial).and_then(|()| fs::remove_dir(&trial))?;
    Ok(folder.to_owned())
}

/// The base group of the unified hierarchy where other hierarchies limit, or nothing does: it needs no controller.
fn make_identity(mounts: &Mounts, name: &str) -> Result<PathBuf, String> {
    let (mount, own) = mounts.unified.clone().ok_or("the unified hierarchy is not mounted")?;
    let mut problem = String::new();
    for parent in [own, mount] {
        match make_base(&parent.join(name), "cgroup.kill") {
            Ok(folder) => return Ok(folder),
            Err(error) if problem.is_empty() => problem = format!("{}: {error}", parent.display()),
            Err(_) => {}
        }
    }
    Err(problem)
}

fn make_base_v2(folder: &Path) -> io::Result<PathBuf> {
    let folder = make_base(folder, "memory.max")?;
    fs::write(folder.join("cgroup.subtree_control"), "+memory +pids")?;
    Ok(folder)
}

/// Lets the groups below `parent` limit memory and processes. A group that holds processes cannot, so
/// when `parent` holds this process alone (a delegated service) it moves into a leaf of its own first.
fn enable_controllers(parent: &Path) -> io::Result<()> {
    let control = parent.join("cgroup.subtree_control");
    let has = |text: &str, name: &str| text.split_ascii_whitespace().any(|word| word == name);
    let now = fs::read_to_string(&control)?;
    if has(&now, "memory") && has(&now, "pids") {
        return Ok(());
    }
    let available = fs::read_to_string(parent.join("cgroup.controllers"))?;
    if !has(&available, "memory") || !has(&available, "pids") {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "the memory and pids controllers are not offered"));
    }
    if fs::write(&control, "+memory +pids").is_ok() {
        return Ok(());
    }
    let own = std::process::id().to_string();
    if fs::read_to_string(parent.join("cgroup.procs"))?.split_ascii_whitespace().any(|pid| pid != own) {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the group holds other processes"));
    }
    let leaf = parent.join("ruche-agent");
    if !leaf.is_dir() {
        fs::create_dir(&leaf)?;
    }
    fs::write(leaf.join("cgroup.procs"), "0")?;
    fs::write(&control, "+memory +pids")
}

/// Ends all processes in a group and the groups below, and removes them.
fn remove_tree(folder: &Path) -> io::Result<()> {
    let deadline = Instant::now() + LEFT_OVER_END_MAX;
    loop {
        for entry in fs::read_dir(folder)?.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove_tree(&entry.path())?;
            }
        }
        if let Ok(open) = Folder::open(folder) {
            open.kill_members();
        }
        match fs::remove_dir(folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Entry for the fuzz targets.
pub(crate) fn fuzz_mounts(mountinfo: &str, own: &str) {
    drop(Mounts::parse(mountinfo, own));
}
