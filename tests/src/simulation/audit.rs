//! The checker at the end of a run: everything is read twice, with a kill of the master between, and held against
//! what clients were told and what the witness saw.

use super::{
    master::Death,
    program::{Kind, output},
    witness::How,
    world::World,
};
use crate::simulation::history::Submitted;
use common::{
    AttemptKey, Outcome, ProgramId, SlaveId,
    limits::{CRASHES_MAX, PAGE_ROWS_MAX},
    message::{HistoryQuery, Reply, Request, Stream},
    program::State,
    view::ProgramView,
};
use std::collections::BTreeMap;

/// A program as it is read at the end.
#[derive(Clone, Debug, PartialEq)]
struct Read {
    view: ProgramView,
    outputs: [Vec<u8>; Stream::COUNT],
}

/// Checks everything.
pub(super) fn audit(world: &mut World) -> Result<(), String> {
    let first = read(world)?;
    world.master.die(Death::Killed, &mut world.ctx);
    world.master.start(&mut world.ctx);
    let second = read(world)?;
    for (id, read) in &first {
        match second.get(id) {
            Some(again) if again == read => {}
            Some(again) => {
                return Err(format!("{id} changed between two reads: {:?}, then {:?}", read.view, again.view));
            }
            None => return Err(format!("{id} is gone at the second read")),
        }
    }
    if second.len() != first.len() {
        return Err(format!("{} programs at the first read, {} at the second", first.len(), second.len()));
    }
    world.master.check_store()?;
    if world.ctx.witness.alive_count() > 0 {
        return Err("something runs though everything has ended".to_owned());
    }
    let unanswered =
        |id: &ProgramId| world.ctx.history.submits.get(id).is_some_and(|submitted| submitted.acknowledged.is_none());
    world.ctx.history.recovered = first.keys().filter(|id| unanswered(id)).count() as u64;
    let slaves: Vec<SlaveId> = world.slaves.iter().map(|slave| slave.id).collect();
    for (id, submitted) in world.ctx.history.acknowledged() {
        let Some(read) = first.get(&id) else { return Err(format!("{id} was acknowledged and is lost")) };
        if submitted.acknowledged.is_some_and(|(_, sequence)| sequence != read.view.sequence) {
            return Err(format!("{id} was acknowledged as another number than {}", read.view.sequence));
        }
        if read.view.user != super::client::user(submitted.client) {
            return Err(format!("{id} belongs to {}", read.view.user));
        }
    }
    for (id, read) in &first {
        let Some(submitted) = world.ctx.history.submits.get(id) else {
            return Err(format!("{id} is in the history and nobody submitted it"));
        };
        if !submitted.maybe {
            return Err(format!("{id} is in the history though its submit was refused"));
        }
        if let Some((_, told)) = &submitted.ended
            && Some(told) != read.view.outcome.as_ref()
        {
            return Err(format!("{id} was told to end as {told:?} and is now {:?}", read.view.outcome));
        }
        check(world, *id, submitted, read, &slaves).map_err(|wrong| format!("{id} ({submitted:?}): {wrong}"))?;
    }
    Ok(())
}

fn read(world: &mut World) -> Result<BTreeMap<ProgramId, Read>, String> {
    let now = world.ctx.now;
    let query = HistoryQuery { limit: PAGE_ROWS_MAX, ..HistoryQuery::default() };
    let Reply::Page { rows, total } = world.master.audit(Request::List(query), now)? else {
        return Err("a list is answered by something else".to_owned());
    };
    if total != rows.len() as u64 {
        return Err(format!("a list of {total} has {} rows", rows.len()));
    }
    let mut all = BTreeMap::new();
    for row in rows {
        let id = row.id;
        let Reply::Program(view) = world.master.audit(Request::Show { id }, now)? else {
            return Err("a question for a program is answered by something else".to_owned());
        };
        if *view != row {
            return Err(format!("{id} is {view:?} alone and {row:?} in the list"));
        }
        let lengths = [view.output_bytes, view.error_bytes, view.compile_bytes, view.files_bytes];
        let mut outputs: [Vec<u8>; Stream::COUNT] = Default::default();
        for ((stream, length), bytes) in Stream::ALL.into_iter().zip(lengths).zip(&mut outputs) {
            *bytes = whole(world, id, stream)?;
            if bytes.len() as u64 != length {
                return Err(format!("{id} has {} bytes of {stream:?} and tells of {length}: {view:?}", bytes.len()));
            }
        }
        if all.insert(id, Read { view: *view, outputs }).is_some() {
            return Err(format!("{id} is twice in the history"));
        }
    }
    Ok(all)
}

