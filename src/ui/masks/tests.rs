//! Answers of the model are handed in by hand, so that each comes exactly when a test says.

use super::*;
use crate::{
    project::{Document, DriftSignal, Emission, Proposal, Rle, Size, Thresholds},
    task::{JobId, PropagateDirection, Update},
    ui::{
        command::Command,
        session::{Collecting, Session},
        state::{Job, JobKind, Tool},
    },
};

const SIZE: Size = Size {
    width: 4,
    height: 4,
};
pub(in crate::ui) const ONE: ObjectId = ObjectId(1);
pub(in crate::ui) const FIRST: FrameIndex = FrameIndex(0);
pub(in crate::ui) const AT: PointPx = PointPx { x: 1.0, y: 1.0 };

/// A window on an empty document; nobody reads what its inference thread says.
pub(in crate::ui) fn window() -> App {
    let mut app = App::without_model(&egui::Context::default());
    let doc = crate::ui::fixture::document(SIZE, 5);
    let wake = app.services.wake.clone();
    app.state.session = Some(Session::unsaved(doc, Vec::new(), wake));
    app
}

pub(in crate::ui) fn doc(app: &App) -> &Document {
    app.document().unwrap()
}

pub(in crate::ui) fn act(app: &mut App, action: Action) {
    app.act(&egui::Context::default(), action);
}

pub(in crate::ui) fn mask(pixels: u32) -> FrameMask {
    FrameMask {
        rle: Rle::new(SIZE, vec![4, pixels, 12 - pixels]).unwrap(),
        score: 1.0,
        iou: 1.0,
        provenance: Provenance::Model,
        anchor: false,
        drift: DriftSignal::default(),
    }
}

/// An object with a mask on each of the frames.
pub(in crate::ui) fn add_object(app: &mut App, frames: &[u32]) -> ObjectId {
    let mut object = doc(app).new_object("a horse");
    let id = object.id;
    for &frame in frames {
        object.frames.insert(FrameIndex(frame), mask(2));
    }
    assert!(app.edit(Edit::add_object(object), "add"));
    id
}

/// The job, object and frame of the prompt that has been asked.
pub(in crate::ui) fn asked(app: &App) -> (JobId, ObjectId, FrameIndex) {
    let mut prompts = app.state.prompts();
    let prompt = prompts.find(|p| p.job.is_some()).unwrap();
    (prompt.job.unwrap(), prompt.object, prompt.frame)
}

pub(in crate::ui) fn send_answer(
    app: &mut App,
    (job, object, frame): (JobId, ObjectId, FrameIndex),
    pixels: u32,
) {
    app.take(Update::Segmented {
        job,
        object,
        frame,
        mask: Box::new(mask(pixels)),
    });
    app.take(Update::Finished { job, secs: 0.1 });
}

pub(in crate::ui) fn answer(app: &mut App, pixels: u32) {
    let prompt = asked(app);
    send_answer(app, prompt, pixels);
}

/// The objects of every propagation that has been asked for.
pub(in crate::ui) fn carried(app: &App) -> Vec<Vec<ObjectId>> {
    let jobs = app.state.jobs.iter();
    jobs.filter_map(|job| match &job.kind {
        JobKind::Propagate { objects, .. } => Some(objects.clone()),
        _ => None,
    })
    .collect()
}

pub(in crate::ui) fn emission(kept: &[bool]) -> Emission {
    let proposal = |(i, &selected): (usize, &bool)| Proposal {
        box_px: BoxPx::from_array([0.0, 0.0, 1.0 + i as f32, 2.0]),
        objectness: 0.9,
        filtration: 0.5,
        confidence: 0.5,
        selected,
        drawn: false,
        incredible: false,
    };
    Emission {
        proposals: kept.iter().enumerate().map(proposal).collect(),
        ..crate::ui::fixture::emission(FIRST.0, "a dog")
    }
}

/// Answers the newest question for a phrase, with one mask.
pub(in crate::ui) fn ground(app: &mut App) {
    let is_asked = |j: &&Job| matches!(j.kind, JobKind::Ground { .. });
    let job = app.state.jobs.iter().rev().find(is_asked).unwrap().id;
    app.take(Update::Grounded {
        job,
        emission: Box::new(emission(&[true])),
        masks: vec![mask(3)],
    });
    app.take(Update::Finished { job, secs: 0.1 });
}

