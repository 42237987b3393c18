//! Slaves that run nothing: the real core, loop, session and delivery around programs that only pretend.
//!
//! For tests of scale: thousands of them share one process and one runtime. A hollow slave has no thread, no
//! file and no journal; what its programs "wrote" is the same for all of them and is kept once.

use crate::{
    core::Core,
    event_loop::{Announce, Ask, Run, Slave, Wake, registration},
    executor::{AttemptEnd, ExecutorEvent, Stop},
};
use common::{
    UserError,
    id::AttemptKey,
    limits,
    message::{Assignment, Registration, Stream},
    outcome::Outcome,
    units::{BootTime, Timestamp},
    view::{LanguageOffer, Usage},
};
use std::{
    collections::{BTreeMap, VecDeque},
    future, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::mpsc;
use transport::{SlaveIdentity, clock};

/// What a hollow slave pretends. Cheap to clone; clones share the output and the counters.
#[derive(Clone, Debug)]
pub struct HollowConfig {
    /// Slots that it offers.
    pub slots: u32,
    /// How long each program runs.
    pub run_time: Duration,
    /// What each program writes to standard output, at its end.
    pub output: Arc<[u8]>,
    /// Languages that it offers; commands need none.
    pub languages: Vec<LanguageOffer>,
    /// What has happened on all slaves with this configuration.
    pub counters: Arc<Counters>,
}

/// Counts over all hollow slaves that share a configuration.
#[derive(Debug, Default)]
pub struct Counters {
    /// Sessions that the master has registered, those that ended since then too.
    pub registered: AtomicU64,
    /// Programs that were started.
    pub started: AtomicU64,
    /// Programs that ended.
    pub ended: AtomicU64,
}

impl HollowConfig {
    /// `slots` programs at once, each for `run_time`, without output.
    #[must_use]
    pub fn new(slots: u32, run_time: Duration) -> Self {
        Self { slots, run_time, output: Arc::from([]), languages: Vec::new(), counters: Arc::default() }
    }
}

/// Serves until the future is dropped or the master refuses the slave for good. Enrol with
/// [`crate::session::enrol`].
///
/// # Errors
/// When the master refuses this slave.
pub async fn run(identity: SlaveIdentity, config: HollowConfig) -> Result<(), UserError> {
    // Held until the end: nobody asks this slave to stop.
    let (_ask, asked) = mpsc::channel(1);
    run_until_asked(identity, config, asked).await
}

/// As [`run`], and stops in order when it is asked to.
///
/// # Errors
/// When the master refuses this slave.
pub async fn run_until_asked(
    identity: SlaveIdentity,
    config: HollowConfig,
    asked: mpsc::Receiver<Ask>,
) -> Result<(), UserError> {
    let core = Core::new(config.slots, limits::SLOTS_MAX, common::units::Duration::from_secs(10));
    let template = Registration { languages: config.languages.clone(), ..registration(config.slots) };
    let announce = Counting(config.counters.clone());
    Slave::over(core, Pretended::new(config), template, identity, announce).run(asked).await
}

struct Counting(Arc<Counters>);

impl Announce for Counting {
    fn connected(&mut self, _line: &str) {
        self.0.registered.fetch_add(1, Ordering::Relaxed);
    }
}

/// Programs that end when their time is over.
struct Pretended {
    config: HollowConfig,
    running: BTreeMap<AttemptKey, Timestamp>,
    /// In the order of their ends, which is that of their starts. Some were stopped sooner.
    ends: VecDeque<(Instant, AttemptKey)>,
    events: Vec<ExecutorEvent>,
}

impl Pretended {
    const fn new(config: HollowConfig) -> Self {
        Self { config, running: BTreeMap::new(), ends: VecDeque::new(), events: Vec::new() }
    }

    fn end(&mut self, key: AttemptKey, outcome: Outcome) {
        let Some(started_at) = self.running.remove(&key) else { return };
        self.config.counters.ended.fetch_add(1, Ordering::Relaxed);
        let end = self.config.output.len() as u64;
        if end > 0 {
            self.events.push(ExecutorEvent::Output { key, stream: Stream::Stdout, end });
        }
        self.events.push(ExecutorEvent::Ended(Box::new(AttemptEnd {
            key,
            outcome,
            started_at: Some(started_at),
            ended_at: clock::now(),
            usage: Usage::default(),
            output_truncated: false,
            last_line: String::new(),
        })));
    }
}

struct Never;

impl Wake for Never {
    async fn ready(&mut self) -> io::Result<()> {
        future::pending().await
    }
}

impl Run for Pretended {
    fn wake(&self) -> io::Result<impl Wake + use<>> {
        Ok(Never)
    }

    fn start(&mut self, assignment: Assignment, now: Timestamp) {
        self.config.counters.started.fetch_add(1, Ordering::Relaxed);
        self.running.insert(assignment.key, now);
        self.ends.push_back((Instant::now() + self.config.run_time, assignment.key));
    }

    fn stop(&mut self, key: AttemptKey, stop: Stop) {
        let outcome = match stop {
            Stop::Cancelled { by } => Outcome::Cancelled { by },
            Stop::Discarded | Stop::LeaseEnded | Stop::SlaveStops | Stop::Failed(_) | Stop::Output => {
                Outcome::Lost { detail: "The hollow slave gave it up.".to_owned() }
            }
        };
        self.end(key, outcome);
    }

    fn turn(&mut self) -> io::Result<Vec<ExecutorEvent>> {
        let now = Instant::now();
        while let Some((_, key)) = self.ends.pop_front_if(|(at, _)| *at <= now) {
            self.end(key, Outcome::Exited { code: 0 });
        }
        Ok(std::mem::take(&mut self.events))
    }

    fn is_idle(&self) -> bool {
        self.events.is_empty()
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.ends.front().map(|(at, _)| *at)
    }

    fn read(&mut self, _key: AttemptKey, stream: Stream, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        if stream != Stream::Stdout {
            return Ok(Vec::new());
        }
        let bytes = usize::try_from(offset).ok().and_then(|offset| self.config.output.get(offset..));
        Ok(bytes.unwrap_or_default().iter().copied().take(bytes_max).collect())
    }

    fn forget_before(&mut self, _key: AttemptKey, _stream: Stream, _offset: u64) {}

    fn forget(&mut self, _key: AttemptKey) {}

    fn set_lease(&mut self, _until: BootTime) {}

    fn shut_down(self) -> io::Result<()> {
        Ok(())
    }
}
