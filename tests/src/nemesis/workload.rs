//! Clients that submit, look, wait and cancel while things break, and write down every call.

use super::link::{Access, Answer, Link};
use crate::{
    Cluster,
    checker::{Call, Operation, Phase},
    seed::Random,
    wait::wait_until,
    witness::Witness,
};
use common::{
    Outcome, ProgramId, ProgramSpec,
    escape::RawText,
    message::{Reply, Request},
    program::Work,
    units::ByteSize,
};
use nix::sched::{CloneFlags, setns};
use std::{
    fs::File,
    ops::Range,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// What the clients do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Clients at once, each a user's connection of its own.
    pub clients: u32,
    /// Programs of each client; it stops earlier when it is told to.
    pub programs: u32,
    /// Pause between two submits, in milliseconds.
    pub pause_ms: Range<u64>,
    /// How long a program runs, in milliseconds.
    pub run_ms: Range<u64>,
    /// What a program prints, in bytes.
    pub bytes: Range<u64>,
    /// Starts after the first that are asked for, one of these each time.
    pub retries: &'static [u32],
    /// One program in so many is cancelled; 0 cancels none.
    pub cancel_one_in: u64,
    /// After no answer, one submit in so many is not repeated; 0 repeats every one.
    pub abandon_one_in: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            clients: 3,
            programs: 25,
            pause_ms: 1..120,
            run_ms: 50..800,
            bytes: 1..6_000,
            retries: &[0, 2],
            cancel_one_in: 8,
            abandon_one_in: 6,
        }
    }
}

/// The calls of all clients, in the order of time.
#[derive(Clone, Default)]
pub struct Recorder {
    calls: Arc<Mutex<Vec<Call>>>,
    acknowledged: Arc<AtomicUsize>,
}

