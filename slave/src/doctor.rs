//! `ruche-slave doctor`: what this machine can put between programs and itself, why not the rest, and what to do.

use crate::{
    config::Config,
    isolation::{self, Found},
    languages,
};
use common::{
    UserError,
    program::ResourceLimits,
    view::{Guard, IsolationLevel},
};
use launcher::cgroup::Base;
use serde_json::{Value, json};
use std::path::Path;

/// A limit of programs, and who keeps it.
struct Kept {
    name: &'static str,
    /// The guard that keeps it, where there is one.
    guard: Option<&'static str>,
    how: &'static str,
    most: String,
}

/// Looks at this machine as `run` would with this configuration. Must be called before the process has threads.
///
/// # Errors
/// When the table of languages, which says what tools must be seen, cannot be read.
pub fn examine(config: &Config) -> Result<Found, UserError> {
    let table = languages::table(config.languages.as_deref())?;
    let own_users = rustix::process::geteuid().is_root();
    let groups = isolation::groups(config, &format!("ruche-doctor-{}", std::process::id()), false);
    let uid = if own_users { crate::config::PROGRAM_UID_BASE } else { rustix::process::geteuid().as_raw() };
    let tools = languages::tools(&table, &config.program_path, uid);
    // No data folder: nothing is left out for it.
    let found = isolation::find(config, &[], &tools, &groups, own_users, None);
    Base::remove(&groups);
    Ok(found)
}

/// For people.
#[must_use]
pub fn table(config: &Config, found: &Found) -> String {
    let mut text = format!("Isolation: {} ({})\n", found.isolation.level.word(), meaning(found.isolation.level));
    let width = found.isolation.guards.iter().map(|guard| guard.name.len()).max().unwrap_or(0);
    for guard in &found.isolation.guards {
        let required = if config.require.contains(&guard.name) { " (required)" } else { "" };
        let (sign, word) = if guard.on { ("✓", "on ") } else { ("✗", "off") };
        text.push_str(&format!("  {sign} {:<width$}  {word}{required}  {}\n", guard.name, guard.detail));
        if let Some(advice) = advice(config, guard) {
            text.push_str(&format!("    {:<width$}       to do: {advice}\n", ""));
        }
    }
    text.push_str("\nLimits\n");
    for kept in limits(&found.ceiling.limits) {
        let (sign, how) = kept_by(&kept, found);
        text.push_str(&format!("  {sign} {:<width$}  at most {:<13}  {how}\n", kept.name, kept.most));
    }
    let network = if found.ceiling.network { "programs may ask for it" } else { "no program gets it" };
    text.push_str(&format!("  – {:<width$}  {network}\n", "network"));
    text.push_str("\nFolders that programs see, to read and execute\n");
    for folder in &found.guards.system {
        text.push_str(&format!("  {}\n", shown(folder)));
    }
    if !config.writable.is_empty() {
        text.push_str("\nFolders that programs may write, beside their own\n");
        for folder in &config.writable {
            text.push_str(&format!("  {}\n", shown(folder)));
        }
    }
    text
}

/// For scripts. What stands here never changes its meaning; fields are only added.
#[must_use]
pub fn json(config: &Config, found: &Found) -> Value {
    let guard = |guard: &Guard| {
        json!({
            "name": guard.name,
            "on": guard.on,
            "detail": guard.detail,
            "required": config.require.contains(&guard.name),
            "advice": advice(config, guard),
        })
    };
    let limit = |kept: Kept| {
        let (sign, how) = kept_by(&kept, found);
        json!({ "name": kept.name, "by_kernel": sign == "✓", "detail": how, "most": kept.most })
    };
    json!({
        "level": found.isolation.level.word(),
        "summary": found.isolation.summary,
        "guards": found.isolation.guards.iter().map(guard).collect::<Vec<_>>(),
        "missing": found.missing.iter().map(|guard| &guard.name).collect::<Vec<_>>(),
        "limits": limits(&found.ceiling.limits).map(limit).collect::<Vec<_>>(),
        "network": found.ceiling.network,
        "read_only": found.guards.system.iter().map(|folder| shown(folder)).collect::<Vec<_>>(),
        "writable": config.writable.iter().map(|folder| shown(folder)).collect::<Vec<_>>(),
    })
}

