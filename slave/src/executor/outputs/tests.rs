use super::*;
use common::id::ProgramId;
use std::io::Write;

fn key(number: u128) -> AttemptKey {
    AttemptKey { program: ProgramId(uuid::Uuid::from_u128(number)), attempt: 1 }
}

fn pattern(bytes: u32) -> Vec<u8> {
    (0..bytes).map(|n| (n % 251) as u8).collect()
}

/// Writes through a pipe, as a program does.
fn write(outputs: &mut Outputs, key: AttemptKey, slot: u32, bytes: &[u8]) {
    for part in bytes.chunks(7_001) {
        let (read, write) = rustix::pipe::pipe().unwrap();
        File::from(write).write_all(part).unwrap();
        let mut left = part.len();
        while left > 0 {
            left -= outputs.take(key, Stream::Stdout, slot, read.as_fd(), 5_000).unwrap().0;
        }
        assert_eq!(outputs.take(key, Stream::Stdout, slot, read.as_fd(), 10).unwrap().0, 0);
    }
}

#[test]
fn e5_output_is_byte_exact_in_slots_in_memory_and_in_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut outputs = Outputs::new(folder.path()).unwrap();
    let bytes = pattern(300_000);
    outputs.begin(0).unwrap();
    write(&mut outputs, key(1), 0, &bytes);
    outputs.forget_before(key(1), Stream::Stdout, 1_000);
    assert_eq!(outputs.read(key(1), Stream::Stdout, 999, 10).unwrap(), b"");
    assert_eq!(outputs.read(key(1), Stream::Stdout, 1_000, 200_000).unwrap(), bytes[1_000..201_000]);
    assert_eq!(outputs.tail(key(1), Stream::Stdout), bytes[bytes.len() - 240..]);
    let (sealed, files) = outputs.seal(key(1)).unwrap();
    assert_eq!((files.len(), sealed.streams[0].end), (2, 300_000));
    // The next one in the slot begins with nothing, and small enough to stay in memory.
    outputs.begin(0).unwrap();
    write(&mut outputs, key(2), 0, b"short");
    let (second, files) = outputs.seal(key(2)).unwrap();
    assert_eq!((files.len(), second.streams[0].kept.clone()), (0, Kept::Inline(b"short".to_vec())));
    assert_eq!(outputs.read(key(1), Stream::Stdout, 299_990, 64).unwrap(), bytes[299_990..]);
    outputs.begin(0).unwrap();
    write(&mut outputs, key(3), 0, b"x");
    assert_eq!(outputs.read(key(3), Stream::Stdout, 0, 64).unwrap(), b"x");
    assert_eq!(outputs.read(key(2), Stream::Stdout, 0, 64).unwrap(), b"short");
    outputs.forget_before(key(1), Stream::Stdout, 300_000);
    assert_eq!(std::fs::read_dir(folder.path().join("outbox")).unwrap().count(), 1, "a journal may name it");
    for number in 1..=3 {
        outputs.remove(key(number));
    }
    assert_eq!(std::fs::read_dir(folder.path().join("outbox")).unwrap().count(), 0);
    assert_eq!((outputs.memory_bytes, outputs.streams.len()), (0, 0));
}

#[test]
fn p5_the_next_agent_finds_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = pattern(100_000);
    let (mut sealed, mut small) = (Sealed::default(), Sealed::default());
    {
        let mut outputs = Outputs::new(folder.path()).unwrap();
        outputs.begin(0).unwrap();
        write(&mut outputs, key(1), 0, &bytes);
        sealed.clone_from(&outputs.seal(key(1)).unwrap().0);
        outputs.begin(1).unwrap();
        write(&mut outputs, key(2), 1, b"ended");
        small.clone_from(&outputs.seal(key(2)).unwrap().0);
        // One runs on, one was sealed and not written down.
        outputs.begin(1).unwrap();
        write(&mut outputs, key(3), 1, b"still at it");
        outputs.begin(2).unwrap();
        write(&mut outputs, key(4), 2, &bytes);
        outputs.seal(key(4)).unwrap();
        std::fs::write(folder.path().join("outbox/left"), b"over").unwrap();
    }
    let mut outputs = Outputs::new(folder.path()).unwrap();
    outputs.restore(key(1), sealed).unwrap();
    outputs.restore(key(2), small).unwrap();
    outputs.adopt(key(3), 1).unwrap();
    outputs.adopt(key(4), 2).unwrap();
    outputs.sweep();
    assert!(!folder.path().join("outbox/left").exists());
    for (number, expected) in [(1, bytes.as_slice()), (2, b"ended"), (3, b"still at it"), (4, &bytes)] {
        assert_eq!(outputs.end(key(number), Stream::Stdout), expected.len() as u64);
        assert_eq!(outputs.read(key(number), Stream::Stdout, 0, 1 << 20).unwrap(), expected);
    }
    write(&mut outputs, key(3), 1, b" and done");
    assert_eq!(outputs.read(key(3), Stream::Stdout, 0, 64).unwrap(), b"still at it and done");
}

