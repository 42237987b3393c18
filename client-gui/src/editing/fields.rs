//! What is typed into the fields of the submit pane, read as values.

use crate::arguments;
use common::{Duration, ErrorCode, UserError, escape::RawText};

/// A length of time as people write it, and as this window writes it: `2 min 10 s` too.
pub(crate) fn length(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(one) = text.parse::<Duration>() {
        return Some(one);
    }
    let mut total = Duration(0);
    let words: Vec<_> = text.split_whitespace().collect();
    for pair in words.chunks(2) {
        let [number, unit] = pair else { return None };
        total = Duration(total.0.checked_add(format!("{number}{unit}").parse::<Duration>().ok()?.0)?);
    }
    (!words.is_empty()).then_some(total)
}

/// The variables that `text` sets; else what is wrong with it.
pub(super) fn variables(text: &str) -> Result<Vec<(RawText, RawText)>, String> {
    let words = arguments::split(text).map_err(|why| format!("the environment cannot be read: {why}"))?;
    let variable = |word: String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => {
            let word = crate::widgets::shown(&word);
            Err(format!("the environment has `{word}`; write NAME=value, with quotes around a value with spaces"))
        }
    };
    words.into_iter().map(variable).collect()
}

pub(super) fn wrong(what: &str, text: &str) -> String {
    format!("{what} is `{}`; write for example 250 ms, 10 s, 5 min or 1 h", crate::widgets::shown(text))
}

pub(super) fn number<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, UserError> {
    text.trim().replace(',', "").parse().map_err(|_| {
        let text = crate::widgets::shown(text);
        UserError::new(ErrorCode::SubmitInvalid, format!("{what} is `{text}`; a whole number is accepted"))
    })
}
