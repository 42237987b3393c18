//! The programs of the demonstration that take input while they run.

use super::{outputs::Output, script::Script};
use common::{
    ErrorCode, Outcome, ProgramId, UserError,
    message::Reply,
    program::State,
    view::{ProgramView, Usage},
};
use std::fmt::Write;

/// The program of the scene that asks for a number.
pub(super) const GUESS: &str = "guess.py";
/// The number.
const NUMBER: u32 = 37;

/// The input of one program.
#[derive(Clone, Debug, Default)]
pub(super) struct Input {
    taken: Vec<u8>,
    ended: bool,
}

/// What the program has printed after this input, and whether it has ended.
fn printed(name: &str, input: &Input) -> (String, bool) {
    let text = String::from_utf8_lossy(&input.taken);
    let mut lines: Vec<&str> = text.split('\n').collect();
    // What follows the last line feed is a line once the input has ended.
    if !input.ended || lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    let mut output = String::new();
    if name != GUESS {
        for line in &lines {
            // Writing to a string cannot fail.
            writeln!(output, "read: {line}").ok();
        }
        return (output, input.ended);
    }
    output.push_str("A number from 1 to 100?\n");
    for (tries, line) in lines.iter().enumerate() {
        let said = match line.trim().parse::<u32>() {
            Ok(NUMBER) => {
                writeln!(output, "Right, after {} tries", tries + 1).ok();
                return (output, true);
            }
            Ok(number) if number < NUMBER => "More",
            Ok(_) => "Less",
            Err(_) => "That is no number",
        };
        writeln!(output, "{said}").ok();
    }
    (output, input.ended)
}

impl Script {
    /// What the window sent to this program so far.
    pub(super) fn input_of(&self, id: ProgramId) -> String {
        self.inputs.get(&id).map(|input| String::from_utf8_lossy(&input.taken).into_owned()).unwrap_or_default()
    }

    pub(super) fn input(&mut self, id: ProgramId, offset: u64, bytes: &[u8], end: bool) -> Result<Reply, UserError> {
        let program = self.find(id).filter(|program| !program.state.is_final() && program.started_at.is_some());
        let program = program.ok_or_else(|| UserError::new(ErrorCode::NotRunning, "the program does not run now"))?;
        if !program.live {
            return Err(UserError::new(ErrorCode::NotLive, "the program takes no input while it runs"));
        }
        let input = self.inputs.entry(id).or_default();
        // A repeat is taken once.
        let known = usize::try_from((input.taken.len() as u64).saturating_sub(offset)).unwrap_or(usize::MAX);
        if let Some(new) = bytes.get(known..) {
            input.taken.extend_from_slice(new);
        }
        input.ended |= end;
        let offset = input.taken.len() as u64;
        if !bytes.is_empty() || end {
            self.print(program);
        }
        Ok(Reply::InputTaken { offset })
    }

    /// Lets a program print what it says to its input.
    fn print(&mut self, mut program: ProgramView) {
        let Some(input) = self.inputs.get(&program.id) else { return };
        let (stdout, ended) = printed(&program.name, input);
        program.output_bytes = stdout.len() as u64;
        program.last_line = stdout.lines().last().unwrap_or_default().to_owned();
        self.outputs.insert(program.id, Output { stdout, ..Output::default() });
        if ended {
            let now = self.now();
            program.state = State::Done;
            program.outcome = Some(Outcome::Exited { code: 0 });
            program.ended_at = Some(now);
            program.usage = Some(Usage {
                wall: now.since(program.started_at.unwrap_or(now)),
                cpu: common::Duration::from_millis(40),
                memory_peak: common::ByteSize(9 << 20),
            });
        }
        self.put(program);
    }
}
