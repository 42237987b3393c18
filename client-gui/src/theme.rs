//! Design tokens: every colour, radius and spacing of the window, in dark and in light.
#![expect(clippy::disallowed_methods, reason = "this is the one place where colours are made")]

use crate::{fonts, view_model::Standing};
use common::program::State;
use egui::{
    Color32, CornerRadius, Margin, Shadow, Stroke, Style, TextStyle, Theme, ThemePreference, Ui, Visuals, vec2,
};
use serde::{Deserialize, Serialize};

/// Radius of controls, in points.
pub const RADIUS: u8 = 6;
/// Height of controls.
pub const CONTROL: f32 = 28.0;
/// Height of a row of a table.
pub const ROW: f32 = 28.0;
/// Height of a row of the list of slaves.
pub const ROW_TALL: f32 = 58.0;
/// Height of the top bar.
pub const TOP_BAR: f32 = 44.0;
/// Height of the bar under it, in each pane.
pub const TOOL_BAR: f32 = 44.0;
/// Width of the rail.
pub const RAIL: f32 = 76.0;
/// Height of the bottom bar.
pub const BOTTOM_BAR: f32 = 26.0;
/// Width of the detail pane.
pub const DETAIL: f32 = 420.0;
/// Under this width the detail pane goes below the list.
pub const WIDE: f32 = 1_100.0;
/// Under this width the detail pane replaces the list.
pub const NARROW: f32 = 800.0;

/// One theme's colours.
#[derive(Debug, Clone, Copy)]
pub struct Tokens {
    /// Window, tables, editor, output.
    pub bg: Color32,
    /// Bars, rail, detail.
    pub panel: Color32,
    /// Buttons, the selected chip or rail entry.
    pub raised: Color32,
    /// Under the pointer.
    pub hover: Color32,
    /// Lines of one pixel.
    pub border: Color32,
    /// Text.
    pub text: Color32,
    /// Secondary text.
    pub muted: Color32,
    /// Hints, line numbers.
    pub faint: Color32,
    /// Brand, primary button, selection mark: nothing else.
    pub accent: Color32,
    /// Text on the accent.
    pub onaccent: Color32,
    /// Done, connected.
    pub done: Color32,
    /// Running, links.
    pub run: Color32,
    /// Waiting: never red.
    pub wait: Color32,
    /// Failed: a person should look.
    pub fail: Color32,
    /// Suspended.
    pub susp: Color32,
    /// Lost, unreachable, weaker isolation.
    pub lost: Color32,
    /// Not known for now: the connection to the slave is lost.
    pub unknown: Color32,
    /// The selected row.
    pub sel: Color32,
}

const fn hex(rgb: u32) -> Color32 {
    Color32::from_rgb((rgb >> 16) as u8, (rgb >> 8) as u8, rgb as u8)
}

/// The dark theme.
pub const DARK: Tokens = Tokens {
    bg: hex(0x14161a),
    panel: hex(0x1a1d23),
    raised: hex(0x21252d),
    hover: hex(0x272c35),
    border: hex(0x2b303a),
    text: hex(0xe7e9ee),
    muted: hex(0x9aa3b2),
    faint: hex(0x8893a5),
    accent: hex(0xf2a93b),
    onaccent: hex(0x1d1300),
    done: hex(0x43b88f),
    run: hex(0x62a8f8),
    wait: hex(0x8e98aa),
    fail: hex(0xf1707b),
    susp: hex(0xb09af5),
    lost: hex(0xe89454),
    unknown: hex(0xd8cb5f),
    sel: hex(0x2a2a22),
};

/// The light theme.
pub const LIGHT: Tokens = Tokens {
    bg: hex(0xf4f5f7),
    panel: hex(0xffffff),
    raised: hex(0xf1f3f6),
    hover: hex(0xe9ecf1),
    border: hex(0xdde1e8),
    text: hex(0x1b1e25),
    muted: hex(0x5a6475),
    faint: hex(0x646d7c),
    accent: hex(0x9a5b00),
    onaccent: hex(0xffffff),
    done: hex(0x13734e),
    run: hex(0x1a61c2),
    wait: hex(0x5e6878),
    fail: hex(0xb92936),
    susp: hex(0x6d4fd0),
    lost: hex(0x9e4d0c),
    unknown: hex(0x6b6200),
    sel: hex(0xfbf1de),
};

