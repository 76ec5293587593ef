//! Small widgets that several panels share.

use egui::{
    Align, Align2, Color32, CornerRadius, Layout, Rect, Response, RichText, Role, Sense, Stroke,
    StrokeKind, Ui, WidgetInfo, pos2, vec2,
};

use super::{
    actions::Action,
    command::Out,
    icons::Icon,
    keymap::Keymap,
    theme::{self, RADIUS, space},
};

/// Label, key and one sentence, for everything that stands for an action.
pub(crate) fn action_tooltip(response: Response, keymap: &Keymap, action: Action) -> Response {
    let info = action.info();
    response.on_hover_ui(|ui| {
        let p = theme::palette(ui);
        ui.horizontal(|ui| {
            ui.label(RichText::new(info.label).font(theme::semibold(13.0)));
            let key = keymap.shown(action);
            if !key.is_empty() {
                ui.label(RichText::new(key).color(p.text_faint).size(12.0));
            }
        });
        ui.label(RichText::new(info.about).color(p.text_weak).size(12.0));
    })
}

/// Side of an icon's button where nothing asks for another.
const ICON_SIDE: f32 = 30.0;

/// A square button with an icon.
pub(crate) fn icon_button(ui: &mut Ui, icon: Icon, label: &str, chosen: bool) -> Response {
    sized_icon_button(ui, icon, label, chosen, ICON_SIDE)
}

/// The same in another size.
pub(crate) fn sized_icon_button(
    ui: &mut Ui,
    icon: Icon,
    label: &str,
    chosen: bool,
    side: f32,
) -> Response {
    let p = theme::palette(ui);
    let enabled = ui.is_enabled();
    let (rect, response) = ui.allocate_exact_size(vec2(side, side), Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::Button, enabled, chosen, label));
    if ui.is_rect_visible(rect) {
        let fill = if chosen {
            p.accent
        } else if response.hovered() && enabled {
            p.raised_hot
        } else {
            Color32::TRANSPARENT
        };
        ui.painter().rect_filled(rect, RADIUS, fill);
        if response.has_focus() {
            focus_ring(ui, rect);
        }
        let colour = if !enabled {
            theme::faded(p.text_weak, 0.45)
        } else if chosen {
            p.on_accent
        } else if response.hovered() {
            p.text
        } else {
            p.text_weak
        };
        icon.paint(ui.painter(), rect, (side * 0.56).min(17.0), colour);
    }
    response
}

/// Shows where the keyboard is.
pub(crate) fn focus_ring(ui: &Ui, rect: Rect) {
    let p = theme::palette(ui);
    ui.painter()
        .rect_stroke(rect, RADIUS, Stroke::new(1.5, p.accent), StrokeKind::Inside);
}

/// An icon button for an action, with its tooltip.
pub(crate) fn action_icon(
    ui: &mut Ui,
    keymap: &Keymap,
    icon: Icon,
    action: Action,
    chosen: bool,
    out: &mut Out,
) {
    sized_action_icon(ui, keymap, icon, action, chosen, ICON_SIDE, out);
}

/// The same in another size.
pub(crate) fn sized_action_icon(
    ui: &mut Ui,
    keymap: &Keymap,
    icon: Icon,
    action: Action,
    chosen: bool,
    side: f32,
    out: &mut Out,
) {
    let response = sized_icon_button(ui, icon, action.label(), chosen, side);
    if action_tooltip(response, keymap, action).clicked() {
        out.act(action);
    }
}

/// An icon button for something that is on or off, quieter than a chosen tool.
pub(crate) fn sized_toggle_icon(
    ui: &mut Ui,
    keymap: &Keymap,
    icon: Icon,
    action: Action,
    on: bool,
    side: f32,
    out: &mut Out,
) {
    let p = theme::palette(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(side, side), Sense::click());
    response.widget_info(|| WidgetInfo::selected(Role::Button, true, on, action.label()));
    let fill = if response.hovered() {
        p.raised_hot
    } else if on {
        p.chosen
    } else {
        Color32::TRANSPARENT
    };
    ui.painter().rect_filled(rect, RADIUS, fill);
    if response.has_focus() {
        focus_ring(ui, rect);
    }
    let colour = if on { p.accent_text } else { p.text_weak };
    icon.paint(ui.painter(), rect, (side * 0.57).min(17.0), colour);
    if action_tooltip(response, keymap, action).clicked() {
        out.act(action);
    }
}

/// A text button for an action, with its tooltip.
pub(crate) fn action_button(
    ui: &mut Ui,
    keymap: &Keymap,
    text: &str,
    action: Action,
    out: &mut Out,
) {
    let response = ui.add(egui::Button::new(text));
    if action_tooltip(response, keymap, action).clicked() {
        out.act(action);
    }
}

