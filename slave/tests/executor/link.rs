//! A whole slave with a master that this test plays.

use crate::kit::{Kit, command};
use common::{
    Duration, SlaveId, Timestamp,
    id::{AttemptKey, ProgramId},
    message::{Assignment, Command, Data, Finished, Message, Order, Report, Status, StoredUpTo},
    outcome::Outcome,
    program::ProgramSpec,
    units::ByteSize,
    view::Isolation,
};
use slave::{
    core::Core,
    event_loop::{Announce, Ask, Slave},
    setup::Ready,
};
use std::{sync::Arc, thread::JoinHandle};
use tokio::{runtime::Builder, sync::mpsc, time::timeout};
use transport::{Authority, Connection, EnrolmentKey, Listener, SlaveIdentity};

/// For what takes milliseconds when all is well.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

struct Silent;

impl Announce for Silent {
    fn connected(&mut self, _: &str) {}
}

/// The master's end of the connection, and the slave's thread.
struct Played {
    connection: Connection,
    asks: mpsc::Sender<Ask>,
    slave: JoinHandle<()>,
}

fn identity(authority: &Authority, address: String) -> SlaveIdentity {
    let key = EnrolmentKey::generate().unwrap();
    let id = SlaveId(uuid::Uuid::now_v7());
    let chain = authority.issue_slave(&key.request_der(), id, Duration::from_secs(3_600)).unwrap();
    key.complete(id, "played".to_owned(), chain, address, authority.pin()).unwrap()
}

/// Runs a slave of one slot, registered.
async fn play() -> Played {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::load_or_create(&folder.path().join("authority")).unwrap();
    let listener = Listener::bind("127.0.0.1:0", &authority).await.unwrap();
    let identity = identity(&authority, listener.local_address().to_string());
    let (asks, asked) = mpsc::channel(2);
    let slave = std::thread::Builder::new().name("slave".to_owned()).spawn(move || {
        let mut kit = Kit::new();
        let executor = kit.executor.take().unwrap();
        let isolation = Isolation::default();
        let ready = Ready {
            executor,
            languages: Vec::new(),
            isolation,
            policy: slave::ceiling::Policy::default(),
            weaker: Vec::new(),
            users: None,
        };
        let core = Core::new(1, 1, Duration::from_secs(1));
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { Slave::new(core, ready, identity, 1, Silent).run(asked).await }).unwrap();
    });
    let slave = slave.unwrap();
    let mut connection = listener.accept().await.handshake().await.unwrap();
    let Message::Command(Command::Hello(_)) = connection.receiver.next().await.unwrap() else { panic!("no hello") };
    connection.authenticated();
    connection.receiver.accept_large_frames();
    let welcome = Status::Welcome { protocol: 1, release: String::new(), master: String::new() };
    connection.sender.send(welcome).unwrap();
    let mut played = Played { connection, asks, slave };
    let Report::Register(_) = played.report().await else { panic!("no registration") };
    played.order(Order::Registered { slots: 1, lease: common::limits::LEASE_SLAVE, epoch: 1 });
    played
}

impl Played {
    fn order(&self, order: Order) {
        self.connection.sender.send(Command::Order(order)).unwrap();
    }

    fn assign(&self, spec: ProgramSpec) -> AttemptKey {
        let key = AttemptKey { program: ProgramId(uuid::Uuid::now_v7()), attempt: 1 };
        self.order(Order::Assign(vec![Assignment { key, spec: Arc::new(spec), index: 0, fence: 1 }]));
        key
    }

    /// The next message; what is output counts as stored.
    async fn next(&mut self) -> Message {
        let message = timeout(PATIENCE, self.connection.receiver.next()).await.expect("the slave is heard of").unwrap();
        if let Message::Data(Data::Output { key, stream, offset, bytes }) = &message {
            let offset = offset + bytes.len() as u64;
            self.order(Order::Stored(vec![StoredUpTo { key: *key, stream: *stream, offset }]));
        }
        message
    }

    /// The next report; output is passed over.
    async fn report(&mut self) -> Report {
        loop {
            if let Message::Status(Status::Report(report)) = self.next().await {
                return report;
            }
        }
    }

    async fn started(&mut self) -> Vec<(AttemptKey, Timestamp)> {
        match self.report().await {
            Report::Started(started) => started,
            other => panic!("not a start: {other:?}"),
        }
    }

    async fn finished(&mut self) -> Finished {
        loop {
            if let Report::Finished(finished) = self.report().await {
                let [finished] = <[Finished; 1]>::try_from(finished).unwrap();
                self.order(Order::Acknowledge(vec![finished.key]));
                return finished;
            }
        }
    }

    async fn stop(mut self) {
        self.asks.send(Ask::Stop).await.unwrap();
        while timeout(PATIENCE, self.connection.receiver.next()).await.expect("the slave leaves").is_ok() {}
        self.slave.join().unwrap();
    }
}

fn run(test: impl Future<Output = ()>) {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

#[test]
fn i18_a_program_that_writes_without_pause_does_not_keep_the_slave_from_hearing() {
    run(async {
        let mut played = play().await;
        let mut spec = command("yes", &[]);
        spec.limits.output = ByteSize(1 << 30);
        let key = played.assign(spec);
        assert_eq!(played.started().await[0].0, key);
        while !matches!(played.next().await, Message::Data(_)) {}
        played.order(Order::Cancel { keys: vec![key], by: "alice".into() });
        assert_eq!(played.finished().await.outcome, Outcome::Cancelled { by: "alice".into() });
        played.stop().await;
    });
}
