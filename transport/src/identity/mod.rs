//! Who is who: the master's private CA, slaves' certificates, pins and join strings.

mod authority;
mod certificate;
mod error;
mod files;
mod join_string;
mod pin;
mod server;
mod slave;

pub use authority::Authority;
pub(crate) use certificate::{ends_at, pin_of, slave_of};
pub use error::IdentityError;
pub use join_string::{JoinString, JoinStringError};
pub use pin::{CaPin, PinError};
pub use slave::{EnrolmentKey, SlaveIdentity};

/// Entry for the fuzz targets.
pub(crate) fn fuzz_slave(text: &str) {
    drop(SlaveIdentity::from_text(text));
}

/// The DNS name in every master's certificate. Trust comes from the CA's pin, not from where the master lives.
pub(crate) const MASTER_NAME: &str = "ruche-master";
