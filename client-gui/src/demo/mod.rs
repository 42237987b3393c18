//! A master in this process that follows a script: `ruche-gui --demo` works and looks like a cluster, and tests
//! need none.

mod outputs;
pub mod scene;

use crate::backend::{Asked, Backend, Known, Login, Submit, Submitting};
use client::{HistoryFilter, HistoryWindow, Link, Mirror, live::Busy};
use common::{
    ByteSize, Duration, ErrorCode, Outcome, ProgramId, ProgramSpec, SlaveId, Timestamp, UserError, Work,
    limits::BUSY_RETRY,
    message::{Change, Reply, Request, data::Stream, status::Event},
    program::State,
    view::{Explanation, Policy, ProgramView, SlaveReason, SlaveState, Usage},
};
use outputs::Output;
use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    sync::{Arc, Mutex},
};

/// How far back a filter of the demonstration looks.
const FILTER_DEPTH: u64 = 3_000;
/// How long a submitted program of the demonstration runs.
const RUNS_MS: u64 = 1_400;

/// The scripted master. Cheap to clone: clones are the same one.
#[derive(Clone)]
pub struct Demo(Rc<RefCell<Script>>);

struct Script {
    began: Timestamp,
    clock: Box<dyn Fn() -> Timestamp>,
    mirror: Mirror,
    programs: BTreeMap<u64, ProgramView>,
    specs: BTreeMap<ProgramId, ProgramSpec>,
    outputs: BTreeMap<ProgramId, Output>,
    total: u64,
    /// Submits and further runs that are refused as busy before the next is taken.
    busy: u32,
}

impl Demo {
    /// The scene of the drawings, alive: a program that runs goes on, one that is submitted runs.
    #[must_use]
    pub fn new() -> Self {
        Self::at(Box::new(|| Timestamp(u64::try_from(jiff::Timestamp::now().as_microsecond()).unwrap_or(0))))
    }

    /// The same with another clock.
    #[must_use]
    pub fn at(clock: Box<dyn Fn() -> Timestamp>) -> Self {
        let now = clock();
        let programs: BTreeMap<u64, ProgramView> =
            scene::programs(now).into_iter().map(|program| (program.sequence, program)).collect();
        let outputs =
            programs.values().map(|program| (program.id, outputs::output(&program.name, &program.last_line))).collect();
        Self(Rc::new(RefCell::new(Script {
            began: now,
            clock,
            mirror: scene::mirror(now),
            programs,
            specs: BTreeMap::new(),
            outputs,
            total: scene::TOTAL,
            busy: 0,
        })))
    }

    /// A master that knows nothing yet: no slave, no program.
    #[must_use]
    pub fn empty(clock: Box<dyn Fn() -> Timestamp>) -> Self {
        let demo = Self::at(clock);
        demo.change(|mirror| {
            mirror.slaves.clear();
            mirror.events.clear();
            mirror.clients.clear();
            mirror.summary = Some(common::view::Summary::default());
            mirror.history.set_page(0, Vec::new(), 0, u64::MAX);
        });
        let mut script = demo.0.borrow_mut();
        script.programs.clear();
        script.total = 0;
        drop(script);
        demo
    }

    /// Changes what the window sees, for tests.
    pub fn change(&self, change: impl FnOnce(&mut Mirror)) {
        change(&mut self.0.borrow_mut().mirror);
    }

    /// Refuses the next `count` submits and further runs as busy, for tests.
    pub fn be_busy(&self, count: u32) {
        self.0.borrow_mut().busy = count;
    }

    /// Replaces a program by `row`, or adds it, for tests.
    pub fn put(&self, row: ProgramView) {
        self.0.borrow_mut().put(row);
    }

    /// Adds `count` programs that ended just now, as other people's work does.
    pub fn add_programs(&self, count: u64) {
        let mut script = self.0.borrow_mut();
        let now = script.now();
        for _ in 0..count {
            let sequence = script.total + 1;
            let mut program = scene::old_program(now, sequence);
            program.submitted_at = now;
            program.started_at = Some(now);
            script.put(program);
        }
    }
}

impl Default for Demo {
    fn default() -> Self {
        Self::new()
    }
}

