//! A slave's machine: keepers with their programs, what they wrote, the journal and the watchdog. It lives on
//! without the agent.

use super::{
    context::{AgentWake, Context, MILLI, MachineWake, Wake},
    journal::{Entry, Journal, Sealed},
    program::{Behaviour, Kind, output},
    witness::How,
};
use common::{
    AttemptKey, Outcome, Timestamp,
    message::{Assignment, Stream},
    units::BootTime,
    view::Usage,
};
use slave::{
    core::{Event, Left},
    executor::{AttemptEnd, Stop},
};
use std::collections::{BTreeMap, VecDeque};

/// A program in its keeper.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) behaviour: Behaviour,
    /// All that it will have written.
    pub(super) text: [Vec<u8>; Stream::COUNT],
    pub(super) begun: bool,
    pub(super) started_at: Timestamp,
    pub(super) stop: Option<Stop>,
    /// It was handed over, and its agent was not told that it runs.
    pub(super) given: Option<Assignment>,
}

/// What is kept of a stream.
#[derive(Clone, Debug, Default)]
struct Held {
    /// Bytes before this one are forgotten.
    begin: u64,
    /// All from the first on.
    bytes: Vec<u8>,
}

const MACHINE_RESTARTED: &str = "The machine restarted while it ran.";
const AGENT_RESTARTED: &str = "The slave's agent was restarted, and the program was not there any more.";

/// The machine without its agent.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) slave: usize,
    pub(super) slots: u32,
    /// Grows when the machine goes down.
    pub(super) generation: u64,
    pub(super) programs: BTreeMap<AttemptKey, Program>,
    /// What each keeper was handed over and has not ended, in order.
    pub(super) queues: Vec<VecDeque<AttemptKey>>,
    outputs: BTreeMap<(AttemptKey, Stream), Held>,
    /// Programs may run until then.
    lease_until: Option<BootTime>,
    /// What the executor has for the agent.
    pub(super) events: VecDeque<Event>,
    pub(super) journal: Journal,
    /// The machine has started anew since an agent ran last.
    fresh: bool,
    /// The disk takes nothing.
    pub(super) disk_full: bool,
}

impl Machine {
    pub(super) fn new(slave: usize, slots: u32) -> Self {
        Self {
            slave,
            slots,
            generation: 0,
            programs: BTreeMap::new(),
            queues: Vec::new(),
            outputs: BTreeMap::new(),
            lease_until: None,
            events: VecDeque::new(),
            journal: Journal::default(),
            fresh: true,
            disk_full: false,
        }
    }

    pub(super) fn later(&self, ctx: &mut Context, after: u64, what: MachineWake) {
        ctx.after(after, Wake::Machine { slave: self.slave, generation: self.generation, what });
    }

    /// Everything on the machine is gone but for what is on its disk.
    pub(super) fn crash(&mut self, ctx: &mut Context) {
        self.generation += 1;
        self.fresh = true;
        self.lease_until = None;
        self.end_all(How::MachineGone, ctx);
        self.outputs.clear();
        let reached = ctx.rng.chance(30);
        self.journal.machine_gone(reached);
    }

    /// Every program is gone, and nothing tells how it ended.
    pub(super) fn end_all(&mut self, how: How, ctx: &mut Context) {
        for (key, program) in std::mem::take(&mut self.programs) {
            if program.begun {
                ctx.witness.end(key, how, ctx.now);
            }
        }
        self.queues.clear();
        self.events.clear();
    }

    /// The agent is gone: keepers hold the ends that it has not taken.
    pub(super) fn agent_gone(&mut self) {
        self.events.retain(|event| matches!(event, Event::Ended(_) | Event::NotStarted(_)));
        self.journal.agent_gone();
    }

