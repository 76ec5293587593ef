//! The strip on the left: tools above, what is shown below.

use egui::{Align, Layout, Ui};

use super::super::{
    actions::Action,
    command::Out,
    icons::Icon,
    state::{State, Tool},
    theme::{self, space},
    widgets::{sized_action_icon, sized_toggle_icon},
};

/// Buttons of the strip: seven tools, and three below for what is shown.
const BUTTONS: f32 = 10.0;
/// The strip's lowest height at which every button has its place.
pub(crate) const LEAST_HEIGHT: f32 = 240.0;

/// Side of the buttons and the room between two of them, so that all fit into a strip of this height.
fn sizes(height: f32) -> (f32, f32) {
    // Above, below, and between the two groups.
    let room = height - 3.0 * space::S;
    let gap = ((room - BUTTONS * 30.0) / BUTTONS).clamp(1.0, space::XS);
    let side = (room / BUTTONS - gap).floor().clamp(16.0, 30.0);
    (side, gap)
}

pub(crate) fn tools_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let rect = ui.max_rect();
    let p = theme::palette(ui);
    ui.painter().vline(
        rect.right() - 0.5,
        rect.y_range(),
        egui::Stroke::new(1.0, p.line),
    );
    ui.add_space(space::S);
    let keymap = &state.keymap;
    let (side, gap) = sizes(rect.height());
    ui.vertical_centered(|ui| {
        ui.spacing_mut().item_spacing.y = gap;
        for (icon, tool, action) in [
            (Icon::Arrow, Tool::Select, Action::ToolSelect),
            (Icon::Box, Tool::Box, Action::ToolBox),
            (Icon::Point, Tool::Points, Action::ToolPoints),
            (Icon::Polygon, Tool::Polygon, Action::ToolPolygon),
            (Icon::Brush, Tool::Brush, Action::ToolBrush),
            (Icon::Eraser, Tool::Eraser, Action::ToolEraser),
            (Icon::Hand, Tool::Pan, Action::ToolPan),
        ] {
            sized_action_icon(ui, keymap, icon, action, state.tool == tool, side, out);
        }
    });
    ui.with_layout(Layout::bottom_up(Align::Center), |ui| {
        ui.spacing_mut().item_spacing.y = gap;
        ui.add_space(space::S);
        sized_action_icon(ui, keymap, Icon::Fit, Action::Fit, false, side, out);
        for (icon, action, on) in [
            (Icon::Heat, Action::ToggleHeat, state.show_heat),
            (Icon::Boxes, Action::ToggleProposals, state.show_proposals),
        ] {
            sized_toggle_icon(ui, keymap, icon, action, on, side, out);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_button_has_its_place_in_the_lowest_strip() {
        for height in [LEAST_HEIGHT, 348.0, 400.0, 900.0] {
            let (side, gap) = sizes(height);
            assert!(
                BUTTONS * (side + gap) + 3.0 * space::S <= height,
                "{height}"
            );
            assert!(side >= 20.0, "{height}: {side}");
        }
        assert_eq!(sizes(900.0), (30.0, space::XS));
    }
}
