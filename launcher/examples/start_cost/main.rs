//! What it costs to start a program behind its guards, beside a bare fork and exec of the same program:
//! `cargo run --profile ci-release -p launcher --example start_cost -- [--hold-mib N] [--starts N] [--rounds N] [--as-usual]`;
//! with `--rate` how many programs a second two slots start, in alternation with two processes that spawn the same
//! program with pipes for its output; `--program tiny` is one without a library that ends at once.
#![expect(clippy::print_stdout, reason = "a measurement is printed")]
#![expect(unsafe_code, reason = "fork and exec are measured as they are")]

mod rate;

use common::units::{ByteSize, Duration};
use launcher::{
    Launcher, Socket, Wait,
    cgroup::Base,
    isolation::{Facts, Wish, probe, usual_system_folders},
    protocol::{FromKeeper, Guards, KeeperConfig, ProgramUser, Step, StepLimits, Strings, ToKeeper},
};
use std::{
    error::Error,
    fs::{self, File},
    io::{Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    process::{Child, Command, Stdio},
    time::Instant,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const PROGRAM: &str = "/bin/true";
/// Users that nobody has.
const USER_BASE: u32 = 1_800_000_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some(launcher::SUBCOMMAND) => {
            let code = launcher::serve();
            std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
        }
        Some("bare") => return serve_bare(),
        Some("spawn") => return rate::serve(&arguments),
        _ => {}
    }
    let number = |name: &str, usual: usize| -> Result<usize> {
        let place = arguments.iter().position(|argument| argument == name);
        Ok(place.and_then(|place| arguments.get(place + 1)).map_or(Ok(usual), |text| text.parse())?)
    };
    if arguments.iter().any(|argument| argument == "--rate") {
        let tiny = arguments.iter().any(|argument| argument == "tiny");
        return rate::measure(tiny, number("--starts", 1_000)?, number("--rounds", 5)?);
    }
    measure(number("--hold-mib", 0)?, number("--starts", 100)?, number("--rounds", 5)?)
}

fn measure(hold_mib: usize, starts: usize, rounds: usize) -> Result<()> {
    if prefer() {
        println!("at real-time priority, so that what else runs here is not measured (`--as-usual`: without)");
    }
    let data = tempfile::tempdir_in("/var/tmp")?;
    let launcher = Launcher::start_program(&std::env::current_exe()?)?;
    let groups = Base::prepare(&format!("ruche-start-cost-{}", std::process::id()));
    let is_root = nix::unistd::geteuid().is_root();
    let of = |plain: bool| {
        probe(&Wish { plain, own_users: is_root, system: usual_system_folders(), ..Wish::default() }, &groups)
    };
    let (plain, isolated) = (of(true), of(false));
    tell(&plain);
    tell(&isolated);
    // As the agent of a slave: what it holds must be of no account.
    let held = std::hint::black_box(vec![1_u8; hold_mib << 20]);
    let mut bare = Bare::start()?;
    let mut plain = Kept::start(&launcher, &data, &groups, 0, plain.guards)?;
    let mut isolated = Kept::start(&launcher, &data, &groups, 1, isolated.guards)?;
    println!("{starts} starts of {PROGRAM} in each of {rounds} rounds, in turn, {hold_mib} MiB held; medians in ms");
    println!(
        "{:>8}{:>8}{:>8}{:>10}{:>26}{:>22}",
        "fork", "spawn", "plain", "isolated", "in the keeper: plain", "isolated"
    );
    let mut over: [Vec<f64>; 2] = Default::default();
    for _ in 0..rounds {
        let mut times: [Vec<f64>; 6] = Default::default();
        for _ in 0..starts {
            times[0].push(bare.time(b'f')?);
            times[1].push(bare.time(b'p')?);
            for (kept, places) in [(&mut plain, [2, 4]), (&mut isolated, [3, 5])] {
                let [whole, within] = kept.time()?;
                times[places[0]].push(whole);
                times[places[1]].push(within);
            }
        }
        let [fork, spawn, plain, isolated, plain_within, isolated_within] = times.map(|mut times| median(&mut times));
        println!("{fork:>8.3}{spawn:>8.3}{plain:>8.3}{isolated:>10.3}{plain_within:>26.3}{isolated_within:>22.3}");
        over[0].push(isolated - fork);
        over[1].push(plain - fork);
    }
    let [isolated_over, plain_over] = &mut over;
    report("start, isolated over bare fork+exec, ms", isolated_over, "aim: at most 0.80");
    report("start, plain over bare fork+exec, ms", plain_over, "aim: at most 0.20");
    drop((held, plain, isolated));
    drop(launcher);
    groups.remove();
    Ok(())
}

/// All that is measured comes before what else runs; whoever may not ask for it is measured with the rest.
fn prefer() -> bool {
    // SAFETY: plain numbers, for which zero is a value.
    let mut priority: libc::sched_param = unsafe { std::mem::zeroed() };
    priority.sched_priority = 10;
    let as_usual = std::env::args().any(|argument| argument == "--as-usual");
    // SAFETY: the call reads the structure that it is given.
    !as_usual && unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) } == 0
}

