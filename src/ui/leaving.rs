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
    /// Why changes are not saved, if they cannot be.
    fn trouble(&self) -> Option<String> {
        match self.state.session.as_ref()?.saving() {
            Saving::Trouble(why) => Some(why),
            Saving::Nothing | Saving::Saved | Saving::Waiting => None,
        }
    }

    /// Asks the person if leaving would lose something; whether it does.
    pub(super) fn asks_before_leaving(&mut self, how: &Leaving) -> bool {
        let would_lose = self.trouble().is_some();
        if would_lose {
            self.state.dialog = Some(Dialog::Unsaved(how.clone()));
        }
        would_lose
    }

    /// Leaves the document, or asks first.
    pub(super) fn leave(&mut self, how: Leaving) {
        if self.asks_before_leaving(&how) {
            return;
        }
        match how {
            Leaving::Quit => {}
            Leaving::Close => self.close_clip(),
            Leaving::Open(target) => self.open_target(target),
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

    /// Keeps the window open when it is to be closed and something is not saved.
    pub(super) fn guard_leaving(&mut self, ctx: &egui::Context) {
        if ctx.input(|i| i.viewport().close_requested()) && self.asks_before_leaving(&Leaving::Quit)
        {
            ctx.send_viewport_cmd(egui::ViewportCommand::CancelClose);
        }
    }

    /// Asks for a place for the whole project.
    pub(super) fn ask_where_to_save(&mut self) {
        let Some(session) = &self.state.session else {
            return;
        };
        let name = session.path().and_then(|p| p.file_name());
        let name = name.map(|n| n.to_string_lossy().into_owned());
        let clip = self.state.clip.as_ref().and_then(|c| c.path.file_stem());
        let clip = clip.map(|stem| format!("{}.sparrow", stem.to_string_lossy()));
        let name = name.or(clip).unwrap_or_else(|| "project.sparrow".into());
        self.services.chooser.ask_project_place(&name);
    }

    /// Goes on in a new file at `place`; one that is there already is left alone.
    pub(super) fn save_elsewhere(&mut self, place: PathBuf) {
        let wake = self.services.wake.clone();
        let Some(session) = &mut self.state.session else {
            return;
        };
        session.save_elsewhere(place.with_extension("sparrow"), wake);
        if matches!(self.state.dialog, Some(Dialog::Unsaved(_))) {
            self.state.dialog = None;
        }
        self.say(
            Weight::Info,
            "The project is saved there from now on, with everything up to here.",
        );
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

    #[test]
    fn what_is_not_saved_is_not_left_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let mut app = in_trouble(dir.path());
        let elsewhere = Leaving::Open(Target::Path(dir.path().join("other.mp4")));
        for how in [Leaving::Close, elsewhere, Leaving::Quit] {
            app.leave(how.clone());
            assert!(app.state.session.is_some() && app.state.opening.is_none());
            assert_eq!(app.state.dialog, Some(Dialog::Unsaved(how)));
            app.state.dialog = None;
        }
        app.leave_unsaved(&egui::Context::default(), Leaving::Close);
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
        let place = dir.path().join("rescued");
        app.save_elsewhere(place.clone());
        assert_eq!(app.state.dialog, None);
        wait(&mut app, |s| *s == Saving::Saved);
        assert!(!asked_to_close(&mut app));
        let saved = Store::open(&place.with_extension("sparrow")).unwrap();
        assert_eq!(
            saved.load().unwrap(),
            app.state.session.as_ref().unwrap().doc
        );
    }
}
