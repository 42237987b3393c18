//! A master that knows a few programs by their command and never runs any.

use common::{
    ClientId, Duration, ErrorCode, Limit, Outcome, ProgramId, ProgramSpec, SlaveId, Timestamp, UserError, Work,
    message::{Command, HistoryQuery, Message, Reply, Request, Status, Stream, command::Secret},
    program::State,
    session::Role,
    view::{ClientKind, ClientView, Explanation, LanguageOffer, ProgramView, SlaveReason, SlaveState, SlaveView},
};
use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
    path::Path,
    process::{Output, Stdio},
    sync::{Arc, Mutex, OnceLock},
};
use transport::{Connection, Listener, testing};

/// What the fake master knows of a program.
struct Program {
    spec: ProgramSpec,
    row: ProgramView,
}

#[derive(Default)]
struct Known {
    programs: BTreeMap<ProgramId, Program>,
    /// Connections to cut right after the next submit was acknowledged.
    cuts: u32,
    /// See `renew_at_wait`.
    renew: bool,
    /// Why the slave is set aside.
    aside: Option<String>,
    /// Waits and reads that are refused as busy.
    busy: u32,
    /// Messages of the next connection that are read before anything is answered.
    unheard: usize,
    /// What was read of the connection so far, when `unheard` was wanted.
    heard: usize,
    /// With `unheard`: nothing is answered before this is set.
    silent: bool,
    /// See `cut_before_login`.
    cut_login: bool,
    /// Reads that were answered.
    reads: usize,
}

/// The master, and a folder with a login to it.
pub struct Fake {
    pub pin: String,
    pub address: String,
    pub folder: tempfile::TempDir,
    state: Arc<Mutex<Known>>,
    _runtime: tokio::runtime::Runtime,
}

impl Fake {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (authority, listener) = runtime.block_on(testing::listen(&folder.path().join("ca"))).unwrap();
        let address = listener.local_address().to_string();
        let state = Arc::new(Mutex::new(Known::default()));
        let pin = authority.pin().to_string();
        runtime.spawn(serve(listener, Arc::clone(&state)));
        Self { pin, address, folder, state, _runtime: runtime }
    }

    /// A master to which somebody is logged in.
    pub fn logged_in() -> Self {
        let fake = Self::start();
        let login = ["login", &fake.address, "--user", "alice", "--password-stdin", "--pin", &fake.pin];
        let done = fake.ruche_with(&login, b"correct horse\n");
        assert!(done.status.success(), "{done:?}");
        fake
    }

    /// Cuts the connection of the next submit right after its acknowledgement.
    pub fn cut_after_submit(&self) {
        self.state.lock().unwrap().cuts = 1;
    }

    /// Cuts the connection of the next wait in place of an answer; meanwhile every program is cancelled and
    /// another one begins.
    pub fn renew_at_wait(&self) {
        self.state.lock().unwrap().renew = true;
    }

    /// Is too busy for so many of the next waits and reads.
    pub fn busy_for(&self, requests: u32) {
        self.state.lock().unwrap().busy = requests;
    }

    /// Reads so many messages of the next connection before it answers the first of them, and then waits for `speak`.
    pub fn silent_for(&self, messages: usize) {
        let mut state = self.state.lock().unwrap();
        (state.unheard, state.heard, state.silent) = (messages, 0, true);
    }

    /// Cuts the next connection in place of an answer to its login.
    pub fn cut_before_login(&self) {
        self.state.lock().unwrap().cut_login = true;
    }

    /// Waits until it has read what `silent_for` names.
    pub fn wait_until_heard(&self, command: &mut std::process::Child) {
        let silent = |state: &Known| state.heard < state.unheard;
        while silent(&self.state.lock().unwrap()) {
            assert!(command.try_wait().unwrap().is_none(), "it ended before it had asked everything");
            std::thread::yield_now();
        }
    }

    /// Answers from now on.
    pub fn speak(&self) {
        self.state.lock().unwrap().silent = false;
    }

    /// Pieces of output that were given out.
    pub fn reads(&self) -> usize {
        self.state.lock().unwrap().reads
    }

    pub fn programs(&self) -> usize {
        self.state.lock().unwrap().programs.len()
    }

    pub fn spec_of(&self, id: ProgramId) -> ProgramSpec {
        self.state.lock().unwrap().programs[&id].spec.clone()
    }

    pub fn last_spec(&self) -> ProgramSpec {
        let state = self.state.lock().unwrap();
        state.programs.values().max_by_key(|program| program.row.sequence).unwrap().spec.clone()
    }

    pub fn command(&self) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ruche"));
        command
            .env("RUCHE_CONFIG_DIR", self.folder.path().join("config"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn ruche(&self, arguments: &[&str]) -> Output {
        self.ruche_with(arguments, b"")
    }

    pub fn ruche_with(&self, arguments: &[&str], input: &[u8]) -> Output {
        use std::io::Write;
        let mut child = self.command().args(arguments).stdin(Stdio::piped()).spawn().unwrap();
        drop(child.stdin.take().unwrap().write_all(input));
        child.wait_with_output().unwrap()
    }

    pub fn write(&self, name: &str, text: &str) -> std::path::PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn config(&self) -> std::path::PathBuf {
        Path::new(self.folder.path()).join("config/context.toml")
    }
}

async fn serve(listener: Listener, state: Arc<Mutex<Known>>) {
    loop {
        let pending = listener.accept().await;
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            if let Ok(connection) = pending.handshake().await {
                drop(talk(connection, &state).await);
            }
        });
    }
}

