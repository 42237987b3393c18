//! Many input files at once, under a low limit of descriptors: alone in its process, as the limit is the process's.

use common::{id::Digest, units::ByteSize};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use slave::files::{Files, Held};

#[tokio::test]
async fn e9_a_thousand_files_on_their_way_need_few_descriptors() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
    let data = tempfile::tempdir().unwrap();
    let mut files = Files::start(data.path(), ByteSize(1 << 20)).unwrap();
    let content = |n: u32| n.to_be_bytes();
    let digest = |n| Digest(*blake3::hash(&content(n)).as_bytes());
    for n in 0..1_000 {
        files.look(digest(n), 4);
        assert_eq!(files.next().await.result, Ok(Held::Part(0)), "{n}");
    }
    for (range, held) in [(0..2, Held::Part(2)), (2..4, Held::Whole)] {
        for n in 0..1_000 {
            assert!(files.take(digest(n), range.start as u64, 4, content(n)[range.clone()].to_vec()));
            assert_eq!(files.next().await.result, Ok(held), "{n}");
        }
    }
}
