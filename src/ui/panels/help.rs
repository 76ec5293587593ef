//! Help: the first steps, and all keys.

use egui::{RichText, ScrollArea, Ui};

use super::{
    super::{
        actions::{ACTIONS, Action, Group},
        command::Out,
        keymap::Keymap,
        state::State,
        theme::{self, space},
    },
    dialog_title, dialog_ui,
};

/// What one does one after the other.
fn steps(keymap: &Keymap) -> [(&'static str, String); 5] {
    let key = |action| keymap.in_brackets(action);
    [
        (
            "Ground",
            "Type what to find and press Enter: the model says where it is on this frame. Ctrl+Enter carries the masks through the whole clip.".to_owned(),
        ),
        (
            "Inspect",
            "Every proposal is listed with its scores. The sliders act at once; click a proposal to keep or drop it.".to_owned(),
        ),
        (
            "Correct",
            format!(
                "On any frame: emit again, choose another proposal, draw a box, click, paint or erase. What you make or accept{} is an anchor: no model changes it.",
                key(Action::AcceptFrame)
            ),
        ),
        (
            "Propagate",
            format!(
                "Carry masks forward, backward or both ways between the anchors. Then go to the next frame worth a look{}.",
                key(Action::NextLook)
            ),
        ),
        (
            "Export",
            format!(
                "Everything is saved as you work. The export{} writes a dataset, reads it back and says what the format could not hold.",
                key(Action::Export)
            ),
        ),
    ]
}

/// What is done with the pointer or with keys that cannot be changed.
const BY_HAND: [(&str, &str); 8] = [
    ("1 to 9", "Select an object of the list"),
    ("Wheel, pinch", "Zoom around the pointer"),
    ("Middle drag", "Pan, in every tool"),
    ("Space+drag", "Pan, in every tool"),
    ("Alt+click", "Points: not on the object"),
    ("Right-click", "The same; polygon: a corner back"),
    ("Double click", "Polygon: close it"),
    ("Shift+drag", "On the ruler: the range"),
];

pub(crate) fn help_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    dialog_ui(ui, "help", 720.0, out, |ui, out| {
        let p = theme::palette(ui);
        dialog_title(ui, "How Sparrow works");
        for (name, text) in steps(&state.keymap) {
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
                    let ui = &mut columns[Group::ALL.len() % 2];
                    group_title_ui(ui, "Pointer and numbers");
                    for (how, what) in BY_HAND {
                        key_ui(ui, how, what);
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
    group_title_ui(ui, group.title());
    for info in ACTIONS.iter().filter(|i| i.group == group) {
        let keys = state.keymap.shown_all(info.action);
        if !keys.is_empty() {
            key_ui(ui, &keys, info.label);
        }
    }
}

fn group_title_ui(ui: &mut Ui, title: &str) {
    let p = theme::palette(ui);
    ui.add_space(space::S);
    ui.label(
        RichText::new(title)
            .font(theme::semibold(12.0))
            .color(p.text_faint),
    );
}

fn key_ui(ui: &mut Ui, keys: &str, what: &str) {
    let p = theme::palette(ui);
    ui.spacing_mut().interact_size.y = 19.0;
    ui.spacing_mut().item_spacing.y = 1.0;
    ui.horizontal(|ui| {
        ui.scope(|ui| {
            ui.set_width(128.0);
            ui.label(RichText::new(keys).size(12.0).color(p.text_weak));
        });
        ui.label(RichText::new(what).size(12.5));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::presets::Preset;

    #[test]
    fn the_first_steps_name_the_keys_in_force() {
        let text = |preset: Preset| {
            let steps = steps(&preset.keymap());
            steps.map(|(_, text)| text).join(" ")
        };
        assert!(text(Preset::Sparrow).contains("worth a look (N)"));
        assert!(text(Preset::Cvat).contains("worth a look (Shift+N)"));
        assert!(text(Preset::Cutie).contains("accept (C)"));
    }

    #[test]
    fn every_key_of_an_action_is_listed() {
        let keymap = Keymap::default();
        assert_eq!(keymap.shown_all(Action::NextFrame), "→, D");
        assert_eq!(keymap.shown_all(Action::Redo), "Ctrl+Shift+Z, Ctrl+Y");
        assert_eq!(keymap.in_brackets(Action::Words), "");
    }
}
