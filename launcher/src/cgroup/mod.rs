//! Control groups: which of them this machine lets us use, and a base group for one data folder.

mod slot;

pub(crate) use slot::SlotFiles;

use crate::best_effort;
use crate::protocol::{GroupVersion, SlotGroups};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Leftovers of an earlier run are killed for at most this long before they are given up.
const LEFT_OVER_END_MAX: Duration = Duration::from_secs(5);

/// The base groups of one slave.
#[derive(Clone, Debug, Default)]
pub struct Base {
    version: Option<GroupVersion>,
    memory: Option<PathBuf>,
    processes: Option<PathBuf>,
    cpu: Option<PathBuf>,
    /// In the unified hierarchy, with or without controllers.
    identity: Option<PathBuf>,
    /// Why memory is not limited by a group; empty when it is.
    pub problem: String,
}

impl Base {
    /// Finds the usable controllers and makes the base group `name` in each, after ending whatever an
    /// earlier run left in it.
    #[must_use]
    pub fn prepare(name: &str) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let mounts = Mounts::parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        let base = match (mounts.folder("memory"), &mounts.unified) {
            (Some(memory), _) => Self::prepare_v1(&mounts, memory, name),
            (None, Some(_)) => Self::prepare_v2(&mounts, name),
            (None, None) => Self { problem: "no control groups are mounted".to_owned(), ..Self::default() },
        };
        let identity = match base.version {
            Some(GroupVersion::V2) => base.memory.clone(),
            Some(GroupVersion::V1) | None => make_identity(&mounts, name),
        };
        Self { identity, ..base }
    }

    /// The base group `name` as an earlier run made it, whose keepers live in it still.
    #[must_use]
    pub fn reuse(name: &str) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let mounts = Mounts::parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        let there = |folder: PathBuf| Some(folder.join(name)).filter(|folder| folder.is_dir());
        let of = |controller: &str| mounts.folder(controller).and_then(there);
        if let Some(memory) = of("memory") {
            let (processes, cpu) = (of("pids"), of("cpuacct"));
            let identity = mounts.unified.clone().and_then(|(mount, own)| there(own).or_else(|| there(mount)));
            let version = Some(GroupVersion::V1);
            return Self { version, memory: Some(memory), processes, cpu, identity, problem: String::new() };
        }
        let unified = mounts.unified.clone().and_then(|(mount, own)| there(own).or_else(|| there(mount)));
        match unified {
            Some(folder) => Self {
                version: Some(GroupVersion::V2),
                memory: Some(folder.clone()),
                processes: Some(folder.clone()),
                cpu: Some(folder.clone()),
                identity: Some(folder),
                problem: String::new(),
            },
            None => Self::none("the agent before this one had no control group"),
        }
    }

    /// No control groups.
    #[must_use]
    pub fn none(reason: &str) -> Self {
        Self { problem: reason.to_owned(), ..Self::default() }
    }

    fn prepare_v1(mounts: &Mounts, memory: PathBuf, name: &str) -> Self {
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
        let Some((mount, own)) = mounts.unified.clone() else { return Self::default() };
        let mut problem = String::new();
        for parent in [own, mount] {
            match enable_controllers(&parent).and_then(|()| make_base_v2(&parent.join(name))) {
                Ok(folder) => {
                    let folder = Some(folder);
                    return Self {
                        version: Some(GroupVersion::V2),
                        memory: folder.clone(),
                        processes: folder.clone(),
                        cpu: folder.clone(),
                        identity: folder,
                        problem: String::new(),
                    };
                }
                Err(error) => problem = format!("{}: {error}", parent.display()),
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
        }
    }

    /// Removes the base groups, once the launcher has ended.
    pub fn remove(&self) {
        for folder in [&self.memory, &self.processes, &self.cpu, &self.identity].into_iter().flatten() {
            best_effort(remove_tree(folder));
        }
    }
}

/// Where controllers are mounted, and where this process is in each.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mounts {
    v1: Vec<(String, PathBuf)>,
    /// The mount and this process's own folder in it.
    unified: Option<(PathBuf, PathBuf)>,
}

impl Mounts {
    fn parse(mountinfo: &str, own: &str) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let left: Vec<&str> = left.split(' ').collect();
            let right: Vec<&str> = right.split(' ').collect();
            let (Some(root), Some(mount), Some(kind)) = (left.get(3), left.get(4), right.first()) else { continue };
            let options = right.get(2).copied().unwrap_or_default();
            for membership in own.lines() {
                let mut parts = membership.splitn(3, ':').skip(1);
                let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
                let below = path.strip_prefix(root.trim_end_matches('/')).unwrap_or(path).trim_start_matches('/');
                let folder = Path::new(mount).join(below);
                match *kind {
                    "cgroup2" if controllers.is_empty() => {
                        found.unified.get_or_insert((PathBuf::from(mount), folder));
                    }
                    "cgroup" if !controllers.is_empty() => {
                        for controller in controllers.split(',') {
                            if options.split(',').any(|option| option == controller) {
                                found.v1.push((controller.to_owned(), folder.clone()));
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
        found
    }

    fn folder(&self, controller: &str) -> Option<PathBuf> {
        self.v1.iter().find(|(name, _)| name == controller).map(|(_, folder)| folder.clone())
    }
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
fn make_identity(mounts: &Mounts, name: &str) -> Option<PathBuf> {
    let (mount, own) = mounts.unified.clone()?;
    [own, mount].into_iter().find_map(|parent| make_base(&parent.join(name), "cgroup.kill").ok())
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
        kill_members(folder);
        match fs::remove_dir(folder) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Kills every process in a group but this one.
fn kill_members(folder: &Path) {
    let own = std::process::id().to_string();
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    for pid in text.split_ascii_whitespace().filter(|pid| *pid != own) {
        if let Ok(pid) = pid.parse::<i32>() {
            best_effort(nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e5_mounts_of_both_versions_are_found() {
        let mountinfo = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                         35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                         41 31 0:38 /pod /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let own = "4:memory:/a/b\n3:cpu,cpuacct:/\n0::/pod/x\n";
        let mounts = Mounts::parse(mountinfo, own);
        assert_eq!(mounts.folder("memory"), Some("/sys/fs/cgroup/memory/a/b".into()));
        assert_eq!(mounts.folder("cpuacct"), Some("/sys/fs/cgroup/cpu/".into()));
        assert_eq!(mounts.folder("pids"), None);
        assert_eq!(mounts.unified, Some(("/sys/fs/cgroup/unified".into(), "/sys/fs/cgroup/unified/x".into())));
        assert_eq!(Mounts::parse("rubbish\n1 2 - \n", "::\nx"), Mounts::default());
    }
}
