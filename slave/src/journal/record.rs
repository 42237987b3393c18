//! What stands in the journal, and how: a head of twelve bytes (length, checksum of the body, checksum of these
//! two), then the body. A head that is whole and wrong is damage; one that is cut short is the end of a write
//! that never ended.

use crate::executor::AttemptEnd;
use common::{
    frame::{append_record, decode_record},
    id::AttemptKey,
    limits,
    message::Assignment,
    outcome::Outcome,
    units::Timestamp,
    view::Usage,
};
use serde::{Deserialize, Serialize};

/// The first bytes of the file; the number is the format's.
pub(super) const MAGIC: [u8; 8] = *b"RUCHEJ2\n";
const HEAD_BYTES: usize = 12;
/// No record of ours is larger: an assignment came in one frame, and the output of a result is bounded.
const BODY_BYTES_MAX: usize = 2 * limits::FRAME_DATA_BYTES_MAX;

/// One record. Append variants only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Record {
    /// The first of each file: whose records follow.
    Begin(Head),
    /// This attempt is about to be started.
    Started { assignment: Assignment, at: Timestamp },
    /// This attempt ended.
    Ended(Box<KeptEnd>),
    /// Nothing of these is needed any more.
    Forgotten(Vec<AttemptKey>),
    /// The epoch of the master's history from here on.
    Epoch(u32),
}

/// Two of the records as they are written, without owning what they are of.
#[derive(Debug, Serialize)]
pub(super) enum Entry<'a> {
    /// There only so that the others have their numbers.
    #[expect(dead_code, reason = "the numbers of the others count from it")]
    Begin,
    /// [`Record::Started`].
    Started { assignment: &'a Assignment, at: Timestamp },
    /// [`Record::Ended`].
    Ended(&'a KeptEnd),
}

/// What a journal is good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// The boot of the machine.
    pub(super) boot: String,
    /// The number that the slave registers with.
    pub(super) instance: u64,
    /// The epoch of the master's history.
    pub(super) epoch: u32,
}

/// An end as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptEnd {
    key: AttemptKey,
    outcome: Outcome,
    started_at: Option<Timestamp>,
    ended_at: Timestamp,
    usage: Usage,
    output_truncated: bool,
    last_line: String,
    /// What the outputs need to find the attempt's output again, in their own form.
    #[serde(with = "serde_bytes")]
    pub(crate) output: Vec<u8>,
}

impl KeptEnd {
    /// The end together with what its output is kept as.
    #[must_use]
    pub fn new(end: &AttemptEnd, output: Vec<u8>) -> Self {
        let AttemptEnd { key, outcome, started_at, ended_at, usage, output_truncated, last_line } = end.clone();
        Self { key, outcome, started_at, ended_at, usage, output_truncated, last_line, output }
    }

    pub(super) const fn key(&self) -> AttemptKey {
        self.key
    }

    /// The end, and what its output is kept as.
    #[must_use]
    pub fn into_parts(self) -> (AttemptEnd, Vec<u8>) {
        let Self { key, outcome, started_at, ended_at, usage, output_truncated, last_line, output } = self;
        (AttemptEnd { key, outcome, started_at, ended_at, usage, output_truncated, last_line }, output)
    }
}

/// Appends the record to `out` and returns how many bytes it takes.
pub(super) fn append(record: &impl Serialize, out: &mut Vec<u8>) -> u64 {
    append_body(|out| append_record(record, out), out)
}

/// Entry for the fuzz targets: a journal with one record of this body.
#[must_use]
pub(crate) fn fuzz_file(body: &[u8]) -> Vec<u8> {
    let mut file = MAGIC.to_vec();
    append_body(|out| out.extend_from_slice(body), &mut file);
    file
}

fn append_body(body: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) -> u64 {
    let begin = out.len();
    out.extend_from_slice(&[0; HEAD_BYTES]);
    body(out);
    let (head, body) = out[begin..].split_at_mut(HEAD_BYTES);
    head[..4].copy_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    head[4..8].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
    let checksum = crc32fast::hash(&head[..8]).to_le_bytes();
    head[8..].copy_from_slice(&checksum);
    (out.len() - begin) as u64
}

/// What stands at one place of a journal.
enum At<'a> {
    /// Nothing more.
    End,
    /// The beginning of a record; the rest was never written.
    Torn,
    /// A record, checked.
    Whole(&'a [u8]),
    /// Something else.
    Damaged,
}

fn at(bytes: &[u8]) -> At<'_> {
    if bytes.is_empty() {
        return At::End;
    }
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return At::Torn };
    let [l0, l1, l2, l3, c0, c1, c2, c3, h0, h1, h2, h3] = *head;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let is_head = crc32fast::hash(&head[..8]) == u32::from_le_bytes([h0, h1, h2, h3]) && length <= BODY_BYTES_MAX;
    if !is_head {
        return At::Damaged;
    }
    match rest.get(..length) {
        None => At::Torn,
        Some(body) if crc32fast::hash(body) == u32::from_le_bytes([c0, c1, c2, c3]) => At::Whole(body),
        Some(_) => At::Damaged,
    }
}

/// Whether the bytes are exactly one record that is whole.
pub(super) fn is_whole(bytes: &[u8]) -> bool {
    matches!(at(bytes), At::Whole(body) if HEAD_BYTES + body.len() == bytes.len())
}

/// What a journal's bytes hold.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Each record, its place and its length.
    pub(super) records: Vec<(u64, u64, Record)>,
    /// Where bytes stand that no write of ours left there.
    pub(super) damaged_at: Option<u64>,
    /// Bytes at the end that are the beginning of a record.
    pub(super) torn_bytes: u64,
}

/// Reads every record that can be read, also behind damage.
pub(super) fn scan(bytes: &[u8]) -> Scan {
    let mut scan = Scan::default();
    let mut place = if bytes.starts_with(&MAGIC) {
        MAGIC.len()
    } else if MAGIC.starts_with(bytes) {
        // The very first write was cut short.
        scan.torn_bytes = bytes.len() as u64;
        return scan;
    } else {
        scan.damaged_at = Some(0);
        0
    };
    while let Some(rest) = bytes.get(place..) {
        match at(rest) {
            At::End => break,
            At::Torn => {
                scan.torn_bytes = rest.len() as u64;
                break;
            }
            At::Whole(body) => {
                let length = HEAD_BYTES + body.len();
                match decode_record(body) {
                    Ok(record) => scan.records.push((place as u64, length as u64, record)),
                    // Whole, and not understood: of a later release.
                    Err(_) => drop(scan.damaged_at.get_or_insert(place as u64)),
                }
                place += length;
            }
            At::Damaged => {
                scan.damaged_at.get_or_insert(place as u64);
                // Whatever is whole behind it is still good.
                let found = (place + 1..bytes.len()).find(|next| matches!(at(&bytes[*next..]), At::Whole(_)));
                match found {
                    Some(next) => place = next,
                    None => break,
                }
            }
        }
    }
    scan
}
