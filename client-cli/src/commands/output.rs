//! `ruche output`: what a program wrote so far, or until it ends.

use crate::{arguments::Output, failure::Outcome, follow::read_request, output::Sink, session::Session};
use client::reply;
use common::message::Stream;

pub(super) async fn output(options: &Output) -> Outcome {
    let stream = match (options.stderr, options.compile) {
        (true, _) => Stream::Stderr,
        (false, true) => Stream::Compile,
        (false, false) => Stream::Stdout,
    };
    let mut session = Session::open().await?;
    let id = session.program(&options.id).await?;
    let mut sink = Sink::stdout(options.raw);
    let mut offset = 0;
    loop {
        let answer = session.ask(read_request(id, stream, offset, options.follow)).await;
        let piece = match answer.and_then(reply::output) {
            Ok(piece) => piece,
            Err(error) => {
                session.recover(error).await?;
                continue;
            }
        };
        offset = piece.offset + piece.bytes.len() as u64;
        sink.write(&piece.bytes).await?;
        if piece.end || (piece.bytes.is_empty() && !options.follow) {
            break;
        }
    }
    sink.end().await?;
    Ok(0)
}
