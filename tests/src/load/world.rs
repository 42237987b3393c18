//! A master in its own process, hollow slaves and users of one scenario.

use super::{User, relay::Relay};
use crate::{Cluster, cluster::PASSWORD, wait_until};
use client::Target;
use common::limits;
use nix::{
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::Pid,
};
use slave::hollow::{self, HollowConfig};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    runtime::Runtime,
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
};
use transport::{JoinString, SlaveIdentity};

/// Enrolments under way at once; fewer than strangers may be connected from one address.
const ENROLMENTS_AT_ONCE: usize = 32;

/// Everything of one scenario; ended with it.
pub struct World {
    /// Drives slaves, users and the relay.
    pub runtime: Runtime,
    /// Where users connect.
    pub target: Target,
    /// The master and its folder.
    pub cluster: Cluster,
    /// Slaves connect without the relay between: a third of the descriptors, and fewer than strangers may come from one
    /// address must be on their way at once.
    pub without_relay: bool,
    relay: Relay,
    slaves: Vec<JoinHandle<()>>,
}

impl World {
    /// A master with this configuration and an administrator `admin`.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn new(config: &str) -> Self {
        raise_descriptors();
        let cluster = Cluster::with_config(config);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let address = cluster.address().parse().unwrap();
        let relay = runtime.block_on(async { Relay::start(address) });
        let target = Target { address: cluster.address().to_owned(), pin: cluster.pin().parse().unwrap() };
        Self { runtime, target, cluster, without_relay: false, relay, slaves: Vec::new() }
    }

    /// The master's process.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn master(&self) -> Pid {
        self.cluster.master.as_ref().unwrap().id()
    }

    /// The same master, reached from many addresses.
    #[must_use]
    pub fn target_through_relay(&self) -> Target {
        Target { address: self.relay.address().to_string(), ..self.target.clone() }
    }

    /// Adds a user and logs in.
    ///
    /// # Panics
    /// When either is refused.
    #[must_use]
    pub fn user(&self, name: &str, role: &str) -> User {
        let args = ["user", "add", name, "--role", role, "--password-stdin"];
        self.cluster.administer(&args, &format!("{PASSWORD}\n")).expect(0);
        self.runtime.block_on(User::login(&self.target, name)).unwrap()
    }

    /// The administrator on a new connection.
    ///
    /// # Panics
    /// When the master refuses.
    #[must_use]
    pub fn admin(&self) -> User {
        self.runtime.block_on(User::login(&self.target, "admin")).unwrap()
    }

    /// Identities of so many slaves, which connect through the relay unless it is left out.
    ///
    /// # Panics
    /// When the master refuses one.
    #[must_use]
    pub fn enrol(&self, count: usize) -> Vec<SlaveIdentity> {
        let mut identities = Vec::with_capacity(count);
        let host = if self.without_relay { self.target.address.clone() } else { self.relay.address().to_string() };
        let most = usize::try_from(limits::JOIN_USES_MAX).unwrap();
        let mut begun = 0;
        while begun < count {
            let uses = most.min(count - begun);
            let args = ["join-string", "--uses", &uses.to_string(), "--host", &host];
            // Named on from those that are there already.
            let first = self.slaves.len() + begun;
            let numbers = first..first + uses;
            let join: JoinString = self.cluster.administer(&args, "").expect(0).out().trim().parse().unwrap();
            identities.extend(self.runtime.block_on(enrol_all(&join, numbers)));
            begun += uses;
        }
        identities
    }

    /// Starts slaves without waiting until they are connected.
    pub fn start(&mut self, identities: Vec<SlaveIdentity>, config: &HollowConfig) {
        for identity in identities {
            let config = config.clone();
            self.slaves.push(self.runtime.spawn(async move {
                let name = identity.name.clone();
                let result = hollow::run(identity, config).await;
                panic!("the slave {name} ended: {result:?}");
            }));
        }
    }

    /// So many slaves, connected.
    ///
    /// # Panics
    /// When one does not connect.
    pub fn slaves(&mut self, count: usize, config: &HollowConfig) {
        let before = config.counters.registered.load(Ordering::Relaxed);
        let identities = self.enrol(count);
        self.start(identities, config);
        wait_until(&format!("{count} slaves are registered"), || {
            (config.counters.registered.load(Ordering::Relaxed) >= before + count as u64).then_some(())
        });
    }

    /// No slave has ended.
    ///
    /// # Panics
    /// When one has.
    pub fn assert_slaves_live(&self) {
        assert!(self.slaves.iter().all(|slave| !slave.is_finished()), "a slave has ended");
    }

    /// The most memory that the master holds while `work` goes on, beside what `work` gives.
    pub fn watching_memory<T>(&self, work: impl Future<Output = T>) -> (T, u64) {
        let master = self.master();
        self.runtime.block_on(async {
            let most = Arc::new(std::sync::atomic::AtomicU64::new(super::figures::memory_bytes(master)));
            let seen = Arc::clone(&most);
            let watch = tokio::spawn(async move {
                loop {
                    seen.fetch_max(super::figures::memory_bytes(master), Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
            let result = work.await;
            watch.abort();
            most.fetch_max(super::figures::memory_bytes(master), Ordering::Relaxed);
            (result, most.load(Ordering::Relaxed))
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for slave in &self.slaves {
            slave.abort();
        }
    }
}

async fn enrol_all(join: &JoinString, numbers: std::ops::Range<usize>) -> Vec<SlaveIdentity> {
    let places = Arc::new(Semaphore::new(ENROLMENTS_AT_ONCE));
    let mut all = JoinSet::new();
    for number in numbers {
        let (join, places) = (join.clone(), Arc::clone(&places));
        all.spawn(async move {
            let _place = places.acquire().await.unwrap();
            slave::session::enrol(join, &format!("hollow-{number:05}")).await.unwrap()
        });
    }
    all.join_all().await
}

/// As many descriptors as this process may have; the master inherits it.
fn raise_descriptors() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}
