//! Leaving a document of which something could not be saved: nothing is lost unless a person says so. Part of `logic`.

use std::path::PathBuf;

use super::{
    actions::Action,
    app::App,
    opener::Target,
    session::{Saving, Session},
    state::{Dialog, Weight},
};

/// What a document is left for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// The end of the program.
    Quit,
    /// The start page.
    Close,
    /// Another clip or project.
    Open(Target),
}

impl App {
    /// Asks the person if leaving would lose something; whether it does.
    pub(super) fn asks_before_leaving(&mut self, how: &Leaving) -> bool {
        let session = self.state.session.as_ref();
        let would_lose = session.is_some_and(|s| s.would_lose().is_some());
        if would_lose {
            self.state.dialog = Some(Dialog::Unsaved(how.clone()));
        }
        would_lose
    }

    /// Leaves the document once everything is on the disk, or asks if that does not work.
    pub(super) fn leave(&mut self, ctx: &egui::Context, how: Leaving) {
        if self.asks_before_leaving(&how) {
            self.state.leaving = None;
            return;
        }
        let session = self.state.session.as_ref();
        let is_saving = session.is_some_and(|s| s.saving() == Saving::Waiting);
        // An export goes on while other clips are open, but ends with the program.
        let exports = how == Leaving::Quit && self.state.exporting.is_some();
        if is_saving || exports {
            self.state.leaving = Some(how);
        } else {
            self.leave_unsaved(ctx, how);
        }
    }

    /// Leaves, if that was waiting for the disk.
    pub(super) fn go_on_leaving(&mut self, ctx: &egui::Context) {
        if let Some(how) = self.state.leaving.take() {
            self.leave(ctx, how);
        }
    }

    /// Leaves the document whatever is lost.
    pub(super) fn leave_unsaved(&mut self, ctx: &egui::Context, how: Leaving) {
        self.close_clip();
        match how {
            Leaving::Quit => ctx.send_viewport_cmd(egui::ViewportCommand::Close),
            Leaving::Close => {}
            Leaving::Open(target) => self.open_target(target),
        }
    }

    /// Keeps the window open when it is to be closed and something is not saved, or not yet, or an export runs.
    pub(super) fn guard_leaving(&mut self, ctx: &egui::Context) {
        let session = self.state.session.as_ref();
        let exports = self.state.exporting.is_some();
        let wait = exports
            || session.is_some_and(|s| s.would_lose().is_some() || s.saving() == Saving::Waiting);
        if !wait || !ctx.input(|i| i.viewport().close_requested()) {
            return;
        }
        ctx.send_viewport_cmd(egui::ViewportCommand::CancelClose);
        let told_twice = exports && self.is_quitting();
        if told_twice {
            self.stop_export();
        }
        self.leave(ctx, Leaving::Quit);
        // What cannot be saved is asked about first.
        if exports && !told_twice && self.is_quitting() {
            let key = self.state.keymap.in_brackets(Action::Stop);
            let text = format!(
                "An export is running; the window closes once it is done. Close it again to stop the export, or stay{key}."
            );
            self.say(Weight::Look, text);
        }
    }

    fn is_quitting(&self) -> bool {
        self.state.leaving == Some(Leaving::Quit)
    }

    /// Calls off the closing of the window that waits for an export or the disk; says whether it was to close.
    pub(super) fn stay(&mut self) -> bool {
        let quits = |how: &mut Leaving| *how == Leaving::Quit;
        self.state.leaving.take_if(quits).is_some()
    }

    /// Whoever goes on working, the document being at `before` so far, does not want the window to close over it.
    pub(super) fn stay_if_edited(&mut self, before: u64) {
        if self.revision() > before {
            self.stay();
        }
    }

    /// Asks for a place for the whole project.
    pub(super) fn ask_where_to_save(&mut self) {
        let Some(session) = &self.state.session else {
            return;
        };
        let name = session.path().and_then(|p| p.file_name());
        let name = name.map(|n| n.to_string_lossy().into_owned());
        let name = name.unwrap_or_else(|| "project.sparrow".into());
        self.services.chooser.ask_project_place(&name);
    }

    /// Goes on in a new file at `place`; one that is there already is left alone.
    pub(super) fn save_elsewhere(&mut self, place: PathBuf) {
        let wake = self.services.wake.clone();
        let is_named = place.extension().is_some_and(|e| e == "sparrow");
        let place = match place.file_name() {
            Some(name) if !is_named => {
                let mut name = name.to_owned();
                name.push(".sparrow");
                place.with_file_name(name)
            }
            _ => place,
        };
        if let Some(session) = &mut self.state.session {
            session.save_elsewhere(place, wake);
        }
    }

    /// Looks after the saving, and says where the project has moved.
    pub(super) fn poll_saving(&mut self) {
        let Some(session) = &mut self.state.session else {
            return;
        };
        let moved = session.poll();
        let trouble = session.would_lose();
        let is_new = trouble.is_some() && !self.state.told_trouble;
        self.state.told_trouble = trouble.is_some();
        if let (Some(why), true) = (trouble, is_new) {
            self.say_not_saved(&why);
        }
        match moved {
            None => {}
            Some(Ok(path)) => {
                if matches!(self.state.dialog, Some(Dialog::Unsaved(_))) {
                    self.state.dialog = None;
                }
                let text = format!("The project is saved in {} from now on.", path.display());
                self.say(Weight::Info, text);
                self.state.settings.remember(&path);
                self.services.settings.save(&self.state.settings);
            }
            Some(Err(why)) => {
                self.say(Weight::Error, format!("Not saved elsewhere: {why}."));
            }
        }
    }

    /// Says why the last changes are not on the disk, and what helps.
    pub(super) fn say_not_saved(&mut self, why: &str) {
        let key = self.state.keymap.in_brackets(Action::SaveElsewhere);
        let can_retry = self.state.session.as_ref().is_some_and(Session::can_retry);
        let help = if can_retry {
            "free some space and try again from the status line, or save elsewhere"
        } else {
            "save elsewhere"
        };
        let why = why.trim_end_matches('.');
        let text = format!("Not saved: {why}. Everything is kept in memory; {help}{key}.");
        self.say(Weight::Error, text);
    }
}

#[cfg(test)]
mod tests {
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
        let video = VideoInfo {
            path: "clip.mp4".into(),
            size: Size::new(4, 4),
            frames: 3,
            fps: 25.0,
            hash: String::new(),
        };
        let doc = Document::new(video, "nano", Thresholds::default());
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
        let told = |app: &App| {
            let said = app.state.toasts.iter();
            said.filter(|t| t.text.contains("free some space")).count()
        };
        app.poll_saving();
        assert_eq!(told(&app), 1);
        app.state.toasts.clear();
        app.poll_saving();
        assert_eq!(told(&app), 0);
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

    /// Opens another clip until all but the disk is ready for it.
    fn open_another_while_saving(app: &mut App, dir: &std::path::Path) {
        let other = dir.join("other");
        std::fs::create_dir(&other).unwrap();
        image::RgbImage::new(4, 4)
            .save(other.join("1.png"))
            .unwrap();
        let session = app.state.session.as_mut().unwrap();
        // Its file is tried again, and until somebody looks it is on its way.
        session.retry();
        assert_eq!(session.saving(), Saving::Waiting);
        app.open(other);
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
        let said = app.state.toasts.iter();
        assert_eq!(said.filter(|t| t.text.contains("closes once")).count(), 0);
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
}
