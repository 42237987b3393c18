// Prints the first rows of Pascal's triangle.
fn main() {
    let mut row = vec![1_u64];
    for _ in 0..8 {
        println!("{row:?}");
        let sums = row.windows(2).map(|pair| pair[0] + pair[1]);
        row = std::iter::once(1).chain(sums).chain(std::iter::once(1)).collect();
    }
}
