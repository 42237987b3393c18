//! The command line of `ruche-gui`.

use crate::theme::Choice;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

const EXAMPLES: &str = "Examples:
  ruche-gui                                   opens the window where it was connected last
  ruche-gui --start                           starts a master and a slave here and connects to them
  ruche-gui --connect lab:7420 --user alice   asks for alice's password on the master at lab
  ruche-gui --demo                            shows made-up data; nothing is connected";

/// The desktop window of Ruche.
#[derive(Clone, Debug, Parser)]
#[command(name = "ruche-gui", version, about = "The desktop window of Ruche", after_help = EXAMPLES)]
pub struct Arguments {
    /// Start a master and a slave on this computer at once; they end with the window
    #[arg(long, conflicts_with_all = ["connect", "demo"])]
    pub start: bool,
    /// Connect to this master
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "demo")]
    pub connect: Option<String>,
    /// Log in as this user
    #[arg(long, value_name = "NAME", requires = "connect")]
    pub user: Option<String>,
    /// Show made-up data in place of a master
    #[arg(long)]
    pub demo: bool,
    /// Colours: dark, light or system; remembered
    #[arg(long, value_name = "THEME")]
    pub theme: Option<Choice>,
    /// What to do instead of opening the window
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What to do instead of opening the window.
#[derive(Clone, Debug, Subcommand)]
pub enum Action {
    /// Print a completion script for this shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page
    #[command(hide = true)]
    Man,
}

/// The command line, for manual pages and completions.
#[must_use]
pub(crate) fn command_line() -> clap::Command {
    Arguments::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command_line().debug_assert();
        let arguments =
            Arguments::try_parse_from(["ruche-gui", "--connect", "a:1", "--user", "bob", "--theme", "light"]).unwrap();
        assert_eq!((arguments.user.as_deref(), arguments.theme), (Some("bob"), Some(Choice::Light)));
        for wrong in [&["--theme", "blue"][..], &["--user", "bob"], &["--start", "--demo"]] {
            assert!(Arguments::try_parse_from(["ruche-gui"].iter().chain(wrong)).is_err(), "{wrong:?}");
        }
    }
}