/// The messages of `silent_for`, none without it.
async fn listen(
    connection: &mut Connection,
    state: &Mutex<Known>,
) -> Result<VecDeque<Message>, transport::ReceiveError> {
    let count = state.lock().unwrap().unheard;
    let mut heard = VecDeque::new();
    while heard.len() < count {
        heard.push_back(connection.receiver.next().await?);
        state.lock().unwrap().heard = heard.len();
    }
    while state.lock().unwrap().silent {
        tokio::task::yield_now().await;
    }
    state.lock().unwrap().unheard = 0;
    Ok(heard)
}

async fn next(heard: &mut VecDeque<Message>, connection: &mut Connection) -> Result<Message, transport::ReceiveError> {
    match heard.pop_front() {
        Some(message) => Ok(message),
        None => connection.receiver.next().await,
    }
}

async fn talk(mut connection: Connection, state: &Mutex<Known>) -> Result<(), transport::ReceiveError> {
    let mut heard = listen(&mut connection, state).await?;
    next(&mut heard, &mut connection).await?;
    let Message::Command(login) = next(&mut heard, &mut connection).await? else { return Ok(()) };
    if std::mem::take(&mut state.lock().unwrap().cut_login) {
        return Ok(());
    }
    let refusal = match login {
        Command::Login { password, .. } if password.0 != "correct horse" => Some(ErrorCode::LoginWrong),
        Command::Resume { token } if token.0 != "token" => Some(ErrorCode::LoginNeeded),
        _ => None,
    };
    if let Some(code) = refusal {
        connection.sender.refuse(UserError::new(code, code.when())).await;
        return Ok(());
    }
    connection
        .sender
        .send_all([
            Status::Welcome { protocol: 1, release: "9".into(), master: "fake".into() }.into(),
            Status::LoggedIn {
                client: ClientId(uuid::Uuid::from_u128(1)),
                user: "alice".into(),
                role: Role::Operator,
                token: Secret("token".into()),
            }
            .into(),
        ])
        .unwrap();
    connection.receiver.accept_large_frames();
    let mut open = Vec::new();
    loop {
        let Message::Command(Command::Request { id, request }) = next(&mut heard, &mut connection).await? else {
            return Ok(());
        };
        let cancels = matches!(request, Request::Cancel { .. });
        let cut = {
            let mut state = state.lock().unwrap();
            let submits = matches!(
                request,
                Request::Submit { .. } | Request::SubmitCopies { .. } | Request::SubmitEntries { .. }
            );
            let cut = state.cuts > 0 && submits;
            if matches!(request, Request::Wait { .. }) && std::mem::take(&mut state.renew) {
                state.renew();
                return Ok(());
            }
            match state.answer(request.clone()) {
                Some(result) => connection.sender.send(Status::Reply { id, result }).unwrap(),
                None => open.push((id, request)),
            }
            if cancels {
                // What this connection waits for may have happened.
                for (id, request) in std::mem::take(&mut open) {
                    match state.answer(request.clone()) {
                        Some(result) => connection.sender.send(Status::Reply { id, result }).unwrap(),
                        None => open.push((id, request)),
                    }
                }
            }
            state.cuts -= u32::from(cut);
            cut
        };
        if cut {
            connection.sender.close();
            connection.sender.closed().await;
            return Ok(());
        }
    }
}