pub(in crate::ui) fn kept(app: &App) -> Vec<bool> {
    let proposals = doc(app).emissions[0].proposals.iter();
    proposals.map(|p| p.selected).collect()
}

/// The prompt that has been asked ends without a mask.
pub(in crate::ui) fn fail(app: &mut App) {
    let (job, ..) = asked(app);
    let text = "out of memory".to_owned();
    app.take(Update::Failed { job, text });
}

pub(in crate::ui) fn was_said(app: &App, words: &str) -> bool {
    app.state.toasts.iter().any(|t| t.text.contains(words))
}

#[test]
fn clicks_that_are_left_before_their_mask_comes_are_not_lost() {
    let ways: [fn(&mut App); 6] = [
        App::finish_prompt,
        App::accept_frame,
        |app| app.seek(1),
        |app| app.set_tool(Tool::Brush),
        |app| app.ground_phrase("a dog".to_owned(), false, None),
        |app| app.select_object(None),
    ];
    for leave in ways {
        let mut app = window();
        app.click(AT, true);
        leave(&mut app);
        answer(&mut app, 4);
        let object = doc(&app).object(ONE).unwrap();
        assert!(object.frames[&FIRST].anchor);
        assert!(app.state.finishing.is_empty());
        app.undo_or_redo(true);
        assert!(doc(&app).objects.is_empty());
    }
}

#[test]
fn clicks_on_several_frames_in_a_row_are_all_answered() {
    let mut app = window();
    app.click(AT, true);
    app.seek(1);
    app.click(AT, true);
    app.seek(2);
    answer(&mut app, 4);
    assert_eq!(asked(&app).2, FrameIndex(1), "one after the other");
    answer(&mut app, 5);
    let object = doc(&app).object(ONE).unwrap();
    assert_eq!(object.frames.len(), 2);
    app.undo_or_redo(true);
    assert_eq!(doc(&app).object(ONE).unwrap().frames.len(), 1);
}

#[test]
fn a_propagation_waits_for_the_mask_of_a_click() {
    let mut app = window();
    app.click(AT, true);
    app.propagate(PropagateDirection::Both);
    assert!(carried(&app).is_empty());
    answer(&mut app, 4);
    assert_eq!(carried(&app), [[ONE]]);
}

#[test]
fn undo_takes_a_newer_step_back_before_a_propagation_that_waits() {
    let mut app = window();
    let id = add_object(&mut app, &[0]);
    app.click(AT, true);
    app.propagate(PropagateDirection::Both);
    let name = "Bella".to_owned();
    assert!(app.edit(Edit::Rename { id, name }, "rename"));
    act(&mut app, Action::Undo);
    assert_ne!(doc(&app).object(id).unwrap().name, "Bella");
    assert_eq!(app.state.queued.len(), 1);
    act(&mut app, Action::Undo);
    assert!(app.state.queued.is_empty() && was_said(&app, "propagate"));
}

#[test]
fn a_proposal_accepted_before_its_mask_is_there_becomes_an_anchor() {
    let mut app = window();
    assert!(app.edit(Edit::add_emission(emission(&[false, false])), "ground"));
    app.use_proposal(1);
    app.accept_frame();
    answer(&mut app, 4);
    assert_eq!(kept(&app), [false, true]);
    assert!(doc(&app).object(ONE).unwrap().frames[&FIRST].anchor);
}

#[test]
fn escape_drops_clicks_that_were_left_as_well() {
    let mut app = window();
    app.click(AT, true);
    let late = asked(&app);
    app.seek(1);
    act(&mut app, Action::Stop);
    send_answer(&mut app, late, 4);
    assert!(doc(&app).objects.is_empty());
    assert_eq!(app.state.selected, None);
}

#[test]
fn work_by_hand_stops_playing() {
    let ways: [fn(&mut App); 4] = [
        |app| app.click(AT, true),
        |app| app.paint(AT),
        |app| app.draw_box(BoxPx::from_array([0.0, 0.0, 3.0, 3.0])),
        |app| app.outline_corner(AT),
    ];
    for work in ways {
        let mut app = window();
        app.state.playing = Some((0.0, 0));
        work(&mut app);
        assert_eq!(app.state.playing, None);
    }
}

