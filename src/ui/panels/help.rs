//! Help: the first steps, and all keys.

use egui::{RichText, ScrollArea, Ui};

use super::{
    super::{
        actions::{ACTIONS, Action, Group},
        command::Out,
        state::State,
        theme::{self, space},
    },
    dialog_title, dialog_ui,
};

const STEPS: [(&str, &str); 5] = [
    (
        "Ground",
        "Type what to find and press Enter: the model says where it is on this frame. Ctrl+Enter carries the masks through the whole clip.",
    ),
    (
        "Inspect",
        "Every proposal is listed with its scores. The sliders act at once; click a proposal to keep or drop it.",
    ),
    (
        "Correct",
        "On any frame: emit again, choose another proposal, draw a box, click, paint or erase. What you make or accept (K) is an anchor: no model changes it.",
    ),
    (
        "Propagate",
        "Carry masks forward, backward or both ways between the anchors. N jumps to the next frame worth a look.",
    ),
    (
        "Export",
        "Everything is saved as you work. Ctrl+E writes a dataset, reads it back and says what the format could not hold.",
    ),
];

pub(crate) fn help_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    dialog_ui(ui, "help", 720.0, out, |ui, out| {
        let p = theme::palette(ui);
        dialog_title(ui, "How Sparrow works");
        for (name, text) in STEPS {
            ui.horizontal_top(|ui| {
                ui.scope(|ui| {
                    ui.set_width(84.0);
                    ui.label(RichText::new(name).font(theme::semibold(13.0)));
                });
                ui.add(egui::Label::new(RichText::new(text).color(p.text_weak)).wrap());
            });
        }
        ui.add_space(space::M);
        ui.separator();
        ui.add_space(space::XS);
        ScrollArea::vertical()
            .max_height(320.0)
            .auto_shrink([false, true])
            .show(ui, |ui| {
                ui.columns(2, |columns| {
                    for (i, group) in Group::ALL.into_iter().enumerate() {
                        group_ui(&mut columns[i % 2], state, group);
                    }
                });
            });
        ui.add_space(space::S);
        if ui.link("Change keys…").clicked() {
            out.act(Action::Keys);
        }
    });
}

fn group_ui(ui: &mut Ui, state: &State, group: Group) {
    let p = theme::palette(ui);
    ui.add_space(space::S);
    ui.label(
        RichText::new(group.title())
            .font(theme::semibold(12.0))
            .color(p.text_faint),
    );
    for info in ACTIONS.iter().filter(|i| i.group == group) {
        let key = state.keymap.shown(info.action);
        if key.is_empty() {
            continue;
        }
        ui.spacing_mut().interact_size.y = 19.0;
        ui.spacing_mut().item_spacing.y = 1.0;
        ui.horizontal(|ui| {
            ui.scope(|ui| {
                ui.set_width(92.0);
                ui.label(RichText::new(key).size(12.0).color(p.text_weak));
            });
            ui.label(RichText::new(info.label).size(12.5));
        });
    }
}
