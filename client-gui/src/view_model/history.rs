//! The history table: one row a program.

use super::{Clock, Standing, grouped};
use crate::widgets::shown;
use client::{HistoryFilter, Mirror};
use common::{Duration, Timestamp, program::State, view::ProgramView};

/// One row, as it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryRow {
    /// How it stands, for sign and colour.
    pub standing: Standing,
    /// Its word.
    pub word: &'static str,
    /// The program's name, with its number among copies.
    pub program: String,
    /// Its language; `command` for a command.
    pub language: String,
    /// The slave's name.
    pub slave: String,
    /// Who submitted it.
    pub user: String,
    /// When it started, or was submitted when it has not, relative.
    pub started: String,
    /// How long it ran or has been running.
    pub time: String,
    /// What it says of its progress, while it runs.
    pub progress: Option<f32>,
    /// The last line of output, or why it waits.
    pub last_line: String,
    /// What is told about the row when the pointer rests on it.
    pub exact: String,
}

impl HistoryRow {
    /// The row of one program.
    #[must_use]
    pub fn new(program: &ProgramView, clock: &Clock) -> Self {
        let began = program.started_at.unwrap_or(program.submitted_at);
        Self {
            standing: Standing::of(program),
            word: Standing::of(program).word(),
            program: name(program),
            language: program.language.as_deref().map_or_else(|| "command".to_owned(), shown),
            slave: program.slave_name.as_deref().map(shown).unwrap_or_default(),
            user: shown(&program.user),
            started: clock.ago(began),
            time: time(program, clock),
            progress: program
                .progress
                .as_ref()
                .filter(|progress| !program.state.is_final() && progress.percent.is_finite())
                .map(|progress| progress.percent.clamp(0.0, 100.0)),
            last_line: last_line(program, clock),
            exact: exact(program, clock),
        }
    }

    /// What a screen reader says.
    #[must_use]
    pub fn spoken(&self) -> String {
        let mut words = vec![self.word, &self.program, &self.language];
        if !self.slave.is_empty() {
            words.push(&self.slave);
        }
        words.extend([self.user.as_str(), self.started.as_str()]);
        if self.standing == Standing::Unknown {
            words.push(&self.last_line);
        }
        words.join(", ")
    }
}

/// What people call the program: with its number among copies, or among lines, of which nobody knew how many
/// there would be.
#[must_use]
pub fn name(program: &ProgramView) -> String {
    if program.copies != 1 { format!("{} [{}]", shown(&program.name), program.index) } else { shown(&program.name) }
}

fn exact(program: &ProgramView, clock: &Clock) -> String {
    let mut lines = vec![format!("Submitted {}", clock.exact(program.submitted_at))];
    lines.extend(program.started_at.map(|started| format!("Started {}", clock.exact(started))));
    lines.extend(unknown_since(program).map(|since| format!("Not known since {}", clock.exact(since))));
    lines.join("\n")
}

/// Since when nobody knows whether it still runs.
#[must_use]
pub fn unknown_since(program: &ProgramView) -> Option<Timestamp> {
    program.unknown_since.filter(|_| Standing::of(program) == Standing::Unknown)
}

fn time(program: &ProgramView, clock: &Clock) -> String {
    if Standing::of(program) == Standing::Unknown {
        return String::new();
    }
    match (program.state, program.started_at) {
        // When a lost program ended nobody knows, nor for how long a suspended one has run.
        (State::Waiting | State::Suspended | State::Lost, _) | (_, None) => String::new(),
        (State::Running, Some(started)) => clock.running(started),
        (State::Done | State::Failed | State::Cancelled, Some(started)) => {
            let wall = match (program.usage, program.ended_at) {
                (Some(usage), _) => usage.wall,
                (None, Some(ended)) => ended.since(started),
                (None, None) => return String::new(),
            };
            short(wall)
        }
    }
}

