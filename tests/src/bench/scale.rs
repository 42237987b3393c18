//! Ten thousand slaves that run nothing, on one master: what each costs, and how the cost of a decision and of a
//! heartbeat grows with their number, with a hundred windows looking on.

use super::{
    Figure, Goal, Plan, Unit,
    usage::{self, Used},
};
use crate::{
    cluster::PASSWORD,
    load::{User, World, user::tiny},
};
use client::{Client, Credentials, Pending};
use common::{
    limits,
    message::{Request, command::Secret},
    view::ClientKind,
};
use slave::hollow::HollowConfig;
use std::time::Duration;

/// Programs whose decisions are counted.
const DECISIONS: usize = 5_000;
/// Slaves that enrol and connect together: fewer than strangers may be connected from one address.
const WAVE: usize = 200;
/// Until what follows a change is over.
const SETTLE: Duration = Duration::from_secs(3);

/// What was measured with so many slaves.
struct Stage {
    slaves: usize,
    /// Hundredths of a processor, at rest.
    share: f64,
    /// The same with watchers.
    share_watched: f64,
    /// Microseconds of the master for a program, from its submit to its end.
    decision: f64,
    /// The same with watchers.
    decision_watched: f64,
}

/// Stage by stage on one master.
///
/// # Panics
/// When a slave does not come, or is lost.
#[must_use]
pub fn measure(plan: &Plan) -> Vec<Figure> {
    let mut world = World::new("");
    world.without_relay = true;
    let config = HollowConfig::new(4, Duration::ZERO);
    let user = world.admin();
    let (mut stages, mut each, mut connected) = (Vec::new(), 0.0, 0);
    for slaves in &plan.slaves {
        let before = usage::own(world.master());
        let more = slaves - connected;
        // A wave at a time, each waited for: nine thousand handshakes at once are another measurement.
        for wave in (0..more).step_by(WAVE) {
            world.slaves(WAVE.min(more - wave), &config);
        }
        std::thread::park_timeout(SETTLE);
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let bytes = usage::own(world.master()).saturating_sub(before) as f64 / more as f64;
        each = bytes;
        connected = *slaves;
        stages.push(stage(&world, &user, connected, plan));
        world.assert_slaves_live();
    }
    figures(plan, &stages, each / 1_024.0)
}

fn stage(world: &World, user: &User, slaves: usize, plan: &Plan) -> Stage {
    let share = rest(world, plan.rest);
    let decision = decision(world, user);
    let watchers = watch(world, plan.watchers);
    std::thread::park_timeout(SETTLE);
    let share_watched = rest(world, plan.rest / 2);
    let decision_watched = self::decision(world, user);
    assert!(watchers.iter().all(|client| client.lost().is_none()), "a watcher was cut");
    Stage { slaves, share, share_watched, decision, decision_watched }
}

fn rest(world: &World, time: Duration) -> f64 {
    let before = Used::by(&[world.master()]);
    std::thread::park_timeout(time);
    Used::by(&[world.master()]).since(&before).0
}

/// Microseconds of the master for a program.
fn decision(world: &World, user: &User) -> f64 {
    let before = Used::by(&[world.master()]);
    world.runtime.block_on(async {
        let ids = user.submit_many(DECISIONS, &tiny()).await;
        user.wait_well(&ids).await;
    });
    let used = Used::by(&[world.master()]).time.saturating_sub(before.time);
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let each = used.as_secs_f64() * 1e6 / DECISIONS as f64;
    each
}

/// Clients that are told of everything, as windows are.
fn watch(world: &World, count: usize) -> Vec<Client> {
    world.runtime.block_on(async {
        let password = Secret(PASSWORD.to_owned());
        let first = Credentials::Password { user: "admin".to_owned(), password };
        let (client, news) = Client::connect(&world.target, ClientKind::Gui, &first).await.unwrap();
        let token = Credentials::Token(client.token().clone());
        let mut all = vec![(client, news)];
        for _ in 1..count {
            all.push(Client::connect(&world.target, ClientKind::Gui, &token).await.unwrap());
        }
        let mut clients = Vec::with_capacity(count);
        for (client, mut news) in all {
            let everything = Request::Watch { programs: true, slaves: true, clients: false };
            let pending: Pending = client.request(everything);
            pending.await.unwrap();
            tokio::spawn(async move { while news.recv().await.is_some() {} });
            clients.push(client);
        }
        clients
    })
}

fn figures(plan: &Plan, stages: &[Stage], memory: f64) -> Vec<Figure> {
    let (first, last) = (&stages[0], &stages[stages.len() - 1]);
    let (most, watchers) = (last.slaves, plan.watchers);
    let resting = format!("the master's processor with {most} idle slaves");
    let mut figures = vec![
        Figure::new(
            "scale-memory",
            format!("the master's memory for each of {most} idle slaves"),
            Unit::KiB,
            Goal::AtMost(48.0),
            vec![memory],
        ),
        Figure::new("scale-cpu", resting.clone(), Unit::Percent, Goal::AtMost(5.0), vec![last.share]),
        Figure::plain(
            "scale-cpu-watched",
            format!("{resting} and {watchers} watching clients"),
            Unit::Percent,
            vec![last.share_watched],
        ),
    ];
    type Part = (&'static str, &'static str, String, fn(&Stage) -> f64);
    let parts: [Part; 3] = [
        ("scale-heartbeat", "scale-heartbeat-growth", "a heartbeat to and fro".into(), heartbeat),
        ("scale-decision", "scale-decision-growth", "a program from submit to end".into(), |stage| stage.decision),
        (
            "scale-decision-watched",
            "scale-decision-watched-growth",
            format!("the same with {watchers} watching clients"),
            |stage| stage.decision_watched,
        ),
    ];
    for (name, growth, what, of) in parts {
        let mut figure =
            Figure::plain(name, format!("the master's processor for {what}, {most} slaves"), Unit::Us, vec![of(last)]);
        for (stage, part) in stages.iter().zip(["few", "more", "most"]) {
            figure = figure.of(part, &[of(stage)]);
        }
        figures.push(figure);
        let what = format!("the same against that with {} slaves", first.slaves);
        figures.push(Figure::plain(growth, what, Unit::Times, vec![of(last) / of(first)]));
    }
    figures
}

/// Microseconds of the master for a heartbeat of one slave, in both directions.
fn heartbeat(stage: &Stage) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "thousands")]
    let each_second = stage.slaves as f64 / limits::HEARTBEAT_INTERVAL.to_std().as_secs_f64();
    stage.share * 1e4 / each_second
}
