//! A model client: submits, repeats what it knows nothing of under the same ID, cancels, waits, reads, and holds
//! every answer against what it was told before.

use super::{
    context::{ClientWake, Context, MILLI, SECOND, Wake},
    history::Submitted,
    network::{Peer, Side},
    program::{Kind, output},
};
use common::{
    AttemptKey, ErrorCode, ProgramId, ProgramSpec, UserError,
    message::{Command, HistoryQuery, Message, Reply, Request, RequestId, Status, Stream},
};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A dial or a login that nobody answers is given up.
const DIAL_MAX: u64 = 30 * SECOND;

/// The name of a client's user.
pub(super) fn user(client: usize) -> String {
    format!("user{client}")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Resting,
    Dialling(u64),
    Connected { connection: u64, welcome: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    New,
    Asked,
    Unknown,
    Acknowledged,
    /// Refused by name or left alone.
    Over,
}

/// How programs are submitted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Under IDs that the client makes one by one.
    Listed,
    /// As copies that follow the first one.
    Copies,
    /// One for each entry.
    Entries,
}

/// Programs that are submitted together.
#[derive(Clone, Debug)]
struct Batch {
    form: Form,
    ids: Vec<ProgramId>,
    spec: ProgramSpec,
    known: Known,
}

impl Batch {
    /// The submit of it, with this body.
    fn request(&self, spec: ProgramSpec) -> Request {
        let (first, spec) = (self.ids[0], Box::new(spec));
        let copies = u32::try_from(self.ids.len()).unwrap_or(1);
        match self.form {
            Form::Listed => Request::Submit { ids: self.ids.clone(), first_index: 0, copies, spec },
            Form::Copies => Request::SubmitCopies { first, copies, spec },
            Form::Entries => {
                let entries = (0..copies).map(|place| place.to_string().as_str().into()).collect();
                Request::SubmitEntries { first, first_index: 0, copies: 0, spec, entries }
            }
        }
    }

    /// The places in the history that an answer tells.
    fn places(&self, sequences: Vec<u64>) -> Option<Vec<u64>> {
        let count = self.ids.len();
        let all = match (self.form, sequences.as_slice()) {
            (Form::Copies, [first]) => (*first..*first + count as u64).collect(),
            _ => sequences,
        };
        (all.len() == count).then_some(all)
    }
}

#[derive(Clone, Debug)]
enum Question {
    Submit(usize),
    /// The same IDs with another body.
    Conflict(usize),
    Cancel(Vec<ProgramId>),
    Show,
    Wait,
    List,
    Read {
        id: ProgramId,
        stream: Stream,
    },
}

pub(super) struct ClientNode {
    client: usize,
    pub(super) generation: u64,
    link: Link,
    dials: u64,
    requests: u32,
    open: BTreeMap<RequestId, (Question, u64)>,
    batches: Vec<Batch>,
    made: u64,
    /// Programs that it will still submit.
    pub(super) budget: u64,
    /// Kinds that it submits, each as likely.
    kinds: Vec<Kind>,
    up: bool,
}

impl ClientNode {
    pub(super) const fn new(client: usize, budget: u64, kinds: Vec<Kind>) -> Self {
        Self {
            client,
            generation: 0,
            link: Link::Resting,
            dials: 0,
            requests: 0,
            open: BTreeMap::new(),
            batches: Vec::new(),
            made: 0,
            budget,
            kinds,
            up: false,
        }
    }

    pub(super) fn start(&mut self, ctx: &mut Context) {
        self.generation += 1;
        self.up = true;
        self.plan(ctx, ClientWake::Dial, 0);
        let after = ctx.rng.between(0, 300 * MILLI);
        self.plan(ctx, ClientWake::Act, after);
    }

    pub(super) fn kill(&mut self, ctx: &mut Context) {
        self.generation += 1;
        self.up = false;
        self.disconnect(ctx);
    }

    pub(super) const fn is_up(&self) -> bool {
        self.up
    }

    fn plan(&self, ctx: &mut Context, what: ClientWake, after: u64) {
        ctx.after(after, Wake::Client { client: self.client, generation: self.generation, what });
    }

    /// Whether everything that it submitted is answered and nothing is left to submit.
    pub(super) fn is_done(&self) -> bool {
        let answered = |batch: &Batch| matches!(batch.known, Known::Acknowledged | Known::Over);
        self.budget == 0 && self.batches.iter().all(answered)
    }

