//! Lines of a file or of standard input, as entries: read part by part, so that a file of any size takes little memory.
//!
//! A line is what stands before a line feed, byte for byte, as xargs with `-d '\n'` and GNU parallel read it: an empty
//! line is an entry too, a carriage return belongs to its line, and the last line needs no end.

use common::{
    ErrorCode, UserError,
    escape::RawText,
    limits::{ENTRIES_BYTES_PER_REQUEST, ENTRIES_PER_REQUEST_MAX, ENTRY_BYTES_MAX},
};
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    os::unix::ffi::OsStrExt,
    path::Path,
};

/// Parts of a list of lines, each as large as one request takes. What stands before a line that cannot be an entry
/// still comes; then the error, and nothing more.
#[derive(Debug)]
pub struct LineParts<R> {
    reader: R,
    /// What it is called in an error.
    name: String,
    /// Lines read so far.
    lines: u64,
    failed: Option<UserError>,
    ended: bool,
}

/// Opens a file of lines; `-` is our own standard input.
///
/// # Errors
/// `E-FILE-UNREADABLE`.
pub fn open_lines(path: &Path) -> Result<LineParts<Box<dyn BufRead + Send>>, UserError> {
    if path == Path::new("-") {
        return Ok(LineParts::new(Box::new(BufReader::new(std::io::stdin())), "standard input".to_owned()));
    }
    let name = format!("`{}`", RawText(path.as_os_str().as_bytes().to_vec()));
    let unreadable = |why: String| UserError::new(ErrorCode::FileUnreadable, format!("{name} cannot be read: {why}"));
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
        return Err(unreadable("it is a folder".to_owned()));
    }
    Ok(LineParts::new(Box::new(BufReader::new(file)), name))
}

impl<R: BufRead> LineParts<R> {
    /// Lines of this reader, which is called so in errors.
    pub fn new(reader: R, name: String) -> Self {
        Self { reader, name, lines: 0, failed: None, ended: false }
    }

    /// The next line; none at the end.
    fn line(&mut self) -> Result<Option<RawText>, UserError> {
        let mut line = Vec::new();
        // One byte more than the longest line and its end.
        let most = ENTRY_BYTES_MAX as u64 + 2;
        let read = self.reader.by_ref().take(most).read_until(b'\n', &mut line);
        let number = self.lines + 1;
        read.map_err(|error| {
            let sentence = format!("{} cannot be read after line {}: {error}", self.name, self.lines);
            UserError::new(ErrorCode::FileUnreadable, sentence)
        })?;
        if line.is_empty() {
            return Ok(None);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        let refuse = |what: String| {
            let sentence = format!("line {number} of {} {what}", self.name);
            Err(UserError::new(ErrorCode::SubmitInvalid, sentence))
        };
        if line.contains(&0) {
            return refuse("holds a NUL byte, which no program can be given".to_owned());
        }
        if line.len() > ENTRY_BYTES_MAX {
            return refuse(format!("is longer than {ENTRY_BYTES_MAX} bytes, the most that an argument may have"));
        }
        self.lines = number;
        line.shrink_to_fit();
        Ok(Some(RawText(line)))
    }
}

impl<R: BufRead> Iterator for LineParts<R> {
    type Item = Result<Vec<RawText>, UserError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (mut part, mut bytes) = (Vec::new(), 0);
        while !self.ended && part.len() < ENTRIES_PER_REQUEST_MAX && bytes < ENTRIES_BYTES_PER_REQUEST {
            match self.line() {
                Ok(Some(line)) => {
                    bytes += line.0.len();
                    part.push(line);
                }
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.failed = Some(error);
                    self.ended = true;
                }
            }
        }
        if part.is_empty() { self.failed.take().map(Err) } else { Some(Ok(part)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &[u8]) -> Vec<Result<Vec<RawText>, UserError>> {
        LineParts::new(text, "the list".to_owned()).collect()
    }

    #[test]
    fn e1_lines_are_taken_byte_for_byte() {
        let check = |text: &[u8], lines: &[&[u8]]| {
            let expected: Vec<RawText> = lines.iter().map(|line| RawText(line.to_vec())).collect();
            let read: Vec<RawText> = parts(text).into_iter().flat_map(Result::unwrap).collect();
            assert_eq!(read, expected);
        };
        check(b"", &[]);
        check(b"\n", &[b""]);
        check(b"a\n\nb", &[b"a", b"", b"b"]);
        check(b"a\r\n \t\xff\n", &[b"a\r", b" \t\xff"]);
        let longest = vec![b'x'; ENTRY_BYTES_MAX];
        check(&[&longest[..], b"\ny"].concat(), &[&longest, b"y"]);
    }

    #[test]
    fn e9_a_line_that_no_program_can_be_given_is_named_and_ends_the_list() {
        let long = vec![b'x'; ENTRY_BYTES_MAX + 1];
        for (bad, words) in
            [(&b"a\0b"[..], "line 3 of the list holds a NUL byte"), (&long, "line 3 of the list is longer")]
        {
            let read = parts(&[b"one\ntwo\n", bad, b"\nfour\n"].concat());
            assert_eq!(read[0], Ok(vec!["one".into(), "two".into()]), "what stands before it comes still");
            let error = read[1].as_ref().unwrap_err();
            assert!(error.sentence.contains(words), "{error}");
            assert_eq!(read.len(), 2);
        }
    }

    #[test]
    fn p7_parts_are_as_large_as_a_request_takes() {
        let many = "x\n".repeat(2_500);
        let counts: Vec<usize> = parts(many.as_bytes()).into_iter().map(|part| part.unwrap().len()).collect();
        assert_eq!(counts, [1_000, 1_000, 500]);
        let large = format!("{}\n", "y".repeat(100_000)).repeat(25);
        let counts: Vec<usize> = parts(large.as_bytes()).into_iter().map(|part| part.unwrap().len()).collect();
        assert_eq!(counts, [11, 11, 3]);
    }
}
