//! What may stand on the command line.

use crate::values;
use clap::{Args, Parser, Subcommand, builder::TypedValueParser};
use common::{ByteSize, Duration, program::State};
use std::{ffi::OsString, path::PathBuf};

const EXAMPLES: &str = "\
Examples:
  ruche login master.example:7420 --user alice
  ruche run hello.py                      run a source file, see its output, exit as it did
  ruche run --memory 256M -- make -j4     run a command within a limit
  ruche submit --count 100 work.py        a hundred copies, told apart by RUCHE_INDEX
  ruche list --state failed
  ruche why ID

Exit codes: 0 done, 1 failed, 2 a mistake in the arguments, 124 `wait --timeout` ran out; `ruche run --help`
tells those of `run`. Errors are told on standard error as `E-CODE: what happened` and `hint: what to do`.
The login is kept in $RUCHE_CONFIG_DIR, else in the user's configuration folder. RUCHE_LOG=debug shows more.";

/// Runs programs on other machines.
#[derive(Debug, Parser)]
#[command(name = "ruche", bin_name = "ruche", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

// Only the options of the command that is used are built.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Log in to a master and remember it
    #[command(after_help = "Examples:\n  ruche login master.example:7420 --user alice\n  \
        ruche login 127.0.0.1:7420 --user ci --password-stdin --pin sha256:… < password\n\n\
        Without --pin the master's pin is shown and asked about; compare it with `ruche-master pin`.")]
    Login(Login),
    /// End the session and forget it
    Logout,
    /// Show who is logged in, and where
    Whoami,
    /// Submit a program, stream its output, exit as it did
    #[command(after_help = RUN_HELP, override_usage = "ruche run [OPTIONS] FILE [ARGS…]\n       ruche run [OPTIONS] -- COMMAND [ARGS…]")]
    Run(Submit),
    /// Submit a program, print its ID and return
    #[command(after_help = SUBMIT_HELP, override_usage = "ruche submit [OPTIONS] FILE [ARGS…]\n       ruche submit [OPTIONS] -- COMMAND [ARGS…]")]
    Submit(Submit),
    /// Show the history, newest first
    #[command(after_help = "Examples:\n  ruche list\n  ruche list --state failed --state lost --limit 20\n  \
        ruche list --search report --json")]
    List(List),
    /// Show one program
    #[command(after_help = "Examples:\n  ruche show 0197a3c4-…\n  ruche show --json 0197a3c4-… | jq .outcome\n\n\
        An ID may be shortened to its beginning or its end, as `ruche list` shows it.")]
    Show(Show),
    /// Print a program's output so far
    #[command(after_help = "Examples:\n  ruche output ID\n  ruche output --follow ID\n  ruche output --stderr ID\n  \
        ruche output ID > FILE\n\n\
        On a terminal control characters are shown and not obeyed, unless --raw is given; pipes and files get the\n\
        bytes as they are.")]
    Output(Output),
    /// Wait until programs have ended
    #[command(after_help = "Examples:\n  ruche wait ID ID\n  ruche wait --all --timeout 10m\n\n\
        Exits with 0 when all have ended, however they ended, and with 124 when the time ran out.")]
    Wait(Wait),
    /// Write the files that a program brought back
    #[command(
        after_help = "Examples:\n  ruche fetch ID\n  ruche fetch ID --list\n  ruche fetch ID --to results --force\n\n\
        Nothing is written over unless --force is given, and nothing outside the folder."
    )]
    Fetch(Fetch),
    /// Stop programs
    #[command(after_help = "Example:\n  ruche cancel ID ID")]
    Cancel(Ids),
    /// Let running programs stand still; they keep their slots, and their time does not run
    #[command(after_help = "Example:\n  ruche suspend ID ID\n\n`ruche resume ID` lets them go on.")]
    Suspend(Ids),
    /// Let suspended programs go on
    #[command(after_help = "Example:\n  ruche resume ID ID")]
    Resume(Ids),
    /// Send a signal to a running program
    #[command(after_help = "Examples:\n  ruche signal ID\n  ruche signal ID user1")]
    Signal(SignalOptions),
    /// Change how long a program may run, whether it waits or runs
    #[command(after_help = "Example:\n  ruche limit ID --wall-time 2h")]
    Limit(LimitOptions),
    /// Run programs once more under new IDs, which are printed
    #[command(after_help = "Example:\n  ruche again ID")]
    Again(Ids),
    /// Tell why a program waits, slave by slave, or why it ended as it did
    #[command(after_help = "Example:\n  ruche why ID")]
    Why(One),
    /// Show who executes programs; set a slave aside or take it back
    #[command(after_help = "Examples:\n  ruche slaves\n  ruche slaves --json\n  \
        ruche slaves set-aside s1 --reason 'new disk'\n  ruche slaves take-back s1")]
    Slaves(Slaves),
    /// Show who is logged in
    #[command(after_help = "Examples:\n  ruche clients\n  ruche clients --json")]
    Clients(Listing),
    /// Show what can be run, and where
    #[command(after_help = "Examples:\n  ruche languages\n  ruche languages --json")]
    Languages(Listing),
    /// Change the master while it runs
    #[command(subcommand)]
    Set(Set),
    /// Start a master and a slave on this computer and run sample programs in several languages
    #[command(after_help = "Example:\n  ruche demo\n\nExits with 0 when each sample ended as it should.")]
    Demo,
    /// Print the completions of a shell
    #[command(after_help = "Example:\n  ruche completions bash > ~/.local/share/bash-completion/completions/ruche")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    #[command(hide = true)]
    Man,
}

