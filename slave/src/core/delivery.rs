//! Output and results on their way to the master: within credit, in order, again after each cut.

use super::{Action, Core, FinishedHead, Now};
use common::{
    id::AttemptKey,
    limits::{INLINE_OUTPUT_BYTES_MAX, OUTPUT_CHUNK_BYTES_MAX, OUTPUT_CREDIT_BYTES},
    message::{StoredUpTo, Stream},
    units::{BootTime, Duration},
};

/// A program that ends sooner tells all its output in its result.
const STREAM_AFTER: Duration = Duration::from_millis(100);
/// Output of a running program is gathered for this long, so that a program that writes byte by byte
/// does not make a frame of each.
const FLUSH_INTERVAL: Duration = Duration::from_millis(30);
/// Bytes that are handed to the connection at once, of all streams and results together: with what may wait in it before
/// (the bound of bulk), far below where a connection is cut. As much as one stream may be ahead.
pub const BULK_AT_ONCE_BYTES: u64 = OUTPUT_CREDIT_BYTES;
/// How soon what found no room in such a turn is looked at again.
const AGAIN_INTERVAL: Duration = Duration::from_millis(2);
/// What a result counts for beside its ends of outputs.
const RESULT_BYTES: u64 = 512;

/// How far each stream of an attempt is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Streams([Progress; Stream::COUNT]);

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    end: u64,
    sent: u64,
    stored: u64,
    /// What follows could not be kept.
    lost: bool,
}

impl Progress {
    fn unsent(&self) -> u64 {
        self.end.saturating_sub(self.sent)
    }

    fn credit(&self) -> u64 {
        OUTPUT_CREDIT_BYTES.saturating_sub(self.sent.saturating_sub(self.stored))
    }
}

impl Streams {
    /// Streams of which the bytes between two places are kept and nothing is known to be sent.
    pub(super) fn of_places(places: [(u64, u64); Stream::COUNT]) -> Self {
        Self(places.map(|(begin, end)| Progress { end, sent: begin, stored: begin, lost: false }))
    }

    /// What was on its way when the connection broke is sent again.
    pub(super) fn rewind(&mut self) {
        for stream in &mut self.0 {
            stream.sent = stream.stored;
        }
    }

    fn of(&mut self, stream: Stream) -> &mut Progress {
        &mut self.0[stream as usize]
    }

    /// The parts to send now so that at most `rest_max` bytes of each stream stay, within credit and `room`. Whether
    /// more would go with more room.
    fn take(&mut self, key: AttemptKey, rest_max: u64, room: &mut u64, actions: &mut Vec<Action>) -> bool {
        let mut more = false;
        for (stream, progress) in Stream::ALL.into_iter().zip(&mut self.0) {
            while progress.unsent() > rest_max {
                let may = progress.unsent().min(OUTPUT_CHUNK_BYTES_MAX as u64).min(progress.credit());
                let count = may.min(*room);
                if count == 0 {
                    more |= may > 0;
                    break;
                }
                actions.push(Action::SendOutput { key, stream, offset: progress.sent, count: count as usize });
                progress.sent += count;
                *room -= count;
            }
        }
        more
    }

    fn any_lost(&self) -> bool {
        self.0.iter().any(|stream| stream.lost)
    }

    fn unsent_max(&self) -> u64 {
        self.0.iter().map(Progress::unsent).max().unwrap_or(0)
    }
}

impl Core {
    pub(super) fn output(&mut self, key: AttemptKey, stream: Stream, end: u64, now: Now) {
        let registered = self.registered();
        let Some(running) = self.running.get_mut(&key).filter(|running| !running.discarded) else { return };
        let progress = running.streams.of(stream);
        if progress.lost {
            return;
        }
        progress.end = end;
        if !running.begun {
            // It has ended, and tells it next.
            return;
        }
        if running.streams.unsent_max() >= OUTPUT_CHUNK_BYTES_MAX as u64 && registered && self.bulk_room > 0 {
            if running.streams.take(key, 0, &mut self.bulk_room, &mut self.actions) {
                self.flush_again(Some(key), now);
            }
            return;
        }
        let at = now.boot.plus(FLUSH_INTERVAL).max(running.started.plus(STREAM_AFTER));
        self.unsent.insert(key);
        self.flush_by(at);
    }

    fn flush_by(&mut self, at: BootTime) {
        self.flush_at = Some(self.flush_at.map_or(at, |before| before.min(at)));
    }

    /// Looks again soon: there was no room for something of this running attempt, or of one that has ended.
    fn flush_again(&mut self, running: Option<AttemptKey>, now: Now) {
        self.unsent.extend(running);
        self.flush_by(now.boot.plus(if now.takes_bulk { AGAIN_INTERVAL } else { FLUSH_INTERVAL }));
    }

