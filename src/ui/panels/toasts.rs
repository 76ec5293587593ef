//! Messages in the corner: what happened, what was kept, what to do. And the frame times, for who asks.

use egui::{Align2, Area, Frame, Margin, Order, Stroke, Ui, vec2};

use super::super::{
    command::{Command, Out},
    icons::Icon,
    state::{State, Weight},
    theme::{self, space},
    widgets::sized_icon_button,
};

pub(crate) fn toasts_ui(ui: &Ui, state: &State, out: &mut Out) {
    frame_times_ui(ui, state);
    if state.toasts.is_empty() {
        return;
    }
    let p = theme::palette(ui);
    // Over the canvas, clear of the inspector.
    let anchor = if state.canvas.is_finite() && state.clip.is_some() {
        state.canvas.right_bottom() - vec2(space::M, space::M)
    } else {
        ui.ctx().content_rect().right_bottom() - vec2(space::L, space::L)
    };
    Area::new(egui::Id::unique("toasts"))
        .order(Order::Foreground)
        .pivot(Align2::RIGHT_BOTTOM)
        .fixed_pos(anchor)
        .accessible_name("Messages")
        .show(ui.ctx(), |ui| {
            for toast in &state.toasts {
                let colour = match toast.weight {
                    Weight::Info => p.accent,
                    Weight::Look => p.look,
                    Weight::Error => p.bad,
                };
                let frame = Frame::NONE
                    .fill(p.panel)
                    .stroke(Stroke::new(1.0, p.line))
                    .corner_radius(8)
                    .shadow(ui.visuals().popup_shadow)
                    .inner_margin(Margin {
                        left: 18,
                        right: 8,
                        top: 8,
                        bottom: 8,
                    });
                let shown = frame.show(ui, |ui| {
                    ui.set_width(380.0);
                    ui.horizontal(|ui| {
                        text_ui(ui, &toast.text, 344.0);
                        let close = sized_icon_button(ui, Icon::Close, "Dismiss", false, 22.0);
                        if close.clicked() {
                            out.send(Command::DismissToast(toast.key));
                        }
                    });
                });
                let rect = shown.response.rect;
                let edge = egui::Rect::from_min_size(
                    rect.min + vec2(7.0, 9.0),
                    vec2(3.0, rect.height() - 18.0),
                );
                ui.painter().rect_filled(edge, 2, colour);
                ui.add_space(space::XS);
            }
        });
}

/// Wrapped text, in the middle of the line if it is a single one.
fn text_ui(ui: &mut Ui, text: &str, width: f32) {
    let p = theme::palette(ui);
    let galley = ui
        .painter()
        .layout(text.to_owned(), theme::regular(12.5), p.text, width);
    let size = vec2(width, galley.size().y.max(22.0));
    let (rect, response) = ui.allocate_exact_size(size, egui::Sense::hover());
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, text));
    let at = egui::pos2(rect.left(), rect.center().y - galley.size().y / 2.0);
    ui.painter().galley(at, galley, p.text);
}

fn frame_times_ui(ui: &Ui, state: &State) {
    if !state.show_times {
        return;
    }
    let p = theme::palette(ui);
    let (mean, p99, most) = state.times.summary();
    let text = format!("window {mean:.2} ms · p99 {p99:.2} ms · most {most:.2} ms");
    let painter = ui.ctx().layer_painter(egui::LayerId::new(
        Order::Tooltip,
        egui::Id::unique("frame times"),
    ));
    let at = state.canvas.left_top() + vec2(space::L, space::L);
    let galley = painter.layout_no_wrap(text, egui::FontId::monospace(12.0), p.text);
    let rect = egui::Rect::from_min_size(at, galley.size()).expand(6.0);
    painter.rect_filled(rect, 4, p.panel);
    painter.galley(at, galley, p.text);
}
