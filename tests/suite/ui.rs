//! The whole window without a display: opened, typed into, clicked by accessible labels, with an engine that answers
//! always the same. Snapshots need any wgpu adapter; without one they are skipped loudly.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use egui_kittest::{Harness, kittest::Queryable as _, wgpu::WgpuTestRenderer};
use sparrow::{
    project::{Document, FrameIndex},
    store::Store,
    ui::App,
};

use crate::{gpu, ui_fake};

/// A window in a harness, with its clip and its settings in a folder of its own.
pub(super) struct Window {
    pub(super) harness: Harness<'static, Option<App>>,
    pub(super) dir: tempfile::TempDir,
}

impl Window {
    fn open(size: [f32; 2], theme: egui::Theme, with_clip: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clip = dir.path().join("flight");
        std::fs::create_dir(&clip).unwrap();
        ui_fake::write_clip(&clip);
        Self::open_in(dir, &clip, size, theme, with_clip)
    }

    pub(super) fn open_in(
        dir: tempfile::TempDir,
        clip: &Path,
        size: [f32; 2],
        theme: egui::Theme,
        with_clip: bool,
    ) -> Self {
        let options = ui_fake::options(with_clip.then_some(clip), dir.path());
        let mut waiting = Some(options);
        let mut builder = Harness::builder()
            .with_size(size)
            .with_max_steps(400)
            .with_step_dt(1.0 / 60.0)
            .with_render_cursor(false);
        if let Some(state) = gpu::render_state() {
            sparrow::render::install(&state);
            builder = builder.renderer(WgpuTestRenderer::from_render_state(state));
        }
        let harness = builder.build_ui_state(
            move |ui, app: &mut Option<App>| {
                let app = app.get_or_insert_with(|| {
                    let app = App::new(ui.ctx(), waiting.take().unwrap()).unwrap();
                    ui.ctx().set_theme(theme);
                    app
                });
                let ctx = ui.ctx().clone();
                app.run_logic(&ctx);
                // The harness puts a margin around; the window has none.
                let whole = egui::UiBuilder::new().max_rect(ctx.content_rect());
                let mut root = ui.new_child(whole);
                root.set_clip_rect(ctx.content_rect());
                app.draw(&mut root);
            },
            None,
        );
        let mut window = Self { harness, dir };
        window.settle();
        window
    }

