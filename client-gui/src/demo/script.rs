//! What the demonstration's master knows, and how it answers.

use super::{
    live,
    outputs::{self, Output},
    scene,
};
use client::{HistoryFilter, HistoryWindow, Link, Mirror};
use common::{
    ByteSize, Duration, ErrorCode, Outcome, ProgramId, ProgramSpec, Timestamp, UserError,
    limits::{BUSY_RETRY, LEASE_MASTER},
    message::{Change, Reply, Request, data::Stream, status::Event},
    program::State,
    view::{Explanation, Policy, ProgramView, SlaveReason, SlaveState, Usage},
};
use std::collections::BTreeMap;

/// How far back a filter of the demonstration looks.
const FILTER_DEPTH: u64 = 3_000;
/// How long a submitted program of the demonstration runs.
const RUNS_MS: u64 = 1_400;

/// The state of the demonstration, and how it goes on.
pub(super) struct Script {
    pub(super) began: Timestamp,
    pub(super) clock: Box<dyn Fn() -> Timestamp>,
    pub(super) mirror: Mirror,
    pub(super) programs: BTreeMap<u64, ProgramView>,
    pub(super) specs: BTreeMap<ProgramId, ProgramSpec>,
    pub(super) outputs: BTreeMap<ProgramId, Output>,
    pub(super) total: u64,
    /// Submits and further runs that are refused as busy before the next is taken.
    pub(super) busy: u32,
    /// Since when programs are suspended.
    pub(super) still: BTreeMap<ProgramId, Timestamp>,
    /// For how long they were, in milliseconds.
    pub(super) stood: BTreeMap<ProgramId, u64>,
    /// Wall times that were changed.
    pub(super) wall_times: BTreeMap<ProgramId, Duration>,
    /// Live input of programs.
    pub(super) inputs: BTreeMap<ProgramId, live::Input>,
}

impl Script {
    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    pub(super) fn put(&mut self, program: ProgramView) {
        self.total = self.total.max(program.sequence);
        self.programs.insert(program.sequence, program.clone());
        self.mirror.apply(Change::Program(Box::new(program)));
        if let Some(summary) = &mut self.mirror.summary {
            summary.programs = self.total;
        }
    }

    /// Whether the next submit is refused; counts it.
    pub(super) fn is_busy(&mut self) -> bool {
        let busy = self.busy > 0;
        self.busy = self.busy.saturating_sub(1);
        busy
    }

    pub(super) fn find(&self, id: ProgramId) -> Option<ProgramView> {
        if let Some(program) = self.programs.values().find(|program| program.id == id) {
            return Some(program.clone());
        }
        (self.total.saturating_sub(FILTER_DEPTH)..=self.total)
            .find(|sequence| scene::program_id(*sequence) == id)
            .map(|sequence| self.at(sequence))
            .or_else(|| self.mirror.history.by_id(id).map(|row| (**row).clone()))
    }

    fn at(&self, sequence: u64) -> ProgramView {
        self.programs.get(&sequence).cloned().unwrap_or_else(|| scene::old_program(self.began, sequence))
    }

    /// Lets the script go on.
    pub(super) fn advance(&mut self) {
        let now = self.now();
        if self.mirror.link == Link::Connected {
            self.mirror.heard_at = Some(now);
        }
        let alive: Vec<ProgramView> =
            self.programs.values().filter(|program| program.state == State::Running).cloned().collect();
        for mut program in alive {
            if program.unknown_since.is_some_and(|since| now.since(since) >= LEASE_MASTER) {
                self.lose(program, now);
                continue;
            }
            let stood = self.stood.get(&program.id).copied().unwrap_or(0);
            let passed = now.since(program.started_at.unwrap_or(now)).as_millis().saturating_sub(stood);
            if program.name == "render_frames.py" {
                let frame = (passed / 290).clamp(41, 99);
                if let Some(progress) = &mut program.progress
                    && progress.percent != frame as f32
                {
                    progress.percent = frame as f32;
                    progress.text = format!("frame {frame} of 100 written");
                    let text: String = (1..=frame).map(|frame| format!("frame {frame} of 100 written\n")).collect();
                    program.output_bytes = text.len() as u64;
                    self.outputs.insert(program.id, Output { stdout: text, ..Output::default() });
                    self.put(program);
                }
            } else if !program.live && self.specs.contains_key(&program.id) && passed >= RUNS_MS {
                self.end(program, now);
            }
        }
    }

