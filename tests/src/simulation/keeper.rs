//! Keepers that start what they were handed over, one after another, without asking their agent.

use super::{
    context::{Context, MILLI, MachineWake},
    machine::{Machine, Program, of_stop},
    program::{Behaviour, Kind, output},
};
use common::{
    AttemptKey, Timestamp,
    message::{Assignment, Stream},
    view::Usage,
};
use slave::{
    core::Event,
    executor::{AttemptEnd, Stop},
};
use std::collections::VecDeque;

/// What runs longer is told to run on, and what is queued behind it comes back. Real keepers take 2 ms; here programs
/// take longer.
const QUICK: u64 = 500 * MILLI;

impl Machine {
    /// Whether anything is handed over here: on every other slave, so that both ways are tried.
    pub(super) const fn hands_over(&self) -> bool {
        self.slave.is_multiple_of(2)
    }

    pub(super) fn hand_over(
        &mut self,
        assignment: &Assignment,
        behind: Option<AttemptKey>,
        at: Timestamp,
        ctx: &mut Context,
    ) {
        let key = assignment.key;
        let queue = match behind {
            None => self.queues.iter().position(VecDeque::is_empty).unwrap_or_else(|| {
                self.queues.push(VecDeque::new());
                self.queues.len() - 1
            }),
            Some(behind) => {
                let given = |key: &AttemptKey| self.programs.get(key).is_some_and(|program| program.given.is_some());
                let found = self.queues.iter().position(|queue| queue.contains(&behind) && queue.iter().all(given));
                let Some(queue) = found else {
                    self.events.push_back(Event::NotStarted(vec![assignment.clone()]));
                    return self.tell(ctx);
                };
                queue
            }
        };
        let program = Program {
            behaviour: Behaviour::of(Kind::of(&assignment.spec), key),
            text: Stream::ALL.map(|stream| output(key, stream)),
            begun: false,
            started_at: at,
            stop: None,
            given: Some(assignment.clone()),
        };
        self.programs.insert(key, program);
        self.queues[queue].push_back(key);
        if self.queues[queue].len() == 1 {
            let after = ctx.rng.between(MILLI, 40 * MILLI);
            self.later(ctx, after, MachineWake::Begins(key));
        }
    }

    /// What was handed over and has begun: whether it runs on is seen after a while.
    pub(super) fn begun(&self, key: AttemptKey, ctx: &mut Context) {
        self.later(ctx, QUICK, MachineWake::Outlives(key));
    }

    pub(super) fn outlives(&mut self, key: AttemptKey, ctx: &mut Context) {
        let Some(program) = self.programs.get_mut(&key).filter(|program| program.begun) else { return };
        if program.given.take().is_none() {
            return;
        }
        let at = program.started_at;
        self.events.push_back(Event::Started { key, at });
        self.tell_outputs(key);
        self.give_back_behind(key, ctx);
        self.tell(ctx);
    }

    /// What has not begun in the queue of this attempt comes back.
    pub(super) fn give_back_behind(&mut self, key: AttemptKey, ctx: &mut Context) {
        let Some(queue) = self.queues.iter_mut().find(|queue| queue.contains(&key)) else { return };
        let begun = |key: &AttemptKey| self.programs.get(key).is_some_and(|program| program.begun);
        let (stays, back): (VecDeque<_>, VecDeque<_>) = queue.iter().partition(|key| begun(key));
        *queue = stays;
        for key in back {
            if let Some(program) = self.programs.remove(&key) {
                self.dropped(key, program, ctx);
            }
        }
    }

    /// One that was handed over is taken out before it began.
    pub(super) fn dropped(&mut self, key: AttemptKey, program: Program, ctx: &mut Context) {
        ctx.note(34, 0, || format!("{key} comes back without having begun on slave {}", self.slave));
        self.gone(key, ctx);
        let event = match (program.given, program.stop) {
            (Some(assignment), None | Some(Stop::LeaseEnded | Stop::SlaveStops)) => Event::NotStarted(vec![assignment]),
            (_, stop) => Event::Ended(Box::new(AttemptEnd {
                key,
                outcome: of_stop(&stop.unwrap_or(Stop::LeaseEnded)),
                started_at: None,
                ended_at: program.started_at,
                usage: Usage::default(),
                output_truncated: false,
                last_line: String::new(),
            })),
        };
        self.events.push_back(event);
        self.tell(ctx);
    }

    /// The place of an attempt in its queue is free.
    pub(super) fn gone(&mut self, key: AttemptKey, ctx: &mut Context) {
        let Some(queue) = self.queues.iter_mut().find(|queue| queue.contains(&key)) else { return };
        let was_first = queue.front() == Some(&key);
        queue.retain(|other| *other != key);
        if let (true, Some(next)) = (was_first, queue.front().copied()) {
            let after = ctx.rng.between(20, 2 * MILLI);
            self.later(ctx, after, MachineWake::Begins(next));
        }
    }

    /// An agent asks keepers what they hold: what runs counts as running on, and what waits behind it comes back.
    pub(super) fn tell_queues(&mut self, ctx: &mut Context) {
        let runs: Vec<AttemptKey> =
            self.programs.iter().filter(|(_, program)| program.begun).map(|(key, _)| *key).collect();
        for key in runs {
            if let Some(program) = self.programs.get_mut(&key)
                && program.given.take().is_some()
            {
                self.give_back_behind(key, ctx);
            }
        }
    }

    /// Whether nobody knows this attempt to have started.
    pub(super) fn is_handed_over(&self, key: AttemptKey) -> bool {
        self.came_back(key) || self.programs.get(&key).is_some_and(|program| program.given.is_some())
    }

    pub(super) fn came_back(&self, key: AttemptKey) -> bool {
        let holds = |event: &Event| {
            let Event::NotStarted(back) = event else { return false };
            back.iter().any(|assignment| assignment.key == key)
        };
        self.events.iter().any(holds)
    }

    /// What was written while nobody was told.
    pub(super) fn tell_outputs(&mut self, key: AttemptKey) {
        for stream in Stream::ALL {
            let end = self.end_of(key, stream);
            if end > 0 {
                self.events.push_back(Event::Output { key, stream, end });
            }
        }
    }
}
