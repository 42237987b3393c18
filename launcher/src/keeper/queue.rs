//! Steps that run one after another without the agent being asked in between, and their ends until an agent has kept
//! them.

use crate::{
    FolderStamp,
    isolation::FolderToken,
    protocol::{HeldEnd, Order, QUEUE_MAX, QuickEnd, QuickResult, QuickRunning, QuickState, QuickStep, Step},
};
use common::units::Timestamp;
use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How long an end waits for others at most while more is queued, and how much they hold. A message costs its sender and
/// its receiver as much as a small program costs the machine.
const GATHER: Duration = Duration::from_millis(6);
const GATHERED_BYTES_MAX: usize = 32 << 10;

/// What waits for its turn.
pub(super) struct Waiting {
    pub(super) number: u64,
    pub(super) step: Step,
    /// It stands still from its start on.
    pub(super) suspended: bool,
}

/// A working folder, and what its inode said when it came: any change to the folder changes the time of change at
/// least.
pub(super) struct Place {
    pub(super) fd: Rc<OwnedFd>,
    pub(super) token: FolderToken,
    stamp: FolderStamp,
}

impl Place {
    fn new(fd: OwnedFd, token: FolderToken) -> io::Result<Self> {
        let stamp = FolderStamp::of(fd.as_fd())?;
        Ok(Self { fd: Rc::new(fd), token, stamp })
    }

    /// Whether a change from now on would get another time.
    pub(super) fn shows_changes(&self) -> bool {
        self.stamp.shows_changes()
    }

    pub(super) fn is_of(&self, folder: &Rc<OwnedFd>) -> bool {
        Rc::ptr_eq(&self.fd, folder)
    }

    pub(super) fn is_as_it_came(&self) -> bool {
        FolderStamp::of(self.fd.as_fd()).is_ok_and(|stamp| stamp == self.stamp)
    }
}

/// What outlived last: until its end is kept, nothing else starts.
pub(super) struct Outlived {
    number: u64,
    folder: Rc<OwnedFd>,
    pipes: [OwnedFd; 2],
}

/// The queue of a slot.
#[derive(Default)]
pub(super) struct Queue {
    waiting: VecDeque<Waiting>,
    /// What waited and ran when something came last, or waited when ends were told last.
    full: usize,
    /// What runs.
    pub(super) running: Option<QuickRunning>,
    /// Told and not kept.
    held: Vec<HeldEnd>,
    /// Not told yet.
    gathered: Vec<HeldEnd>,
    gathered_since: Option<Instant>,
    gathered_bytes: usize,
    place: Option<Place>,
    /// Folders that there were.
    places: u64,
    outlived: Option<Outlived>,
    last: u64,
}

impl Queue {
    /// The next one, when it can start.
    pub(super) fn next(&mut self) -> Option<Waiting> {
        if self.place.is_none() { None } else { self.waiting.pop_front() }
    }

    pub(super) const fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// The folder that comes is used from now on.
    pub(super) fn set_place(&mut self, folder: OwnedFd) -> io::Result<()> {
        self.places += 1;
        self.place = Some(Place::new(folder, FolderToken(self.places))?);
        Ok(())
    }

    /// This folder is the agent's again.
    pub(super) fn leave_place(&mut self, folder: &Rc<OwnedFd>) {
        self.place.take_if(|place| place.is_of(folder));
    }

    /// Every end up to this one is kept.
    pub(super) fn forget(&mut self, kept: u64) {
        self.held.retain(|held| held.end.number > kept);
        // What runs has no end yet that could be kept.
        let runs = self.running.as_ref().map(|running| running.number);
        self.outlived.take_if(|outlived| outlived.number <= kept && Some(outlived.number) != runs);
    }

    /// An agent that orders something else has kept all there was.
    pub(super) fn forget_all(&mut self) {
        self.forget(u64::MAX);
    }

