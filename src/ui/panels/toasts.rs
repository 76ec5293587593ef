//! Messages in the corner: what happened, what was kept, what to do. And the frame times, for who asks.

use egui::{Align2, Area, Color32, Frame, Margin, Order, Stroke, Ui, Vec2, vec2};

use super::super::{
    command::{Command, Out},
    icons::Icon,
    state::{State, Toast, Weight},
    theme::{self, space},
    widgets::sized_icon_button,
};
use crate::project::counted;

/// Messages that are shown at once; of the others the number is told.
const SHOWN: usize = 3;
/// Gives the stack its memory.
const STACK: &str = "toasts";

/// A place in the stack.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Place {
    /// Of the message, which may be gone.
    key: u64,
    size: Vec2,
}

/// The stack's places from the bottom up: what is new comes on top. While the pointer is `held` over the stack, a message
/// that goes leaves its place empty, the last one, too, so that the next click meets what stood there, and never the canvas.
fn places(before: &[Place], shown: &[u64], held: bool) -> Vec<Place> {
    let kept = before
        .iter()
        .filter(|place| held || shown.contains(&place.key));
    let mut places: Vec<Place> = kept.copied().collect();
    for &key in shown {
        if places.iter().all(|place| place.key != key) {
            places.push(Place {
                key,
                size: Vec2::ZERO,
            });
        }
    }
    places
}

pub(crate) fn toasts_ui(ui: &Ui, state: &State, out: &mut Out) {
    frame_times_ui(ui, state);
    let id = egui::Id::unique(STACK);
    let (hidden, shown) = state
        .toasts
        .split_at(state.toasts.len().saturating_sub(SHOWN));
    let keys: Vec<u64> = shown.iter().map(|t| t.key).collect();
    let before: Vec<Place> = ui.data(|d| d.get_temp(id)).unwrap_or_default();
    let area = ui.memory(|m| m.area_rect(id));
    let pointer = ui.input(|i| i.pointer.latest_pos());
    let held = area
        .zip(pointer)
        .is_some_and(|(area, at)| area.contains(at));
    let mut places = places(&before, &keys, held);
    if places.is_empty() {
        ui.data_mut(|d| d.remove::<Vec<Place>>(id));
        return;
    }
    // Over the canvas, clear of the inspector.
    let anchor = if state.canvas.is_finite() && state.clip.is_some() {
        state.canvas.right_bottom() - vec2(space::M, space::M)
    } else {
        ui.ctx().content_rect().right_bottom() - vec2(space::L, space::L)
    };
    let stack = Area::new(id)
        .order(Order::Foreground)
        .pivot(Align2::RIGHT_BOTTOM)
        .fixed_pos(anchor)
        .accessible_name("Messages")
        .show(ui.ctx(), |ui| {
            // A message and its empty place take the same room.
            ui.spacing_mut().item_spacing.y = 0.0;
            if !hidden.is_empty() {
                hidden_ui(ui, hidden, out);
            }
            for place in places.iter_mut().rev() {
                match shown.iter().find(|t| t.key == place.key) {
                    Some(toast) => place.size = toast_ui(ui, toast, out),
                    None => {
                        ui.allocate_space(place.size);
                    }
                }
                ui.add_space(space::S);
            }
        });
    // A stack that has grown hangs from where the smaller one began, over what is below the canvas, until it is drawn
    // again.
    if area.is_none_or(|before| before.size() != stack.response.rect.size()) {
        ui.ctx().request_repaint();
    }
    ui.data_mut(|d| d.insert_temp(id, places));
}

/// How many messages there is no room for.
fn hidden_ui(ui: &mut Ui, hidden: &[Toast], out: &mut Out) {
    let p = theme::palette(ui);
    let text = counted(hidden.len(), "more message");
    plate(ui).show(ui, |ui| {
        ui.set_width(380.0);
        ui.horizontal(|ui| {
            text_ui(ui, &text, 344.0, p.text_weak);
            let close = sized_icon_button(ui, Icon::Close, "Dismiss those", false, 22.0);
            if close.clicked() {
                for toast in hidden {
                    out.send(Command::DismissToast(toast.key));
                }
            }
        });
    });
    ui.add_space(space::S);
}

fn plate(ui: &Ui) -> Frame {
    let p = theme::palette(ui);
    Frame::NONE
        .fill(p.panel)
        .stroke(Stroke::new(1.0, p.line))
        .corner_radius(8)
        .shadow(ui.visuals().popup_shadow)
        .inner_margin(Margin {
            left: 18,
            right: 8,
            top: 8,
            bottom: 8,
        })
}

/// One message; its size.
fn toast_ui(ui: &mut Ui, toast: &Toast, out: &mut Out) -> Vec2 {
    let p = theme::palette(ui);
    let colour = match toast.weight {
        Weight::Info => p.accent,
        Weight::Look => p.look,
        Weight::Error => p.bad,
    };
    let shown = plate(ui).show(ui, |ui| {
        ui.set_width(380.0);
        ui.horizontal(|ui| {
            text_ui(ui, &toast.text, 344.0, p.text);
            let close = sized_icon_button(ui, Icon::Close, "Dismiss", false, 22.0);
            if close.clicked() {
                out.send(Command::DismissToast(toast.key));
            }
        });
    });
    let rect = shown.response.rect;
    let edge =
        egui::Rect::from_min_size(rect.min + vec2(7.0, 9.0), vec2(3.0, rect.height() - 18.0));
    ui.painter().rect_filled(edge, 2, colour);
    rect.size()
}

