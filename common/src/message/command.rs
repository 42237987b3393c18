//! CMD: what one side asks the other to do.

use super::{
    order::Order,
    request::{Request, RequestId},
};
use crate::session::Hello;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A secret in a message: never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// A request or an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// First message of whoever dialled.
    Hello(Hello),
    /// A person logs in; answered with `Status::LoggedIn` or `Alert::Refused`.
    Login {
        /// The user's name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A person continues a session; answered like `Login`.
    Resume {
        /// The token of `Status::LoggedIn`.
        token: Secret,
    },
    /// A slave asks for a certificate; answered with `Status::Enrolled` or `Alert::Refused`.
    Enrol {
        /// The one-use secret of the join string.
        secret: Secret,
        /// The name that the slave wants.
        name: String,
        /// PKCS #10 request, DER, signed with the slave's own key.
        #[serde(with = "serde_bytes")]
        certificate_request: Vec<u8>,
    },
    /// A client asks something; answered with `Status::Reply` of the same number.
    Request {
        /// Chosen by the client; unique among its open requests.
        id: RequestId,
        /// What it asks.
        request: Request,
    },
    /// The master orders a slave.
    Order(Order),
    /// A slave asks for its next certificate over its present one; answered with `Status::Renewed`. What runs is
    /// not touched: the next connection uses it.
    Renew {
        /// PKCS #10 request, DER, signed with a new key of the slave.
        #[serde(with = "serde_bytes")]
        certificate_request: Vec<u8>,
    },
}
