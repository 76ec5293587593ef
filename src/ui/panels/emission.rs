//! What the model said on this frame: its own words with `[BOX]` and `[SEG]` as chips, and what it did not understand.

use egui::{Color32, Frame, Margin, RichText, Role, Sense, Stroke, Ui, WidgetInfo, vec2};

use super::super::{
    actions::Action,
    command::{Command, Out},
    state::State,
    theme::{self, space},
    widgets::{action_tooltip, section_header, two_digits},
};
use crate::project::Emission;

pub(crate) fn emission_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let Some((_, emission)) = state.emission_here() else {
        return;
    };
    let p = theme::palette(ui);
    let tsf = match emission.tsf_tokens {
        0 => String::new(),
        n => format!(" · {n} TSF"),
    };
    let nth = state.session.as_ref().map_or(0, |s| {
        let before = s.doc.emissions.iter().take_while(|e| *e != emission);
        before.count() + 1
    });
    let remark = format!("no. {nth}{tsf} · {:.1} s", emission.secs);
    section_header(ui, "Emission", &remark);
    // The phrase is worth a line only when another one stands in the box above.
    if emission.phrase != state.phrase.trim() {
        let text = format!("“{}”", emission.phrase);
        ui.label(RichText::new(text).size(12.5).color(p.text_weak));
        ui.add_space(space::XS);
    }
    Frame::NONE
        .fill(p.well)
        .stroke(Stroke::new(1.0, p.line))
        .corner_radius(6)
        .inner_margin(Margin::symmetric(10, 9))
        .show(ui, |ui| {
            ui.set_min_width(ui.available_width());
            ui.horizontal_wrapped(|ui| {
                ui.spacing_mut().item_spacing = vec2(5.0, 6.0);
                tokens_ui(ui, emission);
            });
        });
    unknown_ui(ui, state, emission, out);
    ui.add_space(space::S);
    ui.horizontal_wrapped(|ui| {
        let again = ui.button("Emit again");
        if action_tooltip(again, &state.keymap, Action::EmitAgain).clicked() {
            out.act(Action::EmitAgain);
        }
        let anchors = anchors_of(state, emission);
        let mut use_tsf = state.use_tsf;
        let toggle = ui.checkbox(&mut use_tsf, format!("TSF from {anchors} {}", if anchors == 1 { "anchor" } else { "anchors" }));
        let toggle = toggle.on_hover_text(
            "Crops of your anchors become target-specific tokens of the next emission: corrections steer identity.",
        );
        if toggle.changed() {
            out.send(Command::SetUseTsf(use_tsf));
        }
    });
}

fn anchors_of(state: &State, emission: &Emission) -> usize {
    let Some(session) = &state.session else {
        return 0;
    };
    session
        .doc
        .objects
        .iter()
        .filter(|o| o.phrase == emission.phrase)
        .map(|o| o.anchors().count())
        .sum()
}

fn tokens_ui(ui: &mut Ui, emission: &Emission) {
    let p = theme::palette(ui);
    let font = egui::FontId::monospace(12.5);
    if emission.tokens.is_empty() {
        ui.label(RichText::new(&emission.text).font(font).color(p.text));
        return;
    }
    for (token, probability) in &emission.tokens {
        let word = token.trim();
        // Marks of the language model's own, such as the end of its text, say nothing to a person.
        if word.is_empty() || (word.starts_with('<') && word.ends_with('>')) {
            continue;
        }
        let chip = match word {
            "[BOX]" => Some(p.accent),
            "[SEG]" => Some(p.good),
            _ => None,
        };
        match chip {
            Some(colour) => chip_ui(ui, word, *probability, colour),
            None => {
                ui.label(RichText::new(word).font(font.clone()).color(p.text))
                    .on_hover_text(format!("probability {}", two_digits(*probability)));
            }
        }
    }
}

fn chip_ui(ui: &mut Ui, word: &str, probability: f32, colour: Color32) {
    let p = theme::palette(ui);
    let text = format!("{word} {}", two_digits(probability));
    let font = egui::FontId::monospace(12.0);
    let galley = ui.painter().layout_no_wrap(text.clone(), font, p.text);
    let (rect, response) = ui.allocate_exact_size(galley.size() + vec2(12.0, 4.0), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, &text));
    ui.painter()
        .rect_filled(rect, 4, theme::faded(colour, 0.28));
    let at = rect.center() - galley.size() / 2.0;
    ui.painter().galley(at, galley, p.text);
    response.on_hover_text(match word {
        "[BOX]" => "Its hidden state scores every proposal against the phrase.",
        _ => "Its hidden state prompts SAM2's mask decoder.",
    });
}

fn unknown_ui(ui: &mut Ui, state: &State, emission: &Emission, out: &mut Out) {
    if emission.unknown_words.is_empty() {
        return;
    }
    let p = theme::palette(ui);
    let list: Vec<String> = emission
        .unknown_words
        .iter()
        .map(|(word, read)| {
            if read.is_empty() {
                format!("“{word}” (left out)")
            } else {
                format!("“{word}” (read as “{read}”)")
            }
        })
        .collect();
    ui.add_space(space::XS);
    let text = format!("{} does not know {}.", state.model.id, list.join(", "));
    ui.label(RichText::new(text).size(12.5).color(p.look));
    if ui
        .link(RichText::new("See the words it knows").size(12.5))
        .clicked()
    {
        out.act(Action::Words);
    }
}
