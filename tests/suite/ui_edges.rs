//! The window at its limits.

use egui_kittest::kittest::Queryable as _;

use crate::ui::{HD, Window};

#[test]
fn a_clip_larger_than_the_graphics_card_takes_is_refused_in_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let clip = dir.path().join("wide");
    std::fs::create_dir(&clip).unwrap();
    // Without a graphics card that says more, egui takes 2048 pixels for the most.
    let picture = image::RgbImage::new(2100, 8);
    picture.save(clip.join("00000.png")).unwrap();
    let window = Window::open_in(dir, &clip, HD, egui::Theme::Dark, true);
    assert!(
        window
            .harness
            .state()
            .as_ref()
            .unwrap()
            .document()
            .is_none()
    );
    window
        .harness
        .get_by_label_contains("2100×8 pixels are larger");
}
