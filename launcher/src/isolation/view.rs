//! What programs of a slot see of the files: a root of their own with the system's folders, read only, the slot's
//! folder, a private `/tmp`, `/proc` of their own processes and the few devices that harm nobody. Built once for
//! each keeper; the machine's own root is out of reach from then on.

use super::{
    Problem,
    mounts::{self, Access, Kind},
    secret::Secret,
};
use crate::{best_effort, protocol::Guards};
use nix::{
    fcntl::OFlag,
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::stat::{FileStat, Mode, fstat, umask},
    sys::statvfs::fstatvfs,
    unistd::{chdir, fchdir, pivot_root, symlinkat},
};
use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    rc::Rc,
};

/// Devices that hold and tell nothing. The terminal is each program's own, or none.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "dev/fd"),
    ("/proc/self/fd/0", "dev/stdin"),
    ("/proc/self/fd/1", "dev/stdout"),
    ("/proc/self/fd/2", "dev/stderr"),
    ("/tmp", "dev/shm"),
];
/// The root holds folders, links and a copy of the resolver's file.
const ROOT_OPTIONS: &str = "mode=0755,size=1m,nr_inodes=4096";
/// Files in `/tmp`: each costs memory that not every host counts as the program's.
const TMP_FILES_MAX: &str = "131072";
/// Until a program's limits say something else.
const TMP_SIZE_FIRST: u64 = 16 << 20;
/// The kernel has a few thousand terminals for all.
const TERMINAL_OPTIONS: &str = "newinstance,ptmxmode=0666,mode=0620,max=64";
const TMP: &str = "/tmp";
const TMP_NAME: &std::ffi::CStr = c"/tmp";
const RESOLVER: &str = "/etc/resolv.conf";

/// The files that programs of a slot see.
#[derive(Debug)]
pub(super) struct View {
    /// The slot's folder as it was called outside, and inside.
    outside: PathBuf,
    work: OwnedFd,
    work_path: PathBuf,
    /// What is seen below `/tmp` and is not of it.
    in_tmp: Vec<(PathBuf, Access, Kind)>,
    /// What may be read and executed.
    pub(super) readable: Vec<PathBuf>,
    tmp_size: u64,
    /// The private `/tmp`, as it was before any program, and as it was seen since the last one ended.
    tmp: OwnedFd,
    fresh: Trace,
    seen: Option<Trace>,
    /// The working folder that programs have one after another, reached from within.
    within: Option<(FolderToken, Rc<OwnedFd>)>,
}

/// Names a working folder for as long as its keeper lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FolderToken(pub(crate) u64);

/// What changes when somebody changes what is in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trace {
    files: u64,
    bytes: u64,
    changed: (i64, i64),
    mode: u32,
}

impl Trace {
    fn of(tmp: &OwnedFd) -> io::Result<Self> {
        let (system, folder) = (fstatvfs(tmp)?, fstat(tmp)?);
        Ok(Self {
            files: system.files().saturating_sub(system.files_free()),
            bytes: system.blocks().saturating_sub(system.blocks_free()).saturating_mul(system.fragment_size()),
            changed: (folder.st_ctime, folder.st_ctime_nsec),
            mode: folder.st_mode,
        })
    }
}

/// Something of the machine that shall be seen.
struct Shown {
    path: PathBuf,
    access: Access,
    kind: Kind,
    tree: OwnedFd,
}