/// Wrapped text, in the middle of the line if it is a single one.
fn text_ui(ui: &mut Ui, text: &str, width: f32, colour: Color32) {
    let galley = ui
        .painter()
        .layout(text.to_owned(), theme::regular(12.5), colour, width);
    let size = vec2(width, galley.size().y.max(22.0));
    let (rect, response) = ui.allocate_exact_size(size, egui::Sense::hover());
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, text));
    let at = egui::pos2(rect.left(), rect.center().y - galley.size().y / 2.0);
    ui.painter().galley(at, galley, colour);
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

#[cfg(test)]
mod tests {
    use egui_kittest::{Harness, kittest::Queryable as _};

    use super::*;
    use crate::ui::settings::Settings;

    fn keys(places: &[Place]) -> Vec<u64> {
        places.iter().map(|place| place.key).collect()
    }

    #[test]
    fn a_message_that_goes_leaves_its_place_while_the_pointer_is_there() {
        let first = places(&[], &[1, 2, 3], false);
        assert_eq!(keys(&first), [1, 2, 3]);
        let dismissed = places(&first, &[1, 3], true);
        assert_eq!(keys(&dismissed), [1, 2, 3]);
        let newer = places(&dismissed, &[1, 3, 4], true);
        assert_eq!(keys(&newer), [1, 2, 3, 4], "on top");
        assert_eq!(keys(&places(&newer, &[1, 3, 4], false)), [1, 3, 4]);
        assert_eq!(keys(&places(&newer, &[], true)), [1, 2, 3, 4], "all gone");
        assert_eq!(places(&newer, &[], false), []);
    }

    fn state_with(messages: u64) -> State {
        let mut state = State::new(Settings::default(), "nano".into(), "cpu".into());
        state.toasts = (0..messages)
            .map(|key| Toast {
                weight: Weight::Error,
                // Of several heights.
                text: format!("Error {key}. ").repeat(1 + 12 * key as usize),
                until: None,
                key,
            })
            .collect();
        state
    }

    /// A click, after which the pointer stays.
    fn click_and_stay(harness: &mut Harness<'_, State>, at: egui::Pos2) {
        let press = |pressed| egui::Event::PointerButton {
            pos: at,
            button: egui::PointerButton::Primary,
            pressed,
            modifiers: egui::Modifiers::NONE,
        };
        harness.event(egui::Event::PointerMoved(at));
        harness.run_steps(2);
        harness.event(press(true));
        harness.event(press(false));
        harness.run_steps(4);
    }

    fn harness(messages: u64) -> Harness<'static, State> {
        let mut harness = Harness::new_ui_state(
            |ui, state: &mut State| {
                let mut out = Out::default();
                toasts_ui(ui, state, &mut out);
                for command in out.0 {
                    if let Command::DismissToast(key) = command {
                        state.toasts.retain(|t| t.key != key);
                    }
                }
            },
            state_with(messages),
        );
        harness.run_steps(3);
        harness
    }

    /// The next click landed on the canvas and made an anchor.
    #[test]
    fn the_other_messages_stay_where_they_are_when_one_is_dismissed() {
        let mut harness = harness(3);
        let buttons = |harness: &Harness<'_, State>| {
            let all = harness.query_all_by_label("Dismiss");
            let mut rects: Vec<egui::Rect> = all.map(|node| node.rect()).collect();
            rects.sort_by(|a, b| a.top().total_cmp(&b.top()));
            rects
        };
        let before = buttons(&harness);
        assert_eq!(before.len(), 3);
        // The lowest one.
        let at = before[2].center();
        click_and_stay(&mut harness, at);
        assert_eq!(harness.state().toasts.len(), 2);
        assert_eq!(buttons(&harness), before[..2]);
        let over = harness.ctx.layer_id_at(at).map(|layer| layer.order);
        assert_eq!(over, Some(Order::Foreground), "a click meets no canvas");
    }

    /// The second half of a double click on its button made an anchor.
    #[test]
    fn the_last_message_keeps_clicks_from_the_canvas_until_the_pointer_leaves() {
        let mut harness = harness(1);
        let at = harness.get_by_label("Dismiss").rect().center();
        click_and_stay(&mut harness, at);
        assert_eq!(harness.state().toasts.len(), 0);
        let order = |harness: &Harness<'_, State>| {
            let layer = harness.ctx.layer_id_at(at);
            layer.map(|layer| layer.order)
        };
        assert_eq!(order(&harness), Some(Order::Foreground));
        harness.event(egui::Event::PointerMoved(egui::pos2(4.0, 4.0)));
        harness.run_steps(3);
        assert_ne!(order(&harness), Some(Order::Foreground));
    }

    #[test]
    fn three_messages_are_shown_and_the_rest_counted() {
        let harness = harness(5);
        assert_eq!(harness.query_all_by_label("Dismiss").count(), 3);
        assert!(harness.query_by_label("2 more messages").is_some());
    }
}