    /// Lets the other threads come to rest; fails after two minutes.
    pub(super) fn settle(&mut self) {
        let start = Instant::now();
        let mut calm = 0;
        while calm < 4 {
            assert!(
                start.elapsed() < Duration::from_secs(120),
                "the window never came to rest"
            );
            self.harness.step();
            let app = self.harness.state().as_ref().unwrap();
            calm = if app.is_settled() { calm + 1 } else { 0 };
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    pub(super) fn doc(&self) -> &Document {
        self.harness.state().as_ref().unwrap().document().unwrap()
    }

    pub(super) fn frame(&self) -> u32 {
        self.harness.state().as_ref().unwrap().frame_in_view()
    }

    pub(super) fn press(&mut self, key: egui::Key) {
        self.harness.key_press(key);
        self.settle();
    }

    pub(super) fn press_with(&mut self, modifiers: egui::Modifiers, key: egui::Key) {
        self.harness.key_press_modifiers(modifiers, key);
        self.settle();
    }

    pub(super) fn click(&mut self, label: &str) {
        self.harness.get_by_label(label).click();
        self.settle();
    }

    /// Drags on the canvas between two places measured from its middle.
    pub(super) fn drag(&mut self, from: egui::Vec2, to: egui::Vec2) {
        let label = format!("Canvas, frame {}", self.frame());
        let middle = self.harness.get_by_label(&label).rect().center();
        self.harness.drag_at(middle + from);
        self.harness.step();
        self.harness.hover_at(middle + to);
        self.harness.step();
        self.harness.drop_at(middle + to);
        self.settle();
    }

    /// Clicks on the canvas at a place measured from its middle.
    fn click_at(&mut self, at: egui::Vec2) {
        let label = format!("Canvas, frame {}", self.frame());
        let middle = self.harness.get_by_label(&label).rect().center();
        self.harness.hover_at(middle + at);
        self.harness.step();
        self.harness.drag_at(middle + at);
        self.harness.drop_at(middle + at);
        self.settle();
        // Two clicks within a moment would be a double click.
        self.harness.run_steps(30);
    }

    /// Types a phrase and presses Enter.
    pub(super) fn ground(&mut self, phrase: &str) {
        self.harness.get_by_label("Phrase").focus();
        self.harness.step();
        self.harness.get_by_label("Phrase").type_text(phrase);
        self.harness.step();
        self.harness.key_press(egui::Key::Enter);
        self.settle();
    }

    /// Types another phrase in place of the one that stands there, then presses Enter to ask it or Escape to leave it.
    pub(super) fn type_over(&mut self, phrase: &str, end: egui::Key) {
        self.harness.get_by_label("Phrase").focus();
        self.harness.step();
        self.harness
            .key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::A);
        self.harness.step();
        self.harness.get_by_label("Phrase").type_text(phrase);
        self.harness.step();
        self.press(end);
    }

    fn kept(&self) -> usize {
        let emission = self.doc().emissions.last().unwrap();
        emission.proposals.iter().filter(|p| p.selected).count()
    }
}

pub(super) const HD: [f32; 2] = [1280.0, 720.0];

pub(super) fn open() -> Window {
    Window::open(HD, egui::Theme::Dark, true)
}

#[test]
fn a_phrase_brings_proposals_and_a_mask() {
    let mut window = open();
    assert_eq!(window.doc().video.frames, ui_fake::FRAMES);
    window.ground("the red ball");
    let doc = window.doc();
    assert_eq!(doc.emissions.len(), 1);
    assert_eq!(doc.emissions[0].phrase, "the red ball");
    assert_eq!(doc.objects.len(), 1);
    assert!(doc.objects[0].frames.contains_key(&FrameIndex(0)));
    assert_eq!(window.kept(), 2);
    // The table shows what is kept, and why.
    window
        .harness
        .get_by_label("Proposal 0, kept, confidence .94");
    window.harness.get_by_label("[BOX] .99");
    window.harness.check_accessibility();
}

#[test]
fn thresholds_act_at_once_and_undo_takes_them_back() {
    let mut window = open();
    window.ground("the red ball");
    assert_eq!(
        window.doc().thresholds.keep,
        0.402,
        "showing the slider must not move it to its nearest step"
    );
    window
        .harness
        .get_by_label("Keep above")
        .set_value_accesskit(0.8);
    window.settle();
    assert_eq!(window.kept(), 1);
    assert!((window.doc().thresholds.keep - 0.8).abs() < 1e-3);
    assert_eq!(
        window.doc().emissions.len(),
        1,
        "the model must not run again"
    );
    window.press_with(egui::Modifiers::COMMAND, egui::Key::Z);
    assert_eq!(window.kept(), 2);
    window.press_with(
        egui::Modifiers::COMMAND | egui::Modifiers::SHIFT,
        egui::Key::Z,
    );
    assert_eq!(window.kept(), 1);
}

#[test]
fn propagation_fills_the_clip_as_one_step_and_spares_anchors() {
    let mut window = open();
    window.ground("the red ball");
    // An anchor that no model may change: the accepted mask of frame 0.
    window.press(egui::Key::K);
    assert_eq!(window.doc().objects[0].anchors().count(), 1);
    window.press_with(egui::Modifiers::COMMAND, egui::Key::ArrowRight);
    let frames = &window.doc().objects[0].frames;
    assert_eq!(frames.len() as u32, ui_fake::FRAMES);
    assert!(frames[&FrameIndex(0)].anchor);
    // The next frame worth a look is where the fake's signs are.
    window.press(egui::Key::N);
    assert_eq!(window.frame(), 14);
    window.press_with(egui::Modifiers::COMMAND, egui::Key::Z);
    assert_eq!(window.doc().objects[0].frames.len(), 1);
}

#[test]
fn keys_step_jump_and_leave_the_phrase_alone() {
    let mut window = open();
    window.press(egui::Key::Escape);
    window.press(egui::Key::ArrowRight);
    assert_eq!(window.frame(), 1);
    window.press_with(egui::Modifiers::SHIFT, egui::Key::ArrowRight);
    assert_eq!(window.frame(), 11);
    window.press(egui::Key::End);
    assert_eq!(window.frame(), ui_fake::FRAMES - 1);
    window.press(egui::Key::Home);
    assert_eq!(window.frame(), 0);
    // While typing, letters are letters.
    window.harness.get_by_label("Phrase").focus();
    window.harness.step();
    window.harness.get_by_label("Phrase").type_text("dad");
    window.press(egui::Key::D);
    assert_eq!(window.frame(), 0);
}

#[test]
fn clicks_make_an_object_that_is_an_anchor() {
    let mut window = open();
    window.press(egui::Key::Escape);
    window.press(egui::Key::Q);
    let canvas = window.harness.get_by_label("Canvas, frame 0").rect();
    window.harness.hover_at(canvas.center());
    window.harness.step();
    window.harness.drag_at(canvas.center());
    window.harness.drop_at(canvas.center());
    window.settle();
    assert_eq!(window.doc().objects.len(), 1);
    let mask = &window.doc().objects[0].frames[&FrameIndex(0)];
    assert!(mask.anchor);
    // Esc drops the clicks and what they made.
    window.press(egui::Key::Escape);
    assert_eq!(window.doc().objects.len(), 0);
}

#[test]
fn a_correction_says_what_the_object_looks_like_elsewhere() {
    let mut window = open();
    window.press(egui::Key::Escape);
    window.press(egui::Key::Q);
    let click = |window: &mut Window, frame: u32| {
        let label = format!("Canvas, frame {frame}");
        let middle = window.harness.get_by_label(&label).rect().center();
        window.harness.hover_at(middle);
        window.harness.step();
        window.harness.drag_at(middle);
        window.harness.drop_at(middle);
        window.settle();
    };
    for frame in 0..4 {
        click(&mut window, frame);
        window.press(egui::Key::Enter);
        window.press(egui::Key::ArrowRight);
    }
    assert_eq!(window.doc().objects.len(), 1);
    let known: Vec<f32> = window.doc().objects[0]
        .frames
        .values()
        .map(|m| m.iou)
        .collect();
    // The nearest two anchors at most, never the frame's own.
    assert_eq!(known, [0.0, 0.1, 0.2, 0.2]);
}

#[test]
fn painting_makes_one_step_per_stroke() {
    let mut window = open();
    window.press(egui::Key::Escape);
    window.press(egui::Key::B);
    window.drag(egui::vec2(-60.0, 0.0), egui::Vec2::ZERO);
    let doc = window.doc();
    assert_eq!(doc.objects.len(), 1);
    let mask = &doc.objects[0].frames[&FrameIndex(0)];
    assert!(mask.anchor && mask.rle.area() > 300);
    window.press_with(egui::Modifiers::COMMAND, egui::Key::Z);
    assert_eq!(window.doc().objects.len(), 0);
}

#[test]
fn a_new_result_can_be_compared_with_the_old_one_and_taken_back() {
    let mut window = open();
    window.ground("the drifting red ball");
    window.press_with(egui::Modifiers::COMMAND, egui::Key::P);
    let first = window.doc().objects[0].frames.clone();
    // Masks where there were none replace nothing.
    assert!(window.harness.query_by_label("Take back").is_none());
    window.press_with(egui::Modifiers::COMMAND, egui::Key::P);
    let as_before = |w: &Window| w.doc().objects[0].frames == first;
    assert!(!as_before(&window));
    window
        .harness
        .get_by_label_contains("replaced earlier masks on 23 frames");
    window.press(egui::Key::ArrowRight);
    window.harness.key_down(egui::Key::C);
    window.settle();
    window.harness.get_by_label("before");
    window.harness.key_up(egui::Key::C);
    window.settle();
    assert!(!as_before(&window), "looking changes nothing");
    window.click("Take back");
    assert!(as_before(&window));
    assert!(window.harness.query_by_label("Take back").is_none());
    // Once more, and kept this time: the question is gone, undo is not.
    window.press_with(egui::Modifiers::COMMAND, egui::Key::P);
    window.press_with(egui::Modifiers::SHIFT, egui::Key::K);
    assert!(window.harness.query_by_label("Keep").is_none());
    window.press_with(egui::Modifiers::COMMAND, egui::Key::Z);
    assert!(as_before(&window));
}

#[test]
fn a_polygon_joins_the_mask_and_is_cut_out_of_it() {
    let mut window = open();
    window.press(egui::Key::Escape);
    window.press(egui::Key::P);
    let square = [(-80.0, -60.0), (80.0, -60.0), (80.0, 60.0), (-80.0, 60.0)];
    for (x, y) in square {
        window.click_at(egui::vec2(x, y));
    }
    // A corner too many, taken back.
    window.click_at(egui::vec2(-200.0, 100.0));
    window.press(egui::Key::Backspace);
    assert!(window.doc().objects.is_empty());
    window.press(egui::Key::Enter);
    let mask = window.doc().objects[0].frames[&FrameIndex(0)].clone();
    assert!(mask.anchor && mask.rle.area() > 500);
    window.click("is cut out");
    for (x, y) in [(0.0, -90.0), (120.0, -90.0), (120.0, 90.0), (0.0, 90.0)] {
        window.click_at(egui::vec2(x, y));
    }
    // The first corner again closes.
    window.click_at(egui::vec2(0.0, -90.0));
    let half = window.doc().objects[0].frames[&FrameIndex(0)].rle.area();
    let share = half as f64 / mask.rle.area() as f64;
    assert!((0.45..0.55).contains(&share), "{share}");
    // Esc drops what is not closed.
    window.click_at(egui::vec2(0.0, 0.0));
    window.press(egui::Key::Escape);
    window.press(egui::Key::Enter);
    window.press_with(egui::Modifiers::COMMAND, egui::Key::Z);
    let back = &window.doc().objects[0].frames[&FrameIndex(0)];
    assert_eq!(back.rle, mask.rle);
}

#[test]
fn the_keys_of_another_tool_are_taken_over_at_once() {
    let mut window = open();
    window.press(egui::Key::Escape);
    window.press_with(egui::Modifiers::COMMAND, egui::Key::K);
    window
        .harness
        .get_by_label("Search commands")
        .type_text("keyboard");
    window.settle();
    window.press(egui::Key::Enter);
    window.click("CVAT");
    window.press(egui::Key::Escape);
    window.press(egui::Key::F);
    window.press(egui::Key::F);
    window.press(egui::Key::D);
    assert_eq!(window.frame(), 1);
    window.press(egui::Key::V);
    assert_eq!(window.frame(), 11);
}

#[test]
fn a_phrase_that_matches_nothing_is_said_and_kept() {
    let mut window = open();
    window.ground("nothing at all");
    assert_eq!(window.doc().emissions.len(), 1);
    assert!(window.doc().objects.is_empty());
    window
        .harness
        .get_by_label_contains("Nothing on frame 0 matches");
}

#[test]
fn unknown_words_are_named_and_lead_to_the_known_ones() {
    let mut window = open();
    window.ground("the brown horse");
    window
        .harness
        .get_by_label_contains("nano does not know “horse”");
    window
        .harness
        .get_by_label("See the words it knows")
        .click_accesskit();
    window.settle();
    window.harness.get_by_label("block");
}

#[test]
fn export_writes_reads_back_and_says_what_was_lost() {
    let mut window = open();
    window.ground("the red ball");
    window.press_with(egui::Modifiers::COMMAND, egui::Key::E);
    let out = window.dir.path().join("out");
    let field = window.harness.get_by_label("Export folder");
    field.focus();
    window.harness.step();
    window
        .harness
        .get_by_label("Export folder")
        .set_text_value_accesskit(&out.display().to_string());
    window.settle();
    window.click("Export");
    let start = Instant::now();
    while !out.exists() {
        assert!(start.elapsed() < Duration::from_secs(120));
        window.settle();
    }
    window.settle();
    window
        .harness
        .get_by_label_contains("read back and compared");
}

#[test]
fn work_is_on_disk_without_being_asked_and_comes_back() {
    let mut window = open();
    window.ground("the red ball");
    let start = Instant::now();
    let path = loop {
        assert!(start.elapsed() < Duration::from_secs(120));
        let app = window.harness.state().as_ref().unwrap();
        let known = !window.doc().video.hash.is_empty();
        if let (Some(path), true) = (app.project_path(), known) {
            break path;
        }
        window.settle();
    };
    assert_eq!(path, window.dir.path().join("flight.sparrow"));
    let expected = window.doc().clone();
    let Window { harness, dir } = window;
    drop(harness);
    assert_eq!(Store::open(&path).unwrap().load().unwrap(), expected);
    let clip = dir.path().join("flight");
    let again = Window::open_in(dir, &clip, HD, egui::Theme::Dark, true);
    assert_eq!(again.doc(), &expected);
}

#[test]
fn delete_means_this_frame_and_the_whole_object_asks() {
    let mut window = open();
    window.ground("the red ball");
    window.press_with(egui::Modifiers::COMMAND, egui::Key::P);
    window.press(egui::Key::ArrowRight);
    window.press(egui::Key::Delete);
    let frames = &window.doc().objects[0].frames;
    assert_eq!(frames.len() as u32, ui_fake::FRAMES - 1);
    assert!(!frames.contains_key(&FrameIndex(1)));
    window.press_with(egui::Modifiers::SHIFT, egui::Key::Delete);
    assert_eq!(window.doc().objects.len(), 1);
    window.click("Delete object");
    assert!(window.doc().objects.is_empty());
    window.press_with(egui::Modifiers::COMMAND, egui::Key::Z);
    assert_eq!(window.doc().objects.len(), 1);
}

#[test]
fn a_drawn_box_is_one_more_proposal_of_the_same_emission() {
    let mut window = open();
    window.ground("the red ball");
    window.press(egui::Key::R);
    window.drag(egui::vec2(-120.0, -60.0), egui::vec2(-40.0, 20.0));
    let doc = window.doc();
    assert_eq!(doc.emissions.len(), 1);
    let drawn: Vec<_> = doc.emissions[0]
        .proposals
        .iter()
        .filter(|p| p.drawn)
        .collect();
    assert_eq!(drawn.len(), 1);
    assert!(drawn[0].selected && drawn[0].box_px.width() > 10.0);
}

#[test]
fn stopping_keeps_the_finished_frames() {
    let mut window = open();
    window.ground("the slow red ball");
    window
        .harness
        .key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::ArrowRight);
    let start = Instant::now();
    while window.doc().objects[0].frames.len() < 4 {
        assert!(start.elapsed() < Duration::from_secs(120));
        window.harness.step();
        std::thread::sleep(Duration::from_millis(3));
    }
    window.press(egui::Key::Escape);
    let kept = window.doc().objects[0].frames.len() as u32;
    assert!((4..ui_fake::FRAMES).contains(&kept), "{kept}");
    window
        .harness
        .get_by_label_contains("finished frames were kept");
    window.press_with(egui::Modifiers::COMMAND, egui::Key::Z);
    assert_eq!(window.doc().objects[0].frames.len(), 1);
}

