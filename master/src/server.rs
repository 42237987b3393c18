//! A whole master in this process: tests start as many as they like.

use crate::{
    admin::{control, perform::About},
    between::Between,
    chores,
    config::Config,
    core::{
        Core, Settings,
        event::{Event, Now},
    },
    data_folder::{DataFolder, control_socket, identity},
    event_loop::{self, Input, Parts},
    inputs::Inputs,
    outputs::Outputs,
    session::{self, Shared},
    store::{
        SqliteStore, Storage, files,
        history::Reader,
        load::Recovered,
        open::open_reader,
        worker::{Failed, Readers, Writer},
    },
};
use common::{AttemptKey, ErrorCode, UserError, message::Stream, program::State};
use std::{collections::BTreeMap, io, net::SocketAddr, path::Path, sync::Arc, thread, time::Duration};
use tokio::{
    sync::{Notify, mpsc},
    task::{JoinHandle, JoinSet},
};
use transport::{Authority, Listener, clock};

/// The store's name for the epoch, and the epoch of a history that was never restored.
pub(crate) const EPOCH_SETTING: &str = "epoch";
pub(crate) const EPOCH_FIRST: u32 = 1;
/// Failures that are remembered; the first one ends the master.
const FAILURES_MAX: usize = 4;
/// Time for the store to finish what it was given before the end.
const CLOSE_TIME: Duration = Duration::from_secs(20);

/// A running master.
pub struct Server {
    address: SocketAddr,
    config: Config,
    inputs: mpsc::Sender<Input>,
    loop_task: JoinHandle<Result<(), UserError>>,
    failures: mpsc::Receiver<UserError>,
    others: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
    writer: Writer,
    store_thread: thread::JoinHandle<()>,
    folder: DataFolder,
}

fn unusable(what: &str, error: &dyn std::fmt::Display) -> UserError {
    UserError::new(ErrorCode::DataUnusable, format!("{what}: {error}"))
}

impl Server {
    /// Opens the data folder, recovers, listens. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// When the folder is used by another master or not usable, or the address is taken.
    pub async fn start(config: Config) -> Result<Self, UserError> {
        Self::start_with(config, |store| Box::new(store), None).await
    }

    /// As [`Self::start`], on a runtime of one thread that `between` drives.
    pub(crate) async fn start_between(config: Config, between: Between) -> Result<Self, UserError> {
        Self::start_with(config, |store| Box::new(store), Some(between)).await
    }

