//! Input that comes while a program runs: held until its slave says that the program has it.
//!
//! Places count from the first byte of an attempt's input, so that a repeat is harmless. What a slave has taken, it
//! tells at each connection; what it has not is sent again. Nothing of this is recorded: a client learns only from the
//! answer that its part is with the program, and sends it again until then.

use super::{Core, lookups::not_found, program::ProgramState};
use common::{
    AttemptKey, ClientId, Duration, ErrorCode, SlaveId, UserError,
    limits::{INPUT_CHUNK_BYTES_MAX, INPUT_PENDING_BYTES_MAX},
    message::{Order, Reply, RequestId},
};
use std::collections::{BTreeMap, VecDeque};

/// Input of all programs together that the master holds.
const HELD_BYTES_MAX: usize = 64 << 20;
/// When a client that gives more than the program takes may try again.
const FULL_RETRY: Duration = Duration::from_millis(200);

/// The live input of all programs that have not ended.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    programs: BTreeMap<u64, Input>,
    bytes: usize,
}

/// That of one.
#[derive(Debug)]
struct Input {
    /// How much its attempt has, `u64::MAX` with the end; none until its slave has told it.
    taken: Option<u64>,
    /// What it does not have yet, in order and without gaps.
    parts: VecDeque<Part>,
    askers: Vec<Asker>,
}

#[derive(Debug)]
struct Part {
    offset: u64,
    bytes: Vec<u8>,
    end: bool,
    /// It went out on the slave's present connection.
    sent: bool,
}

/// Who waits for the answer that everything before `until` is taken, and the end as well.
#[derive(Debug)]
struct Asker {
    client: ClientId,
    id: RequestId,
    until: u64,
    end: bool,
}

/// A part as a client gives it.
pub(super) struct Given {
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) end: bool,
}

impl Input {
    /// Where the next part begins; none when that is not known yet.
    fn next(&self) -> Option<u64> {
        match self.parts.back() {
            Some(part) => Some(part.offset + part.bytes.len() as u64),
            None => self.taken,
        }
    }

    fn has_end(&self) -> bool {
        self.taken == Some(u64::MAX) || self.parts.back().is_some_and(|part| part.end)
    }

    fn has(&self, until: u64, end: bool) -> bool {
        self.taken.is_some_and(|taken| if end { taken == u64::MAX } else { taken >= until })
    }

    fn held_bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes.len()).sum()
    }
}

impl Inputs {
    /// A program that runs, as the store remembers it: how much it has taken its slave must tell.
    pub(super) fn recovered(&mut self, sequence: u64) {
        self.programs.insert(sequence, Input { taken: None, parts: VecDeque::new(), askers: Vec::new() });
    }

    fn of(&mut self, sequence: u64) -> &mut Input {
        let new = || Input { taken: Some(0), parts: VecDeque::new(), askers: Vec::new() };
        self.programs.entry(sequence).or_insert_with(new)
    }

    /// The connection to the slave is lost, or the program goes elsewhere.
    pub(super) fn send_again(&mut self, sequence: u64) {
        for part in self.programs.get_mut(&sequence).into_iter().flat_map(|input| &mut input.parts) {
            part.sent = false;
        }
    }

    /// A client is gone; what it gave stays.
    pub(super) fn forget(&mut self, client: ClientId) {
        for input in self.programs.values_mut() {
            input.askers.retain(|asker| asker.client != client);
        }
    }

    /// Requests that wait.
    pub(super) fn waiting(&self) -> usize {
        self.programs.values().map(|input| input.askers.len()).sum()
    }

    /// Asserts what must always hold.
    pub(super) fn check(&self, alive: impl Fn(u64) -> bool) {
        assert!(self.programs.keys().all(|sequence| alive(*sequence)), "input of a program that is not there");
        assert_eq!(self.bytes, self.programs.values().map(Input::held_bytes).sum::<usize>(), "bytes of input");
        for input in self.programs.values() {
            for (part, next) in input.parts.iter().zip(input.parts.iter().skip(1)) {
                assert_eq!(part.offset + part.bytes.len() as u64, next.offset, "input without gaps");
            }
        }
    }
}

impl Core {
    /// A part of a program's input. Answered when the program has it; at once when nothing is given, with the place
    /// where the next part begins.
    pub(super) fn input(&mut self, client: ClientId, id: RequestId, sequence: u64, given: Given) {
        match self.try_input(client, id, sequence, given) {
            Ok(Some(offset)) => self.reply(client, id, Ok(Reply::InputTaken { offset })),
            Ok(None) => self.send_input(sequence),
            Err(error) => self.reply(client, id, Err(error)),
        }
    }

