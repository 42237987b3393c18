//! What a slave and a master use while nobody wants anything.

use super::{
    Figure, Goal, Plan, Unit,
    usage::{self, Used},
};
use crate::Cluster;
use nix::unistd::Pid;

const MIB: f64 = 1_048_576.0;

/// One master with one slave that has run some programs, and no client.
///
/// # Panics
/// When something does not start.
#[must_use]
pub fn measure(plan: &Plan) -> Vec<Figure> {
    let mut cluster = Cluster::new();
    cluster.slave("idle", u32::try_from(super::SLOTS).unwrap());
    cluster.admin().run(["run", "--count", "50", "--", "true"]).expect(0);
    // What follows the last program, such as a checkpoint, is over.
    std::thread::park_timeout(plan.rest / 2);
    let agent = cluster.slaves[0].id();
    let below: Vec<Pid> = cluster.slaves[0].descendants().iter().map(|relative| relative.pid).collect();
    // The launcher is the agent's child, keepers are the launcher's.
    let launcher = below[0];
    let keepers = &below[1..];
    let groups = [vec![agent, launcher], keepers.to_vec(), vec![cluster.master.as_ref().unwrap().id()]];
    let before = groups.each_ref().map(|group| Used::by(group));
    std::thread::park_timeout(plan.rest);
    let after = groups.each_ref().map(|group| Used::by(group));
    let shares: Vec<_> = after.iter().zip(&before).map(|(after, before)| after.since(before)).collect();
    let mut figures = Vec::new();
    let names = [
        ("idle-slave-memory", "idle-slave-cpu", "idle-slave-wakes", "idle slave (agent and launcher)", Some(12.0)),
        ("idle-keepers-memory", "idle-keepers-cpu", "idle-keepers-wakes", "its two keepers", None),
        ("idle-master-memory", "idle-master-cpu", "idle-master-wakes", "idle master", Some(15.0)),
    ];
    for (((memory, cpu, wakes, what, most), group), (share, often)) in names.into_iter().zip(&groups).zip(shares) {
        let goal = |value| if most.is_some() { Goal::AtMost(value) } else { Goal::None };
        let sum = |of: fn(Pid) -> u64| {
            #[expect(clippy::cast_precision_loss, reason = "for people")]
            let bytes = group.iter().map(|pid| of(*pid)).sum::<u64>() as f64;
            bytes / MIB
        };
        let figure = Figure::new(
            memory,
            format!("{what}: memory, shared pages divided"),
            Unit::MiB,
            goal(most.unwrap_or_default()),
            vec![sum(usage::shared_out)],
        );
        figures.push(figure.of("resident_mib", &[sum(usage::resident)]).of("own_mib", &[sum(usage::own)]));
        figures.push(Figure::new(cpu, format!("{what}: processor"), Unit::Percent, goal(0.05), vec![share]));
        figures.push(Figure::new(wakes, format!("{what}: wake-ups"), Unit::PerSecond, goal(2.0), vec![often]));
    }
    figures
}
