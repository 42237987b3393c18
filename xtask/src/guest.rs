//! The launcher's tests of limits in a guest whose kernel has version 2 of control groups alone, with all controllers:
//! hardly any machine of a developer offers them, and every server of today does.
//!
//! Nothing is installed: the packages of emulator, kernel and busybox are downloaded with the machine's own apt into
//! target/guest and unpacked there. The guest is emulated (no KVM), has no network and no disk, and says what happened
//! on its serial console.

use crate::workspace::{command, root};
use anyhow::{Context, bail, ensure};
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// What the guest is made of. The kernel's own package follows from the last one, which only names it.
const PACKAGES: [&str; 2] = ["qemu-system-x86", "busybox-static"];
const KERNEL: &str = "linux-image-cloud-amd64";
/// Test targets of the crate `launcher` that run in it, and what they leave out: the guest's disk is its memory.
const TARGETS: [(&str, &[&str]); 1] = [("limits", &["--skip", "i15"])];
const MEMORY_MIB: &str = "1024";
/// Emulated, it takes about a minute.
const GUEST_MAX: Duration = Duration::from_secs(15 * 60);
const PASSED: &str = "guest: everything passed";

/// How a run of the guest went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// All tests passed in it.
    Passed,
    /// It cannot be had here; why was printed.
    Skipped,
}

/// Makes the guest and runs the tests in it, or only those whose names hold one of `only`.
///
/// # Errors
/// When a test failed in it, or it did not come to its end.
pub fn run(only: &[String]) -> anyhow::Result<Ran> {
    let folder = root().join("target/guest");
    if std::env::consts::ARCH != "x86_64" {
        println!("guest: left out: the guest is for x86_64, and this machine is {}", std::env::consts::ARCH);
        return Ok(Ran::Skipped);
    }
    let parts = match unpacked(&folder) {
        Ok(parts) => parts,
        Err(error) => {
            println!("guest: left out: its packages cannot be had here: {error:#}");
            return Ok(Ran::Skipped);
        }
    };
    let archive = folder.join("initramfs");
    let begun = Instant::now();
    pack(&folder.join("files"), &archive, &parts, &binaries(only)?).context("cannot make the guest's files")?;
    println!("guest: packed in {:.1} s, starts", begun.elapsed().as_secs_f64());
    let begun = Instant::now();
    watch(start(&parts, &archive)?)?;
    println!("guest: took {:.1} s", begun.elapsed().as_secs_f64());
    Ok(Ran::Passed)
}

/// Where things are below target/guest.
struct Parts {
    unpacked: PathBuf,
    kernel: PathBuf,
    busybox: PathBuf,
}

/// Downloads and unpacks what is not there yet.
fn unpacked(folder: &Path) -> anyhow::Result<Parts> {
    let done = folder.join("unpacked");
    if !done.is_dir() {
        let (packages, fresh) = (folder.join("packages"), folder.join("unpacking"));
        for path in [&packages, &fresh] {
            drop(fs::remove_dir_all(path));
            fs::create_dir_all(path)?;
        }
        // apt downloads as a user of its own where it runs as root.
        fs::set_permissions(&packages, fs::Permissions::from_mode(0o777))?;
        download(&packages).or_else(|_| {
            println!("guest: the package lists may be missing or old: apt-get update");
            text_of(Command::new("apt-get").args(["-q", "update"]))?;
            download(&packages)
        })?;
        for entry in fs::read_dir(&packages)? {
            let package = entry?.path();
            text_of(Command::new("dpkg-deb").arg("-x").args([&package, &fresh]))?;
        }
        fs::rename(&fresh, &done)?;
        fs::remove_dir_all(&packages)?;
    }
    let kernels = fs::read_dir(done.join("boot"))?.flatten().map(|entry| entry.path());
    let kernel = kernels
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")))
        .max()
        .context("the package holds no kernel")?;
    Ok(Parts { kernel, busybox: done.join("bin/busybox"), unpacked: done })
}

/// The packages, and all that they need and this machine does not have.
fn download(folder: &Path) -> anyhow::Result<()> {
    let depends = text_of(Command::new("apt-cache").args(["depends", KERNEL]))?;
    let kernel = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    let kernel = format!("linux-image-{}", kernel.context("there is no kernel package in the lists of apt")?);
    let mut plan = Command::new("apt-get");
    plan.args(["-s", "-q", "install", "--reinstall", "--no-install-recommends"]).args(PACKAGES).arg(&kernel);
    let plan = text_of(&mut plan)?;
    let names: BTreeSet<&str> =
        plan.lines().filter_map(|line| line.strip_prefix("Inst ")?.split_whitespace().next()).collect();
    ensure!(names.contains(kernel.as_str()), "apt would not install {kernel}");
    println!("guest: downloads {} packages into target/guest; nothing is installed", names.len());
    text_of(Command::new("apt-get").current_dir(folder).args(["-q", "download"]).args(names)).map(drop)
}

