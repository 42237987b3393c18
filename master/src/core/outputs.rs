//! Output that streams in from slaves, and readers that follow it.

use super::{
    Core,
    action::{Action, Then},
    event::{Guard, LinkId},
    program::ProgramState,
    waiters::Follow,
};
use crate::store::query::Query;
use common::{
    AttemptKey, ClientId, Duration,
    collected::{HEAD_BYTES_MAX, HEAD_LENGTH_BYTES},
    limits::{COLLECTED_BYTES_MAX, COMPILE_OUTPUT_BYTES_MAX, OUTPUT_CHUNK_BYTES_MAX},
    message::{Order, Reply, RequestId, StoredUpTo, Stream, Tail},
};

/// How long a result waits for output before it of which nothing comes.
const OUTPUT_WAIT: Duration = Duration::from_secs(60);

impl Core {
    pub(super) fn slave_output(
        &mut self,
        link: LinkId,
        key: AttemptKey,
        stream: Stream,
        offset: u64,
        bytes: Vec<u8>,
        guard: Guard,
    ) {
        let sequence = self.links.get(&link).and_then(|slave| self.current(*slave, key));
        let Some(sequence) = sequence else { return };
        if bytes.is_empty() || bytes.len() > OUTPUT_CHUNK_BYTES_MAX {
            return;
        }
        // A peer's number: no sum of it may wrap.
        let Some(end) = offset.checked_add(bytes.len() as u64) else { return };
        // What has output has started; the report of it may come on another path.
        self.runs(sequence, self.now.wall);
        self.strays.remove(key);
        let Some(program) = self.programs.get_mut(&sequence) else { return };
        let limit = match stream {
            Stream::Files if program.lot.body.spec.collect.is_empty() => 0,
            Stream::Files => COLLECTED_BYTES_MAX.0 + (HEAD_LENGTH_BYTES + HEAD_BYTES_MAX) as u64,
            Stream::Stdout | Stream::Stderr | Stream::Compile => {
                program.lot.body.spec.limits.output.0.saturating_add(COMPILE_OUTPUT_BYTES_MAX as u64)
            }
        };
        let ProgramState::Running(run) = &mut program.state else { return };
        let place = stream as usize;
        let stored = run.stored[place];
        if end <= stored {
            // Sent again after a cut: it is here.
            return self.order(link, Order::Stored(vec![StoredUpTo { key, stream, offset: stored }]));
        }
        let too_much = end > limit.saturating_add(OUTPUT_CHUNK_BYTES_MAX as u64);
        if !run.cut[place] && (too_much || offset > run.received[place]) {
            // Once for each stream, so that a slave cannot fill the log.
            tracing::warn!(attempt = %key, ?stream, too_much, offset, "a slave's output is cut: the limit is passed, or a part is missing");
            run.cut[place] = true;
        }
        if run.cut[place] {
            // It is not kept, and not asked for again: the program ends, and its output is marked as truncated.
            return self.order(link, Order::Stored(vec![StoredUpTo { key, stream, offset: end }]));
        }
        run.received[place] = run.received[place].max(end);
        self.actions.push(Action::Append { key, stream, offset, bytes, guard });
    }

    pub(super) fn output_stored(&mut self, key: AttemptKey, stream: Stream, offset: u64) {
        let Some(sequence) = self.by_id.get(&key.program).copied() else { return };
        let Some(program) = self.programs.get_mut(&sequence).filter(|program| program.attempt == key.attempt) else {
            return;
        };
        let ProgramState::Running(run) = &mut program.state else { return };
        let slave = run.slave;
        let stored = &mut run.stored[stream as usize];
        *stored = (*stored).max(offset);
        let offset = *stored;
        run.received[stream as usize] = run.received[stream as usize].max(offset);
        let complete = match run.finished.take() {
            Some(finished) if run.has_all_before(&finished) => Some(finished),
            waits => {
                run.finished = waits;
                None
            }
        };
        self.watch_program(sequence);
        let link = self.slaves.get(&slave).and_then(|slave| slave.link);
        if let Some(link) = link {
            self.order(link, Order::Stored(vec![StoredUpTo { key, stream, offset }]));
        }
        for follow in self.waiters.follows_before(sequence, stream, offset) {
            self.ask_live(follow.client, follow.id, key, stream, follow.offset, follow.bytes_max, offset);
        }
        if let (Some(finished), Some(link)) = (complete, link) {
            self.complete(link, sequence, *finished);
        }
    }

