//! What a run leaves behind, and what an earlier one left.

use super::{Figure, Goal, stats::Spread};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// What an earlier run said of one figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Earlier {
    /// Median and spread of that run.
    pub spread: Spread,
    /// The run.
    pub run: String,
}

/// The newest value of each figure that a run with the same counts has left in `folder`.
#[must_use]
pub fn earlier(folder: &Path, quick: bool) -> BTreeMap<String, Earlier> {
    let mut runs: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    // Named by their time, so that the newest overwrites the others.
    runs.sort();
    let mut newest = BTreeMap::new();
    for path in runs {
        // A file that is none of ours is no reason not to measure.
        let Some(kept) = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()) else {
            continue;
        };
        if kept["quick"] != quick {
            continue;
        }
        let run = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for figure in kept["figures"].as_array().into_iter().flatten() {
            let number = |name: &str| figure[name].as_f64();
            if let (Some(name), Some(median), Some(min), Some(max)) =
                (figure["name"].as_str(), number("median"), number("min"), number("max"))
            {
                let spread = Spread { median, min, max };
                newest.insert(name.to_owned(), Earlier { spread, run: run.clone() });
            }
        }
    }
    newest
}

/// What has changed since, in words; `clearly` when not one round of the two runs overlaps.
#[must_use]
pub fn change(figure: &Figure, earlier: Option<&Earlier>) -> String {
    let Some(Earlier { spread: before, .. }) = earlier else { return String::new() };
    let now = figure.spread();
    let percent = 100.0 * (now.median / before.median - 1.0);
    if !percent.is_finite() {
        return figure.unit.show(before.median);
    }
    let better = match figure.goal {
        Goal::AtLeast(_) => Some(now.median > before.median),
        Goal::AtMost(_) => Some(now.median < before.median),
        Goal::None => None,
    };
    let several = figure.values.len() > 1;
    let word = match better {
        Some(better) if several && now.is_apart_from(before) => {
            if better {
                ", clearly better"
            } else {
                ", clearly WORSE"
            }
        }
        _ => "",
    };
    format!("{percent:+.0} %{word}")
}

/// Keeps a run for later ones.
///
/// # Errors
/// When the file cannot be written.
pub fn keep(folder: &Path, when: &str, quick: bool, machine: &Value, figures: &[Figure]) -> std::io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let figures: Vec<_> = figures.iter().map(Figure::to_json).collect();
    let run = json!({ "when": when, "quick": quick, "machine": machine, "figures": figures });
    let path = folder.join(format!("{}.json", when.replace(':', "-")));
    fs::write(&path, format!("{run:#}\n"))?;
    Ok(path)
}

/// The table, as Markdown that can be read as it is: goal, value and verdict of each figure, and what has changed since
/// the run before.
#[must_use]
pub fn table(figures: &[Figure], earlier: &BTreeMap<String, Earlier>) -> String {
    let rows = figures.iter().map(|figure| {
        let since = change(figure, earlier.get(figure.name));
        [figure.what.clone(), figure.goal_text(), figure.value_text(), figure.verdict().to_owned(), since]
    });
    let head = ["figure", "goal", "median (spread)", "", "since the last run"].map(str::to_owned);
    let rows: Vec<[String; 5]> = [head].into_iter().chain(rows).collect();
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let rule = widths.map(|width| "-".repeat(width.max(3)));
    let (head, others) = rows.split_at(1);
    let mut text = String::new();
    for row in head.iter().chain([&rule]).chain(others) {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Unit;

    fn figure(name: &'static str, goal: Goal, values: &[f64]) -> Figure {
        Figure::new(name, name, Unit::Times, goal, values.to_vec())
    }

    #[test]
    fn a_run_is_compared_to_the_newest_one_that_has_the_figure() {
        let folder = tempfile::tempdir().unwrap();
        let keep = |when: &str, quick, figures: &[Figure]| {
            keep(folder.path(), when, quick, &Value::Null, figures).unwrap();
        };
        let least = Goal::AtLeast(1.0);
        keep("2026-01-01T10:00:00Z", false, &[figure("a", least, &[1.0, 2.0, 3.0]), figure("b", least, &[7.0])]);
        keep("2026-01-02T10:00:00Z", false, &[figure("a", least, &[4.0])]);
        keep("2026-01-03T10:00:00Z", true, &[figure("a", least, &[100.0])]);
        fs::write(folder.path().join("notes.txt"), "none of ours").unwrap();
        let found = earlier(folder.path(), false);
        assert_eq!(found["a"].spread.median.to_string(), "4");
        assert_eq!((found["b"].spread.median.to_string().as_str(), &*found["b"].run), ("7", "2026-01-01T10-00-00Z"));
        assert_eq!(earlier(folder.path(), true)["a"].spread.median.to_string(), "100");
        assert!(earlier(&folder.path().join("none"), false).is_empty());
    }

    #[test]
    fn only_what_lies_apart_is_called_a_change() {
        let before = |values: &[f64]| Earlier { spread: Spread::of(values), run: String::new() };
        let told = |goal, now: &[f64], then: &[f64]| change(&figure("x", goal, now), Some(&before(then)));
        assert_eq!(told(Goal::AtLeast(1.0), &[2.0, 2.2], &[1.0, 1.1]), "+100 %, clearly better");
        assert_eq!(told(Goal::AtMost(1.0), &[2.0, 2.2], &[1.0, 1.1]), "+100 %, clearly WORSE");
        assert_eq!(told(Goal::AtMost(1.0), &[1.0, 1.2], &[1.1, 1.1]), "+0 %");
        assert_eq!(told(Goal::None, &[2.0, 2.0], &[1.0, 1.0]), "+100 %");
        assert_eq!(told(Goal::AtLeast(1.0), &[2.0], &[1.0]), "+100 %");
        assert_eq!(change(&figure("x", Goal::None, &[1.0]), None), "");
    }

    #[test]
    fn the_table_has_a_row_for_each_figure() {
        let figures = [figure("a", Goal::AtLeast(1.0), &[2.0, 4.0]), figure("b", Goal::AtMost(1.0), &[2.0])];
        let text = table(&figures, &BTreeMap::new());
        let rows: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(rows[2], "| a | ≥ 1.00 × | 3.00 × (2.00 to 4.00) | met | |");
        assert_eq!(rows[3], "| b | ≤ 1.00 × | 2.00 × | MISSED | |");
        assert_eq!(
            text.lines().map(|line| line.chars().count()).max(),
            text.lines().map(|line| line.chars().count()).min()
        );
    }
}
