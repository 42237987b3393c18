//! Whether a program takes input now, and what its line says.

use super::Standing;
use crate::{command::Situation, input_lines::InputLines};
use common::{ByteSize, program::State, view::ProgramView};

/// Whether something can be typed to `program` now; if not, why.
///
/// # Errors
/// The reason, as a short sentence.
pub fn able(program: &ProgramView, inputs: &InputLines, situation: &Situation) -> Result<(), &'static str> {
    takes_input(program, inputs)?;
    situation.may_submit()
}

/// Whether `program` takes input now, whoever types it.
///
/// # Errors
/// Why not, as a short sentence.
pub fn takes_input(program: &ProgramView, inputs: &InputLines) -> Result<(), &'static str> {
    if program.state.is_final() {
        return Err("it has ended");
    }
    if !program.live {
        return Err("it was submitted without input while it runs");
    }
    match Standing::of(program) {
        Standing::Unknown => Err("the connection to its slave is lost"),
        Standing::Known(State::Waiting) => Err("it has not started yet"),
        Standing::Known(_) if inputs.has_ended(program) => Err("its input has ended"),
        Standing::Known(_) => Ok(()),
    }
}

/// What stands in the empty line.
#[must_use]
pub fn hint(able: Result<(), &'static str>, waiting: usize) -> String {
    match (able, waiting) {
        (Err(why), _) => format!("No input now: {why}"),
        (Ok(()), 0) => "Input: Enter sends the line".to_owned(),
        (Ok(()), waiting) => format!("{} wait until the program reads them", ByteSize(waiting as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{demo::scene, view_model::clock::tests::clock};
    use common::session::Role;

    #[test]
    fn e5_the_line_says_why_it_takes_nothing() {
        let mut program = scene::programs(clock().now)[0].clone();
        let mut inputs = InputLines::default();
        let may = Situation { connected: true, role: Some(Role::Submitter), ..Situation::default() };
        assert_eq!(able(&program, &inputs, &may), Err("it was submitted without input while it runs"));
        program.live = true;
        assert_eq!(able(&program, &inputs, &may), Ok(()));
        assert_eq!(able(&program, &inputs, &Situation::default()), Err("not connected"));
        let viewer = Situation { role: Some(Role::Viewer), ..may.clone() };
        assert_eq!(able(&program, &inputs, &viewer), Err("your role may only look"));
        program.unknown_since = program.started_at;
        assert_eq!(able(&program, &inputs, &may), Err("the connection to its slave is lost"));
        program.unknown_since = None;
        for (state, said) in [
            (State::Waiting, Err("it has not started yet")),
            (State::Suspended, Ok(())),
            (State::Done, Err("it has ended")),
        ] {
            program.state = state;
            assert_eq!(able(&program, &inputs, &may), said);
        }
        program.state = State::Running;
        inputs.line(&program).end();
        assert_eq!(hint(able(&program, &inputs, &may), 0), "No input now: its input has ended");
        assert_eq!(hint(Ok(()), 3), "3 B wait until the program reads them");
    }
}
