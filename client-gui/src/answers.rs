//! Answers that the window waits for, and what it does with each.

use crate::{
    again::Again,
    backend::{Asked, Backend, Submit, Submitting},
    collected::{Existing, Fetch},
    command::Files,
    editing::Run,
    state::{AppState, Dialog},
    view_model::files,
    widgets::shown,
};
use client::files::Picked;
use common::{ErrorCode, ProgramId, ProgramSpec, UserError, message::Reply, program::State, view::Explanation};
use std::{sync::Arc, time::Instant};

/// Specs and explanations that are kept.
const KEPT_MAX: usize = 256;

/// An answer on its way.
#[derive(Debug)]
pub enum Awaited {
    /// What was submitted as this program; opened in the editor when `edit`.
    Spec(ProgramId, bool, Asked<Reply>),
    /// Why this program waits.
    Why(ProgramId, Asked<Reply>),
    /// The stop of these, by name.
    Stop(Vec<String>, Asked<Reply>),
    /// The suspend or resume of these, by name.
    StandStill {
        /// Whether they are suspended.
        suspend: bool,
        /// What they are called.
        names: Vec<String>,
        /// The answer.
        asked: Asked<Reply>,
    },
    /// Another wall time of this program: the sentence for when it holds.
    WallTime(ProgramId, String, Asked<Reply>),
    /// Another run of these programs.
    Again(Again),
    /// Something that is done or not: the sentence for when it is.
    Done(String, Asked<Reply>),
    /// The files of this tab are read; then so many copies of the program are submitted with them.
    Files(u64, Box<ProgramSpec>, u32, Asked<Vec<Picked>>),
    /// The submit of this tab.
    Submit(u64, Submitting),
    /// The pin of the master at this address.
    Pin(Asked<String>),
    /// A master and a slave here.
    Start(Asked<()>),
    /// Which of the files that are to be written are there already.
    Taken(Fetch, Asked<Vec<usize>>),
    /// A file was written: its name.
    Saved(Asked<String>),
}

/// Takes what has arrived. Gives whether anything did.
pub fn take(state: &mut AppState, backend: &dyn Backend) -> bool {
    let mut changed = false;
    for mut awaited in std::mem::take(&mut state.awaited) {
        if take_one(state, &mut awaited, backend) {
            changed = true;
        } else {
            state.awaited.push(awaited);
        }
    }
    changed
}

/// How far something is that takes long.
#[must_use]
pub fn progress(awaited: &[Awaited]) -> Option<String> {
    let now = Instant::now();
    awaited.iter().find_map(|awaited| if let Awaited::Again(again) = awaited { again.progress(now) } else { None })
}

/// Whether the answer was there and was taken.
fn take_one(state: &mut AppState, awaited: &mut Awaited, backend: &dyn Backend) -> bool {
    match awaited {
        Awaited::Spec(id, edit, asked) => {
            let Some(answer) = asked.poll() else { return false };
            match answer.and_then(spec) {
                Ok(spec) => {
                    if *edit {
                        state.submit.add_spec(&spec);
                    }
                    keep(&mut state.specs, *id, Arc::new(spec));
                    state.refused.remove(id);
                }
                Err(error) if *edit => state.fail(&error),
                // Kept with its time: asked for again, but not on each frame.
                Err(_) => keep(&mut state.refused, *id, Instant::now()),
            }
        }
        Awaited::Why(id, asked) => {
            let Some(answer) = asked.poll() else { return false };
            keep(&mut state.whys, *id, (answer.and_then(why).ok(), Instant::now()));
        }
        Awaited::Stop(names, asked) => {
            let Some(answer) = asked.poll() else { return false };
            match answer {
                Ok(Reply::Cancelled { results }) => stopped(state, names, results),
                Ok(_) => state.fail(&unexpected()),
                Err(error) => state.fail(&error),
            }
        }
        Awaited::StandStill { suspend, names, asked } => {
            let Some(answer) = asked.poll() else { return false };
            match answer {
                Ok(Reply::Changed { results }) => stood_still(state, *suspend, names, results),
                Ok(_) => state.fail(&unexpected()),
                Err(error) => state.fail(&error),
            }
        }
        Awaited::WallTime(id, sentence, asked) => {
            let Some(answer) = asked.poll() else { return false };
            match answer {
                Ok(_) => {
                    // Its limits are others now: they are asked for again.
                    state.specs.remove(id);
                    state.say(std::mem::take(sentence));
                }
                Err(error) => state.fail(&error),
            }
        }
        Awaited::Again(again) => {
            let Some(said) = again.poll(backend, Instant::now()) else { return false };
            match said {
                Ok(sentence) => state.say(sentence),
                Err(error) => state.fail(&error),
            }
        }
        Awaited::Done(sentence, asked) => {
            let Some(answer) = asked.poll() else { return false };
            match answer {
                Ok(_) => state.say(std::mem::take(sentence)),
                Err(error) => state.fail(&error),
            }
        }
        Awaited::Files(tab, spec, copies, asked) => {
            let Some(answer) = asked.poll() else { return false };
            match answer.and_then(|files| with_files(spec, files)) {
                Ok((spec, files)) => {
                    state.awaited.push(Awaited::Submit(*tab, backend.submit(spec, *copies, files)));
                }
                Err(error) => submitted(state, *tab, Err(error)),
            }
        }
        Awaited::Submit(tab, asked) => {
            let run = match asked.poll() {
                Submit::Ended(answer) => {
                    submitted(state, *tab, answer);
                    return true;
                }
                Submit::Busy(busy) => Run::Submitting(Some(busy)),
                Submit::OnItsWay => Run::Submitting(None),
                Submit::Sending(sending) => Run::Sending(Some(sending)),
            };
            if let Some(tab) = state.submit.tabs.iter_mut().find(|open| open.id == *tab) {
                tab.run = run;
            }
            return false;
        }
        Awaited::Pin(asked) => {
            let Some(answer) = asked.poll() else { return false };
            state.connect.asking_pin = false;
            match answer {
                Ok(pin) => state.connect.pin = Some(pin),
                Err(error) => state.connect.error = Some(error),
            }
        }
        Awaited::Start(asked) => {
            let Some(answer) = asked.poll() else { return false };
            state.connect.starting = false;
            state.connect.error = answer.err();
        }
        Awaited::Taken(fetch, asked) => {
            let Some(answer) = asked.poll() else { return false };
            match answer {
                Ok(there) if there.is_empty() => {
                    state.next.push(Files::Fetch(Fetch { existing: Existing::Stay, ..fetch.clone() }).into());
                }
                Ok(there) => {
                    let names = match state.files.get(fetch.id) {
                        Some(Ok(listed)) if fetch.name.is_none() => files::names(listed, &there),
                        _ => fetch.name.iter().map(|name| shown(&name.to_string_lossy())).collect(),
                    };
                    state.dialog = Some(Dialog::WriteOver { fetch: fetch.clone(), there, names });
                }
                Err(error) => state.fail(&error),
            }
        }
        Awaited::Saved(asked) => {
            let Some(answer) = asked.poll() else { return false };
            match answer {
                Ok(name) => state.say(format!("Saved {name}")),
                Err(error) => state.fail(&error),
            }
        }
    }
    true
}

