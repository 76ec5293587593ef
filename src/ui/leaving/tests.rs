//! Nothing is lost by leaving a document, and nothing keeps anybody from it.

use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::{
    project::{Document, Edit, PointPx, Size, Thresholds, VideoInfo},
    store::Store,
    task::Request,
    ui::{app::Opening, command::Command, state::JobKind},
};

/// A window on a document that cannot be saved where it should be: a file stands where a folder is needed.
fn in_trouble(dir: &std::path::Path) -> App {
    let mut app = App::without_model(&egui::Context::default());
    let doc = crate::ui::fixture::document(Size::new(4, 4), 3);
    let file = dir.join("file");
    std::fs::write(&file, "no folder").unwrap();
    let edit = Edit::add_object(doc.new_object("a horse"));
    let wake = app.services.wake.clone();
    let mut session = Session::unsaved(doc, vec![file.join("clip.sparrow")], wake);
    session.edit(edit, "add").unwrap();
    app.state.session = Some(session);
    wait(&mut app, |s| matches!(s, Saving::Trouble(_)));
    app
}

fn wait(app: &mut App, done: impl Fn(&Saving) -> bool) {
    let start = std::time::Instant::now();
    loop {
        let session = app.state.session.as_mut().unwrap();
        session.poll();
        if done(&session.saving()) {
            return;
        }
        assert!(start.elapsed().as_secs() < 120, "{:?}", session.saving());
        std::thread::yield_now();
    }
}

fn wait_for_words(app: &mut App, words: &str) {
    let start = std::time::Instant::now();
    while !app.state.toasts.iter().any(|t| t.text.contains(words)) {
        assert!(start.elapsed().as_secs() < 120, "{words} was not said");
        app.poll_saving();
        std::thread::yield_now();
    }
}

/// How many messages in view hold these words.
fn times_said(app: &App, words: &str) -> usize {
    let said = app.state.toasts.iter();
    said.filter(|t| t.text.contains(words)).count()
}

#[test]
fn a_project_that_may_only_be_read_is_left_unasked_until_it_is_edited() {
    let dir = tempfile::tempdir().unwrap();
    let mut app = in_trouble(dir.path());
    let doc = app.state.session.take().unwrap().doc.clone();
    let id = doc.objects[0].id;
    app.state.session = Some(Session::read_only(doc, dir.path().join("clip.sparrow")));
    assert!(!app.asks_before_leaving(&Leaving::Close));
    let name = "Bella".to_owned();
    let session = app.state.session.as_mut().unwrap();
    session.edit(Edit::Rename { id, name }, "rename").unwrap();
    assert!(app.asks_before_leaving(&Leaving::Close));
}

#[test]
fn that_saving_has_stopped_to_work_is_said_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut app = in_trouble(dir.path());
    app.poll_saving();
    assert_eq!(times_said(&app, "Not saved:"), 1);
    app.state.toasts.clear();
    app.poll_saving();
    assert_eq!(times_said(&app, "Not saved:"), 0);
}

#[test]
fn a_write_protected_project_is_not_offered_to_be_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut app = in_trouble(dir.path());
    let doc = app.state.session.take().unwrap().doc.clone();
    let id = doc.objects[0].id;
    let mut session = Session::read_only(doc, dir.path().join("clip.sparrow"));
    let name = "Bella".to_owned();
    session.edit(Edit::Rename { id, name }, "rename").unwrap();
    assert!(!session.can_retry());
    app.state.session = Some(session);
    app.poll_saving();
    let said = &app.state.toasts.last().unwrap().text;
    assert!(said.contains("write-protected") && !said.contains("try again"));
}

/// "Free some space and try again", and opening it again would have lost the work.
#[test]
fn a_project_that_another_window_has_changed_is_to_be_saved_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let mut app = in_trouble(dir.path());
    let doc = app.state.session.take().unwrap().doc.clone();
    let id = doc.objects[0].id;
    let rename = |name: &str| Edit::Rename {
        id,
        name: name.to_owned(),
    };
    let place = dir.path().join("clip.sparrow");
    let mut other = Store::create(&place, &doc, crate::store::Existing::Refuse).unwrap();
    let wake = app.services.wake.clone();
    let writer = crate::store::Writer::start(Store::open(&place).unwrap(), move || wake()).unwrap();
    let mut session = Session::saved(doc, writer, place);
    other.commit(&rename("Ada")).unwrap();
    session.edit(rename("Bella"), "rename").unwrap();
    app.state.session = Some(session);
    wait(&mut app, |s| matches!(s, Saving::Trouble(_)));
    assert!(!app.state.session.as_ref().unwrap().can_retry());
    app.state.told_trouble = false;
    app.poll_saving();
    let said = &app.state.toasts.last().unwrap().text;
    assert!(
        said.contains("another window") && said.contains("save elsewhere"),
        "{said}"
    );
    assert!(!said.contains("space") && !said.contains("again"), "{said}");
    app.save_elsewhere(dir.path().join("mine.sparrow"));
    wait(&mut app, |s| *s == Saving::Saved);
}

