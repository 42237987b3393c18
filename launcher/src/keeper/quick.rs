//! Steps of a queue from their start to their ends.

use super::{
    queue::{self, Waiting},
    run::{Runner, not_started},
    state::{Quick, Run},
};
use crate::protocol::{HeldEnd, NotStarted, QUICK_OUTPUT_MAX, Queue, QuickEnd, QuickResult, QuickRunning, StartStep};
use nix::{errno::Errno, fcntl::OFlag};
use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

/// Two pipes: where it is read, and where it is written.
type Pipes = ([OwnedFd; 2], [OwnedFd; 2]);

impl Runner<'_> {
    /// Takes in what the agent wants to be run; what is not taken is the answer.
    pub(super) fn take_queue(
        &mut self,
        Queue { steps, folder, kept }: Queue,
        descriptors: Vec<OwnedFd>,
        closed: bool,
    ) -> io::Result<Vec<u64>> {
        self.queue.forget(kept);
        if let Some(folder) = descriptors.into_iter().next().filter(|_| folder) {
            self.queue.set_place(folder)?;
        }
        Ok(self.queue.take(steps, closed))
    }

    /// Runs what is queued, as far as it may start. An error means that the agent or the launcher is gone.
    pub(super) fn run_queue(&mut self) -> io::Result<()> {
        while let Some(next) = self.queue.next() {
            self.last = None;
            let end = self.run_quick(next)?;
            self.queue.running = None;
            self.queue.gather(end);
            if self.queue.is_telling_due() {
                self.tell_ends()?;
            }
        }
        Ok(())
    }

    fn run_quick(&mut self, Waiting { number, mut step, suspended }: Waiting) -> io::Result<HeldEnd> {
        let tag = std::mem::take(&mut step.tag);
        let started = queue::now();
        let begun = match self.begin_quick(number, &step) {
            Ok(begun) => begun,
            Err(failure) => {
                let result = QuickResult::NotStarted(failure);
                let end = QuickEnd { number, result, started, output: Vec::new(), error: Vec::new(), touched: false };
                return Ok(HeldEnd { tag, note: Vec::new(), end });
            }
        };
        let mut run = begun;
        self.queue.running = Some(QuickRunning { number, tag, note: Vec::new(), suspended: false, started });
        if suspended {
            self.suspend(&mut run);
        }
        let ended = self.watch(&step, &mut run)?;
        let touched = !run.left_folder_alone;
        if touched {
            self.queue.leave_place(run.folder());
        }
        let [output, error] = self.written(&mut run)?;
        let (tag, note) =
            self.queue.running.take().map_or_else(Default::default, |running| (running.tag, running.note));
        let end = QuickEnd { number, result: QuickResult::Ended(ended), started, output, error, touched };
        Ok(HeldEnd { tag, note, end })
    }

    fn begin_quick(&mut self, number: u64, step: &crate::protocol::Step) -> Result<Run, NotStarted> {
        let failed = |step| move |errno| not_started(step, errno);
        let place = self.queue.place().ok_or(Errno::ENOENT).map_err(failed(StartStep::Folder))?;
        let (folder, token, shows_changes) = (place.fd.clone(), place.token, place.shows_changes());
        let (read, write) = self.pipes().map_err(failed(StartStep::Descriptors))?;
        let mut run = self.start(step, (&folder, Some(token)), None, write.each_ref().map(AsFd::as_fd))?;
        // The pipes must have no writer but the program, or nobody would ever see their end.
        drop(write);
        run.quick = Some(Quick { number, pipes: Some(read), shows_changes });
        Ok(run)
    }

    fn pipes(&self) -> nix::Result<Pipes> {
        let ((output, output_end), (error, error_end)) = (pipe()?, pipe()?);
        if let Some(user) = self.user {
            // So that it may open them again by their names in /dev.
            for end in [&output_end, &error_end] {
                nix::unistd::fchown(end, Some(user.uid.into()), Some(user.gid.into()))?;
            }
        }
        Ok(([output, error], [output_end, error_end]))
    }

    /// Whether nobody has changed the program's working folder, for sure.
    pub(super) fn is_folder_as_it_came(&self, run: &Run) -> bool {
        let shown = run.quick.as_ref().is_some_and(|quick| quick.shows_changes);
        shown && self.queue.place().is_some_and(|place| place.is_of(run.folder()) && place.is_as_it_came())
    }

    /// What runs is like any other from now on; what is given back by that, if it was not before.
    pub(super) fn hand_over(&mut self, run: &mut Run) -> io::Result<Option<Vec<u64>>> {
        let folder = run.folder().clone();
        let Some(pipes) = run.quick.as_mut().and_then(|quick| quick.pipes.take()) else { return Ok(None) };
        for pipe in &pipes {
            // The agent waits for many of them at once.
            nonblocking(pipe)?;
        }
        Ok(Some(self.queue.outlive(&folder, pipes)))
    }

    /// All that it wrote; nothing when the agent reads it.
    fn written(&mut self, run: &mut Run) -> io::Result<[Vec<u8>; 2]> {
        let Some(counts) = run.quick.as_ref().and_then(|quick| quick.pipes.as_ref()).map(counts) else {
            return Ok(Default::default());
        };
        let counts = counts?;
        if counts.iter().any(|count| *count > QUICK_OUTPUT_MAX) {
            self.outlive(run)?;
            return Ok(Default::default());
        }
        let pipes = run.quick.as_mut().and_then(|quick| quick.pipes.take());
        let mut written = <[Vec<u8>; 2]>::default();
        for ((pipe, count), bytes) in pipes.into_iter().flatten().zip(counts).zip(&mut written) {
            if count > 0 {
                // Somebody to whom the program passed it on may read as well, and is not waited for either.
                nonblocking(&pipe)?;
                match File::from(pipe).take(count as u64).read_to_end(bytes) {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(written)
    }
}

/// What lies in each of them. Who passed its end on to somebody else may write still, and is not waited for.
fn counts(pipes: &[OwnedFd; 2]) -> io::Result<[usize; 2]> {
    let mut counts = [0; 2];
    for (pipe, count) in pipes.iter().zip(&mut counts) {
        let mut bytes: libc::c_int = 0;
        // SAFETY: the call writes the number that it is given.
        if unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut bytes) } < 0 {
            return Err(io::Error::last_os_error());
        }
        *count = usize::try_from(bytes).unwrap_or(0);
    }
    Ok(counts)
}

fn nonblocking(pipe: &OwnedFd) -> io::Result<()> {
    nix::fcntl::fcntl(pipe, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

fn pipe() -> nix::Result<(OwnedFd, OwnedFd)> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC)
}