    pub(super) fn wake(&mut self, what: ClientWake, ctx: &mut Context) {
        match what {
            ClientWake::Dial => {
                self.dials += 1;
                let dial = self.dials;
                self.link = Link::Dialling(dial);
                let peer = Peer::Client(self.client);
                let way = ctx.rng.between(100, 2 * ctx.net.way_max(peer));
                ctx.after(way, Wake::DialArrives { peer, dial });
                ctx.after(DIAL_MAX, Wake::DialFails { peer, dial });
            }
            ClientWake::Act => {
                if let Link::Connected { connection, welcome: true } = self.link {
                    self.act(connection, ctx);
                }
                // Whoever waits for the end of its programs looks now and then.
                let most = if ctx.calm && self.is_done() { 8 * SECOND } else { 700 * MILLI };
                let after = ctx.rng.between(20 * MILLI, most);
                self.plan(ctx, ClientWake::Act, after);
            }
        }
    }

    pub(super) fn is_dialling(&self, dial: u64) -> bool {
        self.link == Link::Dialling(dial)
    }

    pub(super) fn dial_failed(&mut self, dial: u64, ctx: &mut Context) {
        if self.is_dialling(dial) {
            self.disconnect(ctx);
        }
    }

    pub(super) fn connected(&mut self, dial: u64, connection: u64, ctx: &mut Context) {
        if !self.is_dialling(dial) {
            return ctx.close(connection, Side::Peer, true);
        }
        self.link = Link::Connected { connection, welcome: false };
    }

    pub(super) fn lost(&mut self, connection: u64, ctx: &mut Context) {
        if matches!(self.link, Link::Connected { connection: ours, .. } if ours == connection) {
            self.disconnect(ctx);
        }
    }

    /// What was asked and not answered is not known.
    fn disconnect(&mut self, ctx: &mut Context) {
        if let Link::Connected { connection, .. } = self.link {
            ctx.close(connection, Side::Peer, true);
        }
        self.link = Link::Resting;
        for (_, (question, _)) in std::mem::take(&mut self.open) {
            ctx.history.unanswered += 1;
            if let Question::Submit(place) = question {
                let batch = &mut self.batches[place];
                // Some never ask again: whether it was accepted is never known.
                batch.known = if ctx.rng.chance(12) { Known::Over } else { Known::Unknown };
                for id in &batch.ids {
                    if let Some(submitted) = ctx.history.submits.get_mut(id) {
                        submitted.maybe = true;
                    }
                }
            }
        }
        if self.up {
            let after = ctx.rng.between(50 * MILLI, 1_500 * MILLI);
            self.plan(ctx, ClientWake::Dial, after);
        }
    }

    fn ask(&mut self, connection: u64, request: Request, question: Question, ctx: &mut Context) {
        self.requests += 1;
        let id = RequestId(self.requests);
        self.open.insert(id, (question, ctx.now));
        ctx.send(connection, Side::Peer, Command::Request { id, request }.into());
    }

    fn act(&mut self, connection: u64, ctx: &mut Context) {
        let chance = ctx.rng.between(0, 99);
        match chance {
            0..=49 => self.submit(connection, ctx),
            50..=56 => self.cancel(connection, ctx),
            57..=59 => self.conflict(connection, ctx),
            60..=74 => {
                if let Some(id) = self.any(ctx) {
                    self.ask(connection, Request::Show { id }, Question::Show, ctx);
                }
            }
            75..=81 => {
                let ids: Vec<ProgramId> = [self.any(ctx), self.any(ctx)].into_iter().flatten().collect();
                if !ids.is_empty() {
                    self.ask(connection, Request::Wait { ids }, Question::Wait, ctx);
                }
            }
            82..=85 => {
                let query = HistoryQuery { limit: 50, ..HistoryQuery::default() };
                self.ask(connection, Request::List(query), Question::List, ctx);
            }
            _ => {
                if let Some(id) = self.any(ctx) {
                    let stream = if ctx.rng.chance(70) { Stream::Stdout } else { Stream::Stderr };
                    let offset = if ctx.rng.chance(50) { 0 } else { ctx.rng.between(0, 20_000) };
                    let follow = ctx.rng.chance(50);
                    let request = Request::ReadOutput { id, stream, offset, bytes_max: 32_768, follow };
                    self.ask(connection, request, Question::Read { id, stream }, ctx);
                }
            }
        }
    }

    /// Any program of this client that is acknowledged.
    fn any(&self, ctx: &mut Context) -> Option<ProgramId> {
        let acknowledged: Vec<&Batch> =
            self.batches.iter().filter(|batch| batch.known == Known::Acknowledged).collect();
        let batch = *ctx.rng.pick(&acknowledged)?;
        ctx.rng.pick(&batch.ids).copied()
    }

