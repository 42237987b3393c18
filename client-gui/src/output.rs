//! The output of the programs that are looked at: read by offset, kept as bytes with an index of lines.

use crate::backend::{Asked, Backend};
use client::Mirror;
use common::{
    ErrorCode, ProgramId, UserError,
    escape::{Lines, visible},
    limits::OUTPUT_CHUNK_BYTES_MAX,
    message::{Reply, Request, data::Stream},
};
use std::collections::BTreeMap;

/// Bytes of one stream that are kept; of a longer one the end.
pub const KEPT_BYTES_MAX: usize = 8 << 20;
/// Programs whose output is kept.
const PROGRAMS_MAX: usize = 6;
/// Characters of one line that are shown.
const LINE_CHARS_MAX: usize = 4_096;

/// One stream of one program.
#[derive(Debug, Default)]
pub struct StreamText {
    /// Place of the first kept byte in the stream.
    start: u64,
    bytes: Vec<u8>,
    /// Where each line begins in `bytes`.
    lines: Vec<usize>,
    asked: Option<Asked<Reply>>,
    end: bool,
    error: Option<UserError>,
    longest: usize,
}

impl StreamText {
    /// How many lines there are; what follows the last line feed is one too.
    #[must_use]
    pub fn line_count(&self) -> u64 {
        self.lines.len() as u64
    }

    /// Characters of the longest line, about.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.longest.min(LINE_CHARS_MAX)
    }

    /// Bytes before the first kept one.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.start
    }

    /// Whether nothing was printed, as far as is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.start == 0
    }

    /// Whether all of it is here.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.end
    }

    /// Why it could not be read.
    #[must_use]
    pub fn error(&self) -> Option<&UserError> {
        self.error.as_ref()
    }

    /// Line `index`, safe to show.
    #[must_use]
    pub fn line(&self, index: u64) -> String {
        let raw = self.raw_line(index);
        let raw = raw.strip_suffix(b"\r").unwrap_or(raw);
        let cut = &raw[..raw.len().min(LINE_CHARS_MAX * 4)];
        let mut line = visible(cut, Lines::Keep).replace('\t', "    ");
        if let Some((end, _)) = line.char_indices().nth(LINE_CHARS_MAX) {
            line.truncate(end);
        }
        if line.len() < raw.len() && cut.len() < raw.len() {
            line.push('…');
        }
        line
    }

    fn raw_line(&self, index: u64) -> &[u8] {
        let Some(start) = usize::try_from(index).ok().and_then(|index| self.lines.get(index)).copied() else {
            return &[];
        };
        let end = self.lines.get(index as usize + 1).map_or(self.bytes.len(), |next| next - 1);
        let line = &self.bytes[start..end];
        line.strip_suffix(b"\n").unwrap_or(line)
    }

    /// The lines that contain `text`, in any case.
    #[must_use]
    pub fn find(&self, text: &str) -> Vec<u64> {
        let text = text.to_lowercase();
        (0..self.line_count())
            .filter(|index| String::from_utf8_lossy(self.raw_line(*index)).to_lowercase().contains(&text))
            .collect()
    }

    fn next(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn push(&mut self, offset: u64, bytes: &[u8]) {
        // What came twice after a reconnection is taken once.
        let known = usize::try_from(self.next().saturating_sub(offset)).unwrap_or(usize::MAX);
        let Some(new) = bytes.get(known..) else { return };
        let from = self.bytes.len();
        self.bytes.extend_from_slice(new);
        for index in from..self.bytes.len() {
            if index == 0 || self.bytes[index - 1] == b'\n' {
                let begin = self.lines.last().copied().unwrap_or(0);
                self.longest = self.longest.max(index - begin);
                self.lines.push(index);
            }
        }
        let begin = self.lines.last().copied().unwrap_or(0);
        self.longest = self.longest.max(self.bytes.len() - begin);
        if self.bytes.len() > KEPT_BYTES_MAX + KEPT_BYTES_MAX / 4 {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let least = self.bytes.len() - KEPT_BYTES_MAX;
        let cut = self.lines.iter().copied().find(|start| *start >= least).unwrap_or(least);
        self.bytes.drain(..cut);
        self.start += cut as u64;
        self.lines.retain(|start| *start >= cut);
        for start in &mut self.lines {
            *start -= cut;
        }
        if self.lines.first() != Some(&0) && !self.bytes.is_empty() {
            self.lines.insert(0, 0);
        }
    }
}

/// The streams of one program.
#[derive(Debug, Default)]
pub struct ProgramOutput {
    attempt: u32,
    streams: [StreamText; Stream::COUNT],
    /// Grows with each use, so that the one not looked at for longest goes first.
    used: u64,
}

impl ProgramOutput {
    /// One stream.
    #[must_use]
    pub fn stream(&self, stream: Stream) -> &StreamText {
        &self.streams[place(stream)]
    }
}

const fn place(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
        Stream::Compile => 2,
        Stream::Files => 3,
    }
}

/// The outputs of the programs that are looked at.
#[derive(Debug, Default)]
pub struct Outputs {
    programs: BTreeMap<ProgramId, ProgramOutput>,
    clock: u64,
}

impl Outputs {
    /// What is known of this program's output.
    #[must_use]
    pub fn get(&self, id: ProgramId) -> Option<&ProgramOutput> {
        self.programs.get(&id)
    }

