//! B5: what the search found once, and what it needs to reach all of a decoder, is read with every run of the tests.

use fuzz::{TARGETS, Target};
use std::{
    collections::BTreeSet,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

#[test]
fn b5_every_input_that_is_kept_is_read_without_a_panic() {
    let mut broken = Vec::new();
    for Target { name, run, bytes_max, .. } in TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(corpus().join(name)).unwrap_or_else(|error| panic!("{name}: {error}")) {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            assert!(bytes.len() <= bytes_max, "{} is longer than {bytes_max} bytes", path.display());
            if catch_unwind(AssertUnwindSafe(|| run(&bytes))).is_err() {
                broken.push(path);
            }
            inputs += 1;
        }
        assert!(inputs > 0, "{name} has nothing to begin with");
        // Nothing, and what was cut short, is an input as well.
        run(b"");
    }
    assert!(broken.is_empty(), "{broken:?}");
}

#[test]
fn b5_every_folder_of_inputs_belongs_to_a_target() {
    let known: BTreeSet<_> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(known.len(), TARGETS.len(), "no two targets have one name");
    let there: BTreeSet<_> =
        fs::read_dir(corpus()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(there, known);
}

#[test]
fn b5_inputs_cut_anywhere_are_read_without_a_panic() {
    for Target { name, run, .. } in TARGETS {
        for entry in fs::read_dir(corpus().join(name)).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            for end in (0..bytes.len()).step_by(1 + bytes.len() / 40) {
                run(&bytes[..end]);
            }
        }
    }
}
