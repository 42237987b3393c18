//! An agent that is killed and started again on its journal, with programs that only pretend and a master that
//! this test plays.
#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and names what it expects"
)]

use common::{
    Duration, SlaveId, Timestamp,
    id::{AttemptKey, ProgramId},
    limits,
    message::{Assignment, Command, Finished, Message, Order, Registration, Report, Status, Stream},
    outcome::Outcome,
    program::{ProgramSpec, Work},
    units::BootTime,
    view::Usage,
};
use slave::{
    core::Core,
    event_loop::{Announce, Ask, Restored, Run, Slave, Wake, registration},
    executor::{AttemptEnd, ExecutorEvent, Stop},
    journal::Journal,
};
use std::{
    collections::BTreeSet,
    fs::File,
    io,
    path::Path,
    sync::{Arc, Mutex},
    time::Instant,
};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use transport::{Authority, Connection, EnrolmentKey, Listener, SlaveIdentity};

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// The programs of a machine: they outlive agents.
#[derive(Default)]
struct Machine {
    running: BTreeSet<AttemptKey>,
    /// All starts there ever were.
    starts: Vec<AttemptKey>,
    ends: Vec<AttemptKey>,
    lease: Option<BootTime>,
}

/// What an agent has of the machine: each program writes its own number at its end.
struct Pretended(Arc<Mutex<Machine>>);

fn output(key: AttemptKey) -> Vec<u8> {
    format!("output of {key}").into_bytes()
}

struct Often;

impl Wake for Often {
    async fn ready(&mut self) -> io::Result<()> {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        Ok(())
    }
}

impl Run for Pretended {
    fn wake(&self) -> io::Result<impl Wake + use<>> {
        Ok(Often)
    }

    fn start(&mut self, assignment: Assignment, _now: Timestamp) {
        let mut machine = self.0.lock().unwrap();
        assert!(machine.lease.is_some(), "nothing starts without a lease");
        machine.running.insert(assignment.key);
        machine.starts.push(assignment.key);
    }

    fn stop(&mut self, _key: AttemptKey, _stop: Stop) {}

    fn turn(&mut self) -> io::Result<Vec<ExecutorEvent>> {
        let ends = std::mem::take(&mut self.0.lock().unwrap().ends);
        let event = |key: AttemptKey| {
            let end = output(key).len() as u64;
            let output = ExecutorEvent::Output { key, stream: Stream::Stdout, end };
            let ended = ExecutorEvent::Ended(Box::new(AttemptEnd {
                key,
                outcome: Outcome::Exited { code: 0 },
                started_at: Some(Timestamp(1)),
                ended_at: Timestamp(2),
                usage: Usage::default(),
                output_truncated: false,
                last_line: String::new(),
            }));
            [output, ended]
        };
        Ok(ends.into_iter().flat_map(event).collect())
    }

    fn is_idle(&self) -> bool {
        self.0.lock().unwrap().ends.is_empty()
    }

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn read(&mut self, key: AttemptKey, stream: Stream, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        assert_eq!(stream, Stream::Stdout);
        Ok(output(key).into_iter().skip(usize::try_from(offset).unwrap()).take(bytes_max).collect())
    }

    fn forget_before(&mut self, _key: AttemptKey, _stream: Stream, _offset: u64) {}

    fn forget(&mut self, _key: AttemptKey) {}

    fn adopt(&mut self, started: Vec<(Assignment, Timestamp)>) -> Vec<AttemptKey> {
        let machine = self.0.lock().unwrap();
        started.into_iter().map(|(assignment, _)| assignment.key).filter(|key| machine.running.contains(key)).collect()
    }

    fn seal(&mut self, key: AttemptKey) -> io::Result<(Vec<u8>, Vec<File>)> {
        self.0.lock().unwrap().running.remove(&key);
        Ok((output(key), Vec::new()))
    }

    fn restore(&mut self, key: AttemptKey, sealed: &[u8]) -> io::Result<Restored> {
        assert_eq!(sealed, output(key));
        Ok(Restored { places: [(0, sealed.len() as u64), (0, 0), (0, 0), (0, 0)], incomplete: false })
    }