    /// The lease of its slave is over.
    fn lose(&mut self, mut program: ProgramView, now: Timestamp) {
        let name = program.slave_name.clone().unwrap_or_default();
        program.state = State::Lost;
        program.outcome = Some(Outcome::Lost {
            detail: format!(
                "Lost: the slave `{name}` has been away for longer than its lease. Whether it ended is not known."
            ),
        });
        program.ended_at = Some(now);
        program.unknown_since = None;
        let slave = self.mirror.slaves.values().find(|slave| slave.name == name).map(|slave| (**slave).clone());
        if let Some(mut slave) = slave {
            slave.running = slave.running.saturating_sub(1);
            self.mirror.apply(Change::Slave(Box::new(slave)));
        }
        if let Some(summary) = &mut self.mirror.summary {
            summary.running = summary.running.saturating_sub(1);
            summary.lost += 1;
        }
        self.put(program);
    }

    fn end(&mut self, mut program: ProgramView, now: Timestamp) {
        program.state = State::Done;
        program.outcome = Some(Outcome::Exited { code: 0 });
        program.ended_at = Some(now);
        let asked = self.specs.get(&program.id).is_some_and(|spec| !spec.collect.is_empty());
        let files = if asked { outputs::files() } else { Vec::new() };
        let output = Output { stdout: "78498\n".to_owned(), files, ..Output::default() };
        program.files_bytes = output.files.len() as u64;
        program.output_bytes = output.stdout.len() as u64;
        program.last_line = "78498".to_owned();
        program.usage = Some(Usage {
            wall: Duration::from_millis(RUNS_MS),
            cpu: Duration::from_millis(RUNS_MS - 90),
            memory_peak: ByteSize(12 << 20),
        });
        self.outputs.insert(program.id, output);
        self.put(program);
    }

    pub(super) fn submit(&mut self, spec: &ProgramSpec, count: u32) -> ProgramId {
        let now = self.now();
        let ids: Vec<ProgramId> = (0..count.clamp(1, 1_000))
            .map(|index| {
                let sequence = self.total + 1;
                let mut program = scene::old_program(now, sequence);
                program.name.clone_from(&spec.name);
                program.language = spec.language().map(str::to_owned);
                program.state = State::Running;
                program.outcome = None;
                program.usage = None;
                program.ended_at = None;
                program.submitted_at = now;
                program.started_at = Some(now);
                program.user = "alice".to_owned();
                program.slave_name = Some("pc-03".to_owned());
                program.last_line.clear();
                (program.output_bytes, program.error_bytes) = (0, 0);
                (program.index, program.copies) = (index, count);
                program.live = spec.live.is_some();
                let id = program.id;
                self.specs.insert(id, spec.clone());
                self.outputs.insert(id, Output::default());
                self.put(program);
                id
            })
            .collect();
        ids[0]
    }

