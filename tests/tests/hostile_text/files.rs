//! B7, B12, B13, B19: names and contents of files that go there and come back.

use crate::{
    bytes_below, small_cluster,
    terminal::{Shown, on_terminal},
};
use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    path::{Path, PathBuf},
};
use tests::{Cluster, cli::Cli, wait_until};

/// No text, and what a terminal obeys.
const NAME: &[u8] = b"a\xff\x1b]0;title\x07 \xc3\xa9";

fn folder(cluster: &Cluster, name: &str) -> PathBuf {
    let folder = cluster.path().join(name);
    fs::create_dir(&folder).unwrap();
    folder
}

/// `ruche ARGS…` in this folder, on a terminal.
fn shown_in<S: AsRef<OsStr>>(cli: &Cli, folder: &Path, args: impl IntoIterator<Item = S>) -> Shown {
    let mut command = cli.command(args);
    command.current_dir(folder);
    on_terminal(command)
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn newest(admin: &Cli) -> String {
    admin.list(&[])[0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn b19_files_go_and_come_back_under_their_exact_names_with_their_exact_bytes() {
    let cluster = small_cluster();
    let admin = cluster.admin();
    let (home, back) = (folder(&cluster, "home"), folder(&cluster, "back"));
    let bytes: Vec<u8> = (0..70_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(home.join(OsStr::from_bytes(NAME)), &bytes).unwrap();
    let mut line = words(&["run", "--input"]);
    line.push(home.join(OsStr::from_bytes(NAME)).into());
    line.extend(words(&[
        "--collect",
        "out/*",
        "--",
        "sh",
        "-c",
        "mkdir out && for f in a*; do cp \"$f\" \"out/x$f\"; done",
    ]));
    let shown = shown_in(&admin, &back, &line);
    shown.is_plain();
    assert_eq!(shown.code, Some(0), "{}", shown.text());
    let name = [b"x", NAME].concat();
    assert!(fs::read(back.join("out").join(OsStr::from_bytes(&name))).unwrap() == bytes);

    let id = newest(&admin);
    let list = shown_in(&admin, &back, words(&["fetch", &id, "--list"]));
    list.is_plain();
    assert!(list.text().contains("xa\\xff\\x1b]0;title\\x07 é"), "{}", list.text());
    // It is there already, and is not written over.
    fs::write(back.join("out").join(OsStr::from_bytes(&name)), "mine").unwrap();
    let again = shown_in(&admin, &back, words(&["fetch", &id]));
    again.is_plain();
    assert!(again.code != Some(0) && again.text().contains("\\xff\\x1b]0;"), "{:?}", again.text());
    assert_eq!(fs::read(back.join("out").join(OsStr::from_bytes(&name))).unwrap(), b"mine");
    let show = shown_in(&admin, &back, words(&["show", &id]));
    show.is_plain();
}

#[test]
fn b12_what_comes_back_is_of_the_working_folder_and_stays_in_the_folder_it_goes_to() {
    let cluster = small_cluster();
    let admin = cluster.admin();
    let (back, outside) = (folder(&cluster, "back"), folder(&cluster, "elsewhere"));
    let make = "echo good > good; ln -s /etc/passwd link; ln -s /etc folder; ln -s . here; mkfifo pipe; \
        echo two > two; ln two hard; mkdir -p deep/er && echo deep > deep/er/file; ln -s /proc/self/fd proc; echo ' ' > '..a'; mkdir through; echo x > through/file";
    let mut line = words(&["run", "--collect", "**", "--", "sh", "-c", make]);
    let shown = shown_in(&admin, &back, &line);
    shown.is_plain();
    assert_eq!(fs::read_to_string(back.join("good")).unwrap(), "good\n", "{}", shown.text());
    assert_eq!(fs::read_to_string(back.join("deep/er/file")).unwrap(), "deep\n");
    assert_eq!(fs::read_to_string(back.join("..a")).unwrap(), " \n");
    for (path, data) in everything_below(&back) {
        assert!(data.is_file() || data.is_dir(), "{} is neither", path.display());
        assert!(fs::read(&path).map_or(true, |text| !text.starts_with(b"root:")), "{}", path.display());
    }

    // The folder that it goes to has a link out of it where a folder should be.
    let trap = folder(&cluster, "trap");
    symlink(&outside, trap.join("through")).unwrap();
    symlink(outside.join("written"), trap.join("good")).unwrap();
    line.insert(1, "--force".into());
    shown_in(&admin, &trap, &line).is_plain();
    assert_eq!(bytes_below(&outside), 0, "nothing was written through a link");
    assert!(!outside.join("written").exists() && !outside.join("file").exists());
}

fn everything_below(folder: &Path) -> Vec<(PathBuf, fs::Metadata)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let data = fs::symlink_metadata(&path).unwrap();
        if data.is_dir() {
            all.extend(everything_below(&path));
        }
        all.push((path, data));
    }
    all
}

#[test]
fn b7_a_bomb_that_comes_back_is_just_bytes_and_many_files_are_within_the_disk_limit() {
    let cluster = small_cluster();
    let admin = cluster.admin();
    let back = folder(&cluster, "back");
    admin.run(["run", "--", "true"]).expect(0);
    let slave = cluster.path().join("pc-01");
    let before = bytes_below(&slave);
    let make = "import gzip; open('bomb.gz', 'wb').write(gzip.compress(bytes(64 << 20)))";
    let shown = shown_in(&admin, &back, words(&["run", "--collect", "*.gz", "--", "python3", "-c", make]));
    assert_eq!(shown.code, Some(0), "{}", shown.text());
    let size = fs::metadata(back.join("bomb.gz")).unwrap().len();
    assert!(size < 1 << 20 && fs::read(back.join("bomb.gz")).unwrap().starts_with(&[0x1f, 0x8b]), "{size} bytes");

    let fill = "i=0; while :; do head -c 262144 /dev/zero > f$i; i=$((i+1)); done";
    let ran = admin.run(["run", "--disk", "8M", "--wall-time", "60s", "--", "sh", "-c", fill]);
    let row = admin.list(&[])[0].clone();
    assert_eq!((ran.code, row["outcome"]["limit"].as_str()), (125, Some("disk")), "{row} {}", ran.err());
    wait_until("the slave's folder holds what it held before", || {
        (bytes_below(&slave) <= before + 2 * size + (512 << 10)).then_some(())
    });
}
