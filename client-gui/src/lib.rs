//! The desktop window `ruche-gui`: submit programs, follow them, see who runs them.
//!
//! Mirror → [`view_model`] → `panels` → [`mod@command`]; [`command_handling`] is the one place where a command
//! changes something. The interface's thread never waits.

pub mod again;
pub mod answers;
pub mod app;
mod args;
pub mod arguments;
pub mod backend;
pub mod collected;
pub mod command;
pub mod command_handling;
pub mod demo;
pub mod describe;
pub mod editing;
pub mod files;
pub mod fonts;
pub mod input_lines;
pub mod lexer;
pub mod live;
mod open;
pub mod output;
pub mod panels;
mod saving;
pub mod settings;
pub mod signs;
pub mod state;
pub mod templates;
pub mod theme;
pub mod view_model;
pub mod widgets;

pub use args::Arguments;
pub use open::run;

/// The command line, for manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    args::command_line()
}
