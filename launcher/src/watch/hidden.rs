//! Files that a program removed and still holds: open ones and mapped ones. A walk does not see them.

use std::{
    collections::BTreeSet,
    fs,
    os::{fd::BorrowedFd, unix::fs::MetadataExt},
};

/// What a program holds without a name on the file system of its folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hidden {
    /// What they take.
    pub(super) bytes: u64,
    /// Bytes of mappings of such files whose size this process may not ask for.
    pub(super) mapped: u64,
    /// One of its processes has a socket, in which open files may lie that nobody sees.
    pub(super) sockets: bool,
}

/// The search for them.
struct Search {
    device: u64,
    /// A library that was replaced while it is in use has no name either, and is not the program's.
    owner: u32,
    seen: BTreeSet<u64>,
    found: Hidden,
}

impl Hidden {
    pub(super) fn of(folder: BorrowedFd<'_>, pids: &BTreeSet<i32>) -> Self {
        let Ok(top) = nix::sys::stat::fstat(folder) else { return Self::default() };
        let (device, owner) = (top.st_dev, top.st_uid);
        let mut search = Search { device, owner, seen: BTreeSet::new(), found: Self::default() };
        for pid in pids {
            search.look_at_open(*pid);
            search.look_at_mapped(*pid);
        }
        search.found
    }
}

impl Search {
    fn look_at_open(&mut self, pid: i32) {
        let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { return };
        for entry in open.flatten() {
            // What it leads to, and not by its name.
            let Ok(found) = fs::metadata(entry.path()) else { continue };
            self.found.sockets |= found.mode() & libc::S_IFMT == libc::S_IFSOCK;
            self.count(&found);
        }
    }

    fn look_at_mapped(&mut self, pid: i32) {
        let Ok(maps) = fs::read(format!("/proc/{pid}/maps")) else { return };
        let mut inodes = BTreeSet::new();
        for line in maps.split(|byte| *byte == b'\n').filter(|line| line.ends_with(b" (deleted)")) {
            // Addresses, rights, place, device, inode, path.
            let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
            let (Some(addresses), Some(inode)) = (words.next(), words.nth(3)) else { continue };
            if !words.next().is_some_and(is_on_disk) {
                continue;
            }
            let Ok(addresses) = std::str::from_utf8(addresses) else { continue };
            let Some((from, to)) = addresses.split_once('-') else { continue };
            // Each part of a file may be mapped by itself.
            if inodes.contains(inode) {
                continue;
            }
            match fs::metadata(format!("/proc/{pid}/map_files/{addresses}")) {
                Ok(found) => {
                    inodes.insert(inode);
                    self.count(&found);
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(_) => {
                    let number = |text| u64::from_str_radix(text, 16).unwrap_or(0);
                    self.found.mapped = self.found.mapped.saturating_add(number(to).saturating_sub(number(from)));
                }
            }
        }
    }

    fn count(&mut self, found: &fs::Metadata) {
        let theirs = found.dev() == self.device && found.uid() == self.owner;
        if found.is_file() && found.nlink() == 0 && theirs && self.seen.insert(found.ino()) {
            self.found.bytes = self.found.bytes.saturating_add(found.blocks() * 512);
        }
    }
}

/// Memory that looks like a file that was removed takes no disk.
fn is_on_disk(path: &[u8]) -> bool {
    let in_memory: [&[u8]; 4] = [b"/memfd:", b"/dev/zero", b"/dev/shm/", b"/SYSV"];
    !in_memory.iter().any(|start| path.starts_with(start))
}
