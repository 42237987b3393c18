//! I18: what a slave refuses though its master asks for it. The master is taken over: this test has its keys.

use crate::world::{Level, cluster, source, start};
use common::{
    AttemptKey, ByteSize, Duration, ProgramId, ProgramSpec, Work,
    id::Digest,
    message::{Assignment, Command, Data, Finished, Message, Order, Report, Status, StoredUpTo},
    outcome::Outcome,
    program::InputFile,
};
use serde_json::Value;
use std::{fs, sync::Arc};
use tests::Cluster;
use tokio::{runtime::Builder, time::timeout};
use transport::{Authority, Connection, Listener};
use uuid::Uuid;

const CEILING: &str = "slots_max = 2\n[ceiling]\nwall_time = \"20s\"\nmemory = \"128M\"\nprocesses = 32\n\
    output = \"1M\"\nfile_size = \"8M\"\ndisk = \"64M\"\nopen_files = 128\n";

/// A slave with a ceiling, and its master's identity in our hands.
struct TakenOver {
    cluster: Cluster,
    connection: Connection,
    // Holds the port.
    _listener: Listener,
}

impl TakenOver {
    async fn new() -> Self {
        let mut cluster = cluster();
        let config = cluster.slave_config("ceiling", CEILING);
        let mut slave = start(&cluster, Level::Root, 2);
        slave.options = vec!["--config".into(), config];
        cluster.slave_started(slave);
        cluster.master.take().unwrap().stop();
        let authority = Authority::load_or_create(&cluster.data().join("identity")).unwrap();
        let listener = Listener::bind(cluster.address(), &authority).await.unwrap();
        let connection = loop {
            let Ok(mut connection) = listener.accept().await.handshake().await else { continue };
            if let Ok(Message::Command(Command::Hello(_))) = connection.receiver.next().await {
                break connection;
            }
        };
        let mut taken = Self { cluster, connection, _listener: listener };
        taken.connection.authenticated();
        taken.connection.receiver.accept_large_frames();
        let welcome = Status::Welcome { protocol: 1, release: String::new(), master: String::new() };
        taken.connection.sender.send(welcome).unwrap();
        let Report::Register(_) = taken.report().await else { panic!("no registration") };
        taken.order(Order::Registered { slots: 1_000_000, lease: common::limits::LEASE_SLAVE, epoch: 1 });
        taken.order(Order::SetSlots(1_000_000));
        taken
    }

    fn order(&self, order: Order) {
        self.connection.sender.send(Command::Order(order)).unwrap();
    }

    fn assign(&self, spec: ProgramSpec) -> AttemptKey {
        let key = AttemptKey { program: ProgramId(Uuid::now_v7()), attempt: 1 };
        self.order(Order::Assign(vec![Assignment { key, spec: Arc::new(spec), index: 0, fence: 1 }]));
        key
    }

    /// The next report; what is output counts as stored.
    async fn report(&mut self) -> Report {
        loop {
            let next = timeout(tests::wait::PATIENCE, self.connection.receiver.next());
            match next.await.expect("the slave is heard of").unwrap() {
                Message::Status(Status::Report(report)) => return report,
                Message::Data(Data::Output { key, stream, offset, bytes }) => {
                    let offset = offset + bytes.len() as u64;
                    self.order(Order::Stored(vec![StoredUpTo { key, stream, offset }]));
                }
                Message::Data(_)
                | Message::Command(_)
                | Message::Status(_)
                | Message::Ping(_)
                | Message::Pong(_)
                | Message::Alert(_) => {}
            }
        }
    }

    /// How this attempt ends. All that start meanwhile are counted.
    async fn end_of(&mut self, key: AttemptKey) -> Finished {
        loop {
            if let Report::Finished(finished) = self.report().await {
                for one in finished {
                    self.order(Order::Acknowledge(vec![one.key]));
                    if one.key == key {
                        return one;
                    }
                }
            }
        }
    }

