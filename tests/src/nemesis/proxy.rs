//! A TCP proxy between two parts, which cuts, resets and swallows what it is told to.

use nix::sys::socket::{setsockopt, sockopt};
use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Connections at once; the tests make a few.
const CONNECTIONS_MAX: usize = 64;

/// Forwards to one address until it is dropped.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    to: Mutex<String>,
    open: Mutex<Vec<(TcpStream, TcpStream)>>,
    over: AtomicBool,
    /// Answers that are still to be swallowed; the connection is reset after each.
    swallow: AtomicUsize,
    /// Answers that were swallowed.
    swallowed: AtomicUsize,
    /// Bytes that one piece of a forwarded stream has at most.
    piece: AtomicUsize,
}

impl Proxy {
    /// A proxy at a free port of this machine.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn new(to: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = Arc::new(Shared {
            to: Mutex::new(to.to_owned()),
            open: Mutex::default(),
            over: AtomicBool::new(false),
            swallow: AtomicUsize::new(0),
            swallowed: AtomicUsize::new(0),
            piece: AtomicUsize::new(64 << 10),
        });
        let proxy = Self { address: listener.local_addr().unwrap(), shared: Arc::clone(&shared) };
        thread("proxy", move || accept(&listener, &shared));
        proxy
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Ends every connection with a reset, in the middle of whatever is on its way.
    ///
    /// # Panics
    /// When a thread of it has.
    pub fn reset(&self) {
        for (near, far) in self.shared.open.lock().unwrap().drain(..) {
            reset(&near);
            reset(&far);
        }
    }

    /// Swallows the next `count` answers: what the dialled side sends is not forwarded, and the connection is
    /// reset. What the dialling side sent has arrived.
    pub fn swallow(&self, count: usize) {
        self.shared.swallow.fetch_add(count, Ordering::SeqCst);
    }

    /// Answers that were swallowed so far.
    #[must_use]
    pub fn swallowed(&self) -> usize {
        self.shared.swallowed.load(Ordering::SeqCst)
    }

    /// Forwards in pieces of at most so many bytes.
    pub fn piece(&self, bytes: usize) {
        self.shared.piece.store(bytes, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.reset();
        // Wakes the thread that accepts.
        drop(TcpStream::connect_timeout(&self.address, Duration::from_secs(1)));
    }
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().name(name.into()).spawn(work).unwrap();
}

/// Closes with a reset: what was not sent is thrown away.
fn reset(stream: &TcpStream) {
    let now = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    let _closed = setsockopt(stream, sockopt::Linger, &now);
    let _closed = stream.shutdown(Shutdown::Both);
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for near in listener.incoming() {
        if shared.over.load(Ordering::SeqCst) {
            return;
        }
        let Ok(near) = near else { continue };
        let to = shared.to.lock().unwrap().clone();
        let Ok(far) = TcpStream::connect(&to) else {
            reset(&near);
            continue;
        };
        drop((near.set_nodelay(true), far.set_nodelay(true)));
        {
            let mut open = shared.open.lock().unwrap();
            open.retain(|(near, _)| near.peer_addr().is_ok());
            assert!(open.len() < CONNECTIONS_MAX, "the proxy has {CONNECTIONS_MAX} connections");
            open.push((near.try_clone().unwrap(), far.try_clone().unwrap()));
        }
        let (near_again, far_again) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        let (there, back) = (Arc::clone(shared), Arc::clone(shared));
        thread("proxy there", move || forward(&near, &far, &there, false));
        thread("proxy back", move || forward(&far_again, &near_again, &back, true));
    }
}

fn forward(mut from: &TcpStream, mut to: &TcpStream, shared: &Shared, answers: bool) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let piece = shared.piece.load(Ordering::SeqCst).clamp(1, buffer.len());
        let Ok(count @ 1..) = from.read(&mut buffer[..piece]) else { break };
        let take_one = |left: usize| left.checked_sub(1);
        if answers && shared.swallow.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take_one).is_ok() {
            shared.swallowed.fetch_add(1, Ordering::SeqCst);
            reset(from);
            reset(to);
            return;
        }
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // One side is over: so is the other, in order.
    drop((to.shutdown(Shutdown::Write), from.shutdown(Shutdown::Read)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers each byte with the next one.
    fn server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread("server", move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread("answers", move || {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&[byte[0] + 1]).is_ok() {}
                });
            }
        });
        address
    }

    fn ask(stream: &mut TcpStream, byte: u8) -> Option<u8> {
        let mut answer = [0];
        stream.write_all(&[byte]).ok()?;
        stream.read_exact(&mut answer).ok().map(|()| answer[0])
    }

    #[test]
    fn it_forwards_swallows_and_resets() {
        let proxy = Proxy::new(&server());
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        assert_eq!((ask(&mut stream, 1), ask(&mut stream, 5)), (Some(2), Some(6)));
        proxy.swallow(1);
        assert_eq!((ask(&mut stream, 7), proxy.swallowed()), (None, 1));
        let mut stream = TcpStream::connect(proxy.address()).unwrap();
        assert_eq!(ask(&mut stream, 7), Some(8));
        proxy.reset();
        assert_eq!(ask(&mut stream, 9), None);
    }
}
