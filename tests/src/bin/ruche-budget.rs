//! The way of so many programs through one end, and nothing else: what `cargo xtask budget` counts.
//!
//! `ruche-budget master|slave PROGRAMS`

#![expect(clippy::unwrap_used, reason = "called by one caller alone")]

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let programs = words[2].parse().unwrap();
    match words[1].as_str() {
        "master" => tests::budget::master::run(programs),
        "slave" => tests::budget::slave::run(programs),
        other => panic!("{other} is neither master nor slave"),
    }
}
