//! The sliders that decide which proposals are kept. What a person chose by hand stays chosen wherever they stand. Part of
//! `logic`.

use super::{app::App, session::Collecting};
use crate::project::{Choosing, Edit, Emission, FrameIndex, Thresholds, select};

/// A flag that a person gave a proposal. It counts as long as the proposal has it, and so undo and redo need not be followed.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    frame: FrameIndex,
    phrase: String,
    /// Seconds that the pass took: a phrase that is asked again on its frame has other proposals.
    secs: f32,
    proposal: usize,
    kept: bool,
}

impl Choice {
    fn new(emission: &Emission, proposal: usize, kept: bool) -> Self {
        Self {
            frame: emission.frame,
            phrase: emission.phrase.clone(),
            secs: emission.secs,
            proposal,
            kept,
        }
    }

    fn is_of(&self, emission: &Emission) -> bool {
        self.frame == emission.frame
            && self.phrase == emission.phrase
            && self.secs.to_bits() == emission.secs.to_bits()
    }

    fn holds(&self, emission: &Emission) -> bool {
        let proposal = emission.proposals.get(self.proposal);
        proposal.is_some_and(|p| p.selected == self.kept)
    }
}

/// Which proposals an emission keeps by these thresholds alone.
fn by_rule(emission: &Emission, thresholds: &Thresholds) -> Vec<bool> {
    // Where nothing matched, the best of too few does not stand in for a match; emissions of older projects do not say
    // whether their model could have said so.
    let choosing = Choosing {
        may_be_none: emission.choosing.may_be_none || emission.objects.is_empty(),
        ..emission.choosing
    };
    select(&emission.proposals, thresholds, choosing)
}

/// What was chosen by hand, if all the flags of an emission were decided under these thresholds: what differs from the rule.
fn differing<'a>(
    emission: &'a Emission,
    thresholds: &Thresholds,
) -> impl Iterator<Item = Choice> + 'a {
    let flags = emission.proposals.iter().map(|p| p.selected);
    // That nothing matched is the model's word, not a choice.
    let no_match = emission.objects.is_empty() && !flags.clone().any(|kept| kept);
    let ruled = by_rule(emission, thresholds);
    flags
        .zip(ruled)
        .enumerate()
        .filter(move |(_, (kept, ruled))| !no_match && kept != ruled)
        .map(|(i, (kept, _))| Choice::new(emission, i, kept))
}

impl App {
    /// Reads off what was chosen by hand before the thresholds have moved for the first time; from then on the choices are
    /// noted as they are made.
    fn know_choices(&mut self) {
        let state = &mut self.state;
        if let (None, Some(session)) = (&state.chosen_by_hand, &state.session) {
            let doc = &session.doc;
            let all = doc.emissions.iter();
            let choices = all.flat_map(|e| differing(e, &doc.thresholds)).collect();
            state.chosen_by_hand = Some(choices);
        }
    }

    /// Notes that a person is about to give the proposals of the emission in view these flags.
    pub(super) fn note_choices(&mut self, selected: &[bool]) {
        self.know_choices();
        let Some((_, emission)) = self.state.emission_here() else {
            return;
        };
        let changed = emission.proposals.iter().zip(selected).enumerate();
        let changed: Vec<Choice> = changed
            .filter(|(_, (p, kept))| p.selected != **kept)
            .map(|(i, (_, &kept))| Choice::new(emission, i, kept))
            .collect();
        if let Some(choices) = &mut self.state.chosen_by_hand {
            choices.extend(changed);
        }
    }