#[test]
fn undo_in_the_middle_of_a_propagation_leaves_no_stray_frame() {
    let mut window = open();
    window.ground("the slow red ball");
    window
        .harness
        .key_press_modifiers(egui::Modifiers::COMMAND, egui::Key::ArrowRight);
    let start = Instant::now();
    while window.doc().objects[0].frames.len() < 4 {
        assert!(start.elapsed() < Duration::from_secs(120));
        window.harness.step();
        std::thread::sleep(Duration::from_millis(3));
    }
    window.press_with(egui::Modifiers::COMMAND, egui::Key::Z);
    // A frame that was on its way has had the time to arrive.
    std::thread::sleep(Duration::from_millis(60));
    window.settle();
    assert_eq!(window.doc().objects[0].frames.len(), 1);
    window.press_with(
        egui::Modifiers::COMMAND | egui::Modifiers::SHIFT,
        egui::Key::Z,
    );
    assert!(window.doc().objects[0].frames.len() >= 4, "redo is there");
}

#[test]
fn a_box_that_was_drawn_and_undone_is_not_offered_again() {
    let mut window = open();
    window.ground("the red ball");
    let drawn = |w: &Window| {
        let last = w.doc().emissions.last().unwrap();
        last.proposals.iter().filter(|p| p.drawn).count()
    };
    window.press(egui::Key::R);
    window.drag(egui::vec2(-120.0, -60.0), egui::vec2(-40.0, 20.0));
    window.drag(egui::vec2(20.0, -60.0), egui::vec2(90.0, 20.0));
    assert_eq!(drawn(&window), 2);
    window.press(egui::Key::G);
    assert_eq!(drawn(&window), 2, "asked again, both go along");
    window.press_with(egui::Modifiers::COMMAND, egui::Key::Z);
    window.press_with(egui::Modifiers::COMMAND, egui::Key::Z);
    assert_eq!(drawn(&window), 1);
    window.press(egui::Key::G);
    assert_eq!(drawn(&window), 1);
}