/// Where pieces of a flood are cut short.
const FLOOD_CUT: usize = 1_000_003;

/// What the program `flood` writes.
pub fn flood_bytes() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES
        .get_or_init(|| (0..48_u32 << 18).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect())
}

/// How the fake program of this command ends.
fn outcome(spec: &ProgramSpec) -> Option<Outcome> {
    let detail = || "The evidence.".to_owned();
    let word = match &spec.work {
        Work::Command { command } => command.to_lossy().into_owned(),
        Work::Source { language, text, .. } if language == "Python" => {
            String::from_utf8_lossy(&text.0).trim().to_owned()
        }
        Work::Source { language, .. } => {
            return Some(Outcome::NotSupported { detail: format!("No slave offers {language}.") });
        }
    };
    Some(match word.as_str() {
        "never" => return None,
        "segv" => Outcome::Signalled { signal: 11 },
        "slow" => Outcome::Limit { limit: Limit::WallTime, detail: detail() },
        "hungry" => Outcome::Limit { limit: Limit::Memory, detail: detail() },
        "chatty" => Outcome::Limit { limit: Limit::Output, detail: detail() },
        "broken" => Outcome::CompileError { detail: "line 1: error: odd".into() },
        "missing" => Outcome::NotFound { detail: detail() },
        "lost" => Outcome::Lost { detail: detail() },
        other => Outcome::Exited { code: other.strip_prefix("exit").and_then(|code| code.parse().ok()).unwrap_or(0) },
    })
}

