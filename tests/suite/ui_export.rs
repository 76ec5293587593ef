//! Exporting from the window: stopping, replacing an earlier export.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use egui_kittest::kittest::Queryable as _;
use sparrow::formats::{Coco, import};

use crate::ui::{Window, open};

/// What the dialog says of an export that is whole.
const WRITTEN: &str = " written to ";

/// Opens the dialog and names the folder.
fn show(window: &mut Window, out: &Path) {
    window.press_with(egui::Modifiers::COMMAND, egui::Key::E);
    window.harness.get_by_label("Export folder").focus();
    window.harness.step();
    window
        .harness
        .get_by_label("Export folder")
        .set_text_value_accesskit(&out.display().to_string());
    window.settle();
}

/// Waits for one of these texts and gives it.
fn wait_for<'a>(window: &mut Window, texts: &[&'a str]) -> &'a str {
    let start = Instant::now();
    loop {
        let found = texts
            .iter()
            .find(|t| window.harness.query_by_label_contains(t).is_some());
        if let Some(found) = found {
            // The dialog has grown by it and moves to the middle again before its buttons can be clicked.
            window.settle();
            return found;
        }
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "none of {texts:?} was said"
        );
        window.settle();
    }
}

fn unfinished(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).unwrap().flatten();
    let names = entries.map(|e| e.file_name().to_string_lossy().into_owned());
    names.filter(|n| n.starts_with(".sparrow-export-")).count()
}

#[test]
fn an_earlier_export_is_replaced_where_that_is_allowed() {
    let mut window = open();
    window.ground("the red ball");
    let out = window.dir.path().join("out");
    show(&mut window, &out);
    window.click("Export");
    wait_for(&mut window, &[WRITTEN]);
    assert!(window.harness.query_by_label("Open folder").is_some());
    window.click("Close");
    let frames = || {
        import(&Coco, &out, None).unwrap().document.objects[0]
            .frames
            .len()
    };
    assert_eq!(frames(), 1);
    // Something was corrected, and the same folder is wanted again.
    window.press_with(egui::Modifiers::COMMAND, egui::Key::P);
    show(&mut window, &out);
    window.click("Export");
    wait_for(&mut window, &["exists already"]);
    assert_eq!(frames(), 1);
    window.click("Replace an earlier export in this folder");
    window.click("Export");
    wait_for(&mut window, &[WRITTEN]);
    assert!(frames() > 1);
    window.click("Close");
    // What no export wrote is not replaced by any wish.
    fs::write(out.join("thesis.txt"), "precious").unwrap();
    show(&mut window, &out);
    window.click("Replace an earlier export in this folder");
    window.click("Export");
    wait_for(&mut window, &["holds other things (thesis.txt)"]);
    assert!(out.join("thesis.txt").exists() && frames() > 1);
    assert_eq!(unfinished(window.dir.path()), 0);
}

#[test]
fn an_export_is_stopped_by_its_button_or_is_whole() {
    let mut window = open();
    window.ground("the red ball");
    window.press_with(egui::Modifiers::COMMAND, egui::Key::P);
    let out = window.dir.path().join("out");
    show(&mut window, &out);
    window.harness.get_by_label("Export").click();
    // Once for the click, once more to draw what came of it.
    window.harness.step();
    window.harness.step();
    // A quick machine may have done it by now.
    if let Some(stop) = window.harness.query_by_label("Stop exporting") {
        stop.click();
    }
    window.harness.check_accessibility();
    let said = wait_for(&mut window, &["Nothing was left behind", WRITTEN]);
    assert_eq!(out.exists(), said == WRITTEN);
    assert_eq!(unfinished(window.dir.path()), 0);
}

#[test]
fn closing_the_window_leaves_no_unfinished_export() {
    let mut window = open();
    window.ground("the red ball");
    window.press_with(egui::Modifiers::COMMAND, egui::Key::P);
    let out = window.dir.path().join("out");
    show(&mut window, &out);
    window.harness.get_by_label("Export").click();
    window.harness.step();
    let Window { harness, dir } = window;
    drop(harness);
    assert_eq!(unfinished(dir.path()), 0);
}
