//! The strip on the left: tools above, what is shown below.

use egui::{Align, Layout, Ui};

use super::super::{
    actions::Action,
    command::Out,
    icons::Icon,
    state::{State, Tool},
    theme::{self, space},
    widgets::{action_icon, toggle_icon},
};

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
    ui.vertical_centered(|ui| {
        ui.spacing_mut().item_spacing.y = space::XS;
        for (icon, tool, action) in [
            (Icon::Arrow, Tool::Select, Action::ToolSelect),
            (Icon::Box, Tool::Box, Action::ToolBox),
            (Icon::Point, Tool::Points, Action::ToolPoints),
            (Icon::Polygon, Tool::Polygon, Action::ToolPolygon),
            (Icon::Brush, Tool::Brush, Action::ToolBrush),
            (Icon::Eraser, Tool::Eraser, Action::ToolEraser),
            (Icon::Hand, Tool::Pan, Action::ToolPan),
        ] {
            action_icon(ui, keymap, icon, action, state.tool == tool, out);
        }
    });
    ui.with_layout(Layout::bottom_up(Align::Center), |ui| {
        ui.spacing_mut().item_spacing.y = space::XS;
        ui.add_space(space::S);
        action_icon(ui, keymap, Icon::Fit, Action::Fit, false, out);
        let (heat, boxes) = (state.show_heat, state.show_proposals);
        toggle_icon(ui, keymap, Icon::Heat, Action::ToggleHeat, heat, out);
        toggle_icon(ui, keymap, Icon::Boxes, Action::ToggleProposals, boxes, out);
    });
}
