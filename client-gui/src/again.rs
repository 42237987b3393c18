//! Further runs of many programs: asked for a few at a time, and again while the master is busy.

use crate::{
    backend::{Asked, Backend},
    view_model::grouped,
};
use common::{
    ErrorCode, ProgramId, UserError,
    limits::BUSY_RETRY,
    message::{Reply, Request},
};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Requests that wait for their answers at once: far fewer than the session holds, and enough that the
/// master is never waited for with nothing to do.
const OPEN_MAX: usize = 64;
/// Fewer than this are over before anybody reads how far they are.
const TOLD_MIN: usize = 200;

/// Further runs on their way: told together, once all are answered.
#[derive(Debug)]
pub struct Again {
    /// The first program by name.
    first: String,
    total: usize,
    waiting: VecDeque<Repeat>,
    open: Vec<(Repeat, Asked<Reply>)>,
    /// The first refusal, and how many there were.
    refused: Option<(UserError, usize)>,
    /// The master is busy: nothing is asked for before this.
    busy_until: Option<Instant>,
}

/// One further run. Its ID stays the same however often it is asked for, so that it never runs twice.
#[derive(Clone, Copy, Debug)]
struct Repeat {
    id: ProgramId,
    new_id: ProgramId,
}

impl Again {
    /// Further runs of these; `first` is what the first is called.
    #[must_use]
    pub fn new(first: String, ids: &[ProgramId]) -> Self {
        let waiting = ids.iter().map(|id| Repeat { id: *id, new_id: client::submit::new_id() }).collect();
        Self { first, total: ids.len(), waiting, open: Vec::new(), refused: None, busy_until: None }
    }

    /// Takes the answers that are here and asks for more. Gives what is said, once all are answered.
    pub fn poll(&mut self, backend: &dyn Backend, now: Instant) -> Option<Result<String, UserError>> {
        for (repeat, mut asked) in std::mem::take(&mut self.open) {
            match asked.poll() {
                None => self.open.push((repeat, asked)),
                Some(Ok(_)) => {}
                Some(Err(error)) if error.is(ErrorCode::Busy) => {
                    self.busy_until = Some(now + error.retry_after.unwrap_or(BUSY_RETRY).to_std());
                    self.waiting.push_front(repeat);
                }
                Some(Err(error)) => self.refused.get_or_insert((error, 0)).1 += 1,
            }
        }
        if self.busy_until.is_some_and(|until| until <= now) {
            self.busy_until = None;
        }
        while self.busy_until.is_none()
            && self.open.len() < OPEN_MAX
            && let Some(repeat) = self.waiting.pop_front()
        {
            let request = Request::Again { id: repeat.id, new_id: repeat.new_id };
            self.open.push((repeat, backend.request(request)));
        }
        (self.open.is_empty() && self.waiting.is_empty()).then(|| self.said())
    }

    fn said(&mut self) -> Result<String, UserError> {
        match (self.refused.take(), self.total) {
            (None, 1) => Ok(format!("{} runs again", self.first)),
            (None, total) => Ok(format!("{} programs run again", grouped(total as u64))),
            (Some((error, _)), 1) => Err(error),
            (Some((error, refused)), total) => {
                let (refused, total) = (grouped(refused as u64), grouped(total as u64));
                let sentence = format!("{refused} of {total} do not run again: {}", error.sentence);
                Err(UserError { sentence, ..error })
            }
        }
    }

    /// How far it is, where that is worth a line: when they are many, or the master is busy.
    #[must_use]
    pub fn progress(&self, now: Instant) -> Option<String> {
        let done = self.total - self.open.len() - self.waiting.len();
        let so_far = format!("{} of {} run again", grouped(done as u64), grouped(self.total as u64));
        match self.busy_until {
            Some(until) => {
                let left = until.saturating_duration_since(now).as_millis().div_ceil(1_000);
                Some(format!("{so_far}; the master is busy, trying again in {left} s"))
            }
            None => (self.total >= TOLD_MIN).then_some(so_far),
        }
    }

    /// When there is something to do although no answer comes.
    #[must_use]
    pub fn changes_in(&self, now: Instant) -> Option<Duration> {
        // The countdown shows whole seconds.
        self.busy_until.map(|until| until.saturating_duration_since(now).min(Duration::from_millis(250)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::Demo;

    #[test]
    fn e11_more_programs_than_a_session_holds_are_run_again_in_batches() {
        let demo = Demo::new();
        let before = demo.mirror().history.total().unwrap();
        let row = demo.mirror().history.known().next().unwrap().id;
        let mut again = Again::new("a".into(), &vec![row; 1_500]);
        let now = Instant::now();
        assert_eq!(again.poll(&demo, now), None);
        assert_eq!((again.open.len(), again.waiting.len()), (OPEN_MAX, 1_500 - OPEN_MAX));
        assert_eq!(again.progress(now).as_deref(), Some("0 of 1,500 run again"));
        let said = std::iter::repeat_with(|| again.poll(&demo, now)).take(100).find_map(|said| said);
        assert_eq!(said, Some(Ok("1,500 programs run again".to_owned())));
        demo.change(|mirror| assert_eq!(mirror.summary.unwrap().programs, before + 1_500));
    }

    #[test]
    fn e11_a_busy_master_is_asked_again_under_the_same_id() {
        let demo = Demo::new();
        let row = demo.mirror().history.known().next().unwrap().id;
        let mut again = Again::new("a".into(), &[row]);
        let now = Instant::now();
        demo.be_busy(1);
        assert_eq!(again.poll(&demo, now), None);
        let id = again.open[0].0.new_id;
        assert_eq!(again.poll(&demo, now), None, "refused as busy, and kept");
        let told = again.progress(now).unwrap();
        assert_eq!(told, "0 of 1 run again; the master is busy, trying again in 2 s");
        assert_eq!(again.poll(&demo, now + Duration::from_secs(1)), None, "not before its time");
        assert!(again.open.is_empty());
        let later = now + Duration::from_secs(2);
        assert_eq!(again.poll(&demo, later), None);
        assert_eq!(again.open[0].0.new_id, id);
        assert_eq!(again.poll(&demo, later), Some(Ok("a runs again".to_owned())));
    }
}
