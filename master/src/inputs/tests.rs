//! Files come in parts, are checked, and survive a restart.

use super::*;

fn digest(bytes: &[u8]) -> Digest {
    Digest(*blake3::hash(bytes).as_bytes())
}

fn user() -> User {
    "ada".into()
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n % 253) as u8).collect()
}

#[test]
fn s7_a_file_that_was_cut_goes_on_after_a_restart_and_is_checked() {
    let data = tempfile::tempdir().unwrap();
    let bytes = content(3_000_000);
    let (digest, size) = (digest(&bytes), bytes.len() as u64);
    {
        let (inputs, found) = Inputs::open(data.path()).unwrap();
        assert!(found.is_empty());
        assert_eq!(
            inputs.put(&user(), digest, size, 0, &bytes[..1 << 20]).unwrap(),
            Put::Held(InputHeld::Part(1 << 20))
        );
        // A part that is not the next changes nothing.
        assert_eq!(inputs.put(&user(), digest, size, 0, &bytes[..10]).unwrap(), Put::Held(InputHeld::Part(1 << 20)));
        assert_eq!(
            inputs.put(&user(), digest, size, 2 << 20, &bytes[2 << 20..]).unwrap(),
            Put::Held(InputHeld::Part(1 << 20))
        );
    }
    let (inputs, found) = Inputs::open(data.path()).unwrap();
    assert!(found.is_empty());
    assert_eq!(inputs.held(&user(), &[digest]), [InputHeld::Part(1 << 20)]);
    assert_eq!(
        inputs.put(&user(), digest, size, 1 << 20, &bytes[1 << 20..2 << 20]).unwrap(),
        Put::Held(InputHeld::Part(2 << 20))
    );
    assert_eq!(inputs.put(&user(), digest, size, 2 << 20, &bytes[2 << 20..]).unwrap(), Put::Whole);
    assert_eq!(inputs.held(&user(), &[digest]), [InputHeld::Whole]);
    assert_eq!(inputs.put(&user(), digest, size, 0, b"x").unwrap(), Put::Held(InputHeld::Whole));
    drop(inputs);
    let (inputs, found) = Inputs::open(data.path()).unwrap();
    assert_eq!(found, [(digest, size)]);
    let mut read = Vec::new();
    while read.len() < bytes.len() {
        let (told, pieces) = inputs.read(digest, read.len() as u64).unwrap().unwrap();
        assert_eq!(told, size);
        assert!(pieces.iter().map(Vec::len).sum::<usize>() as u64 <= INPUT_WINDOW_BYTES);
        read.extend(pieces.concat());
    }
    assert_eq!(read, bytes);
    inputs.remove(digest);
    assert_eq!(inputs.held(&user(), &[digest]), [InputHeld::Part(0)]);
    assert!(inputs.read(digest, 0).unwrap().is_none());
}

#[test]
fn s3_another_content_is_refused_and_not_kept() {
    let data = tempfile::tempdir().unwrap();
    let (inputs, _) = Inputs::open(data.path()).unwrap();
    let claimed = digest(b"harmless");
    let error = inputs.put(&user(), claimed, 4, 0, b"evil").unwrap_err();
    assert!(error.is(ErrorCode::InputDamaged), "{error}");
    assert_eq!(inputs.held(&user(), &[claimed]), [InputHeld::Part(0)]);
    assert_eq!(std::fs::read_dir(data.path().join("inputs/parts")).unwrap().count(), 0);
    // A size that does not fit, and a part beyond the end.
    inputs.put(&user(), claimed, 8, 0, b"har").unwrap();
    assert!(inputs.put(&user(), claimed, 9, 3, b"mless").unwrap_err().is(ErrorCode::InputDamaged));
    assert!(inputs.put(&user(), claimed, 8, 3, b"mless and more").unwrap_err().is(ErrorCode::RequestInvalid));
    assert_eq!(inputs.put(&user(), claimed, 8, 3, b"mless").unwrap(), Put::Whole);
    // An empty file is a file.
    assert_eq!(inputs.put(&user(), digest(b""), 0, 0, b"").unwrap(), Put::Whole);
}

