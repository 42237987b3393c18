//! What is collected, and what is left out: nothing of the machine, whatever a program plants.

use super::*;
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

struct Bench {
    root: tempfile::TempDir,
    to: Arc<File>,
}

impl Bench {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("work")).unwrap();
        let to = File::options().read(true).write(true).create_new(true).open(root.path().join("stream")).unwrap();
        Self { root, to: Arc::new(to) }
    }

    fn work(&self) -> std::path::PathBuf {
        self.root.path().join("work")
    }

    fn order(&self, patterns: &[&str]) -> Collect {
        Collect {
            folder: rustix::fs::open(self.work(), OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap(),
            patterns: patterns.iter().map(|pattern| (*pattern).to_owned()).collect(),
            owner: rustix::process::geteuid().as_raw(),
            disk_limit: ByteSize(1 << 40),
            available,
            to: self.to.clone(),
        }
    }

    /// The head and the contents, as a client reads them.
    fn run(&self, patterns: &[&str]) -> (Head, Vec<Vec<u8>>) {
        self.perform(&self.order(patterns))
    }

    fn perform(&self, order: &Collect) -> (Head, Vec<Vec<u8>>) {
        let length = collect(order, &|| false).unwrap();
        if length == 0 {
            return (Head::default(), Vec::new());
        }
        assert_eq!(finished(&self.to).unwrap(), Some(length));
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        self.to.read_exact_at(&mut bytes, 0).unwrap();
        let end = HEAD_LENGTH_BYTES + Head::length(bytes[..HEAD_LENGTH_BYTES].try_into().unwrap()).unwrap();
        let head = Head::decode(&bytes[HEAD_LENGTH_BYTES..end]).unwrap();
        let (mut at, mut contents) = (end, Vec::new());
        for file in &head.files {
            let next = at + usize::try_from(file.size.0).unwrap();
            assert_eq!(file.digest.0, *blake3::hash(&bytes[at..next]).as_bytes());
            contents.push(bytes[at..next].to_vec());
            at = next;
        }
        assert_eq!(at as u64, length);
        (head, contents)
    }
}

fn paths(head: &Head) -> Vec<String> {
    let mut paths: Vec<String> = head.files.iter().map(|file| file.path.to_string()).collect();
    paths.sort();
    paths
}

