//! The folder of input files: `DIGEST` is whole and was checked, `DIGEST.part` is on its way. A file gets its whole
//! name only after its content is checked and synced, so that a name that is there can be trusted after a crash.

use common::{id::Digest, units::ByteSize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

const PART: &str = ".part";
/// A part that is older than this when the slave starts is removed.
const PART_AGE_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Room on the disk that input files leave to programs, their output and the journal.
const RESERVE_BYTES: u64 = 64 << 20;

/// How much of a file is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// All of it, checked.
    Whole,
    /// The first bytes.
    Part(u64),
    /// It was all here, and its content was another: it is gone.
    Damaged,
}

pub(super) struct Cache {
    folder: PathBuf,
    bytes_max: u64,
    /// Files that are whole: size and last use.
    whole: BTreeMap<Digest, (u64, u64)>,
    /// Files that are on their way.
    parts: BTreeMap<Digest, Part>,
    /// Parts from before this start that nobody has asked for yet, with their lengths.
    left: BTreeMap<Digest, u64>,
    needed: BTreeSet<Digest>,
    uses: u64,
    /// Bytes of all of them.
    bytes: u64,
    /// Bytes that the disk has for it.
    available: fn(&Path) -> u64,
}

/// A file that is on its way. It is open only while it is written to: many may be needed at once.
struct Part {
    size: u64,
    length: u64,
    hasher: blake3::Hasher,
}

fn available(folder: &Path) -> u64 {
    // What cannot be found out stops nobody; a full disk tells it when it is written to.
    nix::sys::statvfs::statvfs(folder)
        .map_or(u64::MAX, |found| found.blocks_available().saturating_mul(found.fragment_size()))
}

