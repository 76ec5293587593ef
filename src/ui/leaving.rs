//! Leaving a document of which something could not be saved: nothing is lost unless a person says so. Part of `logic`.

use std::path::{Path, PathBuf};

use super::{
    actions::Action,
    app::App,
    dialogs::{PathForm, Purpose},
    opener::Target,
    session::{Saving, Session},
    state::{Dialog, Weight},
};

/// How the message begins that goes once all is saved.
const NOT_SAVED: &str = "Not saved:";

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
        if !exports {
            // It would give the disk more to do with each frame: nobody came away before its end.
            self.drop_queued();
            self.cancel_propagations();
        }
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
        self.forget_errors();
        self.close_clip();
        match how {
            Leaving::Quit => ctx.send_viewport_cmd(egui::ViewportCommand::Close),
            Leaving::Close => {}
            Leaving::Open(target) => self.open_target(target),
        }
    }

    /// Errors of a document that is left are nobody's any more; nothing else would take them away.
    pub(super) fn forget_errors(&mut self) {
        self.state.toasts.retain(|t| t.weight != Weight::Error);
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

    /// Calls off that this document is left, for whatever it was to be; says whether it was.
    pub(super) fn stay(&mut self) -> bool {
        let left = self.state.leaving.take().is_some();
        self.call_off_opening() || left
    }

    /// Calls off the closing of the window alone.
    pub(super) fn stay_open(&mut self) {
        self.state.leaving.take_if(|how| *how == Leaving::Quit);
    }

    /// Another clip on its way in would take the place of the one that is worked on.
    fn call_off_opening(&mut self) -> bool {
        if self.state.session.is_none() {
            return false;
        }
        let Some(name) = self.state.opening.take() else {
            return false;
        };
        self.services.opening = None;
        let text = format!("{name} is not opened, since you went on working here.");
        self.say(Weight::Info, text);
        true
    }

    /// Whoever goes on working, the document being at `before` so far, does not want to leave it.
    pub(super) fn stay_if_edited(&mut self, before: u64) {
        if self.revision() > before {
            self.stay();
        }
    }

    /// Asks for a place for the whole project: in a field of our own, since not every desktop has a chooser.
    pub(super) fn ask_where_to_save(&mut self) {
        if self.state.session.is_none() {
            return;
        }
        let place = self.project_folder().join(self.project_name());
        let text = place.display().to_string();
        self.state.dialog = Some(Dialog::Path(PathForm {
            purpose: Purpose::SaveElsewhere,
            text,
            note: None,
        }));
    }

    /// Where the project's file is, or would be; empty if nothing tells.
    fn project_folder(&self) -> &Path {
        let session = self.state.session.as_ref();
        let beside = session
            .and_then(Session::path)
            .or_else(|| self.state.clip.as_ref().map(|clip| clip.path.as_path()));
        beside.and_then(Path::parent).unwrap_or(Path::new(""))
    }

    /// What the project's file is called, or would be.
    pub(super) fn project_name(&self) -> PathBuf {
        let session = self.state.session.as_ref();
        let name = session.and_then(Session::path).and_then(Path::file_name);
        name.map_or_else(|| PathBuf::from("project.sparrow"), PathBuf::from)
    }

    /// Goes on in a new file at `place`, which may be relative to the project's folder; one that is there already is left
    /// alone.
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
        // It is opened from the list of recent ones, wherever the program is started then.
        let place = self.project_folder().join(place);
        let place = std::path::absolute(&place).unwrap_or(place);
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
        // What is being tried again is in trouble until it is saved.
        if trouble.is_some() || session.saving() != Saving::Waiting {
            let is_over = trouble.is_none() && self.state.told_trouble;
            self.state.told_trouble = trouble.is_some();
            if is_over {
                self.state.toasts.retain(|t| !t.text.starts_with(NOT_SAVED));
            }
        }
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
            "try again from the status line, or save elsewhere"
        } else {
            "save elsewhere"
        };
        let why = why.trim_end_matches('.');
        let text = format!("{NOT_SAVED} {why}. Everything is kept in memory; {help}{key}.");
        self.say(Weight::Error, text);
    }
}

#[cfg(test)]
mod tests;
