//! What the pointer did on the canvas since it was drawn last, event by event: a window that is drawn seldom would know
//! only where the pointer is by now, and a fast stroke would lose its head, its tail and its bends.

use egui::{Event, PointerButton, Pos2, Response, Ui};

/// How far a press may wander and be a click still, in points.
pub(super) const CLICK: f32 = 6.0;
/// At its rim the canvas shares the pointer with the handles of the panels around.
const RIM: f32 = 8.0;

/// One event of the primary button, at its own place on the screen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Move {
    Press(Pos2),
    To(Pos2),
    Release(Pos2),
}

fn of(event: &Event) -> Option<Move> {
    match event {
        Event::PointerMoved(at) => Some(Move::To(*at)),
        Event::PointerButton {
            pos,
            button: PointerButton::Primary,
            pressed,
            ..
        } => Some(if *pressed {
            Move::Press(*pos)
        } else {
            Move::Release(*pos)
        }),
        _ => None,
    }
}

/// What belongs to a stroke of the canvas, in order; `down` if one goes on from before.
pub(super) fn moves(ui: &Ui, response: &Response, down: bool) -> Vec<Move> {
    let all = ui.input(|i| i.events.iter().filter_map(of).collect());
    strokes(all, down, |at| begins(ui, response, at))
}

fn strokes(mut all: Vec<Move>, mut down: bool, begins: impl Fn(Pos2) -> bool) -> Vec<Move> {
    all.retain(|event| match event {
        Move::Press(at) => {
            down |= begins(*at);
            down
        }
        Move::To(_) => down,
        Move::Release(_) => std::mem::take(&mut down),
    });
    all
}

/// Whether a press is the canvas's. What the window library says of it holds for the pointer's newest place alone: a press
/// that was let go or led elsewhere within the frame is looked at here.
fn begins(ui: &Ui, response: &Response, at: Pos2) -> bool {
    if !response.rect.contains(at) {
        return false;
    }
    let above = ui.ctx().layer_id_at(at);
    response.is_pointer_button_down_on()
        || (response.rect.shrink(RIM).contains(at)
            && above.is_none_or(|layer| layer == response.layer_id))
}

/// Where a button was let go, in order.
pub(super) fn releases(ui: &Ui, of: PointerButton) -> Vec<Pos2> {
    let place = |event: &Event| match event {
        Event::PointerButton {
            pos,
            button,
            pressed: false,
            ..
        } if *button == of => Some(*pos),
        _ => None,
    };
    ui.input(|i| i.events.iter().filter_map(place).collect())
}

#[cfg(test)]
mod tests {
    use egui::pos2;

    use super::*;

    #[test]
    fn only_what_lies_between_a_press_on_the_canvas_and_its_release_belongs_to_a_stroke() {
        use Move::{Press, Release, To};
        let at = |x: f32| pos2(x, 0.0);
        let on_canvas = |p: Pos2| p.x < 100.0;
        let all = vec![
            To(at(1.0)),
            Press(at(200.0)),
            To(at(5.0)),
            Release(at(5.0)),
            Press(at(6.0)),
            To(at(150.0)),
            Release(at(160.0)),
            To(at(7.0)),
        ];
        let own = [Press(at(6.0)), To(at(150.0)), Release(at(160.0))];
        assert_eq!(strokes(all, false, on_canvas), own);
        let goes_on = vec![To(at(1.0)), Release(at(2.0)), To(at(3.0))];
        let own = [To(at(1.0)), Release(at(2.0))];
        assert_eq!(strokes(goes_on, true, on_canvas), own);
    }
}