#[test]
fn a_stroke_waits_for_the_mask_that_it_would_overwrite() {
    let mut app = window();
    app.click(AT, true);
    app.set_tool(Tool::Brush);
    app.paint(AT);
    assert!(app.state.painting.is_none());
    answer(&mut app, 4);
    app.paint(AT);
    app.end_paint();
    assert!(doc(&app).object(ONE).unwrap().frames[&FIRST].rle.area() >= 4);
}

#[test]
fn a_deleted_object_stays_deleted_whatever_is_clicked_or_comes() {
    let mut app = window();
    let delete = |app: &mut App| {
        app.run(&egui::Context::default(), Command::DeleteObject(ONE));
    };
    app.click(AT, true);
    answer(&mut app, 4);
    app.click(AT, false);
    let late = asked(&app);
    delete(&mut app);
    send_answer(&mut app, late, 2);
    assert!(doc(&app).objects.is_empty());
    app.click(AT, true);
    answer(&mut app, 4);
    let ids: Vec<ObjectId> = doc(&app).objects.iter().map(|o| o.id).collect();
    assert_eq!(ids, [ObjectId(2)]);
}

#[test]
fn undo_takes_what_has_no_answer_yet_and_not_the_step_before() {
    let asks: [fn(&mut App); 2] = [
        |app| {
            app.seek(1);
            app.click(AT, true);
        },
        |app| app.propagate(PropagateDirection::Both),
    ];
    for ask in asks {
        let mut app = window();
        app.paint(AT);
        app.end_paint();
        ask(&mut app);
        app.undo_or_redo(true);
        assert_eq!(doc(&app).objects.len(), 1, "the stroke stays");
        assert!(carried(&app).is_empty() && app.state.prompts().next().is_none());
        let said = |t: &crate::ui::state::Toast| t.text.starts_with("Undone");
        assert!(app.state.toasts.iter().any(said));
        app.undo_or_redo(true);
        assert!(doc(&app).objects.is_empty());
    }
}

#[test]
fn only_what_a_phrase_has_found_is_carried_for_it() {
    let mut app = window();
    let other = add_object(&mut app, &[0]);
    app.ground_phrase("a dog".to_owned(), true, None);
    ground(&mut app);
    let found = doc(&app).emissions[0].objects.clone();
    assert!(!found.contains(&other));
    assert_eq!(carried(&app), [found]);
}

#[test]
fn an_answer_does_not_change_the_selection_under_the_hand() {
    let mut app = window();
    let other = add_object(&mut app, &[0]);
    app.ground_phrase("a dog".to_owned(), false, None);
    app.select_object(Some(other));
    ground(&mut app);
    assert_eq!(app.state.selected, Some(other), "selected since");
    app.ground_phrase("a dog".to_owned(), false, None);
    app.click(AT, true);
    ground(&mut app);
    assert_eq!(app.state.selected, Some(other), "being clicked");
    app.finish_prompt();
    app.ground_phrase("a dog".to_owned(), false, None);
    app.seek(1);
    ground(&mut app);
    assert_eq!(app.state.selected, Some(other), "another frame is in view");
    app.seek(0);
    app.ground_phrase("a dog".to_owned(), false, None);
    ground(&mut app);
    assert_ne!(app.state.selected, Some(other));
}

#[test]
fn a_new_object_whose_clicks_are_dropped_is_not_selected_any_more() {
    let mut app = window();
    app.click(AT, true);
    answer(&mut app, 4);
    act(&mut app, Action::Stop);
    assert!(doc(&app).objects.is_empty());
    assert_eq!(app.state.selected, None);
    app.click(AT, true);
    answer(&mut app, 4);
    assert_eq!(doc(&app).objects.len(), 1);
}

#[test]
fn a_double_click_keeps_that_proposal_alone_in_one_step_with_its_mask() {
    for answered_between in [false, true] {
        let mut app = window();
        assert!(app.edit(Edit::add_emission(emission(&[true, true, false])), "ground"));
        app.toggle_proposal(1);
        if answered_between {
            answer(&mut app, 3);
        }
        app.use_proposal(1);
        assert_eq!(kept(&app), [false, true, false]);
        answer(&mut app, 4);
        assert_eq!(doc(&app).objects.len(), 1);
        app.undo_or_redo(true);
        assert_eq!(kept(&app), [true, true, false]);
        assert!(doc(&app).objects.is_empty());
    }
}