    /// An agent starts: what an earlier one left, as far as the journal and the keepers know it.
    pub(super) fn agent_starts(&mut self, wall: Timestamp, ctx: &mut Context) -> Left {
        let same_boot = !std::mem::take(&mut self.fresh);
        if !same_boot {
            self.journal.begin(ctx.rng.next());
        }
        self.tell_queues(ctx);
        let mut left = Left { epoch: self.journal.epoch(), ..Left::default() };
        let mut gone = Vec::new();
        for entry in self.journal.found() {
            match entry {
                Entry::Started(assignment, at)
                    if self.is_running(assignment.key)
                        || self.has_ended(assignment.key)
                        || self.came_back(assignment.key) =>
                {
                    if self.is_handed_over(assignment.key) {
                        left.handed_over.insert(assignment.key);
                    }
                    let ends = Stream::ALL.map(|stream| self.end_of(assignment.key, stream));
                    left.running.push((assignment.key, *at, ends));
                }
                Entry::Started(assignment, at) => {
                    gone.push(lost(
                        assignment.key,
                        *at,
                        wall,
                        if same_boot { AGENT_RESTARTED } else { MACHINE_RESTARTED },
                    ));
                }
                Entry::Ended(end, output) => {
                    let places = output.each_ref().map(|sealed| (sealed.begin, sealed.bytes.len() as u64));
                    left.ended.push((end.clone(), places));
                    for (stream, sealed) in Stream::ALL.into_iter().zip(output) {
                        let held = Held { begin: sealed.begin, bytes: sealed.bytes.to_vec() };
                        self.outputs.insert((end.key, stream), held);
                    }
                }
            }
        }
        for end in gone {
            left.ended.push((end.clone(), [(0, 0); Stream::COUNT]));
            self.journal.end(end, <[Sealed; Stream::COUNT]>::default());
        }
        self.take_over(&left, ctx);
        left
    }

    /// Ends what no journal knows, and takes the files of the rest as they are.
    fn take_over(&mut self, left: &Left, ctx: &mut Context) {
        let known = |key: AttemptKey| left.running.iter().any(|(other, ..)| *other == key);
        let unknown: Vec<AttemptKey> = self.programs.keys().copied().filter(|key| !known(*key)).collect();
        for key in unknown {
            self.stop(key, Stop::Discarded, ctx);
        }
        for event in &mut self.events {
            if let Event::NotStarted(back) = event {
                back.retain(|assignment| known(assignment.key));
            }
        }
        self.events.retain(|event| {
            let ended = matches!(event, Event::Ended(end) if known(end.key));
            ended || matches!(event, Event::NotStarted(back) if !back.is_empty())
        });
        for (key, ..) in &left.running {
            for stream in Stream::ALL {
                if let Some(held) = self.outputs.get_mut(&(*key, stream)) {
                    held.begin = 0;
                }
            }
        }
        self.tell(ctx);
    }

