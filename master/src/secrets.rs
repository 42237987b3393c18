//! Passwords and tokens: made, hashed, compared. Nothing here is ever logged.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD, prelude::BASE64_URL_SAFE_NO_PAD};
use common::{
    ErrorCode, UserError,
    limits::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN},
};

/// Memory of one password hash in KiB, passes and lanes: 19 MiB, 2, 1.
const COST: Cost = (19 * 1_024, 2, 1);
/// More than any hash of a later release will cost.
const COST_MAX: Cost = (1 << 20, 64, 16);
/// Room that is reserved for one hash, in blocks of 1 KiB: more than the 32 MiB above which the C library always
/// gives memory back to the system at once. Smaller pieces stay with the thread that used them, and a storm of
/// logins meets many threads. What is not used is never touched.
const BLOCKS_RESERVED: usize = 34 << 10;

/// Random bytes of the system.
///
/// # Errors
/// When the system has none, which no login survives.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], UserError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| UserError::new(ErrorCode::Internal, format!("the system gives no random bytes: {error}")))?;
    Ok(bytes)
}

/// A new secret of 256 bits, as text.
///
/// # Errors
/// As [`random`].
pub(crate) fn token() -> Result<String, UserError> {
    Ok(BASE64_URL_SAFE_NO_PAD.encode(random::<32>()?))
}

/// What is kept of a secret of 256 bits. It has nothing to guess, so that a fast hash is enough.
pub(crate) fn token_hash(token: &str) -> [u8; 32] {
    *blake3::hash(token.as_bytes()).as_bytes()
}

/// Checks a new password.
///
/// # Errors
/// `E-PASSWORD-WEAK` when it is too short or too long.
pub(crate) fn check_password(password: &str) -> Result<(), UserError> {
    let weak = |sentence: String| Err(UserError::new(ErrorCode::PasswordWeak, sentence));
    if password.chars().count() < PASSWORD_CHARS_MIN {
        return weak(format!("the password has fewer than {PASSWORD_CHARS_MIN} characters"));
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return weak(format!("the password has more than {PASSWORD_BYTES_MAX} bytes"));
    }
    Ok(())
}

/// Memory in KiB, passes, lanes.
pub(crate) type Cost = (u32, u32, u32);

fn derive(password: &str, salt: &[u8], (memory, passes, lanes): Cost) -> Result<[u8; 32], UserError> {
    let internal = |error: argon2::Error| UserError::new(ErrorCode::Internal, format!("argon2: {error}"));
    let params = Params::new(memory, passes, lanes, Some(32)).map_err(internal)?;
    let mut hash = [0; 32];
    let count = params.block_count();
    let mut blocks = Vec::with_capacity(count.max(BLOCKS_RESERVED));
    blocks.resize(count, Block::default());
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password.as_bytes(), salt, &mut hash, &mut blocks)
        .map_err(internal)?;
    Ok(hash)
}

/// What is kept of a password: the usual text form of argon2id. Takes some 20 ms and 19 MiB.
///
/// # Errors
/// As [`random`].
pub(crate) fn hash_password(password: &str) -> Result<String, UserError> {
    hash_with(password, COST)
}

/// As [`hash_password`], at another cost.
///
/// # Errors
/// As [`random`].
pub(crate) fn hash_with(password: &str, cost: Cost) -> Result<String, UserError> {
    let salt = random::<16>()?;
    let hash = derive(password, &salt, cost)?;
    let (memory, passes, lanes) = cost;
    let encode = |bytes: &[u8]| BASE64_STANDARD_NO_PAD.encode(bytes);
    Ok(format!("$argon2id$v=19$m={memory},t={passes},p={lanes}${}${}", encode(&salt), encode(&hash)))
}

/// Cost, salt and hash of the kept form; none when checking it would take memory or time that no hash of ours takes.
fn parse(kept: &str) -> Option<(Cost, Vec<u8>, Vec<u8>)> {
    let mut parts = kept.strip_prefix("$argon2id$v=19$")?.split('$');
    let mut cost = parts.next()?.split(',');
    let mut number = |name: &str| cost.next()?.strip_prefix(name)?.parse().ok();
    let cost = (number("m=")?, number("t=")?, number("p=")?);
    if cost.0 > COST_MAX.0 || cost.1 > COST_MAX.1 || cost.2 > COST_MAX.2 {
        return None;
    }
    let mut bytes = || BASE64_STANDARD_NO_PAD.decode(parts.next()?).ok();
    Some((cost, bytes()?, bytes()?))
}

/// Whether a password is the kept one. Takes as long for a user that does not exist (`None`).
/// The second value says that the kept form is older than today's cost.
///
/// # Errors
/// When the kept form cannot be read.
pub(crate) fn verify_password(password: &str, kept: Option<&str>) -> Result<(bool, bool), UserError> {
    let Some(kept) = kept else {
        derive(password, &[0; 16], COST)?;
        return Ok((false, false));
    };
    let (cost, salt, expected) =
        parse(kept).ok_or_else(|| UserError::new(ErrorCode::StorageFailed, "a kept password has an unknown form"))?;
    let found = derive(password, &salt, cost)?;
    // Every byte is looked at, whichever differs.
    let differs = found.iter().zip(&expected).fold(0, |differs, (a, b)| differs | (a ^ b));
    Ok((differs == 0 && expected.len() == found.len(), cost != COST))
}

/// Entry for the fuzz targets.
pub(crate) fn fuzz_parse(kept: &str) {
    drop(parse(kept));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e10_passwords_are_kept_as_salted_argon2id() {
        let kept = hash_password("correct horse").unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert_ne!(kept, hash_password("correct horse").unwrap());
        assert_eq!(verify_password("correct horse", Some(&kept)).unwrap(), (true, false));
        assert_eq!(verify_password("correct horsf", Some(&kept)).unwrap(), (false, false));
        assert_eq!(verify_password("correct horse", None).unwrap(), (false, false));
        assert!(verify_password("x", Some("plain")).is_err());
        let dear = kept.replace("m=19456", "m=4294967295");
        assert!(verify_password("correct horse", Some(&dear)).is_err());
    }

    #[test]
    fn e10_short_and_endless_passwords_are_refused() {
        assert!(check_password("1234567").is_err());
        assert!(check_password("12345678").is_ok());
        assert!(check_password(&"x".repeat(2_000)).is_err());
    }
}
