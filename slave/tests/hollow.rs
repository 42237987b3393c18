//! Hollow slaves: many in one process, with a master that this test plays.
#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and names what it expects"
)]

use common::{
    Duration, SlaveId,
    id::{AttemptKey, ProgramId},
    limits,
    message::{Assignment, Command, Finished, Message, Order, Report, Status},
    outcome::Outcome,
    program::{ProgramSpec, Work},
};
use slave::hollow::{self, HollowConfig};
use std::sync::{Arc, atomic::Ordering};
use tokio::time::timeout;
use transport::{Authority, Connection, EnrolmentKey, Listener, SlaveIdentity};

const SLAVES: usize = 20;
const PROGRAMS: u128 = 5;
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

fn identity(authority: &Authority, address: String) -> SlaveIdentity {
    let key = EnrolmentKey::generate().unwrap();
    let id = SlaveId(uuid::Uuid::now_v7());
    let chain = authority.issue_slave(&key.request_der(), id, Duration::from_secs(3_600)).unwrap();
    key.complete(id, "hollow".to_owned(), chain, address, authority.pin()).unwrap()
}

/// Gives one slave its programs and takes their results.
async fn serve(mut connection: Connection) {
    let spec = Arc::new(ProgramSpec::new("x", Work::Command { command: "x".into() }));
    let mut results: Vec<Finished> = Vec::new();
    while results.len() < PROGRAMS as usize {
        match connection.receiver.next().await.unwrap() {
            Message::Command(Command::Hello(_)) => {
                connection.receiver.accept_large_frames();
                let welcome = Status::Welcome { protocol: 1, release: String::new(), master: String::new() };
                connection.sender.send(welcome).unwrap();
            }
            Message::Status(Status::Report(Report::Register(_))) => {
                let registered = Order::Registered { slots: 2, lease: limits::LEASE_SLAVE, epoch: 1 };
                let key = |number| AttemptKey { program: ProgramId(uuid::Uuid::from_u128(number)), attempt: 1 };
                let assignment = |number| Assignment { key: key(number), spec: spec.clone(), index: 0, fence: 1 };
                let assign = Order::Assign((0..PROGRAMS).map(assignment).collect());
                connection.sender.send_all([registered, assign].map(|o| Command::Order(o).into())).unwrap();
            }
            Message::Status(Status::Report(Report::Finished(finished))) => results.extend(finished),
            _ => {}
        }
    }
    for finished in results {
        assert_eq!(finished.outcome, Outcome::Exited { code: 0 });
        assert_eq!(finished.tails[0].bytes, b"hello\n");
    }
}

#[test]
fn l5_hollow_slaves_share_a_process_and_deliver_what_their_programs_wrote() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(&folder.path().join("authority")).unwrap();
        let listener = Listener::bind("127.0.0.1:0", &authority).await.unwrap();
        let address = listener.local_address().to_string();
        let mut config = HollowConfig::new(2, std::time::Duration::from_millis(5));
        config.output = Arc::from(&b"hello\n"[..]);
        let slaves: Vec<_> = (0..SLAVES)
            .map(|_| tokio::spawn(hollow::run(identity(&authority, address.clone()), config.clone())))
            .collect();
        let mut served = tokio::task::JoinSet::new();
        for _ in 0..SLAVES {
            let pending = listener.accept().await;
            served.spawn(async move { serve(pending.handshake().await.unwrap()).await });
        }
        while let Some(result) = timeout(PATIENCE, served.join_next()).await.expect("in time") {
            result.unwrap();
        }
        let counters = &config.counters;
        let counts = [&counters.registered, &counters.started, &counters.ended].map(|c| c.load(Ordering::Relaxed));
        let programs = SLAVES as u64 * PROGRAMS as u64;
        assert_eq!(counts, [SLAVES as u64, programs, programs]);
        for slave in slaves {
            slave.abort();
        }
    });
}
