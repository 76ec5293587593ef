//! The keys, and changing them.

use egui::{Event, Key, RichText, Ui, vec2};

use super::{
    super::{
        actions::{ACTIONS, Action, Info},
        command::{Command, Out},
        keymap,
        presets::Preset,
        state::{Dialog, State},
        theme::{self, space},
    },
    dialog_room, dialog_title, dialog_ui, list_area, search_ui,
};

/// Width that a column of keys wants.
const COLUMN: f32 = 530.0;

pub(crate) fn keys_ui(
    ui: &mut Ui,
    state: &State,
    query: &str,
    waiting: Option<Action>,
    out: &mut Out,
) {
    if let Some(action) = waiting {
        listen(ui, query, action, out);
    }
    let columns = ((dialog_room(ui) / COLUMN) as usize).clamp(1, 3);
    let width = columns as f32 * (COLUMN + space::L) - space::L;
    dialog_ui(ui, "keys", width, out, |ui, out| {
        let p = theme::palette(ui);
        dialog_title(ui, "Keyboard shortcuts");
        let mut text = query.to_owned();
        if search_ui(ui, &mut text, "Search keys", waiting.is_none()) {
            out.send(Command::UpdateDialog(Dialog::Keys {
                query: text.clone(),
                waiting: None,
            }));
        }
        ui.horizontal(|ui| {
            ui.label(RichText::new("Keys as in").color(p.text_weak));
            for preset in Preset::ALL {
                let chosen = state.keymap == preset.keymap();
                if ui
                    .selectable_label(chosen, RichText::new(preset.title()).color(p.text))
                    .clicked()
                    && !chosen
                {
                    out.send(Command::UsePreset(preset));
                }
            }
        });
        ui.add_space(space::S);
        let wanted = text.trim().to_lowercase();
        let found: Vec<&Info> = ACTIONS
            .iter()
            .filter(|info| info.label.to_lowercase().contains(&wanted))
            .collect();
        if found.is_empty() {
            let text = "Nothing that can be done is called that.";
            ui.label(RichText::new(text).color(p.text_weak));
        }
        list_area(ui, 0.0).show(ui, |ui| {
            let within = std::mem::replace(&mut ui.spacing_mut().item_spacing.x, space::L);
            // Down the first column, then down the next.
            let rows = found.len().div_ceil(columns).max(1);
            ui.columns(columns, |uis| {
                for (ui, part) in uis.iter_mut().zip(found.chunks(rows)) {
                    ui.spacing_mut().item_spacing.x = within;
                    for info in part {
                        key_ui(ui, state, info, (query, waiting), out);
                    }
                }
            });
        });
    });
}

/// What is done, the keys that do it, and the way back to those that it comes with.
fn key_ui(
    ui: &mut Ui,
    state: &State,
    info: &Info,
    (query, waiting): (&str, Option<Action>),
    out: &mut Out,
) {
    let p = theme::palette(ui);
    ui.horizontal(|ui| {
        ui.scope(|ui| {
            ui.set_width(270.0);
            ui.label(info.label).on_hover_text(info.about);
        });
        let keys = state.keymap.shown_all(info.action);
        let shown = if waiting == Some(info.action) {
            RichText::new("press a key…").color(p.accent)
        } else if keys.is_empty() {
            RichText::new("none").color(p.text_faint)
        } else {
            RichText::new(keys)
        };
        let button = egui::Button::new(shown).min_size(vec2(150.0, 26.0));
        let button = ui.add(button);
        if button
            .accessible_name(format!("Key of {}", info.label))
            .clicked()
        {
            out.send(Command::UpdateDialog(Dialog::Keys {
                query: query.to_owned(),
                waiting: Some(info.action),
            }));
        }
        if state.keymap.keys(info.action) != info.keys
            && ui.link(RichText::new("default").size(12.0)).clicked()
        {
            out.send(Command::ResetKey(info.action));
        }
    });
}

/// The next key press becomes the action's key; Esc leaves it as it is.
fn listen(ui: &Ui, query: &str, action: Action, out: &mut Out) {
    let pressed = ui.input_mut(|i| {
        let found = i.events.iter().find_map(|event| match event {
            Event::Key {
                key,
                pressed: true,
                // The key that pressed the button may still be held.
                repeat: false,
                modifiers,
                ..
            } if !keymap::is_modifier(*key) => Some((*key, *modifiers)),
            _ => None,
        });
        if found.is_some() {
            i.events
                .retain(|e| !matches!(e, Event::Key { .. } | Event::Text(_)));
        }
        found
    });
    let Some((key, modifiers)) = pressed else {
        return;
    };
    if key != Key::Escape {
        out.send(Command::Rebind(action, keymap::plain(modifiers, key)));
    }
    out.send(Command::UpdateDialog(Dialog::Keys {
        query: query.to_owned(),
        waiting: None,
    }));
}