#[test]
fn the_mask_of_a_locked_object_is_not_deleted() {
    let mut app = window();
    let id = add_object(&mut app, &[0]);
    app.state.selected = Some(id);
    act(&mut app, Action::LockObject);
    app.delete_mask();
    assert!(doc(&app).objects[0].frames.contains_key(&FIRST));
    let said = |t: &crate::ui::state::Toast| t.text.contains("is locked");
    assert!(app.state.toasts.iter().any(said));
}

/// A stroke on it became an anchor that nobody had seen and that was exported.
#[test]
fn a_hidden_object_is_not_changed_unseen() {
    let mut app = window();
    let id = add_object(&mut app, &[0]);
    app.state.selected = Some(id);
    act(&mut app, Action::ShowObject);
    let before = doc(&app).clone();
    app.click(AT, true);
    act(&mut app, Action::NotHere);
    app.delete_mask();
    assert_eq!(doc(&app).objects, before.objects);
    assert!(app.state.prompts().next().is_none());
    let said = |t: &crate::ui::state::Toast| t.text.contains("is hidden. Show it");
    assert!(app.state.toasts.iter().any(said));
    act(&mut app, Action::ShowObject);
    act(&mut app, Action::NotHere);
    assert_ne!(doc(&app).objects, before.objects);
}

#[test]
fn undo_brings_a_clicked_mask_back_that_was_deleted_while_its_clicks_went_on() {
    let mut app = window();
    let id = add_object(&mut app, &[0]);
    app.state.selected = Some(id);
    app.click(AT, true);
    answer(&mut app, 4);
    app.click(AT, true);
    answer(&mut app, 5);
    app.click(AT, false);
    let late = asked(&app);
    app.delete_mask();
    send_answer(&mut app, late, 3);
    let area = |app: &App| doc(app).mask(id, FIRST).map(|m| m.rle.area());
    assert_eq!(area(&app), None);
    assert!(app.state.prompts().next().is_none());
    let mut undone = || {
        app.undo_or_redo(true);
        area(&app)
    };
    assert_eq!([undone(), undone(), undone()], [Some(5), Some(4), Some(2)]);
}

#[test]
fn every_stretch_worth_a_look_is_visited_once_in_turn() {
    let mut app = window();
    let ids = [
        add_object(&mut app, &[0, 3]),
        add_object(&mut app, &[0, 1, 4]),
    ];
    for id in ids {
        let object = doc(&app).object(id).unwrap();
        let masks = object.frames.iter().map(|(&frame, mask)| {
            let mut mask = mask.clone();
            mask.drift.area_jump = 1.0;
            (frame, Some(mask))
        });
        let (masks, by) = (masks.collect(), Author::Model);
        assert!(app.edit(Edit::SetMasks { id, masks, by }, "propagate"));
    }
    let mut seen = Vec::new();
    for _ in 0..5 {
        act(&mut app, Action::NextLook);
        seen.push((app.state.frame, app.state.selected.unwrap()));
    }
    // Frames 0 and 1 of the second object are one stretch.
    let all = [(0, ids[0]), (0, ids[1]), (3, ids[0]), (4, ids[1])];
    assert_eq!(seen[..4], all);
    assert_eq!(seen[4], all[0], "from the start again");
}

fn loaded(app: &mut App, model: &str) {
    let is_load = |j: &&Job| matches!(j.kind, JobKind::LoadModel);
    let job = app.state.jobs.iter().rev().find(is_load).unwrap().id;
    app.take(Update::ModelLoaded {
        job,
        model: model.to_owned(),
        device: "CPU".to_owned(),
        thresholds: Thresholds::default(),
        vocabulary: Vec::new(),
    });
    app.take(Update::Finished { job, secs: 0.1 });
}

