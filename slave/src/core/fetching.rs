//! Input files of attempts that wait: each is asked for once, in windows, and an attempt that waits for its own holds
//! up no other.

use super::{Action, Core, Now, delivery::Streams};
use crate::{
    executor::AttemptEnd,
    files::{FETCHES_MAX, Held},
};
use common::{
    ErrorCode,
    escape::shorten,
    id::{AttemptKey, Digest},
    limits::{DETAIL_BYTES_MAX, INPUT_WINDOW_BYTES, OUTPUT_CHUNK_BYTES_MAX},
    message::{Assignment, Report},
    outcome::Outcome,
    units::{BootTime, Duration},
    view::Usage,
};
use std::collections::{BTreeMap, BTreeSet};

/// What was asked for and did not come in this time is asked for again.
const ANSWER_WAIT: Duration = Duration::from_secs(20);
/// Times that a file may come with another content.
const DAMAGED_MAX: u32 = 2;

/// The files that are needed.
#[derive(Debug, Default)]
pub(super) struct Fetching {
    files: BTreeMap<Digest, File>,
    wants: BTreeMap<AttemptKey, Wants>,
    /// How many attempts waited and ran when it was looked the last time who still needs something.
    swept: (usize, usize),
}

#[derive(Debug)]
struct Wants {
    digests: BTreeSet<Digest>,
    /// Those that are not here.
    missing: usize,
}

#[derive(Debug)]
struct File {
    size: u64,
    /// Attempts that need it.
    keys: BTreeSet<AttemptKey>,
    state: State,
    damaged: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is not known yet how much is here.
    Looking,
    /// So much is here, and nothing is asked for.
    Queued(u64),
    /// So much is here; up to `to` was asked for in the name of an attempt.
    Asked { here: u64, to: u64, by: AttemptKey, until: BootTime },
    /// All of it is here.
    Whole,
}

impl Fetching {
    fn is_ready(&self, assignment: &Assignment) -> bool {
        assignment.spec.inputs.is_empty() || self.wants.get(&assignment.key).is_some_and(|wants| wants.missing == 0)
    }

    /// When what was asked for is overdue.
    fn deadline(&self) -> Option<BootTime> {
        let until = |file: &File| if let State::Asked { until, .. } = file.state { Some(until) } else { None };
        self.files.values().filter_map(until).min()
    }

    /// What was asked for on a connection that is gone, or never came, is asked for again.
    fn requeue(&mut self, overdue: impl Fn(BootTime) -> bool) {
        for file in self.files.values_mut() {
            if let State::Asked { here, until, .. } = file.state
                && overdue(until)
            {
                file.state = State::Queued(here);
            }
        }
    }
}

impl Core {
    /// The place of the first attempt that waits and has all its input files.
    pub(super) fn next_ready(&self) -> Option<usize> {
        self.waiting.iter().position(|assignment| self.fetching.is_ready(assignment))
    }

    pub(super) fn fetch_deadline(&self) -> Option<BootTime> {
        self.fetching.deadline().filter(|_| self.registered())
    }

    /// An attempt waits now: what it needs is looked for.
    pub(super) fn want_inputs(&mut self, assignment: &Assignment) {
        if assignment.spec.inputs.is_empty() {
            return;
        }
        let mut wants = Wants { digests: BTreeSet::new(), missing: 0 };
        for input in &assignment.spec.inputs {
            if !wants.digests.insert(input.digest) {
                continue;
            }
            let (digest, size) = (input.digest, input.size.0);
            let file = self.fetching.files.entry(digest).or_insert_with(|| {
                self.actions.push(Action::LookForInput { digest, size });
                File { size, keys: BTreeSet::new(), state: State::Looking, damaged: 0 }
            });
            file.keys.insert(assignment.key);
            wants.missing += usize::from(file.state != State::Whole);
        }
        self.fetching.wants.insert(assignment.key, wants);
    }

    /// An attempt needs its input files no more.
    fn release_inputs(&mut self, key: AttemptKey, now: Now) {
        let Some(wants) = self.fetching.wants.remove(&key) else { return };
        for digest in wants.digests {
            let Some(file) = self.fetching.files.get_mut(&digest) else { continue };
            file.keys.remove(&key);
            if file.keys.is_empty() {
                self.fetching.files.remove(&digest);
                self.actions.push(Action::ReleaseInput(digest));
            } else if let State::Asked { here, by, .. } = file.state
                && by == key
            {
                // The master answers only for attempts that are here.
                file.state = State::Queued(here);
            }
        }
        self.ask_for_inputs(now);
    }

    /// What nobody needs any more is released: attempts leave in many ways.
    pub(super) fn sweep_inputs(&mut self, now: Now) {
        let counts = (self.waiting.len(), self.running.len());
        if self.fetching.wants.is_empty() || std::mem::replace(&mut self.fetching.swept, counts) == counts {
            return;
        }
        let waiting: BTreeSet<AttemptKey> = self.waiting.iter().map(|assignment| assignment.key).collect();
        let gone = |key: &AttemptKey| !waiting.contains(key) && !self.running.contains_key(key);
        for key in self.fetching.wants.keys().copied().filter(gone).collect::<Vec<_>>() {
            self.release_inputs(key, now);
        }
    }