/// A length of time in few characters: `4 ms`, `0.4 s`, `41 s`, `2:10`.
#[must_use]
pub fn short(length: Duration) -> String {
    // Cut, not rounded, as everywhere: 1.85 s is never 1.9 s here and 1.8 s there.
    match length.as_millis() {
        millis @ 0..=99 => format!("{millis} ms"),
        millis @ 100..=9_999 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        millis @ 10_000..=59_999 => format!("{} s", millis / 1_000),
        millis => {
            let seconds = millis / 1_000;
            let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
            if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
        }
    }
}

fn last_line(program: &ProgramView, clock: &Clock) -> String {
    if let Some(since) = unknown_since(program) {
        return format!("for {}: no word from {}", clock.lasting(since), slave_or_its(program));
    }
    let line = match (&program.progress, program.state) {
        (Some(progress), State::Running | State::Suspended) if !progress.text.is_empty() => progress.text.as_str(),
        _ => program.last_line.as_str(),
    };
    let line = shown(line);
    if program.state == State::Waiting && !line.is_empty() && !line.starts_with("waits") {
        format!("waits: {line}")
    } else {
        line
    }
}

/// The slave's name, or `its slave`.
pub(super) fn slave_or_its(program: &ProgramView) -> String {
    program.slave_name.as_deref().map_or_else(|| "its slave".to_owned(), shown)
}

/// A choice above the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chip {
    /// Its word.
    pub word: &'static str,
    /// The state whose sign it carries.
    pub state: Option<State>,
    /// How many, where that is worth knowing now.
    pub count: Option<String>,
    /// What it shows.
    pub filter: HistoryFilter,
}

/// The choices above the table, with the counts of the summary.
#[must_use]
pub fn chips(mirror: &Mirror, search: &str) -> Vec<Chip> {
    let summary = mirror.summary.unwrap_or_default();
    let count = |count: u64| (count > 0).then(|| grouped(count));
    let unknown = super::pulse::unknown(mirror);
    let running = match (summary.running.saturating_sub(unknown), unknown) {
        (running, 0) => count(running),
        (running, unknown) => Some(format!("{} + {} ?", grouped(running), grouped(unknown))),
    };
    let chip = |word, state, count, states: &[State], mine| Chip {
        word,
        state,
        count,
        filter: HistoryFilter { states: states.to_vec(), search: search.to_owned(), mine },
    };
    vec![
        chip("All", None, None, &[], false),
        chip("Running", Some(State::Running), running, &[State::Running, State::Suspended], false),
        chip("Waiting", Some(State::Waiting), count(summary.waiting), &[State::Waiting], false),
        chip("Done", Some(State::Done), None, &[State::Done], false),
        chip("Failed", Some(State::Failed), count(summary.failed_today), &[State::Failed, State::Lost], false),
        chip("Mine", None, None, &[], true),
    ]
}

