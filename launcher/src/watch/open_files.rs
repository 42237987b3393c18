//! Open files of processes, by /proc.

use std::{collections::BTreeSet, fs};

/// The most files that one of these processes has open.
pub(crate) fn most_open_files(pids: &BTreeSet<i32>) -> u32 {
    pids.iter().filter_map(|pid| open_files(*pid)).max().unwrap_or(0)
}

fn open_files(pid: i32) -> Option<u32> {
    let folder = format!("/proc/{pid}/fd");
    // Linux 6.2 tells the number as the folder's size.
    match fs::metadata(&folder).ok()?.len() {
        0 => u32::try_from(fs::read_dir(&folder).ok()?.count()).ok(),
        count => u32::try_from(count).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i16_open_files_are_counted() {
        let own = BTreeSet::from([std::process::id().cast_signed()]);
        let before = most_open_files(&own);
        let files: Vec<_> = (0..100).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        // Other tests of this process open and close some meanwhile.
        assert!((before + 50..before + 150).contains(&most_open_files(&own)), "{} files", files.len());
    }
}