/// Without a file chooser nothing happened at all.
#[test]
fn a_project_is_saved_elsewhere_without_any_chooser() {
    let dir = tempfile::tempdir().unwrap();
    let mut app = in_trouble(dir.path());
    let ctx = egui::Context::default();
    app.act(&ctx, Action::SaveElsewhere);
    let Some(Dialog::Path(form)) = &mut app.state.dialog else {
        panic!("{:?}", app.state.dialog);
    };
    assert_eq!(form.purpose, Purpose::SaveElsewhere);
    // A folder: the project keeps its name.
    form.text = format!("{}/", dir.path().display());
    app.use_path();
    assert_eq!(app.state.dialog, None);
    wait_for_words(&mut app, "is saved in");
    let place = dir.path().join("project.sparrow");
    assert_eq!(app.state.session.as_ref().unwrap().path(), Some(&*place));
}

#[test]
fn a_relative_place_is_beside_the_project() {
    let dir = tempfile::tempdir().unwrap();
    let mut app = in_trouble(dir.path());
    app.save_elsewhere(dir.path().join("one.sparrow"));
    wait_for_words(&mut app, "one.sparrow");
    app.save_elsewhere("two".into());
    wait_for_words(&mut app, "two.sparrow");
    let place = dir.path().join("two.sparrow");
    assert_eq!(app.state.session.as_ref().unwrap().path(), Some(&*place));
    assert!(place.exists());
}

#[test]
fn errors_outlast_other_messages() {
    let dir = tempfile::tempdir().unwrap();
    let mut app = in_trouble(dir.path());
    app.state.toasts.clear();
    app.say(Weight::Error, "The disk is full.");
    for i in 0..9 {
        app.say(Weight::Info, format!("Frame {i}."));
    }
    assert_eq!(app.state.toasts.len(), 5);
    assert_eq!(app.state.toasts[0].text, "The disk is full.");
    assert_eq!(app.state.toasts[4].text, "Frame 8.");
}

#[test]
fn a_message_is_seen_although_five_errors_stand() {
    let dir = tempfile::tempdir().unwrap();
    let mut app = in_trouble(dir.path());
    app.state.toasts.clear();
    for i in 0..5 {
        app.say(Weight::Error, format!("Error {i}."));
    }
    app.say(Weight::Info, "Saved.");
    let said: Vec<&str> = app.state.toasts.iter().map(|t| t.text.as_str()).collect();
    assert_eq!(
        said,
        ["Error 1.", "Error 2.", "Error 3.", "Error 4.", "Saved."]
    );
}

#[test]
fn what_is_not_saved_is_not_left_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let mut app = in_trouble(dir.path());
    let elsewhere = Leaving::Open(Target::Path(dir.path().join("other.mp4")));
    let ctx = egui::Context::default();
    for how in [Leaving::Close, elsewhere, Leaving::Quit] {
        app.leave(&ctx, how.clone());
        assert!(app.state.session.is_some() && app.state.opening.is_none());
        assert_eq!(app.state.dialog, Some(Dialog::Unsaved(how)));
        app.state.dialog = None;
    }
    app.leave_unsaved(&ctx, Leaving::Close);
    assert!(app.state.session.is_none());
}

#[test]
fn errors_go_with_the_clip_that_they_were_about() {
    let dir = tempfile::tempdir().unwrap();
    let mut app = in_trouble(dir.path());
    let ctx = egui::Context::default();
    let errors = |app: &App| {
        let toasts = app.state.toasts.iter();
        toasts.filter(|t| t.weight == Weight::Error).count()
    };
    app.say(Weight::Error, "Frame 3 cannot be shown.");
    app.leave_unsaved(&ctx, Leaving::Close);
    assert_eq!(errors(&app), 0);
    app.say(Weight::Error, "Cannot open x.");
    app.open(dir.path().join("other.mp4"));
    assert_eq!(errors(&app), 0);
}

