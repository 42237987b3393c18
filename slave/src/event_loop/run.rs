//! What the loop needs of whatever runs programs: the executor, or something that only pretends.

use crate::executor::{Control, Executor, ExecutorEvent, Sealed, Stop};
use common::{
    id::{AttemptKey, Digest},
    message::{Assignment, Stream},
    units::{BootTime, Timestamp},
};
use std::{
    fs::File,
    future::Future,
    io,
    os::fd::AsRawFd,
    time::{Duration, Instant},
};
use tokio::io::unix::AsyncFd;
use transport::clock;

/// Runs attempts and keeps what they write until it is forgotten.
pub trait Run {
    /// Tells when [`Run::turn`] has something to do.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    fn wake(&self) -> io::Result<impl Wake + use<Self>>;

    /// Starts an attempt. What cannot be started ends at once, with an event that says why.
    fn start(&mut self, assignment: Assignment, now: Timestamp);

    /// Has an attempt started, in a free slot or behind another one in its slot, as soon as [`Run::send_steps`] is
    /// called; it ends with an event or comes back with one. Whoever cannot do that is never asked to.
    fn hand_over(&mut self, assignment: Assignment, _behind: Option<AttemptKey>, now: Timestamp) {
        self.start(assignment, now);
    }

    /// Everything that was handed over can go on its way.
    fn send_steps(&mut self) {}

    /// Gives back what was handed over with this attempt and has not started.
    fn take_back(&mut self, _key: AttemptKey) {}

    /// Everything that [`Run::turn`] has told is kept, and survives this process.
    fn all_is_kept(&mut self) {}

    /// Whether an attempt was handed over and is not known to have started.
    fn is_handed_over(&self, _key: AttemptKey) -> bool {
        false
    }

    /// Stops an attempt; it ends with an event.
    fn stop(&mut self, key: AttemptKey, stop: Stop);

    /// Does something to an attempt that runs.
    fn control(&mut self, _key: AttemptKey, _control: Control) {}

    /// Whether an attempt stands still.
    fn is_suspended(&self, _key: AttemptKey) -> bool {
        false
    }

    /// How much live input an attempt has taken; none when it takes none.
    fn input_of(&self, _key: AttemptKey) -> Option<u64> {
        None
    }

    /// Handles what has happened, without waiting.
    ///
    /// # Errors
    /// When nothing can be run any more.
    fn turn(&mut self) -> io::Result<Vec<ExecutorEvent>>;

    /// Whether the last turn found nothing to do, and nothing has happened since then.
    fn is_idle(&self) -> bool;

    /// When [`Run::turn`] must be called even if nothing woke.
    fn next_deadline(&self) -> Option<Instant>;

    /// At most `bytes_max` bytes of a stream, from `offset` on.
    ///
    /// # Errors
    /// When what was kept cannot be read.
    fn read(&mut self, key: AttemptKey, stream: Stream, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>>;

    /// Nothing before `offset` is needed any more.
    fn forget_before(&mut self, key: AttemptKey, stream: Stream, offset: u64);

    /// Nothing of this attempt is needed any more.
    fn forget(&mut self, key: AttemptKey);

    /// Takes over programs of an earlier start of the agent that are among these, ends those that are not, and
    /// answers which of these go on: their ends come as events.
    fn adopt(&mut self, _started: Vec<(Assignment, Timestamp)>) -> Vec<AttemptKey> {
        Vec::new()
    }

    /// Place after the last byte that is kept of a stream.
    fn end_of(&self, _key: AttemptKey, _stream: Stream) -> u64 {
        0
    }

    /// Place of the first byte that is kept of a stream.
    fn begin_of(&self, _key: AttemptKey, _stream: Stream) -> u64 {
        0
    }

    /// The attempt ended: what finds its output again after a restart, and the files that must be synced for
    /// that.
    ///
    /// # Errors
    /// When its output cannot be kept.
    fn seal(&mut self, _key: AttemptKey) -> io::Result<(Vec<u8>, Vec<File>)> {
        Ok((Vec::new(), Vec::new()))
    }

    /// Finds the output of an ended attempt again, by what [`Run::seal`] gave; of each stream the place of the
    /// first kept byte and the place after the last.
    ///
    /// # Errors
    /// When nothing can be known of it.
    fn restore(&mut self, _key: AttemptKey, _sealed: &[u8]) -> io::Result<Restored> {
        Ok(Restored::default())
    }

    /// Programs may run until then: whoever ends them must do so by itself, even when this process is stopped.
    fn set_lease(&mut self, until: BootTime);

    /// Input files whose content on this disk turned out to be another.
    fn damaged_inputs(&mut self) -> Vec<Digest> {
        Vec::new()
    }

    /// Leaves everything that runs to the next agent.
    fn leave(self)
    where
        Self: Sized,
    {
    }

    /// Ends everything.
    ///
    /// # Errors
    /// When that could not be waited for.
    fn shut_down(self) -> io::Result<()>;
}

/// The output of an ended attempt, as far as it was found again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Of each stream, in the order of [`Stream::ALL`], the place of the first byte that is kept and the place
    /// after the last.
    pub places: [(u64, u64); Stream::COUNT],
    /// Something that was kept is not there any more.
    pub incomplete: bool,
}