const RUN_HELP: &str = "\
Examples:
  ruche run hello.py one two
  ruche run --wall-time 10s --stdin data.txt sort.cpp
  echo 'print(1)' | ruche run --language Python -
  ruche run -- uname -a
  ruche run --count 4 work.py             outputs whole, in the order of the copies

  ruche run --tty -- bash                 a shell there, in this terminal

What stands after FILE or COMMAND belongs to the program. Standard input reaches it as it comes, unless --stdin,
--count or --retry is given; in a script that has other use for it, write `< /dev/null`. Ctrl-C sends it SIGINT (and
cancels one that has not started), a second one cancels it, a third leaves at once; with --tty every key is the
program's.
With --json nothing is streamed: the ended program is printed as one object, with --count as an array.
On a terminal control characters of the program are shown and not obeyed, unless --raw is given; pipes and files
get its bytes as they are.

Exit codes: the program's own; 128+N signal N ended it; 124 a time limit; 125 Ruche itself failed; 126 compile
or syntax error; 127 no slave can run it or the command was not found; 130 cancelled; 137 the memory limit;
141 whoever read the output went away. With --count the first, by index, that is not 0.";

const SUBMIT_HELP: &str = "\
Examples:
  ruche submit long.py
  ruche submit --count 100 --name sweep work.py
  ruche submit --json -- make | jq -r .id
  ls *.wav | ruche submit --each-line - -- flac --best {} -o {}.flac
  ruche submit --each-line cities.txt report.py

With --count one ID is printed on each line, in the order of the copies. With --json the programs are printed,
with --count as an array.

With --each-line there is one program for each line, with RUCHE_INDEX 0 for the first. The line stands wherever an
argument says {}, as often as it says so; without {} it is the last argument. It is one argument, whatever stands in
it: no shell reads it, and the command itself is not replaced. Lines are taken byte for byte: an empty line is a
program with an empty argument, and a carriage return belongs to its line (`tr -d '\\r'` removes them). They are sent as
they are read, so that a list may be of any length, and one ID is printed for each as it is accepted; a lost
connection is made again and nothing is submitted twice. Ctrl-C ends it and tells how many programs were accepted;
those run on. With --json an array is printed.";