    /// The lines of the slave's own account of refusals.
    fn audit(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.cluster.path().join("root/audit.log")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn command(word: &str) -> ProgramSpec {
    let mut spec = ProgramSpec::new(word, Work::Command { command: word.into() });
    spec.limits.wall_time = Duration::from_secs(10);
    spec.limits.memory = ByteSize(64 << 20);
    spec.limits.processes = 16;
    spec.limits.output = ByteSize(1 << 16);
    spec.limits.file_size = ByteSize(1 << 20);
    spec.limits.disk = ByteSize(8 << 20);
    spec.limits.open_files = 64;
    spec
}

/// What a master that means harm may ask for, each beyond one thing that the slave allows.
fn beyond() -> Vec<(&'static str, ProgramSpec)> {
    let with = |change: fn(&mut ProgramSpec)| {
        let mut spec = command("true");
        change(&mut spec);
        spec
    };
    let source = |name: &str| {
        let text = b"print(1)\n".as_slice().into();
        let work = Work::Source { language: "Python".into(), file_name: name.into(), text };
        ProgramSpec { work, ..command("true") }
    };
    let input = |name: &str| {
        let mut spec = command("true");
        let (digest, size) = (Digest([7; 32]), ByteSize(3));
        spec.inputs.push(InputFile { name: name.into(), digest, size, executable: true });
        spec
    };
    vec![
        ("wall time", with(|spec| spec.limits.wall_time = Duration::from_secs(200))),
        ("memory", with(|spec| spec.limits.memory = ByteSize(10 << 27))),
        ("processes", with(|spec| spec.limits.processes = 320)),
        ("output", with(|spec| spec.limits.output = ByteSize(10 << 20))),
        ("file size", with(|spec| spec.limits.file_size = ByteSize(80 << 20))),
        ("disk", with(|spec| spec.limits.disk = ByteSize(640 << 20))),
        ("open files", with(|spec| spec.limits.open_files = 1_280)),
        ("network", with(|spec| spec.network = true)),
        ("a source outside", source("../../../outside.py")),
        ("a source at the top", source("/outside.py")),
        ("an input outside", input("../../outside")),
        ("an input of ours", input(".ruche-progress")),
        ("a pattern outside", with(|spec| spec.collect.push("../../../etc/*".into()))),
        ("a pattern at the top", with(|spec| spec.collect.push("/etc/passwd".into()))),
    ]
}

#[test]
fn i18_a_master_that_was_taken_over_gets_nothing_beyond_the_ceiling() {
    if !nix::unistd::geteuid().is_root() {
        crate::not_exercised("the ceiling of a slave that runs as root: this is not root");
        return;
    }
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut taken = TakenOver::new().await;
        for (what, spec) in beyond() {
            let audited = taken.audit().len();
            let key = taken.assign(spec);
            let finished = taken.end_of(key).await;
            let Outcome::NotSupported { detail } = &finished.outcome else { panic!("{what}: {finished:?}") };
            assert!(detail.contains("refuses"), "{what}: {detail}");
            assert!(taken.audit().len() > audited, "{what}: the refusal is not in the slave's own account");
        }
        assert!(!taken.cluster.path().join("outside.py").exists());
        for line in taken.audit() {
            assert!(line.is_object(), "{line}");
        }
        // A longer wall time for what runs already is refused as well: it ends in its own time.
        let mut sleeper = command("sleep");
        sleeper.arguments = vec!["600".into()];
        sleeper.limits.wall_time = Duration::from_secs(2);
        let key = taken.assign(sleeper);
        taken.order(Order::SetWallTime { key, wall_time: Duration::from_secs(3_600) });
        let finished = taken.end_of(key).await;
        assert_eq!(finished.outcome.exit_code(), 124, "{finished:?}");
        // What is within the ceiling runs, as nobody.
        let key = taken.assign(ProgramSpec {
            work: Work::Source {
                language: "Bash".into(),
                file_name: "who.sh".into(),
                text: b"[ $(id -u) != 0 ] && [ $(id -g) != 0 ]\n".as_slice().into(),
            },
            ..command("bash")
        });
        assert_eq!(taken.end_of(key).await.outcome, Outcome::Exited { code: 0 });
    });
}

#[test]
fn i18_never_more_programs_at_once_than_the_slave_allows() {
    if !nix::unistd::geteuid().is_root() {
        crate::not_exercised("the ceiling of a slave that runs as root: this is not root");
        return;
    }
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut taken = TakenOver::new().await;
        let word = format!("ruche-crowd-{}", Uuid::new_v4());
        let mut spec = command("sh");
        spec.arguments = ["-c", "sleep 0.2", &word].iter().map(|word| (*word).into()).collect();
        let keys: Vec<_> = (0..8).map(|_| taken.assign(spec.clone())).collect();
        let mut left: std::collections::BTreeSet<_> = keys.into_iter().collect();
        let (mut running, mut most) = (0_usize, 0);
        while !left.is_empty() {
            let report = taken.report().await;
            if let Report::Started(started) = &report {
                running += started.len();
            }
            if let Report::Finished(finished) = report {
                for one in finished {
                    running = running.saturating_sub(1);
                    left.remove(&one.key);
                    taken.order(Order::Acknowledge(vec![one.key]));
                }
            }
            most = most.max(running);
        }
        assert!(most <= 2, "{most} programs ran at once");
    });
}

#[test]
fn i18_an_honest_master_does_not_even_try() {
    let mut cluster = cluster();
    let config = cluster.slave_config("ceiling", CEILING);
    let mut slave = start(&cluster, Level::Root, 1);
    slave.options = vec!["--config".into(), config];
    cluster.slave_started(slave);
    let admin = cluster.admin();
    let file = source!("identity.sh").file(&cluster);
    for (option, value) in [("--memory", "1G"), ("--wall-time", "1h"), ("--disk", "1G"), ("--open-files", "4096")] {
        let ran = admin.run(["submit", "--wall-time", "5s", "--memory", "64M", option, value, &file]);
        if ran.code == 0 {
            let id = ran.out().trim().to_owned();
            let why = admin.run(["why", &id]).out();
            assert!(why.contains("root"), "{option}: {why}");
            let shown = admin.show(&id);
            assert!(shown["started_at"].is_null(), "{option} {value}: {shown}");
            admin.run(["cancel", &id]);
        }
    }
}