/// What failed while the old document was being closed was told to nobody.
#[test]
fn another_clip_waits_until_this_one_is_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut app = in_trouble(dir.path());
    open_another_while_saving(&mut app, dir.path());
    app.poll_opening();
    assert!(app.state.session.is_some() && is_decoded(&app), "it waits");
    wait(&mut app, |s| matches!(s, Saving::Trouble(_)));
    app.poll_opening();
    assert!(app.state.session.is_some());
    assert!(matches!(app.state.dialog, Some(Dialog::Unsaved(_))));
}

/// Who then left all the same was asked for the video a second time.
#[test]
fn a_video_that_was_located_is_not_forgotten_where_leaving_is_asked_about() {
    let dir = tempfile::tempdir().unwrap();
    let mut app = in_trouble(dir.path());
    let project = dir.path().join("moved.sparrow");
    let info = VideoInfo {
        path: dir.path().join("gone").display().to_string(),
        size: Size::new(4, 4),
        frames: 1,
        fps: 6.0,
        hash: String::new(),
    };
    let doc = Document::new(info, "nano", Thresholds::default());
    Store::create(&project, &doc, crate::store::Existing::Refuse).unwrap();
    let video = other_clip(dir.path());
    let located = Target::Located {
        project,
        video,
        anyway: false,
    };
    open_while_saving(&mut app, located.clone());
    wait(&mut app, |s| matches!(s, Saving::Trouble(_)));
    app.poll_opening();
    let asked = Dialog::Unsaved(Leaving::Open(located));
    assert_eq!(app.state.dialog, Some(asked));
}

/// The document may stay: the model was left without its clip.
#[test]
fn waiting_for_the_disk_ends_propagations_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut app = in_trouble(dir.path());
    let path = String::new();
    app.submit(Request::OpenClip { path }, JobKind::OpenClip);
    app.ground_phrase("a dog".to_owned(), false, None);
    let carry = JobKind::Propagate {
        what: "a horse 0–2".to_owned(),
        objects: Vec::new(),
        frames: BTreeMap::new(),
    };
    // What is asked for does not matter here.
    let path = String::new();
    app.submit(Request::OpenClip { path }, carry);
    app.state.toasts.clear();
    open_another_while_saving(&mut app, dir.path());
    app.poll_opening();
    app.state.toasts.retain(|t| t.text.contains("were kept"));
    assert_eq!(app.state.toasts.len(), 1);
    app.state.toasts.clear();
    app.poll_opening();
    assert!(app.state.toasts.is_empty(), "said once");
    let kinds = app.state.jobs.iter().map(|job| &job.kind);
    let left = kinds.filter(|k| !matches!(k, JobKind::LoadModel));
    assert!(matches!(
        left.collect::<Vec<_>>()[..],
        [JobKind::OpenClip, JobKind::Ground { .. }]
    ));
}

fn queued(app: &App) -> crate::ui::state::QueuedPropagation {
    crate::ui::state::QueuedPropagation {
        direction: crate::task::PropagateDirection::Both,
        from: app.state.here(),
        only: None,
        depth: 0,
    }
}

#[test]
fn a_propagation_that_waited_is_not_lost_without_a_word_when_another_clip_opens() {
    for saves in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let mut app = in_trouble(dir.path());
        open_another_while_saving(&mut app, dir.path());
        if !saves {
            let doc = app.state.session.take().unwrap().doc.clone();
            let session = Session::unsaved(doc, Vec::new(), Arc::new(|| {}));
            app.state.session = Some(session);
        }
        let waits = queued(&app);
        app.state.queued.push(waits);
        app.state.toasts.clear();
        app.poll_opening();
        assert_eq!(app.state.clip.is_none(), saves, "it waits for the disk");
        assert!(app.state.queued.is_empty());
        assert_eq!(times_said(&app, "was dropped"), 1);
    }
}

#[test]
fn opening_another_clip_is_called_off_by_further_work() {
    let dir = tempfile::tempdir().unwrap();
    let mut app = in_trouble(dir.path());
    open_another_while_saving(&mut app, dir.path());
    let before = app.revision();
    app.stay_if_edited(before);
    assert!(app.state.opening.is_some(), "nothing was changed");
    let id = app.document().unwrap().objects[0].id;
    let name = "Bella".to_owned();
    assert!(app.edit(Edit::Rename { id, name }, "rename"));
    app.stay_if_edited(before);
    assert!(app.state.opening.is_none() && app.services.opening.is_none());
    assert!(app.state.session.is_some());
    let said = &app.state.toasts.last().unwrap().text;
    assert!(said.contains("is not opened"), "{said}");
}

