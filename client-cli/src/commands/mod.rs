//! One module for each command, or for a few that belong together.

mod control;
mod demo;
mod each_line;
mod files;
mod history;
mod login;
mod output;
mod peers;
mod prepare;
mod run;
mod settle;
mod submit;

use crate::{
    arguments::{ChangeSlave, Command, Set, Slaves},
    failure::{Failure, Outcome},
};
use common::{ErrorCode, UserError};
use std::ffi::OsString;

/// Does what a command says and gives its exit code.
pub(crate) fn perform(command: Command, arguments: &[OsString]) -> Outcome {
    match command {
        Command::Completions { shell } => {
            let mut page = Vec::new();
            clap_complete::generate(shell, &mut crate::command(), "ruche", &mut page);
            crate::output::print(&String::from_utf8_lossy(&page))?;
            Ok(0)
        }
        Command::Man => {
            let mut page = Vec::new();
            clap_mangen::Man::new(crate::command()).render(&mut page)?;
            crate::output::print(&String::from_utf8_lossy(&page))?;
            Ok(0)
        }
        Command::Demo => demo::demo(),
        Command::Login(_)
        | Command::Logout
        | Command::Whoami
        | Command::Run(_)
        | Command::Submit(_)
        | Command::List(_)
        | Command::Show(_)
        | Command::Output(_)
        | Command::Fetch(_)
        | Command::Wait(_)
        | Command::Cancel(_)
        | Command::Again(_)
        | Command::Suspend(_)
        | Command::Resume(_)
        | Command::Signal(_)
        | Command::Limit(_)
        | Command::Why(_)
        | Command::Slaves(_)
        | Command::Clients(_)
        | Command::Languages(_)
        | Command::Set(_) => {
            let runtime = runtime()?;
            let result = runtime.block_on(over_the_network(command, arguments));
            // The process ends now, and the system tidies up quicker.
            std::mem::forget(runtime);
            result
        }
    }
}

/// Runs a future to its end on this thread.
pub(crate) fn block_on(work: impl Future<Output = Outcome>) -> Outcome {
    let runtime = runtime()?;
    let result = runtime.block_on(work);
    // A write that nobody reads may hold a thread for ever.
    runtime.shutdown_background();
    result
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::Error(UserError::new(ErrorCode::Internal, format!("no runtime can be started: {error}")))
    })
}

async fn over_the_network(command: Command, arguments: &[OsString]) -> Outcome {
    match command {
        Command::Login(login) => login::login(&login).await,
        Command::Logout => login::logout().await,
        Command::Whoami => login::whoami().await,
        Command::Run(submit) => run::run(submit, arguments).await,
        Command::Submit(submit) => submit::submit(submit, arguments).await,
        Command::List(list) => history::list(list).await,
        Command::Show(show) => history::show(&show).await,
        Command::Why(one) => history::why(&one.id).await,
        Command::Output(output) => output::output(&output).await,
        Command::Fetch(fetch) => files::fetch(&fetch).await,
        Command::Wait(wait) => settle::wait(&wait).await,
        Command::Cancel(ids) => settle::cancel(&ids.ids).await,
        Command::Again(ids) => settle::again(&ids.ids).await,
        Command::Suspend(ids) => control::suspend(&ids.ids, true).await,
        Command::Resume(ids) => control::suspend(&ids.ids, false).await,
        Command::Signal(options) => control::signal(&options).await,
        Command::Limit(options) => control::limit(&options).await,
        Command::Slaves(Slaves { change: None, json }) => peers::slaves(json).await,
        Command::Slaves(Slaves { change: Some(ChangeSlave::SetAside { name, reason }), .. }) => {
            peers::set_aside(name, reason).await
        }
        Command::Slaves(Slaves { change: Some(ChangeSlave::TakeBack { name }), .. }) => peers::take_back(name).await,
        Command::Clients(listing) => peers::clients(listing.json).await,
        Command::Languages(listing) => peers::languages(listing.json).await,
        Command::Set(Set::MaxProcesses { slots, slave }) => settle::set_max_processes(slots, slave).await,
        Command::Set(Set::Policy { policy, quantum }) => settle::set_policy(policy, quantum).await,
        Command::Completions { .. } | Command::Man | Command::Demo => Ok(0),
    }
}