    /// Keeps the output of `id` fresh from now on: called on each frame that shows it. Gives whether something
    /// new came.
    pub fn follow(&mut self, id: ProgramId, backend: &dyn Backend, mirror: &Mirror) -> bool {
        self.clock += 1;
        let Some(row) = mirror.program(id) else { return false };
        let program = self.programs.entry(id).or_default();
        program.used = self.clock;
        if program.attempt != row.attempt {
            // Another attempt begins its output anew.
            *program = ProgramOutput { attempt: row.attempt, used: self.clock, ..ProgramOutput::default() };
        }
        // Collected files are read when they are saved.
        let sizes = [row.output_bytes, row.error_bytes, row.compile_bytes];
        let mut changed = false;
        for (stream, size) in Stream::ALL.into_iter().zip(sizes) {
            changed |= step(&mut program.streams[place(stream)], id, stream, size, backend, mirror.connected());
        }
        self.evict();
        changed
    }

    fn evict(&mut self) {
        while self.programs.len() > PROGRAMS_MAX {
            let Some(oldest) = self.programs.iter().min_by_key(|(_, program)| program.used).map(|(id, _)| *id) else {
                return;
            };
            self.programs.remove(&oldest);
        }
    }
}

fn step(
    text: &mut StreamText,
    id: ProgramId,
    stream: Stream,
    size: u64,
    backend: &dyn Backend,
    connected: bool,
) -> bool {
    let mut changed = false;
    if let Some(asked) = &mut text.asked {
        match asked.poll() {
            None => return false,
            Some(Ok(Reply::Output { offset, bytes, end })) => {
                text.asked = None;
                text.error = None;
                text.push(offset, &bytes);
                text.end = end;
                changed = true;
            }
            Some(Ok(_)) => {
                text.asked = None;
                text.end = true;
                text.error =
                    Some(UserError::new(ErrorCode::ProtocolError, "the master gave another answer than output"));
            }
            Some(Err(error)) => {
                text.asked = None;
                // A cut is not an error of the program: reading goes on from the same byte afterwards.
                if !error.is(ErrorCode::ConnectionLost) && !error.is(ErrorCode::Busy) {
                    text.error = Some(error);
                    text.end = true;
                }
                changed = true;
            }
        }
    }
    if !text.end && connected && text.asked.is_none() {
        if text.bytes.is_empty() && text.start == 0 && size > KEPT_BYTES_MAX as u64 {
            text.start = size - KEPT_BYTES_MAX as u64;
        }
        text.asked = Some(backend.request(Request::ReadOutput {
            id,
            stream,
            offset: text.next(),
            bytes_max: OUTPUT_CHUNK_BYTES_MAX as u32,
            follow: true,
        }));
        // A script answers at once, the network later: either way the next frame takes it.
        changed = true;
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(parts: &[&[u8]]) -> StreamText {
        let mut text = StreamText::default();
        for part in parts {
            text.push(text.next(), part);
        }
        text
    }

    fn lines(text: &StreamText) -> Vec<String> {
        (0..text.line_count()).map(|index| text.line(index)).collect()
    }

    #[test]
    fn e7_output_is_cut_into_lines_however_it_arrives() {
        for parts in
            [&[&b"one\ntwo\nthree"[..]][..], &[b"one", b"\n", b"tw", b"o\nthree"], &[b"one\n", b"two\n", b"three"]]
        {
            assert_eq!(lines(&text(parts)), ["one", "two", "three"]);
        }
        assert_eq!(lines(&text(&[b"a\n"])), ["a"], "a line feed at the end begins no line");
        assert_eq!(lines(&text(&[b"a\n", b"\n", b"b"])), ["a", "", "b"]);
        assert_eq!(lines(&text(&[b"\n\n"])), ["", ""]);
        assert_eq!(lines(&text(&[b"a\r\nb\tc"])), ["a", "b    c"]);
        assert!(lines(&text(&[])).is_empty());
    }

    #[test]
    fn e7_hostile_output_is_shown_escaped() {
        let text = text(&[b"\x1b[2Jgone\xff\n", "\u{202e}evil\n".as_bytes()]);
        assert_eq!(lines(&text), ["\\x1b[2Jgone\\xff", "\\u{202e}evil"]);
    }

    #[test]
    fn e7_bytes_that_come_twice_are_taken_once() {
        let mut text = text(&[b"one\n"]);
        text.push(0, b"one\ntwo");
        text.push(0, b"one");
        assert_eq!(lines(&text), ["one", "two"]);
    }

    #[test]
    fn e7_of_a_long_output_the_end_is_kept() {
        let mut text = StreamText::default();
        let line = [&[b'x'; 99][..], b"\n"].concat();
        for _ in 0..(KEPT_BYTES_MAX + KEPT_BYTES_MAX / 2) / 100 {
            text.push(text.next(), &line);
        }
        assert!(text.bytes.len() <= KEPT_BYTES_MAX + KEPT_BYTES_MAX / 4);
        assert_eq!(text.skipped() % 100, 0, "cut between lines");
        assert_eq!(text.line(0).len(), 99);
        assert_eq!(text.line(text.line_count() - 1).len(), 99);
        let long = self::text(&[&vec![b'y'; 1 << 20]]);
        assert!(long.line(0).chars().count() <= LINE_CHARS_MAX + 1, "one endless line is cut");
    }

    #[test]
    fn e7_lines_are_found_in_any_case() {
        assert_eq!(text(&[b"Alpha\nbeta\nALPHABET\n"]).find("alpha"), [0, 2]);
    }
}
