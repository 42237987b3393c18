//! Programs a second, two at a time.

use super::{Kept, PROGRAM, Result, median, next, step};
use launcher::{
    Launcher,
    cgroup::Base,
    isolation::{Wish, probe, usual_system_folders},
    protocol::{FromKeeper, Queue, QuickResult, QuickStep, Step, Strings, ToKeeper},
};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::{fd::AsFd, unix::fs::PermissionsExt},
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

/// What runs at the same time.
const SLOTS: u32 = 2;
/// What a keeper holds at most besides what runs, and when it is given more.
const DEPTH: u64 = 8;

pub(super) fn measure(tiny: bool, starts: usize, rounds: usize) -> Result<()> {
    let data = tempfile::tempdir_in("/var/tmp")?;
    fs::set_permissions(data.path(), fs::Permissions::from_mode(0o711))?;
    let program = if tiny { write_tiny(data.path())? } else { PROGRAM.to_owned() };
    let launcher = Launcher::start_program(&std::env::current_exe()?)?;
    let groups = Base::prepare(&format!("ruche-start-rate-{}", std::process::id()));
    let is_root = nix::unistd::geteuid().is_root();
    let mut slots = Vec::new();
    for (plain, first) in [(true, 0), (false, SLOTS)] {
        let mut system = usual_system_folders();
        system.extend(tiny.then(|| data.path().join("tiny")));
        let wish = Wish { plain, own_users: is_root, system, ..Wish::default() };
        let guards = probe(&wish, &groups).guards;
        let mut of_level = Vec::new();
        for slot in first..first + SLOTS {
            let kept = Kept::start(&launcher, &data, &groups, slot, guards.clone())?;
            of_level.push(Queued { kept, number: 0, given: 0, ended: 0, folder: true });
        }
        slots.push(of_level);
    }
    // Older than a step of the clock of files.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let mut spawners = (0..SLOTS).map(|_| Spawner::start(&program)).collect::<Result<Vec<_>>>()?;
    println!("{starts} starts of {program} in each of {rounds} rounds, {SLOTS} at a time; programs a second");
    println!("{:>10}{:>10}{:>10}{:>10}{:>10}", "spawn", "plain", "isolated", "plain", "isolated");
    let mut ratios: [Vec<f64>; 2] = Default::default();
    for _ in 0..rounds {
        let spawn = together(&mut spawners, |spawner| spawner.run(starts), starts)?;
        let [plain, isolated] = slots.as_mut_slice() else { return Err("two levels".into()) };
        let plain = together(plain, |slot| slot.run(&program, starts), starts)?;
        let isolated = together(isolated, |slot| slot.run(&program, starts), starts)?;
        println!("{spawn:>10.0}{plain:>10.0}{isolated:>10.0}{:>10.3}{:>10.3}", plain / spawn, isolated / spawn);
        ratios[0].push(plain / spawn);
        ratios[1].push(isolated / spawn);
    }
    let [plain, isolated] = ratios.map(|mut ratios| median(&mut ratios));
    println!("of bare spawns with pipes: plain {plain:.3}, isolated {isolated:.3}");
    drop((slots, spawners));
    drop(launcher);
    groups.remove();
    Ok(())
}

/// All at once; programs a second of all together.
fn together<T: Send>(all: &mut [T], run: impl Fn(&mut T) -> Result<()> + Sync, starts: usize) -> Result<f64> {
    let before = Instant::now();
    let failures: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            all.iter_mut().map(|one| scope.spawn(|| run(one).map_err(|error| error.to_string()))).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap_or_else(|_| Err("panic".into())).err()).collect()
    });
    match failures.first() {
        Some(failure) => Err(failure.clone().into()),
        None => Ok((all.len() * starts) as f64 / before.elapsed().as_secs_f64()),
    }
}

/// A slot that is given several programs at once.
struct Queued {
    kept: Kept,
    /// The last number that was given to a step.
    number: u64,
    /// Steps that the keeper has.
    given: u64,
    /// The last one whose end was heard, or after which nothing is left.
    ended: u64,
    folder: bool,
}

