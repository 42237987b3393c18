//! One row of the table: what was measured, in each round, beside its goal.

use super::stats::{Spread, median};
use serde_json::{Value, json};
use std::fmt;

/// What the values of a figure are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// How many times the opponent in the same round.
    Times,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Seconds.
    Seconds,
    /// So many each second.
    PerSecond,
    /// Bytes.
    Bytes,
    /// 1,024 bytes.
    KiB,
    /// 1,024 × 1,024 bytes.
    MiB,
    /// Hundredths of a processor, or of what was without.
    Percent,
}

impl Unit {
    /// As it is written behind a number.
    #[must_use]
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Times => "×",
            Self::Ms => "ms",
            Self::Us => "µs",
            Self::Seconds => "s",
            Self::PerSecond => "/s",
            Self::Bytes => "B",
            Self::KiB => "KiB",
            Self::MiB => "MiB",
            Self::Percent => "%",
        }
    }

    /// A value with as many places as it deserves.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        let size = value.abs();
        let places = if size < 0.0995 {
            3
        } else if size < 99.5 {
            2
        } else {
            0
        };
        format!("{value:.places$} {}", self.sign())
    }
}

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
    /// To read the others by.
    None,
}

/// One row of the table.
#[derive(Clone, Debug)]
pub struct Figure {
    /// Short and the same for ever: later runs are compared by it.
    pub name: &'static str,
    /// What was measured, with its counts.
    pub what: String,
    /// What the values are counted in.
    pub unit: Unit,
    /// What the median should be.
    pub goal: Goal,
    /// One value a round.
    pub values: Vec<f64>,
    /// What the values were made of, such as the rates themselves; medians.
    pub parts: Vec<(&'static str, f64)>,
}

impl Figure {
    /// A figure with a goal.
    #[must_use]
    pub fn new(name: &'static str, what: impl Into<String>, unit: Unit, goal: Goal, values: Vec<f64>) -> Self {
        Self { name, what: what.into(), unit, goal, values, parts: Vec::new() }
    }

    /// A figure to read the others by.
    #[must_use]
    pub fn plain(name: &'static str, what: impl Into<String>, unit: Unit, values: Vec<f64>) -> Self {
        Self::new(name, what, unit, Goal::None, values)
    }

    /// The same, made of these: their medians are kept with it.
    #[must_use]
    pub fn of(mut self, name: &'static str, values: &[f64]) -> Self {
        self.parts.push((name, median(values)));
        self
    }

    /// Median and spread.
    #[must_use]
    pub fn spread(&self) -> Spread {
        Spread::of(&self.values)
    }

    /// Whether the median meets the goal; none without a goal.
    #[must_use]
    pub fn met(&self) -> Option<bool> {
        let median = self.spread().median;
        match self.goal {
            Goal::AtLeast(least) => Some(median >= least),
            Goal::AtMost(most) => Some(median <= most),
            Goal::None => None,
        }
    }

    /// The goal in words.
    #[must_use]
    pub fn goal_text(&self) -> String {
        match self.goal {
            Goal::AtLeast(least) => format!("≥ {}", self.unit.show(least)),
            Goal::AtMost(most) => format!("≤ {}", self.unit.show(most)),
            Goal::None => String::new(),
        }
    }

    /// The verdict in a word.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        match self.met() {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        }
    }

    /// Median and spread in words.
    #[must_use]
    pub fn value_text(&self) -> String {
        let Spread { median, min, max } = self.spread();
        if self.values.len() == 1 {
            return self.unit.show(median);
        }
        let [low, high] = [min, max].map(|value| {
            let shown = self.unit.show(value);
            shown.split(' ').next().unwrap_or_default().to_owned()
        });
        format!("{} ({low} to {high})", self.unit.show(median))
    }

    /// As it is kept.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Spread { median, min, max } = self.spread();
        let goal = match self.goal {
            Goal::AtLeast(least) => json!({ "at_least": least }),
            Goal::AtMost(most) => json!({ "at_most": most }),
            Goal::None => Value::Null,
        };
        let parts: serde_json::Map<_, _> =
            self.parts.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        json!({
            "name": self.name, "what": self.what, "unit": self.unit.sign(), "goal": goal, "met": self.met(),
            "median": median, "min": min, "max": max, "values": self.values, "parts": parts,
        })
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.value_text())?;
        if self.goal != Goal::None {
            write!(f, "; goal {}: {}", self.goal_text(), self.verdict())?;
        }
        let parts: Vec<_> = self.parts.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
        if parts.is_empty() { Ok(()) } else { write!(f, " [{}]", parts.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_alone_is_held_against_the_goal() {
        let figure = |goal, values: &[f64]| Figure::new("x", "x", Unit::Times, goal, values.to_vec()).met();
        assert_eq!(figure(Goal::AtLeast(0.9), &[0.1, 0.9, 5.0]), Some(true));
        assert_eq!(figure(Goal::AtLeast(0.9), &[0.1, 0.89, 5.0]), Some(false));
        assert_eq!(figure(Goal::AtMost(3.5), &[3.5]), Some(true));
        assert_eq!(figure(Goal::AtMost(3.5), &[3.4, 3.6, 3.7]), Some(false));
        assert_eq!(figure(Goal::None, &[1.0]), None);
    }

    #[test]
    fn what_is_kept_can_be_read_again() {
        let figure = Figure::new("x", "y", Unit::Ms, Goal::AtMost(2.0), vec![3.0, 1.0, 2.0]).of("local", &[4.0, 6.0]);
        let kept: Value = serde_json::from_str(&figure.to_json().to_string()).unwrap();
        assert_eq!(kept["median"], 2.0);
        assert_eq!((&kept["min"], &kept["max"]), (&json!(1.0), &json!(3.0)));
        assert_eq!(kept["goal"]["at_most"], 2.0);
        assert_eq!(kept["met"], true);
        assert_eq!(kept["parts"]["local"], 5.0);
    }

    #[test]
    fn small_values_keep_their_places() {
        for (value, shown) in [(0.05, "0.050 ×"), (0.9, "0.90 ×"), (5.021, "5.02 ×"), (50_123.4, "50123 ×")] {
            assert_eq!(Unit::Times.show(value), shown);
        }
    }
}
