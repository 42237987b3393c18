//! The network behind the window: a session that reconnects by itself, and what this computer remembers of it.

use crate::{
    backend::{Asked, Backend, Known, Login, Submit, Submitting},
    files::in_background,
};
use client::{
    Context, Credentials, HistoryWindow, Live, Mirror, Target,
    files::Picked,
    live::LiveTarget,
    local::{self, Local},
};
use common::{
    ErrorCode, ProgramId, ProgramSpec, UserError,
    message::{Reply, Request, command::Secret},
    view::ClientKind,
};
use std::{
    cell::RefCell,
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};

/// Masters that are remembered.
const KNOWN_MAX: usize = 20;

/// A real session.
pub struct LiveBackend {
    live: Arc<Live>,
    /// Answers that are awaited.
    open: Arc<AtomicUsize>,
    /// Where logins are remembered; none remembers nothing.
    folder: Option<PathBuf>,
    /// The pair on this computer; ends with the window.
    here: Arc<Mutex<Option<Local>>>,
    /// What the thread that starts the pair hands over: where to connect, and as whom.
    started: Arc<Mutex<Option<LiveTarget>>>,
    connected_to: RefCell<Option<PathBuf>>,
    /// The masters of before, as they were read last: the first screen asks on each frame.
    /// With whether there was a connection: a login writes its context.
    known: RefCell<Option<(bool, Vec<Known>)>>,
    /// Folders whose login was ended in this window: their files may not say so yet.
    forgotten: RefCell<BTreeSet<PathBuf>>,
    /// Threads that write it down; awaited when the window closes.
    forgetting: RefCell<Vec<JoinHandle<()>>>,
}

impl LiveBackend {
    /// Starts the session's thread; `wake` is called when something changed that a person can see.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Result<Self, UserError> {
        let folder =
            client::context::folder().inspect_err(|error| tracing::warn!(%error, "logins are not remembered")).ok();
        // One is enough: who wakes sees all that has changed until then.
        let (news, told) = mpsc::sync_channel(1);
        let live = Arc::new(Live::start(ClientKind::Gui, move || {
            // Full: the waker is about to look anyway. Closed: the window is closing.
            news.try_send(()).ok();
        })?);
        let open = Arc::new(AtomicUsize::new(0));
        let waker = Waker { live: Arc::downgrade(&live), open: Arc::clone(&open), shown: Arc::default() };
        std::thread::Builder::new().name("ruche-wake".to_owned()).spawn(move || waker.run(&told, &wake)).map_err(
            |error| UserError::new(ErrorCode::Internal, format!("the waking thread cannot be started: {error}")),
        )?;
        Ok(Self {
            live,
            open,
            folder,
            here: Arc::default(),
            started: Arc::default(),
            connected_to: RefCell::default(),
            known: RefCell::default(),
            forgotten: RefCell::default(),
            forgetting: RefCell::default(),
        })
    }

    /// An answer that counts as awaited until it is there or nobody wants it any more.
    fn counted<T>(&self, mut poll: impl FnMut() -> Option<Result<T, UserError>> + 'static) -> Asked<T> {
        let mut count = Some(self.awaited());
        Asked::new(move || {
            let answer = poll();
            if answer.is_some() {
                count = None;
            }
            let _waits = &count;
            answer
        })
    }

    /// One more awaited answer.
    fn awaited(&self) -> Count {
        self.open.fetch_add(1, Ordering::Relaxed);
        Count(Arc::clone(&self.open))
    }

    /// Each master has its own folder, so that a login to one does not forget the other.
    fn folder_of(&self, address: &str, user: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join("masters").join(spelled(&format!("{user}@{address}"))))
    }

    fn contexts(&self) -> Vec<(PathBuf, Context)> {
        let Some(folder) = &self.folder else { return Vec::new() };
        let mut folders: Vec<(std::time::SystemTime, PathBuf)> = std::fs::read_dir(folder.join("masters"))
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .chain([folder.clone()])
            .map(|path| (written(&path), path))
            .collect();
        folders.sort();
        let mut contexts: Vec<(PathBuf, Context)> = Vec::new();
        for (_, path) in folders.into_iter().rev().take(KNOWN_MAX) {
            if let Ok(Some(mut context)) = Context::load(&path)
                && !contexts.iter().any(|(_, known)| known.target == context.target && known.user == context.user)
            {
                if self.forgotten.borrow().contains(&path) {
                    context.token = None;
                }
                contexts.push((path, context));
            }
        }
        contexts
    }

    fn connect(&self, target: LiveTarget) {
        if let Some(folder) = &target.remember_in {
            self.forgotten.borrow_mut().remove(folder);
        }
        self.connected_to.replace(target.remember_in.clone());
        self.known.replace(None);
        self.live.connect(target);
    }
}

