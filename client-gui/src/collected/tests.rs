//! Lists are read once, and files are written whole, checked, inside their folder and over nothing unasked.

use super::*;
use crate::demo::Demo;

/// The program of the demonstration that brought files back, with its list.
fn listed(demo: &Demo) -> (ProgramView, Arc<Listed>) {
    let row = demo.mirror().history.known().find(|row| row.name == "plot.py").map(|row| (**row).clone()).unwrap();
    let mut lists = FileLists::default();
    for _ in 0..10 {
        lists.follow(&row, demo, true);
    }
    let listed = lists.get(row.id).unwrap().clone().unwrap();
    assert!(!lists.follow(&row, demo, true), "a list that is here is not asked for again");
    (row, listed)
}

fn wait<T>(asked: &mut Asked<T>) -> Result<T, UserError> {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while std::time::Instant::now() < deadline {
        if let Some(answer) = asked.poll() {
            return answer;
        }
        std::thread::yield_now();
    }
    panic!("the files are not written in time");
}

fn fetch(id: ProgramId, files: &[usize], folder: &Path, existing: Existing) -> Fetch {
    Fetch { id, files: files.to_vec(), folder: folder.to_owned(), name: None, existing }
}

#[test]
fn e7_files_come_back_as_the_program_left_them() {
    let demo = Demo::new();
    let (row, listed) = listed(&demo);
    let backend: Rc<dyn Backend> = Rc::new(demo);
    let folder = tempfile::tempdir().unwrap();
    let into = folder.path().join("results");
    let all = fetch(row.id, &[0, 1, 2, 3, 4], &into, Existing::Ask);
    assert_eq!(wait(&mut all.taken(&listed)).unwrap(), Vec::<usize>::new());
    let said = wait(&mut all.run(&listed, &backend)).unwrap();
    assert!(said.starts_with("5 files (") && said.contains("results"), "{said}");
    for file in &listed.head.files {
        let path = into.join(std::ffi::OsStr::from_bytes(&file.path.0));
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(*blake3::hash(&bytes).as_bytes(), file.digest.0, "{}", file.path);
    }
    assert_eq!(wait(&mut all.taken(&listed)).unwrap(), [0, 1, 2, 3, 4]);
    // A second time they are there: over them only when that is wanted.
    let again = fetch(row.id, &[0], &into, Existing::Stay);
    assert!(wait(&mut again.run(&listed, &backend)).unwrap_err().is(ErrorCode::FileUnwritable));
    std::fs::write(into.join("plot.png"), b"mine").unwrap();
    assert!(wait(&mut again.run(&listed, &backend)).is_err());
    assert_eq!(std::fs::read(into.join("plot.png")).unwrap(), b"mine");
    let over = fetch(row.id, &[0], &into, Existing::Replace);
    wait(&mut over.run(&listed, &backend)).unwrap();
    assert_eq!(std::fs::metadata(into.join("plot.png")).unwrap().len(), listed.head.files[0].size.0);
}

#[test]
fn e7_one_file_is_written_under_a_name_of_ones_own() {
    let demo = Demo::new();
    let (row, listed) = listed(&demo);
    let backend: Rc<dyn Backend> = Rc::new(demo);
    let folder = tempfile::tempdir().unwrap();
    let mut one = fetch(row.id, &[1], folder.path(), Existing::Stay);
    one.name = Some("mine.csv".into());
    let said = wait(&mut one.run(&listed, &backend)).unwrap();
    assert!(said.starts_with("mine.csv ("), "{said}");
    assert!(std::fs::read_to_string(folder.path().join("mine.csv")).unwrap().starts_with("0,0\n1,1\n2,4\n"));
}

#[test]
fn b12_nothing_is_written_through_a_link_or_outside() {
    let demo = Demo::new();
    let (row, listed) = listed(&demo);
    let backend: Rc<dyn Backend> = Rc::new(demo);
    let folder = tempfile::tempdir().unwrap();
    let (into, outside) = (folder.path().join("into"), folder.path().join("outside"));
    std::fs::create_dir_all(&into).unwrap();
    std::fs::create_dir_all(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, into.join("data")).unwrap();
    let through = fetch(row.id, &[1], &into, Existing::Replace);
    assert_eq!(wait(&mut through.taken(&listed)).unwrap(), [1], "the way to it is no folder");
    assert!(wait(&mut through.run(&listed, &backend)).unwrap_err().is(ErrorCode::FileUnwritable));
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    let mut hostile = (*listed).clone();
    hostile.head.files[0].path = RawText(b"../outside/x".to_vec());
    let out = fetch(row.id, &[0], &into, Existing::Replace);
    assert!(wait(&mut out.run(&hostile, &backend)).is_err());
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn e7_what_is_not_as_it_was_listed_is_not_kept() {
    let demo = Demo::new();
    let (row, listed) = listed(&demo);
    let backend: Rc<dyn Backend> = Rc::new(demo);
    let folder = tempfile::tempdir().unwrap();
    let mut other = (*listed).clone();
    other.head.files[1].digest = common::Digest([0; 32]);
    let one = fetch(row.id, &[1], folder.path(), Existing::Stay);
    assert!(wait(&mut one.run(&other, &backend)).unwrap_err().is(ErrorCode::InputDamaged));
    assert!(!folder.path().join("data/points.csv").exists());
    // A stream that ends too early.
    other = (*listed).clone();
    other.head.files[4].size = ByteSize(9);
    let cut = fetch(row.id, &[4], folder.path(), Existing::Stay);
    assert!(wait(&mut cut.run(&other, &backend)).unwrap_err().sentence.contains("a part of it is missing"));
}

#[test]
fn b12_a_damaged_list_is_told() {
    for bytes in [&b"\xff\xff\xff\xff"[..], b"\0\0\0\x02\xff\xff"] {
        assert!(super::listed(bytes).unwrap_err().is(ErrorCode::InputDamaged));
    }
    for bytes in [&b""[..], b"\0\0", b"\0\0\0\x09abc"] {
        assert_eq!(super::listed(bytes), Ok(None), "some of it is missing");
    }
}
