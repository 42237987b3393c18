//! Signs and icons painted as shapes: no font has to have them, and they take any colour and size.

use crate::view_model::Standing;
use common::{program::State, view::IsolationLevel};
use egui::{Color32, CornerRadius, Painter, Pos2, Rect, Shape, Stroke, StrokeKind, pos2, vec2};

/// An icon of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Icon {
    /// The product: a cell of a hive.
    Cell,
    /// A plus.
    Submit,
    /// Lines of a list.
    History,
    /// Two machines.
    Slaves,
    /// Two people.
    Clients,
    /// Close.
    Close,
    /// A menu opens below.
    Down,
    /// A mark in a box.
    Check,
    /// Search.
    Search,
}

/// Paints the sign of a program's state in the middle of `rect`, 11 points high.
pub fn state(painter: &Painter, rect: Rect, state: State, colour: Color32) {
    let at = grid(Rect::from_center_size(rect.center(), vec2(11.0, 11.0)), 11.0);
    let stroke = Stroke::new(1.5, colour);
    match state {
        State::Done => line(painter, &[at(1.5, 6.0), at(4.2, 8.8), at(9.5, 2.2)], stroke),
        State::Failed => {
            line(painter, &[at(2.2, 2.2), at(8.8, 8.8)], stroke);
            line(painter, &[at(8.8, 2.2), at(2.2, 8.8)], stroke);
        }
        State::Running => line(
            painter,
            &[at(9.0, 2.8), at(9.0, 1.0), at(2.2, 1.0), at(6.2, 5.5), at(2.2, 10.0), at(9.0, 10.0), at(9.0, 8.2)],
            Stroke::new(1.4, colour),
        ),
        State::Waiting => {
            for x in [1.8, 5.5, 9.2] {
                painter.circle_filled(at(x, 8.0), 1.05, colour);
            }
        }
        State::Suspended => {
            line(painter, &[at(3.6, 1.2), at(3.6, 9.8)], stroke);
            line(painter, &[at(7.4, 1.2), at(7.4, 9.8)], stroke);
        }
        State::Cancelled => line(painter, &[at(2.0, 5.5), at(9.0, 5.5)], stroke),
        State::Lost => {
            line(
                painter,
                &[
                    at(2.8, 3.4),
                    at(3.4, 1.9),
                    at(5.4, 1.0),
                    at(7.5, 1.8),
                    at(8.1, 3.5),
                    at(7.2, 5.0),
                    at(5.6, 6.0),
                    at(5.4, 7.2),
                ],
                Stroke::new(1.4, colour),
            );
            painter.circle_filled(at(5.4, 9.6), 1.0, colour);
        }
    }
}

/// Paints the sign of how a program stands, as [`state`] does.
pub fn standing(painter: &Painter, rect: Rect, standing: Standing, colour: Color32) {
    match standing {
        Standing::Known(known) => state(painter, rect, known, colour),
        // What is lost and what is not known are the same question; word and colour tell them apart.
        Standing::Unknown => state(painter, rect, State::Lost, colour),
    }
}

/// Paints the sign of an isolation level in the middle of `rect`, 11 points high: a shield, full where programs have a
/// user of their own, half where the kernel keeps limits, empty else, crossed where there is none.
pub fn shield(painter: &Painter, rect: Rect, level: IsolationLevel, colour: Color32) {
    let at = grid(Rect::from_center_size(rect.center(), vec2(11.0, 11.0)), 11.0);
    let outline = [at(5.5, 0.6), at(10.0, 2.2), at(9.6, 6.2), at(5.5, 10.6), at(1.4, 6.2), at(1.0, 2.2)];
    let stroke = Stroke::new(1.3, colour);
    match level {
        IsolationLevel::Root => {
            painter.add(Shape::convex_polygon(outline.to_vec(), colour, stroke));
            return;
        }
        IsolationLevel::Delegated => {
            let half = vec![at(5.5, 0.6), at(5.5, 10.6), at(1.4, 6.2), at(1.0, 2.2)];
            painter.add(Shape::convex_polygon(half, colour, Stroke::NONE));
        }
        IsolationLevel::UserNamespaces => {}
        IsolationLevel::Plain => line(painter, &[at(1.0, 10.0), at(10.0, 1.0)], stroke),
    }
    painter.add(Shape::closed_line(outline.to_vec(), stroke));
}