/// Forgets the login in this folder; the master and the user stay known.
fn forget(folder: &Path) {
    let forgotten = match Context::load(folder) {
        Ok(Some(context)) => Context { token: None, ..context }.save(folder),
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = forgotten {
        tracing::warn!(%error, "the login is still remembered on this computer");
    }
}

impl Drop for LiveBackend {
    fn drop(&mut self) {
        for thread in self.forgetting.take() {
            if thread.join().is_err() {
                tracing::error!("the thread that forgets a login panicked");
            }
        }
    }
}

/// One awaited answer.
struct Count(Arc<AtomicUsize>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Looks at what the session says is new, and wakes the window only for what can be seen: the session also
/// says every two seconds that the master is still there, and painting that would never let the machine rest.
struct Waker {
    live: Weak<Live>,
    open: Arc<AtomicUsize>,
    shown: Arc<Mirror>,
}

impl Waker {
    fn run(mut self, told: &mpsc::Receiver<()>, wake: &dyn Fn()) {
        while told.recv().is_ok() {
            let Some(live) = self.live.upgrade() else { return };
            let newest = live.mirror();
            drop(live);
            let mut same = (*newest).clone();
            same.heard_at = self.shown.heard_at;
            let changed = same != *self.shown;
            self.shown = newest;
            if changed || self.open.load(Ordering::Relaxed) > 0 {
                wake();
            }
        }
    }
}

/// `text` as the name of a file, always the same one: what is special or upper case is percent-encoded.
fn spelled(text: &str) -> String {
    use std::fmt::Write as _;
    let mut name = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_@".contains(&byte) {
            name.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            write!(name, "%{byte:02x}").ok();
        }
    }
    // A file's name has at most 255 bytes; what differs only behind that shares a folder.
    name.truncate(240);
    name
}

/// When the context in this folder was written.
fn written(folder: &Path) -> std::time::SystemTime {
    std::fs::metadata(folder.join("context.toml"))
        .and_then(|meta| meta.modified())
        .unwrap_or(std::time::SystemTime::UNIX_EPOCH)
}

impl Backend for LiveBackend {
    fn mirror(&self) -> Arc<Mirror> {
        self.live.mirror()
    }

    fn request(&self, request: Request) -> Asked<Reply> {
        let mut answer = self.live.request(request);
        self.counted(move || answer.poll())
    }

    fn submit(&self, spec: ProgramSpec, count: u32, files: Vec<Picked>) -> Submitting {
        let mut answer = self.live.submit_with(spec, count, files);
        let mut open = Some(self.awaited());
        Submitting::new(move || match answer.poll() {
            Some(result) => {
                open = None;
                Submit::Ended(result.map(|submitted| (submitted.first, submitted.count)))
            }
            None => {
                let _waits = &open;
                match (answer.busy(), answer.sending()) {
                    (Some(busy), _) => Submit::Busy(busy),
                    (None, Some(sending)) => Submit::Sending(sending),
                    (None, None) => Submit::OnItsWay,
                }
            }
        })
    }

    fn show_history(&self, window: &HistoryWindow) {
        self.live.show_history(window);
    }

    fn pin(&self, id: ProgramId) {
        self.live.pin(id);
    }

    fn unpin(&self, id: ProgramId) {
        self.live.unpin(id);
    }

    fn known(&self) -> Vec<Known> {
        let connected = self.live.mirror().connected();
        if let Some((then, known)) = &*self.known.borrow()
            && *then == connected
        {
            return known.clone();
        }
        let known: Vec<Known> = self
            .contexts()
            .into_iter()
            .map(|(_, context)| Known {
                address: context.target.address,
                user: context.user,
                pin: context.target.pin.to_string(),
                has_session: context.token.is_some(),
            })
            .collect();
        self.known.replace(Some((connected, known.clone())));
        known
    }