impl Queued {
    fn run(&mut self, program: &str, starts: usize) -> Result<()> {
        let mut left = starts as u64;
        while left + self.given > 0 {
            // Half of it at once, as an agent does that hears of several ends at once.
            if left > 0 && self.given <= DEPTH / 2 {
                let count = left.min(DEPTH - self.given);
                let steps = (1..=count).map(|place| QuickStep { number: self.number + place, step: of(program) });
                let queue =
                    Queue { steps: steps.collect(), folder: std::mem::take(&mut self.folder), kept: self.ended };
                (self.number, self.given, left) = (self.number + count, self.given + count, left - count);
                let folder = queue.folder.then(|| self.kept.folder.as_fd());
                self.kept.keeper.send(&ToKeeper::Queue(queue), &folder.into_iter().collect::<Vec<_>>())?;
            }
            self.hear(&mut left)?;
        }
        Ok(())
    }

    fn hear(&mut self, left: &mut u64) -> Result<()> {
        match next(&mut self.kept.keeper)? {
            FromKeeper::Ends(ends) => {
                for end in ends {
                    let well = matches!(&end.result, QuickResult::Ended(ended) if ended.cause.is_none());
                    assert!(well && !end.touched, "{end:?}");
                    self.given -= 1;
                    self.ended = if self.given == 0 { self.number } else { end.number };
                }
            }
            FromKeeper::Outlives { returned, .. } | FromKeeper::Returned(returned) => {
                self.given -= returned.len() as u64;
                *left += returned.len() as u64;
            }
            other @ (FromKeeper::Ready { .. }
            | FromKeeper::Ended(_)
            | FromKeeper::NotStarted(_)
            | FromKeeper::State { .. }
            | FromKeeper::Suspended(_)
            | FromKeeper::QuickSuspended { .. }) => return Err(format!("{other:?}").into()),
        }
        Ok(())
    }
}

fn of(program: &str) -> Step {
    let program: Strings = [program].into_iter().collect();
    Step { candidates: program.clone(), arguments: program, ..step() }
}

/// A process that spawns as it is usual: with pipes for the output, which it reads to the end.
struct Spawner(Child);

impl Spawner {
    fn start(program: &str) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        Ok(Self(command.args(["spawn", program]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?))
    }

    fn run(&mut self, starts: usize) -> Result<()> {
        let (Some(order), Some(answer)) = (&mut self.0.stdin, &mut self.0.stdout) else { return Err("gone".into()) };
        writeln!(order, "{starts}")?;
        BufReader::new(answer).read_line(&mut String::new())?;
        Ok(())
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().is_ok_and(|status| status.success()), "the small process ends when it is told");
    }
}

pub(super) fn serve(arguments: &[String]) -> Result<()> {
    let program = arguments.get(1).ok_or("which program?")?;
    for line in std::io::stdin().lines() {
        for _ in 0..line?.parse::<usize>()? {
            let output = Command::new(program).stdin(Stdio::null()).output()?;
            assert!(output.status.success() && output.stdout.is_empty());
        }
        println!("done");
    }
    Ok(())
}

/// A program that ends at once: a header and three instructions.
#[cfg(target_arch = "x86_64")]
fn write_tiny(data: &Path) -> Result<String> {
    const CODE: [u8; 9] = [0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
    const START: u64 = 0x40_0000;
    let size = 64 + 56 + CODE.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
    for word in [START + 120, 64, 0] {
        file.extend(u64::to_le_bytes(word));
    }
    file.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    // To be loaded as it is, and executed.
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0, START, START, size, size, 4_096] {
        file.extend(u64::to_le_bytes(word));
    }
    file.extend(CODE);
    let folder = data.join("tiny");
    fs::create_dir(&folder)?;
    let path = folder.join("program");
    fs::write(&path, file)?;
    for path in [&folder, &path] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(path.display().to_string())
}

#[cfg(not(target_arch = "x86_64"))]
fn write_tiny(_: &Path) -> Result<String> {
    Err("there is no tiny program for this processor".into())
}
