// sieve.rs: the largest prime below n
fn main() {
    let n: usize = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(1_000_000);
    let mut composite = vec![false; n];
    let mut largest = None;
    for i in 2..n {
        if !composite[i] {
            largest = Some(i);
            for multiple in (i.saturating_mul(i)..n).step_by(i) {
                composite[multiple] = true;
            }
        }
    }
    println!("{largest:?}");
}
