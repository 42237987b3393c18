//! The fingerprint by which a master is known.

use common::{ErrorCode, UserError, escape::RawText};
use std::{fmt, str::FromStr};

/// SHA-256 of the CA's SubjectPublicKeyInfo. Written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CaPin(pub(crate) [u8; 32]);

/// The text is not a pin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a pin; a pin is `sha256:` and 64 hexadecimal digits, as `ruche-master pin` prints it")]
pub struct PinError(RawText);

impl CaPin {
    /// The 64 digits without the prefix.
    pub(crate) fn digits(self) -> String {
        use fmt::Write as _;
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string takes every write");
            text
        })
    }

    pub(crate) fn from_digits(digits: &str) -> Option<Self> {
        let digits = digits.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut pin = [0; 32];
        for (byte, pair) in pin.iter_mut().zip(digits.chunks_exact(2)) {
            let value = |digit: u8| char::from(digit).to_digit(16);
            *byte = u8::try_from(value(pair[0])? << 4 | value(pair[1])?).ok()?;
        }
        Some(Self(pin))
    }
}

impl fmt::Display for CaPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.digits())
    }
}

impl fmt::Debug for CaPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for CaPin {
    type Err = PinError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        let error = || PinError(common::escape::shorten(trimmed, 100).into());
        trimmed.strip_prefix("sha256:").and_then(Self::from_digits).ok_or_else(error)
    }
}

impl From<PinError> for UserError {
    fn from(error: PinError) -> Self {
        Self::new(ErrorCode::RequestInvalid, error.to_string())
            .with_hint("copy the whole line that `ruche-master pin` prints")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_read_as_it_is_written() {
        let pin = CaPin(std::array::from_fn(|place| place as u8 * 7));
        assert_eq!(pin.to_string().parse(), Ok(pin));
        assert_eq!(format!(" {}\n", pin.to_string().to_uppercase().replace("SHA", "sha")).parse(), Ok(pin));
        let digits = pin.digits();
        for text in
            ["", "sha256:", &digits, "sha256:zz", &format!("sha256:{digits}0"), &format!("sha256:{}é", &digits[2..])]
        {
            assert!(text.parse::<CaPin>().is_err(), "{text} should be refused");
        }
    }
}