/// What a command prints, when it ends well.
fn text_of(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output =
        command.env("LC_ALL", "C").stdin(Stdio::null()).output().with_context(|| format!("cannot run {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().lines().last().unwrap_or_default().to_owned();
    ensure!(output.status.success(), "{name}: {said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Our binaries: those that are started by their path here have the same one in the guest.
struct Binaries {
    tests: Vec<(PathBuf, String)>,
    others: Vec<PathBuf>,
}

fn binaries(only: &[String]) -> anyhow::Result<Binaries> {
    let mut tests = Vec::new();
    for (target, words) in TARGETS {
        let mut build = command(&["cargo", "test", "--locked", "-p", "launcher", "--test", target, "--no-run"]);
        let output = build.stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "cannot build the tests:\n{said}");
        let path = said.rsplit_once("(").and_then(|(_, rest)| rest.split_once(')')).map(|(path, _)| path);
        tests.push((
            root().join(path.context("cargo does not say where the tests are")?),
            [words.join(" "), only.join(" ")].join(" "),
        ));
    }
    let host = root().join("target/debug/launcher-for-tests");
    ensure!(host.is_file(), "{} was not built", host.display());
    Ok(Binaries { tests, others: vec![host] })
}

/// The guest's files, and their archive.
fn pack(files: &Path, archive: &Path, parts: &Parts, binaries: &Binaries) -> anyhow::Result<()> {
    drop(fs::remove_dir_all(files));
    for folder in ["bin", "dev", "proc", "sys", "tmp", "etc", "usr", "var/tmp"] {
        fs::create_dir_all(files.join(folder))?;
    }
    symlink("../bin", files.join("usr/bin"))?;
    copy(&parts.busybox, &files.join("bin/busybox"))?;
    for applet in text_of(Command::new(&parts.busybox).arg("--list"))?.lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", files.join("bin").join(applet))?;
    }
    let mut script = INIT.to_owned();
    for (path, words) in &binaries.tests {
        script.push_str(&format!("{} --test-threads=1 {words} || failed=1\n", path.display()));
    }
    script.push_str(&format!("[ $failed = 0 ] && echo '{PASSED}'\nsync\npoweroff -f\n"));
    fs::write(files.join("init"), script)?;
    fs::set_permissions(files.join("init"), fs::Permissions::from_mode(0o755))?;
    // Programs of tests are written for this machine's shell.
    let shell = fs::canonicalize("/bin/sh")?;
    fs::remove_file(files.join("bin/sh"))?;
    let ours = binaries.tests.iter().map(|(path, _)| path).chain(&binaries.others);
    let mut libraries = BTreeSet::new();
    for (binary, place) in ours.map(|path| (path, path.as_path())).chain([(&shell, Path::new("/bin/sh"))]) {
        let inside = files.join(place.strip_prefix("/")?);
        copy(binary, &inside)?;
        // What is for debuggers is most of it. Without the tool it is only larger.
        drop(Command::new("strip").arg("-g").arg(&inside).status());
        let needs = text_of(Command::new("ldd").arg(binary))?;
        libraries.extend(needs.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
    }
    for library in libraries {
        copy(&library, &files.join(library.strip_prefix("/")?))?;
    }
    let list = "find . | \"$0\" cpio -o -H newc > \"$1\"";
    text_of(Command::new("sh").current_dir(files).args(["-c", list]).args([&parts.busybox, archive])).map(drop)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to.parent().context("it has no folder")?)?;
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// What the guest does first. Programs of tests run as users of their own, so every folder lets everybody pass.
const INIT: &str = "#!/bin/busybox sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=1777 tmpfs /var/tmp
mount -t tmpfs -o mode=1777 tmpfs /tmp
ip link set lo up
echo \"guest: kernel $(uname -r), version 2 with: $(cat /sys/fs/cgroup/cgroup.controllers)\"
export RUCHE_TEST_GROUPS=v2 RUST_BACKTRACE=0 TMPDIR=/tmp
failed=0
";

fn start(parts: &Parts, archive: &Path) -> anyhow::Result<Child> {
    let share = parts.unpacked.join("usr/share");
    let libraries = ["usr/lib", "lib"].map(|part| parts.unpacked.join(part).join("x86_64-linux-gnu"));
    let mut guest = Command::new(parts.unpacked.join("usr/bin/qemu-system-x86_64"));
    guest.env("LD_LIBRARY_PATH", std::env::join_paths(libraries)?);
    guest.arg("-L").arg(share.join("seabios")).arg("-L").arg(share.join("qemu"));
    guest.args([
        "-machine",
        "pc,accel=tcg",
        "-cpu",
        "max",
        "-smp",
        "1",
        "-m",
        MEMORY_MIB,
        "-nic",
        "none",
        "-no-reboot",
    ]);
    guest.args(["-display", "none", "-monitor", "none", "-serial", "stdio"]);
    guest.args(["-append", "console=ttyS0 quiet panic=-1"]);
    guest.arg("-kernel").arg(&parts.kernel).arg("-initrd").arg(archive);
    guest.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start the emulator")
}

/// Prints what the guest says until it ends, by itself or because its time is over.
fn watch(mut guest: Child) -> anyhow::Result<()> {
    let console = guest.stdout.take().context("it has no console")?;
    let (lines, heard) = std::sync::mpsc::sync_channel(64);
    let reader = std::thread::Builder::new().name("console".to_owned()).spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            if lines.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                return;
            }
        }
    })?;
    let deadline = Instant::now() + GUEST_MAX;
    let mut passed = false;
    let overdue = loop {
        match heard.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                passed |= line.contains(PASSED);
                // The firmware's own words move the cursor about.
                println!("  | {}", line.replace('\u{1b}', ""));
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => break true,
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break false,
        }
    };
    drop(heard);
    // Gone already, unless its time is over.
    drop(guest.kill());
    guest.wait()?;
    drop(reader.join());
    if overdue {
        bail!("the guest did not come to its end within {} s", GUEST_MAX.as_secs());
    }
    ensure!(passed, "tests failed in the guest");
    Ok(())
}
