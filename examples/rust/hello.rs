fn main() {
    let sum: u32 = (1..=10).sum();
    println!("Hello from Rust");
    println!("1 + 2 + … + 10 = {sum}");
}
