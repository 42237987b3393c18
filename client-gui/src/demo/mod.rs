//! A master in this process that follows a script: `ruche-gui --demo` works and looks like a cluster, and tests
//! need none.

mod control;
mod live;
mod outputs;
pub mod scene;
mod script;
mod slaves;

use crate::backend::{Asked, Backend, Known, Login, Submit, Submitting};
use client::{
    HistoryWindow, Link, Mirror,
    files::{Picked, Sending},
    live::Busy,
};
use common::{
    ErrorCode, ProgramId, ProgramSpec, SlaveId, Timestamp, UserError, Work,
    limits::BUSY_RETRY,
    message::{Reply, Request},
    program::State,
    view::ProgramView,
};
use script::Script;
use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::Rc,
    sync::{Arc, Mutex},
};

/// So many copies keep the demonstration busy once.
const BUSY_COPIES: u32 = 1_000;

/// The scripted master. Cheap to clone: clones are the same one.
#[derive(Clone)]
pub struct Demo(Rc<RefCell<Script>>);

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
            still: BTreeMap::new(),
            stood: BTreeMap::new(),
            wall_times: BTreeMap::new(),
            inputs: BTreeMap::new(),
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

    /// What was sent to this program as live input, for tests.
    #[must_use]
    pub fn input_of(&self, id: ProgramId) -> String {
        self.0.borrow().input_of(id)
    }

    /// Lets this program have been submitted so, and have brought back these bytes, for tests.
    pub fn put_spec(&self, id: ProgramId, spec: ProgramSpec, files: Vec<u8>) {
        let mut script = self.0.borrow_mut();
        script.specs.insert(id, spec);
        script.outputs.entry(id).or_default().files = files;
    }

    /// Lets this program have printed `text`, for tests.
    pub fn print(&self, id: ProgramId, text: &str) {
        self.0.borrow_mut().outputs.entry(id).or_default().stdout = text.to_owned();
    }

    /// What was submitted as this program, for tests.
    #[must_use]
    pub fn spec_of(&self, id: ProgramId) -> Option<ProgramSpec> {
        self.0.borrow().spec(id)
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

/// How far files are sent, this long after they began; none once they are there.
fn sending(files: &[Picked], passed: common::Duration) -> Option<Sending> {
    /// How long the demonstration takes for them.
    const LASTS_MS: u64 = 1_500;
    let total: u64 = files.iter().map(|picked| picked.file.size.0).sum();
    let passed = passed.as_millis();
    let name = files.first()?.file.name.clone();
    (passed < LASTS_MS).then(|| Sending { name, sent: total * passed / LASTS_MS, total })
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

    fn submit(&self, spec: ProgramSpec, count: u32, files: Vec<Picked>) -> Submitting {
        let demo = self.clone();
        let mut busy: Option<Busy> = None;
        let began = self.0.borrow().now();
        // So that whoever works on the interface can see it.
        if count >= BUSY_COPIES {
            demo.be_busy(1);
        }
        Submitting::new(move || {
            let mut state = demo.0.borrow_mut();
            if let Some(sending) = sending(&files, state.now().since(began)) {
                return Submit::Sending(sending);
            }
            if let Some(busy) = busy.as_ref().filter(|busy| busy.retry_at > state.now()) {
                return Submit::Busy(busy.clone());
            }
            if state.is_busy() {
                let retry_at = Timestamp(state.now().0 + BUSY_RETRY.0);
                return Submit::Busy(busy.insert(Busy { reason: script::busy(), retry_at }).clone());
            }
            Submit::Ended(match &spec.work {
                Work::Source { language, .. }
                    if common::language::by_name(common::language::built_in(), language).is_none() =>
                {
                    Err(UserError::new(ErrorCode::LanguageNone, format!("no connected slave can run `{language}`")))
                }
                Work::Source { .. } | Work::Command { .. } => {
                    spec.validate().map(|()| (state.submit(&spec, count), count))
                }
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
