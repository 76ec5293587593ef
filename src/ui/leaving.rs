//! Leaving a document of which something could not be saved: nothing is lost unless a person says so. Part of `logic`.

use std::path::PathBuf;

use super::{
    app::App,
    opener::Target,
    session::Saving,
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
        if session.is_some_and(|s| s.saving() == Saving::Waiting) {
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

    /// Keeps the window open when it is to be closed and something is not saved, or not yet.
    pub(super) fn guard_leaving(&mut self, ctx: &egui::Context) {
        let session = self.state.session.as_ref();
        let wait =
            session.is_some_and(|s| s.would_lose().is_some() || s.saving() == Saving::Waiting);
        if wait && ctx.input(|i| i.viewport().close_requested()) {
            ctx.send_viewport_cmd(egui::ViewportCommand::CancelClose);
            self.leave(ctx, Leaving::Quit);
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
        match session.poll() {
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
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;
    use crate::{
        project::{Document, Edit, Size, Thresholds, VideoInfo},
        store::Store,
        ui::{Options, session::Session},
        worker::{InferBackend, Worker},
    };

    /// A window on a document that cannot be saved where it should be: a file stands where a folder is needed.
    fn in_trouble(dir: &std::path::Path) -> App {
        let options = Options {
            open: None,
            model: "nano".to_owned(),
            device: "cpu".to_owned(),
            sample: None,
            worker: Box::new(|wake| {
                Worker::spawn(|| Err::<InferBackend, _>(anyhow!("no model here")), wake)
            }),
            settings: None,
        };
        let mut app = App::new(&egui::Context::default(), options).unwrap();
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
    fn closing_the_window_is_called_off_until_everything_is_saved() {
        let dir = tempfile::tempdir().unwrap();
        let mut app = in_trouble(dir.path());
        let ctx = egui::Context::default();
        let asked_to_close = |app: &mut App| {
            let mut input = egui::RawInput::default();
            let viewport = input.viewports.entry(input.viewport_id).or_default();
            viewport.events.push(egui::ViewportEvent::Close);
            let mut output = ctx.run_ui(input, |ui| app.guard_leaving(ui.ctx()));
            // Nothing is drawn.
            output.textures_delta.clear();
            let commands = &output.viewport_output[&egui::ViewportId::ROOT].commands;
            commands.contains(&egui::ViewportCommand::CancelClose)
        };
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
