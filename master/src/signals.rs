//! What ends or changes a running master from outside: signals, and the end of standard input.

use crate::server::Handle;
use common::{ErrorCode, UserError};
use tokio::{
    io::AsyncReadExt,
    signal::unix::{Signal, SignalKind, signal},
};

/// The signals that a master listens to.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reload: Signal,
    dump: Signal,
    rotate: Signal,
}

impl Signals {
    /// Listens from now on, so that no signal ends the process while it starts.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn listen() -> Result<Self, UserError> {
        let on = |kind| {
            signal(kind).map_err(|error| UserError::new(ErrorCode::Internal, format!("signals do not work: {error}")))
        };
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            reload: on(SignalKind::hangup())?,
            dump: on(SignalKind::user_defined1())?,
            rotate: on(SignalKind::user_defined2())?,
        })
    }

    /// Passes signals on until the master has ended or a second one ends the process.
    pub(crate) async fn serve(mut self, handle: Handle, until_stdin_closes: bool) {
        let mut stopping = false;
        let mut stdin = tokio::io::stdin();
        let mut buffer = [0; 64];
        let mut watch_stdin = until_stdin_closes;
        loop {
            let stop = tokio::select! {
                _ = self.terminate.recv() => true,
                _ = self.interrupt.recv() => true,
                _ = self.reload.recv() => { handle.reload().await; false }
                _ = self.dump.recv() => { handle.dump().await; false }
                _ = self.rotate.recv() => {
                    tracing::info!("logs go to standard error; whoever keeps them rotates them");
                    false
                }
                read = stdin.read(&mut buffer), if watch_stdin => {
                    let closed = !matches!(read, Ok(1..));
                    watch_stdin = !closed;
                    closed
                }
            };
            if stop && std::mem::replace(&mut stopping, true) {
                tracing::warn!("told twice to stop: at once");
                std::process::exit(1);
            }
            if stop {
                handle.stop().await;
            }
        }
    }
}
