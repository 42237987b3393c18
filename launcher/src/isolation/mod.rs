//! What stands between the programs of a slot and the machine: built once for each keeper, which is process 1 of its
//! slot's namespaces, and only entered by each program, or inherited from its keeper. A guard that cannot be built refuses every program; none
//! runs with less than was asked for.

mod assembler;
mod calls;
mod files;
mod loopback;
mod messages;
mod mounts;
pub(crate) mod namespaces;
pub(crate) mod network;
mod probe;
pub(crate) mod secret;
mod view;

pub use probe::{Facts, Wish, probe, usual_system_folders};

use crate::{
    best_effort,
    protocol::{Guards, Namespaces, NetworkGuard, NotStarted, StartStep, Step},
};
use calls::Sockets;
use messages::Messages;
use network::{Machine, Network};
use secret::Secret;
use std::{
    fmt, io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
    rc::Rc,
};
pub(crate) use view::FolderToken;
use view::View;

/// The most that `/tmp` is made for; the disk limit is watched, this is what the kernel keeps.
const TMP_SIZE_MIN: u64 = 1 << 20;

/// Why a guard could not be built.
#[derive(Debug)]
pub(crate) struct Problem {
    what: String,
    error: io::Error,
}

impl Problem {
    fn new(what: String, error: io::Error) -> Self {
        Self { what, error }
    }

    /// For what fails at `what`.
    fn of<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |error| Self { what, error: error.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.error)
    }
}

impl From<Problem> for io::Error {
    fn from(problem: Problem) -> Self {
        problem.error
    }
}

/// What a keeper was given when it was made.
#[derive(Debug)]
pub(crate) struct Given {
    /// Whether it is somebody in its namespaces.
    pub(crate) entered: io::Result<()>,
    /// The network of the launcher, when programs may ask for it.
    pub(crate) machine: Option<io::Result<Machine>>,
}

/// The guards of one slot, as its keeper holds them.
pub(crate) struct Isolation {
    guards: Guards,
    view: Option<View>,
    network: Option<Network>,
    messages: Option<Messages>,
    rules: Option<OwnedFd>,
    /// What a program enters besides the filter that it inherits: without network and with it.
    filters: [Option<Filter>; 2],
    secret: Secret,
    problem: Option<(StartStep, Problem)>,
}

/// A program for the kernel, and where it is.
struct Filter {
    _steps: Vec<libc::sock_filter>,
    program: libc::sock_fprog,
}

impl Filter {
    fn new(mut steps: Vec<libc::sock_filter>) -> Self {
        // The steps stay where they are when the vector moves.
        let program = libc::sock_fprog { len: u16::try_from(steps.len()).unwrap_or(0), filter: steps.as_mut_ptr() };
        Self { _steps: steps, program }
    }

