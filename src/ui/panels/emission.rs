//! What the model said on this frame: what it did not understand, why nothing came of it, and its own words with `[BOX]` and
//! `[SEG]` as chips. And the buttons to ask again, which [`super::inspector_ui`] keeps in view.

use egui::{Color32, Frame, Margin, RichText, Role, Sense, Stroke, Ui, WidgetInfo, vec2};

use super::super::{
    actions::Action,
    command::{Command, Out},
    reading::{is_nothing, why_nothing},
    state::State,
    theme::{self, space},
    widgets::{action_tooltip, section_header, two_digits},
};
use crate::project::{Emission, counted};

/// Height of [`buttons_ui`].
pub(crate) const BUTTONS: f32 = 40.0;

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
    unknown_ui(ui, state, emission, out);
    nothing_ui(ui, state, emission);
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
}

/// What is done with the emission in view, in one line.
pub(crate) fn buttons_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let Some((_, emission)) = state.emission_here() else {
        return;
    };
    ui.add_space(space::S);
    ui.horizontal(|ui| {
        let again = ui.button("Emit again");
        if action_tooltip(again, &state.keymap, Action::EmitAgain).clicked() {
            out.act(Action::EmitAgain);
        }
        let anchors = anchors_of(state, emission);
        let mut use_tsf = state.settings.use_tsf;
        let toggle = ui.checkbox(&mut use_tsf, format!("TSF from {}", counted(anchors, "anchor")));
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
        .flat_map(|o| o.frames.values())
        // Where an object is not, there is no crop.
        .filter(|m| m.anchor && !m.rle.is_empty())
        .count()
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
    let text = format!("{} does not know {}.", state.model.id, list.join(", "));
    ui.label(RichText::new(text).size(12.5).color(p.look));
    if ui
        .link(RichText::new("See the words it knows").size(12.5))
        .clicked()
    {
        out.act(Action::Words);
    }
    ui.add_space(space::XS);
}

/// The model's words may sound as if it had found something.
fn nothing_ui(ui: &mut Ui, state: &State, emission: &Emission) {
    let doc = state.session.as_ref().map(|s| &s.doc);
    let Some(doc) = doc.filter(|doc| is_nothing(doc, emission)) else {
        return;
    };
    let p = theme::palette(ui);
    let why = why_nothing(emission, &doc.thresholds);
    let text = format!("Nothing matches: {why}.");
    ui.label(RichText::new(text).size(12.5).color(p.look));
    ui.add_space(space::XS);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        project::Size,
        ui::{session::Session, settings::Settings},
    };
    use egui_kittest::{Harness, kittest::Queryable as _};

    fn harness(width: f32) -> Harness<'static, State> {
        let mut doc = crate::ui::fixture::document(Size::new(4, 4), 1);
        doc.emissions.push(Emission {
            text: "it is [BOX] [SEG]".to_owned(),
            tokens: vec![("[BOX]".to_owned(), 1.0), ("[SEG]".to_owned(), 1.0)],
            unknown_words: vec![("pferd".to_owned(), "object".to_owned())],
            by_hand: Some(std::collections::BTreeSet::new()),
            ..crate::ui::fixture::emission(0, "das Pferd")
        });
        let mut state = State::new(Settings::default(), "nano".into(), "cpu".into());
        state.session = Some(Session::read_only(doc, "clip.sparrow".into()));
        let mut harness = Harness::builder()
            .with_size([width, 300.0])
            .with_context_setup(theme::install)
            .build_ui_state(
                |ui, state: &mut State| {
                    let mut out = Out::default();
                    emission_ui(ui, state, &mut out);
                    buttons_ui(ui, state, &mut out);
                },
                state,
            );
        harness.run_steps(3);
        harness
    }

    /// They were the last line of the panel, where the window's edge cut them off, or were not said at all.
    #[test]
    fn what_was_not_understood_and_why_nothing_came_of_it_stand_right_under_the_phrase() {
        let harness = harness(340.0);
        let top = |text: &str| harness.get_by_label_contains(text).rect().top();
        let lines = [
            "“das Pferd”",
            "nano does not know",
            "Nothing matches: no box is offered",
            "[BOX]",
            "Emit again",
        ];
        let tops = lines.map(top);
        assert!(tops.is_sorted(), "{tops:?}");
    }

    #[test]
    fn the_buttons_have_the_height_that_is_kept_for_them() {
        // As narrow as the panel gets.
        let harness = harness(300.0);
        let again = harness.get_by_label("Emit again").rect();
        let toggle = harness.get_by_label("TSF from 0 anchors").rect();
        assert!(again.height() + space::S <= BUTTONS);
        assert!(toggle.top() < again.bottom() && toggle.right() <= 300.0);
    }
}