impl Tokens {
    /// The colour of a program's state.
    #[must_use]
    pub const fn state(&self, state: State) -> Color32 {
        match state {
            State::Waiting => self.wait,
            State::Running => self.run,
            State::Suspended => self.susp,
            State::Done => self.done,
            State::Failed => self.fail,
            State::Cancelled => self.muted,
            State::Lost => self.lost,
        }
    }

    /// The colour of how a program stands.
    #[must_use]
    pub const fn standing(&self, standing: Standing) -> Color32 {
        match standing {
            Standing::Known(state) => self.state(state),
            Standing::Unknown => self.unknown,
        }
    }

    /// A surface tinted with `colour`, for the verdict.
    #[must_use]
    pub fn tint(&self, colour: Color32) -> Color32 {
        mix(self.panel, colour, 0.13)
    }

    /// The line between two rows: quieter than the one between two panes.
    #[must_use]
    pub fn row_line(&self) -> Color32 {
        mix(self.bg, self.border, 0.6)
    }

    /// The accent under the pointer.
    #[must_use]
    pub fn accent_hover(&self) -> Color32 {
        mix(self.accent, self.text, 0.14)
    }

    /// Selected text in a field.
    #[must_use]
    pub fn text_selection(&self) -> Color32 {
        mix(self.bg, self.run, 0.30)
    }

    /// Behind a hit of the search.
    #[must_use]
    pub fn search_hit(&self) -> Color32 {
        mix(self.bg, self.accent, 0.28)
    }

    /// Behind a dialog.
    #[must_use]
    pub const fn backdrop(&self) -> Color32 {
        Color32::from_black_alpha(110)
    }
}

/// `a` moved by `share` towards `b`.
fn mix(a: Color32, b: Color32, share: f32) -> Color32 {
    let channel = |a: u8, b: u8| (f32::from(a) + (f32::from(b) - f32::from(a)) * share).round() as u8;
    Color32::from_rgb(channel(a.r(), b.r()), channel(a.g(), b.g()), channel(a.b(), b.b()))
}

/// The colours in force.
#[must_use]
pub fn tokens(ui: &Ui) -> &'static Tokens {
    of(ui.visuals().dark_mode)
}

/// The colours of one theme.
#[must_use]
pub const fn of(dark: bool) -> &'static Tokens {
    if dark { &DARK } else { &LIGHT }
}

/// What a person chose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// As the desktop is set.
    #[default]
    System,
    /// Always dark.
    Dark,
    /// Always light.
    Light,
}

impl std::str::FromStr for Choice {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "system" => Ok(Self::System),
            "dark" => Ok(Self::Dark),
            "light" => Ok(Self::Light),
            _ => Err(format!("`{text}` is not a theme; choose dark, light or system")),
        }
    }
}

impl From<Choice> for ThemePreference {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::System => Self::System,
            Choice::Dark => Self::Dark,
            Choice::Light => Self::Light,
        }
    }
}

/// Installs fonts and both themes.
pub fn install(ctx: &egui::Context, choice: Choice) {
    ctx.set_fonts(fonts::definitions());
    // A desktop that does not say what it wants gets the dark one.
    ctx.options_mut(|options| {
        options.fallback_theme = Theme::Dark;
        options.zoom_with_keyboard = false;
    });
    ctx.set_style_of(Theme::Dark, style(&DARK, true));
    ctx.set_style_of(Theme::Light, style(&LIGHT, false));
    ctx.set_theme(choice);
}

fn style(tokens: &Tokens, dark: bool) -> Style {
    let mut style = Style { visuals: visuals(tokens, dark), ..Style::default() };
    style.text_styles = [
        (TextStyle::Small, fonts::small()),
        (TextStyle::Body, fonts::text()),
        (TextStyle::Button, fonts::text()),
        (TextStyle::Heading, fonts::title()),
        (TextStyle::Monospace, fonts::mono()),
    ]
    .into();
    style.animation_time = 0.0;
    style.interaction.selectable_labels = false;
    style.interaction.tooltip_delay = 0.4;
    let spacing = &mut style.spacing;
    spacing.item_spacing = vec2(8.0, 4.0);
    spacing.button_padding = vec2(12.0, 4.0);
    spacing.interact_size = vec2(28.0, CONTROL);
    spacing.menu_margin = Margin::same(4);
    spacing.window_margin = Margin::same(16);
    spacing.icon_width = 16.0;
    spacing.icon_width_inner = 8.0;
    spacing.combo_height = 320.0;
    spacing.scroll =
        egui::style::ScrollStyle { floating: true, bar_width: 8.0, ..egui::style::ScrollStyle::floating() };
    style
}