#[test]
fn undo_takes_the_corner_of_a_polygon_and_not_an_earlier_step() {
    let mut window = open();
    window.press(egui::Key::Escape);
    window.press(egui::Key::B);
    window.drag(egui::vec2(-60.0, 0.0), egui::Vec2::ZERO);
    assert_eq!(window.doc().objects.len(), 1);
    window.press(egui::Key::P);
    window.click_at(egui::vec2(40.0, 40.0));
    window.press_with(egui::Modifiers::COMMAND, egui::Key::Z);
    assert_eq!(window.doc().objects.len(), 1, "the stroke stays");
    window.press_with(egui::Modifiers::COMMAND, egui::Key::Z);
    assert_eq!(window.doc().objects.len(), 0);
}

#[test]
fn a_key_can_be_given_to_another_action_and_is_remembered() {
    let mut window = open();
    window.press(egui::Key::Escape);
    window.press_with(egui::Modifiers::COMMAND, egui::Key::K);
    window
        .harness
        .get_by_label("Search commands")
        .type_text("keyboard");
    window.settle();
    window.press(egui::Key::Enter);
    window
        .harness
        .get_by_label("Search keys")
        .type_text("last frame");
    window.settle();
    window.click("Key of Last frame");
    window.press(egui::Key::W);
    window.press(egui::Key::Escape);
    window.press(egui::Key::Escape);
    window.press(egui::Key::W);
    assert_eq!(window.frame(), ui_fake::FRAMES - 1);
    let settings = window.dir.path().join("settings.json");
    drop(window.harness);
    let text = std::fs::read_to_string(settings).unwrap();
    assert!(text.contains("last-frame"), "{text}");
}

