//! Work by hand while the model answers, and after it had no answer: what belongs to whom, and what undo gives back.

use std::time::{Duration, Instant};

use egui_kittest::kittest::Queryable as _;
use sparrow::project::{FrameIndex, Object, ObjectId, Provenance};

use crate::ui::{Window, open};

const UNDO: (egui::Modifiers, egui::Key) = (egui::Modifiers::COMMAND, egui::Key::Z);

fn object(window: &Window, id: u32) -> Option<&Object> {
    window.doc().object(ObjectId(id))
}

/// Starts to carry masks forward and waits until so many frames are there.
fn carry_until(window: &mut Window, frames: usize) {
    window
        .harness
        .key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::ArrowRight);
    let start = Instant::now();
    while window.doc().objects[0].frames.len() < frames {
        assert!(start.elapsed() < Duration::from_secs(120));
        window.harness.step();
        std::thread::sleep(Duration::from_millis(3));
    }
}

#[test]
fn a_proposal_chosen_after_no_match_makes_an_object_of_that_phrase() {
    let mut window = open();
    window.ground("the red ball");
    let ball = object(&window, 1).unwrap().clone();
    window.type_over("nothing blue", egui::Key::Enter);
    let emission = window.doc().emissions.last().unwrap();
    assert_eq!(
        (emission.phrase.as_str(), emission.objects.len()),
        ("nothing blue", 0)
    );
    window
        .harness
        .get_by_label_contains("Proposal 1, not kept")
        .click();
    window.settle();
    assert_eq!(
        object(&window, 1),
        Some(&ball),
        "what was selected is another thing"
    );
    let made = object(&window, 2).expect("an object of its own");
    assert_eq!(made.phrase, "nothing blue");
    assert_eq!(made.frames[&FrameIndex(0)].provenance, Provenance::Model);
    assert_eq!(
        window.doc().emissions.last().unwrap().objects,
        [ObjectId(2)]
    );
    window.press_with(UNDO.0, UNDO.1);
    assert!(object(&window, 2).is_none());
    assert!(window.doc().emissions.last().unwrap().objects.is_empty());
}

#[test]
fn a_box_drawn_for_what_the_model_does_not_see_is_taken_for_it() {
    let mut window = open();
    window.ground("nothing at all");
    window.press(egui::Key::Escape);
    window.press(egui::Key::R);
    window.drag(egui::vec2(-120.0, -60.0), egui::vec2(-40.0, 20.0));
    let made = object(&window, 1).expect("made of the box");
    assert_eq!(made.phrase, "nothing at all");
    let emission = window.doc().emissions.last().unwrap();
    assert!(emission.proposals.iter().all(|p| p.drawn == p.selected));
    assert_eq!(emission.objects, [ObjectId(1)]);
}

#[test]
fn what_is_in_view_is_carried_on_although_it_was_carried_here() {
    let mut window = open();
    window.ground("the red ball");
    window.press_with(egui::Modifiers::COMMAND, egui::Key::P);
    window.press(egui::Key::Delete);
    assert!(!window.doc().objects[0].frames.contains_key(&FrameIndex(0)));
    for _ in 0..5 {
        window.press(egui::Key::ArrowRight);
    }
    let in_view = window.doc().objects[0].frames[&FrameIndex(5)].clone();
    window.press(egui::Key::ArrowRight);
    window.press(egui::Key::Delete);
    window.press(egui::Key::ArrowLeft);
    window.press_with(egui::Modifiers::COMMAND, egui::Key::ArrowRight);
    let frames = &window.doc().objects[0].frames;
    assert!(
        frames.contains_key(&FrameIndex(6)),
        "carried on from frame 5"
    );
    assert_eq!(frames[&FrameIndex(5)], in_view);
}

#[test]
fn a_frame_accepted_during_a_propagation_is_undone_in_order() {
    let mut window = open();
    window.ground("the very slow red ball");
    window.press(egui::Key::ArrowRight);
    window.press(egui::Key::ArrowLeft);
    carry_until(&mut window, 4);
    // Frame 1 is there, the rest still comes.
    window.harness.key_press(egui::Key::ArrowRight);
    window.harness.step();
    window.harness.key_press(egui::Key::K);
    window.harness.step();
    let anchored = |w: &Window| {
        let mask = w.doc().objects[0].frames.get(&FrameIndex(1));
        mask.map(|m| m.anchor)
    };
    assert_eq!(anchored(&window), Some(true));
    window.settle();
    assert_eq!(
        window.doc().objects[0].frames.len() as u32,
        crate::ui_fake::FRAMES
    );
    window.press_with(UNDO.0, UNDO.1);
    assert_eq!(
        anchored(&window),
        Some(true),
        "only what came after it is gone"
    );
    window.press_with(UNDO.0, UNDO.1);
    assert_eq!(anchored(&window), Some(false));
    window.press_with(UNDO.0, UNDO.1);
    assert_eq!(anchored(&window), None);
    assert_eq!(window.doc().objects[0].frames.len(), 1);
}

#[test]
fn what_was_emitted_since_is_not_carried_over() {
    let mut window = open();
    window.ground("the slow red ball");
    for _ in 0..12 {
        window.press(egui::Key::ArrowRight);
    }
    // Both are on their way: the propagation knows nothing of the emission.
    window.harness.key_press(egui::Key::G);
    window.harness.step();
    window
        .harness
        .key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::P);
    window.settle();
    let frames = &window.doc().objects[0].frames;
    assert_eq!(frames.len() as u32, crate::ui_fake::FRAMES);
    assert_eq!(frames[&FrameIndex(12)].provenance, Provenance::Model);
}