fn visuals(tokens: &Tokens, dark: bool) -> Visuals {
    let mut visuals = if dark { Visuals::dark() } else { Visuals::light() };
    let radius = CornerRadius::same(RADIUS);
    let line = Stroke::new(1.0, tokens.border);
    visuals.panel_fill = tokens.bg;
    visuals.window_fill = tokens.panel;
    visuals.window_stroke = line;
    visuals.window_corner_radius = CornerRadius::same(10);
    visuals.menu_corner_radius = CornerRadius::same(8);
    visuals.window_shadow = Shadow::NONE;
    visuals.popup_shadow = Shadow::NONE;
    visuals.extreme_bg_color = tokens.bg;
    visuals.text_edit_bg_color = Some(tokens.bg);
    visuals.code_bg_color = tokens.raised;
    visuals.faint_bg_color = tokens.panel;
    visuals.hyperlink_color = tokens.run;
    visuals.warn_fg_color = tokens.lost;
    visuals.error_fg_color = tokens.fail;
    visuals.weak_text_color = Some(tokens.muted);
    visuals.selection.bg_fill = tokens.text_selection();
    visuals.selection.stroke = Stroke::new(1.0, tokens.accent);
    visuals.text_cursor.stroke = Stroke::new(1.5, tokens.text);
    // A blinking cursor would keep a core awake twice a second for nothing.
    visuals.text_cursor.blink = false;
    for (widget, fill, stroke, text) in [
        (&mut visuals.widgets.noninteractive, tokens.panel, line, tokens.text),
        (&mut visuals.widgets.inactive, tokens.raised, line, tokens.text),
        (&mut visuals.widgets.hovered, tokens.hover, line, tokens.text),
        (&mut visuals.widgets.active, tokens.hover, Stroke::new(1.0, tokens.muted), tokens.text),
        (&mut visuals.widgets.open, tokens.hover, line, tokens.text),
    ] {
        widget.bg_fill = fill;
        widget.weak_bg_fill = fill;
        widget.bg_stroke = stroke;
        widget.fg_stroke = Stroke::new(1.0, text);
        widget.corner_radius = radius;
        widget.expansion = 0.0;
    }
    visuals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn luminance(colour: Color32) -> f64 {
        let channel = |value: u8| {
            let value = f64::from(value) / 255.0;
            if value <= 0.040_45 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * channel(colour.r()) + 0.7152 * channel(colour.g()) + 0.0722 * channel(colour.b())
    }

    fn contrast(a: Color32, b: Color32) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn every_text_is_readable_on_every_surface() {
        for (theme, t) in [("dark", &DARK), ("light", &LIGHT)] {
            let texts = [
                ("text", t.text),
                ("muted", t.muted),
                ("faint", t.faint),
                ("done", t.done),
                ("run", t.run),
                ("wait", t.wait),
                ("fail", t.fail),
                ("susp", t.susp),
                ("lost", t.lost),
                ("unknown", t.unknown),
            ];
            for (surface, background) in [("bg", t.bg), ("panel", t.panel), ("sel", t.sel)] {
                for (name, colour) in texts {
                    let found = contrast(colour, background);
                    assert!(found >= 4.5, "{theme}: {name} on {surface} has only {found:.2}:1");
                }
            }
            assert!(contrast(t.onaccent, t.accent) >= 4.5, "{theme}: onaccent on accent");
            assert!(contrast(t.onaccent, t.accent_hover()) >= 4.5, "{theme}: onaccent on the accent under the pointer");
            for (surface, background) in [("raised", t.raised), ("hover", t.hover)] {
                for (name, colour) in [("text", t.text), ("muted", t.muted)] {
                    assert!(contrast(colour, background) >= 4.5, "{theme}: {name} on {surface}");
                }
            }
            for state in State::ALL {
                assert!(contrast(t.text, t.tint(t.state(state))) >= 4.5, "{theme}: the verdict of {state}");
            }
            assert!(contrast(t.text, t.tint(t.unknown)) >= 4.5, "{theme}: the verdict of what is not known");
            for (name, colour) in &texts[1..] {
                assert!(*name == "unknown" || *colour != t.unknown, "{theme}: unknown has a colour of its own");
            }
        }
    }
}
