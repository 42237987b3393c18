//! Input for programs that run: lines that were typed, sent one after the other, each with its place in all of the
//! input, so that sending one again after a cut is harmless.

use crate::backend::{Asked, Backend};
use common::{
    ByteSize, ErrorCode, ProgramId, UserError,
    limits::{INPUT_CHUNK_BYTES_MAX, INPUT_PENDING_BYTES_MAX},
    message::{Reply, Request},
    view::ProgramView,
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Lines that the arrow keys bring back, of one program.
const HISTORY_MAX: usize = 100;
/// Programs whose lines are kept.
const PROGRAMS_MAX: usize = 64;
/// Wait before what was not answered is sent again.
const AGAIN: Duration = Duration::from_secs(1);

/// The input lines of the programs that were typed to.
#[derive(Debug, Default)]
pub struct InputLines {
    programs: BTreeMap<ProgramId, InputLine>,
    /// The line on the screen takes the keyboard in the next frame.
    pub focus: bool,
}

/// The input line of one program.
#[derive(Debug, Default)]
pub struct InputLine {
    /// What is typed and not sent.
    pub typed: String,
    history: Vec<String>,
    /// Which line of the history is shown, and what was typed before it was.
    recalled: Option<(usize, String)>,
    /// The attempt that the rest belongs to.
    attempt: u32,
    /// How much input the program has had; none until the master said so.
    place: Option<u64>,
    waiting: Vec<u8>,
    end: bool,
    ended: bool,
    asked: Option<Open>,
    again_at: Option<Instant>,
}

/// A request on its way.
#[derive(Debug)]
struct Open {
    /// Bytes of it; none when it only asks for the place.
    bytes: Option<usize>,
    end: bool,
    asked: Asked<Reply>,
}

impl InputLines {
    /// The line of this program, to type into it.
    pub fn line(&mut self, program: &ProgramView) -> &mut InputLine {
        if !self.programs.contains_key(&program.id) {
            while self.programs.len() >= PROGRAMS_MAX {
                self.programs.pop_first();
            }
        }
        let line = self.programs.entry(program.id).or_default();
        if line.attempt != program.attempt {
            // Another attempt has had no input.
            let (typed, history) = (std::mem::take(&mut line.typed), std::mem::take(&mut line.history));
            *line = InputLine { typed, history, attempt: program.attempt, ..InputLine::default() };
        }
        line
    }

    /// Whether nothing more can be typed to this program: it was told that its input has ended.
    #[must_use]
    pub fn has_ended(&self, program: &ProgramView) -> bool {
        self.programs.get(&program.id).is_some_and(|line| line.attempt == program.attempt && line.end)
    }

    /// Takes answers and sends what waits. Gives whether something changed, and what went wrong.
    pub fn pump(&mut self, backend: &dyn Backend, connected: bool, now: Instant) -> (bool, Option<UserError>) {
        let (mut changed, mut wrong) = (false, None);
        for (id, line) in &mut self.programs {
            match line.take(now) {
                Ok(taken) => changed |= taken,
                Err(error) => {
                    changed = true;
                    wrong = Some(error);
                }
            }
            if connected {
                changed |= line.send_next(*id, backend, now);
            }
        }
        (changed, wrong)
    }

    /// When something is sent again although nothing comes.
    #[must_use]
    pub fn changes_in(&self, now: Instant) -> Option<Duration> {
        self.programs.values().filter_map(|line| line.again_at).map(|at| at.saturating_duration_since(now)).min()
    }
}

impl InputLine {
    /// Sends `text` as it is; the line is kept for the arrow keys.
    ///
    /// # Errors
    /// When the program has not read what was sent before.
    pub fn send(&mut self, text: &str) -> Result<(), UserError> {
        if self.waiting.len() + text.len() > INPUT_PENDING_BYTES_MAX {
            let waiting = ByteSize(self.waiting.len() as u64);
            return Err(UserError::new(
                ErrorCode::Busy,
                format!("the program has not read {waiting} of its input yet"),
            )
            .with_hint("wait until it reads, or end it"));
        }
        self.waiting.extend_from_slice(text.as_bytes());
        let line = text.strip_suffix('\n').unwrap_or(text);
        if !line.is_empty() && self.history.last().is_none_or(|last| last != line) {
            self.history.push(line.to_owned());
            if self.history.len() > HISTORY_MAX {
                self.history.remove(0);
            }
        }
        self.recalled = None;
        Ok(())
    }

    /// Nothing follows what was sent.
    pub const fn end(&mut self) {
        self.end = true;
    }

    /// Bytes that the program has not taken.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Shows the line before the one that is shown, or the one after it.
    pub fn recall(&mut self, back: bool) {
        let next = match (&self.recalled, back) {
            (None, true) => self.history.len().checked_sub(1),
            (Some((at, _)), true) => Some(at.saturating_sub(1)),
            (Some((at, _)), false) => (at + 1 < self.history.len()).then_some(at + 1),
            (None, false) => return,
        };
        match next {
            Some(at) => {
                let typed = match self.recalled.take() {
                    Some((_, typed)) => typed,
                    None => std::mem::take(&mut self.typed),
                };
                self.typed.clone_from(&self.history[at]);
                self.recalled = Some((at, typed));
            }
            // Past the newest stands what was being typed.
            None => {
                if let Some((_, typed)) = self.recalled.take() {
                    self.typed = typed;
                }
            }
        }
    }

    fn take(&mut self, now: Instant) -> Result<bool, UserError> {
        let Some(open) = &mut self.asked else { return Ok(false) };
        let Some(answer) = open.asked.poll() else { return Ok(false) };
        let Open { bytes, end, .. } = *open;
        self.asked = None;
        match (answer, bytes) {
            (Ok(Reply::InputTaken { offset }), None) => self.place = Some(offset),
            (Ok(Reply::InputTaken { offset }), Some(sent)) => {
                let taken = usize::try_from(offset.saturating_sub(self.place.unwrap_or(offset))).unwrap_or(sent);
                self.waiting.drain(..taken.min(sent));
                self.place = Some(offset);
                self.ended |= end && taken >= sent;
            }
            // It may have come and may not: the same bytes at the same place do no harm.
            (Err(error), _) if error.is(ErrorCode::ConnectionLost) || error.is(ErrorCode::Busy) => {
                self.again_at = Some(now + error.retry_after.map_or(AGAIN, common::Duration::to_std));
            }
            (Err(error), _) => {
                self.waiting.clear();
                // Somebody else may have ended its input.
                self.ended |= error.is(ErrorCode::NotLive);
                self.end = self.ended;
                self.place = None;
                return Err(error);
            }
            (Ok(_), _) => {
                self.waiting.clear();
                return Err(UserError::new(
                    ErrorCode::ProtocolError,
                    "the master gave another answer than was asked for",
                ));
            }
        }
        Ok(true)
    }

    fn send_next(&mut self, id: ProgramId, backend: &dyn Backend, now: Instant) -> bool {
        let idle = self.waiting.is_empty() && (!self.end || self.ended);
        if idle || self.asked.is_some() || self.again_at.is_some_and(|at| at > now) {
            return false;
        }
        self.again_at = None;
        let (bytes, end) = match self.place {
            None => (None, false),
            Some(_) => {
                let count = self.waiting.len().min(INPUT_CHUNK_BYTES_MAX);
                (Some(count), self.end && count == self.waiting.len())
            }
        };
        let request = Request::Input {
            id,
            offset: self.place.unwrap_or(0),
            bytes: self.waiting[..bytes.unwrap_or(0)].to_vec(),
            end,
        };
        self.asked = Some(Open { bytes, end, asked: backend.request(request) });
        // A script answers at once: the next frame takes it.
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{Demo, scene};

    fn live(demo: &Demo) -> ProgramView {
        demo.mirror().history.known().find(|row| row.live).map(|row| (**row).clone()).unwrap()
    }

    #[test]
    fn e5_lines_are_sent_once_and_through_a_cut() {
        let demo = Demo::new();
        let program = live(&demo);
        let mut lines = InputLines::default();
        let now = Instant::now();
        lines.line(&program).send("50\n").unwrap();
        demo.disconnect();
        assert_eq!(lines.pump(&demo, false, now), (false, None), "nothing is sent without a connection");
        demo.change(|mirror| mirror.link = client::Link::Connected);
        assert!(lines.pump(&demo, true, now).0);
        // The cut comes between the question and the answer.
        demo.disconnect();
        assert_eq!(lines.pump(&demo, true, now), (true, None), "a cut is no error");
        assert_eq!(lines.line(&program).waiting(), 3);
        assert_eq!(lines.changes_in(now), Some(AGAIN));
        demo.change(|mirror| mirror.link = client::Link::Connected);
        for _ in 0..4 {
            assert_eq!(lines.pump(&demo, true, now + AGAIN).1, None);
        }
        assert_eq!(lines.line(&program).waiting(), 0);
        assert_eq!(demo.input_of(program.id), "50\n");
        lines.line(&program).end();
        for _ in 0..3 {
            lines.pump(&demo, true, now + AGAIN);
        }
        assert!(lines.has_ended(&program) && lines.line(&program).ended);
    }

    #[test]
    fn e5_what_a_program_refuses_is_told_and_not_sent_again() {
        let demo = Demo::new();
        let program = scene::programs(demo.mirror().heard_at.unwrap())[5].clone();
        let mut lines = InputLines::default();
        let now = Instant::now();
        lines.line(&program).send("x\n").unwrap();
        lines.pump(&demo, true, now);
        let (_, error) = lines.pump(&demo, true, now);
        assert!(error.unwrap().is(ErrorCode::NotRunning));
        assert_eq!((lines.line(&program).waiting(), lines.pump(&demo, true, now)), (0, (false, None)));
    }

    #[test]
    fn e5_a_program_that_does_not_read_bounds_what_waits() {
        let program = scene::programs(common::Timestamp(1 << 50))[0].clone();
        let mut lines = InputLines::default();
        let line = lines.line(&program);
        assert!(line.send(&"x".repeat(INPUT_PENDING_BYTES_MAX)).is_ok());
        assert!(line.send("y").unwrap_err().is(ErrorCode::Busy));
    }

    #[test]
    fn e11_the_arrow_keys_bring_back_what_was_sent() {
        let program = scene::programs(common::Timestamp(1 << 50))[0].clone();
        let mut lines = InputLines::default();
        let line = lines.line(&program);
        for text in ["one\n", "two\n", "two\n", "\n"] {
            line.send(text).unwrap();
        }
        line.typed = "thr".into();
        let mut recall = |back| {
            line.recall(back);
            line.typed.clone()
        };
        let shown = [true, true, true, false, false, false].map(&mut recall);
        assert_eq!(shown, ["two", "one", "one", "two", "thr", "thr"]);
    }
}
