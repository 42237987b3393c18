//! Where controllers are mounted, and where this process is in each.

use std::path::{Path, PathBuf};

/// What this machine has.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Mounts {
    pub(super) v1: Vec<(String, PathBuf)>,
    /// The mount and this process's own folder in it.
    pub(super) unified: Option<(PathBuf, PathBuf)>,
}

impl Mounts {
    pub(super) fn of_this_process() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self::parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))
    }

    pub(super) fn parse(mountinfo: &str, own: &str) -> Self {
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

    pub(super) fn folder(&self, controller: &str) -> Option<PathBuf> {
        self.v1.iter().find(|(name, _)| name == controller).map(|(_, folder)| folder.clone())
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
