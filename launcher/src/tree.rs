//! The processes below a process, by /proc: who they are, what they use, and their end.

use crate::best_effort;
use common::units::{ByteSize, Duration};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{collections::BTreeSet, fs};

/// Passes over what an earlier run left, before it is given up: five seconds.
const MARKED_PASSES_MAX: usize = 1_000;
const MARKED_INTERVAL: std::time::Duration = std::time::Duration::from_millis(5);
/// Passes over a tree that keeps growing before it is killed as far as it is known.
const STOP_PASSES_MAX: usize = 20;

/// Whether one of these processes is in the process group `group`.
#[must_use]
pub fn is_any_in_group(pids: &BTreeSet<i32>, group: i32) -> bool {
    pids.iter().filter_map(|pid| Stat::read(*pid)).any(|stat| stat.group == group)
}

/// Processes and threads of a user, in the whole machine.
#[must_use]
pub fn count_of_user(uid: u32) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir("/proc") else { return 0 };
    let own = entries.flatten().filter(|entry| entry.metadata().is_ok_and(|found| found.uid() == uid));
    let pids = own.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(Stat::read).map(|stat| u64::from(stat.threads)).sum()
}

/// Processes that there are, of this user or of all: one look at the list of all, which a tree that grows or dies
/// meanwhile does not escape as it may escape a walk from parent to child.
#[must_use]
pub fn count_of_processes(uid: Option<u32>) -> u32 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir("/proc") else { return 0 };
    let pids = entries.flatten().filter(|entry| entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit));
    let theirs = pids.filter(|entry| uid.is_none_or(|uid| entry.metadata().is_ok_and(|found| found.uid() == uid)));
    u32::try_from(theirs.count()).unwrap_or(u32::MAX)
}

/// What a tree uses now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeUsage {
    /// Resident memory; pages that several processes share are counted for each.
    pub resident: ByteSize,
    /// Processor time, of ended children that were waited for as well.
    pub cpu: Duration,
    /// Processes and threads.
    pub processes: u32,
}

/// The children of a process.
#[must_use]
pub fn children(pid: i32) -> Vec<i32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let mut found = Vec::new();
    for task in tasks.flatten() {
        match fs::read_to_string(task.path().join("children")) {
            Ok(text) => found.extend(text.split_ascii_whitespace().filter_map(|word| word.parse::<i32>().ok())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && fs::metadata(task.path()).is_ok() => {
                return children_by_scan(pid);
            }
            Err(_) => {}
        }
    }
    found
}

/// For kernels without the `children` file.
fn children_by_scan(parent: i32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| Stat::read(*pid).is_some_and(|stat| stat.parent == parent)).collect()
}

/// All that descend from a process, without itself.
#[must_use]
pub fn descendants(pid: i32) -> BTreeSet<i32> {
    let mut all = BTreeSet::new();
    let mut waiting = children(pid);
    while let Some(next) = waiting.pop() {
        if all.insert(next) {
            waiting.extend(children(next));
        }
    }
    all
}

/// Kills every process of this machine that was started with a variable that begins like this: the last resort for
/// programs whose keeper was killed. What it forked has it as well, unless it took it out of its environment.
pub fn kill_marked(variable: &[u8]) {
    for _ in 0..MARKED_PASSES_MAX {
        let Ok(entries) = fs::read_dir("/proc") else { return };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let marked = |pid: &i32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|entry| entry.starts_with(variable))
        };
        let found: Vec<i32> = pids.filter(marked).collect();
        if found.is_empty() {
            return;
        }
        for pid in found {
            best_effort(kill(Pid::from_raw(pid), Signal::SIGKILL));
        }
        // A process that was killed takes its time to go.
        std::thread::sleep(MARKED_INTERVAL);
    }
}

/// Kills all that descend from a process. They are stopped first, so that a tree that forks all the time
/// stands still to be killed.
pub fn kill_descendants_of(pid: i32) {
    let mut known = BTreeSet::new();
    stop_all(pid, &mut known, |_| true);
    for process in &known {
        send(*process, Signal::SIGKILL);
    }
}

/// Stops all that descend from a process, and returns those that were not stopped already.
#[must_use]
pub fn stop_descendants_of(pid: i32) -> BTreeSet<i32> {
    let mut stopped = BTreeSet::new();
    stop_all(pid, &mut BTreeSet::new(), |process| {
        let ours = Stat::read(process).is_some_and(|stat| !stat.stopped);
        if ours {
            stopped.insert(process);
        }
        ours
    });
    stopped
}