    /// So much of a file is here.
    pub(super) fn input_held(&mut self, digest: Digest, result: Result<Held, String>, now: Now) {
        let Some(file) = self.fetching.files.get_mut(&digest) else { return };
        match result {
            Ok(Held::Whole) if file.state == State::Whole => {}
            Ok(Held::Whole) => {
                file.state = State::Whole;
                for key in &file.keys {
                    if let Some(wants) = self.fetching.wants.get_mut(key) {
                        wants.missing -= 1;
                    }
                }
            }
            Ok(Held::Part(here)) => match file.state {
                State::Looking => file.state = State::Queued(here),
                State::Asked { to, by, .. } if here < to => {
                    file.state = State::Asked { here, to, by, until: now.boot.plus(ANSWER_WAIT) };
                }
                State::Asked { .. } => file.state = State::Queued(here),
                // A piece that was asked for twice.
                State::Queued(_) => file.state = State::Queued(here),
                State::Whole => {}
            },
            Ok(Held::Damaged) => {
                file.damaged += 1;
                if file.damaged >= DAMAGED_MAX {
                    let why = "it came with another content, more than once".to_owned();
                    return self.fail_input(digest, |name| Outcome::Lost { detail: lost_detail(name, &why) }, now);
                }
                let size = file.size;
                if file.state == State::Whole {
                    for key in &file.keys {
                        if let Some(wants) = self.fetching.wants.get_mut(key) {
                            wants.missing += 1;
                        }
                    }
                }
                file.state = State::Looking;
                self.actions.push(Action::LookForInput { digest, size });
            }
            Err(why) => {
                return self.fail_input(digest, |name| Outcome::Lost { detail: lost_detail(name, &why) }, now);
            }
        }
        self.ask_for_inputs(now);
    }

    /// Whether a piece of a file is one that the master was asked for. What is not costs nothing, neither room nor
    /// work, whatever a master sends.
    #[must_use]
    pub fn asked_for(&self, digest: Digest, offset: u64, size: u64, bytes: usize) -> bool {
        let Some(file) = self.fetching.files.get(&digest) else { return false };
        let State::Asked { here, to, .. } = file.state else { return false };
        (1..=OUTPUT_CHUNK_BYTES_MAX).contains(&bytes)
            && size == file.size
            && offset >= here
            && offset.checked_add(bytes as u64).is_some_and(|end| end <= to)
    }

    /// The master does not have a file: no slave can run what needs it.
    pub(super) fn input_missing(&mut self, digest: Digest, now: Now) {
        let asked = |file: &File| matches!(file.state, State::Asked { .. });
        if self.fetching.files.get(&digest).is_some_and(asked) {
            let code = ErrorCode::InputMissing.code();
            let outcome = |name: &str| Outcome::NotSupported {
                detail: format!("{code}: The master does not have the input file `{name}` any more."),
            };
            self.fail_input(digest, outcome, now);
        }
    }

    /// Ends every attempt that waits for this file.
    fn fail_input(&mut self, digest: Digest, outcome: impl Fn(&str) -> Outcome, now: Now) {
        let Some(file) = self.fetching.files.get(&digest) else { return };
        for key in file.keys.clone() {
            let Some(place) = self.waiting.iter().position(|assignment| assignment.key == key) else { continue };
            let Some(assignment) = self.waiting.remove(place) else { continue };
            self.release_inputs(key, now);
            let name = assignment.spec.inputs.iter().find(|input| input.digest == digest);
            let name = name.map_or_else(String::new, |input| input.name.to_string());
            let end = AttemptEnd {
                key,
                outcome: outcome(&name),
                started_at: None,
                ended_at: now.wall,
                usage: Usage::default(),
                output_truncated: false,
                last_line: String::new(),
            };
            self.keep_end(end, Streams::default(), now);
        }
    }

    /// A session is there: what was asked for on the one before is asked for again.
    pub(super) fn ask_for_inputs_again(&mut self, now: Now) {
        self.fetching.requeue(|_| true);
        self.ask_for_inputs(now);
    }

    /// What did not come in time is asked for again.
    pub(super) fn ask_for_overdue_inputs(&mut self, now: Now) {
        if self.fetching.deadline().is_some_and(|at| at <= now.boot) {
            self.fetching.requeue(|until| until <= now.boot);
            self.ask_for_inputs(now);
        }
    }

    /// Asks for the next windows, a few files at once.
    fn ask_for_inputs(&mut self, now: Now) {
        if !self.registered() {
            return;
        }
        let asked = |file: &&File| matches!(file.state, State::Asked { .. });
        let mut room = FETCHES_MAX.saturating_sub(self.fetching.files.values().filter(asked).count());
        let mut reports = Vec::new();
        for (digest, file) in &mut self.fetching.files {
            if room == 0 {
                break;
            }
            let (State::Queued(here), Some(by)) = (file.state, file.keys.first().copied()) else { continue };
            let to = here.saturating_add(INPUT_WINDOW_BYTES).min(file.size);
            file.state = State::Asked { here, to, by, until: now.boot.plus(ANSWER_WAIT) };
            reports.push(Report::Fetch { key: by, digest: *digest, offset: here });
            room -= 1;
        }
        for report in reports {
            self.report(report);
        }
    }
}

fn lost_detail(name: &str, why: &str) -> String {
    shorten(&format!("The slave could not keep the input file `{name}`: {why}."), DETAIL_BYTES_MAX)
}
