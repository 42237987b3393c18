// Takes one megabyte after another; the memory limit ends it.
fn main() {
    let mut blocks = Vec::new();
    loop {
        blocks.push(vec![1_u8; 1 << 20]);
    }
}