/// Stops those that `chosen` says, again and again until no new one turns up.
fn stop_all(pid: i32, known: &mut BTreeSet<i32>, mut chosen: impl FnMut(i32) -> bool) {
    for _ in 0..STOP_PASSES_MAX {
        let now = descendants(pid);
        let fresh: Vec<i32> = now.difference(known).copied().collect();
        if fresh.is_empty() {
            break;
        }
        for process in fresh.into_iter().filter(|process| chosen(*process)) {
            send(process, Signal::SIGSTOP);
        }
        known.extend(now);
    }
}

/// Kills a process and all that descend from it.
pub fn kill_tree_of(pid: i32) {
    kill_descendants_of(pid);
    send(pid, Signal::SIGKILL);
}

fn send(pid: i32, signal: Signal) {
    // It may have ended by itself, and one that we may not touch is not ours.
    best_effort(kill(Pid::from_raw(pid), signal));
}

/// What these processes use.
#[must_use]
pub fn usage_of(pids: &BTreeSet<i32>) -> TreeUsage {
    let mut usage = TreeUsage::default();
    for stat in pids.iter().filter_map(|pid| Stat::read(*pid)) {
        usage.resident.0 += stat.resident.0;
        usage.cpu.0 += stat.cpu.0;
        usage.processes += stat.threads;
    }
    usage
}

/// Memory of these processes with shared pages divided among those that share them. Dearer to ask for.
#[must_use]
pub fn proportional_memory_of(pids: &BTreeSet<i32>) -> ByteSize {
    let of = |pid: &i32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    let kibibytes = |pid: &i32| of(pid).or_else(|| Some(Stat::read(*pid)?.resident.0 / 1024)).unwrap_or(0);
    ByteSize(pids.iter().map(kibibytes).sum::<u64>() * 1024)
}

/// Entry for the fuzz targets.
pub(crate) fn fuzz_stat(bytes: &[u8]) -> Option<i32> {
    Stat::parse(bytes).map(|stat| stat.parent)
}

/// The fields of /proc/PID/stat that are used here.
struct Stat {
    stopped: bool,
    parent: i32,
    group: i32,
    threads: u32,
    cpu: Duration,
    resident: ByteSize,
}

impl Stat {
    /// None when the process is gone.
    fn read(pid: i32) -> Option<Self> {
        let bytes = fs::read(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(&bytes)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        // The name, in parentheses, may hold anything: what counts comes after the last one.
        let end = bytes.iter().rposition(|byte| *byte == b')')?;
        let text = std::str::from_utf8(bytes.get(end + 2..)?).ok()?;
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        // proc(5) counts from 1 and the state is the third field.
        let ticks = (11..=14).filter_map(number).fold(0, u64::saturating_add);
        Some(Self {
            stopped: matches!(*fields.first()?, "T" | "t"),
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            threads: u32::try_from(number(17)?).ok()?,
            cpu: Duration(ticks.saturating_mul(1_000_000) / clock_ticks()),
            resident: ByteSize(number(21)?.saturating_mul(page_bytes())),
        })
    }
}

fn clock_ticks() -> u64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)
        .ok()
        .flatten()
        .and_then(|n| u64::try_from(n).ok())
        .unwrap_or(100)
}

fn page_bytes() -> u64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|n| u64::try_from(n).ok())
        .unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e5_a_name_with_parentheses_and_blanks_does_not_shift_the_columns() {
        let text = b"42 (CPU 0/TCG) a) b) S 7 42 42 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 3 0 1000 1000000 25 18446744073709551615 1";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.parent, stat.threads), (7, 3));
        assert_eq!(stat.cpu, Duration(200 * 1_000_000 / clock_ticks()));
        assert_eq!(stat.resident, ByteSize(25 * page_bytes()));
    }

    #[test]
    fn e5_children_are_found_both_ways() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        let id = child.id().cast_signed();
        let own = std::process::id().cast_signed();
        assert!(children(own).contains(&id));
        assert!(children_by_scan(own).contains(&id));
        assert!(usage_of(&descendants(own)).processes >= 1);
        kill_tree_of(id);
        assert!(!child.wait().unwrap().success());
    }
}