    /// As [`Self::start`], with a store that tests replace.
    pub(crate) async fn start_with(
        config: Config,
        wrap: impl FnOnce(SqliteStore) -> Box<dyn Storage>,
        between: Option<Between>,
    ) -> Result<Self, UserError> {
        let mut folder = DataFolder::lock(&config.data)?;
        let data = folder.path().to_owned();
        let authority = Authority::load_or_create(&identity(&data)).map_err(|error| UserError::from(&error))?;
        let outputs_folder = folder.outputs().map_err(|error| unusable("the folder of outputs", &error))?;
        let mut store = SqliteStore::open(&data)?;
        folder.remember_boot().map_err(|error| unusable("the file `lock`", &error))?;
        let recovered = store.load()?;
        let stored = stored_outputs(&recovered, &outputs_folder)
            .map_err(|error| UserError::new(ErrorCode::StorageFailed, format!("an output cannot be read: {error}")))?;
        let epoch = epoch_of(&recovered.settings)?;
        tracing::info!(alive = recovered.alive.len(), slaves = recovered.slaves.len(), "recovered");
        let settings = Settings {
            lease: config.lease,
            max_processes: config.max_processes,
            epoch,
            programs_per_user: config.programs_per_user,
            fair_share: config.fair_share,
        };
        let mut core = Core::recover(recovered, &stored, settings, Now { wall: clock::now(), boot: clock::boot_now() });
        let (input_files, found) =
            Inputs::open(&data).map_err(|error| unusable("the folder of input files", &error))?;
        core.inputs_found(found, config.inputs_max.0);
        let input_files = Arc::new(input_files);
        let listener = Listener::bind(&config.listen, &authority).await?;
        let address = listener.local_address();
        remember_address(&data, address);

        let no_thread = |error: std::io::Error| UserError::new(ErrorCode::Internal, format!("no thread: {error}"));
        let (inputs, inbox) = mpsc::channel(event_loop::INBOX_MAX);
        let (failed_to, failures) = mpsc::channel(FAILURES_MAX);
        let failed: Failed = Arc::new(move |error: UserError| {
            tracing::error!(%error, "the master ends");
            // The first one is enough.
            drop(failed_to.try_send(error));
        });
        let (writer, store_thread) = Writer::start(wrap(store), failed.clone()).map_err(no_thread)?;
        let reader = || Ok::<_, UserError>(Reader::new(open_reader(&data)?, outputs_folder.clone()));
        let readers = Readers::start(reader()?, reader()?, &failed).map_err(no_thread)?;
        let told = inputs.clone();
        let stored = Arc::new(move |key: AttemptKey, stream: Stream, offset: u64| {
            // The loop may have ended.
            drop(told.blocking_send(Input::Event(Event::OutputStored { key, stream, offset })));
        });
        let outputs = Outputs::start(&outputs_folder, stored, &failed).map_err(no_thread)?;
        let pin = authority.pin().to_string();
        let shared = Arc::new(Shared::new(
            inputs.clone(),
            writer.clone(),
            authority,
            config.name.clone(),
            config.certificate_life,
            input_files.clone(),
        ));
        let about = About { address: address.to_string(), pin };
        let control =
            control::listen(&control_socket(&data)).map_err(|error| unusable("the control socket", &error))?;
        let lookup = reader()?;
        let to_seal = Arc::new(Notify::new());
        let sealing = chores::seal(writer.clone(), open_reader(&data)?, outputs_folder.clone(), to_seal.clone());
        let parts = Parts {
            core,
            writer: writer.clone(),
            readers,
            outputs,
            input_files,
            lookup,
            data: data.clone(),
            inbox,
            inputs: inputs.clone(),
            to_seal,
            between,
        };
        let loop_task = tokio::spawn(event_loop::run(parts));
        let accepting = shared.clone();
        let others = vec![
            tokio::spawn(async move {
                // All sessions end with this task, whatever they wait for.
                let mut sessions = JoinSet::new();
                loop {
                    let pending = listener.accept().await;
                    sessions.spawn(session::serve(accepting.clone(), pending));
                    while let Some(ended) = sessions.try_join_next() {
                        if let Err(error) = ended {
                            tracing::error!(%error, "a session failed; the others go on");
                        }
                    }
                }
            }),
            tokio::spawn(chores::renew_server(shared.clone())),
            tokio::spawn(chores::flush_audit(shared.clone())),
            tokio::spawn(control::serve(control, shared.clone(), about, data)),
            tokio::spawn(sealing),
        ];
        Ok(Self { address, config, inputs, loop_task, failures, others, shared, writer, store_thread, folder })
    }