fn shown(folder: &Path) -> String {
    common::escape::RawText(folder.as_os_str().as_encoded_bytes().to_vec()).to_string()
}

const fn meaning(level: IsolationLevel) -> &'static str {
    match level {
        IsolationLevel::Plain => "limits and the end of whole trees; programs see the machine's processes",
        IsolationLevel::UserNamespaces => "namespaces of an ordinary user",
        IsolationLevel::Delegated => "namespaces of an ordinary user, and control groups that were given to it",
        IsolationLevel::Root => "namespaces, control groups and a user of its own for each slot",
    }
}

/// What helps, where a guard is off.
fn advice(config: &Config, guard: &Guard) -> Option<&'static str> {
    if guard.on {
        return None;
    }
    if config.without.contains(&guard.name) {
        return Some("take it out of `without` in the configuration");
    }
    if config.isolation == crate::config::IsolationWish::Plain && guard.detail.contains("--isolation plain") {
        return Some("leave `--isolation plain` out");
    }
    Some(match guard.name.as_str() {
        "own-user" => "run the slave as root, as the packaged systemd unit does",
        "process-namespace" | "private-files" | "no-network" | "private-messages" | "private-names" => {
            "run it as root, or let ordinary users make user namespaces (`sysctl user.max_user_namespaces`; with \
             AppArmor also `kernel.apparmor_restrict_unprivileged_userns=0`)"
        }
        "landlock" => "use Linux 5.13 or later, with `landlock` among the `lsm=` of the kernel's command line",
        "seccomp" | "no-new-privileges" => "use a kernel that is built with seccomp filters",
        "memory-limit" | "process-limit" => {
            "run it as root, or as a systemd service with `Delegate=yes`, which gives it control groups"
        }
        "cgroup-kill" | "cgroup-freeze" => {
            "mount cgroup v2 (Linux 5.14 or later), and run it as root or with `Delegate=yes`"
        }
        "network-on-request" if !config.ceiling.network => {
            "nothing, unless programs shall use the network: then `network = true` in the configuration"
        }
        "network-on-request" => "run it as root, on a kernel with cgroup v2 and BPF",
        _ => return None,
    })
}

fn limits(most: &ResourceLimits) -> impl Iterator<Item = Kept> {
    let kept = |name, guard, how, most: String| Kept { name, guard, how, most };
    let cpu_time = most.cpu_time.map_or_else(|| "the wall time".to_owned(), |time| time.to_string());
    [
        kept("wall-time", None, "ended by the launcher, also when the agent is gone", most.wall_time.to_string()),
        kept("cpu-time", None, "measured over the whole tree", cpu_time),
        kept("memory", Some("memory-limit"), "", most.memory.to_string()),
        kept("processes", Some("process-limit"), "", most.processes.to_string()),
        kept("output", None, "counted by the slave, which ends the program", most.output.to_string()),
        kept("file-size", None, "refused by the kernel", most.file_size.to_string()),
        kept("disk", None, "measured while it runs, and at its end", most.disk.to_string()),
        kept("open-files", None, "refused by the kernel", most.open_files.to_string()),
    ]
    .into_iter()
}

/// The sign and how a limit is kept: `✓` where nothing can pass it, `~` where it is kept by watching.
fn kept_by(kept: &Kept, found: &Found) -> (&'static str, String) {
    match kept.guard.and_then(|name| found.isolation.guards.iter().find(|guard| guard.name == name)) {
        Some(guard) => (if guard.on { "✓" } else { "~" }, guard.detail.clone()),
        None if kept.guard.is_some() => ("~", "kept by watching, so a program may pass it for a moment".to_owned()),
        None => (if kept.name == "disk" { "~" } else { "✓" }, kept.how.to_owned()),
    }
}
