//! The proposals of the emission in view: a table with their scores, and the thresholds that act at once.

use egui::{Align2, Rect, RichText, Role, ScrollArea, Sense, Ui, WidgetInfo, pos2, vec2};

use super::super::{
    actions::Action,
    command::{Command, Out},
    state::{Sort, State},
    theme::{self, RADIUS, space},
    widgets::{
        action_button, focus_ring, score_cell, section_header, slider, tooltip_beside, two_digits,
    },
};
use crate::project::{Emission, Proposal, Thresholds, WhyNot, why_not};

const ROW: f32 = 24.0;
/// Height that the rest of the inspector wants.
const OTHERS: f32 = 404.0;

/// Left edge and width of the columns within `rect`.
struct Columns {
    number: Rect,
    objectness: Rect,
    filtration: Rect,
    confidence: Rect,
}

impl Columns {
    fn new(rect: Rect) -> Self {
        let number = 76.0_f32.min(rect.width() * 0.24);
        let rest = (rect.width() - number) / 3.0;
        let column = |i: f32| {
            Rect::from_min_size(
                pos2(rect.left() + number + rest * i + space::S, rect.top()),
                vec2(rest - space::S, rect.height()),
            )
        };
        Self {
            number: Rect::from_min_size(rect.min, vec2(number, rect.height())),
            objectness: column(0.0),
            filtration: column(1.0),
            confidence: column(2.0),
        }
    }
}

pub(crate) fn proposals_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let p = theme::palette(ui);
    let Some((_, emission)) = state.emission_here() else {
        section_header(ui, &format!("Proposals on frame {}", state.frame), "");
        let text = "The model has not been asked about this frame.";
        ui.label(RichText::new(text).size(12.5).color(p.text_weak));
        ui.add_space(space::XS);
        action_button(ui, &state.keymap, "Emit here", Action::EmitAgain, out);
        return;
    };
    let kept = emission.proposals.iter().filter(|p| p.selected).count();
    let reasons = state
        .session
        .as_ref()
        .map_or_else(Vec::new, |s| why_not(emission, &s.doc.thresholds));
    // Of more that are good enough than are kept, it is said how many there were.
    let over = reasons
        .iter()
        .filter(|r| **r == Some(WhyNot::AtMost))
        .count();
    let of = match over {
        0 => String::new(),
        over => format!(" of {}", kept + over),
    };
    let remark = format!("{} · {kept}{of} kept", emission.proposals.len());
    section_header(ui, &format!("Proposals on frame {}", state.frame), &remark);
    let chooser = chooser_ui(ui, state, emission, out);
    header_ui(ui, state, out);
    // As many rows as leave room for the sliders and the emission.
    let rows = ((ui.clip_rect().height() - OTHERS - chooser) / ROW).floor();
    let height = ROW * rows.clamp(2.0, 16.0).min(state.rows.len() as f32);
    ui.spacing_mut().item_spacing.y = 0.0;
    let mut hovered = None;
    ScrollArea::vertical()
        .id_salt("proposals")
        .max_height(height)
        .auto_shrink([false, true])
        .show_rows(ui, ROW, state.rows.len(), |ui, range| {
            for &index in state.rows.get(range).unwrap_or_default() {
                if let Some(proposal) = emission.proposals.get(index) {
                    let reason = reasons.get(index).copied().flatten();
                    let over = row_ui(ui, state, (index, proposal, reason), out);
                    hovered = hovered.or(over.then_some(index));
                }
            }
        });
    // The table speaks only while the pointer is on it; otherwise the canvas does.
    if hovered.is_some() {
        out.send(Command::HoverProposal(hovered));
    }
    ui.spacing_mut().item_spacing.y = space::XS;
    ui.add_space(space::S);
    thresholds_ui(ui, state, emission, out);
}

/// Which of the frame's emissions is looked at, if it has several; returns the height that this takes.
fn chooser_ui(ui: &mut Ui, state: &State, shown: &Emission, out: &mut Out) -> f32 {
    if state.emissions_here().count() < 2 {
        return 0.0;
    }
    let top = ui.cursor().top();
    let chooser = egui::ComboBox::from_id_salt("emissions here")
        .width(ui.available_width())
        .truncate()
        .selected_text(format!("“{}”", shown.phrase))
        .show_ui(ui, |ui| {
            for (_, emission) in state.emissions_here() {
                let is_shown = emission.phrase == shown.phrase;
                let text = format!("“{}”", emission.phrase);
                if ui.selectable_label(is_shown, text).clicked() {
                    out.send(Command::ChooseEmission(emission.phrase.clone()));
                }
            }
        });
    chooser.response.accessible_name("Emission of this frame");
    ui.cursor().top() - top
}

