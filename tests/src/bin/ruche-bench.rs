//! What `make bench` runs: the figures that Ruche must reach, beside their goals.
//!
//! `cargo xtask bench -- [--only NAME,NAME…] [--quick] [--rounds N] [--programs N] [--slaves N] [--keep DIR]`

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that cannot run has failed; it prints")]

use std::path::PathBuf;
use tests::bench::{self, Plan, SECTIONS, compare, local, machine};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == local::WORKER) {
        return local::work(&arguments[1..]);
    }
    let value = |name: &str| arguments.iter().skip_while(|argument| *argument != name).nth(1);
    let number = |name: &str, usual: usize| value(name).map_or(usual, |text| text.parse().unwrap());
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let mut plan = if quick { Plan::quick() } else { Plan::full() };
    plan.rounds = number("--rounds", plan.rounds);
    plan.programs = number("--programs", plan.programs);
    *plan.slaves.last_mut().unwrap() = number("--slaves", *plan.slaves.last().unwrap());
    let only: Vec<String> = value("--only").into_iter().flat_map(|names| names.split(',')).map(str::to_owned).collect();
    for name in &only {
        assert!(
            SECTIONS.iter().any(|(other, _)| other == name),
            "{name} is none of {:?}",
            SECTIONS.map(|(name, _)| name)
        );
    }
    let own = std::env::current_exe().unwrap();
    let folder = value("--keep").map_or_else(|| own.parent().unwrap().parent().unwrap().join("bench"), PathBuf::from);

    let mut machine = machine::describe();
    let noisy = machine::is_noisy();
    machine["noisy"] = noisy.into();
    println!("{machine:#}");
    let (when, stolen) = (jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), machine::stolen());
    let (figures, failed) = bench::run(&plan, &only);
    machine["load_after"] = machine::load().into();
    machine["stolen_ticks"] = (machine::stolen() - stolen).into();
    let earlier = compare::earlier(&folder, quick);
    println!("\n{}", compare::table(&figures, &earlier));
    if noisy {
        println!("NOISY: something else was running before this; these are no final figures");
    }
    let (met, all) =
        figures.iter().filter_map(bench::Figure::met).fold((0, 0), |(met, all), is| (met + usize::from(is), all + 1));
    let path = compare::keep(&folder, &when, quick, &machine, &figures).unwrap();
    println!("{met} of {all} goals met; load now {}; kept in {}", machine::load(), path.display());
    if !failed.is_empty() {
        println!("could not be measured: {}", failed.join(", "));
        std::process::exit(1);
    }
}