#[test]
fn e5_what_the_master_has_stored_is_given_back_to_the_disk_and_the_rest_is_byte_exact() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let bytes = pattern(5 << 20);
    let taken = || std::fs::metadata(folder.path().join("spool/slot-0-0")).unwrap().blocks() * 512;
    {
        let mut outputs = Outputs::new(folder.path()).unwrap();
        outputs.begin(0).unwrap();
        write(&mut outputs, key(1), 0, &bytes);
        assert!(taken() >= 5 << 20);
        for stored in [1_000, 3_000_001, 4_000_001] {
            outputs.forget_before(key(1), Stream::Stdout, stored);
        }
        assert!(taken() < 3 << 20, "{} are taken still", taken());
        assert_eq!(outputs.read(key(1), Stream::Stdout, 4_000_001, 5 << 20).unwrap(), bytes[4_000_001..]);
        // All of it is stored: the last line is still told.
        outputs.forget_before(key(1), Stream::Stdout, 5 << 20);
        assert_eq!(outputs.tail(key(1), Stream::Stdout), bytes[bytes.len() - 240..]);
    }
    // The next agent tells from where on it has something.
    let mut outputs = Outputs::new(folder.path()).unwrap();
    outputs.adopt(key(1), 0).unwrap();
    let (begin, end) = (outputs.begin_of(key(1), Stream::Stdout), outputs.end(key(1), Stream::Stdout));
    assert_eq!((begin, end), (((5 << 20) - TAIL_BYTES) / given_back::PAGE_BYTES * given_back::PAGE_BYTES, 5 << 20));
    assert_eq!(outputs.read(key(1), Stream::Stdout, 0, 64).unwrap(), b"");
    let kept = outputs.read(key(1), Stream::Stdout, begin, 5 << 20).unwrap();
    assert_eq!(kept, bytes[usize::try_from(begin).unwrap()..]);
}

#[test]
fn e5_zeros_that_the_file_system_keeps_as_a_hole_were_not_given_back() {
    let folder = tempfile::tempdir().unwrap();
    {
        let mut outputs = Outputs::new(folder.path()).unwrap();
        outputs.begin(0).unwrap();
        outputs.append(key(1), Stream::Stdout, 0, b"").unwrap();
    }
    // As a file system that compresses has them.
    let file = OpenOptions::new().write(true).open(folder.path().join("spool/slot-0-0")).unwrap();
    file.write_all_at(b"behind a megabyte of zeros", 1 << 20).unwrap();
    let mut outputs = Outputs::new(folder.path()).unwrap();
    outputs.adopt(key(1), 0).unwrap();
    assert_eq!(outputs.begin_of(key(1), Stream::Stdout), 0);
    assert_eq!(outputs.read(key(1), Stream::Stdout, 0, 64).unwrap(), [0; 64]);
}

#[test]
fn e5_only_a_master_that_stores_makes_a_program_wait() {
    let folder = tempfile::tempdir().unwrap();
    let mut outputs = Outputs::new(folder.path()).unwrap();
    outputs.begin(0).unwrap();
    outputs.append(key(1), Stream::Stdout, 0, &pattern(64)).unwrap();
    let end = AHEAD_BYTES_MAX + (4 << 20);
    outputs.set_end(key(1), Stream::Stdout, end);
    let now = Instant::now();
    let waits = |outputs: &Outputs, later| outputs.is_far_ahead(key(1), Stream::Stdout, now + later);
    assert!(!waits(&outputs, Duration::ZERO), "nobody stores");
    outputs.forget_before(key(1), Stream::Stdout, 64);
    assert!(waits(&outputs, Duration::ZERO));
    assert!(!waits(&outputs, Duration::from_secs(3_600)), "nothing was stored for long");
    outputs.forget_before(key(1), Stream::Stdout, 4 << 20);
    assert!(!waits(&outputs, Duration::ZERO), "it is not far ahead any more");
}
