//! A slave's machine: keepers with their programs, what they wrote, and the watchdog. It lives on without the
//! agent.

use super::{
    context::{AgentWake, Context, MILLI, MachineWake, Wake},
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
    core::Event,
    executor::{AttemptEnd, Stop},
};
use std::collections::{BTreeMap, VecDeque};

/// A program in its keeper.
#[derive(Debug)]
struct Program {
    behaviour: Behaviour,
    /// All that it will have written.
    text: [Vec<u8>; 3],
    begun: bool,
    started_at: Timestamp,
    stop: Option<Stop>,
}

/// What is kept of a stream.
#[derive(Clone, Debug, Default)]
struct Held {
    /// Bytes before this one are forgotten.
    begin: u64,
    bytes: Vec<u8>,
}

/// The machine without its agent.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) slave: usize,
    pub(super) slots: u32,
    /// Grows when the machine goes down.
    pub(super) generation: u64,
    programs: BTreeMap<AttemptKey, Program>,
    outputs: BTreeMap<(AttemptKey, Stream), Held>,
    /// Programs may run until then.
    lease_until: Option<BootTime>,
    /// What the executor has for the agent.
    pub(super) events: VecDeque<Event>,
}

impl Machine {
    pub(super) const fn new(slave: usize, slots: u32) -> Self {
        Self {
            slave,
            slots,
            generation: 0,
            programs: BTreeMap::new(),
            outputs: BTreeMap::new(),
            lease_until: None,
            events: VecDeque::new(),
        }
    }

    fn later(&self, ctx: &mut Context, after: u64, what: MachineWake) {
        ctx.after(after, Wake::Machine { slave: self.slave, generation: self.generation, what });
    }

    /// Everything on the machine is gone.
    pub(super) fn crash(&mut self, ctx: &mut Context) {
        self.generation += 1;
        for (key, program) in std::mem::take(&mut self.programs) {
            if program.begun {
                ctx.witness.end(key, How::MachineGone, ctx.now);
            }
        }
        self.outputs.clear();
        self.events.clear();
        self.lease_until = None;
    }

    pub(super) fn start(&mut self, assignment: &Assignment, started_at: Timestamp, ctx: &mut Context) {
        let key = assignment.key;
        let program = Program {
            behaviour: Behaviour::of(Kind::of(&assignment.spec), key),
            text: Stream::ALL.map(|stream| output(key, stream)),
            begun: false,
            started_at,
            stop: None,
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
                self.ended(key, outcome, program.started_at, wall, ctx);
            }
            MachineWake::Killed(key) => {
                let Some(program) = self.programs.remove(&key) else { return };
                if program.begun {
                    ctx.witness.end(key, How::Killed, ctx.now);
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
            MachineWake::Crash(_) | MachineWake::Synced(_) => {}
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
        let Some(program) = self.programs.get_mut(&key) else { return };
        if program.stop.is_some() || over {
            // The keeper refuses to start it.
            let stop = program.stop.take().unwrap_or(Stop::LeaseEnded);
            let started_at = program.started_at;
            self.programs.remove(&key);
            return self.ended(key, of_stop(&stop), started_at, wall, ctx);
        }
        program.begun = true;
        let (run, writes) = (program.behaviour.run, program.behaviour.writes);
        let crash = program.behaviour.crash_after;
        ctx.note(30, u64::from(key.attempt), || format!("{key} begins on slave {}", self.slave));
        if let Err(wrong) = ctx.witness.begin(key, self.slave, self.slots, ctx.now) {
            ctx.wrong(wrong);
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
    fn tell(&self, ctx: &mut Context) {
        let after = ctx.rng.between(20, 2_000);
        // A number of zero: for whichever agent there is then.
        ctx.after(after, Wake::Agent { slave: self.slave, generation: 0, what: AgentWake::Turn });
    }

    /// At most `count` bytes from `offset` on, as the real outputs read them.
    pub(super) fn read(&self, key: AttemptKey, stream: Stream, offset: u64, count: usize) -> Vec<u8> {
        let Some(held) = self.outputs.get(&(key, stream)) else { return Vec::new() };
        let Some(from) = offset.checked_sub(held.begin).and_then(|from| usize::try_from(from).ok()) else {
            return Vec::new();
        };
        held.bytes.iter().skip(from).take(count).copied().collect()
    }

    pub(super) fn forget_before(&mut self, key: AttemptKey, stream: Stream, offset: u64) {
        if let Some(held) = self.outputs.get_mut(&(key, stream)) {
            let count = usize::try_from(offset.saturating_sub(held.begin)).unwrap_or(0).min(held.bytes.len());
            held.bytes.drain(..count);
            held.begin += count as u64;
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
    let written = outputs.get(&(key, stream)).map_or(0, |held| held.begin + held.bytes.len() as u64);
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
    let from = usize::try_from(held.begin).unwrap_or(0) + held.bytes.len();
    let to = from + usize::try_from(count).unwrap_or(0);
    held.bytes.extend_from_slice(&program.text[stream as usize][from..to]);
    events.push_back(Event::Output { key, stream, end: to as u64 });
}

/// What the executor makes of an attempt that was stopped.
fn of_stop(stop: &Stop) -> Outcome {
    match stop {
        Stop::Cancelled { by } => Outcome::Cancelled { by: by.clone() },
        Stop::Discarded => Outcome::Lost { detail: "discarded".to_owned() },
        Stop::LeaseEnded => Outcome::Lost { detail: "the lease ended".to_owned() },
        Stop::SlaveStops => Outcome::Lost { detail: "the slave was stopped".to_owned() },
        Stop::Failed(reason) => Outcome::Lost { detail: reason.clone() },
        Stop::Output => Outcome::Lost { detail: "too much output".to_owned() },
    }
}