impl Known {
    fn answer(&mut self, request: Request) -> Option<Result<Reply, UserError>> {
        Some(match request {
            Request::Wait { .. } | Request::ReadOutput { .. } if self.busy > 0 => {
                self.busy -= 1;
                Err(UserError::new(ErrorCode::Busy, "too much to do").retry_after(Duration::from_millis(10)))
            }
            Request::Submit { ids, first_index, copies, spec } => {
                let mut sequences = Vec::new();
                for (index, id) in (first_index..).zip(ids) {
                    let sequence = self.programs.len() as u64 + 1;
                    let row = row(id, sequence, index, copies, &spec);
                    let program = Program { spec: (*spec).clone(), row };
                    sequences.push(self.programs.entry(id).or_insert(program).row.sequence);
                }
                Ok(Reply::Submitted { sequences })
            }
            Request::SubmitCopies { first, copies, spec } => {
                let ids = (0..u64::from(copies)).map(|n| first.nth(n).unwrap()).collect();
                let Some(Ok(Reply::Submitted { sequences })) =
                    self.answer(Request::Submit { ids, first_index: 0, copies, spec })
                else {
                    panic!("a submit is answered")
                };
                Ok(Reply::Submitted { sequences: sequences[..1].to_vec() })
            }
            Request::SubmitEntries { first, first_index, copies, spec, entries } => {
                let mut sequences = Vec::new();
                for (entry, index) in entries.iter().zip(first_index..) {
                    let (id, spec) = (first.nth(index.into()).unwrap(), spec.with_entry(entry));
                    let sequence = self.programs.len() as u64 + 1;
                    let row = row(id, sequence, index, copies, &spec);
                    sequences.push(self.programs.entry(id).or_insert(Program { spec, row }).row.sequence);
                }
                Ok(Reply::Submitted { sequences })
            }
            Request::Wait { ids } => {
                let programs: Vec<_> =
                    ids.iter().filter_map(|id| Some((*id, self.programs.get(id)?.row.outcome.clone()?))).collect();
                if programs.len() < ids.len() {
                    return None;
                }
                let count = programs.len() as u64;
                Ok(Reply::Ended { programs, count })
            }
            // Its programs wait for ever, whatever they have written.
            Request::Signal { id, .. } => Err(UserError::new(ErrorCode::NotRunning, format!("{id} waits"))),
            Request::Cancel { ids } => {
                Ok(Reply::Cancelled { results: ids.iter().map(|id| self.cancel(*id)).collect() })
            }
            Request::ReadOutput { id, stream, offset, follow, bytes_max } => {
                return self.read(id, stream, offset, follow, bytes_max);
            }
            Request::Show { id } => self.known(id).map(|program| Reply::Program(Box::new(program.row.clone()))),
            Request::Why { id } => self.known(id).map(|_| {
                let reason =
                    SlaveReason { slave: "s\u{1b}[31m1".into(), able: false, reason: "it has no Kotlin".into() };
                Reply::Why(Explanation { sentence: "It waits.".into(), ahead: Some(2), slaves: vec![reason] })
            }),
            Request::List(query) => Ok(self.list(&query)),
            Request::Slaves => Ok(Reply::Slaves(vec![slave(self.aside.clone())])),
            Request::Clients => Ok(Reply::Clients(vec![client()])),
            Request::Again { id, new_id } => match self.known(id).map(|program| program.spec.clone()) {
                Ok(spec) => {
                    let sequence = self.programs.len() as u64 + 1;
                    let row = row(new_id, sequence, 0, 1, &spec);
                    self.programs.insert(new_id, Program { spec, row });
                    Ok(Reply::Submitted { sequences: vec![sequence] })
                }
                Err(error) => Err(error),
            },
            Request::SetPolicy(policy) if policy != common::view::Policy::Fifo => {
                Err(UserError::new(ErrorCode::PolicyUnavailable, "not here"))
            }
            Request::SetAside { slave, .. } | Request::TakeBack { slave } if slave != "s1" => {
                Err(UserError::new(ErrorCode::SlaveUnknown, format!("no slave is called `{slave}`")))
            }
            Request::SetAside { reason, .. } => {
                self.aside = Some(reason);
                Ok(Reply::Ok)
            }
            Request::TakeBack { .. } => {
                self.aside = None;
                Ok(Reply::Ok)
            }
            Request::SetMaxProcesses { slave: Some(slave), .. } if slave != "s1" => {
                Err(UserError::new(ErrorCode::SlaveUnknown, format!("no slave is called `{slave}`")))
            }
            _ => Ok(Reply::Ok),
        })
    }

    fn known(&self, id: ProgramId) -> Result<&Program, UserError> {
        let unknown = || UserError::new(ErrorCode::ProgramUnknown, format!("no program has the ID {id}"));
        self.programs.get(&id).ok_or_else(unknown)
    }

    fn cancel(&mut self, id: ProgramId) -> Result<State, UserError> {
        self.known(id)?;
        let program = self.programs.get_mut(&id).unwrap();
        if program.row.state.is_final() {
            return Err(UserError::new(ErrorCode::ProgramEnded, format!("{id} has ended")));
        }
        program.row.outcome = Some(Outcome::Cancelled { by: "alice".into() });
        program.row.state = State::Cancelled;
        Ok(State::Cancelled)
    }

    fn renew(&mut self) {
        let ids: Vec<_> = self.programs.keys().copied().collect();
        for id in ids {
            // Those that have ended stay as they are.
            drop(self.cancel(id));
        }
        let spec = ProgramSpec::new("never", Work::Command { command: "never".into() });
        let id = ProgramId(uuid::Uuid::from_u128(99));
        let row = row(id, self.programs.len() as u64 + 1, 0, 1, &spec);
        self.programs.insert(id, Program { spec, row });
    }

