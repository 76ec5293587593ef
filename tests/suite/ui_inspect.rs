//! Finding one's way in the window: every tool in reach, all that was asked on a frame, where to look and why, the
//! timeline from near.

use egui_kittest::kittest::Queryable as _;

use crate::{
    ui::{HD, Window, open},
    ui_fake,
};

fn open_at(size: [f32; 2]) -> Window {
    let dir = tempfile::tempdir().unwrap();
    let clip = dir.path().join("flight");
    std::fs::create_dir(&clip).unwrap();
    ui_fake::write_clip(&clip);
    Window::open_in(dir, &clip, size, egui::Theme::Dark, true)
}

#[test]
fn every_tool_can_be_reached_in_the_smallest_window() {
    let mut window = open_at([960.0, 600.0]);
    let labels = [
        "Select",
        "Box",
        "Points",
        "Polygon",
        "Brush",
        "Eraser",
        "Pan",
        "Proposals on the frame",
        "Objectness heat map",
        "Fit to window",
    ];
    let places = labels.map(|label| window.harness.get_by_label(label).rect());
    for (i, a) in places.iter().enumerate() {
        for (j, b) in places[..i].iter().enumerate() {
            assert!(!a.intersects(*b), "{} and {}", labels[i], labels[j]);
        }
    }
    window.press(egui::Key::Escape);
    window.click("Eraser");
    window.harness.get_by_label("Brush size");
    window.click("Pan");
    assert!(window.harness.query_by_label("Brush size").is_none());
}

#[test]
fn what_was_asked_first_on_a_frame_can_be_looked_at_again() {
    let mut window = open();
    window.ground("the red ball");
    let chooser = "Emission of this frame";
    assert!(window.harness.query_by_label(chooser).is_none());
    window.type_over("the blue block", egui::Key::Enter);
    assert_eq!(window.doc().emissions.len(), 2);
    let shown = |window: &Window| window.harness.get_by_label(chooser).value();
    assert_eq!(shown(&window).as_deref(), Some("“the blue block”"));
    window.click("Object the red ball");
    assert_eq!(shown(&window).as_deref(), Some("“the red ball”"));
    // The thresholds and what is kept are those of the emission that is shown.
    window
        .harness
        .get_by_label("Proposal 0, kept, confidence .94")
        .click();
    window.settle();
    let kept = |window: &Window, at: usize| {
        let proposals = &window.doc().emissions[at].proposals;
        proposals.iter().filter(|p| p.selected).count()
    };
    assert_eq!((kept(&window, 0), kept(&window, 1)), (1, 2));
    window.click(chooser);
    window.click("“the blue block”");
    assert_eq!(shown(&window).as_deref(), Some("“the blue block”"));
}

#[test]
fn a_stretch_worth_a_look_is_found_and_says_why() {
    let mut window = open();
    window.ground("the red ball");
    window.press_with(egui::Modifiers::COMMAND, egui::Key::ArrowRight);
    window.press(egui::Key::N);
    assert_eq!(window.frame(), 14);
    window.harness.get_by_label_contains("the area jumped ×2.3");
    // Within the stretch, the next one is the same again: there is no other.
    window.press(egui::Key::ArrowRight);
    window.press(egui::Key::N);
    assert_eq!(window.frame(), 14);
    window.press(egui::Key::Home);
    assert!(
        window
            .harness
            .query_by_label_contains("the area jumped")
            .is_none()
    );
    window.press_with(egui::Modifiers::SHIFT, egui::Key::N);
    assert_eq!(window.frame(), 14);
    window.press(egui::Key::Home);
    let worst = egui::Modifiers::COMMAND | egui::Modifiers::SHIFT;
    window.press_with(worst, egui::Key::N);
    assert_eq!(window.frame(), 14);
}

#[test]
fn the_timeline_is_looked_at_from_near_and_follows_the_frame() {
    let mut window = open();
    window.press(egui::Key::Escape);
    let part = |window: &Window| {
        let bar = window.harness.query_by_label_contains("Part shown");
        bar.map(|bar| bar.rect())
    };
    assert_eq!(part(&window), None);
    let ruler = window.harness.get_by_label_contains("Ruler").rect();
    window.harness.hover_at(ruler.left_center());
    window.harness.step();
    window.harness.event(egui::Event::Zoom(1.5));
    window.settle();
    assert!(part(&window).is_some());
    window.harness.get_by_label("Part shown, frames 0 to 15");
    window.press(egui::Key::End);
    window.harness.get_by_label("Part shown, frames 8 to 23");
    window.press_with(egui::Modifiers::SHIFT, egui::Key::F);
    assert_eq!(part(&window), None);
}

#[test]
fn what_explains_a_slider_does_not_cover_the_next_one() {
    let mut window = open_at(HD);
    window.ground("the red ball");
    let [slider, next] =
        ["Keep above", "Keep at most"].map(|name| window.harness.get_by_label(name).rect());
    window.harness.hover_at(slider.center());
    window.harness.run_steps(90);
    let tooltip = window
        .harness
        .get_by_label_contains("The model does not run again")
        .rect();
    assert!(!tooltip.intersects(slider) && !tooltip.intersects(next));
}

#[test]
fn the_help_uses_the_height_there_is() {
    let mut window = open_at([1440.0, 900.0]);
    window.press(egui::Key::Escape);
    window.press(egui::Key::F1);
    let first = window.harness.get_by_label("Ground and propagate").rect();
    let link = window.harness.get_by_label("Change keys…").rect();
    for label in ["File", "View", "Tools", "Frames", "Objects and masks"] {
        let title = window.harness.get_by_label(label).rect();
        assert!(
            title.top() >= first.top() && title.bottom() < link.top(),
            "{label}"
        );
    }
    assert!(link.top() - first.top() > 321.0 && link.bottom() < 900.0);
}