    fn set_lease(&mut self, until: BootTime) {
        self.0.lock().unwrap().lease = Some(until);
    }

    fn shut_down(self) -> io::Result<()> {
        Ok(())
    }
}

struct Silent;

impl Announce for Silent {
    fn connected(&mut self, _line: &str) {}
}

struct Bench {
    folder: tempfile::TempDir,
    authority: Authority,
    listener: Listener,
    id: SlaveId,
    machine: Arc<Mutex<Machine>>,
}

/// An agent, and the master's end of its connection.
struct Agent {
    task: JoinHandle<()>,
    asks: mpsc::Sender<Ask>,
    connection: Connection,
    told: Registration,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(&folder.path().join("authority")).unwrap();
        let listener = Listener::bind("127.0.0.1:0", &authority).await.unwrap();
        Self { folder, authority, listener, id: SlaveId(uuid::Uuid::now_v7()), machine: Arc::default() }
    }

    fn identity(&self) -> SlaveIdentity {
        let key = EnrolmentKey::generate().unwrap();
        let chain = self.authority.issue_slave(&key.request_der(), self.id, Duration::from_secs(3_600)).unwrap();
        let address = self.listener.local_address().to_string();
        key.complete(self.id, "again".to_owned(), chain, address, self.authority.pin()).unwrap()
    }

    fn journal(&self) -> &Path {
        self.folder.path()
    }

    /// Starts an agent on `boot` of the machine, up to its registration.
    async fn agent(&self, boot: &str) -> Agent {
        let (journal, found) = Journal::open(&self.journal().join("journal"), boot).unwrap();
        let core = Core::new(2, 2, Duration::from_secs(10));
        let machine = Pretended(self.machine.clone());
        let slave = Slave::over(core, machine, registration(2), self.identity(), Silent).remembering(journal, found);
        let (asks, asked) = mpsc::channel(2);
        let task = tokio::spawn(async move { slave.run(asked).await.unwrap() });
        let mut connection = timeout(PATIENCE, self.listener.accept()).await.unwrap().handshake().await.unwrap();
        let hello = connection.receiver.next().await.unwrap();
        assert!(matches!(hello, Message::Command(Command::Hello(_))));
        connection.receiver.accept_large_frames();
        let welcome = Status::Welcome { protocol: 1, release: String::new(), master: String::new() };
        connection.sender.send(welcome).unwrap();
        match connection.receiver.next().await.unwrap() {
            Message::Status(Status::Report(Report::Register(told))) => Agent { task, asks, connection, told: *told },
            other => panic!("not a registration: {other:?}"),
        }
    }

    fn end(&self, key: AttemptKey) {
        self.machine.lock().unwrap().ends.push(key);
    }

    fn starts(&self) -> usize {
        self.machine.lock().unwrap().starts.len()
    }
}

impl Agent {
    fn order(&self, order: Order) {
        self.connection.sender.send(Command::Order(order)).unwrap();
    }

    fn accept(&self) {
        self.order(Order::Registered { slots: 2, lease: limits::LEASE_SLAVE, epoch: 1 });
    }

    async fn report(&mut self) -> Report {
        loop {
            let message = timeout(PATIENCE, self.connection.receiver.next()).await.expect("in time").unwrap();
            if let Message::Status(Status::Report(report)) = message {
                return report;
            }
        }
    }

    async fn started(&mut self) -> Vec<AttemptKey> {
        match self.report().await {
            Report::Started(started) => started.into_iter().map(|(key, _)| key).collect(),
            other => panic!("not a start: {other:?}"),
        }
    }

    async fn finished(&mut self) -> Vec<Finished> {
        match self.report().await {
            Report::Finished(finished) => finished,
            other => panic!("not an end: {other:?}"),
        }
    }

