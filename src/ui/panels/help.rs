//! Help: the first steps, and all keys.

use egui::{RichText, Ui};

use super::{
    super::{
        actions::{ACTIONS, Action, Group},
        command::Out,
        keymap::Keymap,
        state::State,
        theme::{self, space},
    },
    dialog_room, dialog_title, dialog_ui, list_area,
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
                "Carry masks forward, backward or both ways between the anchors. Then go to the next stretch worth a look{}.",
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

/// Width that a column of keys wants, and height of the link below them.
const COLUMN: f32 = 340.0;
const BELOW: f32 = 44.0;

/// What is done with the pointer or with keys that cannot be changed.
const BY_HAND: [(&str, &str); 12] = [
    ("1 to 9", "Select an object of the list"),
    ("Wheel, pinch", "Zoom around the pointer"),
    ("Middle drag", "Pan, in every tool"),
    ("Space+drag", "Pan, in every tool"),
    ("Alt+click", "Points: not on the object"),
    ("Right-click", "The same; polygon: a corner back"),
    ("Double click", "Polygon: close it"),
    ("Right-click", "On an object of the list: more"),
    ("Drag", "On an object of the list: move it"),
    ("Shift+drag", "On the ruler: the range"),
    ("Ctrl+wheel, pinch", "On the timeline: look closer"),
    ("Wheel, middle drag", "On the timeline: go along"),
];

pub(crate) fn help_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let width = dialog_room(ui).clamp(720.0, 1400.0);
    dialog_ui(ui, "help", width, out, |ui, out| {
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
        let lines: Vec<usize> = Group::ALL
            .iter()
            .map(|group| lines_of(&state.keymap, *group))
            .chain([BY_HAND.len()])
            .collect();
        let columns = ((width / COLUMN) as usize).clamp(2, 4);
        let place = columns_for(&lines, columns);
        list_area(ui, BELOW).show(ui, |ui| {
            let within = std::mem::replace(&mut ui.spacing_mut().item_spacing.x, space::L);
            ui.columns(columns, |columns| {
                for ui in &mut *columns {
                    ui.spacing_mut().item_spacing.x = within;
                }
                for (group, &at) in Group::ALL.into_iter().zip(&place) {
                    group_ui(&mut columns[at], state, group);
                }
                let last = place.last().copied().unwrap_or(0);
                let ui = &mut columns[last];
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

/// How many keys a group lists.
fn lines_of(keymap: &Keymap, group: Group) -> usize {
    let of_group = ACTIONS.iter().filter(|i| i.group == group);
    of_group
        .filter(|i| !keymap.keys(i.action).is_empty())
        .count()
}

/// The column of each group, given how many lines it has: always the shortest so far. A title is worth two lines.
fn columns_for(lines: &[usize], columns: usize) -> Vec<usize> {
    let mut heights = vec![0; columns];
    let mut places = Vec::with_capacity(lines.len());
    for count in lines {
        let shortest = (0..columns).min_by_key(|&i| heights[i]).unwrap_or(0);
        heights[shortest] += count + 2;
        places.push(shortest);
    }
    places
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
    fn the_columns_of_the_help_are_about_as_high_as_each_other() {
        let keymap = Keymap::default();
        let lines: Vec<usize> = Group::ALL.map(|g| lines_of(&keymap, g)).to_vec();
        assert!(lines.iter().all(|n| *n > 0));
        for columns in 2..=4 {
            let mut heights = vec![0; columns];
            for (count, at) in lines.iter().zip(columns_for(&lines, columns)) {
                heights[at] += count + 2;
            }
            let (least, most) = (heights.iter().min(), heights.iter().max());
            let most_lines = lines.iter().max().unwrap() + 2;
            assert!(most.unwrap() - least.unwrap() <= most_lines, "{heights:?}");
        }
    }

    #[test]
    fn every_key_of_an_action_is_listed() {
        let keymap = Keymap::default();
        assert_eq!(keymap.shown_all(Action::NextFrame), "→, D");
        assert_eq!(keymap.shown_all(Action::Redo), "Ctrl+Shift+Z, Ctrl+Y");
        assert_eq!(keymap.in_brackets(Action::Words), "");
    }
}