fn header_ui(ui: &mut Ui, state: &State, out: &mut Out) {
    let p = theme::palette(ui);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 20.0), Sense::hover());
    let columns = Columns::new(rect);
    for (at, title, sort, hint, left) in [
        (
            columns.number,
            "#",
            Sort::Number,
            "Number in the proposer's list",
            true,
        ),
        (
            columns.objectness,
            "objectness",
            Sort::Objectness,
            "How sure the proposer is that there is an object, whatever the phrase",
            false,
        ),
        (
            columns.filtration,
            "filtration",
            Sort::Filtration,
            "How well the box matches the phrase",
            false,
        ),
        (
            columns.confidence,
            "confidence",
            Sort::Confidence,
            "The final score, compared with “keep above”",
            false,
        ),
    ] {
        let chosen = state.sort == sort;
        let response = ui.interact(at, ui.scope_id().with(title), Sense::click());
        response.widget_info(|| {
            WidgetInfo::selected(Role::Button, true, chosen, format!("Sort by {title}"))
        });
        let colour = if chosen || response.hovered() {
            p.text
        } else {
            p.text_faint
        };
        let mark = if chosen { " ▼" } else { "" };
        let galley = {
            let mut job = egui::text::LayoutJob::default();
            let format = |size| egui::TextFormat::simple(theme::regular(size), colour);
            job.append(title, 0.0, format(11.5));
            job.append(mark, 0.0, format(7.5));
            ui.painter().layout_job(job)
        };
        let x = if left {
            at.left()
        } else {
            at.right() - galley.size().x
        };
        let place = pos2(x, at.center().y - galley.size().y / 2.0);
        ui.painter().galley(place, galley, colour);
        if response.has_focus() {
            focus_ring(ui, at);
        }
        if response.on_hover_text(hint).clicked() {
            out.send(Command::SortProposals(sort));
        }
    }
}

/// Returns whether the pointer is on the row.
fn row_ui(
    ui: &mut Ui,
    state: &State,
    (index, proposal, reason): (usize, &Proposal, Option<WhyNot>),
    out: &mut Out,
) -> bool {
    let p = theme::palette(ui);
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::click());
    let kept = proposal.selected;
    response.widget_info(|| {
        let mark = if kept { "kept" } else { "not kept" };
        let text = format!(
            "Proposal {index}, {mark}, confidence {}",
            two_digits(proposal.confidence)
        );
        WidgetInfo::selected(Role::Button, true, kept, text)
    });
    let body = rect.expand2(vec2(6.0, 0.0));
    let hot = response.hovered() || state.hovered_proposal == Some(index);
    if kept {
        ui.painter().rect_filled(body, RADIUS, p.good_soft);
    }
    if hot {
        ui.painter()
            .rect_filled(body, RADIUS, theme::faded(p.chosen, 0.8));
    }
    if response.has_focus() {
        focus_ring(ui, body);
    }
    let columns = Columns::new(rect);
    let number = if proposal.drawn {
        "yours".to_owned()
    } else {
        index.to_string()
    };
    let strong = if kept { p.text } else { p.text_weak };
    let painter = ui.painter();
    let name = painter.text(
        columns.number.left_center(),
        Align2::LEFT_CENTER,
        number,
        theme::regular(12.5),
        strong,
    );
    if kept {
        painter.text(
            name.right_center() + vec2(6.0, 0.0),
            Align2::LEFT_CENTER,
            "kept",
            theme::regular(11.5),
            p.good,
        );
    }
    if proposal.drawn {
        painter.text(
            columns.objectness.right_center(),
            Align2::RIGHT_CENTER,
            "drawn",
            theme::regular(11.5),
            p.text_faint,
        );
    } else {
        score_cell(
            ui,
            columns.objectness,
            proposal.objectness,
            p.accent,
            strong,
        );
    }
    score_cell(ui, columns.filtration, proposal.filtration, p.good, strong);
    painter.text(
        columns.confidence.right_center(),
        Align2::RIGHT_CENTER,
        two_digits(proposal.confidence),
        theme::regular(12.5),
        strong,
    );
    let response = response.on_hover_text(why(index, proposal, reason, state));
    if response.double_clicked() {
        out.send(Command::UseProposal(index));
    } else if response.clicked() {
        out.send(Command::ToggleProposal(index));
    }
    response.hovered()
}