    /// Where it listens, with the port that was picked.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What tells it to stop and to read its configuration again.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { inputs: self.inputs.clone(), config: self.config.clone() }
    }

    /// Waits until it has ended: everything that was accepted is committed, the store is closed, and the folder is
    /// free.
    ///
    /// # Errors
    /// When it ended because the store failed, or a thread that it cannot do without.
    pub async fn wait(mut self) -> Result<(), UserError> {
        let result = tokio::select! {
            result = &mut self.loop_task => result
                .unwrap_or_else(|error| Err(UserError::new(ErrorCode::Internal, format!("the event loop failed: {error}")))),
            Some(error) = self.failures.recv() => {
                // Nothing more is promised, and nobody is told anything that is not on the disk.
                self.loop_task.abort();
                Err(error)
            }
        };
        for other in &self.others {
            other.abort();
        }
        for other in self.others {
            // Aborted on purpose.
            drop(other.await);
        }
        if tokio::time::timeout(CLOSE_TIME, self.shared.audit.flush()).await.is_err() {
            tracing::error!("the last refusals are missing from the audit");
        }
        drop((self.inputs, self.shared));
        match std::fs::remove_file(control_socket(self.folder.path())) {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "the control socket is gone already"),
        }
        let (writer, thread) = (self.writer, self.store_thread);
        let closing = tokio::task::spawn_blocking(move || {
            writer.end();
            thread.join().is_ok()
        });
        match tokio::time::timeout(CLOSE_TIME, closing).await {
            Ok(Ok(true)) => tracing::debug!("the store is closed"),
            Ok(Ok(false) | Err(_)) => tracing::error!("the store's thread failed"),
            Err(_) => tracing::error!("the store is not closed in time; what was acknowledged is on the disk"),
        }
        drop(self.folder);
        result.map_err(|error| match error {
            error if error.is(ErrorCode::StorageFailed) => error.with_hint(
                "look for errors of the disk in the system's log; `ruche-master check` tests the data folder, a new \
                 start goes on with what is on the disk, and `ruche-master restore` makes a new folder of a backup",
            ),
            error => error,
        })
    }
}

/// Tells a running master what to do; cheap to clone.
#[derive(Clone)]
pub struct Handle {
    inputs: mpsc::Sender<Input>,
    config: Config,
}

impl Handle {
    async fn give(&self, input: Input) {
        if self.inputs.send(input).await.is_err() {
            tracing::debug!("the master has ended already");
        }
    }

    /// Stops gracefully: nothing new is taken, everything is committed, programs go on at the slaves.
    pub async fn stop(&self) {
        self.give(Input::Stop).await;
    }

    /// Reads the configuration file again; a mistake leaves everything as it is.
    pub async fn reload(&self) {
        let Some(file) = &self.config.file else {
            return tracing::info!("there is no configuration file to read again");
        };
        match Config::read(&self.config.data, file) {
            Ok(config) => {
                tracing::info!(file = %file.display(), "the configuration is read again");
                let Config { max_processes, programs_per_user, fair_share, .. } = config;
                let event = Event::Reconfigured { max_processes, programs_per_user, fair_share };
                self.give(Input::Event(event)).await;
            }
            Err(error) => tracing::error!(%error, "the configuration stays as it was"),
        }
    }

    /// Writes the state to the log.
    pub async fn dump(&self) {
        self.give(Input::Dump).await;
    }
}

/// How far outputs of running attempts are on the disk.
fn stored_outputs(recovered: &Recovered, outputs: &Path) -> io::Result<BTreeMap<AttemptKey, [u64; Stream::COUNT]>> {
    let running = recovered.alive.iter().filter(|row| row.state == State::Running || row.slave.is_some());
    running
        .map(|row| {
            let key = AttemptKey { program: row.id, attempt: row.attempt };
            let mut lengths = [0; Stream::COUNT];
            for (length, stream) in lengths.iter_mut().zip(Stream::ALL) {
                *length = files::length(outputs, key, stream)?;
            }
            Ok((key, lengths))
        })
        .collect()
}

/// Which history the store holds.
fn epoch_of(settings: &BTreeMap<String, String>) -> Result<u32, UserError> {
    let Some(text) = settings.get(EPOCH_SETTING) else { return Ok(EPOCH_FIRST) };
    let epoch = text.parse().ok().filter(|epoch| *epoch >= EPOCH_FIRST);
    epoch.ok_or_else(|| UserError::new(ErrorCode::StorageFailed, format!("the stored epoch `{text}` is not a number")))
}

/// For `join-string` while the master is stopped.
fn remember_address(data: &Path, address: SocketAddr) {
    if let Err(error) = std::fs::write(crate::admin::address_file(data), format!("{address}\n")) {
        tracing::warn!(%error, "the address is not remembered");
    }
}
