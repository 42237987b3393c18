//! A cluster with one slave, and an open connection of a user who runs programs on it.

use crate::{
    Cluster,
    cluster::{PASSWORD, SlaveStart, Surroundings},
};
use common::{
    ProgramId, ProgramSpec, Work, limits,
    message::{Command, Message, Reply, Request, RequestId, Status, Stream, command::Secret},
    session::{Hello, PeerKind},
};
use std::{
    ffi::OsString,
    path::Path,
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;
use uuid::Uuid;

/// Programs of the first, unmeasured run: keepers are made, caches filled, the depth of the queue learned.
const WARM_UP: usize = 500;

/// A master, one slave with as many slots as the opponent has workers, and a user's connection.
pub struct Bench {
    /// The programs of ours.
    pub cluster: Cluster,
    runtime: Runtime,
    session: Session,
}

impl Bench {
    /// With a slave at this level of isolation.
    #[must_use]
    pub fn new(isolation: &str) -> Self {
        Self::within(isolation, Vec::new(), &[])
    }

    /// The same with variables of the master and of the slave.
    ///
    /// # Panics
    /// When something does not start.
    #[must_use]
    pub fn within(isolation: &str, master: Vec<(String, OsString)>, slave: &[(String, OsString)]) -> Self {
        let surroundings = Surroundings { master_environment: master, ..Surroundings::default() };
        let mut cluster = Cluster::within("", surroundings);
        let mut before = Vec::new();
        if !slave.is_empty() {
            before.push("env".to_owned());
            before.extend(slave.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())));
        }
        cluster.slave_started(SlaveStart {
            name: "bench".into(),
            slots: u32::try_from(super::SLOTS).unwrap(),
            before,
            options: vec!["--isolation".into(), isolation.into()],
            program: None,
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let session = runtime.block_on(Session::open(&cluster));
        Self { cluster, runtime, session }
    }

    /// Runs some programs that are not measured.
    #[must_use]
    pub fn warm(mut self, program: &Path) -> Self {
        self.run_many(program, WARM_UP);
        self
    }

    /// Programs a second, from the first submit to the last result, all queued at once.
    ///
    /// # Panics
    /// When one does not end well.
    pub fn run_many(&mut self, program: &Path, count: usize) -> f64 {
        let time = self.runtime.block_on(self.session.run_many(program, count));
        super::rate(count, time)
    }

    /// From submit to result and output of one program, in milliseconds.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn run_one_ms(&mut self, program: &Path) -> f64 {
        self.runtime.block_on(self.session.run_one(program)).as_secs_f64() * 1e3
    }
}

/// An open connection of a user.
pub struct Session {
    sender: transport::Sender,
    receiver: transport::Receiver,
    next: u32,
}

impl Session {
    /// Logs in as the administrator.
    ///
    /// # Panics
    /// When the master refuses.
    pub async fn open(cluster: &Cluster) -> Self {
        let pin = cluster.pin().parse().unwrap();
        let mut connection = transport::connect(cluster.address(), pin, None).await.unwrap();
        connection.sender.send(Command::Hello(Hello::ours(PeerKind::ClientCli))).unwrap();
        assert!(matches!(connection.receiver.next().await, Ok(Message::Status(Status::Welcome { .. }))));
        connection.receiver.accept_large_frames();
        connection.sender.send(Command::Login { user: "admin".into(), password: Secret(PASSWORD.into()) }).unwrap();
        assert!(matches!(connection.receiver.next().await, Ok(Message::Status(Status::LoggedIn { .. }))));
        Self { sender: connection.sender, receiver: connection.receiver, next: 0 }
    }

    fn request(&mut self, request: Request) -> Message {
        self.next += 1;
        Command::Request { id: RequestId(self.next), request }.into()
    }

    fn submit(&mut self, program: &Path, ids: &[ProgramId], first_index: usize, copies: usize) -> Message {
        let command = program.to_str().unwrap().into();
        self.request(Request::Submit {
            ids: ids.to_vec(),
            first_index: u32::try_from(first_index).unwrap(),
            copies: u32::try_from(copies).unwrap(),
            spec: Box::new(ProgramSpec::new("bench", Work::Command { command })),
        })
    }

    /// Waits for the replies to `count` requests and gives how many programs have ended well.
    async fn replies(&mut self, count: usize) -> usize {
        let mut well = 0;
        let mut left = count;
        while left > 0 {
            let Message::Status(Status::Reply { result, .. }) = self.receiver.next().await.unwrap() else { continue };
            left -= 1;
            if let Reply::Ended { programs, .. } = result.unwrap() {
                well += programs.iter().filter(|(_, outcome)| outcome.exit_code() == 0).count();
            }
        }
        well
    }

    async fn run_many(&mut self, program: &Path, programs: usize) -> Duration {
        let ids: Vec<_> = (0..programs).map(|_| ProgramId(Uuid::now_v7())).collect();
        let begun = Instant::now();
        let mut messages = Vec::new();
        for (turn, batch) in ids.chunks(limits::COPIES_PER_REQUEST_MAX).enumerate() {
            messages.push(self.submit(program, batch, turn * limits::COPIES_PER_REQUEST_MAX, programs));
            messages.push(self.request(Request::Wait { ids: batch.to_vec() }));
        }
        let count = messages.len();
        self.sender.send_all(messages).unwrap();
        assert_eq!(self.replies(count).await, programs);
        begun.elapsed()
    }

    async fn run_one(&mut self, program: &Path) -> Duration {
        let id = ProgramId(Uuid::now_v7());
        let begun = Instant::now();
        let messages = [
            self.submit(program, &[id], 0, 1),
            self.request(Request::ReadOutput {
                id,
                stream: Stream::Stdout,
                offset: 0,
                bytes_max: 65_536,
                follow: true,
            }),
            self.request(Request::Wait { ids: vec![id] }),
        ];
        self.sender.send_all(messages).unwrap();
        assert_eq!(self.replies(3).await, 1);
        begun.elapsed()
    }

    /// From a question that needs nothing but the master's core to its answer.
    ///
    /// # Panics
    /// When the connection ends.
    pub async fn ask(&mut self) -> Duration {
        let begun = Instant::now();
        let request = self.request(Request::Summary);
        self.sender.send(request).unwrap();
        self.replies(1).await;
        begun.elapsed()
    }
}