#[test]
fn every_dialog_has_names_for_everything_in_it() {
    let mut window = open();
    window.ground("the brown horse");
    window.press(egui::Key::Escape);
    let ctrl = egui::Modifiers::COMMAND;
    for (modifiers, key) in [
        (egui::Modifiers::NONE, egui::Key::F1),
        (ctrl, egui::Key::K),
        (ctrl, egui::Key::E),
        (ctrl, egui::Key::G),
    ] {
        window.press_with(modifiers, key);
        window.harness.check_accessibility();
        window.press(egui::Key::Escape);
    }
}

#[test]
fn the_palette_finds_and_does() {
    let mut window = open();
    window.press_with(egui::Modifiers::COMMAND, egui::Key::K);
    window
        .harness
        .get_by_label("Search commands")
        .type_text("last frame");
    window.settle();
    window.press(egui::Key::Enter);
    assert_eq!(window.frame(), ui_fake::FRAMES - 1);
}

#[test]
fn snapshots_of_both_themes() {
    if gpu::render_state().is_none() {
        return skip();
    }
    let mut results = egui_kittest::SnapshotResults::new();
    let mut start = Window::open(HD, egui::Theme::Dark, false);
    picture(&mut start, "start-dark");
    results.extend_harness(&mut start.harness);

    let mut grounded = Window::open(HD, egui::Theme::Dark, true);
    grounded.ground("the red ball");
    grounded.press(egui::Key::Escape);
    picture(&mut grounded, "grounded-dark");
    results.extend_harness(&mut grounded.harness);

    let mut tracked = Window::open(HD, egui::Theme::Light, true);
    tracked.ground("the red ball");
    tracked.press(egui::Key::K);
    tracked.press_with(egui::Modifiers::COMMAND, egui::Key::P);
    tracked.press(egui::Key::N);
    tracked.press(egui::Key::G);
    picture(&mut tracked, "tracked-light");
    tracked.press_with(egui::Modifiers::COMMAND, egui::Key::K);
    tracked
        .harness
        .get_by_label("Search commands")
        .type_text("prop");
    picture(&mut tracked, "palette-light");
    results.extend_harness(&mut tracked.harness);
}

#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn skip() {
    eprintln!(
        "SKIPPED: no wgpu adapter on this machine (a software one is enough: install Mesa's Vulkan drivers)"
    );
}

fn picture(window: &mut Window, name: &str) {
    window.settle();
    for _ in 0..5 {
        if let Some(close) = window.harness.query_all_by_label("Dismiss").next() {
            close.click();
        }
        window.settle();
    }
    // The memory figure is not ours to know.
    let memory = window
        .harness
        .query_by_label_contains(" MB")
        .map(|n| n.rect());
    if let Some(rect) = memory {
        let wide = egui::vec2(72.0, rect.height());
        window
            .harness
            .mask(egui::Rect::from_min_size(rect.min, wide));
    }
    // Letters may differ by a shade between versions of the software renderer.
    let options = egui_kittest::SnapshotOptions::new()
        .threshold(1.5)
        .max_failed_pixels(800)
        .output_path("tests/snapshots");
    window.harness.snapshot_options(name, &options);
}
