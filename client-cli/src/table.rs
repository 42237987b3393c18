//! Tables for people: aligned by what a terminal shows, cut to its width, safe whatever a name holds.

use common::{
    escape::{Lines, visible},
    program::State,
    units::{Duration, Timestamp},
};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Least columns that a column is narrowed to.
const NARROW: usize = 8;
const GAP: &str = "  ";

/// What a running program is called while its slave is cut off.
pub(crate) const NOT_KNOWN: &str = "not known";

/// A cell: what it shows, already safe, and its colour.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cell {
    text: String,
    colour: Option<Colour>,
    right: bool,
}

/// A colour by its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Good,
    Bad,
    Busy,
    Quiet,
}

impl Colour {
    const fn code(self) -> &'static str {
        match self {
            Self::Good => "\x1b[32m",
            Self::Bad => "\x1b[31m",
            Self::Busy => "\x1b[36m",
            Self::Quiet => "\x1b[2m",
        }
    }
}

impl Cell {
    /// Text of anybody, made safe.
    pub(crate) fn new(text: &str) -> Self {
        Self { text: visible(text.as_bytes(), Lines::Escape), colour: None, right: false }
    }

    /// A number, aligned at its end.
    pub(crate) fn number(text: impl ToString) -> Self {
        Self { text: text.to_string(), colour: None, right: true }
    }

    /// A state: sign, word and colour.
    pub(crate) fn state(state: State) -> Self {
        let colour = match state {
            State::Done => Colour::Good,
            State::Failed | State::Lost => Colour::Bad,
            State::Running => Colour::Busy,
            State::Waiting | State::Suspended | State::Cancelled => Colour::Quiet,
        };
        Self::new(&format!("{} {}", state.sign(), state.word())).coloured(colour)
    }

    /// Where a program stands: its state, or that it is not known.
    pub(crate) fn standing(state: State, unknown: bool) -> Self {
        if unknown {
            Self::new(&format!("{} {NOT_KNOWN}", State::Lost.sign())).coloured(Colour::Bad)
        } else {
            Self::state(state)
        }
    }

    /// The same cell in this colour.
    pub(crate) fn coloured(mut self, colour: Colour) -> Self {
        self.colour = Some(colour);
        self
    }
}

/// A table. Columns named in `flexible` are cut, last first, when a line is wider than the terminal.
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    flexible: Vec<usize>,
}

impl Table {
    /// An empty table with these column heads.
    pub(crate) fn new(head: &[&'static str], flexible: &[usize]) -> Self {
        Self { head: head.to_vec(), rows: Vec::new(), flexible: flexible.to_vec() }
    }

    /// Adds a row with a cell for each head.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.head.len(), "a cell for each column");
        self.rows.push(cells);
    }

    /// The lines, for a terminal of this many columns (none: nothing is cut).
    pub(crate) fn render(&self, columns: Option<usize>, colours: bool) -> String {
        let mut widths: Vec<usize> = self.head.iter().map(|head| head.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.width());
            }
        }
        if let Some(columns) = columns {
            self.narrow(&mut widths, columns);
        }
        let mut text = String::new();
        let head: Vec<_> = self
            .head
            .iter()
            .enumerate()
            .map(|(at, head)| {
                let right = self.rows.first().and_then(|row| row.get(at)).is_some_and(|cell| cell.right);
                Cell { text: (*head).to_owned(), colour: Some(Colour::Quiet), right }
            })
            .collect();
        for row in std::iter::once(&head).chain(&self.rows) {
            push_line(&mut text, row, &widths, colours);
        }
        text
    }

    fn narrow(&self, widths: &mut [usize], columns: usize) {
        let gaps = GAP.len() * widths.len().saturating_sub(1);
        for &column in self.flexible.iter().rev() {
            let total = widths.iter().sum::<usize>() + gaps;
            let over = total.saturating_sub(columns);
            if let Some(width) = widths.get_mut(column) {
                *width = width.saturating_sub(over).max(NARROW.min(*width));
            }
        }
    }
}

