//! The slave's part: orders come, starts are journalled and go to a keeper, ends come back, are journalled and told,
//! and are forgotten when the master has them. The keeper is played; what is said to it goes over its real socket.

use super::{PER_TURN, WALL, id, over_the_wire};
use common::{
    AttemptKey, Duration, Outcome, ProgramSpec, Work,
    limits::{LEASE_SLAVE, SLOTS_MAX},
    message::{Assignment, Command, Finished, Message, Order, Report, Status, Tail},
    units::{BootTime, ByteSize},
    view::Usage,
};
use launcher::{
    Socket, Wait,
    protocol::{
        Ended, FromKeeper, Queue, QuickEnd, QuickResult, QuickStep, Status as ExitStatus, Step, StepLimits, Strings,
        ToKeeper,
    },
};
use slave::{
    core::{Action, Core, Event, Now},
    executor::AttemptEnd,
    journal::{Journal, KeptEnd},
};
use std::{collections::VecDeque, sync::Arc};

const NOW: Now = Now { wall: WALL, boot: BootTime(1_000_000_000), takes_bulk: true };
/// Programs that a slot is handed ahead.
const DEPTH: usize = 8;
/// Programs that the master orders at once.
const PER_ORDER: usize = 16;

struct Run {
    core: Core,
    journal: Journal,
    agent: Socket,
    keeper: Socket,
    buffer: Vec<u8>,
    /// What the keeper has.
    queued: VecDeque<AttemptKey>,
    /// Told to the master and not acknowledged.
    told: Vec<AttemptKey>,
    steps: u64,
    forgotten: usize,
}

/// From the order to the acknowledged end of so many programs.
///
/// # Panics
/// When one of them does not get there.
pub fn run(programs: usize) {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(&folder.path().join("journal"), "boot").unwrap();
    let (agent, keeper) = Socket::pair().unwrap();
    let mut run = Run {
        core: Core::new(2, SLOTS_MAX, Duration::from_secs(10)).handing_over(DEPTH),
        journal,
        agent,
        keeper,
        buffer: Vec::new(),
        queued: VecDeque::new(),
        told: Vec::new(),
        steps: 0,
        forgotten: 0,
    };
    run.handle(vec![Event::Connected]);
    run.order(Order::Registered { slots: 2, lease: LEASE_SLAVE, epoch: 1 });
    let spec = Arc::new(ProgramSpec::new("true", Work::Command { command: "true".into() }));
    for first in (0..programs).step_by(PER_ORDER) {
        let assignments = (first..programs.min(first + PER_ORDER)).map(|number| Assignment {
            key: AttemptKey { program: id(number), attempt: 1 },
            spec: Arc::clone(&spec),
            index: 0,
            fence: 1 << 32 | 1,
        });
        run.order(Order::Assign(assignments.collect()));
        while run.turn() {}
    }
    assert_eq!(run.forgotten, programs, "every end is acknowledged");
}

impl Run {
    fn order(&mut self, order: Order) {
        let Message::Command(Command::Order(order)) = over_the_wire(Command::Order(order), &mut self.buffer) else {
            panic!("an order stays one")
        };
        self.handle(vec![Event::Order(order)]);
    }

    /// What the event loop does with what the core wants.
    #[expect(clippy::wildcard_enum_match_arm, reason = "nothing else belongs to the way of a program")]
    fn handle(&mut self, events: Vec<Event>) {
        let (mut starts, mut finished) = (Vec::new(), Vec::new());
        for action in self.core.handle_all(events, NOW) {
            match action {
                Action::Start(assignment) | Action::HandOver { assignment, .. } => {
                    self.journal.note_start(&assignment, WALL);
                    starts.push(assignment);
                }
                Action::Report(report) => drop(over_the_wire(Status::Report(report), &mut self.buffer)),
                Action::ReportFinished(head) => finished.push(of_end(head.end)),
                Action::Forget(key) => {
                    self.journal.forget(key);
                    self.forgotten += 1;
                }
                _ => {}
            }
        }
        self.journal.write_noted().unwrap();
        if !starts.is_empty() {
            self.hand_over(&starts);
        }
        if !finished.is_empty() {
            self.told.extend(finished.iter().map(|finished| finished.key));
            drop(over_the_wire(Status::Report(Report::Finished(finished)), &mut self.buffer));
        }
    }

