//! `audit.log` in the data folder: what this slave refused to do and at whose order, and where it runs with less
//! protection than it was meant to. One JSON object a line; kept over restarts, and bounded.

use common::{Timestamp, escape::shorten, units::Duration};
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The file's name.
pub const FILE: &str = "audit.log";
/// A file that has grown to this makes room for another.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Files that are kept beside the one that is written: `audit.log.1` is the newest of them.
const OLD_FILES: u32 = 4;
/// Bytes of what one line says.
const TEXT_BYTES_MAX: usize = 512;
/// Lines in one minute; more are counted, so that a master that asks without end does not push out what came before.
const LINES_A_MINUTE_MAX: u32 = 60;
const MINUTE: Duration = Duration::from_secs(60);

/// What a line tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An order of the master that was not followed.
    Refused,
    /// The slave started with guards missing.
    Weaker,
    /// The slave did not start, as a guard that is required is missing.
    NotStarted,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Weaker => "weaker-isolation",
            Self::NotStarted => "not-started",
        }
    }
}

/// The log, open to be written.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    file: File,
    bytes: u64,
    /// Bytes of one file.
    most: u64,
    /// Since when lines are counted, how many came, and how many of them were left out.
    window: (Timestamp, u32),
    left_out: u64,
}

impl Audit {
    /// Opens the log in this folder, and goes on behind what is there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn open(data: &Path) -> io::Result<Self> {
        let path = data.join(FILE);
        let mut file = open(&path)?;
        let bytes = file.metadata()?.len();
        if bytes > 0 && !ends_with_line(&path)? {
            // The machine went down in the middle of a line: the next one stands alone.
            file.write_all(b"\n")?;
        }
        Ok(Self { path, file, bytes, most: FILE_BYTES_MAX, window: (Timestamp(0), 0), left_out: 0 })
    }

    /// Adds a line. What cannot be written is told in the slave's own log; the refusal holds all the same.
    pub fn note(&mut self, at: Timestamp, kind: Kind, master: &str, attempt: Option<&str>, text: &str) {
        tracing::warn!(event = kind.word(), master, attempt, "{text}");
        if at.since(self.window.0) >= MINUTE || at < self.window.0 {
            self.window = (at, 0);
        }
        self.window.1 += 1;
        if self.window.1 > LINES_A_MINUTE_MAX {
            self.left_out += 1;
            return;
        }
        let mut line = serde_json::json!({
            "at": rfc3339(at),
            "event": kind.word(),
            "master": visible(master),
            "attempt": attempt,
            "text": visible(text),
        });
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            line["left_out_before"] = left_out.into();
        }
        if let Err(error) = self.append(&(line.to_string() + "\n")) {
            tracing::error!(file = %self.path.display(), %error, "the audit log cannot be written");
            self.left_out += left_out + 1;
        }
    }

    fn append(&mut self, line: &str) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.most {
            self.rotate()?;
        }
        self.file.write_all(line.as_bytes())?;
        self.bytes += line.len() as u64;
        // It is there to be read after something went wrong.
        self.file.sync_data()
    }

    fn rotate(&mut self) -> io::Result<()> {
        let old = |number: u32| self.path.with_extension(format!("log.{number}"));
        for number in (1..OLD_FILES).rev() {
            if old(number).exists() {
                std::fs::rename(old(number), old(number + 1))?;
            }
        }
        std::fs::rename(&self.path, old(1))?;
        self.file = open(&self.path)?;
        self.bytes = 0;
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

fn ends_with_line(path: &Path) -> io::Result<bool> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

fn visible(text: &str) -> String {
    shorten(&common::escape::visible(text.as_bytes(), common::escape::Lines::Escape), TEXT_BYTES_MAX)
}

/// RFC 3339 in UTC with milliseconds.
fn rfc3339(at: Timestamp) -> String {
    let micros = i64::try_from(at.0).unwrap_or(i64::MAX);
    let instant = jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{instant:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn i18_the_audit_goes_on_over_restarts_and_shows_hostile_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let note = |text: &str| {
            let mut audit = Audit::open(folder.path()).unwrap();
            audit.note(Timestamp(1_000_000), Kind::Refused, "m:7420", Some("p-1"), text);
        };
        note("\u{1b}[2J\n\u{202e}evil");
        // Cut in the middle of a line.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"at\":").unwrap();
        note("second");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.bytes().all(|byte| byte == b'\n' || (0x20..0x7f).contains(&byte)), "{text}");
        let whole: Vec<&str> = text.lines().filter(|line| line.ends_with('}')).collect();
        assert_eq!(whole.len(), 2, "{text}");
        let first: serde_json::Value = serde_json::from_str(whole[0]).unwrap();
        assert_eq!((first["event"].as_str(), first["attempt"].as_str()), (Some("refused"), Some("p-1")));
        assert_eq!(
            (first["at"].as_str(), first["master"].as_str()),
            (Some("1970-01-01T00:00:01.000Z"), Some("m:7420"))
        );
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn i18_a_master_that_asks_without_end_does_not_fill_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let mut audit = Audit::open(folder.path()).unwrap();
        let minute = |number: u64| Timestamp(1 + number * MINUTE.0);
        for _ in 0..100_000 {
            audit.note(minute(1), Kind::Refused, "m", None, "again");
        }
        audit.note(minute(2), Kind::Refused, "m", None, "again");
        let found = lines(&folder.path().join(FILE));
        assert_eq!(found.len(), LINES_A_MINUTE_MAX as usize + 1);
        assert_eq!(found.last().unwrap()["left_out_before"], 100_000 - u64::from(LINES_A_MINUTE_MAX));
        // Years of that, with smaller files.
        audit.most = 16 << 10;
        let long = "x".repeat(TEXT_BYTES_MAX);
        for number in 3..8 {
            for _ in 0..LINES_A_MINUTE_MAX {
                audit.note(minute(number), Kind::Refused, "m", None, &long);
            }
        }
        let sizes = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
        let sizes: Vec<u64> = sizes.collect();
        assert_eq!(sizes.len(), 1 + OLD_FILES as usize);
        assert!(sizes.iter().all(|size| *size <= audit.most), "{sizes:?}");
    }
}