fn push_line(text: &mut String, row: &[Cell], widths: &[usize], colours: bool) {
    let mut line = String::new();
    for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
        let shown = cut(&cell.text, *width);
        let padding = " ".repeat(width.saturating_sub(shown.width()));
        if at > 0 {
            line.push_str(GAP);
        }
        if cell.right {
            line.push_str(&padding);
        }
        match cell.colour.filter(|_| colours) {
            Some(colour) => {
                line.push_str(colour.code());
                line.push_str(&shown);
                line.push_str("\x1b[0m");
            }
            None => line.push_str(&shown),
        }
        if !cell.right {
            line.push_str(&padding);
        }
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// The beginning of `text` that fits in `width` columns; `…` marks a cut.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide + 1 > width {
            break;
        }
        used += wide;
        kept.push(c);
    }
    if width > 0 {
        kept.push('…');
    }
    kept
}

/// How long ago that was, for people; the local date when it is more than a day.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    let past = now.since(at);
    match past.as_millis() / 1_000 {
        0 => "now".to_owned(),
        1..=59 => format!("{} s ago", past.as_millis() / 1_000),
        60..=3_599 => format!("{} min ago", past.as_millis() / 60_000),
        3_600..=86_399 => format!("{} h ago", past.as_millis() / 3_600_000),
        _ => local(at, "%Y-%m-%d %H:%M"),
    }
}

/// Local date and time with seconds, and how long ago that was.
pub(crate) fn instant(at: Timestamp, now: Timestamp) -> String {
    let date = local(at, "%Y-%m-%d %H:%M:%S");
    let past = now.since(at);
    if past > Duration::from_secs(86_400) { date } else { format!("{date} ({})", ago(at, now)) }
}

fn local(at: Timestamp, format: &str) -> String {
    let micros = i64::try_from(at.0).unwrap_or(i64::MAX);
    let instant = jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    instant.to_zoned(jiff::tz::TimeZone::system()).strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["STATE", "NAME", "N", "LAST LINE"], &[1, 3]);
        table.row(vec![Cell::state(State::Done), Cell::new("日本語.py"), Cell::number(7), Cell::new("ok")]);
        let hostile = Cell::new("\u{1b}[2Jevil\nname");
        table.row(vec![Cell::state(State::Failed), hostile, Cell::number(12), Cell::new("a longer last line")]);
        table
    }

    #[test]
    fn e6_tables_are_aligned_and_safe_whatever_names_hold() {
        let lines = [
            "STATE     NAME                N  LAST LINE",
            "✓ done    日本語.py           7  ok",
            "✗ failed  \\x1b[2Jevil\\nname  12  a longer last line",
            "",
        ];
        assert_eq!(table().render(None, false), lines.join("\n"));
    }

    #[test]
    fn e6_tables_fit_the_terminal() {
        for columns in [60, 50, 40, 33] {
            for line in table().render(Some(columns), false).lines() {
                assert!(line.width() <= columns, "{columns}: {line}");
            }
        }
        assert!(table().render(Some(40), true).contains("\x1b[31m✗ failed\x1b[0m"));
    }

    #[test]
    fn e6_times_are_told_as_people_say_them() {
        let now = Timestamp(1_000_000_000_000_000);
        for (seconds, text) in [(0, "now"), (5, "5 s ago"), (125, "2 min ago"), (7_300, "2 h ago")] {
            assert_eq!(ago(Timestamp(now.0 - seconds * 1_000_000), now), text);
        }
        assert!(ago(Timestamp(now.0 - 2 * 86_400_000_000), now).starts_with("2001-09-"));
        assert_eq!(ago(Timestamp(now.0 + 5_000_000), now), "now");
    }

    #[test]
    fn f11_what_is_not_known_is_said_and_not_guessed() {
        let mut table = Table::new(&["STATE"], &[]);
        table.row(vec![Cell::standing(State::Running, true)]);
        table.row(vec![Cell::standing(State::Running, false)]);
        assert_eq!(table.render(None, false), "STATE\n? not known\n∑ running\n");
    }
}
