//! A master that means harm: the slave belongs to it, and still does nothing that its own configuration forbids.

use crate::{Place, audit};
use common::{
    AttemptKey, ByteSize, Duration, Outcome, ProgramId, SlaveId,
    limits::LEASE_SLAVE,
    message::{Assignment, Command, Finished, Message, Order, Registration, Report, Status},
    program::{ProgramSpec, Work},
};
use std::{fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};
use tests::{cluster::Process, wait::PATIENCE};
use tokio::time::timeout;
use transport::{Authority, Connection, EnrolmentKey, JoinString, Listener, SlaveIdentity};
use uuid::Uuid;

/// One that can be read, of a master that is nowhere.
pub(crate) fn a_join_string() -> String {
    let pin = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    JoinString { address: "127.0.0.1:9".to_owned(), pin, secret: "A".repeat(43) }.to_string()
}

/// The slave's end in its data folder, and this test's end.
struct Rogue {
    authority: Authority,
    listener: Listener,
}

/// A slave that is connected to it.
struct Session {
    connection: Connection,
    told: Registration,
}

impl Rogue {
    async fn new(folder: &Path, place: &Place) -> Self {
        let authority = Authority::load_or_create(&folder.join("authority")).unwrap();
        let listener = Listener::bind("127.0.0.1:0", &authority).await.unwrap();
        let (key, id) = (EnrolmentKey::generate().unwrap(), SlaveId(Uuid::now_v7()));
        let chain = authority.issue_slave(&key.request_der(), id, Duration::from_secs(3_600)).unwrap();
        let address = listener.local_address().to_string();
        let identity: SlaveIdentity = key.complete(id, "victim".to_owned(), chain, address, authority.pin()).unwrap();
        identity.save(&place.data()).unwrap();
        give(&place.data(), &place.data());
        Self { authority, listener }
    }

    async fn slave(&self) -> Session {
        let mut connection = timeout(PATIENCE, self.listener.accept()).await.unwrap().handshake().await.unwrap();
        let hello = connection.receiver.next().await.unwrap();
        assert!(matches!(hello, Message::Command(Command::Hello(_))), "{hello:?}");
        connection.authenticated();
        connection.receiver.accept_large_frames();
        let welcome = Status::Welcome { protocol: 1, release: String::new(), master: String::new() };
        connection.sender.send(welcome).unwrap();
        let mut session = Session { connection, told: registration_of_nobody() };
        let Report::Register(told) = session.report().await else { panic!("no registration") };
        session.told = *told;
        session
    }
}

/// All in a folder belongs to whom the folder belongs to.
fn give(path: &Path, like: &Path) {
    use std::os::unix::fs::MetadataExt;
    let owner = fs::metadata(like).unwrap();
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap().path();
        std::os::unix::fs::chown(&entry, Some(owner.uid()), Some(owner.gid())).unwrap();
        if entry.is_dir() {
            give(&entry, like);
        }
    }
}

fn registration_of_nobody() -> Registration {
    slave::event_loop::registration(0)
}

impl Session {
    fn order(&self, order: Order) {
        self.connection.sender.send(Command::Order(order)).unwrap();
    }

    async fn report(&mut self) -> Report {
        loop {
            let message = timeout(PATIENCE, self.connection.receiver.next()).await.expect("in time").unwrap();
            if let Message::Status(Status::Report(report)) = message {
                return report;
            }
        }
    }

    /// The ends of these attempts; none of them may have started but `may_start`.
    async fn ends(&mut self, keys: &[AttemptKey], may_start: Option<AttemptKey>) -> Vec<Finished> {
        let mut ends: Vec<Finished> = Vec::new();
        while ends.len() < keys.len() {
            match self.report().await {
                Report::Finished(finished) => ends.extend(finished),
                Report::Started(started) => {
                    for (key, _) in started {
                        let refused = keys.contains(&key) && Some(key) != may_start;
                        assert!(!refused, "what is refused is never started");
                    }
                }
                Report::Register(_)
                | Report::Withdrawn(_)
                | Report::Progress { .. }
                | Report::Draining
                | Report::Suspended(_)
                | Report::Resumed(_)
                | Report::InputTaken { .. }
                | Report::Fetch { .. }
                | Report::Refused { .. } => {}
            }
        }
        ends.sort_by_key(|end| end.key);
        ends
    }
}