    fn submit(&mut self, connection: u64, ctx: &mut Context) {
        let open = self.batches.iter().position(|batch| matches!(batch.known, Known::New | Known::Unknown));
        let Some(place) = open.or_else(|| self.new_batch(ctx)) else { return };
        let batch = &mut self.batches[place];
        batch.known = Known::Asked;
        let request = batch.request(batch.spec.clone());
        self.ask(connection, request, Question::Submit(place), ctx);
    }

    fn new_batch(&mut self, ctx: &mut Context) -> Option<usize> {
        if self.budget == 0 {
            return None;
        }
        let count = ctx.rng.between(1, 3).min(self.budget);
        self.budget -= count;
        let kind = ctx.rng.pick(&self.kinds).copied().unwrap_or(Kind::Good);
        let retry = match ctx.rng.between(0, 3) {
            0 | 1 => 0,
            2 => 1,
            // More often than a program may bring down its machine.
            _ if kind == Kind::Poison => 8,
            _ => 3,
        };
        let form = *ctx.rng.pick(&[Form::Listed, Form::Listed, Form::Copies, Form::Entries]).unwrap_or(&Form::Listed);
        let mut new = || {
            self.made += 1;
            let high = u128::from(self.made) << 96 | (self.client as u128) << 64;
            ProgramId(Uuid::from_u128(high | u128::from(ctx.rng.next())))
        };
        let ids: Vec<ProgramId> = if form == Form::Listed {
            (0..count).map(|_| new()).collect()
        } else {
            let first = new().with_room();
            (0..count).filter_map(|place| first.nth(place)).collect()
        };
        for id in &ids {
            let submitted = Submitted {
                client: self.client,
                kind,
                retry,
                made: ctx.now,
                maybe: false,
                acknowledged: None,
                cancelled: None,
                ended: None,
            };
            ctx.history.submits.insert(*id, submitted);
        }
        self.batches.push(Batch { form, ids, spec: kind.spec(retry), known: Known::New });
        Some(self.batches.len() - 1)
    }

    fn cancel(&mut self, connection: u64, ctx: &mut Context) {
        let ids: Vec<ProgramId> = self.any(ctx).into_iter().collect();
        if !ids.is_empty() {
            self.ask(connection, Request::Cancel { ids: ids.clone() }, Question::Cancel(ids), ctx);
        }
    }

    /// The same IDs with another body: to be refused.
    fn conflict(&mut self, connection: u64, ctx: &mut Context) {
        let place = self.batches.iter().position(|batch| batch.known == Known::Acknowledged);
        let Some(place) = place else { return };
        let batch = &self.batches[place];
        let request = if batch.form == Form::Copies && ctx.rng.chance(50) {
            // The same body, and more or other copies of which some are known.
            let first = *ctx.rng.pick(&batch.ids).unwrap_or(&batch.ids[0]);
            let copies = u32::try_from(batch.ids.len()).unwrap_or(1) + 1;
            Request::SubmitCopies { first, copies, spec: Box::new(batch.spec.clone()) }
        } else {
            let mut spec = batch.spec.clone();
            spec.arguments.push("other".into());
            batch.request(spec)
        };
        self.ask(connection, request, Question::Conflict(place), ctx);
    }

    /// A frame has come.
    pub(super) fn message(&mut self, connection: u64, message: Message, ctx: &mut Context) {
        match message {
            Message::Ping(heartbeat) => ctx.send(connection, Side::Peer, Message::Pong(heartbeat)),
            Message::Status(Status::LoggedIn { .. }) => {
                if matches!(self.link, Link::Connected { connection: ours, .. } if ours == connection) {
                    self.link = Link::Connected { connection, welcome: true };
                }
            }
            Message::Status(Status::Reply { id, result }) => {
                if let Some((question, asked)) = self.open.remove(&id) {
                    let client = self.client;
                    ctx.note(50, u64::from(id.0), || format!("client {client}: {question:?} -> {}", short(&result)));
                    if let Err(wrong) = self.answered(&question, asked, result, ctx) {
                        ctx.wrong(wrong);
                    }
                }
            }
            Message::Alert(_) | Message::Status(_) | Message::Pong(_) | Message::Command(_) | Message::Data(_) => {}
        }
    }