    fn fetch_pin(&self, address: &str) -> Asked<String> {
        let address = address.to_owned();
        in_background(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
                UserError::new(ErrorCode::Internal, format!("a runtime cannot be started: {error}"))
            })?;
            let pin = runtime.block_on(transport::fetch_pin(&address)).map_err(UserError::from)?;
            Ok(pin.to_string())
        })
    }

    fn log_in(&self, login: Login) -> Result<(), UserError> {
        let pin = login
            .pin
            .parse()
            .map_err(|error| UserError::new(ErrorCode::PinWrong, format!("the pin cannot be read: {error}")))?;
        let remember_in = self.folder_of(&login.address, &login.user);
        self.connect(LiveTarget {
            target: Target { address: login.address, pin },
            credentials: Credentials::Password { user: login.user, password: Secret(login.password) },
            remember_in,
        });
        Ok(())
    }

    fn resume(&self, known: &Known) -> Result<(), UserError> {
        let found = self
            .contexts()
            .into_iter()
            .find(|(_, context)| context.target.address == known.address && context.user == known.user);
        let Some((folder, context)) = found else { return Err(client::context::login_needed()) };
        let credentials = context.credentials()?;
        self.connect(LiveTarget { target: context.target, credentials, remember_in: Some(folder) });
        Ok(())
    }

    fn start_here(&self, progress: Arc<Mutex<String>>) -> Asked<()> {
        let (here, started) = (Arc::clone(&self.here), Arc::clone(&self.started));
        in_background(move || {
            let mut here = here.lock().unwrap_or_else(PoisonError::into_inner);
            // What ended by itself is started anew; what runs is used.
            if here.as_mut().is_some_and(|local| local.trouble().is_some()) {
                *here = None;
            }
            if here.is_none() {
                let options = local::Options { folder: local::data_folder()?, slots: None };
                let said = |text: &str| text.clone_into(&mut progress.lock().unwrap_or_else(PoisonError::into_inner));
                *here = Some(Local::start(&options, said)?);
            }
            if let Some(local) = &*here {
                let target =
                    LiveTarget { target: local.target().clone(), credentials: local.credentials(), remember_in: None };
                *started.lock().unwrap_or_else(PoisonError::into_inner) = Some(target);
            }
            Ok(())
        })
    }

    fn log_out(&self) {
        // The session sends it before it closes. The answer does not matter: the token is forgotten here in any case.
        drop(self.live.request(Request::Logout));
        self.live.disconnect();
        self.known.replace(None);
        let Some(folder) = self.connected_to.borrow().clone() else { return };
        self.forgotten.borrow_mut().insert(folder.clone());
        let forgetting = std::thread::Builder::new().name("ruche-forget".to_owned()).spawn(move || forget(&folder));
        match forgetting {
            Ok(thread) => self.forgetting.borrow_mut().push(thread),
            Err(error) => tracing::warn!(%error, "the login is still remembered on this computer"),
        }
    }

    fn disconnect(&self) {
        self.live.disconnect();
    }

    fn trouble(&self) -> Option<UserError> {
        // While the pair is being started its thread holds it.
        let mut here = self.here.try_lock().ok()?;
        let trouble = here.as_mut()?.trouble()?;
        *here = None;
        Some(trouble.with_hint("“Start on this computer” starts it again; what was acknowledged is kept"))
    }

    fn take_started(&self) -> bool {
        let target = self.started.lock().unwrap_or_else(PoisonError::into_inner).take();
        match target {
            Some(target) => {
                self.connect(target);
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e10_a_logout_is_forgotten_at_once_and_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let mut backend = LiveBackend::new(|| {}).unwrap();
        backend.folder = Some(folder.path().to_owned());
        let pin = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
        let target = Target { address: "lab:7420".into(), pin };
        let context = Context { target, user: "bob".into(), token: Some(Secret("token".into())) };
        let here = backend.folder_of("lab:7420", "bob").unwrap();
        context.save(&here).unwrap();
        assert_eq!(backend.known().iter().map(|known| known.has_session).collect::<Vec<_>>(), [true]);
        backend.connected_to.replace(Some(here.clone()));
        backend.log_out();
        // Before the thread has written it.
        assert_eq!(backend.known().iter().map(|known| known.has_session).collect::<Vec<_>>(), [false]);
        drop(backend);
        assert_eq!(Context::load(&here), Ok(Some(Context { token: None, ..context })));
    }

    #[test]
    fn the_folder_of_a_master_is_spelled_out() {
        assert_eq!(spelled("bob@lab-master:7420"), "bob@lab-master%3a7420");
        assert_eq!(spelled("../B"), "%2e%2e%2f%42");
        assert!(spelled(&"é".repeat(300)).len() <= 240);
    }
}
