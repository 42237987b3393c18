//! A keeper: starts the programs of one slot one after another, and ends each within its limits.
//!
//! It has one thread and is the subreaper of everything that its programs start, so when it has no child
//! left, nothing of a program is left.

mod run;
mod signals;

use crate::{
    Socket, best_effort,
    cgroup::SlotFiles,
    protocol::{FromKeeper, KeeperConfig, ToKeeper},
    socket::Wait,
    spawn::Starter,
};
use nix::{
    sys::{prctl, signal::Signal},
    unistd::Pid,
};
use run::Runner;
use std::{convert::Infallible, io, os::fd::OwnedFd};

/// Serves the agent until it closes its end, then ends the process.
pub(crate) fn run(socket: Socket, config: &KeeperConfig, launcher: Pid) -> ! {
    let code = match serve(socket, config, launcher) {
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

fn serve(socket: Socket, config: &KeeperConfig, launcher: Pid) -> io::Result<Infallible> {
    signals::prepare()?;
    best_effort(prctl::set_name(c"ruche-keeper"));
    prctl::set_child_subreaper(true)?;
    // Programs live in this session: one for each slot, without a terminal.
    nix::unistd::setsid()?;
    // Nothing survives the launcher: this signal ends the program and then the keeper.
    prctl::set_pdeathsig(Signal::SIGUSR1)?;
    if nix::unistd::getppid() != launcher {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let files = SlotFiles::open(&config.groups);
    socket.send(&FromKeeper::Ready { problem: files.problem.clone() }, &[])?;
    let starter = Starter::new(config.user, files.limits_memory(), !files.limits_processes());
    let null = std::fs::File::open("/dev/null")?;
    let mut runner = Runner::new(socket, files, starter, config.user, OwnedFd::from(null));
    loop {
        let Some(received) = runner.receive(Wait::Yes)? else { continue };
        match received.message {
            ToKeeper::Run(step) => {
                let report = runner.run(*step, received.descriptors)?;
                runner.report(report)?;
            }
            ToKeeper::Tell { number } => runner.tell(number)?,
            // For a program that ended while the message was on its way.
            ToKeeper::Cancel { .. }
            | ToKeeper::Kill { .. }
            | ToKeeper::Suspend
            | ToKeeper::Resume
            | ToKeeper::SetWallTime(_)
            | ToKeeper::Signal(_) => {}
        }
    }
}