/// All of a stream, as a reader gets it by offsets.
fn whole(world: &mut World, id: ProgramId, stream: Stream) -> Result<Vec<u8>, String> {
    let mut whole = Vec::new();
    loop {
        let offset = whole.len() as u64;
        let request = Request::ReadOutput { id, stream, offset, bytes_max: 1 << 20, follow: false };
        let Reply::Output { offset: from, bytes, end } = world.master.audit(request, world.ctx.now)? else {
            return Err("a read of output is answered by something else".to_owned());
        };
        if from != offset {
            return Err(format!("{id} {stream:?} was read from {offset} on and answered from {from} on"));
        }
        let more = !bytes.is_empty();
        whole.extend(bytes);
        if end {
            return Ok(whole);
        }
        if !more {
            return Err(format!("{id} {stream:?} has no byte {offset} and has not ended"));
        }
    }
}

fn check(world: &World, id: ProgramId, submitted: &Submitted, read: &Read, slaves: &[SlaveId]) -> Result<(), String> {
    let view = &read.view;
    let Some(outcome) = &view.outcome else { return Err(format!("it is {} at the end", view.state)) };
    if !view.state.is_final() || outcome.state() != view.state {
        return Err(format!("it is {} with {outcome:?}", view.state));
    }
    let attempts: Vec<_> = world.ctx.witness.attempts(id).collect();
    let most = submitted.retry as usize + 1;
    if attempts.len() > most || view.attempt as usize > most {
        return Err(format!("{} starts, number {} of {most}", attempts.len(), view.attempt));
    }
    let machines_lost = attempts.iter().filter(|(_, one)| matches!(one.end, Some((_, How::MachineGone)))).count();
    if submitted.kind == Kind::Poison && machines_lost > CRASHES_MAX as usize {
        return Err(format!("it brought down {machines_lost} machines"));
    }
    if let Some(cancelled) = submitted.cancelled
        && attempts.iter().filter(|(_, one)| one.begin > cancelled).count() > 1
    {
        return Err(format!("it was started again after a cancel at {cancelled} µs: {attempts:?}"));
    }
    let last = attempts.iter().find(|(attempt, _)| *attempt == view.attempt).map(|(_, one)| *one);
    let exact = match outcome {
        Outcome::Exited { code } => match last.and_then(|one| one.end) {
            Some((_, How::Exited(seen))) if seen == *code => true,
            other => return Err(format!("it is told to have exited with {code}, and was seen to end as {other:?}")),
        },
        Outcome::Lost { .. } => {
            excused(world, submitted, view, slaves)?;
            false
        }
        Outcome::Cancelled { .. } if submitted.cancelled.is_none() && world.ctx.history.unanswered == 0 => {
            return Err("it is cancelled and nobody asked for that".to_owned());
        }
        Outcome::Cancelled { .. } => false,
        Outcome::Signalled { .. }
        | Outcome::CompileError { .. }
        | Outcome::Limit { .. }
        | Outcome::NotSupported { .. }
        | Outcome::NotFound { .. } => return Err(format!("nothing here ends as {outcome:?}")),
    };
    let key = AttemptKey { program: id, attempt: view.attempt };
    for (stream, bytes) in Stream::ALL.into_iter().zip(&read.outputs) {
        let written = output(key, stream);
        let right = if exact { written == *bytes } else { written.starts_with(bytes) };
        if !right {
            return Err(format!("{} bytes of {stream:?} are not the {} that it wrote", bytes.len(), written.len()));
        }
    }
    if exact && view.output_truncated {
        return Err("its output is called truncated".to_owned());
    }
    // The code of an attempt that may be followed by another is final only when no attempt is left.
    if view.state == State::Failed
        && matches!(outcome, Outcome::Exited { .. })
        && (view.attempt as usize) < most
        && submitted.cancelled.is_none()
        && world.ctx.history.unanswered == 0
    {
        return Err(format!("it failed at attempt {} of {most} and was not tried again", view.attempt));
    }
    Ok(())
}

/// A loss needs a reason: its slave was gone, or out of reach for long.
fn excused(world: &World, submitted: &Submitted, view: &ProgramView, slaves: &[SlaveId]) -> Result<(), String> {
    let end = submitted.ended.as_ref().map_or(u64::MAX, |(at, _)| *at);
    let slave = view.slave_id.and_then(|id| slaves.iter().position(|other| *other == id));
    let reasons = world.ctx.history.excuses.iter().filter(|excuse| excuse.to >= submitted.made && excuse.from <= end);
    let mine = reasons.filter(|excuse| slave.is_none_or(|slave| slave == excuse.slave));
    if mine.count() == 0 {
        return Err(format!("it is lost without a reason, on slave {slave:?}"));
    }
    Ok(())
}