/// All that shall be seen, taken while the machine's root is still there.
struct Parts {
    shown: Vec<Shown>,
    /// Links to be made again: where, and what they say.
    links: Vec<(PathBuf, PathBuf)>,
    devices: Vec<(&'static str, OwnedFd)>,
    /// The resolver's file, where it is not below a folder that is shown.
    resolver: Option<(PathBuf, Vec<u8>)>,
}

impl View {
    /// Builds the view and enters it. The process must have a mount namespace of its own.
    pub(super) fn enter(guards: &Guards) -> Result<Self, Problem> {
        let failed = |what: &str, path: &Path| Problem::of(format!("{what} {}", path.display()));
        let work_path = std::path::absolute(&guards.work).map_err(failed("the path of", &guards.work))?;
        let outside = fs::canonicalize(&work_path).map_err(failed("the path of", &guards.work))?;
        umask(Mode::from_bits_truncate(0o022));
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
            .map_err(Problem::of("making the mounts private"))?;
        let parts = Parts::take(guards, &work_path, &outside)?;
        // The slot's folder is the one place that is sure to be there; it has been taken already.
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("tmpfs"), &outside, Some("tmpfs"), flags, Some(ROOT_OPTIONS)).map_err(Problem::of("a new root"))?;
        let root = mounts::open_beneath(open_root()?.as_fd(), outside.strip_prefix("/").unwrap_or(&outside))
            .map_err(Problem::of("the new root"))?;
        fchdir(&root).map_err(Problem::of("the new root"))?;
        let readable = parts.readable();
        let in_tmp = parts.put(root.as_fd())?;
        pivot_root(".", ".").map_err(Problem::of("entering the new root"))?;
        umount2(".", MntFlags::MNT_DETACH).map_err(Problem::of("leaving the old root"))?;
        chdir("/").map_err(Problem::of("entering the new root"))?;
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | flags | MsFlags::MS_NOEXEC;
        mount(none, "/", none, flags, none).map_err(Problem::of("making the root read only"))?;
        let work = open_work(&work_path)?;
        let (tmp, fresh) = open_tmp().map_err(Problem::of("the private /tmp"))?;
        let (seen, within) = (Some(fresh), None);
        Ok(Self { outside, work, work_path, in_tmp, readable, tmp_size: TMP_SIZE_FIRST, tmp, fresh, seen, within })
    }

    /// What the private `/tmp` takes. Nothing of a program runs by now.
    pub(super) fn look_at_tmp(&mut self) -> Option<u64> {
        self.seen = Trace::of(&self.tmp).ok();
        self.seen.map(|seen| seen.bytes)
    }

    /// A `/tmp` in which nothing is, of this size. Whether it is another one than before.
    pub(super) fn renew_tmp(&mut self, size: u64, secret: &Secret) -> io::Result<bool> {
        let now = match self.seen.take() {
            Some(seen) => seen,
            None => Trace::of(&self.tmp)?,
        };
        let is_used = now != self.fresh;
        if is_used {
            self.replace_tmp(size, secret)?;
        } else if size != self.tmp_size {
            mounts::resize(TMP_NAME, size, secret)?;
        }
        self.tmp_size = size;
        Ok(is_used)
    }

    fn replace_tmp(&mut self, size: u64, secret: &Secret) -> io::Result<()> {
        let root = open_root()?;
        let mut kept = Vec::new();
        for (path, access, kind) in &self.in_tmp {
            kept.push((mounts::take(path, *access, secret)?, path, *kind));
        }
        mounts::take_away(TMP_NAME, secret)?;
        put_tmp(root.as_fd(), size, secret)?;
        for (tree, path, kind) in &kept {
            mounts::put(tree.as_fd(), mounts::place(root.as_fd(), path, *kind)?.as_fd(), secret)?;
        }
        if !kept.is_empty() {
            self.work = open_work(&self.work_path)?;
            self.within = None;
        }
        (self.tmp, self.fresh) = open_tmp()?;
        Ok(())
    }

    /// As [`View::folder_within`], the same as before for the same token.
    pub(super) fn kept_folder_within(&mut self, folder: BorrowedFd<'_>, token: FolderToken) -> io::Result<Rc<OwnedFd>> {
        if let Some((_, within)) = self.within.as_ref().filter(|(kept, _)| *kept == token) {
            return Ok(within.clone());
        }
        let within = Rc::new(self.folder_within(folder)?);
        self.within = Some((token, within.clone()));
        Ok(within)
    }

