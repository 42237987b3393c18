//! Which master, as whom: kept on this computer between commands, readable by its owner alone.

use crate::connection::{Client, Credentials, Target};
use common::{ErrorCode, UserError, message::command::Secret};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Bytes of a context file; a longer one is not ours.
const FILE_BYTES_MAX: u64 = 64 << 10;
const FILE_NAME: &str = "context.toml";

/// A login that later commands continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The master.
    pub target: Target,
    /// The user's name.
    pub user: String,
    /// The session's token; none after a logout.
    pub token: Option<Secret>,
}

/// The file's own form.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    address: String,
    pin: String,
    user: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

/// The folder of the context: `$RUCHE_CONFIG_DIR`, else `$XDG_CONFIG_HOME/ruche`, else `~/.config/ruche`.
///
/// # Errors
/// `E-CONFIG-INVALID` when none of these variables is set.
pub fn folder() -> Result<PathBuf, UserError> {
    user_folder("RUCHE_CONFIG_DIR", "XDG_CONFIG_HOME", ".config")
}

/// The folder named by the variable `own`, else `ruche` in the one of `xdg`, else in `~/below_home`.
pub(crate) fn user_folder(own: &str, xdg: &str, below_home: &str) -> Result<PathBuf, UserError> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // The specification of these folders says that a relative path is to be ignored.
    set(own)
        .or_else(|| set(xdg).filter(|path| path.is_absolute()).map(|path| path.join("ruche")))
        .or_else(|| set("HOME").map(|home| home.join(below_home).join("ruche")))
        .ok_or_else(|| {
            UserError::new(ErrorCode::ConfigInvalid, format!("neither {own} nor HOME is set"))
                .with_hint(format!("set {own} to a folder of yours"))
        })
}

impl Context {
    /// What a client that logged in has to remember.
    #[must_use]
    pub fn of(target: &Target, client: &Client) -> Self {
        Self { target: target.clone(), user: client.identity().user.clone(), token: Some(client.token().clone()) }
    }

    /// Reads the context; none when nobody has logged in here.
    ///
    /// # Errors
    /// `E-CONFIG-INVALID` or `E-FILE-UNREADABLE`, naming the file.
    pub fn load(folder: &Path) -> Result<Option<Self>, UserError> {
        let path = folder.join(FILE_NAME);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() > FILE_BYTES_MAX => return Err(invalid(&path, "the file is too long")),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Ok(_) | Err(_) => {}
        }
        let text = fs::read_to_string(&path).map_err(|error| {
            UserError::new(ErrorCode::FileUnreadable, format!("{} cannot be read: {error}", path.display()))
        })?;
        parse(&text, &path).map(Some)
    }

    /// Writes the context whole or not at all, for the owner's eyes alone.
    ///
    /// # Errors
    /// `E-CONFIG-INVALID`, naming what could not be written.
    pub fn save(&self, folder: &Path) -> Result<(), UserError> {
        let file = File {
            address: self.target.address.clone(),
            pin: self.target.pin.to_string(),
            user: self.user.clone(),
            token: self.token.as_ref().map(|token| token.0.clone()),
        };
        let text = toml::to_string(&file).map_err(|error| {
            UserError::new(ErrorCode::Internal, format!("the login cannot be put into words: {error}"))
        })?;
        write_private(folder, &text).map_err(|error| {
            UserError::new(
                ErrorCode::ConfigInvalid,
                format!("the login cannot be kept in {}: {error}", folder.display()),
            )
            .with_hint("give a folder that you may write with RUCHE_CONFIG_DIR")
        })
    }

    /// What logs in again.
    ///
    /// # Errors
    /// `E-LOGIN-NEEDED` after a logout.
    pub fn credentials(&self) -> Result<Credentials, UserError> {
        self.token.clone().map(Credentials::Token).ok_or_else(|| {
            let again = format!("run `ruche login {} --user {}`", self.target.address, self.user);
            UserError::new(ErrorCode::LoginNeeded, format!("you are logged out of {}", self.target.address))
                .with_hint(again)
        })
    }
}

fn invalid(path: &Path, what: &str) -> UserError {
    UserError::new(ErrorCode::ConfigInvalid, format!("{}: {what}", path.display()))
        .with_hint("log in again with `ruche login HOST:PORT --user NAME`; it writes the file anew")
}

/// Reads the text of a context file.
pub(crate) fn parse(text: &str, path: &Path) -> Result<Context, UserError> {
    let file: File = toml::from_str(text).map_err(|error| {
        // The message alone: the error's own text quotes the line, which may hold the token.
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        invalid(path, &format!("line {line}: {}", error.message()))
    })?;
    let pin = file.pin.parse().map_err(|error| invalid(path, &format!("pin: {error}")))?;
    Ok(Context { target: Target { address: file.address, pin }, user: file.user, token: file.token.map(Secret) })
}

/// The error of a command that needs a login.
#[must_use]
pub fn login_needed() -> UserError {
    UserError::new(ErrorCode::LoginNeeded, "you are not logged in to a master")
}

fn write_private(folder: &Path, text: &str) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let temporary = folder.join(format!(".{FILE_NAME}.{}", std::process::id()));
    // Left behind by a command that was killed and had the same process number.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, folder.join(FILE_NAME))
    };
    write().inspect_err(|_| drop(fs::remove_file(&temporary)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn context() -> Context {
        let pin = format!("sha256:{}", "ab".repeat(32)).parse().expect("a pin");
        Context {
            target: Target { address: "127.0.0.1:7420".into(), pin },
            user: "alice".into(),
            token: Some(Secret("s3cret".into())),
        }
    }

    #[test]
    fn e10_a_login_is_kept_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("new/ruche");
        assert_eq!(Context::load(&below), Ok(None));
        context().save(&below).unwrap();
        context().save(&below).unwrap();
        assert_eq!(Context::load(&below), Ok(Some(context())));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&below), mode(&below.join(FILE_NAME))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&below).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn e9_a_context_with_a_mistake_names_file_and_line_and_never_the_token() {
        let folder = tempfile::tempdir().unwrap();
        for (text, part) in [
            ("address = \"a:1\"\npin = \"x\"\nuser = \"u\"\n", "pin"),
            ("address = \"a:1\"\n", "missing field"),
            ("token = \"s3cret\"\ncolour = 1\n", "unknown field"),
            ("token = \"s3cret", "line 1"),
        ] {
            fs::write(folder.path().join(FILE_NAME), text).unwrap();
            let error = Context::load(folder.path()).unwrap_err();
            assert!(error.is(ErrorCode::ConfigInvalid) && error.sentence.contains(part), "{text}: {error}");
            assert!(error.sentence.contains(FILE_NAME) && !error.to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn e9_after_a_logout_the_hint_names_the_command() {
        let context = Context { token: None, ..context() };
        let error = context.credentials().unwrap_err();
        assert!(error.is(ErrorCode::LoginNeeded));
        assert_eq!(error.hint, "run `ruche login 127.0.0.1:7420 --user alice`");
    }
}
