//! The program that the tests of faults run: `ruche-witness FILE RUN_MS BYTES`.
//!
//! Adds a line to FILE when it begins, every 20 ms while it runs and when it ends, and prints bytes that
//! follow from its program and attempt, so that the checker knows what ran, when, and what must be stored.

use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};
use tests::witness::{Line, Mark, node, output_of};

const BEAT: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the history shows it")]
            {
                eprintln!("ruche-witness: {error}");
            }
            ExitCode::from(3)
        }
    }
}

fn run() -> io::Result<()> {
    let argument = |n: usize| std::env::args().nth(n).ok_or_else(|| invalid("FILE RUN_MS BYTES are wanted"));
    let number = |n: usize| argument(n)?.parse::<u64>().map_err(|_| invalid("a number is wanted"));
    let variable = |name: &str| std::env::var(name).map_err(|_| invalid(name));
    let path = PathBuf::from(argument(1)?);
    let (length, bytes) = (Duration::from_millis(number(2)?), usize::try_from(number(3)?).unwrap_or(0));
    let mut line = Line {
        id: variable("RUCHE_PROGRAM_ID")?.parse().map_err(|_| invalid("RUCHE_PROGRAM_ID"))?,
        attempt: variable("RUCHE_ATTEMPT")?.parse().map_err(|_| invalid("RUCHE_ATTEMPT"))?,
        fence: variable("RUCHE_FENCE")?.parse().map_err(|_| invalid("RUCHE_FENCE"))?,
        node: node(&path)?,
        mark: Mark::Begin,
        at: 0,
    };
    let mut file = File::options().append(true).open(&path)?;
    let mut tell = |mark: Mark| -> io::Result<()> {
        line.mark = mark;
        line.at = transport::clock::boot_now().0;
        file.write_all(format!("{line}\n").as_bytes())?;
        if mark == Mark::Alive { Ok(()) } else { file.sync_data() }
    };
    tell(Mark::Begin)?;
    let output = output_of(variable("RUCHE_PROGRAM_ID")?.parse().map_err(|_| invalid("id"))?, attempt()?, bytes);
    let (begun, mut printed) = (Instant::now(), 0);
    let mut stdout = io::stdout().lock();
    while begun.elapsed() < length {
        thread::park_timeout(BEAT.min(length.saturating_sub(begun.elapsed())));
        let share = begun.elapsed().as_secs_f64() / length.as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
        let due = ((bytes as f64 * share) as usize).clamp(printed, bytes);
        stdout.write_all(&output[printed..due])?;
        stdout.flush()?;
        printed = due;
        tell(Mark::Alive)?;
    }
    stdout.write_all(&output[printed..])?;
    stdout.flush()?;
    tell(Mark::End)
}

fn attempt() -> io::Result<u32> {
    std::env::var("RUCHE_ATTEMPT").ok().and_then(|text| text.parse().ok()).ok_or_else(|| invalid("RUCHE_ATTEMPT"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what.to_owned())
}