    /// Takes steps in; those that it does not take are the answer, in order.
    pub(super) fn take(&mut self, steps: Vec<QuickStep>, closed: bool) -> Vec<u64> {
        let mut returned = Vec::new();
        for QuickStep { number, step } in steps {
            self.last = self.last.max(number);
            if closed || self.outlived.is_some() || self.waiting.len() >= QUEUE_MAX {
                self.hold_returned(number, step.tag);
                returned.push(number);
            } else {
                self.waiting.push_back(Waiting { number, step, suspended: false });
            }
        }
        self.full = self.waiting.len() + usize::from(self.running.is_some());
        returned
    }

    /// Gives back all that waits, in order.
    pub(super) fn give_back(&mut self) -> Vec<u64> {
        let mut returned = Vec::new();
        for Waiting { number, step, .. } in std::mem::take(&mut self.waiting) {
            self.hold_returned(number, step.tag);
            returned.push(number);
        }
        returned
    }

    /// An agent may end before it has heard of it.
    fn hold_returned(&mut self, number: u64, tag: Vec<u8>) {
        self.held.push(HeldEnd { tag, note: Vec::new(), end: QuickEnd::without_output(number, QuickResult::Returned) });
    }

    /// Does this to one that waits. None when none does with this number; else whether it stands still.
    pub(super) fn order(&mut self, number: u64, order: Order) -> Option<bool> {
        let place = self.waiting.iter().position(|waiting| waiting.number == number)?;
        match order {
            Order::Cancel { note, .. } | Order::Kill { note } => {
                let dropped = self.waiting.remove(place)?;
                let end = QuickEnd::without_output(number, QuickResult::Dropped);
                self.gather(HeldEnd { tag: dropped.step.tag, note, end });
                return None;
            }
            Order::Suspend => self.waiting[place].suspended = true,
            Order::Resume => self.waiting[place].suspended = false,
            Order::SetWallTime(limit) => self.waiting[place].step.limits.wall_time = limit,
            Order::Signal(_) => {}
        }
        Some(self.waiting[place].suspended)
    }

    /// What runs has outlived its time: what it has is held, and all that waits is given back.
    pub(super) fn outlive(&mut self, folder: &Rc<OwnedFd>, pipes: [OwnedFd; 2]) -> Vec<u64> {
        let number = self.running.as_ref().map_or(0, |running| running.number);
        self.outlived = Some(Outlived { number, folder: folder.clone(), pipes });
        self.give_back()
    }

    /// The pipes of what outlived last.
    pub(super) fn pipes(&self) -> Option<[BorrowedFd<'_>; 2]> {
        self.outlived.as_ref().map(|outlived| outlived.pipes.each_ref().map(AsFd::as_fd))
    }

    /// An end that the agent is to be told.
    pub(super) fn gather(&mut self, end: HeldEnd) {
        self.gathered_since.get_or_insert_with(Instant::now);
        self.gathered_bytes += end.end.output.len() + end.end.error.len();
        self.gathered.push(end);
    }

    /// Whether ends are to be told now.
    pub(super) fn is_telling_due(&self) -> bool {
        self.gathered_since.is_some_and(|since| self.is_telling_due_after(since.elapsed()))
    }

    /// With half of what was handed over still to be started, so that more is here before the last has ended; and
    /// again with half of that, should nothing have come.
    fn is_telling_due_after(&self, gathered_for: Duration) -> bool {
        let more = self.place.is_some() && self.waiting.len() * 2 > self.full;
        !more || self.gathered_bytes >= GATHERED_BYTES_MAX || gathered_for >= GATHER
    }

    /// The ends that were not told yet; they are held from now on.
    pub(super) fn tell(&mut self) -> Vec<QuickEnd> {
        (self.gathered_since, self.gathered_bytes) = (None, 0);
        self.full = self.waiting.len();
        let ends = self.gathered.iter().map(|held| held.end.clone()).collect();
        self.held.append(&mut self.gathered);
        ends
    }

    /// Whether it was ever given anything.
    pub(super) const fn is_used(&self) -> bool {
        self.last > 0
    }

