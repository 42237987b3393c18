//! The part of an answer that fits its request: `client.request(Request::Slaves).await.and_then(reply::slaves)`.

use common::{
    ErrorCode, Outcome, ProgramId, ProgramSpec, UserError,
    message::{
        Reply,
        status::{Event, InputHeld},
    },
    program::State,
    view::{ClientView, Explanation, ProgramView, SlaveView, Summary},
};

/// A piece of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Place of the first byte.
    pub offset: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The program has ended and no byte follows these.
    pub end: bool,
}

macro_rules! extract {
    ($($(#[$doc:meta])* $name:ident: $pattern:pat => $value:expr, $type:ty;)+) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// `E-PROTOCOL-ERROR` when the master answered something else.
        pub fn $name(reply: Reply) -> Result<$type, UserError> {
            let $pattern = reply else { return Err(unexpected(stringify!($name))) };
            Ok($value)
        }
    )+};
}

extract! {
    /// The answer to what only has to be done.
    done: Reply::Ok => (), ();
    /// The answer to `Submit` and `Again`.
    submitted: Reply::Submitted { sequences } => sequences, Vec<u64>;
    /// The answer to `List`: rows, and how many match in all.
    page: Reply::Page { rows, total } => (rows, total), (Vec<ProgramView>, u64);
    /// The answer to `Show`.
    program: Reply::Program(row) => *row, ProgramView;
    /// The answer to `Spec`.
    spec: Reply::Spec(spec) => *spec, ProgramSpec;
    /// The answer to `ReadOutput`.
    output: Reply::Output { offset, bytes, end } => Output { offset, bytes, end }, Output;
    /// The answer to `Wait`: outcomes, and how many were waited for.
    ended: Reply::Ended { programs, count } => (programs, count), (Vec<(ProgramId, Outcome)>, u64);
    /// The answer to `Cancel`.
    cancelled: Reply::Cancelled { results } => results, Vec<Result<State, UserError>>;
    /// The answer to `InputsHeld` and `PutInput`.
    inputs_held: Reply::InputsHeld { files } => files, Vec<InputHeld>;
    /// The answer to `Suspend` and `Resume`.
    changed: Reply::Changed { results } => results, Vec<Result<State, UserError>>;
    /// The answer to `Input`: every byte before this one is with the program.
    input_taken: Reply::InputTaken { offset } => offset, u64;
    /// The answer to `Why`.
    why: Reply::Why(explanation) => explanation, Explanation;
    /// The answer to `Slaves`.
    slaves: Reply::Slaves(slaves) => slaves, Vec<SlaveView>;
    /// The answer to `Clients`.
    clients: Reply::Clients(clients) => clients, Vec<ClientView>;
    /// The answer to `Summary`.
    summary: Reply::Summary(summary) => summary, Summary;
    /// The answer to `Events`.
    events: Reply::Events(events) => events, Vec<Event>;
}

/// The error for a reply that does not fit its request, which only a broken master sends.
fn unexpected(wanted: &str) -> UserError {
    UserError::new(ErrorCode::ProtocolError, format!("the master answered something else than `{wanted}`"))
        .with_hint("check that both releases match")
}