#[test]
fn s5_one_slave_does_not_take_all_reads() {
    let data = tempfile::tempdir().unwrap();
    let inputs = Arc::new(Inputs::open(data.path()).unwrap().0);
    let taken: Vec<_> = std::iter::from_fn(|| inputs.may_read(LinkId(1))).take(100).collect();
    assert_eq!(taken.len(), READS_PER_SLAVE_MAX as usize);
    assert!(inputs.may_read(LinkId(2)).is_some());
    drop(taken);
    assert!(inputs.may_read(LinkId(1)).is_some());
    assert!(inputs.state().reads.is_empty());
}

#[test]
fn names_of_files_are_their_digests() {
    let known = digest(b"x");
    let name = name_of(known);
    assert_eq!(digest_of(&name[3..]), Some(known));
    for name in ["", "..", "zz", &"A".repeat(64), &"+1".repeat(32)] {
        assert_eq!(digest_of(name), None);
    }
}

#[test]
fn s5_what_a_user_announces_or_begins_binds_no_other() {
    let data = tempfile::tempdir().unwrap();
    let (inputs, _) = Inputs::open(data.path()).unwrap();
    let (ada, eve): (User, User) = ("ada".into(), "../eve".into());
    let wanted = digest(b"wanted");
    // Another size and another beginning.
    let far = INPUT_FILE_BYTES_MAX.0;
    assert_eq!(inputs.put(&eve, wanted, far, 0, b"evil").unwrap(), Put::Held(InputHeld::Part(4)));
    assert_eq!(inputs.held(&ada, &[wanted]), [InputHeld::Part(0)]);
    assert_eq!(inputs.room_wanted(&ada, wanted, 6), Some(10), "only what came counts of others");
    assert_eq!(inputs.room_wanted(&eve, digest(b"more"), 6), Some(far + 6));
    assert_eq!(inputs.put(&ada, wanted, 6, 0, b"wan").unwrap(), Put::Held(InputHeld::Part(3)));
    // Many that are never finished.
    for n in 1..PARTS_PER_USER_MAX {
        inputs.put(&eve, digest(&n.to_be_bytes()), 9, 0, b"x").unwrap();
    }
    assert!(inputs.put(&eve, digest(b"one more"), 9, 0, b"x").unwrap_err().is(ErrorCode::Busy));
    assert_eq!(inputs.put(&ada, wanted, 6, 3, b"ted").unwrap(), Put::Whole);
    assert_eq!(inputs.put(&eve, wanted, far, 4, b"evil").unwrap(), Put::Held(InputHeld::Whole));
    inputs.put(&eve, digest(b"one more"), 9, 0, b"x").unwrap();
    assert_eq!(std::fs::read_dir(data.path().join("inputs/parts")).unwrap().count(), PARTS_PER_USER_MAX);
    drop(inputs);
    let (inputs, _) = Inputs::open(data.path()).unwrap();
    assert_eq!(inputs.held(&eve, &[digest(b"one more")]), [InputHeld::Part(1)]);
    assert_eq!(inputs.held(&ada, &[digest(b"one more")]), [InputHeld::Part(0)]);
}

#[test]
fn s5_files_on_their_way_need_no_descriptors() {
    let data = tempfile::tempdir().unwrap();
    let (inputs, _) = Inputs::open(data.path()).unwrap();
    for n in 0..PARTS_PER_USER_MAX {
        inputs.put(&user(), digest(&n.to_be_bytes()), 9, 0, b"x").unwrap();
    }
    let parts = data.path().canonicalize().unwrap().join("inputs/parts");
    let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    assert_eq!(open.filter(|path| path.starts_with(&parts)).count(), 0);
}