fn key(number: u128) -> AttemptKey {
    AttemptKey { program: ProgramId(Uuid::from_u128(number)), attempt: 1 }
}

fn spec(change: impl FnOnce(&mut ProgramSpec)) -> ProgramSpec {
    let mut spec = ProgramSpec::new("harmless\u{1b}[2J", Work::Command { command: "/bin/sh".into() });
    spec.arguments = ["-c", "id -u; sleep 0"].map(Into::into).to_vec();
    spec.limits.wall_time = Duration::from_secs(60);
    change(&mut spec);
    spec
}

const CEILING: &str = "slots_max = 2\n[ceiling]\nwall_time = \"1m\"\ncpu_time = \"30s\"\nmemory = \"1G\"\n\
    processes = 256\noutput = \"16M\"\nfile_size = \"1G\"\ndisk = \"2G\"\nopen_files = 1024\n";

/// Each limit ten times the ceiling, the network, a file outside the working folder; and what the answer names.
fn harmful() -> Vec<(ProgramSpec, &'static str)> {
    vec![
        (spec(|spec| spec.limits.wall_time = Duration::from_secs(600)), "wall time of 10 min; at most 1 min"),
        (spec(|spec| spec.limits.cpu_time = Some(Duration::from_secs(300))), "CPU time"),
        (spec(|spec| spec.limits.memory = ByteSize(10 << 30)), "memory limit of 10 GiB; at most 1 GiB"),
        (spec(|spec| spec.limits.processes = 2_560), "processes of 2560; at most 256"),
        (spec(|spec| spec.limits.output = ByteSize(160 << 20)), "output limit"),
        (spec(|spec| spec.limits.file_size = ByteSize(10 << 30)), "file size"),
        (spec(|spec| spec.limits.disk = ByteSize(20 << 30)), "disk"),
        (spec(|spec| spec.limits.open_files = 10_240), "open files"),
        (spec(|spec| spec.network = true), "network"),
        (
            spec(|spec| {
                let (language, file_name) = ("Shell".to_owned(), "../../../../etc/cron.d/x".to_owned());
                spec.work = Work::Source { language, file_name, text: b"id\n"[..].into() };
            }),
            "etc/cron.d/x",
        ),
        (spec(|spec| spec.limits.wall_time = Duration(u64::MAX)), "at most 1 min"),
    ]
}

