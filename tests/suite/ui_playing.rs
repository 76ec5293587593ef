//! Playing in the window, on the harness' own clock.

use std::process::Command;

use crate::ui::{HD, Window};

/// One second at 60 frames a second, then two at 5.
const SLOWS_DOWN: &str = "-f lavfi -i testsrc2=size=96x64:rate=60:duration=3 \
    -vf select='lt(n\\,60)+not(mod(n\\,12))' -fps_mode vfr -c:v libx264 -bf 0 -pix_fmt yuv420p";

#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn slowing_clip(path: &std::path::Path) -> bool {
    let made = Command::new("ffmpeg")
        .args(["-hide_banner", "-v", "error", "-y"])
        .args(SLOWS_DOWN.split_whitespace())
        .arg(path)
        .output();
    let made = made.is_ok_and(|out| out.status.success());
    if !made {
        eprintln!("SKIPPED: no ffmpeg tool here that can make a clip whose rate varies");
    }
    made
}

#[test]
fn a_clip_whose_rate_varies_plays_by_its_own_times() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("slows.mp4");
    if !slowing_clip(&path) {
        return;
    }
    let mut window = Window::open_in(dir, &path, HD, egui::Theme::Dark, true);
    assert_eq!(window.doc().video.frames, 70);
    window.press(egui::Key::Escape);
    // Space acts when it is let go.
    window.harness.key_press(egui::Key::Space);
    for _ in 0..30 {
        window.harness.step();
        if window.frame() > 0 {
            break;
        }
    }
    let mut shown = vec![window.frame()];
    // A step of the harness is a sixtieth of a second.
    for _ in 0..150 {
        window.harness.step();
        shown.push(window.frame());
    }
    let begun = shown[0];
    assert!((1..=2).contains(&begun), "{shown:?}");
    let at = |secs: f32| shown[(secs * 60.0) as usize - begun as usize];
    assert!((28..=32).contains(&at(0.5)), "{shown:?}");
    assert!((60..=61).contains(&at(1.1)), "{shown:?}");
    assert!((62..=63).contains(&at(1.5)), "{shown:?}");
    assert!((65..=66).contains(&at(2.1)), "{shown:?}");
    window.harness.run_steps(60);
    assert_eq!(window.frame(), 69);
}