    /// A result waits for the output before it, but not for ever.
    pub(super) fn park(&mut self, sequence: u64) {
        let until = self.now.boot.plus(OUTPUT_WAIT);
        if let Some(program) = self.programs.get_mut(&sequence)
            && let ProgramState::Running(run) = &mut program.state
        {
            run.parked = Some((until, run.stored.iter().sum()));
            self.parked.insert((until, sequence));
        }
    }

    /// Results whose output does not come: what is stored is all there will be, and it is marked as truncated.
    pub(super) fn complete_parked(&mut self) {
        while let Some((at, sequence)) = self.parked.first().copied()
            && at <= self.now.boot
        {
            self.parked.pop_first();
            let Some(program) = self.programs.get_mut(&sequence) else { continue };
            let key = program.key();
            let ProgramState::Running(run) = &mut program.state else { continue };
            let Some((_, stored)) = run.parked.filter(|(until, _)| *until == at) else { continue };
            // Something came meanwhile, or the disk is full: then it is worth waiting on.
            if run.stored.iter().sum::<u64>() > stored || self.refuse.is_some() {
                self.park(sequence);
                continue;
            }
            let link = self.slaves.get(&run.slave).and_then(|slave| slave.link);
            if let (Some(finished), Some(link)) = (run.finished.take(), link) {
                tracing::warn!(attempt = %key, "output before a result did not come; it is marked as truncated");
                run.cut = [true; Stream::COUNT];
                run.received = run.stored;
                self.complete(link, sequence, *finished);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "each part of the question is one")]
    fn ask_live(
        &mut self,
        client: ClientId,
        id: RequestId,
        key: AttemptKey,
        stream: Stream,
        offset: u64,
        bytes_max: u32,
        stored: u64,
    ) {
        // Only what is synced: what a reader saw never changes.
        let bytes_max = u64::from(bytes_max).min(stored.saturating_sub(offset));
        let bytes_max = u32::try_from(bytes_max).unwrap_or(u32::MAX);
        let query = Query::LiveOutput { key, stream, offset, bytes_max };
        self.actions.push(Action::Ask { client, id, query, then: Then::Output });
    }

    /// `ReadOutput` of a program that has not ended.
    pub(super) fn read_alive(&mut self, sequence: u64, stream: Stream, follow: bool, want: Follow) {
        let Some(program) = self.programs.get(&sequence) else { return };
        let stored = match &program.state {
            ProgramState::Running(run) => run.stored[stream as usize],
            ProgramState::Waiting | ProgramState::Sent { .. } => 0,
        };
        let key = program.key();
        if want.offset < stored {
            self.ask_live(want.client, want.id, key, stream, want.offset, want.bytes_max, stored);
        } else if follow {
            self.follow(sequence, stream, want);
        } else {
            let reply = Reply::Output { offset: want.offset, bytes: Vec::new(), end: false };
            self.reply(want.client, want.id, Ok(reply));
        }
    }
}

/// What a follower gets of an output that ended: from memory where the result holds it.
pub(super) fn end_of(tail: &Tail, total: u64, offset: u64, bytes_max: u32) -> Option<Reply> {
    if offset >= total {
        return Some(Reply::Output { offset, bytes: Vec::new(), end: true });
    }
    let from = usize::try_from(offset.checked_sub(tail.offset)?).ok()?;
    let room = (bytes_max as usize).min(OUTPUT_CHUNK_BYTES_MAX);
    let bytes: Vec<u8> = tail.bytes.iter().skip(from).take(room).copied().collect();
    let end = offset + bytes.len() as u64 >= total;
    Some(Reply::Output { offset, bytes, end })
}
