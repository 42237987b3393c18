//! The files that a program brought back, with what was left out below them.

use super::detail::Shown;
use crate::{
    collected::Listed,
    command::{Commands, Files},
    fonts,
    state::DetailState,
    theme::{self, tokens},
    view_model::files::{self, FilesTab},
    widgets::{self, Look},
};
use egui::{CornerRadius, Id, Rect, Role, Sense, Ui, WidgetInfo, pos2, vec2};

/// Lines of what was left out that are in view at once.
const LEFT_OUT_SHOWN: f32 = 4.0;

/// The tab, in all the room there is.
pub(crate) fn files_ui(ui: &mut Ui, shown: &Shown<'_>, state: &mut DetailState, commands: &mut Commands) {
    let t = tokens(ui);
    let rect = ui.available_rect_before_wrap();
    ui.painter().rect_filled(rect, CornerRadius::ZERO, t.bg);
    match FilesTab::new(shown.program, shown.spec, shown.files) {
        FilesTab::Nothing(words) => {
            let at = Rect::from_min_size(rect.min + vec2(16.0, 12.0), vec2((rect.width() - 32.0).max(0.0), 18.0));
            widgets::paint_elided(ui.painter(), at, &words, fonts::text(), t.faint);
            ui.interact(at, ui.scope_id().with("no files"), Sense::hover())
                .widget_info(|| WidgetInfo::labeled(Role::Label, true, &words));
        }
        FilesTab::List { headline, left_out } => {
            let Some(Ok(listed)) = shown.files.get(shown.program.id) else { return };
            let (head, rest) = rect.split_top_bottom_at_y(rect.top() + 40.0);
            head_ui(ui, head, &headline, commands);
            let lines = (left_out.len() as f32).min(LEFT_OUT_SHOWN);
            let below = if left_out.is_empty() { 0.0 } else { 32.0 + 22.0 * lines };
            let (list, below) = rest.split_top_bottom_at_y(rest.bottom() - below);
            list_ui(ui, list, shown, listed, state, commands);
            left_out_ui(ui, below, &left_out);
        }
    }
}

fn head_ui(ui: &mut Ui, rect: Rect, headline: &str, commands: &mut Commands) {
    let t = tokens(ui);
    widgets::line_below(ui, rect);
    let area = rect.shrink2(vec2(14.0, 6.0));
    let layout = egui::Layout::right_to_left(egui::Align::Center);
    let left = ui
        .scope_builder(egui::UiBuilder::new().max_rect(area).layout(layout).id_salt("save all"), |ui| {
            commands.button(ui, Files::SaveAll, Look::Plain, false, 0.0).rect.left()
        })
        .inner;
    let words = Rect::from_min_max(area.min, pos2(left - 10.0, area.bottom()));
    widgets::paint_elided(ui.painter(), words, headline, fonts::text(), t.muted);
    let response = ui.interact(words, ui.scope_id().with("headline"), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, headline));
}

fn list_ui(
    ui: &mut Ui,
    rect: Rect,
    shown: &Shown<'_>,
    listed: &Listed,
    state: &mut DetailState,
    commands: &mut Commands,
) {
    let t = tokens(ui);
    let id = shown.program.id;
    let size = (listed.head.files.len() as u64, theme::ROW, 0.0);
    widgets::rows(ui, (Id::unique("files table"), "files"), rect, &mut state.files, size, |ui, index, row| {
        let Ok(index) = usize::try_from(index) else { return };
        let Some(file) = files::row(listed, index) else { return };
        let response = ui.interact(row, Id::unique(("file", id, index)), Sense::hover());
        response.widget_info(|| {
            WidgetInfo::labeled(Role::Row, true, format!("{}, {}, {}", file.name, file.size, file.digest))
        });
        if response.hovered() {
            ui.painter().rect_filled(row, CornerRadius::ZERO, t.hover.gamma_multiply(0.55));
        }
        widgets::row_line(ui, row);
        let button = Rect::from_min_max(pos2(row.right() - 74.0, row.top()), pos2(row.right() - 14.0, row.bottom()));
        let mut inside = ui.new_child(
            egui::UiBuilder::new()
                .max_rect(button)
                .layout(egui::Layout::right_to_left(egui::Align::Center))
                .id_salt(("save", index)),
        );
        commands.button(&mut inside, Files::SaveFile(id, index), Look::Quiet, false, 0.0);
        // The digest is the first to go where there is little room.
        let mut right = button.left() - 4.0;
        if row.width() > 340.0 {
            let cell = Rect::from_min_max(pos2(right - 92.0, row.top()), pos2(right, row.bottom()));
            right = widgets::paint_right(ui.painter(), cell, &file.digest, fonts::mono_small(), t.faint).left() - 10.0;
        }
        let cell = Rect::from_min_max(pos2(right - 66.0, row.top()), pos2(right, row.bottom()));
        widgets::paint_right(ui.painter(), cell, &file.size, fonts::text(), t.muted);
        let name = Rect::from_min_max(row.min + vec2(14.0, 0.0), pos2(cell.left() - 8.0, row.bottom()));
        widgets::paint_elided(ui.painter(), name, &file.name, fonts::text(), t.text);
        response.on_hover_text_at_pointer(&file.tooltip);
    });
}

fn left_out_ui(ui: &mut Ui, rect: Rect, left_out: &[String]) {
    if left_out.is_empty() {
        return;
    }
    let t = tokens(ui);
    widgets::line_above(ui, rect);
    let title = Rect::from_min_size(rect.min + vec2(14.0, 4.0), vec2(rect.width() - 28.0, 24.0));
    widgets::paint_elided(ui.painter(), title, "Left out", fonts::heading(), t.lost);
    let list = Rect::from_min_max(pos2(rect.left(), title.bottom()), rect.max);
    let id = ui.scope_id().with("left out");
    let mut scroll: widgets::RowsState = ui.data(|data| data.get_temp(id)).unwrap_or_default();
    let size = (left_out.len() as u64, 22.0, 0.0);
    widgets::rows(ui, (id, "what was left out"), list, &mut scroll, size, |ui, index, row| {
        let Some(words) = usize::try_from(index).ok().and_then(|index| left_out.get(index)) else { return };
        widgets::paint_elided(ui.painter(), row.shrink2(vec2(14.0, 0.0)), words, fonts::text(), t.text);
        let response = ui.interact(row, id.with(index), Sense::hover());
        response.widget_info(|| WidgetInfo::labeled(Role::Label, true, words));
        response.on_hover_text_at_pointer(words);
    });
    ui.data_mut(|data| data.insert_temp(id, scroll));
}