    /// The answer to `request`; none while a reader who follows has nothing new to read.
    pub(super) fn answer(&mut self, request: &Request) -> Option<Result<Reply, UserError>> {
        let unknown = || UserError::new(ErrorCode::ProgramUnknown, "no such program");
        if self.mirror.link != Link::Connected {
            return Some(Err(UserError::new(ErrorCode::ConnectionLost, "there is no connection to the master")));
        }
        Some(match request {
            Request::Show { id } => self.find(*id).map(|program| Reply::Program(Box::new(program))).ok_or_else(unknown),
            Request::Spec { id } => self.spec(*id).map(|spec| Reply::Spec(Box::new(spec))).ok_or_else(unknown),
            Request::ReadOutput { id, stream, offset, bytes_max, follow } => {
                return self.read(*id, *stream, *offset, *bytes_max, *follow);
            }
            Request::Cancel { ids } => {
                let results = ids.iter().map(|id| self.cancel(*id)).collect();
                Ok(Reply::Cancelled { results })
            }
            Request::Why { id } => self.find(*id).map(|row| Reply::Why(why(&row, self.now()))).ok_or_else(unknown),
            Request::Again { .. } if self.is_busy() => Err(busy()),
            Request::Again { id, .. } => match self.find(*id) {
                Some(program) => {
                    let spec = self.specs.get(id).cloned().unwrap_or_else(|| scene::spec(&program));
                    self.submit(&spec, 1);
                    Ok(Reply::Submitted { sequences: vec![self.total] })
                }
                None => Err(unknown()),
            },
            Request::SetMaxProcesses { slave, slots } => {
                self.set_slots(slave.as_deref(), *slots);
                Ok(Reply::Ok)
            }
            Request::SetAside { slave, reason } => {
                self.set_aside(slave, Some(reason.as_str()));
                Ok(Reply::Ok)
            }
            Request::TakeBack { slave } => {
                self.set_aside(slave, None);
                Ok(Reply::Ok)
            }
            Request::SetPolicy(Policy::Fifo) => Ok(Reply::Ok),
            Request::SetPolicy(policy) => {
                let sentence = format!("this release does not have the policy `{}`", policy.word());
                Err(UserError::new(ErrorCode::PolicyUnavailable, sentence))
            }
            Request::Slaves => Ok(Reply::Slaves(self.mirror.slaves.values().map(|slave| (**slave).clone()).collect())),
            Request::Clients => {
                Ok(Reply::Clients(self.mirror.clients.values().map(|client| (**client).clone()).collect()))
            }
            Request::Summary => Ok(Reply::Summary(self.mirror.summary.unwrap_or_default())),
            Request::Events { .. } => {
                Ok(Reply::Events(self.mirror.events.iter().map(|event| (**event).clone()).collect()))
            }
            Request::Watch { .. } | Request::Logout => Ok(Reply::Ok),
            Request::Suspend { ids } => {
                Ok(Reply::Changed { results: ids.iter().map(|id| self.stand_still(*id, true)).collect() })
            }
            Request::Resume { ids } => {
                Ok(Reply::Changed { results: ids.iter().map(|id| self.stand_still(*id, false)).collect() })
            }
            Request::Input { id, offset, bytes, end } => self.input(*id, *offset, bytes, *end),
            Request::SetWallTime { id, wall_time } => self.set_wall_time(*id, *wall_time),
            Request::Submit { .. }
            | Request::SubmitCopies { .. }
            | Request::SubmitEntries { .. }
            | Request::List(_)
            | Request::Wait { .. }
            | Request::Resize { .. }
            | Request::Signal { .. }
            | Request::InputsHeld { .. }
            | Request::PutInput { .. } => {
                Err(UserError::new(ErrorCode::RequestInvalid, "the demonstration has its own way for this"))
            }
        })
    }

