//! The task that writes: everything that waits goes out in one write, and a PING when there was nothing.

use super::{
    outgoing::Batch,
    shared::{Shared, Taken},
};
use common::{
    limits::{HEARTBEAT_INTERVAL, SILENCE_MAX},
    message::{Heartbeat, Message},
};
use std::{future::poll_fn, io, mem, pin::pin, sync::Arc, time::Duration};
use tokio::{
    task::yield_now,
    time::{Instant, sleep_until, timeout},
};

/// Bytes between two looks at whether the peer still takes any.
const SLICE_BYTES: usize = 64 << 10;
/// Time for a closing connection to write what waits.
const FLUSH_TIME: Duration = Duration::from_secs(3);
/// Time for the peer of a closed connection to close as well.
const LINGER_TIME: Duration = Duration::from_secs(2);
/// What such a peer may still send before it is cut.
const LINGER_BYTES: usize = 4 << 20;

/// Writes until the connection is gone.
pub(super) async fn run(shared: Arc<Shared>) {
    if let Err(error) = write_until_closing(&shared).await {
        tracing::debug!(%error, "a connection cannot be written any more");
    }
    shared.end();
}

async fn write_until_closing(shared: &Shared) -> io::Result<()> {
    let interval = HEARTBEAT_INTERVAL.to_std();
    let mut batch = Batch::default();
    let mut pings = 0;
    // The batch before was a piece of bulk.
    let mut much = false;
    let mut last_sent = Instant::now();
    let mut timer = pin!(sleep_until(last_sent + interval));
    loop {
        match shared.take(&mut batch) {
            Taken::Gone => return Ok(()),
            Taken::Last => return end_politely(shared).await,
            Taken::Batch => {
                if mem::replace(&mut much, batch.bytes().len() >= SLICE_BYTES) {
                    // Other connections of this thread have their turn between.
                    yield_now().await;
                }
                write(shared, batch.bytes()).await?;
                last_sent = Instant::now();
            }
            Taken::Nothing => {
                much = false;
                tokio::select! {
                    () = shared.writer_woken() => {}
                    () = &mut timer => {
                        let now = Instant::now();
                        if now >= last_sent + interval {
                            pings += 1;
                            let ping = Message::Ping(Heartbeat { sequence: pings });
                            shared.outgoing().push(&ping).map_err(io::Error::other)?;
                            last_sent = now;
                        }
                        timer.as_mut().reset(last_sent + interval);
                    }
                }
            }
        }
    }
}

/// Writes all bytes and hands them to the system. Fails when the peer takes none for as long as a peer may be
/// silent.
async fn write(shared: &Shared, bytes: &[u8]) -> io::Result<()> {
    let stalled = |_| io::Error::from(io::ErrorKind::TimedOut);
    for slice in bytes.chunks(SLICE_BYTES) {
        let whole = async {
            let mut rest = slice;
            while !rest.is_empty() {
                let written = poll_fn(|cx| shared.poll_write(cx, rest)).await?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                rest = &rest[written..];
            }
            Ok::<(), io::Error>(())
        };
        timeout(SILENCE_MAX.to_std(), whole).await.map_err(stalled)??;
    }
    timeout(SILENCE_MAX.to_std(), poll_fn(|cx| shared.poll_flush(cx))).await.map_err(stalled)?
}

/// Says goodbye and waits a while for the peer to do the same: ending with bytes of it unread would make the
/// system throw away what it has not yet read of ours.
async fn end_politely(shared: &Shared) -> io::Result<()> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    timeout(FLUSH_TIME, poll_fn(|cx| shared.poll_shutdown(cx))).await.map_err(late)??;
    shared.begin_draining();
    let drain = async {
        let mut room = vec![0; 16 << 10];
        let mut drained = 0;
        while drained < LINGER_BYTES {
            match poll_fn(|cx| shared.poll_drain(cx, &mut room)).await {
                Ok(0) | Err(_) => return,
                Ok(count) => drained += count,
            }
        }
    };
    // Late or not, the connection ends now.
    timeout(LINGER_TIME, drain).await.unwrap_or_default();
    Ok(())
}