#[test]
fn an_anchor_taken_back_may_be_carried_over_again() {
    let mut window = open();
    window.ground("the drifting red ball");
    window.press_with(egui::Modifiers::COMMAND, egui::Key::P);
    window.press(egui::Key::ArrowRight);
    window.press(egui::Key::K);
    let mask = |w: &Window| w.doc().objects[0].frames[&FrameIndex(1)].clone();
    assert!(mask(&window).anchor);
    let before = mask(&window).rle;
    window.press(egui::Key::K);
    assert!(!mask(&window).anchor);
    assert_eq!(mask(&window).provenance, Provenance::Propagated);
    window.press_with(egui::Modifiers::COMMAND, egui::Key::P);
    assert_ne!(mask(&window).rle, before, "it was carried again");
    window.press_with(UNDO.0, UNDO.1);
    window.press_with(UNDO.0, UNDO.1);
    assert!(mask(&window).anchor);
}

#[test]
fn phrases_of_other_frames_are_carried_framewise_as_well() {
    let mut window = open();
    window.ground("the red ball");
    window.type_over("the blue block", egui::Key::Enter);
    assert_eq!(window.doc().objects.len(), 2);
    for _ in 0..3 {
        window.press(egui::Key::ArrowRight);
    }
    window.click("framewise");
    window.press_with(egui::Modifiers::COMMAND, egui::Key::P);
    for object in &window.doc().objects {
        assert_eq!(
            object.frames.len() as u32,
            crate::ui_fake::FRAMES,
            "{}",
            object.name
        );
    }
}

#[test]
fn what_was_chosen_for_a_phrase_goes_on_answering_to_it() {
    let mut window = open();
    window.ground("nothing at all");
    window.press(egui::Key::Escape);
    window.press(egui::Key::R);
    window.drag(egui::vec2(-120.0, -60.0), egui::vec2(-40.0, 20.0));
    let listed = |w: &Window| w.doc().emissions.last().unwrap().objects.clone();
    assert_eq!(listed(&window), [ObjectId(1)]);
    let mask = window.doc().objects[0].frames[&FrameIndex(0)].clone();
    // Asked again, with nothing drawn anew.
    window.press(egui::Key::G);
    assert_eq!(listed(&window), [ObjectId(1)]);
    assert_eq!(window.doc().objects.len(), 1);
    assert_eq!(window.doc().objects[0].frames[&FrameIndex(0)], mask);
    // On another frame it is the same thing.
    for _ in 0..5 {
        window.press(egui::Key::ArrowRight);
    }
    window.press(egui::Key::G);
    assert!(listed(&window).is_empty());
    window
        .harness
        .get_by_label_contains("Proposal 1, not kept")
        .click();
    window.settle();
    assert_eq!(window.doc().objects.len(), 1);
    assert!(window.doc().objects[0].frames.contains_key(&FrameIndex(5)));
    assert_eq!(listed(&window), [ObjectId(1)]);
}

#[test]
fn after_no_match_another_phrase_can_be_typed_at_once() {
    let mut window = open();
    window.ground("nothing at all");
    // The field has the keyboard already, and all that stands there is marked.
    window
        .harness
        .get_by_label("Phrase")
        .type_text("the red ball");
    window.harness.step();
    window.press(egui::Key::Enter);
    assert_eq!(
        window.doc().emissions.last().unwrap().phrase,
        "the red ball"
    );
    assert_eq!(window.doc().objects.len(), 1);
}

#[test]
fn escape_leaves_the_phrase_field_and_not_the_object() {
    let mut window = open();
    window.ground("the red ball");
    window.press(egui::Key::Slash);
    window.press(egui::Key::Escape);
    // The keyboard is the window's again, and the ball is selected still.
    window.press(egui::Key::L);
    assert!(window.doc().objects[0].locked);
    window.press(egui::Key::Escape);
    window.press(egui::Key::L);
    assert!(
        window.doc().objects[0].locked,
        "nothing is selected any more"
    );
}

#[test]
fn a_key_for_the_phrase_field_marks_what_stands_there() {
    let mut window = open();
    window.ground("the red ball");
    window.press(egui::Key::Slash);
    window
        .harness
        .get_by_label("Phrase")
        .type_text("nothing blue");
    window.harness.step();
    window.press(egui::Key::Enter);
    assert_eq!(
        window.doc().emissions.last().unwrap().phrase,
        "nothing blue"
    );
}

#[test]
fn a_new_name_is_typed_over_the_old_one() {
    let mut window = open();
    window.ground("the red ball");
    window.press(egui::Key::F2);
    window
        .harness
        .get_by_label("Object name")
        .type_text("Bella");
    window.harness.step();
    window.press(egui::Key::Enter);
    assert_eq!(window.doc().objects[0].name, "Bella");
}

#[test]
fn the_colour_of_an_object_is_chosen_by_its_swatch() {
    let mut window = open();
    window.ground("the red ball");
    window.click("Colour of the red ball");
    window.click("Colour 8");
    assert_eq!(window.doc().objects[0].colour, 7);
    window.press_with(UNDO.0, UNDO.1);
    assert_eq!(window.doc().objects[0].colour, 0);
}