    /// The working folder that `folder` is, reached from within: a descriptor from outside would lead a program
    /// that goes up from it out of the view.
    pub(super) fn folder_within(&self, folder: BorrowedFd<'_>) -> io::Result<OwnedFd> {
        let name = fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd()))?;
        let below = name.strip_prefix(&self.outside).map_err(io::Error::other)?;
        let within = if below.as_os_str().is_empty() {
            self.work.try_clone()?
        } else {
            mounts::open_beneath(self.work.as_fd(), below)?
        };
        let same = |a: FileStat, b: FileStat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
        if same(fstat(folder)?, fstat(&within)?) { Ok(within) } else { Err(io::Error::from_raw_os_error(libc::ESTALE)) }
    }
}

fn open_root() -> Result<OwnedFd, Problem> {
    nix::fcntl::open("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(Problem::of("the root"))
}

/// The private `/tmp` by a descriptor, and what there is in it.
fn open_tmp() -> io::Result<(OwnedFd, Trace)> {
    let tmp = nix::fcntl::open(TMP, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let trace = Trace::of(&tmp)?;
    Ok((tmp, trace))
}

fn open_work(path: &Path) -> Result<OwnedFd, Problem> {
    let root = open_root()?;
    mounts::open_beneath(root.as_fd(), path.strip_prefix("/").unwrap_or(path))
        .map_err(Problem::of("the slot's folder within"))
}

fn put_tmp(root: BorrowedFd<'_>, size: u64, secret: &Secret) -> io::Result<()> {
    let size = size.to_string();
    let tmp = mounts::make(c"tmpfs", &[(c"mode", "1777"), (c"size", &size), (c"nr_inodes", TMP_FILES_MAX)], secret)?;
    mounts::put(tmp.as_fd(), mounts::place(root, Path::new(TMP), Kind::Folder)?.as_fd(), secret)
}

impl Parts {
    fn take(guards: &Guards, work_path: &Path, outside: &Path) -> Result<Self, Problem> {
        let mut parts = Self { shown: Vec::new(), links: Vec::new(), devices: Vec::new(), resolver: None };
        let mut system = guards.system.clone();
        system.sort();
        // Where links lead is shown already, mostly.
        let (links, folders): (Vec<_>, Vec<_>) = system.iter().partition(|path| path.is_symlink());
        for path in folders.into_iter().chain(links) {
            parts.take_system(path)?;
        }
        if let Some(wide) = parts.shown.iter().find(|shown| outside.starts_with(&shown.path)) {
            let reason = format!("{} would be seen whole, with the slave's own files in it", wide.path.display());
            return Err(Problem::new(reason, io::ErrorKind::InvalidInput.into()));
        }
        let mut writable = guards.writable.clone();
        writable.sort();
        for path in &writable {
            parts.take_one(path, path, Access::Write)?;
        }
        parts.take_one(outside, work_path, Access::Write)?;
        for name in DEVICES {
            match mounts::take(&Path::new("/dev").join(name), Access::Device, &Secret::NONE) {
                Ok(tree) => parts.devices.push((name, tree)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Problem::new(format!("the device {name}"), error)),
            }
        }
        if guards.network.is_some()
            && let Ok(path) = fs::canonicalize(RESOLVER)
            && !parts.is_shown(&path)
        {
            parts.resolver = fs::read(&path).ok().map(|text| (path, text));
        }
        Ok(parts)
    }

    fn readable(&self) -> Vec<PathBuf> {
        let shown = self.shown.iter().filter(|shown| shown.access == Access::Read).map(|shown| &shown.path);
        shown.chain(self.resolver.iter().map(|(path, _)| path)).cloned().collect()
    }

    fn is_shown(&self, path: &Path) -> bool {
        self.shown.iter().any(|shown| path.starts_with(&shown.path))
    }

    /// A folder of the system. A link is made again, and where it leads is shown as well.
    fn take_system(&mut self, path: &Path) -> Result<(), Problem> {
        let failed = |error| Problem::new(format!("the system's {}", path.display()), error);
        if let Ok(target) = fs::read_link(path) {
            self.links.push((path.to_owned(), target));
        }
        let real = fs::canonicalize(path).map_err(failed)?;
        if self.is_shown(&real) { Ok(()) } else { self.take_one(&real, &real, Access::Read) }
    }

    fn take_one(&mut self, outside: &Path, within: &Path, access: Access) -> Result<(), Problem> {
        let failed = |error| Problem::new(format!("showing {}", outside.display()), error);
        let kind = if fs::metadata(outside).map_err(failed)?.is_dir() { Kind::Folder } else { Kind::File };
        let tree = mounts::take(outside, access, &Secret::NONE).map_err(failed)?;
        self.shown.push(Shown { path: within.to_owned(), access, kind, tree });
        Ok(())
    }

    /// Puts everything together below `root`, which is the current folder; tells what lies in `/tmp`.
    fn put(self, root: BorrowedFd<'_>) -> Result<Vec<(PathBuf, Access, Kind)>, Problem> {
        put_tmp(root, TMP_SIZE_FIRST, &Secret::NONE).map_err(Problem::of("the private /tmp"))?;
        let mut in_tmp = Vec::new();
        for shown in self.shown {
            let failed = |error| Problem::new(format!("showing {}", shown.path.display()), error);
            let place = mounts::place(root, &shown.path, shown.kind).map_err(failed)?;
            mounts::put(shown.tree.as_fd(), place.as_fd(), &Secret::NONE).map_err(failed)?;
            if shown.path.starts_with(TMP) {
                in_tmp.push((shown.path, shown.access, shown.kind));
            }
        }
        for (path, target) in self.links {
            let Some((parent, name)) = path.parent().zip(path.file_name()) else { continue };
            let parent = mounts::place(root, parent, Kind::Folder).map_err(Problem::of("the folder of a link"))?;
            // One that is there was shown with its folder.
            best_effort(symlinkat(&target, &parent, Path::new(name)));
        }
        let devices = mounts::place(root, Path::new("/dev"), Kind::Folder).map_err(Problem::of("/dev"))?;
        for (name, tree) in self.devices {
            mounts::place(devices.as_fd(), Path::new(name), Kind::File)
                .and_then(|place| mounts::put(tree.as_fd(), place.as_fd(), &Secret::NONE))
                .map_err(|error| Problem::new(format!("the device {name}"), error))?;
        }
        for (target, path) in DEVICE_LINKS {
            symlinkat(target, root, path).map_err(Problem::of("the links in /dev"))?;
        }
        if let Some((path, text)) = self.resolver {
            best_effort(mounts::place(root, &path, Kind::File).and_then(|_| fs::write(relative(&path), text)));
        }
        put_terminals(root)?;
        put_proc(root)?;
        Ok(in_tmp)
    }
}

/// Terminals that a program makes for others of its own. Without them it runs all the same.
fn put_terminals(root: BorrowedFd<'_>) -> Result<(), Problem> {
    mounts::place(root, Path::new("/dev/pts"), Kind::Folder).map_err(Problem::of("/dev/pts"))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    if mount(Some("devpts"), "dev/pts", Some("devpts"), flags, Some(TERMINAL_OPTIONS)).is_ok() {
        symlinkat("pts/ptmx", root, "dev/ptmx").map_err(Problem::of("the links in /dev"))?;
    }
    Ok(())
}

/// The processes of this namespace; a program sees those that are its own.
fn put_proc(root: BorrowedFd<'_>) -> Result<(), Problem> {
    mounts::place(root, Path::new("/proc"), Kind::Folder).map_err(Problem::of("/proc"))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // By its number: kernels before 5.8 do not know the word.
    mount(Some("proc"), "proc", Some("proc"), flags, Some("hidepid=2")).map_err(Problem::of("a new /proc"))
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}