fn tell(facts: &Facts) {
    let (on, off): (Vec<_>, Vec<_>) = facts.told.iter().partition(|guard| guard.on);
    let names = |guards: Vec<&common::view::Guard>| guards.iter().map(|g| g.name.clone()).collect::<Vec<_>>().join(" ");
    println!("{}: {}; without {}", facts.level.word(), names(on), names(off));
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn report(what: &str, values: &mut [f64], aim: &str) {
    let middle = median(values);
    let [low, high] = [values.first(), values.last()].map(|value| value.copied().unwrap_or_default());
    println!("{what}: median {middle:.2} ({low:.2} to {high:.2}); {aim}");
}

/// A slot and its keeper.
struct Kept {
    keeper: Socket,
    folder: OwnedFd,
}

impl Kept {
    fn start(launcher: &Launcher, data: &tempfile::TempDir, groups: &Base, slot: u32, guards: Guards) -> Result<Self> {
        let work = data.path().join(format!("slot-{slot}"));
        let folder = work.join("run");
        fs::create_dir_all(&folder)?;
        for path in [data.path(), &work] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o711))?;
        }
        let is_root = nix::unistd::geteuid().is_root();
        let user = is_root.then_some(ProgramUser { uid: USER_BASE + slot, gid: USER_BASE + slot });
        if let Some(user) = user {
            std::os::unix::fs::chown(&folder, Some(user.uid), Some(user.gid))?;
        }
        let config = KeeperConfig { slot, user, groups: groups.slot(slot), guards: Guards { work, ..guards } };
        let mut keeper = launcher.keeper(config)?;
        let said = next(&mut keeper)?;
        if !matches!(&said, FromKeeper::Ready { problem } if problem.is_empty()) {
            return Err(format!("{said:?}").into());
        }
        Ok(Self { keeper, folder: File::open(folder)?.into() })
    }

    /// From the order to the answer, and from the start to the end of the program.
    fn time(&mut self) -> Result<[f64; 2]> {
        let null = File::options().write(true).open("/dev/null")?;
        let order = ToKeeper::Run(Box::new(step()));
        let before = Instant::now();
        self.keeper.send(&order, &[self.folder.as_fd(), null.as_fd(), null.as_fd()])?;
        let said = next(&mut self.keeper)?;
        let FromKeeper::Ended(ended) = said else { return Err(format!("{said:?}").into()) };
        Ok([millis(before), ended.wall.0 as f64 / 1e3])
    }
}

fn next(keeper: &mut Socket) -> Result<FromKeeper> {
    loop {
        if let Some(received) = keeper.receive::<FromKeeper>(Wait::Yes)? {
            return Ok(received.message);
        }
    }
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

fn step() -> Step {
    let mut environment = Strings::default();
    environment.push_variable(b"PATH", b"/usr/bin:/bin");
    Step {
        tag: Vec::new(),
        lease_until: None,
        candidates: [PROGRAM].into_iter().collect(),
        arguments: [PROGRAM].into_iter().collect(),
        environment,
        limits: StepLimits {
            wall_time: Duration::from_secs(60),
            cpu_time: None,
            memory: ByteSize(1 << 30),
            processes: 256,
            file_size: ByteSize(1 << 30),
            disk: ByteSize(2 << 30),
            open_files: 1_024,
        },
        stdin: false,
        terminal: false,
        network: false,
    }
}

/// A small process that starts the program by the two usual ways: nothing is held in it.
struct Bare(Child);

impl Bare {
    fn start() -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        Ok(Self(command.arg("bare").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?))
    }

    fn time(&mut self, way: u8) -> Result<f64> {
        let (Some(order), Some(answer)) = (&mut self.0.stdin, &mut self.0.stdout) else { return Err("gone".into()) };
        order.write_all(&[way])?;
        let mut nanos = [0; 8];
        answer.read_exact(&mut nanos)?;
        Ok(u64::from_ne_bytes(nanos) as f64 / 1e6)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().is_ok_and(|status| status.success()), "the small process ends when it is told");
    }
}

fn serve_bare() -> Result<()> {
    let mut way = [0];
    let null = File::options().read(true).write(true).open("/dev/null")?;
    while std::io::stdin().read(&mut way)? == 1 {
        let before = Instant::now();
        match way {
            [b'f'] => fork_and_execute(&null)?,
            _ => {
                let mut command = Command::new(PROGRAM);
                command.stdin(Stdio::null()).stdout(Stdio::null());
                assert!(command.status()?.success());
            }
        }
        let nanos = u64::try_from(before.elapsed().as_nanos())?;
        std::io::stdout().write_all(&nanos.to_ne_bytes())?;
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn fork_and_execute(null: &File) -> Result<()> {
    let program = std::ffi::CString::new(PROGRAM)?;
    // SAFETY: this process has one thread, and the child makes system calls alone.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => {
            let status = nix::sys::wait::waitpid(child, None)?;
            assert!(matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0)));
            Ok(())
        }
        nix::unistd::ForkResult::Child => {
            nix::unistd::dup2_stdout(null)?;
            nix::unistd::execv(&program, &[&program])?;
            Ok(())
        }
    }
}