impl Script {
    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    fn put(&mut self, program: ProgramView) {
        self.total = self.total.max(program.sequence);
        self.programs.insert(program.sequence, program.clone());
        self.mirror.apply(Change::Program(Box::new(program)));
        if let Some(summary) = &mut self.mirror.summary {
            summary.programs = self.total;
        }
    }

    /// Whether the next submit is refused; counts it.
    fn is_busy(&mut self) -> bool {
        let busy = self.busy > 0;
        self.busy = self.busy.saturating_sub(1);
        busy
    }

    fn find(&self, id: ProgramId) -> Option<ProgramView> {
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
    fn advance(&mut self) {
        let now = self.now();
        if self.mirror.link == Link::Connected {
            self.mirror.heard_at = Some(now);
        }
        let alive: Vec<ProgramView> =
            self.programs.values().filter(|program| program.state == State::Running).cloned().collect();
        for mut program in alive {
            let passed = now.since(program.started_at.unwrap_or(now)).as_millis();
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
            } else if self.specs.contains_key(&program.id) && passed >= RUNS_MS {
                self.end(program, now);
            }
        }
    }

    fn end(&mut self, mut program: ProgramView, now: Timestamp) {
        program.state = State::Done;
        program.outcome = Some(Outcome::Exited { code: 0 });
        program.ended_at = Some(now);
        let output = Output { stdout: "78498\n".to_owned(), ..Output::default() };
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

    fn submit(&mut self, spec: &ProgramSpec, count: u32) -> Vec<ProgramId> {
        let now = self.now();
        (0..count.min(1_000))
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
                let id = program.id;
                self.specs.insert(id, spec.clone());
                self.outputs.insert(id, Output::default());
                self.put(program);
                id
            })
            .collect()
    }

    /// The answer to `request`; none while a reader who follows has nothing new to read.
    fn answer(&mut self, request: &Request) -> Option<Result<Reply, UserError>> {
        let unknown = || UserError::new(ErrorCode::ProgramUnknown, "no such program");
        if self.mirror.link != Link::Connected {
            return Some(Err(UserError::new(ErrorCode::ConnectionLost, "there is no connection to the master")));
        }
        Some(match request {
            Request::Show { id } => self.find(*id).map(|program| Reply::Program(Box::new(program))).ok_or_else(unknown),
            Request::Spec { id } => match self.specs.get(id) {
                Some(spec) => Ok(Reply::Spec(Box::new(spec.clone()))),
                None => self.find(*id).map(|row| Reply::Spec(Box::new(scene::spec(&row)))).ok_or_else(unknown),
            },
            Request::ReadOutput { id, stream, offset, bytes_max, follow } => {
                return self.read(*id, *stream, *offset, *bytes_max, *follow);
            }
            Request::Cancel { ids } => {
                let results = ids.iter().map(|id| self.cancel(*id)).collect();
                Ok(Reply::Cancelled { results })
            }
            Request::Why { id } => self.find(*id).map(|row| Reply::Why(why(&row))).ok_or_else(unknown),
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
            Request::Submit { .. } | Request::List(_) | Request::Wait { .. } => {
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
            Stream::Stdout => output.stdout,
            Stream::Stderr => output.stderr,
            Stream::Compile => output.compile,
        }
        .into_bytes();
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
        slave.aside = reason.map(str::to_owned);
        if slave.state != SlaveState::Unreachable {
            slave.state = if reason.is_some() { SlaveState::Draining } else { SlaveState::Connected };
            slave.since = self.now();
        }
        self.mirror.apply(Change::Slave(Box::new(slave)));
        self.event(
            "alice",
            match reason {
                Some(reason) => format!("Set `{name}` aside: {reason}."),
                None => format!("Took `{name}` back."),
            },
        );
    }

    fn event(&mut self, subject: &str, text: String) {
        let event = Event { at: self.now(), subject: subject.to_owned(), text };
        self.mirror.apply(Change::Event(event));
    }

    fn show(&mut self, window: &HistoryWindow) {
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

fn busy() -> UserError {
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

fn why(program: &ProgramView) -> Explanation {
    if program.state != State::Waiting {
        let sentence = program.outcome.as_ref().map_or_else(|| "It runs.".to_owned(), Outcome::sentence);
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

/// The address that the demonstration calls unreachable, to show that error.
const NOWHERE: &str = "nowhere:7420";

impl Backend for Demo {
    fn mirror(&self) -> Arc<Mirror> {
        let mut script = self.0.borrow_mut();
        script.advance();
        Arc::new(script.mirror.clone())
    }

    fn request(&self, request: Request) -> Asked<Reply> {
        let demo = self.clone();
        Asked::new(move || demo.0.borrow_mut().answer(&request))
    }

    fn submit(&self, spec: ProgramSpec, count: u32) -> Submitting {
        let demo = self.clone();
        let mut busy: Option<Busy> = None;
        Submitting::new(move || {
            let mut script = demo.0.borrow_mut();
            if let Some(busy) = busy.as_ref().filter(|busy| busy.retry_at > script.now()) {
                return Submit::Busy(busy.clone());
            }
            if script.is_busy() {
                let retry_at = Timestamp(script.now().0 + BUSY_RETRY.0);
                return Submit::Busy(busy.insert(Busy { reason: self::busy(), retry_at }).clone());
            }
            Submit::Ended(match &spec.work {
                Work::Source { language, .. }
                    if common::language::by_name(common::language::built_in(), language).is_none() =>
                {
                    Err(UserError::new(ErrorCode::LanguageNone, format!("no connected slave can run `{language}`")))
                }
                Work::Source { .. } | Work::Command { .. } => spec.validate().map(|()| script.submit(&spec, count)),
            })
        })
    }

    fn show_history(&self, window: &HistoryWindow) {
        self.0.borrow_mut().show(window);
    }

    fn pin(&self, id: ProgramId) {
        let mut script = self.0.borrow_mut();
        if let Some(program) = script.find(id) {
            script.mirror.set_pinned(program);
        }
    }

    fn unpin(&self, id: ProgramId) {
        self.0.borrow_mut().mirror.pinned.remove(&id);
    }

    fn known(&self) -> Vec<Known> {
        vec![Known {
            address: "lab-master:7420".to_owned(),
            user: "alice".to_owned(),
            pin: format!("sha256:{}", "4f".repeat(32)),
            has_session: true,
        }]
    }

    fn fetch_pin(&self, address: &str) -> Asked<String> {
        let mut result = Some(if address == NOWHERE {
            Err(UserError::new(ErrorCode::MasterUnreachable, format!("nothing answers at {address}")))
        } else {
            Ok(format!("sha256:{}", "4f".repeat(32)))
        });
        Asked::new(move || result.take())
    }

    fn log_in(&self, login: Login) -> Result<(), UserError> {
        self.change(|mirror| {
            if login.password == "wrong" {
                mirror.link = Link::Refused {
                    reason: UserError::new(
                        ErrorCode::LoginWrong,
                        format!("{} cannot log in with this password", login.user),
                    ),
                };
            } else {
                mirror.link = Link::Connected;
            }
        });
        Ok(())
    }

    fn resume(&self, _known: &Known) -> Result<(), UserError> {
        self.change(|mirror| mirror.link = Link::Connected);
        Ok(())
    }

    fn start_here(&self, _progress: Arc<Mutex<String>>) -> Asked<()> {
        self.change(|mirror| mirror.link = Link::Connected);
        let mut result = Some(Ok(()));
        Asked::new(move || result.take())
    }

    fn log_out(&self) {
        self.disconnect();
    }

    fn disconnect(&self) {
        self.change(|mirror| mirror.link = Link::Off);
    }

    fn changes_in(&self) -> Option<std::time::Duration> {
        let script = self.0.borrow();
        let runs = script.programs.values().any(|program| {
            program.state == State::Running
                && (script.specs.contains_key(&program.id)
                    || program.progress.as_ref().is_some_and(|progress| progress.percent < 99.0))
        });
        runs.then(|| std::time::Duration::from_millis(290))
    }
}

/// The slave that the demonstration calls by this name, for tests.
#[must_use]
pub fn slave_named(mirror: &Mirror, name: &str) -> Option<SlaveId> {
    mirror.slaves.values().find(|slave| slave.name == name).map(|slave| slave.id)
}
