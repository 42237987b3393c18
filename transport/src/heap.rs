//! How much freed memory a process keeps for the next frame.

use std::{hint::black_box, sync::Once};

/// The allocator of the system keeps twice as much at the end of its heap before it gives any back.
const BLOCK_BYTES: usize = 4 << 20;

/// Has the allocator keep a few freed megabytes. By itself it gives back whatever is above 128 KiB, and takes it again
/// for the next piece of bulk: each page is cleared and entered anew then, which was a quarter of all that a client did
/// with an output. What it keeps follows the largest block that it once took from the system directly and got back;
/// nothing of that block is ever touched.
pub(crate) fn keep_freed() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(black_box(Vec::<u8>::with_capacity(BLOCK_BYTES))));
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    /// Pages that this thread was given.
    fn faults() -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(7).unwrap().parse().unwrap()
    }

    #[test]
    fn freed_memory_is_used_again_instead_of_fresh_pages() {
        super::keep_freed();
        // As answers that wait to be written.
        let pieces = || drop(black_box([const { 64 << 10 }; 16].map(|bytes| vec![7_u8; bytes])));
        pieces();
        let before = faults();
        (0..100).for_each(|_| pieces());
        let taken = faults() - before;
        assert!(taken < 2_560, "{taken} pages, of 256 that are used a hundred times");
    }
}
