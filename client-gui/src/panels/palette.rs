//! Every command by its name, and every program by its own.

use crate::{
    command::{Command, Commands, Go, Pane},
    fonts,
    state::PaletteState,
    theme::{self, tokens},
    widgets,
};
use client::HistoryFilter;
use egui::{Align2, CornerRadius, Key, Modifiers, Rect, Role, Sense, Ui, WidgetInfo, pos2, vec2};

/// Height of an entry.
const ENTRY: f32 = 30.0;
/// Entries that are in view at once.
const VISIBLE: usize = 11;

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// What is done.
    pub(crate) command: Command,
    /// What is said.
    pub(crate) label: String,
}

/// The entries that fit what is typed, best first.
#[must_use]
pub(crate) fn entries(typed: &str) -> Vec<Entry> {
    let typed = typed.trim();
    let mut scored: Vec<(u32, Entry)> = Command::listed()
        .into_iter()
        .filter(|command| *command != Command::from(Go::Palette))
        .map(|command| Entry { label: command.words().label, command })
        .filter_map(|entry| score(&entry.label, typed).map(|score| (score, entry)))
        .collect();
    scored.sort_by_key(|(score, _)| *score);
    let mut entries: Vec<Entry> = scored.into_iter().map(|(_, entry)| entry).collect();
    if !typed.is_empty() {
        let filter = HistoryFilter { search: typed.to_owned(), ..HistoryFilter::default() };
        let search = Entry {
            label: format!("Search the history for “{}”", widgets::shown(typed)),
            command: Go::Filter(filter).into(),
        };
        // What looks like no command at all is a search first.
        let place = if entries.is_empty() { 0 } else { entries.len() };
        entries.insert(place, search);
    }
    entries
}

/// How well `label` fits: lower is better; none does not. Words may be given by their beginnings.
fn score(label: &str, typed: &str) -> Option<u32> {
    let label = label.to_lowercase();
    let typed = typed.to_lowercase();
    if typed.is_empty() || label.starts_with(&typed) {
        return Some(0);
    }
    if label.split_whitespace().any(|word| word.starts_with(&typed)) {
        return Some(1);
    }
    if label.contains(&typed) {
        return Some(2);
    }
    let mut rest = label.chars();
    typed.chars().filter(|c| !c.is_whitespace()).all(|c| rest.any(|other| other == c)).then_some(3)
}

/// The palette. Gives whether it stays open.
pub(crate) fn palette_ui(ui: &Ui, state: &mut PaletteState, commands: &mut Commands) -> bool {
    let t = tokens(ui);
    let screen = ui.ctx().content_rect();
    let width = (screen.width() - 40.0).min(560.0);
    let area = egui::Area::new(egui::Id::unique("palette area"))
        .kind(egui::UiKind::Modal)
        .order(egui::Order::Foreground)
        .fixed_pos(pos2(screen.center().x - width / 2.0, screen.top() + 8.0));
    let frame = egui::Frame::new()
        .fill(t.panel)
        .stroke(egui::Stroke::new(1.0, t.border))
        .corner_radius(CornerRadius::same(10))
        .inner_margin(8);
    let shown = egui::Modal::new(egui::Id::unique("palette"))
        .area(area)
        .frame(frame)
        .backdrop_color(t.backdrop())
        .show(ui.ctx(), |ui| {
            ui.set_width(width - 18.0);
            ui.spacing_mut().item_spacing.y = 0.0;
            content(ui, state, commands)
        });
    !shown.inner && !shown.should_close()
}

/// Gives whether something was chosen.
fn content(ui: &mut Ui, state: &mut PaletteState, commands: &mut Commands) -> bool {
    let t = tokens(ui);
    let entries = entries(&state.typed);
    let (down, up, enter) = ui.input_mut(|input| {
        (
            input.consume_key(Modifiers::NONE, Key::ArrowDown),
            input.consume_key(Modifiers::NONE, Key::ArrowUp),
            input.consume_key(Modifiers::NONE, Key::Enter),
        )
    });
    let last = entries.len().saturating_sub(1);
    state.marked = state.marked.min(last);
    if down {
        state.marked = if state.marked >= last { 0 } else { state.marked + 1 };
    }
    if up {
        state.marked = if state.marked == 0 { last } else { state.marked - 1 };
    }
    let label = Command::from(Go::Palette).words().label;
    let width = ui.available_width();
    let field = widgets::field(ui, &mut state.typed, &label, &label, fonts::text(), false, width);
    if std::mem::take(&mut state.focus) {
        field.request_focus();
    }
    if field.changed() {
        state.marked = 0;
    }
    ui.add_space(6.0);
    let mut chosen = enter.then_some(state.marked);
    let height = ENTRY * entries.len().min(VISIBLE) as f32;
    let scroll = down || up;
    egui::ScrollArea::vertical().max_height(height).auto_shrink([false, true]).show(ui, |ui| {
        for (index, entry) in entries.iter().enumerate() {
            let response = entry_ui(ui, entry, index == state.marked, commands);
            if scroll && index == state.marked {
                response.scroll_to_me(None);
            }
            if response.clicked() {
                chosen = Some(index);
            }
        }
    });
    if entries.is_empty() {
        let (rect, _) = ui.allocate_exact_size(vec2(width, ENTRY), Sense::hover());
        ui.painter().text(
            rect.left_center() + vec2(10.0, 0.0),
            Align2::LEFT_CENTER,
            "Nothing fits",
            fonts::text(),
            t.muted,
        );
    }
    let Some(entry) = chosen.and_then(|index| entries.get(index)) else { return false };
    if let Command::Go(Go::Filter(_)) = entry.command {
        commands.send(Go::Show(Pane::History));
    }
    commands.send(entry.command.clone());
    true
}

fn entry_ui(ui: &mut Ui, entry: &Entry, marked: bool, commands: &Commands) -> egui::Response {
    let t = tokens(ui);
    let why = entry.command.enabled(commands.situation()).err();
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ENTRY), Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::ListBoxOption, why.is_none(), marked, &entry.label));
    if marked || response.hovered() {
        ui.painter().rect_filled(rect, CornerRadius::same(theme::RADIUS), if marked { t.raised } else { t.hover });
    }
    let inner = rect.shrink2(vec2(10.0, 0.0));
    let keys = entry.command.keys();
    let mut right = inner.right();
    if !keys.is_empty() {
        right = super::bars::key_cap(ui, inner.right_center(), &keys).left();
    }
    let ink = if why.is_some() { t.faint } else { t.text };
    let room = Rect::from_min_max(inner.min, pos2(right - 10.0, inner.bottom()));
    let end = widgets::paint_elided(ui.painter(), room, &entry.label, fonts::text(), ink);
    let rest = Rect::from_min_max(pos2(end + 10.0, room.top()), room.max);
    widgets::paint_elided(ui.painter(), rest, why.unwrap_or(entry.command.words().tooltip), fonts::small(), t.faint);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_by_parts_of_their_names() {
        for (typed, first) in [
            ("hist", "History"),
            ("zoom", "Zoom in"),
            ("dark", "Theme: dark"),
            ("again", "Run again"),
            ("zi", "Zoom in"),
            ("python", "New from sample: Python"),
            ("render_frames", "Search the history for “render_frames”"),
        ] {
            assert_eq!(entries(typed)[0].label, first, "{typed}");
        }
        assert_eq!(entries("x\n")[entries("x\n").len() - 1].label, "Search the history for “x”");
    }
}
