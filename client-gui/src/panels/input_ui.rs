//! The line below the output of a program that takes input while it runs.

use crate::{
    command::{Command, Commands, Programs},
    fonts,
    input_lines::{InputLine, InputLines},
    theme::{self, tokens},
    view_model::input,
    widgets::{self, Look},
};
use common::{ProgramId, view::ProgramView};
use egui::{CornerRadius, Key, Modifiers, Rect, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2};

/// Height of the line.
const HEIGHT: f32 = 40.0;

/// Takes the room of the line off `rect`, for a program that takes input while it runs; draws it there.
pub(crate) fn input_ui(
    ui: &mut Ui,
    rect: Rect,
    program: &ProgramView,
    inputs: &mut InputLines,
    commands: &mut Commands,
) -> Rect {
    if !program.live {
        return rect;
    }
    let (output, bar) = rect.split_top_bottom_at_y((rect.bottom() - HEIGHT).max(rect.top()));
    let t = tokens(ui);
    ui.painter().rect_filled(bar, CornerRadius::ZERO, t.panel);
    widgets::line_above(ui, bar);
    let inner = bar.shrink2(vec2(12.0, 6.0));
    ui.scope_builder(egui::UiBuilder::new().max_rect(inner).id_salt("input"), |ui| {
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 8.0;
            line_ui(ui, inner, program, inputs, commands);
        });
    });
    output
}

fn line_ui(ui: &mut Ui, inner: Rect, program: &ProgramView, inputs: &mut InputLines, commands: &mut Commands) {
    let able = input::able(program, inputs, commands.situation());
    let focus = std::mem::take(&mut inputs.focus);
    let line = inputs.line(program);
    let hint = input::hint(able, line.waiting());
    let end = Command::from(Programs::EndInput).words().label;
    let end_width = ui.painter().layout_no_wrap(end, fonts::text(), tokens(ui).text).size().x + 24.0;
    let width = (inner.width() - end_width - 8.0).max(80.0);
    let name = "Input of the program";
    match able {
        Ok(()) => {
            let field = widgets::field(ui, &mut line.typed, name, &hint, fonts::mono(), false, width);
            if focus {
                field.request_focus();
            }
            keys(ui, &field, program.id, line, commands);
        }
        // Not greyed as a whole: why nothing can be typed is to be read.
        Err(_) => {
            let t = tokens(ui);
            let (rect, response) = ui.allocate_exact_size(vec2(width, theme::CONTROL), Sense::hover());
            let stroke = Stroke::new(1.0, t.border);
            ui.painter().rect(rect, CornerRadius::same(theme::RADIUS), t.panel, stroke, StrokeKind::Inside);
            widgets::paint_elided(ui.painter(), rect.shrink2(vec2(10.0, 0.0)), &hint, fonts::text(), t.muted);
            response.widget_info(|| WidgetInfo::labeled(Role::TextInput, false, format!("{name}. {hint}")));
        }
    }
    let at = pos2(inner.right() - end_width, inner.top());
    let area = Rect::from_min_size(at, vec2(end_width, theme::CONTROL));
    ui.scope_builder(egui::UiBuilder::new().max_rect(area), |ui| {
        commands.button(ui, Programs::EndInput, Look::Plain, false, 0.0);
    });
}

/// Arrows, Enter and Ctrl D, while the line has the keyboard.
fn keys(ui: &Ui, field: &egui::Response, id: ProgramId, line: &mut InputLine, commands: &mut Commands) {
    if field.has_focus() {
        for (key, back) in [(Key::ArrowUp, true), (Key::ArrowDown, false)] {
            if ui.input_mut(|input| input.consume_key(Modifiers::NONE, key)) {
                line.recall(back);
                to_end(ui, field, &line.typed);
            }
        }
        // As in a terminal: what is typed goes without a line feed; with nothing typed the input ends.
        if ui.input_mut(|input| input.consume_key(Modifiers::COMMAND, Key::D)) {
            let text = std::mem::take(&mut line.typed);
            if text.is_empty() {
                commands.send(Programs::EndInput);
            } else {
                commands.send(Programs::SendInput(id, text));
            }
        }
    }
    if field.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter)) {
        let text = std::mem::take(&mut line.typed) + "\n";
        commands.send(Programs::SendInput(id, text));
        field.request_focus();
    }
}

fn to_end(ui: &Ui, field: &egui::Response, typed: &str) {
    if let Some(mut edit) = egui::TextEdit::load_state(ui.ctx(), field.id) {
        let end = egui::text::CCursor::new(typed.chars().count());
        edit.cursor.set_char_range(Some(egui::text_selection::CCursorRange::one(end)));
        egui::TextEdit::store_state(ui.ctx(), field.id, edit);
    }
}
