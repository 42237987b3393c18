//! A keeper: starts the programs of one slot one after another, and ends each within its limits.
//!
//! It has one thread and is the subreaper of everything that its programs start, so when it has no child
//! left, nothing of a program is left.

mod end;
mod limits;
mod queue;
mod quick;
mod run;
mod signals;
mod state;
mod talk;

use crate::{
    Socket, best_effort,
    cgroup::SlotFiles,
    isolation::{Given, Isolation},
    protocol::{FromKeeper, KeeperConfig, ToKeeper},
    socket::Wait,
    spawn::{FirstVictim, Starter},
};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{prctl, signal::Signal},
};
use run::Runner;
use std::{
    convert::Infallible,
    io,
    os::fd::{AsFd, OwnedFd},
};

/// Serves the agent until it closes its end, then ends the process.
pub(crate) fn run(socket: Socket, config: &KeeperConfig, launcher: &OwnedFd, given: Given) -> ! {
    let code = match serve(socket, config, launcher, given) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "there is nobody else to tell")]
            {
                eprintln!("the keeper of slot {} failed: {error}", config.slot);
            }
            1
        }
        Ok(never) => match never {},
    };
    std::process::exit(code)
}

fn serve(socket: Socket, config: &KeeperConfig, launcher: &OwnedFd, given: Given) -> io::Result<Infallible> {
    signals::prepare()?;
    best_effort(prctl::set_name(c"ruche-keeper"));
    prctl::set_child_subreaper(true)?;
    // Programs live in this session: one for each slot, without a terminal.
    nix::unistd::setsid()?;
    // Nothing survives the launcher: this signal ends the program and then the keeper.
    prctl::set_pdeathsig(Signal::SIGUSR1)?;
    if has_ended(launcher)? {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let files = SlotFiles::open(&config.groups);
    let first_victim = if files.limits_memory() { FirstVictim::open() } else { FirstVictim::NONE };
    // After the files of the groups, which are not seen from within.
    let isolation = Isolation::build(&config.guards, given);
    // A program may have this user, and nothing of it shall look into the keeper.
    prctl::set_dumpable(false)?;
    let problems = [files.problem.clone(), isolation.problem()].into_iter().filter(|problem| !problem.is_empty());
    let problem = problems.collect::<Vec<_>>().join("; ");
    socket.send(&FromKeeper::Ready { problem }, &[])?;
    let starter = Starter::new(config.user, isolation, first_victim, !files.limits_processes());
    // So that no other descriptor has this number.
    nix::unistd::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    let mut runner = Runner::new(socket, launcher, files, starter, config);
    loop {
        runner.run_queue()?;
        let Some(received) = runner.receive(Wait::Yes)? else { continue };
        if let ToKeeper::Run(step) = received.message {
            let report = runner.run(*step, received.descriptors)?;
            runner.report(report)?;
        } else if matches!(received.message, ToKeeper::End) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        } else {
            runner.hear(received.message, received.descriptors, None)?;
        }
    }
}

/// Whether the process that this descriptor stands for is gone. By its descriptor: within a namespace of processes
/// nobody outside has a number.
fn has_ended(process: &OwnedFd) -> io::Result<bool> {
    let mut ready = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut ready, PollTimeout::ZERO)? > 0)
}