    /// All that is held, for an agent that follows another.
    pub(super) fn state(&mut self) -> (QuickState, Vec<BorrowedFd<'_>>) {
        drop(self.tell());
        let folder = match (&self.outlived, &self.place) {
            (Some(outlived), _) => Some(&outlived.folder),
            (None, place) => place.as_ref().map(|place| &place.fd),
        };
        let state = QuickState {
            ends: self.held.clone(),
            running: self.running.clone(),
            waiting: self.waiting.iter().map(|waiting| (waiting.number, waiting.step.tag.clone())).collect(),
            folder: folder.is_some(),
            pipes: self.outlived.is_some(),
            wants_folder: self.place.is_none(),
            last: self.last,
        };
        let mut descriptors: Vec<_> = folder.map(|folder| folder.as_fd()).into_iter().collect();
        descriptors.extend(self.pipes().into_iter().flatten());
        (state, descriptors)
    }
}

impl QuickEnd {
    fn without_output(number: u64, result: QuickResult) -> Self {
        Self { number, result, started: now(), output: Vec::new(), error: Vec::new(), touched: false }
    }
}

/// The wall clock.
pub(super) fn now() -> Timestamp {
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
    Timestamp(u64::try_from(micros).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{StepLimits, Strings};
    use common::units::{ByteSize, Duration as Time};

    fn step(number: u64) -> QuickStep {
        let size = ByteSize(1 << 20);
        let limits = StepLimits {
            wall_time: Time::from_secs(1),
            cpu_time: None,
            memory: size,
            disk: size,
            processes: 1,
            open_files: 16,
            file_size: size,
        };
        let step = Step {
            candidates: Strings::default(),
            arguments: Strings::default(),
            environment: Strings::default(),
            limits,
            lease_until: None,
            tag: Vec::new(),
            stdin: false,
            terminal: false,
            network: false,
        };
        QuickStep { number, step }
    }

    fn queue() -> Queue {
        let mut queue = Queue::default();
        queue.set_place(std::fs::File::open("/").unwrap().into()).unwrap();
        queue
    }

    /// Starts the next one, which ends at once.
    fn run(queue: &mut Queue) {
        let number = queue.next().unwrap().number;
        let end = QuickEnd::without_output(number, QuickResult::Dropped);
        queue.gather(HeldEnd { tag: Vec::new(), note: Vec::new(), end });
    }

    const SOON: Duration = Duration::from_micros(100);

    #[test]
    fn ends_are_told_with_half_of_the_queue_left_and_then_less_and_less() {
        let mut queue = queue();
        assert!(!queue.is_telling_due(), "there is nothing to tell");
        assert!(queue.take((1..=16).map(step).collect(), false).is_empty());
        let mut told = Vec::new();
        while !queue.waiting.is_empty() {
            run(&mut queue);
            if queue.is_telling_due_after(SOON) {
                told.push(queue.tell().len());
            }
        }
        assert_eq!(told, [8, 4, 2, 1, 1], "nothing came, and with the last one all is told");
    }

    #[test]
    fn what_comes_meanwhile_makes_ends_wait_for_half_of_the_whole() {
        let mut queue = queue();
        queue.take((1..=8).map(step).collect(), false);
        (0..4).for_each(|_| run(&mut queue));
        assert!(queue.is_telling_due_after(SOON));
        assert_eq!(queue.tell().len(), 4);
        queue.take((9..=12).map(step).collect(), false);
        (0..3).for_each(|_| run(&mut queue));
        assert!(!queue.is_telling_due_after(SOON));
        run(&mut queue);
        assert!(queue.is_telling_due_after(SOON));
    }

    #[test]
    fn one_alone_is_told_at_once_and_none_waits_long_or_with_much_output() {
        let mut alone = queue();
        alone.take(vec![step(1)], false);
        run(&mut alone);
        assert!(alone.is_telling_due_after(Duration::ZERO));

        let mut many = queue();
        many.take((1..=16).map(step).collect(), false);
        run(&mut many);
        assert!(!many.is_telling_due_after(SOON));
        assert!(many.is_telling_due_after(GATHER));
        many.gathered_bytes = GATHERED_BYTES_MAX;
        assert!(many.is_telling_due_after(SOON));

        let mut folderless = queue();
        folderless.take((1..=16).map(step).collect(), false);
        run(&mut folderless);
        folderless.place = None;
        assert!(folderless.is_telling_due_after(SOON), "nothing starts before the agent has heard of it");
    }
}
