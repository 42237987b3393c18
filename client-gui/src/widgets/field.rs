//! Fields with a caption above them.

use crate::{
    fonts, signs,
    signs::Icon,
    theme::{self, tokens},
    widgets::{focus_ring, paint_elided},
};
use egui::{
    CornerRadius, FontId, Margin, Rect, Response, Role, Sense, Stroke, StrokeKind, TextEdit, Ui, WidgetInfo, pos2, vec2,
};

/// The words above a field.
pub(crate) fn caption(ui: &mut Ui, text: &str) -> Response {
    let t = tokens(ui);
    ui.label(egui::RichText::new(text).font(fonts::small()).color(t.muted))
}

/// What a field may differ in.
struct Form<'a> {
    name: &'a str,
    hint: &'a str,
    font: FontId,
    wrong: bool,
    password: bool,
    width: f32,
}

/// A field of one line, 28 points high. `name` is its accessible name; `wrong` marks a value that is refused.
pub(crate) fn field(
    ui: &mut Ui,
    text: &mut String,
    name: &str,
    hint: &str,
    font: FontId,
    wrong: bool,
    width: f32,
) -> Response {
    edit(ui, text, Form { name, hint, font, wrong, password: false, width })
}

/// A field that shows dots.
pub(crate) fn password_field(ui: &mut Ui, text: &mut String, name: &str, width: f32) -> Response {
    edit(ui, text, Form { name, hint: "", font: fonts::text(), wrong: false, password: true, width })
}

fn edit(ui: &mut Ui, text: &mut String, form: Form<'_>) -> Response {
    let t = tokens(ui);
    let enabled = ui.is_enabled();
    let (rect, _) = ui.allocate_exact_size(vec2(form.width, theme::CONTROL), Sense::hover());
    let frame = ui.painter().add(egui::Shape::Noop);
    let inner = rect.shrink2(vec2(10.0, 0.0));
    let name = form.name.to_owned();
    let line = inner;
    let hint = egui::RichText::new(form.hint).font(form.font.clone()).color(t.faint);
    // A child of its own: what follows stands after the frame, not after the text.
    let mut inside = ui.new_child(egui::UiBuilder::new().max_rect(line).id_salt(("field", form.name)));
    let output = TextEdit::singleline(text)
        .id_salt("text")
        .hint_text(hint)
        .font(form.font)
        .frame(egui::Frame::NONE)
        .margin(Margin::ZERO)
        .text_color(if enabled { t.text } else { t.faint })
        .password(form.password)
        .align(egui::Align2::LEFT_CENTER)
        .min_size(line.size())
        .desired_width(line.width())
        .show(&mut inside);
    let response = output.response.response.accessible_name(name);
    let stroke = if form.wrong {
        Stroke::new(1.0, t.fail)
    } else if response.has_focus() {
        Stroke::new(1.0, t.muted)
    } else {
        Stroke::new(1.0, t.border)
    };
    let shape = egui::epaint::RectShape::new(rect, CornerRadius::same(theme::RADIUS), t.bg, stroke, StrokeKind::Inside);
    ui.painter().set(frame, shape);
    // The margin of the frame belongs to the field too.
    let around = ui.interact(rect, response.id.with("around"), Sense::click());
    if around.clicked() {
        response.request_focus();
    }
    response
}

/// A button that opens a list: the chosen value at the left, `right` and a small triangle at the right.
/// `content` fills the list.
pub(crate) fn choice(
    ui: &mut Ui,
    name: &str,
    value: &str,
    right: &str,
    width: f32,
    faint: bool,
    content: impl FnOnce(&mut Ui),
) -> Response {
    let t = tokens(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(width, theme::CONTROL), Sense::click());
    let described = format!("{name}: {value}");
    response.widget_info(|| WidgetInfo::labeled(Role::ComboBox, true, &described));
    let hot = response.hovered() || response.has_focus();
    let stroke = Stroke::new(1.0, if hot { t.muted } else { t.border });
    ui.painter().rect(rect, CornerRadius::same(theme::RADIUS), t.bg, stroke, StrokeKind::Inside);
    let arrow = Rect::from_center_size(pos2(rect.right() - 14.0, rect.center().y + 0.5), vec2(12.0, 12.0));
    signs::icon(ui.painter(), arrow, Icon::Down, 12.0, t.muted);
    let mut inner = Rect::from_min_max(pos2(rect.left() + 10.0, rect.top()), pos2(arrow.left() - 5.0, rect.bottom()));
    if !right.is_empty() {
        let painted = super::paint_right(ui.painter(), inner, right, fonts::small(), t.faint);
        inner.set_right(painted.left() - 8.0);
    }
    paint_elided(ui.painter(), inner, value, fonts::text(), if faint { t.faint } else { t.text });
    focus_ring(ui, &response, theme::RADIUS + 1);
    egui::Popup::menu(&response).width(width.max(200.0)).gap(4.0).show(|ui| {
        ui.spacing_mut().item_spacing.y = 0.0;
        egui::ScrollArea::vertical().max_height(420.0).show(ui, content);
    });
    response
}
