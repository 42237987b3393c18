//! The one line with which a slave enrols: where the master is, how to know it, and a secret.

use super::CaPin;
use common::{ErrorCode, UserError};
use std::{fmt, str::FromStr};

const PREFIX: &str = "ruche-join:";
/// Longer secrets are typing mistakes: ours have 43 characters.
const SECRET_BYTES_MAX: usize = 256;

/// Address, pin and one-use secret. Written `ruche-join:HOST:PORT/PIN/SECRET`, without spaces, so that it can be
/// pasted as one word.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinString {
    /// `HOST:PORT` of the master.
    pub address: String,
    /// How to know the master before the secret is sent.
    pub pin: CaPin,
    /// The secret that makes the enrolment possible.
    pub secret: String,
}

/// Why a text is not a join string. It never repeats the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinStringError {
    /// Another text was pasted.
    #[error("the join string does not begin with `ruche-join:`")]
    Prefix,
    /// Its end was cut off.
    #[error("the join string is cut off; it has three parts, `ruche-join:HOST:PORT/PIN/SECRET`")]
    Parts,
    /// The address has no host or no port.
    #[error("the address in the join string is not HOST:PORT")]
    Address,
    /// The pin was cut or changed.
    #[error("the pin in the join string is not 64 hexadecimal digits")]
    Pin,
    /// The secret was cut or changed.
    #[error("the secret in the join string is empty or has characters that no secret has")]
    Secret,
}

impl fmt::Display for JoinString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}/{}/{}", self.address, self.pin.digits(), self.secret)
    }
}

/// Without the secret, so that a log never holds it.
impl fmt::Debug for JoinString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}/{}/(secret)", self.address, self.pin.digits())
    }
}

impl FromStr for JoinString {
    type Err = JoinStringError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.trim().strip_prefix(PREFIX).ok_or(JoinStringError::Prefix)?;
        let [address, pin, secret] =
            <[&str; 3]>::try_from(parts.split('/').collect::<Vec<_>>()).map_err(|_| JoinStringError::Parts)?;
        if !is_host_and_port(address) {
            return Err(JoinStringError::Address);
        }
        let pin = CaPin::from_digits(pin).ok_or(JoinStringError::Pin)?;
        let secret_fits = (1..=SECRET_BYTES_MAX).contains(&secret.len())
            && secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=' | b'.'));
        if !secret_fits {
            return Err(JoinStringError::Secret);
        }
        Ok(Self { address: address.to_owned(), pin, secret: secret.to_owned() })
    }
}

/// Whether the text is a name, an IPv4 address or a bracketed IPv6 address, a colon and a port.
pub(crate) fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let host_fits = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok()),
        None => {
            (1..=253).contains(&host.len())
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
        }
    };
    host_fits && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0)
}

impl From<JoinStringError> for UserError {
    fn from(error: JoinStringError) -> Self {
        Self::new(ErrorCode::JoinInvalid, error.to_string())
            .with_hint("copy the whole line again, or make a new one with `ruche-master join-string`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(address: &str) -> JoinString {
        JoinString { address: address.to_owned(), pin: CaPin([0xab; 32]), secret: "s3cret-_A".to_owned() }
    }

    #[test]
    fn a_join_string_survives_writing_and_pasting() {
        for address in ["master.example:7420", "10.0.0.1:1", "[::1]:7420", "[2001:db8::1]:65535", "localhost:7420"] {
            let join = example(address);
            let text = join.to_string();
            assert!(!text.contains(char::is_whitespace));
            assert_eq!(text.parse(), Ok(join.clone()));
            assert_eq!(format!("  {text}\n").parse(), Ok(join));
        }
    }

    #[test]
    fn a_bad_join_string_names_the_part_and_never_the_secret() {
        let good = example("master:7420").to_string();
        let pin = "ab".repeat(32);
        for (text, error) in [
            ("", JoinStringError::Prefix),
            ("sha256:abc", JoinStringError::Prefix),
            (&good[..20], JoinStringError::Parts),
            (good.rsplit_once('/').unwrap().0, JoinStringError::Parts),
            (&format!("{good}/more"), JoinStringError::Parts),
            (&format!("ruche-join:master/{pin}/s"), JoinStringError::Address),
            (&format!("ruche-join:master:0/{pin}/s"), JoinStringError::Address),
            (&format!("ruche-join:master:99999/{pin}/s"), JoinStringError::Address),
            (&format!("ruche-join:master:+80/{pin}/s"), JoinStringError::Address),
            (&format!("ruche-join::80/{pin}/s"), JoinStringError::Address),
            (&format!("ruche-join:::1:80/{pin}/s"), JoinStringError::Address),
            (&format!("ruche-join:[::1:80/{pin}/s"), JoinStringError::Address),
            (&format!("ruche-join:master:80/{}/s", &pin[1..]), JoinStringError::Pin),
            (&format!("ruche-join:master:80/{}g/s", &pin[1..]), JoinStringError::Pin),
            (&format!("ruche-join:master:80/{pin}/"), JoinStringError::Secret),
            (&format!("ruche-join:master:80/{pin}/two words"), JoinStringError::Secret),
        ] {
            assert_eq!(text.parse::<JoinString>(), Err(error), "{text}");
            assert!(UserError::from(error).is(ErrorCode::JoinInvalid));
        }
        assert!(!format!("{:?}", example("master:1")).contains("s3cret"));
    }
}