#[test]
fn the_model_at_work_keeps_its_name_if_another_cannot_be_loaded() {
    let mut app = window();
    loaded(&mut app, "nano");
    app.load_model("other".to_owned());
    assert!(!app.state.model.ready && app.state.model.id == "other");
    let is_load = |j: &&Job| matches!(j.kind, JobKind::LoadModel);
    let job = app.state.jobs.iter().find(is_load).unwrap().id;
    let text = "the file is damaged".to_owned();
    app.take(Update::Failed { job, text });
    assert!(app.state.model.ready);
    assert_eq!(app.state.model.id, "nano");
    assert_eq!(app.state.model.device, "CPU");
}

#[test]
fn work_says_which_model_made_it() {
    let mut app = window();
    loaded(&mut app, "nano");
    app.load_model("other".to_owned());
    app.click(AT, true);
    answer(&mut app, 4);
    assert_eq!(doc(&app).model, "nano", "the other one is not there yet");
    app.finish_prompt();
    loaded(&mut app, "other");
    app.seek(1);
    app.click(AT, true);
    answer(&mut app, 4);
    assert_eq!(doc(&app).model, "other");
    app.undo_or_redo(true);
    assert_eq!(doc(&app).model, "nano");
}

#[test]
fn take_back_acts_on_the_review_although_a_polygon_is_open() {
    let mut app = window();
    let id = add_object(&mut app, &[0, 1]);
    let newer = Edit::set_mask(id, FIRST, mask(7), Author::Model);
    assert!(app.collect(Collecting::Propagation, newer, "propagate"));
    app.state.session.as_mut().unwrap().finish();
    app.set_tool(Tool::Polygon);
    app.outline_corner(AT);
    act(&mut app, Action::TakeBack);
    assert_eq!(doc(&app).objects[0].frames[&FIRST], mask(2));
    assert!(app.state.outline.is_some());
}

#[test]
fn escape_during_a_stroke_drops_the_stroke_and_nothing_else() {
    let mut app = window();
    let id = add_object(&mut app, &[0]);
    app.select_object(Some(id));
    app.paint(AT);
    act(&mut app, Action::Stop);
    // The pointer is still down.
    app.paint(PointPx { x: 3.0, y: 3.0 });
    app.end_paint();
    assert_eq!(doc(&app).objects[0].frames[&FIRST], mask(2));
    assert_eq!(app.state.selected, Some(id));
    app.undo_or_redo(true);
    assert!(doc(&app).objects.is_empty(), "the stroke left no step");
}

#[test]
fn undo_takes_a_newer_stroke_back_before_the_click_that_has_no_answer_yet() {
    let mut app = window();
    app.click(AT, true);
    app.seek(1);
    app.paint(AT);
    app.end_paint();
    app.undo_or_redo(true);
    assert!(doc(&app).objects.is_empty(), "the stroke is gone");
    assert!(app.state.is_awaited(ONE, FIRST), "the click is not");
    app.undo_or_redo(true);
    assert!(app.state.prompts().next().is_none());
}

#[test]
fn undo_takes_clicks_back_in_order_although_an_older_one_was_answered_since() {
    let mut app = window();
    app.click(AT, true);
    app.seek(1);
    app.click(AT, true);
    answer(&mut app, 4);
    app.undo_or_redo(true);
    assert!(app.state.prompts().next().is_none());
    assert_eq!(doc(&app).objects.len(), 1, "the first click stays");
    app.undo_or_redo(true);
    assert!(doc(&app).objects.is_empty());
}

#[test]
fn undo_of_a_proposal_gives_back_what_was_kept_although_a_slider_moved_since() {
    let mut app = window();
    assert!(app.edit(Edit::add_emission(emission(&[false, false])), "ground"));
    app.toggle_proposal(1);
    let thresholds = Thresholds {
        at_most: doc(&app).thresholds.at_most + 1,
        ..doc(&app).thresholds
    };
    let slide = Command::SetThresholds {
        thresholds,
        done: true,
    };
    app.run(&egui::Context::default(), slide);
    app.undo_or_redo(true);
    assert_ne!(doc(&app).thresholds, thresholds);
    assert_eq!(kept(&app), [false, true]);
    assert!(app.state.prompts().next().is_some());
    app.undo_or_redo(true);
    assert_eq!(kept(&app), [false, false]);
    assert!(app.state.prompts().next().is_none());
}