    fn read(
        &self,
        id: ProgramId,
        stream: Stream,
        offset: u64,
        bytes_max: u32,
        follow: bool,
    ) -> Option<Result<Reply, UserError>> {
        let program = self.find(id)?;
        let output =
            self.outputs.get(&id).cloned().unwrap_or_else(|| outputs::output(&program.name, &program.last_line));
        let bytes = match stream {
            Stream::Stdout => output.stdout.into_bytes(),
            Stream::Stderr => output.stderr.into_bytes(),
            Stream::Compile => output.compile.into_bytes(),
            Stream::Files => output.files,
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let part = &bytes[start..bytes.len().min(start + bytes_max as usize)];
        let end = program.state.is_final() && start + part.len() == bytes.len();
        if follow && part.is_empty() && !end {
            return None;
        }
        Some(Ok(Reply::Output { offset: start as u64, bytes: part.to_vec(), end }))
    }

    fn cancel(&mut self, id: ProgramId) -> Result<State, UserError> {
        let mut program =
            self.find(id).ok_or_else(|| UserError::new(ErrorCode::ProgramUnknown, format!("no program {id}")))?;
        if program.state.is_final() {
            return Err(UserError::new(ErrorCode::ProgramEnded, format!("{} has already ended", program.name)));
        }
        program.state = State::Cancelled;
        program.outcome = Some(Outcome::Cancelled { by: "alice".to_owned() });
        program.ended_at = Some(self.now());
        self.put(program);
        Ok(State::Cancelled)
    }

    fn set_slots(&mut self, name: Option<&str>, slots: u32) {
        let slaves: Vec<_> = self.mirror.slaves.values().map(|slave| (**slave).clone()).collect();
        for mut slave in slaves.into_iter().filter(|slave| name.is_none_or(|name| slave.name == name)) {
            let text = format!("Set `{}` to at most {slots} programs at once.", slave.name);
            slave.slots = slots;
            self.mirror.apply(Change::Slave(Box::new(slave)));
            self.event("alice", text);
        }
        if let Some(summary) = &mut self.mirror.summary {
            let there = self.mirror.slaves.values().filter(|slave| slave.state == SlaveState::Connected);
            summary.slots = there.map(|slave| slave.slots).sum();
        }
    }

    fn set_aside(&mut self, name: &str, reason: Option<&str>) {
        let found = self.mirror.slaves.values().find(|slave| slave.name == name).map(|slave| (**slave).clone());
        let Some(mut slave) = found else { return };
        slave.aside = reason.map(|reason| format!("by `alice`: {reason}"));
        if slave.state != SlaveState::Unreachable {
            slave.state = if reason.is_some() { SlaveState::Draining } else { SlaveState::Connected };
            slave.since = self.now();
        }
        self.mirror.apply(Change::Slave(Box::new(slave)));
        self.event(
            name,
            match reason {
                Some(reason) => format!("Set aside by `alice`: {reason}."),
                None => "Taken back by `alice`; it takes programs again.".to_owned(),
            },
        );
    }

    fn event(&mut self, subject: &str, text: String) {
        let event = Event { at: self.now(), subject: subject.to_owned(), text };
        self.mirror.apply(Change::Event(event));
    }

    pub(super) fn show(&mut self, window: &HistoryWindow) {
        let same_filter = *self.mirror.history.filter() == window.filter;
        self.mirror.history.show(window.clone());
        if same_filter && !self.mirror.history.needs_page() {
            return;
        }
        let generation = self.mirror.history.generation();
        if window.filter.is_empty() {
            let margin = u64::from(window.rows).max(50);
            let skip = window.first.saturating_sub(margin).min(self.total);
            let end = (window.first + u64::from(window.rows) + margin).min(self.total);
            let rows = (skip..end).map(|position| self.at(self.total - position)).collect();
            self.mirror.history.set_page(skip, rows, self.total, generation);
        } else {
            let rows: Vec<_> = (self.total.saturating_sub(FILTER_DEPTH) + 1..=self.total)
                .rev()
                .map(|sequence| self.at(sequence))
                .filter(|row| matches(row, &window.filter))
                .collect();
            let total = rows.len() as u64;
            self.mirror.history.set_page(0, rows, total, generation);
        }
    }
}

/// The refusal of a master that has too much to do.
pub(super) fn busy() -> UserError {
    UserError::new(ErrorCode::Busy, "the master has more to do than it can answer in time").retry_after(BUSY_RETRY)
}

fn matches(row: &ProgramView, filter: &HistoryFilter) -> bool {
    let search = filter.search.to_lowercase();
    let texts = [Some(row.name.as_str()), row.language.as_deref(), row.slave_name.as_deref(), Some(row.user.as_str())];
    (filter.states.is_empty() || filter.states.contains(&row.state))
        && (!filter.mine || row.user == "alice")
        && (search.is_empty()
            || texts.into_iter().flatten().any(|text| text.to_lowercase().contains(&search))
            || row.id.to_string().contains(&search))
}

fn why(program: &ProgramView, now: Timestamp) -> Explanation {
    if program.state != State::Waiting {
        let sentence = match (&program.outcome, program.unknown_since) {
            (Some(outcome), _) => outcome.sentence(),
            (None, None) => "It runs.".to_owned(),
            (None, Some(since)) => {
                let left = LEASE_MASTER.0.saturating_sub(now.since(since).0).div_ceil(1_000_000);
                format!("Nobody knows. It counts as lost in {left} s unless the slave comes back with it.")
            }
        };
        return Explanation { sentence, ahead: None, slaves: Vec::new() };
    }
    let reason = |slave: &str, able, reason: &str| SlaveReason { slave: slave.into(), able, reason: reason.into() };
    Explanation {
        sentence: "All slots of the only slave that can run it are in use; 12 wait before it.".to_owned(),
        ahead: Some(12),
        slaves: vec![
            reason("pc-02", true, "4 of 4 slots are in use"),
            reason("pc-03", false, "does not have the language `Tcl`"),
            reason("pc-04", false, "does not have the language `Tcl`"),
            reason("pc-05", false, "does not have the language `Tcl`"),
            reason("pc-07", false, "does not have the language `Tcl`"),
        ],
    }
}
