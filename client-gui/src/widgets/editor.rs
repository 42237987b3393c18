//! The editor: line numbers, colours, indentation that follows.

use crate::{
    fonts,
    lexer::{self, Kind},
    theme::{Tokens, tokens},
};
use egui::{
    Align2, Color32, Event, FontId, Id, Key, Modifiers, Rect, TextEdit, TextFormat, Ui,
    text::{CCursor, LayoutJob},
    vec2,
};
use std::hash::{DefaultHasher, Hash, Hasher};

/// A longer text is shown without colours, so that typing stays quick.
const COLOURED_BYTES_MAX: usize = 200_000;
/// Height of a line.
const LINE: f32 = 18.0;

/// What is edited.
pub(crate) struct Edited<'a> {
    /// Tells this editor from the others.
    pub(crate) id: Id,
    /// The text.
    pub(crate) text: &'a mut String,
    /// Its language.
    pub(crate) language: &'a str,
    /// The coloured text, with what it was made from.
    pub(crate) coloured: &'a mut Option<(u64, LayoutJob)>,
    /// What an empty editor says.
    pub(crate) hint: &'a str,
    /// The editor takes the keyboard.
    pub(crate) focus: bool,
}

/// The editor in `rect`; gives whether the text changed.
pub(crate) fn editor(ui: &mut Ui, rect: Rect, edited: Edited<'_>) -> bool {
    let t = tokens(ui);
    let Edited { id, text, language, coloured, hint, focus } = edited;
    ui.painter().rect_filled(rect, 0.0, t.bg);
    indent(ui, id, text, language);
    let mut changed = false;
    let dark = ui.visuals().dark_mode;
    let lines = text.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let char_width = ui.fonts_mut(|fonts| fonts.glyph_width(&fonts::mono(), '0'));
    let gutter = 20.0 + lines.to_string().len().max(2) as f32 * char_width;
    let mut layouter = |ui: &Ui, buffer: &dyn egui::TextBuffer, _wrap: f32| {
        let mut hasher = DefaultHasher::new();
        (buffer.as_str(), language, dark).hash(&mut hasher);
        let hash = hasher.finish();
        if coloured.as_ref().is_none_or(|(known, _)| *known != hash) {
            *coloured = Some((hash, colour(buffer.as_str(), language, t)));
        }
        let job = coloured.as_ref().map(|(_, job)| job.clone()).unwrap_or_default();
        ui.fonts_mut(|fonts| fonts.layout_job(job))
    };
    let area = egui::UiBuilder::new().max_rect(rect).id_salt(id);
    ui.scope_builder(area, |ui| {
        ui.set_clip_rect(rect.intersect(ui.clip_rect()));
        egui::ScrollArea::both().id_salt(id.with("scroll")).auto_shrink(false).show(ui, |ui| {
            ui.add_space(8.0);
            let output = ui
                .horizontal_top(|ui| {
                    ui.spacing_mut().item_spacing.x = 0.0;
                    ui.add_space(gutter + 14.0);
                    TextEdit::multiline(text)
                        .id(id)
                        .hint_text(egui::RichText::new(hint).font(fonts::mono()).color(t.faint))
                        .frame(egui::Frame::NONE)
                        .margin(egui::Margin::ZERO)
                        .font(fonts::mono())
                        .lock_focus(true)
                        .desired_width(f32::INFINITY)
                        .min_size(vec2(rect.width() - gutter - 30.0, rect.height() - 24.0))
                        .layouter(&mut layouter)
                        .show(ui)
                })
                .inner;
            let response = output.response.response.clone().accessible_name("Source");
            if focus {
                response.request_focus();
            }
            changed |= response.changed();
            let clip = ui.clip_rect();
            for (index, row) in output.galley.rows.iter().enumerate() {
                let y = output.galley_pos.y + row.pos.y + row.size.y / 2.0;
                if y > clip.top() - LINE && y < clip.bottom() + LINE {
                    let at = egui::pos2(output.galley_pos.x - 14.0, y);
                    ui.painter().text(at, Align2::RIGHT_CENTER, index + 1, fonts::mono(), t.faint);
                }
            }
        });
    });
    changed
}

fn colour(text: &str, language: &str, t: &Tokens) -> LayoutJob {
    let format = |ink: Color32| TextFormat { line_height: Some(LINE), ..TextFormat::simple(mono(), ink) };
    let mut job = LayoutJob::default();
    job.wrap.max_width = f32::INFINITY;
    job.keep_trailing_whitespace = true;
    if text.len() > COLOURED_BYTES_MAX {
        job.append(text, 0.0, format(t.text));
        return job;
    }
    for (kind, piece) in lexer::pieces(text, language) {
        let ink = match kind {
            Kind::Plain => t.text,
            Kind::Keyword => t.susp,
            Kind::Call => t.run,
            Kind::Text => t.done,
            Kind::Number => t.lost,
            Kind::Comment => t.faint,
        };
        job.append(piece, 0.0, format(ink));
    }
    if text.is_empty() {
        job.append("", 0.0, format(t.text));
    }
    job
}

fn mono() -> FontId {
    fonts::mono()
}

/// Tab indents, Enter keeps the indentation: the toolkit's editor inserts a tab character and begins each line
/// at its edge. The keys become pastes, so that they keep their place among what is typed in one frame.
#[expect(clippy::wildcard_enum_match_arm, reason = "every other event is left to the toolkit's editor")]
fn indent(ui: &Ui, id: Id, text: &str, language: &str) {
    if !ui.memory(|memory| memory.has_focus(id)) {
        return;
    }
    let unit = if language == "Go" { "\t" } else { "    " };
    let cursor = TextEdit::load_state(ui.ctx(), id)
        .and_then(|state| state.cursor.char_range())
        .map_or(0, |range| char_index(range.primary).min(char_index(range.secondary)));
    let before = &text[..byte_at(text, cursor)];
    let mut line = before[before.rfind('\n').map_or(0, |at| at + 1)..].to_owned();
    ui.input_mut(|input| {
        for event in &mut input.events {
            match event {
                // What is typed in the same frame belongs to the line too.
                Event::Text(typed) => line.push_str(typed),
                Event::Key { key: Key::Tab, pressed: true, modifiers: Modifiers::NONE, .. } => {
                    line.push_str(unit);
                    *event = Event::Paste(unit.to_owned());
                }
                Event::Key { key: Key::Enter, pressed: true, modifiers: Modifiers::NONE, .. } => {
                    line = blank_after(&line, unit);
                    *event = Event::Paste(format!("\n{line}"));
                }
                _ => {}
            }
        }
    });
}

/// The indentation of the line after `line`.
fn blank_after(line: &str, unit: &str) -> String {
    let blank: String = line.chars().take_while(|c| *c == ' ' || *c == '\t').collect();
    let opens = line.trim_end().ends_with(['{', ':', '(', '[']);
    if opens { blank + unit } else { blank }
}

fn char_index(cursor: CCursor) -> usize {
    cursor.index.into()
}

fn byte_at(text: &str, chars: usize) -> usize {
    text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at)
}