/// I18 on one place.
pub(crate) fn all_is_refused(place: &Place) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let rogue = Rogue::new(folder.path(), place).await;
        let config = place.config(CEILING);
        let data = place.data();
        let words = ["run", "--data", data.to_str().unwrap(), "--config", &config, "--slots", "2"];
        let start = || Process::start(&mut place.command(&words), place.folder.path().join("slave.log"));
        let mut slave = start();
        let mut session = rogue.slave().await;
        assert_eq!(session.told.ceiling.limits.wall_time, Duration::from_secs(60));
        assert_eq!((session.told.ceiling.limits.open_files, session.told.ceiling.network), (1_024, false));
        // Processes of the slave's own user, as its programs may be, cannot look into it.
        if let Some((first, rest)) = place.before.split_first() {
            let fds = format!("/proc/{}/fd", slave.id());
            let looked = std::process::Command::new(first).args(rest).args(["ls", &fds]).output().unwrap();
            assert!(!looked.status.success() && looked.stdout.is_empty(), "{looked:?}");
        }
        // More programs at once than it ever runs.
        session.order(Order::Registered { slots: 4_000, lease: LEASE_SLAVE, epoch: 1 });
        refuses_each(&mut session).await;
        keeps_its_limits(&mut session).await;
        let lines = audit(&data);
        let refused: Vec<_> = lines.iter().filter(|line| line["event"] == "refused").collect();
        assert_eq!(refused.len(), harmful().len() + 2, "{lines:?}");
        let master = format!("{} (", rogue.listener.local_address());
        let pin = rogue.authority.pin().to_string();
        for line in &refused {
            let by = line["master"].as_str().unwrap();
            assert!(by.starts_with(&master) && by.contains(&pin), "which master asked: {line}");
            assert!(line["at"].as_str().unwrap().ends_with('Z'), "{line}");
        }
        let all = fs::read_to_string(data.join("audit.log")).unwrap();
        assert!(!all.contains('\u{1b}') && all.contains("harmless"), "names are shown and not obeyed: {all}");
        assert_eq!(fs::metadata(data.join("audit.log")).unwrap().permissions().mode() & 0o777, 0o600);
        // It is there after a restart, and goes on.
        drop(session);
        slave.kill();
        let mut slave = start();
        let mut session = rogue.slave().await;
        session.order(Order::Registered { slots: 2, lease: LEASE_SLAVE, epoch: 1 });
        let (harm, _) = harmful().swap_remove(0);
        session.order(assign(vec![(key(900), harm)]));
        session.ends(&[key(900)], None).await;
        let after = fs::read_to_string(data.join("audit.log")).unwrap();
        assert!(after.starts_with(&all) && after.len() > all.len(), "{after}");
        slave.stop();
    });
}

fn assign(programs: Vec<(AttemptKey, ProgramSpec)>) -> Order {
    let assignment = |(key, spec)| Assignment { key, spec: Arc::new(spec), index: 0, fence: 1 };
    Order::Assign(programs.into_iter().map(assignment).collect())
}

async fn refuses_each(session: &mut Session) {
    let harmful = harmful();
    let keys: Vec<AttemptKey> = (1..=harmful.len() as u128).map(key).collect();
    session.order(assign(keys.iter().copied().zip(harmful.iter().map(|(spec, _)| spec.clone())).collect()));
    for (end, (spec, named)) in session.ends(&keys, None).await.iter().zip(&harmful) {
        let Outcome::NotSupported { detail } = &end.outcome else { panic!("{:?} of {spec:?}", end.outcome) };
        assert!(detail.contains(named), "{named}: {detail}");
        assert_eq!(end.started_at, None);
    }
    session.order(Order::Acknowledge(keys));
}

async fn keeps_its_limits(session: &mut Session) {
    // What is within them runs, and not as root, whoever runs the slave.
    let fine = key(100);
    session.order(assign(vec![(fine, spec(|_| {}))]));
    let end = session.ends(&[fine], Some(fine)).await.remove(0);
    assert_eq!(end.outcome, Outcome::Exited { code: 0 }, "{end:?}");
    let uid = String::from_utf8(end.tails[0].bytes.clone()).unwrap();
    assert!(uid.trim().parse::<u32>().unwrap() > 0, "programs run as {uid}");
    // No more at once than its own configuration says.
    let many: Vec<AttemptKey> = (200..206).map(key).collect();
    let long = |_| spec(|spec| spec.arguments = ["-c", "exec sleep 60"].map(Into::into).to_vec());
    session.order(assign(many.iter().map(|key| (*key, long(key))).collect()));
    let mut started = Vec::new();
    while started.len() < 2 {
        if let Report::Started(more) = session.report().await {
            started.extend(more);
        }
    }
    assert_eq!(started.len(), 2, "slots_max");
    // A longer wall time than the ceiling is not set on one that runs.
    session.order(Order::SetWallTime { key: many[0], wall_time: Duration::from_secs(600) });
    let reported = session.report().await;
    let Report::Refused { key, detail } = reported else { panic!("something else than a refusal: {reported:?}") };
    assert_eq!(key, many[0]);
    assert!(detail.contains("at most 1 min"), "{detail}");
    session.order(Order::Discard(many));
}
