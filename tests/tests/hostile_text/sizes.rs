//! B7: nothing is ever unpacked, so what is small packed and huge unpacked is just bytes; what a program makes of it
//! is within its limits and gone with it.

use crate::{bytes_below, small_cluster};
use std::process::Command;
use tests::{Cluster, cli::Cli, wait_until};

/// What 64 MiB of nothing are packed: some 64 KiB.
fn bomb(cluster: &Cluster) -> (String, Vec<u8>) {
    let made = Command::new("python3")
        .args(["-c", "import gzip, sys; sys.stdout.buffer.write(gzip.compress(bytes(64 << 20)))"])
        .output()
        .unwrap()
        .stdout;
    assert!((1_000..1 << 20).contains(&made.len()), "{} bytes", made.len());
    (cluster.file("bomb.gz", &made), made)
}

/// A slave's folder holds no more than this beside what it held before.
const KEPT_MAX: u64 = 512 << 10;

#[test]
fn b7_a_bomb_is_just_bytes_and_leaves_nothing_behind() {
    let cluster = small_cluster();
    let admin = cluster.admin();
    // What a first program makes is there already.
    admin.run(["run", "--", "true"]).expect(0);
    let slave = cluster.path().join("pc-01");
    let (slave_before, master_before) = (bytes_below(&slave), bytes_below(&cluster.data()));
    let (path, bytes) = bomb(&cluster);

    let ran = admin.run(["run", "--stdin", &path, "--", "cat"]).expect(0);
    assert!(ran.stdout == bytes, "it went through as it is");
    for (options, code, limit) in [
        (&["--output", "1M"][..], 125, "output"),
        (&["--file-size", "8M"], 125, "file-size"),
        (&["--memory", "32M"], 137, "memory"),
    ] {
        let program: &[&str] = match limit {
            "file-size" => &["sh", "-c", "exec gzip -dc > big"],
            "memory" => &["python3", "-c", "import gzip, sys; print(len(gzip.decompress(sys.stdin.buffer.read())))"],
            _ => &["gzip", "-dc"],
        };
        let mut args = vec!["run", "--stdin", &path];
        args.extend(options);
        args.push("--");
        args.extend(program);
        let ran = admin.run(&args);
        let row = newest(&admin);
        assert_eq!((ran.code, row["outcome"]["limit"].as_str()), (code, Some(limit)), "{row} {}", ran.err());
        assert!(ran.stdout.len() <= 1 << 20, "{} bytes came", ran.stdout.len());
    }
    wait_until("the slave's folder holds what it held before", || {
        (bytes_below(&slave) <= slave_before + KEPT_MAX).then_some(())
    });
    // The master keeps what was sent and what came back, at most twice while its log holds it as well.
    let sent = 4 * bytes.len() as u64 + (1 << 20) + bytes.len() as u64;
    let grown = bytes_below(&cluster.data()) - master_before;
    assert!(grown <= 3 * sent + (8 << 20), "the master's folder grew by {grown} bytes");
    assert!(grown < 64 << 20, "nothing was unpacked there");
}

fn newest(admin: &Cli) -> serde_json::Value {
    admin.run(["list", "--json", "--limit", "1"]).expect(0).json()[0].clone()
}

#[test]
fn b7_an_upload_beyond_its_limit_is_refused_while_it_is_read() {
    let cluster = small_cluster();
    let admin = cluster.admin();
    let before = bytes_below(&cluster.data());
    // A file that claims to be endless, and one that is.
    let sparse = cluster.path().join("sparse");
    std::fs::File::create(&sparse).unwrap().set_len(10 << 30).unwrap();
    for path in [sparse.to_str().unwrap(), "/dev/zero"] {
        let refused = admin.run(["run", "--stdin", path, "--", "true"]);
        assert!(refused.code == 125 && refused.err().contains("E-SUBMIT-INVALID"), "{path}: {}", refused.err());
        assert!(refused.err().contains("8 MiB"), "{}", refused.err());
    }
    let refused = admin.run(["run", "--language", "Python", sparse.to_str().unwrap()]);
    assert!(refused.code == 125 && refused.err().contains("4 MiB"), "{}", refused.err());
    assert_eq!(admin.list(&[]).len(), 0);
    assert!(bytes_below(&cluster.data()) - before < 256 << 10);
}