#[test]
fn a_newly_opened_clip_is_not_left_for_what_was_wished_before() {
    for (wish, left) in [(Leaving::Close, None), (Leaving::Quit, Some(Leaving::Quit))] {
        let dir = tempfile::tempdir().unwrap();
        let mut app = in_trouble(dir.path());
        open_another_while_saving(&mut app, dir.path());
        app.state.session = None;
        app.state.leaving = Some(wish);
        app.poll_opening();
        assert!(app.state.session.is_some());
        assert_eq!(app.state.leaving, left);
    }
}

fn is_decoded(app: &App) -> bool {
    match &app.services.opening {
        Some(Opening::Decoding { decoder, .. }) => decoder.info().is_some(),
        _ => false,
    }
}

/// A folder of one image.
fn other_clip(dir: &std::path::Path) -> PathBuf {
    let other = dir.join("other");
    std::fs::create_dir(&other).unwrap();
    image::RgbImage::new(4, 4)
        .save(other.join("1.png"))
        .unwrap();
    other
}

/// Opens another clip until all but the disk is ready for it.
fn open_another_while_saving(app: &mut App, dir: &std::path::Path) {
    let other = other_clip(dir);
    open_while_saving(app, Target::Path(other));
}

fn open_while_saving(app: &mut App, target: Target) {
    let session = app.state.session.as_mut().unwrap();
    // Its file is tried again, and until somebody looks it is on its way.
    session.retry();
    assert_eq!(session.saving(), Saving::Waiting);
    app.open_target(target);
    let start = std::time::Instant::now();
    while !is_decoded(app) {
        assert!(start.elapsed().as_secs() < 120);
        app.poll_opening();
        std::thread::yield_now();
    }
}

/// Asks the window to close; whether it calls that off.
fn calls_off_closing(app: &mut App, ctx: &egui::Context) -> bool {
    let mut input = egui::RawInput::default();
    let viewport = input.viewports.entry(input.viewport_id).or_default();
    viewport.events.push(egui::ViewportEvent::Close);
    let mut output = ctx.run_ui(input, |ui| app.guard_leaving(ui.ctx()));
    // Nothing is drawn.
    output.textures_delta.clear();
    let commands = &output.viewport_output[&egui::ViewportId::ROOT].commands;
    commands.contains(&egui::ViewportCommand::CancelClose)
}

#[test]
fn the_window_does_not_close_over_an_export() {
    let dir = tempfile::tempdir().unwrap();
    let mut app = in_trouble(dir.path());
    let ctx = egui::Context::default();
    let doc = app.state.session.take().unwrap().doc.clone();
    app.state.exporting = Some(crate::ui::exporter::first_form(&doc, None));
    assert!(calls_off_closing(&mut app, &ctx));
    app.go_on_leaving(&ctx);
    assert_eq!(app.state.leaving, Some(Leaving::Quit), "it waits");
    app.state.exporting = None;
    app.go_on_leaving(&ctx);
    assert_eq!(app.state.leaving, None);
    assert!(!calls_off_closing(&mut app, &ctx));
}

/// A window that was told to close while an export runs; everything is saved.
fn quitting_over_an_export(dir: &std::path::Path, ctx: &egui::Context) -> App {
    let mut app = in_trouble(dir);
    let doc = app.state.session.take().unwrap().doc.clone();
    app.state.exporting = Some(crate::ui::exporter::first_form(&doc, None));
    app.state.session = Some(Session::unsaved(doc, Vec::new(), Arc::new(|| {})));
    assert!(calls_off_closing(&mut app, ctx));
    assert!(app.is_quitting());
    app
}

/// Nothing showed that the window was to close, and it closed under the hand.
#[test]
fn quitting_over_an_export_is_called_off_by_escape_the_button_and_further_work() {
    let dir = tempfile::tempdir().unwrap();
    let ctx = egui::Context::default();
    let ways: [fn(&mut App, &egui::Context); 4] = [
        |app, ctx| app.act(ctx, Action::Stop),
        |app, ctx| {
            app.run(ctx, Command::Stay);
        },
        |app, _| app.click(PointPx { x: 1.0, y: 1.0 }, true),
        |app, _| app.ground_phrase("a dog".to_owned(), false, None),
    ];
    for way in ways {
        let mut app = quitting_over_an_export(dir.path(), &ctx);
        way(&mut app, &ctx);
        assert_eq!(app.state.leaving, None);
        assert!(app.state.session.is_some() && app.state.exporting.is_some());
    }
    let mut app = quitting_over_an_export(dir.path(), &ctx);
    let before = app.revision();
    app.stay_if_edited(before);
    assert!(app.is_quitting(), "nothing was changed");
    let id = app.document().unwrap().objects[0].id;
    let name = "Bella".to_owned();
    assert!(app.edit(Edit::Rename { id, name }, "rename"));
    app.stay_if_edited(before);
    assert!(!app.is_quitting());
}