    /// As `kill -9`: nothing of the agent runs any more, and nothing of it was told to end.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

fn key(number: u128) -> AttemptKey {
    AttemptKey { program: ProgramId(uuid::Uuid::from_u128(number)), attempt: 1 }
}

fn assign(numbers: std::ops::Range<u128>) -> Order {
    let spec = Arc::new(ProgramSpec::new("x", Work::Command { command: "x".into() }));
    Order::Assign(numbers.map(|n| Assignment { key: key(n), spec: spec.clone(), index: 0, fence: 1 }).collect())
}

#[tokio::test]
async fn f07_a_new_agent_goes_on_where_the_killed_one_was() {
    let bench = Bench::new().await;
    let mut agent = bench.agent("boot").await;
    assert_eq!(agent.told.epoch, 0);
    let instance = agent.told.instance;
    agent.accept();
    agent.order(assign(1..4));
    assert_eq!(agent.started().await, [key(1), key(2)]);
    bench.end(key(1));
    assert_eq!(agent.finished().await[0].key, key(1));
    assert_eq!(agent.started().await, [key(3)]);
    agent.kill().await;
    // 2 ends while there is no agent.
    bench.end(key(2));

    let mut agent = bench.agent("boot").await;
    let Registration { running, finished, waiting, .. } = &agent.told;
    assert_eq!((agent.told.instance, agent.told.epoch), (instance, 1), "it remembers everything");
    assert_eq!(waiting, &vec![]);
    // Whether it heard of the end of 2 before it registered or not.
    let running: Vec<_> = running.iter().map(|(key, _)| *key).collect();
    let held: BTreeSet<_> = running.iter().chain(finished).copied().collect();
    assert_eq!(held, BTreeSet::from([key(1), key(2), key(3)]));
    assert!(running.contains(&key(3)) && finished.contains(&key(1)));
    agent.accept();
    let mut ended = Vec::new();
    while ended.len() < 2 {
        if let Report::Finished(finished) = agent.report().await {
            ended.extend(finished);
        }
    }
    for Finished { key, outcome, tails, .. } in &ended {
        assert_eq!((outcome, &tails[0].bytes), (&Outcome::Exited { code: 0 }, &output(*key)));
    }
    agent.order(Order::Acknowledge(vec![key(1), key(2)]));
    agent.order(assign(3..5));
    assert_eq!(agent.started().await, [key(4)], "3 is known and not started again");
    assert_eq!(bench.starts(), 4);

    // In order this time: what is not acknowledged is told at the next start all the same.
    bench.end(key(3));
    assert_eq!(agent.finished().await[0].key, key(3));
    agent.asks.send(Ask::Stop).await.unwrap();
    agent.asks.send(Ask::Stop).await.unwrap();
    agent.task.await.unwrap();
    bench.machine.lock().unwrap().running.clear();
    let mut agent = bench.agent("boot").await;
    assert_eq!(agent.told.finished, [key(3), key(4)]);
    agent.accept();
    let mut told = Vec::new();
    while told.len() < 2 {
        told.extend(agent.finished().await);
    }
    assert_eq!(told[0].tails[0].bytes, output(key(3)));
    assert!(matches!(&told[1].outcome, Outcome::Lost { detail } if detail.contains("agent was restarted")));
    assert_eq!(bench.starts(), 4);
}

#[tokio::test]
async fn p5_after_a_restart_of_the_machine_results_are_told_and_the_rest_is_lost() {
    let bench = Bench::new().await;
    let mut agent = bench.agent("first boot").await;
    let instance = agent.told.instance;
    agent.accept();
    agent.order(assign(1..3));
    agent.started().await;
    bench.end(key(1));
    agent.finished().await;
    agent.kill().await;
    let mut agent = bench.agent("second boot").await;
    assert_ne!(agent.told.instance, instance);
    assert_eq!((&agent.told.running, &agent.told.finished), (&vec![], &vec![key(1), key(2)]));
    agent.accept();
    let mut told = Vec::new();
    while told.len() < 2 {
        told.extend(agent.finished().await);
    }
    assert_eq!(told[0].tails[0].bytes, output(key(1)));
    let lost = Outcome::Lost { detail: "The machine restarted while it ran.".to_owned() };
    assert_eq!((told[1].key, &told[1].outcome), (key(2), &lost));
}
