//! `ruche output`: what a program wrote so far, or until it ends.

use crate::{
    arguments::Output,
    failure::Outcome,
    reading::Reading,
    session::{Opening, Session},
    sink::Sink,
};
use common::{UserError, message::Stream};

pub(super) async fn output(options: &Output) -> Outcome {
    let stream = match (options.stderr, options.compile) {
        (true, _) => Stream::Stderr,
        (false, true) => Stream::Compile,
        (false, false) => Stream::Stdout,
    };
    let mut sink = Sink::stdout(options.raw);
    let (mut session, mut reading) = open(&options.id, stream, options.follow).await?;
    while !reading.ended() {
        reading.ask(session.client());
        let answer = reading.answer().await;
        match reading.take(answer) {
            Ok(bytes) => {
                // What follows comes while this is written.
                reading.ask(session.client());
                sink.write(bytes).await?;
            }
            Err(error) => session.recover(error).await?,
        }
    }
    sink.end().await?;
    Ok(0)
}

/// The connection, and the stream whose first piece is on its way.
async fn open(text: &str, stream: Stream, follow: bool) -> Result<(Session, Reading), UserError> {
    if let Ok(id) = text.parse() {
        let opening = Opening::new()?;
        let mut reading = Reading::new(id, stream, follow);
        reading.ask(opening.requests());
        return Ok((opening.connect().await?, reading));
    }
    let session = Session::open().await?;
    let id = session.program(text).await?;
    Ok((session, Reading::new(id, stream, follow)))
}