/// What an empty table says: what is the case, and what to do.
#[must_use]
pub fn empty_words(mirror: &Mirror, filter: &HistoryFilter) -> (String, String) {
    if mirror.history.total().is_none() {
        return if mirror.connected() {
            ("Reading the history".to_owned(), String::new())
        } else {
            ("Not connected".to_owned(), "The history appears as soon as the master answers".to_owned())
        };
    }
    if filter.is_empty() {
        return ("No programs yet".to_owned(), "Submit one: a source file in some language, or a command".to_owned());
    }
    let what = if filter.search.is_empty() {
        "No program is in this state".to_owned()
    } else {
        format!("No program matches “{}”", shown(&filter.search))
    };
    (what, "Name, language, slave, user and ID are searched".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{super::clock::tests::clock, *};
    use crate::demo::scene;
    use std::fmt::Write;

    #[test]
    fn e6_the_history_reads_like_the_drawing() {
        let clock = clock();
        let mut text = String::new();
        for program in scene::programs(clock.now).iter().take(14) {
            let row = HistoryRow::new(program, &clock);
            let progress = row.progress.map(|percent| format!("{percent} %")).unwrap_or_default();
            writeln!(
                text,
                "{} {} | {} | {} | {} | {} | {} | {} | {progress} | {}",
                row.standing.sign(),
                row.word,
                row.program,
                row.language,
                row.slave,
                row.user,
                row.started,
                row.time,
                row.last_line
            )
            .unwrap();
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn e6_what_is_not_known_is_not_shown_as_running() {
        let clock = clock();
        let mut program = scene::programs(clock.now)[0].clone();
        program.unknown_since = Some(super::super::clock::tests::before(24));
        let row = HistoryRow::new(&program, &clock);
        assert_eq!((row.standing, row.standing.sign(), row.word), (Standing::Unknown, "?", "Not known"));
        assert_eq!(row.last_line, "for 24 s: no word from pc-07");
        assert_eq!(row.time, "", "how long it has been running is not known either");
        assert_eq!(row.exact.lines().last(), Some("Not known since 14:08:40, today"));
        assert!(row.spoken().ends_with("for 24 s: no word from pc-07"), "{}", row.spoken());
        program.slave_name = None;
        assert_eq!(HistoryRow::new(&program, &clock).last_line, "for 24 s: no word from its slave");
        program.state = State::Done;
        assert_eq!(HistoryRow::new(&program, &clock).word, "Done", "what has ended is known");
    }

    #[test]
    fn e6_the_chip_counts_what_is_not_known_apart() {
        let clock = clock();
        let mut mirror = scene::mirror(clock.now);
        assert_eq!(chips(&mirror, "")[1].count.as_deref(), Some("11 + 2 ?"));
        mirror.slaves.retain(|_, slave| slave.name != "pc-06");
        assert_eq!(chips(&mirror, "")[1].count.as_deref(), Some("13"));
    }

    #[test]
    fn e6_hostile_names_and_lines_are_shown_and_not_obeyed() {
        let clock = clock();
        let mut program = scene::programs(clock.now)[0].clone();
        program.name = "a\u{202e}b\x1b[2J\n".to_owned();
        program.last_line = "\u{9b}31mred\0".to_owned();
        program.user = "al\rice".to_owned();
        program.progress = Some(common::view::Progress { percent: f32::NAN, text: "x\ty".to_owned() });
        let row = HistoryRow::new(&program, &clock);
        assert_eq!(row.program, "a\\u{202e}b\\x1b[2J\\n");
        assert_eq!(row.user, "al\\rice");
        assert_eq!(row.last_line, "x\\ty");
        assert_eq!(row.progress, None, "not a number is no progress");
    }

    #[test]
    fn e6_lengths_of_time_are_short() {
        for (millis, text) in [
            (4, "4 ms"),
            (310, "0.3 s"),
            (960, "0.9 s"),
            (3_290, "3.2 s"),
            (9_960, "9.9 s"),
            (10_000, "10 s"),
            (41_000, "41 s"),
            (59_600, "59 s"),
            (130_000, "2:10"),
            (3_730_000, "1:02:10"),
        ] {
            assert_eq!(short(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn e6_an_empty_table_says_why() {
        let mirror = Mirror::default();
        assert_eq!(empty_words(&mirror, &HistoryFilter::default()).0, "Not connected");
        let mut mirror = Mirror { link: client::Link::Connected, ..Mirror::default() };
        assert_eq!(empty_words(&mirror, &HistoryFilter::default()).0, "Reading the history");
        mirror.history.set_page(0, Vec::new(), 0, 0);
        assert_eq!(empty_words(&mirror, &HistoryFilter::default()).0, "No programs yet");
        let filter = HistoryFilter { search: "x\n".into(), ..HistoryFilter::default() };
        assert_eq!(empty_words(&mirror, &filter).0, "No program matches “x\\n”");
    }
}
