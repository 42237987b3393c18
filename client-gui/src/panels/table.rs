//! Columns that keep their width: fixed ones, and shares of what is left.

use crate::{fonts, theme::tokens, widgets};
use egui::{Rect, Ui, pos2};

/// One column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    /// Its heading.
    pub(crate) title: &'static str,
    /// Its least width.
    pub(crate) width: f32,
    /// Its share of what is left over.
    pub(crate) share: f32,
    /// Whether it ends at the right.
    pub(crate) right: bool,
    /// Under this width of the table it is left out.
    pub(crate) from: f32,
}

/// A column that is always there.
pub(crate) const fn column(title: &'static str, width: f32, share: f32) -> Column {
    Column { title, width, share, right: false, from: 0.0 }
}

/// Where the columns of a table of width `rect` are; none for one that is left out.
pub(crate) fn place(rect: Rect, columns: &[Column]) -> Vec<Option<Rect>> {
    let shown = |column: &Column| rect.width() >= column.from;
    let fixed: f32 = columns.iter().filter(|column| shown(column)).map(|column| column.width).sum();
    let shares: f32 = columns.iter().filter(|column| shown(column)).map(|column| column.share).sum();
    let spare = (rect.width() - fixed).max(0.0);
    let mut x = rect.left();
    columns
        .iter()
        .map(|column| {
            if !shown(column) {
                return None;
            }
            let width = column.width + if shares > 0.0 { spare * column.share / shares } else { 0.0 };
            let cell = Rect::from_min_max(
                pos2(x, rect.top()),
                pos2((x + width - 12.0).min(rect.right() - 12.0), rect.bottom()),
            );
            x += width;
            Some(cell)
        })
        .collect()
}

/// The line of headings.
pub(crate) fn headings(ui: &Ui, rect: Rect, columns: &[Column], cells: &[Option<Rect>]) {
    let t = tokens(ui);
    for (column, cell) in columns.iter().zip(cells) {
        let Some(cell) = cell else { continue };
        let cell = Rect::from_x_y_ranges(cell.x_range(), rect.y_range());
        if column.right {
            widgets::paint_right(ui.painter(), cell, column.title, fonts::heading(), t.muted);
        } else {
            widgets::paint_elided(ui.painter(), cell, column.title, fonts::heading(), t.muted);
        }
    }
    widgets::line_below(ui, rect);
}