impl Recorder {
    /// Writes down a call now.
    ///
    /// # Panics
    /// When another thread has.
    pub fn add(&self, client: u32, operation: Operation, phase: Phase) {
        let submit = matches!(operation, Operation::Submit { .. });
        // The clock is read under the lock, so that the calls stand in the order of their times.
        let mut calls = self.calls.lock().unwrap();
        calls.push(Call { at: transport::clock::boot_now().0, client, operation, phase });
        if submit && phase == Phase::Ok {
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Everything so far.
    ///
    /// # Panics
    /// When a client has.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

/// Clients at work.
pub struct Workload {
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
    recorder: Recorder,
}

impl Workload {
    /// Starts the clients of `plan`; they dial `address` instead of the master's own when one is given.
    ///
    /// # Panics
    /// When a user cannot be added.
    #[must_use]
    pub fn start(cluster: &Cluster, witness: &Witness, plan: &Plan, seed: u64, address: Option<&str>) -> Self {
        let (stop, recorder) = (Arc::new(AtomicBool::new(false)), Recorder::default());
        let network = cluster.clients_network().map(PathBuf::from);
        let threads = (0..plan.clients)
            .map(|number| {
                let cli = cluster.user(&format!("user-{number}"), "submitter");
                let one = One {
                    number,
                    link: Link::new(Access::of(cli.config(), address)),
                    plan: plan.clone(),
                    witness: witness.clone(),
                    stop: Arc::clone(&stop),
                    recorder: recorder.clone(),
                };
                let (network, random) = (network.clone(), Random::new(seed ^ (u64::from(number) << 32)));
                std::thread::Builder::new()
                    .name(format!("client {number}"))
                    .spawn(move || in_network(network.as_deref(), one.work(random)))
                    .unwrap()
            })
            .collect();
        Self { threads, stop, recorder }
    }

    /// Submits that were acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.recorder.acknowledged.load(Ordering::Relaxed)
    }

    /// Where the calls are written down.
    #[must_use]
    pub const fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Waits until so many more submits are acknowledged, or the clients have no more to do.
    pub fn wait_for_more(&self, more: usize) {
        let goal = self.acknowledged() + more;
        wait_until("more submits are acknowledged", || {
            (self.acknowledged() >= goal || self.is_finished()).then_some(())
        });
    }

    /// Whether every client has done its part.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Lets the clients end their present call and gives all calls.
    ///
    /// # Panics
    /// When a client has.
    #[must_use]
    pub fn stop(self) -> Vec<Call> {
        self.stop.store(true, Ordering::Relaxed);
        self.finish()
    }

    /// Waits until every client has done its part and gives all calls.
    ///
    /// # Panics
    /// When a client has.
    #[must_use]
    pub fn finish(self) -> Vec<Call> {
        for thread in self.threads {
            thread.join().unwrap();
        }
        self.recorder.calls()
    }
}

/// Runs a client's work on this thread, in another network if one is given.
///
/// # Panics
/// When that network cannot be entered.
pub fn in_network<T>(network: Option<&std::path::Path>, work: impl Future<Output = T>) -> T {
    if let Some(path) = network {
        setns(File::open(path).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// One client.
#[derive(Clone)]
struct One {
    number: u32,
    link: Link,
    plan: Plan,
    witness: Witness,
    stop: Arc<AtomicBool>,
    recorder: Recorder,
}

impl One {
    async fn work(self, mut random: Random) {
        let mut beside = tokio::task::JoinSet::new();
        for _ in 0..self.plan.programs {
            if self.stopped() {
                break;
            }
            let id = client::submit::new_id();
            let run_ms = random.within(self.plan.run_ms.clone());
            let bytes = random.within(self.plan.bytes.clone());
            let retry = *random.pick(self.plan.retries);
            let accepted = self.submit(id, run_ms, usize::try_from(bytes).unwrap(), retry, &mut random).await;
            if accepted {
                if random.one_in(6) {
                    self.look(id).await;
                }
                if self.plan.cancel_one_in > 0 && random.one_in(self.plan.cancel_one_in) {
                    let after = Duration::from_millis(random.within(0..run_ms + 200));
                    beside.spawn(self.clone().cancel(id, after));
                } else if random.one_in(3) {
                    beside.spawn(self.clone().see(id));
                }
            }
            let pause = random.within(self.plan.pause_ms.clone());
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        while !self.stopped() && beside.join_next().await.is_some() {}
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn request(&self, id: ProgramId, run_ms: u64, bytes: usize, retry: u32) -> Request {
        let command = RawText::from(self.witness.program().to_str().unwrap());
        let mut spec = ProgramSpec::new("witness", Work::Command { command });
        spec.arguments = self.witness.arguments(run_ms, bytes).iter().map(|word| word.as_str().into()).collect();
        spec.retry = retry;
        spec.limits.memory = ByteSize(256 << 20);
        Request::Submit { ids: vec![id], first_index: 0, copies: 1, spec: Box::new(spec) }
    }

    /// Submits until the answer is known, or gives it up as unknown. Tells whether it was accepted.
    async fn submit(&self, id: ProgramId, run_ms: u64, bytes: usize, retry: u32, random: &mut Random) -> bool {
        let operation = Operation::Submit { id, retry, bytes };
        let request = self.request(id, run_ms, bytes, retry);
        loop {
            if let Err(error) = self.link.connect().await {
                // Nothing was sent: there is nothing to write down.
                drop(error);
                if self.stopped() {
                    return false;
                }
                tokio::time::sleep(Duration::from_millis(30)).await;
                continue;
            }
            self.recorder.add(self.number, operation.clone(), Phase::Invoke);
            let again = match self.link.ask(request.clone()).await {
                Ok(Answer::Yes(_)) => {
                    self.recorder.add(self.number, operation, Phase::Ok);
                    return true;
                }
                Ok(Answer::No(error)) => {
                    self.recorder.add(self.number, operation.clone(), Phase::Fail);
                    error.retry_after.map(|after| after.to_std())
                }
                Ok(Answer::Unknown(_)) | Err(_) => {
                    self.recorder.add(self.number, operation.clone(), Phase::Info);
                    let abandon = self.plan.abandon_one_in > 0 && random.one_in(self.plan.abandon_one_in);
                    (!abandon).then_some(Duration::from_millis(20))
                }
            };
            match again {
                Some(after) if !self.stopped() => tokio::time::sleep(after).await,
                _ => return false,
            }
        }
    }

    /// An acknowledged program is there for whoever submitted it.
    async fn look(&self, id: ProgramId) {
        let request = Request::Show { id };
        match self.link.ask_until(request, || self.stopped()).await {
            Some(Ok(_)) => self.recorder.add(self.number, Operation::Look { id }, Phase::Ok),
            Some(Err(_)) => self.recorder.add(self.number, Operation::Look { id }, Phase::Fail),
            None => {}
        }
    }

    async fn cancel(self, id: ProgramId, after: Duration) {
        tokio::time::sleep(after).await;
        self.recorder.add(self.number, Operation::Cancel { id }, Phase::Invoke);
        let request = Request::Cancel { ids: vec![id] };
        if let Some(Ok(_)) = self.link.ask_until(request, || self.stopped()).await {
            self.recorder.add(self.number, Operation::Cancel { id }, Phase::Ok);
            self.see(id).await;
        }
    }

    /// Waits for its end and writes down how it was told.
    async fn see(self, id: ProgramId) {
        let request = Request::Wait { ids: vec![id] };
        while !self.stopped() {
            let Ok(client) = self.link.connect().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            if let Ok(Reply::Ended { programs, .. }) = client.request(request.clone()).await {
                for (id, outcome) in programs {
                    let state = Outcome::state(&outcome);
                    self.recorder.add(self.number, Operation::Saw { id, state }, Phase::Ok);
                }
                return;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }
}
