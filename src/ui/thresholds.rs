//! The sliders that decide which proposals are kept. What a person chose by hand stays chosen wherever they stand, also when
//! the project is opened again: the emission keeps the choice, and so undo and redo need not be followed. Part of `logic`.

use std::collections::BTreeSet;

use super::{app::App, session::Collecting};
use crate::project::{Choosing, Edit, Emission, Thresholds, select};

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

/// Which proposals an emission keeps by these thresholds, but for those that a person has decided about.
fn ruled_but_for_choices(emission: &Emission, thresholds: &Thresholds) -> Vec<bool> {
    let mut flags = by_rule(emission, thresholds);
    for &i in emission.by_hand.iter().flatten() {
        if let (Some(flag), Some(proposal)) = (flags.get_mut(i), emission.proposals.get(i)) {
            *flag = proposal.selected;
        }
    }
    flags
}

/// What was chosen by hand. An emission of an older program does not say: there it is what differs from the rule, as long as
/// the thresholds are those that its flags were decided under.
fn choices(emission: &Emission, thresholds: &Thresholds) -> BTreeSet<usize> {
    if let Some(known) = &emission.by_hand {
        return known.clone();
    }
    let flags = emission.proposals.iter().map(|p| p.selected);
    // That nothing matched is the model's word, not a choice.
    if emission.objects.is_empty() && !flags.clone().any(|kept| kept) {
        return BTreeSet::new();
    }
    let ruled = by_rule(emission, thresholds);
    let both = flags.zip(ruled).enumerate();
    both.filter(|(_, (kept, ruled))| kept != ruled)
        .map(|(i, _)| i)
        .collect()
}

impl App {
    /// Writes down what was chosen by hand in emissions of an older program, before the thresholds move for the first time:
    /// afterwards nothing would tell.
    fn know_choices(&mut self) {
        let Some(session) = &mut self.state.session else {
            return;
        };
        let doc = &session.doc;
        let unknown = doc.emissions.iter().enumerate();
        let unknown = unknown.filter(|(_, e)| e.by_hand.is_none());
        let edits = unknown.map(|(at, emission)| {
            let mut emission = Box::new(emission.clone());
            emission.by_hand = Some(choices(&emission, &doc.thresholds));
            Edit::ReplaceEmission { at, emission }
        });
        let edits: Vec<Edit> = edits.collect();
        if edits.is_empty() {
            return;
        }
        if let Err(error) = session.note(Edit::Group(edits)) {
            tracing::warn!("what was chosen by hand is not known: {error}");
        }
    }

    /// The change by which a person gives the proposals of the emission in view these flags: those that differ are chosen by
    /// hand from now on. `None` where there is no emission.
    pub(super) fn choice_by_hand(&self, selected: &[bool]) -> Option<Edit> {
        let (at, emission) = self.state.emission_here()?;
        let thresholds = &self.state.session.as_ref()?.doc.thresholds;
        let mut by_hand = choices(emission, thresholds);
        let mut emission = Box::new(emission.clone());
        for (i, (proposal, &kept)) in emission.proposals.iter_mut().zip(selected).enumerate() {
            if proposal.selected != kept {
                proposal.selected = kept;
                by_hand.insert(i);
            }
        }
        emission.by_hand = Some(by_hand);
        Some(Edit::ReplaceEmission { at, emission })
    }

    /// Moves the thresholds; `done` ends the step for undo.
    pub(super) fn set_thresholds(&mut self, thresholds: Thresholds, done: bool) {
        let Some(session) = &self.state.session else {
            return;
        };
        if session.doc.thresholds != thresholds {
            self.know_choices();
            let mut edits = vec![Edit::SetThresholds { thresholds }];
            if let Some((at, emission)) = self.state.emission_here() {
                let selected = ruled_but_for_choices(emission, &thresholds);
                let now = emission.proposals.iter().map(|p| p.selected);
                if !now.eq(selected.iter().copied()) {
                    edits.push(Edit::SetSelection { at, selected });
                }
            }
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
        store::{Existing, Store, Writer},
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
            proposals: confidences.iter().map(proposal).collect(),
            objects: vec![ObjectId(1)],
            by_hand: Some(BTreeSet::new()),
            ..crate::ui::fixture::emission(frame, "a dog")
        }
    }

    /// As a program wrote it that did not say what was chosen by hand.
    fn older(emission: &Emission) -> Emission {
        let mut json = serde_json::to_value(emission).unwrap();
        json.as_object_mut().unwrap().remove("by_hand").unwrap();
        serde_json::from_value(json).unwrap()
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

    /// The choice was remembered for as long as the window was open: then a slider threw it away.
    #[test]
    fn a_choice_by_hand_outlives_the_session() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("clip.sparrow");
        let mut app = window(&[0.9, 0.8, 0.7, 0.3]);
        Store::create(&path, app.document().unwrap(), Existing::Refuse).unwrap();
        let open = |app: &mut App| {
            let store = Store::open(&path).unwrap();
            let doc = store.load().unwrap();
            let writer = Writer::start(store, || {}).unwrap();
            app.state.session = Some(Session::saved(doc, writer, path.clone()));
        };
        open(&mut app);
        app.toggle_proposal(1);
        // It would be dropped here without being asked for: the flags alone do not tell.
        assert_eq!(slide(&mut app, 0.85, true), [true, false, false, false]);
        // Dropping it waits for the disk.
        app.state.session = None;
        open(&mut app);
        assert_eq!(slide(&mut app, 0.2, true), [true, false, true, true]);
    }

    #[test]
    fn what_an_older_project_tells_of_choices_is_kept() {
        let mut known = emission(0, &[0.9, 0.7, 0.3], 0.5);
        known.proposals[1].selected = false;
        let old = older(&known);
        assert_eq!(old.by_hand, None);
        let mut app = window_of(vec![old, older(&emission(5, &[0.9], 0.5))], 0.5);
        assert_eq!(slide(&mut app, 0.2, true), [true, false, true]);
        assert_eq!(slide(&mut app, 0.5, true), [true, false, false]);
        let emissions = &app.document().unwrap().emissions;
        let by_hand: Vec<_> = emissions.iter().map(|e| e.by_hand.clone()).collect();
        assert_eq!(by_hand, [Some([1].into()), Some([].into())]);
        // What a file says of proposals that are not there is passed over.
        let wrong = Emission {
            by_hand: Some([1, 70].into()),
            ..emission(0, &[0.9, 0.7], 0.5)
        };
        let mut app = window_of(vec![wrong], 0.5);
        assert_eq!(slide(&mut app, 0.8, true), [true, true]);
    }

    #[test]
    fn thresholds_go_on_deciding_where_nothing_matched() {
        let mut nothing = emission(0, &[0.9, 0.3], 0.5);
        nothing.objects.clear();
        nothing.proposals[0].selected = false;
        for emission in [older(&nothing), nothing] {
            let mut app = window_of(vec![emission], 0.5);
            assert_eq!(slide(&mut app, 0.4, true), [true, false]);
        }
    }

    #[test]
    fn a_slide_on_one_frame_makes_no_choice_by_hand_on_another() {
        let known = vec![emission(0, &[0.9, 0.4], 0.5), emission(5, &[0.8], 0.5)];
        for emissions in [known.iter().map(older).collect(), known] {
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
