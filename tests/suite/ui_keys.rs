//! What keys mean in the window: keys that are held, keys while something else has the keyboard.

use egui_kittest::kittest::Queryable as _;
use sparrow::project::FrameIndex;

use crate::ui::{Window, open};

/// Presses a key and goes on pressing, as a keyboard does while it is held.
fn hold(window: &mut Window, modifiers: egui::Modifiers, key: egui::Key) {
    for _ in 0..3 {
        window.harness.key_down_modifiers(modifiers, key);
        window.harness.step();
    }
}

#[test]
fn enter_on_keep_it_keeps_the_object() {
    let mut window = open();
    window.ground("the red ball");
    window.press_with(egui::Modifiers::SHIFT, egui::Key::Delete);
    window.harness.get_by_label("Keep it").focus();
    window.harness.step();
    window.press(egui::Key::Enter);
    assert!(window.harness.query_by_label("Keep it").is_none());
    assert_eq!(window.doc().objects.len(), 1);
    // From everywhere else it deletes.
    window.press_with(egui::Modifiers::SHIFT, egui::Key::Delete);
    window.press(egui::Key::Enter);
    assert!(window.doc().objects.is_empty());
}

#[test]
fn a_space_key_that_has_panned_does_not_play() {
    let mut window = open();
    window.press(egui::Key::Escape);
    let canvas = window.harness.get_by_label("Canvas, frame 0").rect();
    hold(&mut window, egui::Modifiers::NONE, egui::Key::Space);
    window.harness.drag_at(canvas.center());
    window.harness.step();
    let there = canvas.center() + egui::vec2(80.0, 0.0);
    window.harness.hover_at(there);
    window.harness.step();
    hold(&mut window, egui::Modifiers::NONE, egui::Key::Space);
    window.harness.drop_at(there);
    window.harness.key_up(egui::Key::Space);
    window.harness.run_steps(60);
    assert_eq!(window.frame(), 0);
}

#[test]
fn a_held_key_accepts_a_frame_once() {
    let mut window = open();
    window.ground("the red ball");
    for _ in 0..2 {
        window.harness.key_down(egui::Key::K);
        window.harness.step();
    }
    window.harness.key_up(egui::Key::K);
    window.settle();
    assert!(window.doc().objects[0].frames[&FrameIndex(0)].anchor);
}

#[test]
fn masks_that_are_being_propagated_are_not_propagated_twice() {
    let mut window = open();
    window.ground("the very slow red ball");
    let forward = (egui::Modifiers::COMMAND, egui::Key::ArrowRight);
    window.harness.key_press_modifiers(forward.0, forward.1);
    window.harness.step();
    window.harness.key_press_modifiers(forward.0, forward.1);
    window.harness.step();
    window
        .harness
        .get_by_label_contains("being propagated already");
    window.press(egui::Key::Escape);
}

#[test]
fn a_drag_takes_the_keyboard_from_the_phrase() {
    let mut window = open();
    window.harness.get_by_label("Phrase").focus();
    window.harness.step();
    window.harness.get_by_label("Phrase").type_text("a horse");
    window.harness.step();
    window.drag(egui::vec2(-60.0, 0.0), egui::vec2(60.0, 0.0));
    window.press(egui::Key::ArrowRight);
    assert_eq!(window.frame(), 1);
}