    /// From now on it judges this process and all that it starts.
    fn enter(&self) -> io::Result<()> {
        let (number, mode) = (libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER);
        // SAFETY: the program and its steps outlive the call, which copies them.
        if unsafe { libc::syscall(number, mode, 0, &raw const self.program) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

/// What a program enters before it is executed, as plain numbers and pointers to what its keeper holds.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The working folder as the program sees it; none when it sees it as the keeper got it.
    pub(crate) folder: Option<Rc<OwnedFd>>,
    /// A network namespace to enter, or -1.
    pub(crate) network: RawFd,
    /// Rules of Landlock, or -1.
    pub(crate) rules: RawFd,
    /// A filter of system calls beside the one that it inherits, or null.
    pub(crate) filter: *const libc::sock_fprog,
}

impl Isolation {
    /// Builds the guards. The process is in its namespaces already.
    pub(crate) fn build(guards: &Guards, given: Given) -> Self {
        let mut built = Self {
            guards: guards.clone(),
            view: None,
            network: None,
            messages: None,
            rules: None,
            filters: [None, None],
            secret: Secret::NONE,
            problem: None,
        };
        if let Err((step, problem)) = built.fill(guards, given) {
            built.problem = Some((step, problem));
        }
        built
    }

    fn fill(&mut self, guards: &Guards, given: Given) -> Result<(), (StartStep, Problem)> {
        let at = |step| move |problem| (step, problem);
        given.entered.map_err(Problem::of("a user namespace")).map_err(at(StartStep::Private))?;
        let own = guards.namespaces != Namespaces::None;
        if own {
            let view = View::enter(guards).map_err(at(StartStep::Private))?;
            loopback::switch_on().map_err(Problem::of("loopback")).map_err(at(StartStep::Network))?;
            self.messages = Some(Messages::new(&Secret::NONE));
            self.view = Some(view);
        }
        if guards.landlock {
            self.rules = Some(self.rules().map_err(at(StartStep::Landlock))?);
        }
        if let (Some(guard), Some(machine)) = (&guards.network, given.machine) {
            self.network = Some(self.network(guard, machine, guards).map_err(at(StartStep::Network))?);
        }
        give_up_capabilities();
        // Programs inherit it; nothing that this process executes, which is nothing, gains anything by it.
        nix::sys::prctl::set_no_new_privs()
            .map_err(Problem::of("no new privileges"))
            .map_err(at(StartStep::Privileges))?;
        if guards.seccomp {
            self.enter_filter(own).map_err(Problem::of("the filter of calls")).map_err(at(StartStep::Seccomp))?;
        }
        Ok(())
    }

    /// Last: it judges this process as well.
    fn enter_filter(&mut self, own: bool) -> io::Result<()> {
        // Whoever has this user must not look for the secret.
        nix::sys::prctl::set_dumpable(false)?;
        self.secret = Secret::new()?;
        let fewer = |sockets| Some(Filter::new(calls::filter_of_sockets(sockets)));
        // What one kind of program may and another may not is up to a filter of its own.
        let (inherited, filters) = if own {
            (Sockets::InternetAndLocal, [None, None])
        } else if !self.guards.sockets_refused {
            (Sockets::Any, [None, fewer(Sockets::InternetAndLocal)])
        } else if self.network.is_some() {
            (Sockets::Internet, [fewer(Sockets::Pairs), None])
        } else {
            (Sockets::Pairs, [None, None])
        };
        self.filters = filters;
        Filter::new(calls::filter(inherited, own, &self.secret)).enter()
    }

    fn network(&self, guard: &NetworkGuard, machine: io::Result<Machine>, guards: &Guards) -> Result<Network, Problem> {
        // Sockets without a file belong to a network as well, and the machine's own services listen there.
        if self.view.is_some() && !(guards.landlock && files::version() >= files::SCOPES_SINCE) {
            let error = io::ErrorKind::Unsupported.into();
            return Err(Problem::new("the network, without Landlock that keeps sockets apart".to_owned(), error));
        }
        let machine = machine.map_err(Problem::of("the network of the machine"))?;
        Network::new(guard, machine, guards.namespaces)
    }

    fn rules(&self) -> Result<OwnedFd, Problem> {
        let guards = &self.guards;
        let own: [&Path; 2] = [&guards.work, Path::new("/tmp")];
        let writable = own.into_iter().chain(guards.writable.iter().map(PathBuf::as_path));
        match &self.view {
            Some(view) => files::rules(Some(Path::new("/")), view.readable.iter().map(PathBuf::as_path), writable),
            None => files::rules(None, files::readable_without_view(&guards.system), writable),
        }
    }

    /// What this keeper's own calls are let through by.
    pub(crate) const fn secret(&self) -> &Secret {
        &self.secret
    }

    /// What the private `/tmp` takes, after a program and all that it started are gone; none where there is none.
    pub(crate) fn tmp_bytes(&mut self) -> Option<u64> {
        self.view.as_mut()?.look_at_tmp()
    }

    /// Why no program can be run; empty when all is well.
    pub(crate) fn problem(&self) -> String {
        self.problem.as_ref().map(|(_, problem)| problem.to_string()).unwrap_or_default()
    }

    /// What the program of this step enters, with nothing left of the one before.
    pub(crate) fn entry(
        &mut self,
        step: &Step,
        folder: BorrowedFd<'_>,
        token: Option<FolderToken>,
        identity: Option<BorrowedFd<'_>>,
    ) -> Result<Entry, NotStarted> {
        let failed = |step| {
            move |error: io::Error| NotStarted { step, errno: error.raw_os_error().unwrap_or(libc::EIO), candidate: 0 }
        };
        if let Some((step, problem)) = &self.problem {
            return Err(NotStarted {
                step: *step,
                errno: problem.error.raw_os_error().unwrap_or(libc::EIO),
                candidate: 0,
            });
        }
        let mut within = None;
        if let Some(view) = &mut self.view {
            let size = step.limits.disk.0.min(step.limits.memory.0).max(TMP_SIZE_MIN);
            let is_new = view.renew_tmp(size, &self.secret).map_err(failed(StartStep::Private))?;
            let reached = match token {
                Some(token) => view.kept_folder_within(folder, token),
                None => view.folder_within(folder).map(Rc::new),
            };
            within = Some(reached.map_err(failed(StartStep::Folder))?);
            if is_new && self.rules.is_some() {
                // Rules are about the folders that they were made for, not about their names.
                let rules = self.rules().map_err(|problem| failed(StartStep::Landlock)(problem.error))?;
                self.rules = Some(rules);
            }
        }
        if let Some(messages) = &mut self.messages {
            messages.renew(&self.secret).map_err(failed(StartStep::Private))?;
        }
        let mut network = -1;
        if step.network {
            let refused = || failed(StartStep::Network)(io::Error::from_raw_os_error(libc::EPERM));
            let (guarded, group) = self.network.as_ref().zip(identity).ok_or_else(refused)?;
            guarded.guard(group, &self.secret).map_err(failed(StartStep::Network))?;
            network = guarded.entry();
        }
        let filter = &self.filters[usize::from(step.network)];
        let filter = filter.as_ref().map_or(std::ptr::null(), |filter| &raw const filter.program);
        let rules = self.rules.as_ref().map_or(-1, AsRawFd::as_raw_fd);
        Ok(Entry { folder: within, network, rules, filter })
    }
}

/// What a program of root's could gain by executing a file; the keeper itself executes nothing and keeps what it has.
fn give_up_capabilities() {
    for capability in 0..64 {
        // SAFETY: numbers only. It fails for whoever has nothing to give up, and behind the last one.
        best_effort(match unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } {
            0 => Ok(()),
            _ => Err(()),
        });
    }
}