    fn read(
        &mut self,
        id: ProgramId,
        stream: Stream,
        offset: u64,
        follow: bool,
        bytes_max: u32,
    ) -> Option<Result<Reply, UserError>> {
        let program = match self.known(id) {
            Ok(program) => program,
            Err(error) => return Some(Err(error)),
        };
        let flood = program.spec.name == "flood";
        let all: Cow<'static, [u8]> = match stream {
            Stream::Stdout if flood => flood_bytes().into(),
            Stream::Stdout => format!("out {}\n\u{1b}[1mraw", program.row.index).into_bytes().into(),
            Stream::Stderr => b"err\xff\n"[..].into(),
            Stream::Compile if program.spec.name == "broken" => b"line 1: error: odd\nline 2\n"[..].into(),
            Stream::Compile | Stream::Files => Cow::default(),
        };
        let start = usize::try_from(offset).unwrap().min(all.len());
        // In pieces, so that a reader has to ask again; of a flood whole ones, but for one at each million.
        let piece = if flood { (bytes_max as usize).min(FLOOD_CUT - start % FLOOD_CUT) } else { 4 };
        let end = (start + piece).min(all.len());
        let ended = program.row.state.is_final();
        if start == all.len() && !ended && follow {
            return None;
        }
        let reply = Reply::Output { offset, bytes: all[start..end].to_vec(), end: ended && end == all.len() };
        self.reads += 1;
        Some(Ok(reply))
    }

    fn list(&self, query: &HistoryQuery) -> Reply {
        let mut rows: Vec<_> = self
            .programs
            .values()
            .map(|program| program.row.clone())
            .filter(|row| query.states.is_empty() || query.states.contains(&row.state))
            .filter(|row| row.name.contains(&query.search) || row.id.to_string().contains(&query.search))
            .collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.sequence));
        let total = rows.len() as u64;
        rows.retain(|row| query.before.is_none_or(|before| row.sequence < before));
        rows.truncate(query.limit as usize);
        Reply::Page { rows, total }
    }
}

fn row(id: ProgramId, sequence: u64, index: u32, copies: u32, spec: &ProgramSpec) -> ProgramView {
    let outcome = outcome(spec);
    ProgramView {
        id,
        sequence,
        name: spec.name.clone(),
        language: spec.language().map(str::to_owned),
        state: outcome.as_ref().map_or(State::Running, Outcome::state),
        outcome,
        slave_id: Some(SlaveId(uuid::Uuid::from_u128(2))),
        slave_name: Some("s1".into()),
        client: ClientId(uuid::Uuid::from_u128(1)),
        user: "alice".into(),
        attempt: 1,
        priority: spec.priority,
        index,
        copies,
        progress: None,
        submitted_at: transport::clock::now(),
        started_at: Some(transport::clock::now()),
        ended_at: None,
        usage: None,
        output_bytes: 5,
        error_bytes: 4,
        compile_bytes: 0,
        output_truncated: false,
        last_line: "the last line".into(),
        unknown_since: None,
        files_bytes: 0,
        live: false,
    }
}

fn slave(aside: Option<String>) -> SlaveView {
    let offer = |name: &str, extension: &str| LanguageOffer {
        name: name.into(),
        version: "1.2".into(),
        extensions: vec![extension.into()],
    };
    SlaveView {
        id: SlaveId(uuid::Uuid::from_u128(2)),
        name: "s1".into(),
        address: "10.0.0.1:5".into(),
        state: if aside.is_some() { SlaveState::Draining } else { SlaveState::Connected },
        since: Timestamp(0),
        connected_since: Timestamp(0),
        running: 1,
        ahead: 0,
        slots: 4,
        languages: vec![offer("Python", "py"), offer("Zig", "zig")],
        isolation: common::view::Isolation::default(),
        machine: String::new(),
        release: String::new(),
        aside,
        ceiling: Default::default(),
    }
}

fn client() -> ClientView {
    ClientView {
        id: ClientId(uuid::Uuid::from_u128(1)),
        user: "alice".into(),
        role: Role::Operator,
        address: "10.0.0.2:6".into(),
        kind: ClientKind::Cli,
        connected_since: Timestamp(0),
        running: 1,
        waiting: 0,
    }
}