/// The button for what one does next.
pub(crate) fn primary_button(ui: &mut Ui, text: &str, enabled: bool) -> Response {
    let p = theme::palette(ui);
    let label = RichText::new(text)
        .font(theme::semibold(13.0))
        .color(p.on_accent);
    ui.add_enabled(
        enabled,
        egui::Button::new(label)
            .fill(p.accent)
            .stroke(Stroke::NONE)
            .min_size(vec2(72.0, 30.0)),
    )
}

/// A slim slider without a number, `width` points wide.
pub(crate) fn slider(ui: &mut Ui, name: &str, width: f32, slider: egui::Slider<'_>) -> Response {
    ui.scope(|ui| {
        ui.spacing_mut().slider_width = width;
        ui.spacing_mut().interact_size.y = 18.0;
        ui.add(slider.show_value(false))
    })
    .inner
    .accessible_name(name)
}

/// Explains a widget beside the row that it stands in, whose left edge is `left`: above and below stand others.
pub(crate) fn tooltip_beside(response: Response, left: f32, text: &str) -> Response {
    let row = response.rect.with_min_x(left.min(response.rect.left()));
    let mut tooltip = egui::Tooltip::for_enabled(&response);
    tooltip.popup = tooltip.popup.anchor(row).align(egui::RectAlign::LEFT);
    tooltip.show(|ui| ui.label(text));
    response
}

/// A heading in a panel: small capitals left, a remark right.
pub(crate) fn section_header(ui: &mut Ui, title: &str, remark: &str) {
    let p = theme::palette(ui);
    ui.add_space(space::M);
    ui.horizontal(|ui| {
        ui.label(
            RichText::new(title.to_uppercase())
                .font(theme::semibold(10.5))
                .extra_letter_spacing(0.7)
                .color(p.text_faint),
        );
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            ui.label(RichText::new(remark).size(11.0).color(p.text_faint));
        });
    });
    ui.add_space(space::XS);
}

/// A short bar that grows from the right edge of `rect`'s left part, and the number at the right edge.
pub(crate) fn score_cell(ui: &Ui, rect: Rect, value: f32, colour: Color32, text: Color32) {
    let number_width = 26.0;
    let value = value.clamp(0.0, 1.0);
    let room = (rect.width() - number_width - space::XS).max(0.0);
    let right = rect.right() - number_width - space::XS;
    let bar = Rect::from_min_max(
        pos2(right - (room * value).max(1.5), rect.center().y - 2.0),
        pos2(right, rect.center().y + 2.0),
    );
    ui.painter().rect_filled(bar, 2, colour);
    ui.painter().text(
        pos2(rect.right(), rect.center().y),
        Align2::RIGHT_CENTER,
        two_digits(value),
        theme::regular(12.0),
        text,
    );
}

/// ".91", "1.00"
pub(crate) fn two_digits(value: f32) -> String {
    let hundredths = (value.clamp(0.0, 1.0) * 100.0).round() as u32;
    if hundredths == 100 {
        "1.00".to_owned()
    } else {
        format!(".{hundredths:02}")
    }
}

/// Text cut at the end if it is wider than `width`.
pub(crate) fn fitted_text(
    ui: &Ui,
    text: &str,
    font: egui::FontId,
    colour: Color32,
    width: f32,
) -> std::sync::Arc<egui::Galley> {
    let mut job = egui::text::LayoutJob::simple_singleline(text.to_owned(), font, colour);
    job.wrap = egui::text::TextWrapping::truncate_at_width(width.max(0.0));
    ui.painter().layout_job(job)
}

/// A rounded tag with text in it; returns its rectangle.
pub(crate) fn tag(
    painter: &egui::Painter,
    left_center: egui::Pos2,
    text: &str,
    fill: Color32,
    colour: Color32,
) -> Rect {
    let galley = painter.layout_no_wrap(text.to_owned(), theme::regular(11.5), colour);
    let size = galley.size() + vec2(12.0, 4.0);
    let rect = Rect::from_min_size(left_center - vec2(0.0, size.y / 2.0), size);
    painter.rect_filled(rect, CornerRadius::same(3), fill);
    painter.galley(rect.center() - galley.size() / 2.0, galley, colour);
    rect
}

/// A thin line across the panel.
pub(crate) fn hairline(ui: &Ui, rect: Rect, at_top: bool) {
    let p = theme::palette(ui);
    let y = if at_top { rect.top() } else { rect.bottom() };
    ui.painter()
        .hline(rect.x_range(), y, Stroke::new(1.0, p.line));
}
