//! A user of a scenario: one connection through the client library.

use crate::{cluster::PASSWORD, wait::PATIENCE};
use client::{Client, Credentials, Pending, Target, reply};
use common::{
    ByteSize, Outcome, ProgramId, ProgramSpec, UserError, Work, limits,
    message::{Reply, Request, Stream, command::Secret},
    view::{ClientKind, ProgramView, SlaveView, Summary},
};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// A program that hollow slaves pretend to run.
#[must_use]
pub fn tiny() -> ProgramSpec {
    ProgramSpec::new("tiny", Work::Command { command: "/bin/true".into() })
}

/// The same with this limit of output.
#[must_use]
pub fn with_output_limit(bytes: u64) -> ProgramSpec {
    let mut spec = tiny();
    spec.limits.output = ByteSize(bytes);
    spec
}

/// Fresh IDs.
#[must_use]
pub fn ids(count: usize) -> Vec<ProgramId> {
    (0..count).map(|_| ProgramId(Uuid::now_v7())).collect()
}

/// A user who is logged in.
#[derive(Clone)]
pub struct User {
    /// The connection.
    pub client: Client,
}

impl User {
    /// Logs in with the password of all tests.
    ///
    /// # Errors
    /// When the master refuses.
    pub async fn login(target: &Target, name: &str) -> Result<Self, UserError> {
        Self::login_with(target, name, PASSWORD).await
    }

    /// Logs in with a password.
    ///
    /// # Errors
    /// When the master refuses.
    pub async fn login_with(target: &Target, name: &str, password: &str) -> Result<Self, UserError> {
        let credentials = Credentials::Password { user: name.to_owned(), password: Secret(password.to_owned()) };
        let (client, _news) = Client::connect(target, ClientKind::Cli, &credentials).await?;
        Ok(Self { client })
    }

    /// Submits one program for each ID in one request.
    ///
    /// # Panics
    /// When these are more than fit into one request.
    pub fn submit(&self, ids: &[ProgramId], spec: &ProgramSpec) -> Pending {
        assert!(ids.len() <= limits::COPIES_PER_REQUEST_MAX);
        self.client.request(Request::Submit {
            ids: ids.to_vec(),
            first_index: 0,
            copies: u32::try_from(ids.len()).unwrap(),
            spec: Box::new(spec.clone()),
        })
    }

    /// Submits many in large requests and gives their IDs once all are acknowledged.
    ///
    /// # Panics
    /// When one is refused.
    pub async fn submit_many(&self, count: usize, spec: &ProgramSpec) -> Vec<ProgramId> {
        let ids = ids(count);
        let mut open = std::collections::VecDeque::new();
        for batch in ids.chunks(limits::COPIES_PER_REQUEST_MAX) {
            if open.len() >= 4 {
                let pending: Pending = open.pop_front().unwrap();
                pending.await.unwrap();
            }
            open.push_back(self.submit(batch, spec));
        }
        for pending in open {
            pending.await.unwrap();
        }
        ids
    }

    /// How long each of `count` submits of one program takes to be acknowledged, one after the other.
    ///
    /// # Panics
    /// When one is refused.
    pub async fn submit_times(&self, count: usize) -> Vec<Duration> {
        let mut times = Vec::with_capacity(count);
        for id in ids(count) {
            let begun = Instant::now();
            self.submit(&[id], &tiny()).await.unwrap();
            times.push(begun.elapsed());
        }
        times
    }

    /// How all of these end.
    ///
    /// # Panics
    /// When the connection ends first, or nothing ends any more.
    pub async fn wait(&self, ids: &[ProgramId]) -> Vec<(ProgramId, Outcome)> {
        let mut outcomes = Vec::with_capacity(ids.len());
        for batch in ids.chunks(limits::COPIES_PER_REQUEST_MAX) {
            let mut waits = std::pin::pin!(self.client.request(Request::Wait { ids: batch.to_vec() }));
            let mut ended = None;
            let reply = loop {
                match tokio::time::timeout(PATIENCE, &mut waits).await {
                    Ok(reply) => break reply.unwrap(),
                    Err(_) => {
                        let now = self.summary().await;
                        let count = Some(now.programs - now.waiting - now.running);
                        assert_ne!(count, ended, "nothing has ended for {PATIENCE:?}: {now:?}");
                        ended = count;
                    }
                }
            };
            outcomes.extend(reply::ended(reply).unwrap().0);
        }
        outcomes
    }

    /// Waits until all of these have ended well.
    ///
    /// # Panics
    /// When one did not.
    pub async fn wait_well(&self, ids: &[ProgramId]) {
        let outcomes = self.wait(ids).await;
        assert_eq!(outcomes.len(), ids.len());
        for (id, outcome) in outcomes {
            assert!(matches!(outcome, Outcome::Exited { code: 0 }), "{id}: {outcome:?}");
        }
    }

    /// The counts of all programs.
    ///
    /// # Panics
    /// When the connection ends.
    pub async fn summary(&self) -> Summary {
        self.ask(Request::Summary, reply::summary).await
    }

    /// The slaves.
    ///
    /// # Panics
    /// When the connection ends.
    pub async fn slaves(&self) -> Vec<SlaveView> {
        self.ask(Request::Slaves, reply::slaves).await
    }

    /// The row of a program.
    ///
    /// # Panics
    /// When there is none.
    pub async fn show(&self, id: ProgramId) -> ProgramView {
        self.ask(Request::Show { id }, reply::program).await
    }

    /// All standard output of a program that has ended.
    ///
    /// # Panics
    /// When it cannot be read.
    pub async fn output(&self, id: ProgramId) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let request = read(id, bytes.len() as u64, true);
            let piece = self.ask(request, reply::output).await;
            assert_eq!(piece.offset, bytes.len() as u64);
            bytes.extend(piece.bytes);
            if piece.end {
                return bytes;
            }
        }
    }

    /// Asks and takes the answer apart.
    ///
    /// # Panics
    /// When the request is refused.
    pub async fn ask<T>(&self, request: Request, part: fn(Reply) -> Result<T, UserError>) -> T {
        self.client.request(request).await.and_then(part).unwrap()
    }
}

/// The request for the next piece of a program's standard output.
#[must_use]
pub fn read(id: ProgramId, offset: u64, follow: bool) -> Request {
    let bytes_max = u32::try_from(limits::OUTPUT_CHUNK_BYTES_MAX).unwrap_or(u32::MAX);
    Request::ReadOutput { id, stream: Stream::Stdout, offset, bytes_max, follow }
}