#[test]
fn e5_files_that_fit_a_pattern_come_back_byte_for_byte() {
    let bench = Bench::new();
    let work = bench.work();
    fs::create_dir_all(work.join("out/deep")).unwrap();
    fs::create_dir_all(work.join("other")).unwrap();
    fs::write(work.join("a.txt"), b"first").unwrap();
    fs::write(work.join("out/b.txt"), vec![7; 2_500_000]).unwrap();
    fs::write(work.join("out/deep/c.bin"), b"").unwrap();
    fs::set_permissions(work.join("out/deep/c.bin"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(work.join("other/d.txt"), b"no").unwrap();
    fs::write(work.join(".ruche-progress"), b"50").unwrap();
    fs::write(work.join(OsStr::from_bytes(b"out/\xff\x1b[2J")), b"odd").unwrap();
    let (head, contents) = bench.run(&["a.txt", "out/**"]);
    assert_eq!(head.left_out, Vec::<String>::new());
    assert_eq!(head.files.len(), 4);
    for (file, content) in head.files.iter().zip(contents) {
        let expected = fs::read(work.join(OsStr::from_bytes(&file.path.0))).unwrap();
        assert_eq!(content, expected, "{}", file.path);
        assert_eq!(file.executable, file.path.0 == b"out/deep/c.bin");
    }
    assert_eq!(paths(&bench.run(&["*"]).0), ["a.txt"]);
    assert_eq!(bench.run(&["nothing", "*/nothing"]).0, Head::default());
    assert_eq!(bench.to.metadata().unwrap().len(), 0);
}

#[test]
fn i9_links_pipes_sockets_and_hard_links_are_left_out_and_not_waited_for() {
    let bench = Bench::new();
    let work = bench.work();
    let outside = bench.root.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), b"secret").unwrap();
    symlink(outside.join("secret"), work.join("link")).unwrap();
    symlink(&outside, work.join("folder")).unwrap();
    symlink("/proc/self/environ", work.join("magic")).unwrap();
    fs::hard_link(outside.join("secret"), work.join("hard")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, work.join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(work.join("socket")).unwrap();
    fs::write(work.join("fine"), b"fine").unwrap();
    let (head, contents) = bench.run(&["**", "folder/secret", "link"]);
    assert_eq!(paths(&head), ["fine"]);
    assert_eq!(contents, [b"fine".to_vec()]);
    let mut told = head.left_out.clone();
    told.sort();
    let names: Vec<&str> = told.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(names, ["folder", "hard", "link", "magic", "pipe", "socket"]);
}

#[test]
fn i9_a_file_of_another_user_is_left_out() {
    let bench = Bench::new();
    fs::write(bench.work().join("x"), b"x").unwrap();
    let mut order = bench.order(&["*"]);
    order.owner += 1;
    let length = collect(&order, &|| false).unwrap();
    assert!(length > 0);
    let (head, _) = bench.run(&["*"]);
    assert_eq!(paths(&head), ["x"], "of its own user it comes");
}

#[test]
fn i9_a_folder_that_is_swapped_with_a_link_leads_nowhere() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let bench = Bench::new();
    let work = bench.work();
    let outside = bench.root.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), b"secret").unwrap();
    fs::create_dir(work.join("dir")).unwrap();
    fs::write(work.join("dir/file"), b"public").unwrap();
    symlink(&outside, work.join("link")).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let swap = rustix::fs::RenameFlags::EXCHANGE;
                let at = rustix::fs::CWD;
                rustix::fs::renameat_with(at, work.join("dir"), at, work.join("link"), swap).unwrap();
            }
        });
        for _ in 0..2_000 {
            let (_, contents) = bench.run(&["**"]);
            assert!(contents.iter().all(|content| content == b"public"));
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn i11_looking_is_bounded() {
    let bench = Bench::new();
    let mut at = rustix::fs::open(bench.work(), OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap();
    for _ in 0..200 {
        rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, "d", OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap();
    }
    fs::write(bench.work().join("d/near"), b"1").unwrap();
    let huge = File::create(bench.work().join("huge")).unwrap();
    huge.set_len(1 << 43).unwrap();
    for number in 0..COLLECTED_FILES_MAX + 200 {
        fs::write(bench.work().join(format!("many-{number}")), b"").unwrap();
    }
    let (head, _) = bench.run(&["**"]);
    assert_eq!(head.files.len(), COLLECTED_FILES_MAX);
    assert!(head.left_out.len() <= LEFT_OUT_MAX + 1 && head.left_out.last().unwrap().starts_with("and "));
    let (head, _) = bench.run(&["huge", "d/**"]);
    assert_eq!(paths(&head), ["d/near"]);
    assert!(head.left_out.iter().any(|line| line.contains("deep")), "{:?}", head.left_out);
    assert!(head.left_out.iter().any(|line| line.starts_with("huge")), "{:?}", head.left_out);
}

#[test]
fn p6_a_stream_that_was_cut_is_not_taken_for_a_whole_one() {
    let bench = Bench::new();
    fs::write(bench.work().join("x"), vec![1; 100_000]).unwrap();
    let length = collect(&bench.order(&["*"]), &|| false).unwrap();
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    bench.to.read_exact_at(&mut bytes, 0).unwrap();
    let path = bench.root.path().join("other");
    let check = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        finished(&File::open(Path::new(&path)).unwrap()).unwrap()
    };
    assert_eq!(check(&bytes), Some(length));
    assert_eq!(check(&bytes[..bytes.len() - 1]), None);
    assert_eq!(check(&bytes[..20]), None);
    assert_eq!(check(&[]), None);
    // The contents are there and the head is not.
    bytes[..50].fill(0);
    assert_eq!(check(&bytes), None);
    assert!(collect(&bench.order(&["*"]), &|| true).is_err(), "a job that is stopped ends");
}

#[test]
fn e9_holes_are_not_written_out_beyond_the_disk_limit_of_the_program() {
    let bench = Bench::new();
    let work = bench.work();
    fs::write(work.join("a"), b"small").unwrap();
    File::create(work.join("hole")).unwrap().set_len(64 << 20).unwrap();
    let (head, contents) = bench.perform(&Collect { disk_limit: ByteSize(1 << 20), ..bench.order(&["*"]) });
    assert_eq!(contents, [b"small"]);
    assert_eq!(head.left_out, ["hole: more than the disk limit of 1 MiB in all"]);
    assert!(bench.to.metadata().unwrap().len() < 1 << 20);
}

#[test]
fn e9_a_disk_without_room_is_not_filled_and_that_is_told() {
    let bench = Bench::new();
    fs::write(bench.work().join("a"), vec![1; 3 << 20]).unwrap();
    // There is no room from the beginning.
    let (head, contents) = bench.perform(&Collect { available: |_| RESERVE_BYTES + 4, ..bench.order(&["*"]) });
    assert!(contents.is_empty());
    assert_eq!(head.left_out, [format!("a: {NO_ROOM}")]);
    // Others fill the disk meanwhile: here, what was written is more than it seemed to have.
    let available = |to: &File| match to.metadata().unwrap().len() {
        0 => u64::MAX,
        length => (RESERVE_BYTES + (2 << 20)).saturating_sub(length),
    };
    let (head, contents) = bench.perform(&Collect { available, ..bench.order(&["*"]) });
    assert!(contents.is_empty());
    assert_eq!(head.left_out, [format!("a: {NO_ROOM}")]);
}