/// Why a proposal is kept or not, and what a click does; `reason` is the rule's, if it has one.
fn why(index: usize, proposal: &Proposal, reason: Option<WhyNot>, state: &State) -> String {
    let Some(session) = &state.session else {
        return String::new();
    };
    let emission = state.emission_here().map(|(_, e)| e);
    let by_hand = emission.and_then(|e| e.by_hand.as_ref());
    let said = match by_hand {
        Some(by_hand) if by_hand.contains(&index) => match proposal.selected {
            true => "Kept: you chose it; no slider drops it.".to_owned(),
            false => "Not kept: you took it out; no slider keeps it.".to_owned(),
        },
        // Where it is not known what was chosen by hand, it may have been this.
        _ => by_rule(proposal, reason, &session.doc.thresholds, by_hand.is_none()),
    };
    format!("{said}\nClick: keep or drop. Double-click: make the mask from this box alone.")
}

/// Why a proposal is kept or not by the thresholds; `unsure`: or by a person.
fn by_rule(
    proposal: &Proposal,
    reason: Option<WhyNot>,
    thresholds: &Thresholds,
    unsure: bool,
) -> String {
    let keep = thresholds.keep;
    match (proposal.selected, reason) {
        (true, _) if proposal.confidence >= keep => {
            format!("Kept: its confidence reaches {keep:.2}.")
        }
        (true, _) if unsure => "Kept: chosen by you, or the best there is.".to_owned(),
        (true, _) => "Kept: the best there is.".to_owned(),
        (false, Some(reason)) => format!("Not kept: {}.", reason.words(thresholds)),
        (false, None) if unsure => "Not kept: you took it out.".to_owned(),
        (false, None) => "Not kept: no mask was made from it.".to_owned(),
    }
}