fn digest_of(name: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    let plain = name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !plain {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(name.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(Digest(digest))
}

impl Cache {
    pub(super) fn open(folder: &Path, bytes_max: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        let (mut found, mut left) = (Vec::new(), BTreeMap::new());
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            let metadata = entry.metadata()?;
            if !metadata.is_file() {
                continue;
            }
            let at = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            let old = SystemTime::now().duration_since(at).is_ok_and(|age| age > PART_AGE_MAX);
            if let Some(digest) = digest_of(name) {
                found.push((at, digest, metadata.len()));
            } else if let Some(digest) = name.strip_suffix(PART).and_then(digest_of).filter(|_| !old) {
                left.insert(digest, metadata.len());
            } else {
                remove(&entry.path());
            }
        }
        found.sort_by_key(|(at, digest, _)| (*at, *digest));
        let mut cache = Self {
            folder: folder.to_owned(),
            bytes_max,
            whole: BTreeMap::new(),
            parts: BTreeMap::new(),
            bytes: left.values().fold(0, |sum: u64, length| sum.saturating_add(*length)),
            left,
            needed: BTreeSet::new(),
            uses: 0,
            available,
        };
        for (_, digest, size) in found {
            cache.add(digest, size);
        }
        cache.make_room();
        Ok(cache)
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }

    fn part_path(&self, digest: Digest) -> PathBuf {
        self.folder.join(format!("{digest}{PART}"))
    }

    fn add(&mut self, digest: Digest, size: u64) {
        self.uses += 1;
        if self.whole.insert(digest, (size, self.uses)).is_none() {
            self.bytes = self.bytes.saturating_add(size);
        }
    }

    /// Removes what nothing needs until the budget holds.
    fn make_room(&mut self) {
        while self.bytes > self.bytes_max && self.remove_one() {}
    }

    /// Removes one file that nothing needs: parts that were left first, then what was unused for the longest.
    fn remove_one(&mut self) -> bool {
        if let Some((digest, length)) = self.left.pop_first() {
            self.bytes = self.bytes.saturating_sub(length);
            remove(&self.part_path(digest));
            return true;
        }
        let free = self.whole.iter().filter(|(digest, _)| !self.needed.contains(digest));
        let Some(digest) = free.min_by_key(|(_, (_, used))| *used).map(|(digest, _)| *digest) else { return false };
        self.remove(digest);
        true
    }

    /// Sees to it that the disk has room for so much more, and keeps its reserve.
    fn make_disk_room(&mut self, bytes: u64) -> Result<(), String> {
        while (self.available)(&self.folder) < bytes.saturating_add(RESERVE_BYTES) {
            if !self.remove_one() {
                let (wanted, reserve) = (ByteSize(bytes), ByteSize(RESERVE_BYTES));
                return Err(format!("its disk has no room for {wanted} more, besides a reserve of {reserve}"));
            }
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, digest: Digest) {
        if let Some((size, _)) = self.whole.remove(&digest) {
            self.bytes = self.bytes.saturating_sub(size);
            remove(&self.path(digest));
        }
    }

    pub(super) fn release(&mut self, digest: Digest) {
        self.needed.remove(&digest);
        if let Some(part) = self.parts.remove(&digest) {
            self.bytes = self.bytes.saturating_sub(part.length);
            remove(&self.part_path(digest));
        }
        self.make_room();
    }

    pub(super) fn look(&mut self, digest: Digest, size: u64) -> Result<Held, String> {
        self.needed.insert(digest);
        match self.whole.get(&digest) {
            Some((held, _)) if *held == size => {
                self.add(digest, size);
                return Ok(Held::Whole);
            }
            Some(_) => return Ok(Held::Damaged),
            None => {}
        }
        if !self.parts.contains_key(&digest) {
            // It is not one that may make room for itself.
            let left = self.left.remove(&digest).unwrap_or_default();
            self.bytes = self.bytes.saturating_sub(left);
            let part = Part::open(&self.part_path(digest), size).map_err(|error| error.to_string())?;
            self.bytes = self.bytes.saturating_add(part.length);
            self.parts.insert(digest, part);
        }
        let missing = self.parts.get(&digest).map_or(0, |part| part.size - part.length);
        if missing > 0 {
            self.make_disk_room(missing)?;
        }
        self.step(digest).map_err(|error| error.to_string())
    }

    /// None when these bytes are not the next of a file that is wanted.
    pub(super) fn take(
        &mut self,
        digest: Digest,
        offset: u64,
        size: u64,
        bytes: &[u8],
    ) -> Option<Result<Held, String>> {
        let part = self.parts.get(&digest)?;
        let fits = offset.checked_add(bytes.len() as u64).is_some_and(|end| end <= part.size);
        if offset != part.length || size != part.size || !fits {
            return None;
        }
        if let Err(why) = self.make_disk_room(bytes.len() as u64) {
            return Some(Err(why));
        }
        let path = self.part_path(digest);
        if let Err(error) = self.parts.get_mut(&digest)?.append(&path, bytes) {
            return Some(Err(error.to_string()));
        }
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        self.make_room();
        Some(self.step(digest).map_err(|error| error.to_string()))
    }

    /// Where a file is now; one whose last byte has come is checked and gets its name.
    fn step(&mut self, digest: Digest) -> io::Result<Held> {
        let Some(part) = self.parts.get(&digest) else { return Ok(Held::Part(0)) };
        if part.length < part.size {
            return Ok(Held::Part(part.length));
        }
        let (size, sound) = (part.size, *part.hasher.finalize().as_bytes() == digest.0);
        let path = self.part_path(digest);
        let file = File::options().write(true).open(&path)?;
        if sound {
            file.sync_all()?;
            fs::rename(&path, self.path(digest))?;
            File::open(&self.folder)?.sync_all()?;
        } else {
            // From the beginning, should it be asked for again.
            file.set_len(0)?;
        }
        self.parts.remove(&digest);
        self.bytes = self.bytes.saturating_sub(size);
        if !sound {
            self.parts.insert(digest, Part::open(&path, size)?);
            return Ok(Held::Damaged);
        }
        self.add(digest, size);
        self.make_room();
        Ok(Held::Whole)
    }
}

impl Part {
    fn open(path: &Path, size: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut length = file.metadata()?.len();
        if length > size {
            file.set_len(0)?;
            length = 0;
        }
        let mut hasher = blake3::Hasher::new();
        let mut bytes = vec![0; if length > 0 { 1 << 20 } else { 0 }];
        let mut left = length;
        while left > 0 {
            let count = usize::try_from(left).unwrap_or(bytes.len()).min(bytes.len());
            file.read_exact(&mut bytes[..count])?;
            hasher.update(&bytes[..count]);
            left -= count as u64;
        }
        Ok(Self { size, length, hasher })
    }

    fn append(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        File::options().write(true).open(path)?.write_all_at(bytes, self.length)?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "an input file that nothing needs cannot be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }

    fn fetch(cache: &mut Cache, bytes: &[u8]) {
        let (digest, size) = (digest(bytes), bytes.len() as u64);
        assert_eq!(cache.look(digest, size), Ok(Held::Part(0)));
        assert_eq!(cache.take(digest, 0, size, bytes), Some(Ok(Held::Whole)));
    }

    #[test]
    fn s7_only_what_follows_is_taken_and_a_cut_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = b"one two three".as_slice();
        let (digest, size) = (digest(wanted), wanted.len() as u64);
        {
            let mut cache = Cache::open(folder.path(), 1_000).unwrap();
            assert_eq!(cache.take(digest, 0, size, wanted), None, "nobody asked for it");
            assert_eq!(cache.look(digest, size), Ok(Held::Part(0)));
            assert_eq!(cache.take(digest, 0, size, b"one "), Some(Ok(Held::Part(4))));
            assert_eq!(cache.take(digest, 0, size, b"one "), None);
            assert_eq!(cache.take(digest, 5, size, b"wo"), None);
            assert_eq!(cache.take(digest, 4, size + 1, b"two "), None);
            assert_eq!(cache.take(digest, 4, size, b"two three and more"), None);
        }
        let mut cache = Cache::open(folder.path(), 1_000).unwrap();
        assert_eq!(cache.look(digest, size), Ok(Held::Part(4)));
        assert_eq!(cache.take(digest, 4, size, b"two three"), Some(Ok(Held::Whole)));
        drop(cache);
        let mut cache = Cache::open(folder.path(), 1_000).unwrap();
        assert_eq!(cache.look(digest, size), Ok(Held::Whole));
        assert_eq!(cache.look(Digest(*blake3::hash(b"").as_bytes()), 0), Ok(Held::Whole));
    }

    #[test]
    fn s3_another_content_never_gets_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = Cache::open(folder.path(), 1_000).unwrap();
        let wanted = digest(b"good");
        cache.look(wanted, 4).unwrap();
        assert_eq!(cache.take(wanted, 0, 4, b"evil"), Some(Ok(Held::Damaged)));
        assert!(!folder.path().join(wanted.to_string()).exists());
        assert_eq!(cache.take(wanted, 0, 4, b"good"), Some(Ok(Held::Whole)));
        assert_eq!(cache.look(wanted, 5), Ok(Held::Damaged));
    }

    #[test]
    fn e9_the_budget_removes_what_was_unused_for_the_longest_and_nothing_that_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = Cache::open(folder.path(), 20).unwrap();
        let files: [&[u8]; 4] = [&[1; 8], &[2; 8], &[3; 8], &[4; 8]];
        for file in files {
            fetch(&mut cache, file);
        }
        let is_there = |file: &[u8]| folder.path().join(digest(file).to_string()).exists();
        assert!(files.iter().all(|file| is_there(file)), "all are needed");
        cache.release(digest(files[2]));
        assert!(!is_there(files[2]));
        cache.release(digest(files[0]));
        assert_eq!(files.map(is_there), [false, true, false, true]);
        cache.look(digest(files[1]), 8).unwrap();
        cache.release(digest(files[3]));
        cache.release(digest(files[1]));
        assert_eq!(files.map(is_there), [false, true, false, true], "within the budget");
        fetch(&mut cache, &[5; 8]);
        assert_eq!(files.map(is_there), [false, true, false, false]);
        drop(cache);
        Cache::open(folder.path(), 0).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn e9_parts_count_in_the_budget_and_old_ones_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let part = |number: u8| folder.path().join(format!("{}{PART}", digest(&[number])));
        for number in 1..=3 {
            fs::write(part(number), [number; 8]).unwrap();
        }
        let long_ago = SystemTime::now() - PART_AGE_MAX - Duration::from_secs(60);
        File::options().write(true).open(part(3)).unwrap().set_modified(long_ago).unwrap();
        let mut cache = Cache::open(folder.path(), 20).unwrap();
        assert_eq!([1, 2, 3].map(|number| part(number).exists()), [true, true, false]);
        let wanted = [5; 12];
        assert_eq!(cache.look(digest(&wanted), 12), Ok(Held::Part(0)));
        assert_eq!(cache.take(digest(&wanted), 0, 12, &wanted[..8]), Some(Ok(Held::Part(8))));
        assert_eq!([1, 2].map(|number| part(number).exists()).iter().filter(|there| **there).count(), 1);
        assert_eq!(cache.take(digest(&wanted), 8, 12, &wanted[8..]), Some(Ok(Held::Whole)));
        assert_eq!(cache.bytes, 20);
        cache.release(digest(&wanted));
        drop(cache);
        Cache::open(folder.path(), 0).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn e9_a_disk_without_room_is_told_before_it_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = Cache::open(folder.path(), 1_000).unwrap();
        fetch(&mut cache, &[1; 8]);
        cache.release(digest(&[1; 8]));
        cache.available = |_| RESERVE_BYTES + 10;
        let (small, large) = (digest(&[2; 8]), digest(&[3; 11]));
        assert_eq!(cache.look(small, 8), Ok(Held::Part(0)));
        let why = cache.look(large, 11).unwrap_err();
        assert!(why.contains("no room"), "{why}");
        assert!(!folder.path().join(digest(&[1; 8]).to_string()).exists(), "what nothing needs gave way");
        cache.available = |_| RESERVE_BYTES;
        let why = cache.take(small, 0, 8, &[2; 8]).unwrap().unwrap_err();
        assert!(why.contains("no room"), "{why}");
    }
}