    fn answered(
        &mut self,
        question: &Question,
        asked: u64,
        result: Result<Reply, UserError>,
        ctx: &mut Context,
    ) -> Result<(), String> {
        let now = ctx.now;
        match (question, result) {
            (Question::Submit(place), result) => return self.submit_answered(*place, result, ctx),
            (Question::Conflict(place), Ok(_)) => {
                return Err(format!("another body was accepted under {:?}", self.batches[*place].ids));
            }
            (Question::Conflict(_), Err(_)) => ctx.history.refused += 1,
            (_, Err(error)) => {
                ctx.history.refused += 1;
                let by_name = [ErrorCode::Busy, ErrorCode::StorageFull, ErrorCode::Stopping];
                if !by_name.iter().any(|code| error.is(*code)) {
                    return Err(format!("{question:?} of what was acknowledged is refused: {error}"));
                }
            }
            (Question::Cancel(ids), Ok(Reply::Cancelled { results })) => {
                for (id, result) in ids.iter().zip(results) {
                    match result {
                        Ok(state) => ctx.history.cancelled(*id, state, now)?,
                        Err(error) if error.is(ErrorCode::ProgramEnded) => {}
                        Err(error) => return Err(format!("the cancel of {id} is refused: {error}")),
                    }
                }
            }
            (Question::Show, Ok(Reply::Program(view))) => {
                ctx.history.seen(&view, asked, now)?;
                if view.state.is_final() {
                    self.nothing_alive(view.id, ctx)?;
                }
            }
            (Question::Wait, Ok(Reply::Ended { programs, .. })) => {
                for (id, outcome) in programs {
                    ctx.history.told_end(id, &outcome, now)?;
                    self.nothing_alive(id, ctx)?;
                }
            }
            (Question::List, Ok(Reply::Page { rows, .. })) => {
                for view in rows {
                    ctx.history.seen(&view, asked, now)?;
                }
            }
            (Question::Read { id, stream }, Ok(Reply::Output { offset, bytes, .. })) => {
                return is_part(ctx, *id, *stream, offset, &bytes);
            }
            (_, Ok(reply)) => return Err(format!("{question:?} is answered by {reply:?}")),
        }
        ctx.history.answered += 1;
        Ok(())
    }

    /// What has ended does not run any more, anywhere.
    fn nothing_alive(&self, id: ProgramId, ctx: &Context) -> Result<(), String> {
        match ctx.witness.alive(id) {
            Some(key) => Err(format!("{key} runs though client {} was told that it has ended", self.client)),
            None => Ok(()),
        }
    }

    fn submit_answered(
        &mut self,
        place: usize,
        result: Result<Reply, UserError>,
        ctx: &mut Context,
    ) -> Result<(), String> {
        let batch = &mut self.batches[place];
        match result {
            Ok(Reply::Submitted { sequences }) => {
                let told = format!("{sequences:?}");
                let Some(sequences) = batch.places(sequences) else {
                    return Err(format!("a submit of {} programs is answered by {told}", batch.ids.len()));
                };
                batch.known = Known::Acknowledged;
                ctx.history.answered += 1;
                for (id, sequence) in batch.ids.iter().zip(sequences) {
                    ctx.history.acknowledge(*id, sequence, ctx.now)?;
                }
                Ok(())
            }
            Ok(reply) => Err(format!("a submit is answered by {reply:?}")),
            Err(error) => {
                ctx.history.refused += 1;
                let later = [ErrorCode::Busy, ErrorCode::StorageFull, ErrorCode::Stopping];
                if !later.iter().any(|code| error.is(*code)) {
                    return Err(format!("the submit of {:?} is refused: {error}", batch.ids));
                }
                // Refused by name: some try again, some leave it.
                batch.known = if ctx.rng.chance(80) { Known::Unknown } else { Known::Over };
                Ok(())
            }
        }
    }
}

/// Whether these bytes are what an attempt of the program writes there.
fn is_part(ctx: &Context, id: ProgramId, stream: Stream, offset: u64, bytes: &[u8]) -> Result<(), String> {
    let from = usize::try_from(offset).unwrap_or(usize::MAX);
    let is_of = |attempt| {
        let whole = output(AttemptKey { program: id, attempt }, stream);
        whole.get(from..).is_some_and(|rest| rest.starts_with(bytes))
    };
    if bytes.is_empty() || ctx.witness.attempts(id).any(|(attempt, _)| is_of(attempt)) {
        return Ok(());
    }
    Err(format!("{} bytes of {id} {stream:?} from {offset} on are of none of its attempts", bytes.len()))
}

fn short(result: &Result<Reply, UserError>) -> String {
    match result {
        Ok(Reply::Output { offset, bytes, end }) => format!("{} bytes from {offset}, end {end}", bytes.len()),
        Ok(Reply::Page { rows, .. }) => format!("{} rows", rows.len()),
        Ok(Reply::Program(view)) => format!("{} #{} {:?}", view.state, view.attempt, view.outcome),
        other => format!("{other:?}"),
    }
}