#[derive(Debug, Args)]
pub(crate) struct Login {
    /// The master's address; the port is 7420 unless given
    #[arg(value_name = "HOST:PORT")]
    pub(crate) address: String,
    /// The user's name
    #[arg(long)]
    pub(crate) user: String,
    /// Read the password from the first line of standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// The pin that `ruche-master pin` prints
    #[arg(long)]
    pub(crate) pin: Option<transport::CaPin>,
}

// What `run` and `submit` take. No documentation comment: as their commands are built late, it would take the place of
// what each is for.
#[derive(Debug, Args)]
pub(crate) struct Submit {
    /// The language of the source file (else told by its extension)
    #[arg(long, value_name = "NAME", value_parser = values::not_empty)]
    pub(crate) language: Option<String>,
    /// What people call the program (else the file's or command's name)
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<String>,
    /// Give this file to the program on standard input; `-` is our own
    #[arg(long, value_name = "FILE")]
    pub(crate) stdin: Option<PathBuf>,
    /// Add a variable to the program's environment
    #[arg(long, value_name = "K=V", value_parser = clap::builder::OsStringValueParser::new().try_map(values::variable))]
    pub(crate) env: Vec<OsString>,
    /// Longest time from start to end (10s, 5m, 1h, 250ms)
    #[arg(long, value_name = "T", value_parser = values::wall_time)]
    pub(crate) wall_time: Option<Duration>,
    /// Most processor time
    #[arg(long, value_name = "T", value_parser = values::cpu_time)]
    pub(crate) cpu_time: Option<Duration>,
    /// Most memory (64K, 256M, 2G)
    #[arg(long, value_name = "SIZE", value_parser = values::memory)]
    pub(crate) memory: Option<ByteSize>,
    /// Most processes and threads at once
    #[arg(long, value_name = "N", value_parser = values::processes)]
    pub(crate) processes: Option<u32>,
    /// Most output, standard output and error together
    #[arg(long, value_name = "SIZE", value_parser = values::output)]
    pub(crate) output: Option<ByteSize>,
    /// Largest size of one file
    #[arg(long, value_name = "SIZE", value_parser = values::file_size)]
    pub(crate) file_size: Option<ByteSize>,
    /// Most space of its working folder and its private `/tmp`
    #[arg(long, value_name = "SIZE")]
    pub(crate) disk: Option<ByteSize>,
    /// Most open files of one process
    #[arg(long, value_name = "N")]
    pub(crate) open_files: Option<u32>,
    /// Let it use the network; only slaves that allow it run it then
    #[arg(long)]
    pub(crate) network: bool,
    /// With `run`: give it a terminal, for shells, editors and other programs that are used by hand
    #[arg(long, conflicts_with_all = ["stdin", "count", "json"])]
    pub(crate) tty: bool,
    /// 0 (last) to 100 (first), 50 unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub(crate) priority: Option<u8>,
    /// Give it this file in its working folder, under its own name; again for more
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Vec<PathBuf>,
    /// Bring back the files that fit this pattern (`*.csv`, `out/**`); again for more. `run` writes them to this folder
    #[arg(long, value_name = "PATTERN")]
    pub(crate) collect: Vec<String>,
    /// With `run` and `--collect`: write over files that are there
    #[arg(long, requires = "collect")]
    pub(crate) force: bool,
    /// Run only on this slave
    #[arg(long, value_name = "NAME")]
    pub(crate) slave: Option<String>,
    /// Start it at most N times more when it failed or was lost
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=i64::from(common::limits::RETRY_MAX)))]
    pub(crate) retry: Option<u32>,
    /// Run N copies, with RUCHE_INDEX 0 to N-1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(common::limits::COPIES_MAX)))]
    pub(crate) count: Option<u32>,
    /// With `submit`: run one program for each line of this file (`-` is standard input); the line takes the place of
    /// `{}` in the arguments, or is the last one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["count", "tty"])]
    pub(crate) each_line: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// With `run`: let a terminal obey what the program writes, control characters too
    #[arg(long)]
    pub(crate) raw: bool,
    /// The source file (`-` is standard input), or after `--` the command; then the program's arguments
    #[arg(value_name = "FILE|COMMAND", trailing_var_arg = true, required = true)]
    pub(crate) words: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only programs in this state: waiting, running, suspended, done, failed, cancelled, lost
    #[arg(long)]
    pub(crate) state: Vec<State>,
    /// Only programs whose name, language, slave, user or ID contains this
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(crate) search: String,
    /// Only your own programs
    #[arg(long)]
    pub(crate) mine: bool,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: u64,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// The program
    pub(crate) id: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Output {
    /// The program
    pub(crate) id: String,
    /// Print standard error in place of standard output
    #[arg(long, conflicts_with = "compile")]
    pub(crate) stderr: bool,
    /// Print what the compiler or syntax check wrote
    #[arg(long)]
    pub(crate) compile: bool,
    /// Go on until the program has ended
    #[arg(long)]
    pub(crate) follow: bool,
    /// Let a terminal obey what the program wrote, control characters too
    #[arg(long)]
    pub(crate) raw: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Fetch {
    /// The program
    pub(crate) id: String,
    /// Write them below this folder (else the current one)
    #[arg(long, value_name = "DIR", conflicts_with = "list")]
    pub(crate) to: Option<PathBuf>,
    /// Only list them
    #[arg(long)]
    pub(crate) list: bool,
    /// Write over files that are there
    #[arg(long, conflicts_with = "list")]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// The programs
    #[arg(value_name = "ID", required_unless_present = "all")]
    pub(crate) ids: Vec<String>,
    /// All that have not ended now
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,
    /// Wait at most this long
    #[arg(long, value_name = "T")]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct Ids {
    /// The programs
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SignalOptions {
    /// The program
    pub(crate) id: String,
    /// The signal
    #[arg(value_enum, default_value_t = SignalName::Interrupt)]
    pub(crate) signal: SignalName,
}

/// A signal by its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum SignalName {
    /// SIGINT, as Ctrl-C
    Interrupt,
    /// SIGQUIT, as Ctrl-\
    Quit,
    /// SIGHUP
    HangUp,
    /// SIGTERM
    Terminate,
    /// SIGUSR1
    User1,
    /// SIGUSR2
    User2,
}

#[derive(Debug, Args)]
pub(crate) struct LimitOptions {
    /// The program
    pub(crate) id: String,
    /// Longest time from its start, without the time that it is suspended (10s, 5m, 1h, 250ms)
    #[arg(long, value_name = "T", required = true)]
    pub(crate) wall_time: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct One {
    /// The program
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct Listing {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Slaves {
    #[command(subcommand)]
    pub(crate) change: Option<ChangeSlave>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ChangeSlave {
    /// Give a slave nothing new; what runs there goes on
    #[command(after_help = "Example:\n  ruche slaves set-aside s1 --reason 'new disk'\n\n\
        What it has not started goes to others. It stays aside over restarts until `ruche slaves take-back`.")]
    SetAside {
        /// The slave's name
        name: String,
        /// Why, for people
        #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Give a slave programs again, whoever set it aside
    #[command(after_help = "Example:\n  ruche slaves take-back s1")]
    TakeBack {
        /// The slave's name
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Set {
    /// How many programs may run at once on each slave, or on one
    #[command(after_help = "Examples:\n  ruche set max-processes 8\n  ruche set max-processes 0 --slave s1\n\n\
        0 starts nothing new; what runs goes on.")]
    MaxProcesses {
        /// The number
        #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(0..=i64::from(common::limits::SLOTS_MAX)))]
        slots: u32,
        /// Only on this slave
        #[arg(long, value_name = "NAME")]
        slave: Option<String>,
    },
    /// How waiting programs are ordered
    #[command(after_help = "Example:\n  ruche set policy fifo")]
    Policy {
        /// The policy
        policy: PolicyName,
        /// The time slice of round-robin
        #[arg(long, value_name = "T")]
        quantum: Option<Duration>,
    },
}

/// A policy by its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PolicyName {
    /// In the order of acknowledgement
    Fifo,
    /// Slices in turn
    RoundRobin,
    /// Highest priority first
    Priority,
}

/// Whether the words of `run` or `submit` are a command: `--` stands before them.
pub(crate) fn is_command(words: &[OsString], all: &[OsString]) -> bool {
    let before = all.len().checked_sub(words.len() + 1).and_then(|at| all.get(at));
    before.is_some_and(|word| word == "--")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, error::ErrorKind};

    fn parse(line: &str) -> Result<(Command, Vec<OsString>), clap::Error> {
        let arguments: Vec<OsString> = line.split(' ').map(Into::into).collect();
        Cli::try_parse_from(&arguments).map(|cli| (cli.command, arguments))
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn e1_what_stands_after_the_file_or_command_belongs_to_the_program() {
        for (line, command, words) in [
            ("ruche run a.py", false, &["a.py"][..]),
            ("ruche run a.py --json -x", false, &["a.py", "--json", "-x"]),
            ("ruche run a.py -- b", false, &["a.py", "--", "b"]),
            ("ruche run --name x -- ls -l", true, &["ls", "-l"]),
            ("ruche run -- ls -- x", true, &["ls", "--", "x"]),
            ("ruche submit -- --odd", true, &["--odd"]),
            ("ruche run --language Python - 1", false, &["-", "1"]),
            ("ruche run --memory 64M --wall-time 250ms --count 3 a.py", false, &["a.py"]),
        ] {
            let (Command::Run(submit) | Command::Submit(submit), all) = parse(line).unwrap() else { panic!("{line}") };
            assert_eq!(submit.words, words, "{line}");
            assert_eq!(is_command(&submit.words, &all), command, "{line}");
            assert!(!submit.json, "{line}");
        }
    }

    #[test]
    fn e9_mistakes_in_the_arguments_are_told() {
        for (line, kind) in [
            ("ruche run", ErrorKind::MissingRequiredArgument),
            ("ruche run --bogus a.py", ErrorKind::UnknownArgument),
            ("ruche run --memory lots a.py", ErrorKind::ValueValidation),
            ("ruche run --wall-time 0s a.py", ErrorKind::ValueValidation),
            ("ruche run --cpu-time 90d a.py", ErrorKind::ValueValidation),
            ("ruche run --memory 0 a.py", ErrorKind::ValueValidation),
            ("ruche run --processes 0 a.py", ErrorKind::ValueValidation),
            ("ruche run --output 1T a.py", ErrorKind::ValueValidation),
            ("ruche run --file-size 128T a.py", ErrorKind::ValueValidation),
            ("ruche run --env FOO a.py", ErrorKind::ValueValidation),
            ("ruche run --env =x a.py", ErrorKind::ValueValidation),
            ("ruche run --language= a.py", ErrorKind::ValueValidation),
            ("ruche run --count 0 a.py", ErrorKind::ValueValidation),
            ("ruche run --priority 101 a.py", ErrorKind::ValueValidation),
            ("ruche list --state asleep", ErrorKind::ValueValidation),
            ("ruche wait", ErrorKind::MissingRequiredArgument),
            ("ruche wait --all x", ErrorKind::ArgumentConflict),
            ("ruche slaves frobnicate", ErrorKind::InvalidSubcommand),
            ("ruche slaves set-aside", ErrorKind::MissingRequiredArgument),
            ("ruche slaves --json take-back s1", ErrorKind::ArgumentConflict),
            ("ruche set policy chaos", ErrorKind::InvalidValue),
            ("ruche set max-processes -1", ErrorKind::UnknownArgument),
            ("ruche frobnicate", ErrorKind::InvalidSubcommand),
        ] {
            assert_eq!(parse(line).map(drop).unwrap_err().kind(), kind, "{line}");
        }
    }
}