    /// The stream ends where it cannot be read any more, so that the master waits for nothing that never comes.
    pub(super) fn output_lost(&mut self, key: AttemptKey, stream: Stream, offset: u64, now: Now) {
        let streams = match (self.running.get_mut(&key), self.ended.get_mut(&key)) {
            (Some(running), _) => &mut running.streams,
            (None, Some(ended)) => &mut ended.streams,
            (None, None) => return,
        };
        let progress = streams.of(stream);
        progress.lost = true;
        progress.end = progress.end.min(offset);
        progress.sent = progress.sent.min(offset);
        self.deliver(key, Delivery::Again, now);
    }

    /// Sends what programs that have run for a while have written. Whoever found no room the last time comes first.
    pub(super) fn flush(&mut self, now: Now) {
        self.flush_at = None;
        let mut keys: Vec<AttemptKey> = std::mem::take(&mut self.unsent).into_iter().collect();
        let first = keys.partition_point(|key| Some(*key) <= self.flushed);
        keys.rotate_left(first);
        for key in keys {
            let Some(running) = self.running.get_mut(&key) else { continue };
            let from = running.started.plus(STREAM_AFTER);
            if now.boot < from {
                self.unsent.insert(key);
                self.flush_by(from);
            } else if self.bulk_room == 0 {
                self.flush_again(Some(key), now);
            } else {
                self.flushed = Some(key);
                // What stays for want of credit goes on when the master says that it has stored some.
                if running.streams.take(key, 0, &mut self.bulk_room, &mut self.actions) {
                    self.flush_again(Some(key), now);
                }
            }
        }
        for key in self.held_back() {
            if self.bulk_room == 0 {
                self.flush_again(None, now);
                break;
            }
            self.deliver(key, Delivery::Again, now);
        }
    }

    /// Results whose output did not fit into the connection.
    fn held_back(&self) -> Vec<AttemptKey> {
        self.ended.iter().filter(|(_, ended)| !ended.reported).map(|(key, _)| *key).collect()
    }

    pub(super) fn stored(&mut self, part: StoredUpTo, now: Now) {
        let StoredUpTo { key, stream, offset } = part;
        let streams = match (self.running.get_mut(&key), self.ended.get_mut(&key)) {
            (Some(running), _) => &mut running.streams,
            (None, Some(ended)) => &mut ended.streams,
            (None, None) => return,
        };
        let progress = streams.of(stream);
        let offset = offset.min(progress.end);
        if offset <= progress.stored {
            return;
        }
        progress.stored = offset;
        progress.sent = progress.sent.max(offset);
        self.actions.push(Action::ForgetBefore { key, stream, offset });
        if !self.registered() {
            return;
        }
        let room = self.bulk_room > 0;
        if let Some(running) = self.running.get_mut(&key).filter(|running| !running.discarded) {
            let from = running.started.plus(STREAM_AFTER);
            if now.boot < from {
                // This may be the last event for a while.
                self.unsent.insert(key);
                self.flush_by(from);
            } else if !room || running.streams.take(key, 0, &mut self.bulk_room, &mut self.actions) {
                self.flush_again(Some(key), now);
            }
        }
        self.deliver(key, Delivery::Again, now);
    }

    /// Sends what does not fit into the report of an ended attempt, then the report.
    pub(super) fn deliver(&mut self, key: AttemptKey, delivery: Delivery, now: Now) {
        let registered = self.registered();
        let Some(ended) = self.ended.get_mut(&key).filter(|ended| registered && !ended.reported) else { return };
        let inline = INLINE_OUTPUT_BYTES_MAX as u64;
        if ended.streams.unsent_max() > inline {
            let more = ended.streams.take(key, inline, &mut self.bulk_room, &mut self.actions);
            if ended.streams.unsent_max() > inline {
                if more {
                    self.flush_again(None, now);
                }
                return;
            }
        }
        if delivery == Delivery::Again {
            if self.bulk_room == 0 {
                return self.flush_again(None, now);
            }
            let bytes = ended.streams.0.iter().map(Progress::unsent).sum::<u64>() + RESULT_BYTES;
            self.bulk_room = self.bulk_room.saturating_sub(bytes);
        }
        ended.reported = true;
        let tails = ended.streams.0.map(|stream| (stream.sent, usize::try_from(stream.unsent()).unwrap_or(0)));
        let mut end = ended.end.clone();
        end.output_truncated |= ended.streams.any_lost();
        self.actions.push(Action::ReportFinished(FinishedHead { end, tails }));
    }
}

/// Why a result is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Its attempt has just ended: there are never more of these at once than there are slots and what they are ahead.
    First,
    /// Many may be looked at together, as after a cut: each takes room.
    Again,
}
