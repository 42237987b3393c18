//! One line of text cut to a width, and hostile text made safe.

use common::{
    UserError,
    escape::{Lines, visible},
};
use egui::{Align2, Color32, FontId, Galley, Painter, Pos2, Rect, text::LayoutJob};
use std::sync::Arc;

/// Text that a person or a program chose, safe to show on one line.
#[must_use]
pub(crate) fn shown(text: &str) -> String {
    visible(text.as_bytes(), Lines::Escape)
}

/// An error's sentence, safe to show, as it stands alone: with a capital.
#[must_use]
pub(crate) fn sentence(text: &str) -> String {
    let text = shown(text);
    let mut chars = text.chars();
    match chars.next() {
        // A word of the command line keeps its case.
        Some(first) if !text.starts_with("ruche") => first.to_uppercase().chain(chars).collect(),
        _ => text,
    }
}

/// A whole error, safe to show: code, sentence and hint, a line each.
#[must_use]
pub(crate) fn whole(error: &UserError) -> String {
    format!("{}: {}\nhint: {}", shown(&error.code), shown(&error.sentence), shown(&error.hint))
}

/// One line, cut with `…` where it is wider than `width`.
#[must_use]
pub(crate) fn elided(painter: &Painter, text: &str, font: FontId, colour: Color32, width: f32) -> Arc<Galley> {
    let mut job = LayoutJob::simple_singleline(text.to_owned(), font, colour);
    job.wrap.max_width = width.max(0.0);
    job.wrap.max_rows = 1;
    job.wrap.break_anywhere = true;
    job.wrap.overflow_character = Some('…');
    painter.layout_job(job)
}

/// Paints one line into `rect`, left and in the middle; gives where it ends.
pub(crate) fn paint_elided(painter: &Painter, rect: Rect, text: &str, font: FontId, colour: Color32) -> f32 {
    if text.is_empty() || rect.width() <= 0.0 {
        return rect.left();
    }
    let galley = elided(painter, text, font, colour, rect.width());
    let at = Pos2::new(rect.left(), rect.center().y - galley.size().y / 2.0);
    let end = at.x + galley.size().x;
    painter.galley(at, galley, colour);
    end
}

/// Paints one line that ends at the right of `rect`.
pub(crate) fn paint_right(painter: &Painter, rect: Rect, text: &str, font: FontId, colour: Color32) -> Rect {
    painter.text(rect.right_center(), Align2::RIGHT_CENTER, text, font, colour)
}