#[test]
fn accepting_clicks_gives_an_anchor_whether_their_mask_is_there_or_not() {
    for answered_before in [false, true] {
        let mut app = window();
        app.click(AT, true);
        if answered_before {
            answer(&mut app, 4);
            app.accept_frame();
        } else {
            app.accept_frame();
            answer(&mut app, 4);
        }
        let is_anchor = |app: &App| doc(app).object(ONE).unwrap().frames[&FIRST].anchor;
        assert!(is_anchor(&app) && app.state.prompting.is_none());
        app.accept_frame();
        assert!(!is_anchor(&app), "asked for by itself, it is taken back");
    }
}

#[test]
fn a_mask_accepted_while_its_replacement_is_on_the_way_is_accepted_if_that_fails() {
    let mut app = window();
    let id = add_object(&mut app, &[0]);
    app.select_object(Some(id));
    app.click(AT, true);
    app.accept_frame();
    assert!(!doc(&app).objects[0].frames[&FIRST].anchor);
    fail(&mut app);
    let accepted = &doc(&app).objects[0].frames[&FIRST];
    assert!(accepted.anchor && accepted.rle == mask(2).rle);
}

#[test]
fn what_was_selected_is_selected_again_if_a_proposal_gives_no_mask() {
    let mut app = window();
    let id = add_object(&mut app, &[0]);
    app.select_object(Some(id));
    assert!(app.edit(Edit::add_emission(emission(&[false, false])), "ground"));
    app.use_proposal(1);
    assert_ne!(app.state.selected, Some(id));
    fail(&mut app);
    assert_eq!(app.state.selected, Some(id));
}

#[test]
fn every_propagation_that_waits_for_a_mask_is_carried_out() {
    let mut app = window();
    let ids = [add_object(&mut app, &[0]), add_object(&mut app, &[0])];
    app.state.only_selected = true;
    app.select_object(Some(ids[0]));
    app.seek(1);
    app.click(AT, true);
    for id in ids {
        app.select_object(Some(id));
        app.propagate(PropagateDirection::Both);
        app.propagate(PropagateDirection::Both);
    }
    assert!(carried(&app).is_empty());
    answer(&mut app, 4);
    assert_eq!(carried(&app), [[ids[0]], [ids[1]]]);
}

#[test]
fn a_propagation_that_does_not_follow_a_mask_any_more_is_told() {
    let ways: [fn(&mut App); 2] = [|app| app.click(AT, true), fail];
    for way in ways {
        let mut app = window();
        app.click(AT, true);
        app.propagate(PropagateDirection::Both);
        way(&mut app);
        assert!(app.state.queued.is_empty() && carried(&app).is_empty());
        assert!(was_said(&app, "was dropped"));
    }
}

#[test]
fn escape_passes_over_a_model_that_is_being_loaded_and_over_what_stops_already() {
    let mut app = window();
    let job = app.state.jobs[0].id;
    app.take(Update::Started { job });
    assert!(matches!(app.state.jobs[0].kind, JobKind::LoadModel));
    app.ground_phrase("a dog".to_owned(), false, None);
    app.state.selected = Some(add_object(&mut app, &[0]));
    act(&mut app, Action::Stop);
    let stopping = |app: &App| {
        app.state
            .jobs
            .iter()
            .map(|j| j.stopping)
            .collect::<Vec<_>>()
    };
    assert_eq!(stopping(&app), [false, true]);
    assert!(app.state.selected.is_some());
    act(&mut app, Action::Stop);
    assert_eq!(app.state.selected, None);
}

#[test]
fn a_stroke_begun_before_a_phrase_is_answered_makes_an_object_of_its_own() {
    let mut app = window();
    app.ground_phrase("a dog".to_owned(), false, None);
    app.paint(AT);
    ground(&mut app);
    app.paint(PointPx { x: 3.0, y: 3.0 });
    app.end_paint();
    let found = doc(&app).emissions[0].objects.clone();
    let [by_phrase] = found[..] else {
        panic!("{found:?}");
    };
    let answer = &doc(&app).object(by_phrase).unwrap().frames[&FIRST];
    assert!(!answer.anchor && answer.provenance == Provenance::Model);
    assert_eq!(doc(&app).objects.len(), 2);
    let mut others = doc(&app).objects.iter().filter(|o| o.id != by_phrase);
    assert!(others.next().unwrap().frames[&FIRST].anchor);
}