/// Something to wait for.
pub trait Wake {
    /// Resolves when there may be something to do. Nothing is lost when the future is dropped.
    fn ready(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}

impl<F: AsRawFd + Send + Sync> Wake for AsyncFd<F> {
    async fn ready(&mut self) -> io::Result<()> {
        // The executor looks for itself; what it does not find is waited for anew.
        self.readable().await?.clear_ready();
        Ok(())
    }
}

impl Run for Executor {
    fn wake(&self) -> io::Result<impl Wake + use<>> {
        self.descriptor()
    }

    fn start(&mut self, assignment: Assignment, now: Timestamp) {
        self.start(assignment, now);
    }

    fn hand_over(&mut self, assignment: Assignment, behind: Option<AttemptKey>, now: Timestamp) {
        self.hand_over(assignment, behind, now);
    }

    fn send_steps(&mut self) {
        self.send_steps();
    }

    fn take_back(&mut self, key: AttemptKey) {
        self.take_back(key);
    }

    fn all_is_kept(&mut self) {
        self.all_is_kept();
    }

    fn is_handed_over(&self, key: AttemptKey) -> bool {
        self.is_handed_over(key)
    }

    fn stop(&mut self, key: AttemptKey, stop: Stop) {
        self.stop(key, stop);
    }

    fn control(&mut self, key: AttemptKey, control: Control) {
        self.control(key, control);
    }

    fn is_suspended(&self, key: AttemptKey) -> bool {
        self.is_suspended(key)
    }

    fn input_of(&self, key: AttemptKey) -> Option<u64> {
        self.input_of(key)
    }

    fn turn(&mut self) -> io::Result<Vec<ExecutorEvent>> {
        self.turn(Duration::ZERO, clock::now)
    }

    fn is_idle(&self) -> bool {
        self.is_idle()
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.next_deadline()
    }

    fn read(&mut self, key: AttemptKey, stream: Stream, offset: u64, bytes_max: usize) -> io::Result<Vec<u8>> {
        self.outputs().read(key, stream, offset, bytes_max)
    }

    fn forget_before(&mut self, key: AttemptKey, stream: Stream, offset: u64) {
        self.forget_before(key, stream, offset);
    }

    fn forget(&mut self, key: AttemptKey) {
        self.outputs().remove(key);
    }

    fn adopt(&mut self, started: Vec<(Assignment, Timestamp)>) -> Vec<AttemptKey> {
        self.adopt(started, clock::now)
    }

    fn end_of(&self, key: AttemptKey, stream: Stream) -> u64 {
        self.kept().end(key, stream)
    }

    fn begin_of(&self, key: AttemptKey, stream: Stream) -> u64 {
        self.kept().begin_of(key, stream)
    }

    fn seal(&mut self, key: AttemptKey) -> io::Result<(Vec<u8>, Vec<File>)> {
        let (sealed, files) = self.outputs().seal(key)?;
        Ok((common::frame::encode_record(&sealed), files))
    }

    fn restore(&mut self, key: AttemptKey, sealed: &[u8]) -> io::Result<Restored> {
        if sealed.is_empty() {
            // Of an attempt that was found to be gone.
            return Ok(Restored::default());
        }
        let sealed: Sealed = common::frame::decode_record(sealed).map_err(io::Error::other)?;
        let places = sealed.places();
        Ok(match self.outputs().restore(key, sealed) {
            Ok(()) => Restored { places, incomplete: false },
            // The master has at least what was forgotten here; there each stream ends now.
            Err(error) => {
                tracing::error!(attempt = %key, %error, "the output of a result is not all there any more");
                Restored { places: places.map(|(begin, _)| (begin, begin)), incomplete: true }
            }
        })
    }

    fn set_lease(&mut self, until: BootTime) {
        self.set_lease(until);
    }

    fn damaged_inputs(&mut self) -> Vec<Digest> {
        self.damaged_inputs()
    }

    fn leave(self) {
        self.leave();
    }

    fn shut_down(self) -> io::Result<()> {
        self.shut_down()
    }
}