    fn has_ended(&self, key: AttemptKey) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Ended(end) if end.key == key))
    }

    pub(super) fn end_of(&self, key: AttemptKey, stream: Stream) -> u64 {
        self.outputs.get(&(key, stream)).map_or(0, |held| held.bytes.len() as u64)
    }

    /// Keeps an end before anybody hears of it.
    pub(super) fn keep_end(&mut self, end: &AttemptEnd, ctx: &mut Context) {
        if !self.journal.knows(end.key) {
            return;
        }
        let output = Stream::ALL.map(|stream| {
            let held = self.outputs.get(&(end.key, stream)).cloned().unwrap_or_default();
            Sealed { begin: held.begin, bytes: held.bytes.into() }
        });
        self.journal.end(end.clone(), output);
        let number = self.journal.order_sync();
        let after = ctx.rng.between(10 * MILLI, 120 * MILLI);
        self.later(ctx, after, MachineWake::Synced(number));
    }

    pub(super) fn plan_repair(&self, ctx: &mut Context) {
        self.later(ctx, 2_000 * MILLI, MachineWake::Repair);
    }

    pub(super) fn forget_in_journal(&mut self, key: AttemptKey, ctx: &mut Context) {
        self.journal.forget(key);
        self.later(ctx, 1_000 * MILLI, MachineWake::Flush);
    }

    pub(super) fn start(&mut self, assignment: &Assignment, started_at: Timestamp, ctx: &mut Context) {
        let key = assignment.key;
        let program = Program {
            behaviour: Behaviour::of(Kind::of(&assignment.spec), key),
            text: Stream::ALL.map(|stream| output(key, stream)),
            begun: false,
            started_at,
            stop: None,
            given: None,
        };
        self.programs.insert(key, program);
        let after = ctx.rng.between(MILLI, 40 * MILLI);
        self.later(ctx, after, MachineWake::Begins(key));
    }

    /// Stops a program; its end is told later.
    pub(super) fn stop(&mut self, key: AttemptKey, stop: Stop, ctx: &mut Context) {
        let Some(program) = self.programs.get_mut(&key) else { return };
        let polite = matches!(stop, Stop::Cancelled { .. } | Stop::SlaveStops);
        if program.stop.is_none() {
            program.stop = Some(stop);
        }
        let after = if polite { ctx.rng.between(MILLI, 2_000 * MILLI) } else { ctx.rng.between(MILLI, 200 * MILLI) };
        self.later(ctx, after, MachineWake::Killed(key));
    }

    pub(super) fn stop_all(&mut self, stop: &Stop, ctx: &mut Context) {
        for key in self.programs.keys().copied().collect::<Vec<_>>() {
            self.stop(key, stop.clone(), ctx);
        }
    }

    pub(super) fn set_lease(&mut self, until: BootTime, now: BootTime, ctx: &mut Context) {
        self.lease_until = Some(until);
        self.later(ctx, until.since(now).0, MachineWake::Watchdog);
    }

    fn lease_is_over(&self, now: BootTime) -> bool {
        self.lease_until.is_none_or(|until| now >= until)
    }

    pub(super) fn wake(&mut self, what: MachineWake, boot: BootTime, wall: Timestamp, ctx: &mut Context) {
        match what {
            MachineWake::Begins(key) => self.begins(key, boot, wall, ctx),
            MachineWake::Outlives(key) => self.outlives(key, ctx),
            MachineWake::Writes(key) => {
                let Some(program) = self.programs.get(&key).filter(|program| program.stop.is_none()) else { return };
                let parts = program.behaviour.writes.max(1);
                for stream in Stream::ALL {
                    let rest = program_rest(&self.outputs, program, key, stream);
                    let share = rest / parts;
                    let count = if share == 0 { 0 } else { ctx.rng.between(0, share * 2) }.min(rest);
                    if count > 0 {
                        write(&mut self.outputs, &mut self.events, program, key, stream, count);
                    }
                }
                self.tell(ctx);
            }
            MachineWake::Ends(key) => {
                let Some(program) = self.programs.remove(&key) else { return };
                for stream in Stream::ALL {
                    let rest = program_rest(&self.outputs, &program, key, stream);
                    if rest > 0 {
                        write(&mut self.outputs, &mut self.events, &program, key, stream, rest);
                    }
                }
                ctx.witness.end(key, How::Exited(program.behaviour.code), ctx.now);
                ctx.note(31, 0, || format!("{key} ends by itself on slave {}", self.slave));
                let own = Outcome::Exited { code: program.behaviour.code };
                let outcome = program.stop.as_ref().map_or(own, of_stop);
                self.gone(key, ctx);
                if program.given.is_some() {
                    self.tell_outputs(key);
                }
                self.ended(key, outcome, program.started_at, wall, ctx);
            }
            MachineWake::Killed(key) => {
                let Some(program) = self.programs.remove(&key) else { return };
                if program.begun {
                    ctx.witness.end(key, How::Killed, ctx.now);
                } else if program.given.is_some() {
                    return self.dropped(key, program, ctx);
                }
                self.gone(key, ctx);
                if program.given.is_some() {
                    self.tell_outputs(key);
                }
                ctx.note(32, 0, || format!("{key} is killed on slave {}: {:?}", self.slave, program.stop));
                let outcome = program.stop.as_ref().map_or(of_stop(&Stop::LeaseEnded), of_stop);
                self.ended(key, outcome, program.started_at, wall, ctx);
            }
            MachineWake::Watchdog => {
                if self.lease_is_over(boot) && !self.programs.is_empty() {
                    ctx.note(33, 0, || format!("the watchdog of slave {} ends everything", self.slave));
                    self.stop_all(&Stop::LeaseEnded, ctx);
                }
            }
            MachineWake::Synced(number) => self.journal.synced(number),
            MachineWake::Flush => self.journal.flush(),
            MachineWake::Crash(_) | MachineWake::Repair => {}
        }
    }

    pub(super) fn is_running(&self, key: AttemptKey) -> bool {
        self.programs.contains_key(&key)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.programs.is_empty()
    }

    fn begins(&mut self, key: AttemptKey, boot: BootTime, wall: Timestamp, ctx: &mut Context) {
        let over = self.lease_is_over(boot);
        let is_first = self.queues.iter().any(|queue| queue.front() == Some(&key));
        let Some(program) = self.programs.get_mut(&key) else { return };
        if program.begun || (program.given.is_some() && !is_first) {
            // It came back and was handed over again, and this would have been the first time.
            return;
        }
        if (program.stop.is_some() || over) && program.given.is_some() {
            if let Some(program) = self.programs.remove(&key) {
                self.dropped(key, program, ctx);
            }
            return;
        }
        if program.stop.is_some() || over {
            // The keeper refuses to start it.
            let stop = program.stop.take().unwrap_or(Stop::LeaseEnded);
            let started_at = program.started_at;
            self.programs.remove(&key);
            return self.ended(key, of_stop(&stop), started_at, wall, ctx);
        }
        program.begun = true;
        if program.given.is_some() {
            program.started_at = wall;
        }
        let given = program.given.is_some();
        let (run, writes) = (program.behaviour.run, program.behaviour.writes);
        let crash = program.behaviour.crash_after;
        ctx.note(30, u64::from(key.attempt), || format!("{key} begins on slave {}", self.slave));
        if let Err(wrong) = ctx.witness.begin(key, self.slave, self.slots, ctx.now) {
            ctx.wrong(wrong);
        }
        if given {
            self.begun(key, ctx);
        }
        for _ in 0..writes {
            let after = ctx.rng.between(0, run);
            self.later(ctx, after, MachineWake::Writes(key));
        }
        if let Some(after) = crash {
            self.later(ctx, after, MachineWake::Crash(key));
        }
        self.later(ctx, run + 1, MachineWake::Ends(key));
    }

    fn ended(&mut self, key: AttemptKey, outcome: Outcome, started: Timestamp, wall: Timestamp, ctx: &mut Context) {
        self.events.push_back(Event::Ended(Box::new(AttemptEnd {
            key,
            outcome,
            started_at: Some(started),
            ended_at: wall,
            usage: Usage::default(),
            output_truncated: false,
            last_line: String::new(),
        })));
        self.tell(ctx);
    }

    /// The agent, when there is one, looks at what the executor has.
    pub(super) fn tell(&self, ctx: &mut Context) {
        let after = ctx.rng.between(20, 2_000);
        // A number of zero: for whichever agent there is then.
        ctx.after(after, Wake::Agent { slave: self.slave, generation: 0, what: AgentWake::Turn });
    }

    /// At most `count` bytes from `offset` on, as the real outputs read them.
    pub(super) fn read(&self, key: AttemptKey, stream: Stream, offset: u64, count: usize) -> Vec<u8> {
        let Some(held) = self.outputs.get(&(key, stream)).filter(|held| offset >= held.begin) else {
            return Vec::new();
        };
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let to = from.saturating_add(count).min(held.bytes.len());
        held.bytes.get(from..to).unwrap_or_default().to_vec()
    }

    pub(super) fn forget_before(&mut self, key: AttemptKey, stream: Stream, offset: u64) {
        if let Some(held) = self.outputs.get_mut(&(key, stream)) {
            held.begin = held.begin.max(offset);
        }
    }

    pub(super) fn forget(&mut self, key: AttemptKey) {
        for stream in Stream::ALL {
            self.outputs.remove(&(key, stream));
        }
    }
}