    fn hand_over(&mut self, starts: &[Assignment]) {
        let mut steps = Vec::with_capacity(starts.len());
        for assignment in starts {
            self.steps += 1;
            steps.push(QuickStep { number: self.steps, step: step(assignment) });
            self.queued.push_back(assignment.key);
        }
        let queue = Queue { steps, folder: false, kept: self.steps.saturating_sub(8) };
        self.agent.send(&ToKeeper::Queue(queue), &[]).unwrap();
        let received = self.keeper.receive::<ToKeeper>(Wait::Yes).unwrap().unwrap();
        assert!(matches!(received.message, ToKeeper::Queue(_)));
    }

    /// A few end, the master hears of it and acknowledges; whether there were any.
    fn turn(&mut self) -> bool {
        let count = self.queued.len().min(PER_TURN);
        if count == 0 {
            return false;
        }
        let ends = (0..count as u64).map(|number| QuickEnd {
            number,
            result: QuickResult::Ended(Ended {
                status: ExitStatus::Exited(0),
                cause: None,
                wall: Duration(700),
                cpu: Duration(600),
                memory_peak: ByteSize(1 << 20),
                left_over: 0,
            }),
            started: WALL,
            output: Vec::new(),
            error: Vec::new(),
            touched: false,
        });
        self.keeper.send(&FromKeeper::Ends(ends.collect()), &[]).unwrap();
        let received = self.agent.receive::<FromKeeper>(Wait::Yes).unwrap().unwrap();
        let FromKeeper::Ends(ends) = received.message else { panic!("ends stay ends") };
        let events = ends.into_iter().map(|_| {
            let end = end(self.queued.pop_front().unwrap());
            self.journal.note_end(&KeptEnd::new(&end, Vec::new()), Vec::new());
            Event::Ended(Box::new(end))
        });
        let events = events.collect();
        self.handle(events);
        let told = std::mem::take(&mut self.told);
        if !told.is_empty() {
            self.order(Order::Acknowledge(told));
        }
        true
    }
}

fn step(assignment: &Assignment) -> Step {
    let strings = |texts: &[&str]| {
        let mut strings = Strings::default();
        texts.iter().for_each(|text| strings.push(text.as_bytes()));
        strings
    };
    Step {
        tag: assignment.key.to_string().into_bytes(),
        lease_until: Some(2_000_000_000),
        candidates: strings(&["/usr/local/bin/true", "/usr/bin/true", "/bin/true"]),
        arguments: strings(&["true"]),
        environment: strings(&["PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/work", "LANG=C.UTF-8", "RUCHE_INDEX=0"]),
        limits: StepLimits {
            wall_time: Duration::from_secs(600),
            cpu_time: None,
            memory: ByteSize(1 << 30),
            processes: 256,
            file_size: ByteSize(1 << 30),
            disk: ByteSize(1 << 30),
            open_files: 1_024,
        },
        stdin: false,
        terminal: false,
        network: false,
    }
}

fn end(key: AttemptKey) -> AttemptEnd {
    AttemptEnd {
        key,
        outcome: Outcome::Exited { code: 0 },
        started_at: Some(WALL),
        ended_at: WALL,
        usage: Usage::default(),
        output_truncated: false,
        last_line: String::new(),
    }
}

fn of_end(end: AttemptEnd) -> Finished {
    let AttemptEnd { key, outcome, started_at, ended_at, usage, output_truncated, last_line } = end;
    let tails: [Tail; _] = Default::default();
    Finished { key, outcome, started_at, ended_at, usage, tails, output_truncated, last_line }
}
