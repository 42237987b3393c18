//! A whole master in this process: tests start as many as they like.

use crate::{
    admin::{control, perform::About},
    config::Config,
    core::{
        Core, Settings,
        event::{Event, Now},
    },
    data_folder::{DataFolder, control_socket, identity},
    event_loop::{self, Input, Parts},
    outputs::Outputs,
    session::{self, Shared},
    store::{
        SqliteStore, Storage, files,
        history::Reader,
        load::Recovered,
        open::open_reader,
        worker::{Readers, Writer},
    },
};
use common::{AttemptKey, ErrorCode, UserError, message::Stream, program::State};
use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::Arc, thread};
use tokio::{sync::mpsc, task::JoinHandle};
use transport::{Authority, Listener, clock};

/// A running master.
pub struct Server {
    address: SocketAddr,
    config: Config,
    inputs: mpsc::Sender<Input>,
    loop_task: JoinHandle<Result<(), UserError>>,
    others: Vec<JoinHandle<()>>,
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
        Self::start_with(config, |store| Box::new(store)).await
    }

    /// As [`Self::start`], with a store that tests replace.
    pub(crate) async fn start_with(
        config: Config,
        wrap: impl FnOnce(SqliteStore) -> Box<dyn Storage>,
    ) -> Result<Self, UserError> {
        let folder = DataFolder::lock(&config.data)?;
        let data = folder.path().to_owned();
        let authority = Authority::load_or_create(&identity(&data)).map_err(|error| UserError::from(&error))?;
        let outputs_folder = folder.outputs().map_err(|error| unusable("the folder of outputs", &error))?;
        let mut store = SqliteStore::open(&data)?;
        let recovered = store.load()?;
        let stored = stored_outputs(&recovered, &outputs_folder);
        tracing::info!(alive = recovered.alive.len(), slaves = recovered.slaves.len(), "recovered");
        let settings = Settings { lease: config.lease, max_processes: config.max_processes, epoch: 1 };
        let core = Core::recover(recovered, &stored, settings, Now { wall: clock::now(), boot: clock::boot_now() });
        let listener = Listener::bind(&config.listen, &authority).await?;
        let address = listener.local_address();
        remember_address(&data, address);

        let no_thread = |error: std::io::Error| UserError::new(ErrorCode::Internal, format!("no thread: {error}"));
        let (inputs, inbox) = mpsc::channel(event_loop::INBOX_MAX);
        let (writer, store_thread) = Writer::start(wrap(store)).map_err(no_thread)?;
        let reader = || Ok::<_, UserError>(Reader::new(open_reader(&data)?, outputs_folder.clone()));
        let readers = Readers::start(reader()?, reader()?).map_err(no_thread)?;
        let told = inputs.clone();
        let stored = Arc::new(move |key: AttemptKey, stream: Stream, offset: u64| {
            // The loop may have ended.
            drop(told.blocking_send(Input::Event(Event::OutputStored { key, stream, offset })));
        });
        let outputs = Outputs::start(&outputs_folder, stored).map_err(no_thread)?;
        let pin = authority.pin().to_string();
        let shared = Arc::new(Shared::new(inputs.clone(), writer.clone(), authority, config.name.clone()));
        let about = About { address: address.to_string(), pin };
        let control =
            control::listen(&control_socket(&data)).map_err(|error| unusable("the control socket", &error))?;
        let lookup = reader()?;
        let parts = Parts { core, writer, readers, outputs, lookup, data: data.clone(), inbox, inputs: inputs.clone() };
        let loop_task = tokio::spawn(event_loop::run(parts));
        let accepting = shared.clone();
        let others = vec![
            tokio::spawn(async move {
                loop {
                    let pending = listener.accept().await;
                    tokio::spawn(session::serve(accepting.clone(), pending));
                }
            }),
            tokio::spawn(control::serve(control, shared, about, data)),
        ];
        Ok(Self { address, config, inputs, loop_task, others, store_thread, folder })
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

    /// Waits until it has ended: everything that was accepted is committed, and the folder is free.
    ///
    /// # Errors
    /// When it ended because the store failed.
    pub async fn wait(self) -> Result<(), UserError> {
        let result = self.loop_task.await;
        for other in &self.others {
            other.abort();
        }
        for other in self.others {
            // Aborted on purpose.
            drop(other.await);
        }
        drop(self.inputs);
        match std::fs::remove_file(control_socket(self.folder.path())) {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "the control socket is gone already"),
        }
        // The store's thread ends with the last session; a session that hangs must not hold the folder.
        if self.store_thread.is_finished() {
            tracing::debug!("the store is closed");
        }
        result
            .unwrap_or_else(|error| Err(UserError::new(ErrorCode::Internal, format!("the event loop failed: {error}"))))
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
                let max_processes = config.max_processes;
                self.give(Input::Event(Event::Reconfigured { max_processes })).await;
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
fn stored_outputs(recovered: &Recovered, outputs: &Path) -> BTreeMap<AttemptKey, [u64; 3]> {
    let running = recovered.alive.iter().filter(|row| row.state == State::Running);
    running
        .map(|row| {
            let key = AttemptKey { program: row.id, attempt: row.attempt };
            (key, Stream::ALL.map(|stream| files::length(outputs, key, stream)))
        })
        .collect()
}

/// For `join-string` while the master is stopped.
fn remember_address(data: &Path, address: SocketAddr) {
    if let Err(error) = std::fs::write(crate::admin::address_file(data), format!("{address}\n")) {
        tracing::warn!(%error, "the address is not remembered");
    }
}