fn thresholds_ui(ui: &mut Ui, state: &State, emission: &Emission, out: &mut Out) {
    let Some(session) = &state.session else {
        return;
    };
    let p = theme::palette(ui);
    let now = session.doc.thresholds;
    let label = |ui: &mut Ui, text: &str| {
        let (rect, _) = ui.allocate_exact_size(vec2(84.0, 22.0), Sense::hover());
        ui.painter().text(
            rect.left_center(),
            Align2::LEFT_CENTER,
            text,
            theme::regular(12.5),
            p.text_weak,
        );
    };
    let value = |ui: &mut Ui, text: String| {
        let (rect, _) = ui.allocate_exact_size(vec2(34.0, 22.0), Sense::hover());
        ui.painter().text(
            rect.right_center(),
            Align2::RIGHT_CENTER,
            text,
            theme::regular(12.5),
            p.text,
        );
    };
    let row = ui.max_rect().left() - space::M;
    let done = |r: &egui::Response| r.drag_stopped() || (r.changed() && !r.dragged());
    let room = (ui.available_width() - 84.0 - 34.0 - space::S * 2.0).max(40.0);
    ui.spacing_mut().interact_size.y = 22.0;
    ui.spacing_mut().item_spacing.y = 2.0;
    // A fitted threshold lies between the slider's steps: only a step that a person makes changes it.
    let share = |ui: &mut Ui, texts: [&str; 3], current: f32| {
        let [name, title, hint] = texts;
        ui.horizontal(|ui| {
            label(ui, name);
            let shown = (current * 100.0).round() / 100.0;
            let mut wanted = shown;
            let range = egui::Slider::new(&mut wanted, 0.0..=1.0).step_by(0.01);
            let slider = slider(ui, title, room, range);
            value(ui, format!("{current:.2}"));
            let moved = (wanted - shown).abs() > 1e-4;
            let chosen = (moved || slider.drag_stopped())
                .then(|| (if moved { wanted } else { current }, done(&slider)));
            tooltip_beside(slider, row, hint);
            chosen
        })
        .inner
    };
    let but = match emission.choosing.peers {
        true => ", but none that is much less sure than the best",
        false => "",
    };
    let hint = format!(
        "Proposals at or above this confidence are kept{but}. The model does not run again."
    );
    if let Some((keep, done)) = share(ui, ["keep above", "Keep above", &hint], now.keep) {
        let thresholds = Thresholds { keep, ..now };
        out.send(Command::SetThresholds { thresholds, done });
    }
    ui.horizontal(|ui| {
        label(ui, "at most");
        let mut at_most = now.at_most;
        // Wide enough for what is in force, or the slider would lower it by being shown.
        let most = (emission.proposals.len() as u32)
            .clamp(8, 24)
            .max(now.at_most);
        let range = egui::Slider::new(&mut at_most, 1..=most);
        let slider = slider(ui, "Keep at most", room, range);
        value(ui, now.at_most.to_string());
        if slider.changed() || slider.drag_stopped() {
            out.send(Command::SetThresholds {
                thresholds: Thresholds { at_most, ..now },
                done: done(&slider),
            });
        }
        tooltip_beside(slider, row, "Of more, the best are kept.");
    });
    let hint =
        "Boxes below this objectness are kept by nobody but you. The model does not run again.";
    let texts = ["objects above", "Objects above", hint];
    if let Some((objectness, done)) = share(ui, texts, now.objectness) {
        let thresholds = Thresholds { objectness, ..now };
        out.send(Command::SetThresholds { thresholds, done });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        project::{BoxPx, Size},
        ui::{session::Session, settings::Settings},
    };

    fn proposal(selected: bool) -> Proposal {
        Proposal {
            box_px: BoxPx::from_array([0.0, 0.0, 2.0, 2.0]),
            objectness: 0.9,
            filtration: 0.9,
            confidence: 0.9,
            selected,
            drawn: false,
            incredible: false,
        }
    }

    #[test]
    fn a_box_that_makes_no_mask_is_not_said_to_be_taken_out_by_a_person() {
        let mut state = State::new(Settings::default(), "nano".into(), "cpu".into());
        let doc = crate::ui::fixture::document(Size::new(4, 4), 3);
        state.session = Some(Session::read_only(doc, "clip.sparrow".into()));
        let mut proposal = proposal(false);
        proposal.incredible = true;
        let said = why(0, &proposal, Some(WhyNot::Incredible), &state);
        assert!(said.starts_with("Not kept: SAM2 does not fill its box"));
        assert!(why(0, &proposal, None, &state).contains("you took it out"));
    }

    /// Four guesses were listed, whichever it was.
    #[test]
    fn the_one_reason_is_said_and_no_other() {
        let mut state = State::new(Settings::default(), "nano".into(), "cpu".into());
        let doc = crate::ui::fixture::document(Size::new(4, 4), 3);
        state.session = Some(Session::read_only(doc, "clip.sparrow".into()));
        let proposal = proposal(false);
        let said = |reason| why(0, &proposal, Some(reason), &state);
        let first = |text: &str| text.lines().next().unwrap_or_default().to_owned();
        assert_eq!(
            first(&said(WhyNot::SameThing)),
            "Not kept: a better box lies on the same thing."
        );
        assert_eq!(
            first(&said(WhyNot::MuchLessSure)),
            "Not kept: it is much less sure than the best."
        );
        assert!(first(&said(WhyNot::AtMost)).starts_with("Not kept: at most "));
    }

    #[test]
    fn what_a_person_chose_is_said_to_be_chosen_and_nothing_else_is() {
        let mut state = State::new(Settings::default(), "nano".into(), "cpu".into());
        let mut doc = crate::ui::fixture::document(Size::new(4, 4), 3);
        let proposals = vec![proposal(true), proposal(false), proposal(false)];
        doc.emissions.push(Emission {
            proposals: proposals.clone(),
            by_hand: Some([0, 1].into()),
            ..crate::ui::fixture::emission(0, "a dog")
        });
        state.session = Some(Session::read_only(doc, "clip.sparrow".into()));
        let said: Vec<String> = (proposals.iter().enumerate())
            .map(|(i, p)| why(i, p, (i == 2).then_some(WhyNot::SameThing), &state))
            .collect();
        assert!(said[0].starts_with("Kept: you chose it"), "{}", said[0]);
        assert!(
            said[1].starts_with("Not kept: you took it out"),
            "{}",
            said[1]
        );
        assert!(!said[2].contains("you took it out"), "{}", said[2]);
    }
}
