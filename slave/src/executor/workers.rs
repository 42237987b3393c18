//! Threads for what may take long: input files are placed and results collected while the agent's loop goes on.

use super::{
    collect::{self, Collect},
    inputs::{self, Place},
};
use common::id::AttemptKey;
use rustix::{
    event::EventfdFlags,
    fd::{AsFd, BorrowedFd, OwnedFd},
};
use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

/// Threads; more would only make the disk seek.
const THREADS: usize = 4;
/// Jobs that wait, and those that are done and were not looked at: one for each slot, and some of slots that lost
/// their keeper meanwhile.
const JOBS_MAX: usize = 4 * common::limits::SLOTS_MAX as usize;

/// What a thread does.
#[derive(Debug)]
pub(super) enum Work {
    /// Put input files into a working folder.
    Place(Place),
    /// Collect files of a working folder.
    Collect(Collect),
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Done {
    /// Whether the input files are in their place.
    Placed(Result<(), inputs::Failure>),
    /// Bytes of the stream of collected files.
    Collected(io::Result<u64>),
}

#[derive(Debug)]
struct Job {
    key: AttemptKey,
    work: Work,
    stop: Arc<AtomicBool>,
}

/// Ends a job early, as soon as it looks.
#[derive(Clone, Debug)]
pub(super) struct Stopper(Arc<AtomicBool>);

impl Stopper {
    pub(super) fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The threads; started with the first job.
#[derive(Debug)]
pub(super) struct Workers {
    wake: Arc<OwnedFd>,
    jobs: Option<SyncSender<Job>>,
    inbox: Arc<Mutex<Receiver<Job>>>,
    done_to: SyncSender<(AttemptKey, Done)>,
    done: Receiver<(AttemptKey, Done)>,
    threads: Vec<JoinHandle<()>>,
    stops: Vec<Arc<AtomicBool>>,
}

impl Workers {
    pub(super) fn new() -> io::Result<Self> {
        let wake = Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (jobs, inbox) = sync_channel(JOBS_MAX);
        let (done_to, done) = sync_channel(JOBS_MAX);
        let inbox = Arc::new(Mutex::new(inbox));
        Ok(Self { wake, jobs: Some(jobs), inbox, done_to, done, threads: Vec::new(), stops: Vec::new() })
    }

    /// Readable when something is done.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Gives work to a thread.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub(super) fn give(&mut self, key: AttemptKey, work: Work) -> io::Result<Stopper> {
        self.stops.retain(|stop| Arc::strong_count(stop) > 1);
        if self.threads.len() < THREADS && self.stops.len() >= self.threads.len() {
            let (inbox, done, wake) = (self.inbox.clone(), self.done_to.clone(), self.wake.clone());
            let name = format!("files-{}", self.threads.len());
            let started = std::thread::Builder::new().name(name).spawn(move || run(&inbox, &done, &wake));
            match started {
                Ok(thread) => self.threads.push(thread),
                Err(error) if self.threads.is_empty() => return Err(error),
                Err(error) => tracing::warn!(%error, "fewer threads than wanted handle files"),
            }
        }
        let stop = Arc::new(AtomicBool::new(false));
        self.stops.push(stop.clone());
        let gone = || io::Error::other("the threads for files have ended");
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.try_send(Job { key, work, stop: stop.clone() }).map_err(|_| gone())?;
        Ok(Stopper(stop))
    }

    /// What is done now.
    pub(super) fn finished(&self) -> Vec<(AttemptKey, Done)> {
        let mut count = [0; 8];
        // Nothing to read is no mistake: what was done may have been taken before.
        rustix::io::read(&self.wake, &mut count).unwrap_or_default();
        self.done.try_iter().collect()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for stop in &self.stops {
            stop.store(true, Ordering::Release);
        }
        self.jobs = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread for files failed");
            }
        }
    }
}

fn run(inbox: &Mutex<Receiver<Job>>, done: &SyncSender<(AttemptKey, Done)>, wake: &OwnedFd) {
    loop {
        let job = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { key, work, stop }) = job else { return };
        let stopped = || stop.load(Ordering::Acquire);
        let result = match work {
            Work::Place(place) => Done::Placed(inputs::place(&place, &stopped)),
            Work::Collect(collect) => Done::Collected(collect::collect(&collect, &stopped)),
        };
        if done.send((key, result)).is_err() {
            return;
        }
        if let Err(error) = rustix::io::write(wake, &1_u64.to_ne_bytes()) {
            tracing::error!(%error, "the agent cannot be woken");
        }
    }
}
