//! The progress file: `40` or `40 reading files`, written by a program and hostile like all that it writes.

use super::folder::{PROGRESS_FILE, WorkFolder};
use common::{
    escape::{Lines, shorten, visible},
    limits,
    view::Progress,
};
use rustix::fs::{FileType, Mode, OFlags};

/// Bytes that are looked at.
const BYTES_MAX: usize = 512;

/// What the program says, if it says something that can be understood.
pub(super) fn read(folder: &WorkFolder) -> Option<Progress> {
    // A FIFO or a link in its place is not read and holds nothing up.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = rustix::fs::openat(&folder.fd, PROGRESS_FILE, flags, Mode::empty()).ok()?;
    let found = rustix::fs::fstat(&file).ok()?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut bytes = [0; BYTES_MAX];
    let count = rustix::io::read(&file, &mut bytes).ok()?;
    parse(&bytes[..count])
}

pub(super) fn parse(bytes: &[u8]) -> Option<Progress> {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    let (number, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let percent = number.trim_end_matches('%').parse::<f32>().ok().filter(|percent| percent.is_finite())?;
    let text = shorten(&visible(rest.trim().as_bytes(), Lines::Escape), limits::LAST_LINE_BYTES_MAX);
    Some(Progress { percent: percent.clamp(0.0, 100.0), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s9_progress_is_read_as_programs_write_it() {
        for (bytes, expected) in [
            (&b"40"[..], Some((40.0, ""))),
            (b"40 reading files\n", Some((40.0, "reading files"))),
            (b"12.5%\tx\n", Some((12.5, "x"))),
            (b"10 a\n20 b\n", Some((20.0, "b"))),
            (b"150", Some((100.0, ""))),
            (b"-3 \x1b[2J", Some((0.0, "\\x1b[2J"))),
            (b"", None),
            (b"NaN", None),
            (b"done", None),
            (b"\xff\xfe", None),
        ] {
            let read = parse(bytes);
            assert_eq!(read.as_ref().map(|p| (p.percent, p.text.as_str())), expected, "{bytes:?}");
        }
    }
}