    /// Moves the thresholds; `done` ends the step for undo.
    pub(super) fn set_thresholds(&mut self, thresholds: Thresholds, done: bool) {
        let Some(session) = &self.state.session else {
            return;
        };
        let before = session.doc.thresholds;
        if before != thresholds {
            let mut edits = vec![Edit::SetThresholds { thresholds }];
            self.know_choices();
            let mut choices = self.state.chosen_by_hand.take().unwrap_or_default();
            if let Some((at, emission)) = self.state.emission_here() {
                // What undo took back does not come again after this.
                choices.retain(|c| !c.is_of(emission) || c.holds(emission));
                let mut selected = by_rule(emission, &thresholds);
                for choice in choices.iter().filter(|c| c.is_of(emission)) {
                    selected[choice.proposal] = choice.kept;
                }
                let now = emission.proposals.iter().map(|p| p.selected);
                if !now.eq(selected.iter().copied()) {
                    edits.push(Edit::SetSelection { at, selected });
                }
            }
            self.state.chosen_by_hand = Some(choices);
            self.collect(Collecting::Thresholds, Edit::Group(edits), "thresholds");
        }
        if done && let Some(session) = &mut self.state.session {
            session.finish_thresholds();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        project::{BoxPx, Document, ObjectId, Proposal, Size, VideoInfo},
        ui::session::Session,
    };

    fn emission(frame: u32, confidences: &[f32], keep: f32) -> Emission {
        let proposal = |&confidence: &f32| Proposal {
            box_px: BoxPx::from_array([0.0, 0.0, 10.0, 10.0]),
            objectness: 1.0,
            filtration: confidence,
            confidence,
            selected: confidence >= keep,
            drawn: false,
            incredible: false,
        };
        Emission {
            frame: FrameIndex(frame),
            phrase: "a dog".to_owned(),
            text: String::new(),
            tokens: Vec::new(),
            unknown_words: Vec::new(),
            proposals: confidences.iter().map(proposal).collect(),
            objects: vec![ObjectId(1)],
            tsf_tokens: 0,
            secs: 0.1,
            choosing: Choosing::default(),
        }
    }

    fn window(confidences: &[f32]) -> App {
        window_of(vec![emission(0, confidences, 0.5)], 0.5)
    }

    fn window_of(emissions: Vec<Emission>, keep: f32) -> App {
        let mut app = App::without_model(&egui::Context::default());
        let video = VideoInfo {
            path: "clip.mp4".into(),
            size: Size::new(40, 40),
            frames: 9,
            fps: 25.0,
            hash: String::new(),
        };
        let thresholds = Thresholds {
            objectness: 0.0,
            keep,
            at_most: 9,
        };
        let mut doc = Document::new(video, "nano", thresholds);
        doc.emissions = emissions;
        let wake = app.services.wake.clone();
        app.state.session = Some(Session::unsaved(doc, Vec::new(), wake));
        app
    }

    fn slide(app: &mut App, keep: f32, done: bool) -> Vec<bool> {
        let thresholds = Thresholds {
            keep,
            ..app.document().unwrap().thresholds
        };
        app.set_thresholds(thresholds, done);
        kept(app)
    }

    /// Of the emission in view.
    fn kept(app: &App) -> Vec<bool> {
        let (_, emission) = app.state.emission_here().unwrap();
        emission.proposals.iter().map(|p| p.selected).collect()
    }

    #[test]
    fn a_threshold_leaves_what_was_chosen_by_hand_as_it_is() {
        let mut app = window(&[0.9, 0.7, 0.3, 0.2]);
        assert_eq!(kept(&app), [true, true, false, false]);
        // One dropped by hand, one kept.
        app.toggle_proposal(1);
        app.toggle_proposal(3);
        assert_eq!(kept(&app), [true, false, false, true]);
        assert_eq!(slide(&mut app, 0.25, false), [true, false, true, true]);
        // Past both and back, in one go and in a second one: they are by hand still.
        slide(&mut app, 0.1, false);
        slide(&mut app, 0.8, true);
        assert_eq!(kept(&app), [true, false, false, true]);
        assert_eq!(slide(&mut app, 0.5, true), [true, false, false, true]);
        app.undo_or_redo(true);
        app.undo_or_redo(true);
        assert_eq!(kept(&app), [true, false, false, true], "the two slides");
        assert_eq!(app.document().unwrap().thresholds.keep, 0.5);
    }

    #[test]
    fn thresholds_go_on_deciding_where_nothing_matched() {
        let mut app = window(&[0.9, 0.3]);
        let emission = &mut app.state.session.as_mut().unwrap().doc.emissions[0];
        emission.objects.clear();
        emission.proposals[0].selected = false;
        assert_eq!(slide(&mut app, 0.4, true), [true, false]);
    }

    #[test]
    fn a_slide_on_one_frame_makes_no_choice_by_hand_on_another() {
        let emissions = vec![emission(0, &[0.9, 0.4], 0.5), emission(5, &[0.8], 0.5)];
        let mut app = window_of(emissions, 0.5);
        app.seek(5);
        slide(&mut app, 0.3, true);
        app.seek(0);
        assert_eq!(kept(&app), [true, false], "made under the threshold before");
        assert_eq!(slide(&mut app, 0.25, true), [true, true]);
        // What is chosen after the sliders have moved stays, too, on this frame and no other.
        app.toggle_proposal(1);
        app.seek(5);
        slide(&mut app, 0.9, true);
        app.seek(0);
        assert_eq!(slide(&mut app, 0.2, true), [true, false]);
    }

    #[test]
    fn a_slide_goes_on_from_no_other_emission() {
        let emissions = vec![
            emission(0, &[0.9, 0.45], 0.4),
            emission(5, &[0.9, 0.3], 0.4),
        ];
        let mut app = window_of(emissions, 0.4);
        assert_eq!(slide(&mut app, 0.5, true), [true, false]);
        app.seek(5);
        assert_eq!(slide(&mut app, 0.6, true), [true, false]);
    }

    #[test]
    fn a_choice_that_undo_takes_back_is_none_and_redo_makes_it_one_again() {
        let mut app = window(&[0.9, 0.7, 0.3]);
        slide(&mut app, 0.6, true);
        app.toggle_proposal(2);
        app.undo_or_redo(true);
        app.undo_or_redo(false);
        assert_eq!(slide(&mut app, 0.5, true), [true, true, true]);
        app.undo_or_redo(true);
        app.undo_or_redo(true);
        assert_eq!(slide(&mut app, 0.2, true), [true, true, true]);
        assert_eq!(slide(&mut app, 0.6, true), [true, true, false]);
    }
}
