//! Work that the runtime's own thread does between two of its turns, with nobody else woken for it: a small commit
//! while little else is going on. Whoever hands it to another thread pays two wake-ups, which on a machine at rest
//! cost as much as the sync itself.
//!
//! Nothing of the runtime is held meanwhile, so that when the disk stalls another thread takes the runtime over:
//! heartbeats are answered, and people may look, until the work is done.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Poll, Waker},
    thread,
    time::{Duration, Instant},
};
use tokio::runtime::Runtime;

/// How often a thread looks whether work takes long, and how long work may take before it steps in. A heartbeat may
/// be late by seconds.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Looks without any work after which that thread sleeps until there is some again.
const LOOKS_MAX: u32 = 10;

type Work = Box<dyn FnOnce() + Send>;

/// Takes work for the thread that drives the runtime. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Between(Arc<Shared>);

#[derive(Default)]
struct Shared {
    given: Mutex<Given>,
    /// Pieces of work that were begun, and those that were done: they differ while there is one.
    begun: AtomicU64,
    done: AtomicU64,
    /// The thread that looks is awake.
    looks: AtomicBool,
    wake_looker: Condvar,
}

#[derive(Default)]
struct Given {
    work: Option<Work>,
    /// Who drives the runtime.
    driver: Option<Waker>,
    /// Who stands in for it.
    stand_in: Option<Waker>,
    over: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Between {
    /// Has this done as soon as the tasks that are ready have had their turn. There is one piece of work at a time.
    pub(crate) fn give(&self, work: Work) {
        let mut given = lock(&self.0.given);
        debug_assert!(given.work.is_none(), "one at a time");
        given.work = Some(work);
        let driver = given.driver.clone();
        drop(given);
        driver.inspect(Waker::wake_by_ref);
    }

    /// Runs `root` to its end on `runtime`, which has one thread, and the work that is given meanwhile.
    pub(crate) fn drive<T>(&self, runtime: &Runtime, root: impl Future<Output = T>) -> T {
        thread::scope(|scope| {
            let _over = Over(&self.0);
            scope.spawn(|| self.0.look(runtime));
            let mut root = pin!(root);
            loop {
                let turn = poll_fn(|cx| {
                    if let Some(work) = self.0.take(cx.waker()) {
                        return Poll::Ready(Err(work));
                    }
                    root.as_mut().poll(cx).map(Ok)
                });
                match runtime.block_on(turn) {
                    Ok(end) => return end,
                    Err(work) => self.0.work(work),
                }
            }
        })
    }
}

/// Ends the thread that looks, also when the driver panics.
struct Over<'a>(&'a Shared);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        let mut given = lock(&self.0.given);
        given.over = true;
        let stand_in = given.stand_in.take();
        drop(given);
        self.0.wake_looker.notify_all();
        stand_in.inspect(Waker::wake_by_ref);
    }
}

impl Shared {
    fn take(&self, waker: &Waker) -> Option<Work> {
        let mut given = lock(&self.given);
        if !given.driver.as_ref().is_some_and(|known| known.will_wake(waker)) {
            given.driver = Some(waker.clone());
        }
        given.work.take()
    }

    fn work(&self, work: Work) {
        self.begun.fetch_add(1, Ordering::SeqCst);
        if !self.looks.swap(true, Ordering::SeqCst) {
            let given = lock(&self.given);
            self.wake_looker.notify_one();
            drop(given);
        }
        work();
        self.done.fetch_add(1, Ordering::SeqCst);
        let stand_in = lock(&self.given).stand_in.take();
        stand_in.inspect(Waker::wake_by_ref);
    }

    /// Looks now and then whether the driver is held up, and stands in for it.
    fn look(&self, runtime: &Runtime) {
        let mut looks = 0;
        let mut before = (0, 0);
        let mut given = lock(&self.given);
        while !given.over {
            if looks == LOOKS_MAX {
                self.looks.store(false, Ordering::SeqCst);
                // Begun before that was seen, by a driver that took this thread for awake.
                if self.begun.load(Ordering::SeqCst) == before.0 {
                    given = self.wake_looker.wait(given).unwrap_or_else(PoisonError::into_inner);
                }
                self.looks.store(true, Ordering::SeqCst);
                looks = 0;
            }
            let until = Instant::now() + LOOK_INTERVAL;
            while !given.over
                && let Some(left) = until.checked_duration_since(Instant::now())
            {
                given = self.wake_looker.wait_timeout(given, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            let now = (self.begun.load(Ordering::SeqCst), self.done.load(Ordering::SeqCst));
            if now == before && now.0 != now.1 {
                drop(given);
                tracing::warn!("the disk holds up a commit; everything else goes on beside it");
                runtime.block_on(self.until_done(now.0));
                given = lock(&self.given);
            }
            looks = if now == before { looks + 1 } else { 0 };
            before = now;
        }
    }

    /// Resolves when so many pieces of work are done.
    async fn until_done(&self, count: u64) {
        poll_fn(|cx| {
            let mut given = lock(&self.given);
            if self.done.load(Ordering::SeqCst) >= count || given.over {
                return Poll::Ready(());
            }
            given.stand_in = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    fn runtime() -> Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn work_is_done_by_the_thread_that_drives_the_runtime() {
        let (between, runtime) = (Between::default(), runtime());
        let driver = thread::current().id();
        let mut done = 0;
        between.drive(&runtime, async {
            for _ in 0..100 {
                let (told, was_told) = tokio::sync::oneshot::channel();
                between.give(Box::new(move || told.send(thread::current().id()).unwrap()));
                assert_eq!(was_told.await.unwrap(), driver);
                done += 1;
            }
        });
        assert_eq!(done, 100);
    }

    #[test]
    fn tasks_go_on_while_work_is_held_up_and_the_driver_takes_over_again() {
        let (between, runtime) = (Between::default(), runtime());
        let (release, released) = sync_channel(1);
        let driver = thread::current().id();
        between.drive(&runtime, async {
            let (told, was_told) = tokio::sync::oneshot::channel();
            between.give(Box::new(move || {
                released.recv().unwrap();
                told.send(()).unwrap();
            }));
            // Only a task that runs while the work stands still can end it.
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                assert_ne!(thread::current().id(), driver);
                release.send(()).unwrap();
            })
            .await
            .unwrap();
            was_told.await.unwrap();
        });
    }

    #[test]
    fn work_that_panics_while_another_thread_stands_in_ends_both() {
        let (between, runtime) = (Between::default(), runtime());
        let (release, released) = sync_channel::<()>(1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            between.drive(&runtime, async {
                between.give(Box::new(move || {
                    released.recv().unwrap();
                    panic!("a bug");
                }));
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    release.send(()).unwrap();
                    std::future::pending::<()>().await;
                })
                .await
                .unwrap();
            });
        }));
        assert!(panicked.is_err());
    }

    #[test]
    fn a_driver_that_panics_ends_the_other_thread() {
        let (between, runtime) = (Between::default(), runtime());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            between.drive(&runtime, async { panic!("a bug") });
        }));
        assert!(panicked.is_err());
    }
}
