//! Who is logged in.

use super::{
    bars,
    table::{self, Column, column},
};
use crate::{
    fonts,
    theme::{self, tokens},
    view_model::{Clock, clients, counted},
    widgets::{self, RowsState},
};
use client::Mirror;
use egui::{CornerRadius, Id, Rect, Role, Sense, Ui, WidgetInfo, pos2, vec2};

const COLUMNS: &[Column] = &[
    column("User", 170.0, 0.2),
    column("Role", 100.0, 0.1),
    column("Kind", 120.0, 0.1),
    Column { title: "Address", width: 150.0, share: 0.3, right: false, from: 560.0 },
    Column { title: "Connected", width: 100.0, share: 0.1, right: false, from: 460.0 },
    Column { title: "Running", width: 84.0, share: 0.0, right: true, from: 0.0 },
    Column { title: "Waiting", width: 84.0, share: 0.0, right: true, from: 0.0 },
];

/// The pane.
pub(crate) fn clients_ui(ui: &mut Ui, mirror: &Mirror, clock: &Clock, state: &mut RowsState) {
    let t = tokens(ui);
    let pane = ui.max_rect();
    let (tools, rest) = pane.split_top_bottom_at_y(pane.top() + theme::TOOL_BAR);
    let rows = clients::rows(mirror, clock);
    bars::tool_bar(ui, tools, "Clients", &format!("{} connected", counted(rows.len() as u64, "client", "clients")));
    let (head, body) = rest.split_top_bottom_at_y(rest.top() + theme::ROW);
    let cells = table::place(head.shrink2(vec2(8.0, 0.0)), COLUMNS);
    table::headings(ui, head, COLUMNS, &cells);
    if rows.is_empty() {
        let at = Rect::from_min_size(body.min + vec2(12.0, 12.0), vec2(body.width() - 24.0, 20.0));
        let words = "Nobody is logged in, as far as this window knows";
        widgets::paint_elided(ui.painter(), at, words, fonts::text(), t.muted);
        ui.interact(at, ui.scope_id().with("empty"), Sense::hover())
            .widget_info(|| WidgetInfo::labeled(Role::Label, true, words));
        return;
    }
    let size = (rows.len() as u64, theme::ROW, 0.0);
    widgets::rows(ui, (Id::unique("clients table"), "clients"), body, state, size, |ui, index, rect| {
        let Some(row) = usize::try_from(index).ok().and_then(|index| rows.get(index)) else { return };
        let response = ui.interact(rect, Id::unique(("client", index)), Sense::hover());
        let spoken =
            format!("{}, {}, {}, {} running, {} waiting", row.user, row.role, row.kind, row.running, row.waiting);
        response.widget_info(|| WidgetInfo::labeled(Role::Row, true, &spoken));
        if response.hovered() {
            ui.painter().rect_filled(rect, CornerRadius::ZERO, t.hover.gamma_multiply(0.55));
        }
        widgets::row_line(ui, rect);
        let (running, waiting) = (row.running.to_string(), row.waiting.to_string());
        let texts = [
            (row.user.as_str(), t.text),
            (row.role, t.muted),
            (row.kind, t.muted),
            (row.address.as_str(), t.muted),
            (row.since.as_str(), t.muted),
            (running.as_str(), if row.running > 0 { t.run } else { t.muted }),
            (waiting.as_str(), t.muted),
        ];
        for (place, (column, (text, ink))) in COLUMNS.iter().zip(texts).enumerate() {
            let Some(cell) = cells[place] else { continue };
            let cell = Rect::from_x_y_ranges(cell.x_range(), rect.y_range());
            if column.right {
                widgets::paint_right(ui.painter(), cell, text, fonts::text(), ink);
                continue;
            }
            let end = widgets::paint_elided(ui.painter(), cell, text, fonts::text(), ink);
            if place == 0 && row.this {
                let rest = Rect::from_min_max(pos2(end + 6.0, cell.top()), cell.max);
                widgets::paint_elided(ui.painter(), rest, "this window", fonts::small(), t.faint);
            }
        }
        response.on_hover_text_at_pointer(format!("Connected {}", row.exact));
    });
}
