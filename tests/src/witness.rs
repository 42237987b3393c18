//! What programs of a test leave behind outside the product: lines of a file that say which attempt ran
//! where and when, and output that can be foretold byte by byte.

use common::ProgramId;
use std::{
    fmt,
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    str::FromStr,
};

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The attempt begins.
    Begin,
    /// It still runs.
    Alive,
    /// It has written all its output and ends with exit code 0.
    End,
}

/// One line of the witness file: `uuid attempt fence node begin|alive|end boottime`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The program.
    pub id: ProgramId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// What the product gave it to fence its writes with.
    pub fence: u64,
    /// Which slave ran it.
    pub node: String,
    /// What happened.
    pub mark: Mark,
    /// When, in microseconds of the boot-time clock.
    pub at: u64,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.mark {
            Mark::Begin => "begin",
            Mark::Alive => "alive",
            Mark::End => "end",
        };
        write!(f, "{} {} {} {} {mark} {}", self.id, self.attempt, self.fence, self.node, self.at)
    }
}

impl FromStr for Line {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no line of a witness");
        let words: Vec<_> = text.split(' ').collect();
        let [id, attempt, fence, node, mark, at] = words[..] else { return Err(wrong()) };
        let mark = match mark {
            "begin" => Mark::Begin,
            "alive" => Mark::Alive,
            "end" => Mark::End,
            _ => return Err(wrong()),
        };
        Ok(Self {
            id: id.parse().map_err(|_| wrong())?,
            attempt: attempt.parse().map_err(|_| wrong())?,
            fence: fence.parse().map_err(|_| wrong())?,
            node: node.to_owned(),
            mark,
            at: at.parse().map_err(|_| wrong())?,
        })
    }
}

/// The first `length` bytes of what this attempt prints. Every place differs from its neighbours, so that a
/// gap, a repeat or a byte of another attempt is found.
#[must_use]
pub fn output_of(id: ProgramId, attempt: u32, length: usize) -> Vec<u8> {
    let seed = id.0.as_u128() ^ (u128::from(attempt) << 64);
    let mut random = crate::seed::Random::new((seed >> 64) as u64 ^ (seed as u64).rotate_left(17));
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend(random.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A witness file and the program that writes to it, in a folder that programs of every user can reach.
#[derive(Clone, Debug)]
pub struct Witness {
    file: PathBuf,
    program: PathBuf,
}

impl Witness {
    /// Makes the file in `folder`, that of [`crate::Cluster::outside`], and puts the program beside it.
    ///
    /// # Panics
    /// When the folder cannot be written.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        let (file, program) = (folder.join("witness"), folder.join("ruche-witness"));
        OpenOptions::new().create(true).append(true).mode(0o666).open(&file).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        crate::binaries::copy(&crate::binaries::path("ruche-witness"), &program);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Self { file, program }
    }

    /// Where the program is.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its arguments: run for so long and print so many bytes.
    #[must_use]
    pub fn arguments(&self, run_ms: u64, bytes: usize) -> Vec<String> {
        vec![self.file.to_str().unwrap().to_owned(), run_ms.to_string(), bytes.to_string()]
    }

    /// Everything that was written so far. A line that is being written now is left out.
    ///
    /// # Panics
    /// When a line is none of ours.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        let text = fs::read_to_string(&self.file).unwrap();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// The lines of one program.
    #[must_use]
    pub fn lines_of(&self, id: &str) -> Vec<Line> {
        let id: ProgramId = id.parse().unwrap();
        self.lines().into_iter().filter(|line| line.id == id).collect()
    }
}

/// Which slave's folder the current one lies in, beside the folder of the witness file.
///
/// # Errors
/// When there is no current folder.
pub fn node(file: &Path) -> io::Result<String> {
    let here = std::env::current_dir()?;
    let base = file.parent().and_then(Path::parent).unwrap_or_else(|| Path::new("/"));
    let node = here.strip_prefix(base).ok().and_then(|rest| rest.components().next());
    Ok(node.map_or_else(|| "elsewhere".to_owned(), |node| node.as_os_str().to_string_lossy().replace(' ', "_")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let text = "0198a0b0-0000-7000-8000-000000000001 2 4294967298 pc-01 alive 77";
        assert_eq!(text.parse::<Line>().unwrap().to_string(), text);
        for wrong in ["", "x", "0198a0b0-0000-7000-8000-000000000001 2 3 pc-01 begin", "a b c d e f"] {
            assert!(wrong.parse::<Line>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn output_is_the_same_each_time_and_differs_between_attempts() {
        let id = "0198a0b0-0000-7000-8000-000000000001".parse().unwrap();
        assert_eq!(output_of(id, 1, 100), output_of(id, 1, 200)[..100]);
        assert_ne!(output_of(id, 1, 100), output_of(id, 2, 100));
        assert_eq!(output_of(id, 1, 0), b"");
    }
}