    fn try_input(
        &mut self,
        client: ClientId,
        id: RequestId,
        sequence: u64,
        given: Given,
    ) -> Result<Option<u64>, UserError> {
        let Given { offset, mut bytes, end } = given;
        let program = self.programs.get(&sequence).ok_or_else(not_found)?;
        if program.lot.body.spec.live.is_none() {
            let sentence = format!("{} takes no input while it runs", program.id);
            return Err(UserError::new(ErrorCode::NotLive, sentence));
        }
        let name = program.id;
        let until = offset.checked_add(bytes.len() as u64).filter(|_| bytes.len() <= INPUT_CHUNK_BYTES_MAX);
        let Some(until) = until else {
            let sentence = format!("{} bytes of input at {offset} in one request", bytes.len());
            return Err(UserError::new(ErrorCode::RequestInvalid, sentence));
        };
        let held = self.inputs_live.bytes;
        let input = self.inputs_live.of(sequence);
        let asks = bytes.is_empty() && !end;
        if !asks && input.has(until, end) {
            return Ok(Some(until));
        }
        if input.has_end() && (asks || input.next().is_some_and(|next| until > next)) {
            return Err(UserError::new(ErrorCode::NotLive, format!("the input of {name} has ended")));
        }
        let next = input.next();
        if let Some(next) = next.filter(|next| asks || offset > *next) {
            // A part is missing: whoever gave this learns where to go on.
            return Ok(Some(next));
        }
        let known = next.map_or(0, |next| usize::try_from(next - offset).unwrap_or(usize::MAX)).min(bytes.len());
        bytes.drain(..known);
        if input.held_bytes() + bytes.len() > INPUT_PENDING_BYTES_MAX || held + bytes.len() > HELD_BYTES_MAX {
            let sentence = format!("{name} does not take its input as fast as it comes");
            return Err(UserError::new(ErrorCode::Busy, sentence).retry_after(FULL_RETRY));
        }
        self.waiters.admit(client)?;
        // Who only asks is told how far it is, as soon as that is known.
        input.askers.push(Asker { client, id, until: if asks { u64::MAX } else { until }, end });
        if !bytes.is_empty() || (end && !input.has_end()) {
            let (offset, count) = (until - bytes.len() as u64, bytes.len());
            input.parts.push_back(Part { offset, bytes, end, sent: false });
            self.inputs_live.bytes += count;
        }
        Ok(None)
    }

    /// Sends what the slave of a program that runs was not sent yet.
    pub(super) fn send_input(&mut self, sequence: u64) {
        let Some(program) = self.programs.get(&sequence) else { return };
        let ProgramState::Running(run) = &program.state else { return };
        let Some(link) = self.slaves.get(&run.slave).and_then(|slave| slave.link) else { return };
        let key = program.key();
        let Some(input) = self.inputs_live.programs.get_mut(&sequence) else { return };
        if input.taken.is_none() {
            return;
        }
        let mut orders = Vec::new();
        for part in input.parts.iter_mut().filter(|part| !part.sent) {
            part.sent = true;
            orders.push(Order::Input { key, offset: part.offset, bytes: part.bytes.clone(), end: part.end });
        }
        for order in orders {
            self.order(link, order);
        }
    }

    /// A slave says how much an attempt has; also at each connection, of all that run.
    pub(super) fn input_taken(&mut self, slave: SlaveId, key: AttemptKey, offset: u64) {
        let Some(sequence) = self.current(slave, key) else { return self.suspect(slave, key) };
        let live = |program: &super::program::Program| program.lot.body.spec.live.is_some();
        if !self.programs.get(&sequence).is_some_and(live) {
            return;
        }
        let inputs = &mut self.inputs_live;
        let input = inputs.of(sequence);
        let taken = input.taken.map_or(offset, |before| before.max(offset));
        input.taken = Some(taken);
        let mut freed = 0;
        while let Some(part) = input.parts.front() {
            let until = part.offset + part.bytes.len() as u64;
            if (part.end && taken != u64::MAX) || taken < until {
                break;
            }
            freed += part.bytes.len();
            input.parts.pop_front();
        }
        if input.parts.front().is_some_and(|part| part.offset > taken) {
            // It was given to a master before this one, which did not pass it on: it must come from its giver again.
            freed += input.held_bytes();
            input.parts.clear();
        }
        let lacks = input.next();
        let (parts, end) = (!input.parts.is_empty(), taken == u64::MAX);
        let done = |asker: &mut Asker| {
            let has = if asker.end { end } else { taken >= asker.until };
            // Without a part that would bring it there, it is told how far it is.
            has || (!parts && lacks.is_some())
        };
        let answered: Vec<Asker> = input.askers.extract_if(.., done).collect();
        inputs.bytes -= freed;
        for Asker { client, id, until, .. } in answered {
            self.waiters.leave(client);
            self.reply(client, id, Ok(Reply::InputTaken { offset: taken.min(until) }));
        }
        self.send_input(sequence);
    }

    /// The program has ended, or begins anew with another attempt: what it was not given, it never gets.
    pub(super) fn input_over(&mut self, sequence: u64, error: &UserError) {
        let Some(input) = self.inputs_live.programs.remove(&sequence) else { return };
        self.inputs_live.bytes -= input.held_bytes();
        for Asker { client, id, .. } in input.askers {
            self.waiters.leave(client);
            self.reply(client, id, Err(error.clone()));
        }
    }
}
