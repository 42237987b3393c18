//! `ruche suspend`, `ruche resume`, `ruche signal` and `ruche limit`: what is done to programs that have not ended.

use crate::{
    arguments::{LimitOptions, SignalName, SignalOptions},
    failure::{FAILED, Outcome, report},
    output::print,
    session::Session,
};
use client::reply;
use common::{limits::COPIES_PER_REQUEST_MAX, message::Request, program::ProgramSignal};

pub(super) async fn suspend(texts: &[String], suspend: bool) -> Outcome {
    let session = Session::open().await?;
    let ids = session.programs(texts).await?;
    let mut code = 0;
    for ids in ids.chunks(COPIES_PER_REQUEST_MAX) {
        let asked = ids.to_vec();
        let request = if suspend { Request::Suspend { ids: asked } } else { Request::Resume { ids: asked } };
        let results = reply::changed(session.ask(request).await?)?;
        for (id, result) in ids.iter().zip(results) {
            match result {
                Ok(_) if suspend => print(&format!("{id}  is being suspended\n"))?,
                Ok(_) => print(&format!("{id}  goes on\n"))?,
                Err(error) => {
                    report(&error);
                    code = FAILED;
                }
            }
        }
    }
    Ok(code)
}

pub(super) async fn signal(options: &SignalOptions) -> Outcome {
    let session = Session::open().await?;
    let id = session.program(&options.id).await?;
    let signal = match options.signal {
        SignalName::Interrupt => ProgramSignal::Interrupt,
        SignalName::Quit => ProgramSignal::Quit,
        SignalName::HangUp => ProgramSignal::HangUp,
        SignalName::Terminate => ProgramSignal::Terminate,
        SignalName::User1 => ProgramSignal::User1,
        SignalName::User2 => ProgramSignal::User2,
    };
    reply::done(session.ask(Request::Signal { id, signal }).await?)?;
    Ok(0)
}

pub(super) async fn limit(options: &LimitOptions) -> Outcome {
    let session = Session::open().await?;
    let id = session.program(&options.id).await?;
    let wall_time = options.wall_time;
    reply::done(session.ask(Request::SetWallTime { id, wall_time }).await?)?;
    print(&format!("{id}  may run for {wall_time}\n"))?;
    Ok(0)
}
