//! The one file of a backup: named parts, each with its length and hash, and an end that counts and covers them all.
//!
//! `RUCHE-BACKUP-1`, line feed; then for each part the length of its name (u16), the name, the number of its bytes
//! (u64), the bytes, and 32 bytes of BLAKE3 over all of that; then the length 0, the number of parts (u64) and 32
//! bytes of BLAKE3 over the hashes of all parts. Numbers have the high byte first.

use std::io::{self, Read, Write};

const MAGIC: &[u8] = b"RUCHE-BACKUP-1\n";
/// Longer than any name that we write.
const NAME_BYTES_MAX: usize = 512;
/// Bytes that are moved at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// Writes a backup.
pub(super) struct Writer<W: Write> {
    to: W,
    parts: u64,
    all: blake3::Hasher,
}

impl<W: Write> Writer<W> {
    pub(super) fn new(mut to: W) -> io::Result<Self> {
        to.write_all(MAGIC)?;
        Ok(Self { to, parts: 0, all: blake3::Hasher::new() })
    }

    /// Adds a part of exactly `length` bytes; `moved` is told how many went since it was told last.
    ///
    /// # Errors
    /// When `from` has fewer bytes, or one side fails.
    pub(super) fn part(
        &mut self,
        name: &str,
        from: &mut impl Read,
        length: u64,
        moved: &mut dyn FnMut(u64),
    ) -> io::Result<()> {
        let name_length = u16::try_from(name.len()).map_err(io::Error::other)?;
        let mut hasher = blake3::Hasher::new();
        for bytes in [&name_length.to_be_bytes()[..], name.as_bytes(), &length.to_be_bytes()] {
            hasher.update(bytes);
            self.to.write_all(bytes)?;
        }
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut left = length;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            from.read_exact(&mut chunk[..wanted])?;
            hasher.update(&chunk[..wanted]);
            self.to.write_all(&chunk[..wanted])?;
            left -= wanted as u64;
            moved(wanted as u64);
        }
        let hash = hasher.finalize();
        self.to.write_all(hash.as_bytes())?;
        self.all.update(hash.as_bytes());
        self.parts += 1;
        Ok(())
    }

    /// Writes the end; without it the file is no backup.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.to.write_all(&0_u16.to_be_bytes())?;
        self.to.write_all(&self.parts.to_be_bytes())?;
        self.to.write_all(self.all.finalize().as_bytes())?;
        self.to.flush()?;
        Ok(self.to)
    }
}

/// Why a file cannot be restored.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// It never was a backup of this format.
    #[error("it is not a backup of this release or an older one")]
    Foreign,
    /// It is cut or was changed.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// It cannot be read, or the other side cannot be written.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Reads a backup.
pub(super) struct Reader<R: Read> {
    from: R,
    parts: u64,
    all: blake3::Hasher,
}

/// A part whose bytes are read next.
pub(super) struct Part {
    pub(super) name: String,
    pub(super) length: u64,
    hasher: blake3::Hasher,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(mut from: R) -> Result<Self, ReadError> {
        let mut magic = [0; MAGIC.len()];
        match from.read_exact(&mut magic) {
            Ok(()) if magic == *MAGIC => Ok(Self { from, parts: 0, all: blake3::Hasher::new() }),
            Ok(()) => Err(ReadError::Foreign),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ReadError::Foreign),
            Err(error) => Err(error.into()),
        }
    }

    fn exactly(&mut self, bytes: &mut [u8]) -> Result<(), ReadError> {
        self.from.read_exact(bytes).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                ReadError::Damaged("its end is missing")
            } else {
                ReadError::Io(error)
            }
        })
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        self.exactly(&mut bytes)?;
        Ok(bytes)
    }

    /// The next part; none at the end, when all parts are there.
    pub(super) fn next(&mut self) -> Result<Option<Part>, ReadError> {
        let name_length = self.number::<2>()?;
        let mut name = vec![0; usize::from(u16::from_be_bytes(name_length))];
        if name.is_empty() {
            let parts = u64::from_be_bytes(self.number()?);
            if parts != self.parts || self.number::<32>()? != *self.all.finalize().as_bytes() {
                return Err(ReadError::Damaged("parts of it are missing"));
            }
            let mut more = [0];
            return match self.from.read(&mut more)? {
                0 => Ok(None),
                _ => Err(ReadError::Damaged("something follows its end")),
            };
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(ReadError::Damaged("a name in it is too long"));
        }
        self.exactly(&mut name)?;
        let length = self.number::<8>()?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&name_length).update(&name).update(&length);
        let name = String::from_utf8(name).map_err(|_| ReadError::Damaged("a name in it is not text"))?;
        Ok(Some(Part { name, length: u64::from_be_bytes(length), hasher }))
    }

    /// Copies the part's bytes, and tells when they are not those that were written.
    pub(super) fn copy(
        &mut self,
        mut part: Part,
        to: &mut impl Write,
        moved: &mut dyn FnMut(u64),
    ) -> Result<(), ReadError> {
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut left = part.length;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            self.exactly(&mut chunk[..wanted])?;
            part.hasher.update(&chunk[..wanted]);
            to.write_all(&chunk[..wanted])?;
            left -= wanted as u64;
            moved(wanted as u64);
        }
        let hash = part.hasher.finalize();
        if self.number::<32>()? != *hash.as_bytes() {
            return Err(ReadError::Damaged("a part of it was changed"));
        }
        self.all.update(hash.as_bytes());
        self.parts += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, ReadError> {
        let mut reader = Reader::new(bytes)?;
        let mut parts = Vec::new();
        while let Some(part) = reader.next()? {
            let (name, mut content) = (part.name.clone(), Vec::new());
            reader.copy(part, &mut content, &mut |_| ())?;
            parts.push((name, content));
        }
        Ok(parts)
    }

    #[test]
    fn f6_a_backup_that_was_cut_or_changed_in_any_place_is_refused() {
        let mut writer = Writer::new(Vec::new()).unwrap();
        let large = vec![7; CHUNK_BYTES + 5];
        for (name, content) in [("a", &b"first"[..]), ("b/c", b""), ("large", &large)] {
            let mut from = content;
            writer.part(name, &mut from, content.len() as u64, &mut |_| ()).unwrap();
        }
        let good = writer.finish().unwrap();
        let parts = read(&good).unwrap();
        assert_eq!(parts.len(), 3);
        assert_eq!((parts[0].1.as_slice(), parts[2].1.len()), (&b"first"[..], large.len()));
        let places = (0..200).chain((200..good.len() - 200).step_by(9_973)).chain(good.len() - 200..good.len());
        for place in places {
            let mut bad = good.clone();
            bad[place] ^= 1 << (place % 8);
            assert!(read(&bad).is_err(), "byte {place}");
            assert!(read(&good[..place]).is_err(), "cut to {place}");
        }
        assert!(read(&[&good[..], b"x"].concat()).is_err());
    }
}
