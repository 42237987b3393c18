//! Scale and overload with the full counts of the checks, as a table of figures; optimised only means something:
//!
//! `cargo run --profile ci-release -p tests --bin ruche-load -- [NAME…] [--slaves N] [--programs N] [--waiting N] [--idle S] [--overload S] [--small]`

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement that cannot be made has failed; it prints"
)]

use std::time::Duration;
use tests::load::{Figure, SCENARIOS, Scale, run};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: usize| {
        let place = arguments.iter().position(|argument| argument == name);
        place.map_or(default, |place| arguments[place + 1].parse().unwrap())
    };
    let standard = if arguments.iter().any(|argument| argument == "--small") { Scale::small() } else { Scale::full() };
    let time = |name: &str, default: Duration| {
        Duration::from_secs(number(name, usize::try_from(default.as_secs()).unwrap()) as u64)
    };
    let scale = Scale {
        slaves: number("--slaves", standard.slaves),
        programs: number("--programs", standard.programs),
        waiting: number("--waiting", standard.waiting),
        idle: time("--idle", standard.idle),
        overload: time("--overload", standard.overload),
        ..standard
    };
    let wanted = |name: &str| {
        let named = SCENARIOS.iter().any(|(other, ..)| arguments.iter().any(|argument| argument == other));
        !named || arguments.iter().any(|argument| argument == name)
    };
    let chosen = SCENARIOS.iter().filter(|(name, ..)| wanted(name));
    let figures: Vec<Figure> = chosen.flat_map(|scenario| run(scenario, &scale)).collect();
    println!("\n| check | what | value | aim | |\n| --- | --- | --- | --- | --- |");
    for figure in &figures {
        println!("{figure}");
    }
    let missed = figures.iter().filter(|figure| !figure.met).count();
    println!("\n{} figures, {missed} missed", figures.len());
}