/// Paints an icon in the middle of `rect`; icons are drawn on a square of 18 points.
pub fn icon(painter: &Painter, rect: Rect, icon: Icon, size: f32, colour: Color32) {
    let at = grid(Rect::from_center_size(rect.center(), vec2(size, size)), 18.0);
    let unit = size / 18.0;
    let stroke = Stroke::new((1.3 * unit).max(1.2), colour);
    match icon {
        Icon::Cell => {
            hexagon(painter, at(9.0, 9.0), 8.0 * unit, Stroke::new(1.6 * unit, colour));
            hexagon(painter, at(9.0, 9.0), 3.4 * unit, Stroke::new(1.6 * unit, colour));
        }
        Icon::Submit => {
            line(painter, &[at(9.0, 3.0), at(9.0, 15.0)], stroke);
            line(painter, &[at(3.0, 9.0), at(15.0, 9.0)], stroke);
        }
        Icon::History => {
            for (y, right) in [(4.5, 15.0), (9.0, 15.0), (13.5, 10.5)] {
                line(painter, &[at(3.0, y), at(right, y)], stroke);
            }
        }
        Icon::Slaves => {
            for top in [3.0, 10.0] {
                let rect = Rect::from_min_max(at(2.5, top), at(15.5, top + 5.0));
                painter.rect_stroke(rect, CornerRadius::same(2), stroke, StrokeKind::Middle);
                painter.circle_filled(at(5.4, top + 2.5), 0.9 * unit, colour);
            }
        }
        Icon::Clients => {
            painter.circle_stroke(at(7.0, 6.2), 2.7 * unit, stroke);
            arc(painter, at(7.0, 15.2), 4.8 * unit, 180.0, 360.0, stroke);
            arc(painter, at(11.4, 6.2), 2.6 * unit, -75.0, 75.0, stroke);
            arc(painter, at(11.4, 15.2), 4.8 * unit, 290.0, 360.0, stroke);
        }
        Icon::Close => {
            line(painter, &[at(4.5, 4.5), at(13.5, 13.5)], stroke);
            line(painter, &[at(13.5, 4.5), at(4.5, 13.5)], stroke);
        }
        Icon::Down => {
            painter.add(Shape::convex_polygon(vec![at(4.5, 6.5), at(13.5, 6.5), at(9.0, 12.0)], colour, Stroke::NONE));
        }
        Icon::Check => line(painter, &[at(3.5, 9.5), at(7.5, 13.5), at(14.5, 4.5)], Stroke::new(1.8 * unit, colour)),
        Icon::Search => {
            painter.circle_stroke(at(8.0, 8.0), 4.6 * unit, stroke);
            line(painter, &[at(11.5, 11.5), at(15.0, 15.0)], stroke);
        }
    }
}

/// The window's icon, 64 by 64 pixels, as straight RGBA: the cell of the top bar.
#[must_use]
pub fn window_icon() -> egui::IconData {
    const SIDE: usize = 64;
    let tokens = &crate::theme::DARK;
    let mut rgba = Vec::with_capacity(SIDE * SIDE * 4);
    for y in 0..SIDE {
        for x in 0..SIDE {
            let (dx, dy) = (x as f32 - 31.5, y as f32 - 31.5);
            // Distance from the centre measured so that each hexagon is one value.
            let distance = dx.abs().max(dx.abs() * 0.5 + dy.abs() * 0.866);
            let ring = |radius: f32, width: f32| (width / 2.0 + 0.5 - (distance - radius).abs()).clamp(0.0, 1.0);
            let cell = ring(24.0, 6.0).max(ring(9.5, 6.0));
            let [r, g, b, _] = tokens.accent.to_array();
            rgba.extend([r, g, b, (cell * 255.0).round() as u8]);
        }
    }
    egui::IconData { rgba, width: SIDE as u32, height: SIDE as u32 }
}

/// Maps a drawing on a square of `side` units to `rect`.
fn grid(rect: Rect, side: f32) -> impl Fn(f32, f32) -> Pos2 {
    move |x, y| pos2(rect.left() + x / side * rect.width(), rect.top() + y / side * rect.height())
}

fn line(painter: &Painter, points: &[Pos2], stroke: Stroke) {
    painter.add(Shape::line(points.to_vec(), stroke));
}

fn hexagon(painter: &Painter, centre: Pos2, radius: f32, stroke: Stroke) {
    let points = (0..6).map(|corner| {
        let angle = (60.0 * corner as f32 - 90.0).to_radians();
        centre + radius * vec2(angle.cos(), angle.sin())
    });
    painter.add(Shape::closed_line(points.collect(), stroke));
}

/// Part of a circle, in degrees clockwise from the right.
fn arc(painter: &Painter, centre: Pos2, radius: f32, from: f32, to: f32, stroke: Stroke) {
    const STEPS: usize = 16;
    let points = (0..=STEPS).map(|step| {
        let angle = (from + (to - from) * step as f32 / STEPS as f32).to_radians();
        centre + radius * vec2(angle.cos(), angle.sin())
    });
    painter.add(Shape::line(points.collect(), stroke));
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_window_icon_has_its_size_and_is_not_empty() {
        let icon = super::window_icon();
        assert_eq!(icon.rgba.len(), 64 * 64 * 4);
        let painted = icon.rgba.chunks(4).filter(|pixel| pixel[3] > 0).count();
        assert!((500..3_000).contains(&painted), "{painted} pixels");
    }
}
