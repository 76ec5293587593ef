//! What stands over the canvas's lower edge after a model has replaced masks: see the old ones, keep the new ones, or take
//! the step back.

use egui::{Align2, Frame, Margin, Rect, RichText, Stroke, Ui, vec2};

use super::super::{
    actions::Action,
    command::{Command, Out},
    state::State,
    theme::{self, space},
    widgets::action_tooltip,
};

pub(crate) fn review_ui(ui: &mut Ui, state: &State, canvas: Rect, out: &mut Out) {
    let Some(session) = &state.session else {
        return;
    };
    let Some(review) = session.review() else {
        return;
    };
    let p = theme::palette(ui);
    let frames = review.replaced();
    let count = if frames == 1 {
        "1 earlier mask".to_owned()
    } else {
        format!("earlier masks on {frames} frames")
    };
    let text = if state.comparing {
        "before".to_owned()
    } else {
        format!("replaced {count}")
    };
    // Messages stand in the right corner, the zoom in this one when the picture is not fitted.
    let above = if state.view.fixed.is_some() {
        space::M + 32.0
    } else {
        space::M
    };
    egui::Area::new(ui.scope_id().with("review"))
        .order(egui::Order::Middle)
        .pivot(Align2::LEFT_BOTTOM)
        .fixed_pos(canvas.left_bottom() + vec2(space::M, -above))
        .show(ui.ctx(), |ui| {
            Frame::NONE
                .fill(p.panel)
                .stroke(Stroke::new(1.0, p.line))
                .corner_radius(8)
                .inner_margin(Margin::symmetric(10, 5))
                .show(ui, |ui| {
                    ui.horizontal(|ui| {
                        let (label, colour) = if state.comparing {
                            (text, p.look)
                        } else {
                            (text, p.text_weak)
                        };
                        ui.label(RichText::new(label).size(12.0).color(colour))
                            .on_hover_text(&review.label);
                        ui.add_space(space::S);
                        let by_key = match state.keymap.shown(Action::Compare) {
                            key if key.is_empty() => String::new(),
                            key => format!(" The key {key} does it, too."),
                        };
                        let before = ui.button("Before").on_hover_text(format!(
                            "Hold to see the masks as they were before this step.{by_key}"
                        ));
                        let held = before.is_pointer_button_down_on();
                        if held != state.compare_held {
                            out.send(Command::HoldCompare(held));
                        }
                        if session.can_take_back() {
                            let back = ui.button("Take back");
                            if action_tooltip(back, &state.keymap, Action::TakeBack).clicked() {
                                out.act(Action::TakeBack);
                            }
                        }
                        let keep = ui.button("Keep");
                        if action_tooltip(keep, &state.keymap, Action::KeepNew).clicked() {
                            out.act(Action::KeepNew);
                        }
                    });
                });
        });
}