/// The program with the files that it is sent.
fn with_files(spec: &ProgramSpec, files: Vec<Picked>) -> Result<(ProgramSpec, Vec<Picked>), UserError> {
    let mut spec = spec.clone();
    spec.inputs.extend(files.iter().map(|picked| picked.file.clone()));
    spec.validate()?;
    Ok((spec, files))
}

fn submitted(state: &mut AppState, tab: u64, answer: Result<(ProgramId, u32), UserError>) {
    let Some(tab) = state.submit.tabs.iter_mut().find(|open| open.id == tab) else { return };
    tab.run = match answer {
        Ok((first, copies)) => {
            tab.view.restart();
            Run::Submitted(first, copies as usize)
        }
        Err(error) => Run::Refused(error),
    };
}

fn stopped(state: &mut AppState, names: &[String], results: Vec<Result<State, UserError>>) {
    let refused: Vec<UserError> = results.into_iter().filter_map(Result::err).collect();
    match (refused.first(), names) {
        (None, [name]) => state.say(format!("{name} is stopped")),
        (None, names) => state.say(format!("{} programs are stopped", names.len())),
        (Some(error), _) => state.fail(error),
    }
}

fn stood_still(state: &mut AppState, suspend: bool, names: &[String], results: Vec<Result<State, UserError>>) {
    let wanted = if suspend { State::Suspended } else { State::Running };
    // The slave may not have said yet that it is done.
    let done = results.iter().flatten().all(|state| *state == wanted);
    let (one, many) = match (suspend, done) {
        (true, true) => ("is suspended", "are suspended"),
        (true, false) => ("is being suspended", "are being suspended"),
        (false, true) => ("goes on", "go on"),
        (false, false) => ("is being resumed", "are being resumed"),
    };
    let refused: Vec<UserError> = results.into_iter().filter_map(Result::err).collect();
    match (refused.first(), names) {
        (None, [name]) => state.say(format!("{name} {one}")),
        (None, names) => state.say(format!("{} programs {many}", names.len())),
        (Some(error), _) => state.fail(error),
    }
}

fn spec(reply: Reply) -> Result<ProgramSpec, UserError> {
    if let Reply::Spec(spec) = reply { Ok(*spec) } else { Err(unexpected()) }
}

fn why(reply: Reply) -> Result<Explanation, UserError> {
    if let Reply::Why(why) = reply { Ok(why) } else { Err(unexpected()) }
}

fn unexpected() -> UserError {
    UserError::new(ErrorCode::ProtocolError, "the master gave another answer than was asked for")
}

fn keep<T>(map: &mut std::collections::BTreeMap<ProgramId, T>, id: ProgramId, value: T) {
    // IDs grow with time: the oldest goes first.
    while map.len() >= KEPT_MAX {
        map.pop_first();
    }
    map.insert(id, value);
}
