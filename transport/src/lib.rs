//! The only crate that opens sockets and knows TLS: identities, connections, listening, dialling.
//!
//! A [`Connection`] carries [`common::message::Message`]s in both directions over TLS 1.3. Heartbeats, the
//! silence deadline and batching happen inside; see the README for the rules.

mod backoff;
pub mod clock;
mod connection;
mod dial;
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod heap;
pub mod identity;
mod listener;
mod opening;
pub mod testing;
mod tls;

pub use backoff::Backoff;
pub use connection::{Connection, Encoded, PeerIdentity, ReceiveError, Receiver, SendError, Sender};
pub use dial::{ConnectError, connect, connect_saying, fetch_pin};
pub use identity::{Authority, CaPin, EnrolmentKey, IdentityError, JoinString, SlaveIdentity};
pub use listener::{HandshakeError, ListenError, Listener, Pending};
pub use opening::Opening;
