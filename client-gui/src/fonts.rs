//! The embedded fonts: Inter for text, JetBrains Mono for code, DejaVu Sans for signs neither has.
//! Licences and the script that makes the subsets are in `assets/`.

use egui::{FontData, FontDefinitions, FontFamily, FontId};
use std::sync::Arc;

const INTER: &[u8] = include_bytes!("../assets/fonts/Inter-Regular.otf");
const INTER_SEMIBOLD: &[u8] = include_bytes!("../assets/fonts/Inter-SemiBold.otf");
const MONO: &[u8] = include_bytes!("../assets/fonts/JetBrainsMono-Regular.ttf");
const SIGNS: &[u8] = include_bytes!("../assets/fonts/DejaVuSans-signs.ttf");

/// The family of titles and of what is selected.
const SEMIBOLD: &str = "semibold";

/// The families and their fallbacks.
#[must_use]
pub fn definitions() -> FontDefinitions {
    let mut fonts = FontDefinitions::empty();
    for (name, bytes) in [("inter", INTER), ("inter-semibold", INTER_SEMIBOLD), ("mono", MONO), ("signs", SIGNS)] {
        fonts.font_data.insert(name.to_owned(), Arc::new(FontData::from_static(bytes)));
    }
    for (family, names) in [
        (FontFamily::Proportional, ["inter", "signs", "mono"]),
        (FontFamily::Monospace, ["mono", "signs", "inter"]),
        (FontFamily::Name(SEMIBOLD.into()), ["inter-semibold", "signs", "mono"]),
    ] {
        fonts.families.insert(family, names.map(str::to_owned).into());
    }
    fonts
}

/// Text, 13 px.
#[must_use]
pub fn text() -> FontId {
    FontId::new(13.0, FontFamily::Proportional)
}

/// Secondary text, 12 px.
#[must_use]
pub fn small() -> FontId {
    FontId::new(12.0, FontFamily::Proportional)
}

/// Words under the icons of the rail, 11 px.
#[must_use]
pub fn tiny() -> FontId {
    FontId::new(11.0, FontFamily::Proportional)
}

/// Emphasised text, 13 px.
#[must_use]
pub fn strong() -> FontId {
    FontId::new(13.0, FontFamily::Name(SEMIBOLD.into()))
}

/// Headings of columns, 12 px.
#[must_use]
pub fn heading() -> FontId {
    FontId::new(12.0, FontFamily::Name(SEMIBOLD.into()))
}

/// Titles, 15 px.
#[must_use]
pub fn title() -> FontId {
    FontId::new(15.0, FontFamily::Name(SEMIBOLD.into()))
}

/// The largest text, on the first screen only.
#[must_use]
pub fn display() -> FontId {
    FontId::new(22.0, FontFamily::Name(SEMIBOLD.into()))
}

/// Code, output, IDs.
#[must_use]
pub fn mono() -> FontId {
    FontId::new(12.5, FontFamily::Monospace)
}

/// IDs under a name.
#[must_use]
pub fn mono_small() -> FontId {
    FontId::new(11.0, FontFamily::Monospace)
}

#[cfg(test)]
mod tests {
    use super::*;
    use egui::epaint::text::{Fonts, TextOptions};

    /// Everything that the interface itself writes, and what programs commonly print.
    const NEEDED: &str = "✓✗∑…‖?–●○▾▴▸⏎→←↑↓↔×·•≥≤±µ∞≈≠√€“”‘’—\u{fffd}\
        ÀÉÎÕÜßàéîõüÿŁłŠšŽžĞğŐőŒœ ΑΒΓΔΩαβγδω АБВГЯабвгяЁё 0123456789 ABCxyz {}[]()<>|\\~^`@#$%&*_=+";

    #[test]
    fn no_glyph_is_missing_in_any_family() {
        let mut fonts = Fonts::new(TextOptions::default(), definitions());
        for font in [text(), strong(), mono()] {
            for c in NEEDED.chars() {
                assert!(fonts.has_glyph(&font, c), "{:?} has no glyph for {c} (U+{:04X})", font.family, c as u32);
            }
        }
    }

    #[test]
    fn figures_are_tabular() {
        let mut fonts = Fonts::new(TextOptions::default(), definitions());
        for font in [text(), strong(), mono()] {
            let mut view = fonts.with_pixels_per_point(1.0);
            let widths: Vec<f32> = ('0'..='9').map(|digit| view.glyph_width(&font, digit)).collect();
            assert!(widths.iter().all(|width| (width - widths[0]).abs() < 0.05), "{:?}: {widths:?}", font.family);
        }
    }

    #[test]
    fn the_embedded_fonts_stay_small() {
        let bytes = INTER.len() + INTER_SEMIBOLD.len() + MONO.len() + SIGNS.len();
        assert!(bytes < 600_000, "{bytes} bytes");
    }
}
