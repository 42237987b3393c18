//! Files come in parts, are checked, and survive a restart.

use super::*;

fn digest(bytes: &[u8]) -> Digest {
    Digest(*blake3::hash(bytes).as_bytes())
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
        assert_eq!(inputs.put(digest, size, 0, &bytes[..1 << 20]).unwrap(), Put::Held(InputHeld::Part(1 << 20)));
        // A part that is not the next changes nothing.
        assert_eq!(inputs.put(digest, size, 0, &bytes[..10]).unwrap(), Put::Held(InputHeld::Part(1 << 20)));
        assert_eq!(inputs.put(digest, size, 2 << 20, &bytes[2 << 20..]).unwrap(), Put::Held(InputHeld::Part(1 << 20)));
    }
    let (inputs, found) = Inputs::open(data.path()).unwrap();
    assert!(found.is_empty());
    assert_eq!(inputs.held(&[digest]), [InputHeld::Part(1 << 20)]);
    assert_eq!(
        inputs.put(digest, size, 1 << 20, &bytes[1 << 20..2 << 20]).unwrap(),
        Put::Held(InputHeld::Part(2 << 20))
    );
    assert_eq!(inputs.put(digest, size, 2 << 20, &bytes[2 << 20..]).unwrap(), Put::Whole);
    assert_eq!(inputs.held(&[digest]), [InputHeld::Whole]);
    assert_eq!(inputs.put(digest, size, 0, b"x").unwrap(), Put::Held(InputHeld::Whole));
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
    assert_eq!(inputs.held(&[digest]), [InputHeld::Part(0)]);
    assert!(inputs.read(digest, 0).unwrap().is_none());
}

#[test]
fn s3_another_content_is_refused_and_not_kept() {
    let data = tempfile::tempdir().unwrap();
    let (inputs, _) = Inputs::open(data.path()).unwrap();
    let claimed = digest(b"harmless");
    let error = inputs.put(claimed, 4, 0, b"evil").unwrap_err();
    assert!(error.is(ErrorCode::InputDamaged), "{error}");
    assert_eq!(inputs.held(&[claimed]), [InputHeld::Part(0)]);
    assert_eq!(std::fs::read_dir(data.path().join("inputs/parts")).unwrap().count(), 0);
    // A size that does not fit, and a part beyond the end.
    inputs.put(claimed, 8, 0, b"har").unwrap();
    assert!(inputs.put(claimed, 9, 3, b"mless").unwrap_err().is(ErrorCode::InputDamaged));
    assert!(inputs.put(claimed, 8, 3, b"mless and more").unwrap_err().is(ErrorCode::RequestInvalid));
    assert_eq!(inputs.put(claimed, 8, 3, b"mless").unwrap(), Put::Whole);
    // An empty file is a file.
    assert_eq!(inputs.put(digest(b""), 0, 0, b"").unwrap(), Put::Whole);
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
