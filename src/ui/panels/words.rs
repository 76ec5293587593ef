//! The words that the model knows.

use egui::{RichText, Ui};

use super::{
    super::{
        command::{Command, Out},
        state::{Dialog, State},
        theme::{self, space},
    },
    dialog_room, dialog_title, dialog_ui, list_area, search_ui,
};

pub(crate) fn words_ui(ui: &mut Ui, state: &State, query: &str, out: &mut Out) {
    let width = dialog_room(ui).clamp(520.0, 900.0);
    dialog_ui(ui, "words", width, out, |ui, out| {
        let p = theme::palette(ui);
        dialog_title(ui, &format!("Words that {} knows", state.model.id));
        let words = &state.model.vocabulary;
        if words.is_empty() {
            let text = if state.model.ready {
                "This model has no fixed list: use your own words."
            } else {
                "The model is not loaded yet."
            };
            ui.label(RichText::new(text).color(p.text_weak));
            return;
        }
        let about = "Other words are read as the nearest known one, or left out. A click adds a word to the phrase.";
        ui.label(RichText::new(about).size(12.5).color(p.text_weak));
        ui.add_space(space::S);
        let mut text = query.to_owned();
        if search_ui(ui, &mut text, "Search words", true) {
            out.send(Command::UpdateDialog(Dialog::Words {
                query: text.clone(),
            }));
        }
        let wanted = text.trim().to_lowercase();
        let known: Vec<&String> = words.iter().filter(|w| w.contains(&wanted)).collect();
        if known.is_empty() {
            let text = "No word that it knows is written like that.";
            ui.label(RichText::new(text).color(p.text_weak));
        }
        list_area(ui, 0.0).show(ui, |ui| {
            ui.horizontal_wrapped(|ui| {
                ui.spacing_mut().item_spacing = egui::vec2(6.0, 6.0);
                for word in known {
                    if ui.add(egui::Button::new(word).small()).clicked() {
                        let mut phrase = state.phrase.trim_end().to_owned();
                        if !phrase.is_empty() {
                            phrase.push(' ');
                        }
                        phrase.push_str(word);
                        out.send(Command::SetPhrase(phrase));
                    }
                }
            });
        });
    });
}