#[test]
fn the_window_is_not_said_to_close_where_it_asks_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut app = in_trouble(dir.path());
    app.state.toasts.clear();
    let form = crate::ui::exporter::first_form(app.document().unwrap(), None);
    app.state.exporting = Some(form);
    assert!(calls_off_closing(&mut app, &egui::Context::default()));
    assert_eq!(app.state.dialog, Some(Dialog::Unsaved(Leaving::Quit)));
    assert_eq!(times_said(&app, "closes once"), 0);
}

#[test]
fn closing_the_window_is_called_off_until_everything_is_saved() {
    let dir = tempfile::tempdir().unwrap();
    let mut app = in_trouble(dir.path());
    let ctx = egui::Context::default();
    let asked_to_close = |app: &mut App| calls_off_closing(app, &ctx);
    assert!(asked_to_close(&mut app));
    assert_eq!(app.state.dialog, Some(Dialog::Unsaved(Leaving::Quit)));
    // A place that takes nothing changes nothing.
    app.save_elsewhere(dir.path().join("file").join("below"));
    wait_for_words(&mut app, "Not saved elsewhere");
    assert!(app.state.dialog.is_some() && asked_to_close(&mut app));
    app.save_elsewhere(dir.path().join("take 1.2"));
    wait_for_words(&mut app, "take 1.2.sparrow");
    assert_eq!(app.state.dialog, None);
    wait(&mut app, |s| *s == Saving::Saved);
    assert!(!asked_to_close(&mut app));
    let saved = Store::open(&dir.path().join("take 1.2.sparrow")).unwrap();
    assert_eq!(
        saved.load().unwrap(),
        app.state.session.as_ref().unwrap().doc
    );
}

/// It stayed "not saved" in red although everything was on the disk again.
#[test]
fn the_message_that_something_is_not_saved_goes_once_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let mut app = in_trouble(dir.path());
    let told = |app: &App| {
        let said = app.state.toasts.iter();
        said.filter(|t| t.text.starts_with(NOT_SAVED)).count()
    };
    app.poll_saving();
    assert_eq!(told(&app), 1);
    // Tried again in vain, nothing is said anew.
    app.state.toasts.clear();
    app.state.session.as_mut().unwrap().retry();
    app.poll_saving();
    wait(&mut app, |s| matches!(s, Saving::Trouble(_)));
    app.poll_saving();
    assert_eq!(told(&app), 0);
    app.say_not_saved("the disk is full");
    assert_eq!(told(&app), 1);
    std::fs::remove_file(dir.path().join("file")).unwrap();
    app.state.session.as_mut().unwrap().retry();
    wait(&mut app, |s| *s == Saving::Saved);
    app.poll_saving();
    assert_eq!(told(&app), 0);
}

/// Each frame that it carried was on its way to the disk: the clip was closed when it had ended, long after.
#[test]
fn closing_the_clip_ends_a_propagation_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut app = in_trouble(dir.path());
    let ctx = egui::Context::default();
    std::fs::remove_file(dir.path().join("file")).unwrap();
    let session = app.state.session.as_mut().unwrap();
    session.retry();
    assert_eq!(session.saving(), Saving::Waiting);
    let carry = JobKind::Propagate {
        what: "a horse 0–2".to_owned(),
        objects: Vec::new(),
        frames: BTreeMap::new(),
    };
    // What is asked for does not matter here.
    let path = String::new();
    app.submit(Request::OpenClip { path }, carry);
    let waits = queued(&app);
    app.state.queued.push(waits);
    app.act(&ctx, Action::CloseVideo);
    assert!(app.state.propagation().is_none() && app.state.queued.is_empty());
    assert_eq!(app.state.leaving, Some(Leaving::Close));
    wait(&mut app, |s| *s == Saving::Saved);
    app.go_on_leaving(&ctx);
    assert!(app.state.session.is_none() && app.state.leaving.is_none());
}