/// Bytes that a program has not written yet.
fn program_rest(
    outputs: &BTreeMap<(AttemptKey, Stream), Held>,
    program: &Program,
    key: AttemptKey,
    stream: Stream,
) -> u64 {
    let written = outputs.get(&(key, stream)).map_or(0, |held| held.bytes.len() as u64);
    program.text[stream as usize].len() as u64 - written
}

fn write(
    outputs: &mut BTreeMap<(AttemptKey, Stream), Held>,
    events: &mut VecDeque<Event>,
    program: &Program,
    key: AttemptKey,
    stream: Stream,
    count: u64,
) {
    let held = outputs.entry((key, stream)).or_default();
    let from = held.bytes.len();
    let to = from + usize::try_from(count).unwrap_or(0);
    held.bytes.extend_from_slice(&program.text[stream as usize][from..to]);
    if program.given.is_none() {
        events.push_back(Event::Output { key, stream, end: to as u64 });
    }
}

fn lost(key: AttemptKey, started_at: Timestamp, wall: Timestamp, detail: &str) -> AttemptEnd {
    AttemptEnd {
        key,
        outcome: Outcome::Lost { detail: detail.to_owned() },
        started_at: Some(started_at),
        ended_at: wall.max(started_at),
        usage: Usage::default(),
        output_truncated: false,
        last_line: String::new(),
    }
}

/// What the executor makes of an attempt that was stopped.
pub(super) fn of_stop(stop: &Stop) -> Outcome {
    match stop {
        Stop::Cancelled { by } => Outcome::Cancelled { by: by.clone() },
        Stop::Discarded => Outcome::Lost { detail: "discarded".to_owned() },
        Stop::LeaseEnded => Outcome::Lost { detail: "the lease ended".to_owned() },
        Stop::SlaveStops => Outcome::Lost { detail: "the slave was stopped".to_owned() },
        Stop::Failed(reason) => Outcome::Lost { detail: reason.clone() },
        Stop::Output => Outcome::Lost { detail: "too much output".to_owned() },
    }
}
