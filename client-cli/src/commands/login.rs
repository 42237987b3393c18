//! `ruche login`, `logout` and `whoami`.

use crate::{
    arguments::Login,
    failure::{Failure, Outcome, say},
    output::print,
    session::Session,
    terminal,
};
use client::{
    connection::{Client, Credentials, Target, with_port},
    context::{self, Context},
    reply,
};
use common::{
    ErrorCode, UserError,
    escape::{Lines, visible},
    message::Request,
    view::ClientKind,
};
use transport::CaPin;

pub(super) async fn login(options: &Login) -> Outcome {
    let folder = context::folder()?;
    // A file with a mistake in it is about to be written anew.
    let known = Context::load(&folder).unwrap_or_default();
    let address = with_port(&options.address);
    let pin = match options.pin {
        Some(pin) => pin,
        None => trusted_pin(&address, known.as_ref()).await?,
    };
    let password = if options.password_stdin {
        terminal::password_from_stdin()?
    } else {
        let user = visible(options.user.as_bytes(), Lines::Escape);
        terminal::ask_password(&format!("Password of {user} at {address}: "))?
    };
    let target = Target { address, pin };
    let credentials = Credentials::Password { user: options.user.clone(), password };
    let (client, _news) = Client::connect(&target, ClientKind::Cli, &credentials).await?;
    Context::of(&target, &client).save(&folder)?;
    print(&who(&client, &target.address))?;
    Ok(0)
}

/// The pin of the master there: known from an earlier login, or shown and confirmed by a person.
async fn trusted_pin(address: &str, known: Option<&Context>) -> Result<CaPin, Failure> {
    let shown = transport::fetch_pin(address).await.map_err(UserError::from)?;
    let known = known.filter(|known| known.target.address == address).map(|known| known.target.pin);
    if known == Some(shown) {
        return Ok(shown);
    }
    let changed = known.map_or_else(String::new, |known| {
        format!("WARNING: it is another one than before, which was {known}.\nSomebody may be in between.\n")
    });
    let question = format!(
        "The master at {address} shows a pin that is not known yet:\n  {shown}\n{changed}\
         Compare it with what `ruche-master pin` prints there.\nIs it right (yes/no)? "
    );
    match terminal::ask_yes_no(&question) {
        Some(true) => Ok(shown),
        Some(false) => {
            say("Nothing was sent.\n");
            Err(Failure::Exit(crate::failure::FAILED))
        }
        None => Err(UserError::new(
            ErrorCode::PinWrong,
            format!("the pin of the master at {address} is not known, and there is no terminal to ask on"),
        )
        .with_hint(format!("compare it with `ruche-master pin`, then give it: --pin {shown}"))
        .into()),
    }
}

pub(super) async fn logout() -> Outcome {
    let session = Session::open().await?;
    reply::done(session.ask(Request::Logout).await?)?;
    let context = Context { token: None, ..session.context().clone() };
    context.save(session.folder())?;
    print(&format!("logged out of {}\n", context.target.address))?;
    Ok(0)
}

pub(super) async fn whoami() -> Outcome {
    let session = Session::open().await?;
    print(&who(session.client(), &session.context().target.address))?;
    Ok(0)
}

fn who(client: &Client, address: &str) -> String {
    let identity = client.identity();
    let text = format!(
        "logged in as {} ({}) at {}, {address}, release {}",
        identity.user, identity.role, identity.master, identity.release
    );
    format!("{}\n", visible(text.as_bytes(), Lines::Escape))
}
