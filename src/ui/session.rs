//! The open document with its history, and the way of its edits to the disk. Every change of the document goes through
//! here, so that none misses the history or the store.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    claim::Claim,
    review::Review,
    saver::{Saver, Stage},
};
use crate::{
    project::{Document, Edit, EditError, History, StepId, apply},
    store::Writer,
};

/// What an open undo step collects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collecting {
    Thresholds,
    /// The masks of one prompt, by its number.
    Prompt(u64),
    Propagation,
}

/// A document being worked on.
pub(crate) struct Session {
    pub(crate) doc: Document,
    history: History,
    collecting: Option<Collecting>,
    /// Ticks of a slider that is dragged beside a propagation, oldest first, each with what takes it back.
    ticks: Vec<(Edit, Edit)>,
    /// The newest step in which a model replaced masks.
    review: Option<Review>,
    /// The step that goes on, as long as it has replaced nothing.
    noting: Option<Review>,
    /// The step that goes on is the one under review.
    review_goes_on: bool,
    /// Somebody has kept the step that goes on: what it still replaces is no question any more.
    kept: bool,
    saver: Saver,
    /// The file at another place, while it is being made.
    next: Option<Saver>,
    /// When what could not be written was tried last, or when that began.
    tried: Option<Instant>,
    /// Grows with each change of the document.
    pub(crate) revision: u64,
}

/// How often what could not be written is tried again by itself.
const RETRY_EVERY: Duration = Duration::from_secs(10);

impl Session {
    /// A document that is not on disk yet; its file is made with the first edit.
    pub(crate) fn unsaved(doc: Document, places: Vec<PathBuf>, wake: Wake) -> Self {
        Self::with_saver(doc, Saver::new(places, wake))
    }

    /// A document that is on disk.
    pub(crate) fn saved(doc: Document, writer: Writer, path: PathBuf) -> Self {
        Self::with_saver(
            doc,
            Saver {
                path: Some(path),
                stage: Stage::Writing(writer),
                claim: None,
            },
        )
    }

    /// Says to other windows that the document's file is open here.
    pub(crate) fn hold(&mut self, claim: Option<Claim>) {
        self.saver.claim = claim;
    }

    /// A document whose file may only be read.
    pub(crate) fn read_only(doc: Document, path: PathBuf) -> Self {
        let why = format!("{} is write-protected", path.display());
        Self::with_saver(
            doc,
            Saver {
                path: Some(path),
                stage: Stage::Refused { why, lost: false },
                claim: None,
            },
        )
    }

    fn with_saver(doc: Document, saver: Saver) -> Self {
        Self {
            doc,
            history: History::new(),
            collecting: None,
            ticks: Vec::new(),
            review: None,
            noting: None,
            review_goes_on: false,
            kept: false,
            saver,
            next: None,
            tried: None,
            revision: 1,
        }
    }

    /// Makes a change that can be undone, as a step of its own. A propagation goes on beside it as the one step that it
    /// is; beside a change of masks as two, since what was undone in another order would not be what there was.
    pub(crate) fn edit(&mut self, edit: Edit, label: &str) -> Result<(), EditError> {
        self.end_ticks();
        if self.collecting == Some(Collecting::Propagation) {
            return self.beside(edit, label);
        }
        self.finish();
        self.apply(edit, label)
    }

    fn beside(&mut self, edit: Edit, label: &str) -> Result<(), EditError> {
        if edit.touches_masks() {
            self.history
                .apply_between(&mut self.doc, edit.clone(), label)?;
            // Undo takes back what follows alone.
            self.noting = None;
            if let Some(review) = self.review.as_mut().filter(|_| self.review_goes_on) {
                review.divide();
            }
        } else {
            self.history
                .apply_beside(&mut self.doc, edit.clone(), label)?;
        }
        self.revision += 1;
        self.commit(edit);
        Ok(())
    }

    /// Makes a change as part of a step that goes on until [`Session::finish`] or a step of another kind.
    pub(crate) fn collect(
        &mut self,
        kind: Collecting,
        edit: Edit,
        label: &str,
    ) -> Result<(), EditError> {
        if self.collecting == Some(Collecting::Propagation) && kind == Collecting::Thresholds {
            return self.tick(edit);
        }
        if self.collecting != Some(kind) {
            self.finish();
            self.history.open_group(label);
            self.collecting = Some(kind);
        }
        self.apply(edit, label)
    }

    /// One position of a slider that is dragged beside a propagation; all of them are one step.
    fn tick(&mut self, edit: Edit) -> Result<(), EditError> {
        let back = apply(&mut self.doc, edit.clone())?;
        self.ticks.push((edit.clone(), back));
        self.revision += 1;
        self.commit(edit);
        Ok(())
    }

    /// Makes the slider's ticks a step of the history. The document stays as it is.
    fn end_ticks(&mut self) {
        if self.ticks.is_empty() {
            return;
        }
        let (forth, mut back): (Vec<_>, Vec<_>) = self.ticks.drain(..).unzip();
        back.reverse();
        // What a propagation has changed meanwhile are masks, and these are none.
        let again = apply(&mut self.doc, Edit::Group(back)).and_then(|_| {
            self.history
                .apply_beside(&mut self.doc, Edit::Group(forth), "thresholds")
        });
        if let Err(error) = again {
            tracing::warn!("the thresholds cannot be undone: {error}");
        }
    }

    /// Ends the step of a slider that was let go; a propagation goes on.
    pub(crate) fn finish_thresholds(&mut self) {
        self.end_ticks();
        if self.collecting == Some(Collecting::Thresholds) {
            self.finish();
        }
    }

    /// Ends an open step.
    pub(crate) fn finish(&mut self) {
        self.end_ticks();
        self.history.close_group();
        self.collecting = None;
        self.noting = None;
        self.review_goes_on = false;
        self.kept = false;
    }

    /// The newest step in which a model replaced masks, until somebody has decided about it.
    pub(crate) fn review(&self) -> Option<&Review> {
        self.review.as_ref()
    }

    /// Lets go of what the model's last step replaced.
    pub(crate) fn keep_review(&mut self) {
        self.kept = self.review_goes_on;
        self.review = None;
        self.noting = None;
        self.review_goes_on = false;
    }

    /// Whether undo would take back exactly the step under review.
    pub(crate) fn can_take_back(&self) -> bool {
        let review = self.review.as_ref();
        review.is_some_and(|r| r.is_last(self.history.depth()))
    }

    /// What is being collected.
    pub(crate) fn collecting(&self) -> Option<Collecting> {
        self.collecting
    }

    fn apply(&mut self, edit: Edit, label: &str) -> Result<(), EditError> {
        let mut replaced = Review::begin(label);
        replaced.note(&self.doc, &edit);
        self.history.apply(&mut self.doc, edit.clone(), label)?;
        let going_on = if self.review_goes_on {
            self.review.take()
        } else {
            self.noting.take()
        };
        let mut step = going_on.unwrap_or_else(|| Review::begin(label));
        step.join(replaced, self.history.depth());
        // A step of its own has nothing that follows.
        let goes_on = self.collecting.is_some();
        if self.kept {
            // Decided already.
        } else if step.replaced() > 0 {
            self.review = Some(step);
            self.review_goes_on = goes_on;
        } else if goes_on {
            self.noting = Some(step);
        }
        self.revision += 1;
        self.commit(edit);
        Ok(())
    }

    /// Notes a fact about the video that is no step of anybody's work: it cannot be undone, and no file is made for it.
    pub(crate) fn note(&mut self, edit: Edit) -> Result<(), EditError> {
        apply(&mut self.doc, edit.clone())?;
        if !matches!(self.saver.stage, Stage::Nothing { .. }) {
            self.commit(edit);
        }
        Ok(())
    }

    /// Takes the last step back; the words for it, if there was one.
    pub(crate) fn undo(&mut self) -> Result<Option<String>, EditError> {
        self.finish();
        self.keep_review();
        let label = self.history.undo_label().map(str::to_owned);
        let edit = self.history.undo(&mut self.doc)?;
        Ok(self.stepped(edit).and(label))
    }

    /// Takes back a step that was only the beginning of the next; what is under review stays so.
    pub(crate) fn retract(&mut self) -> Result<(), EditError> {
        self.finish();
        let edit = self.history.undo(&mut self.doc)?;
        self.stepped(edit);
        Ok(())
    }

    /// Makes the last undone step again; the words for it, if there was one.
    pub(crate) fn redo(&mut self) -> Result<Option<String>, EditError> {
        self.finish();
        self.keep_review();
        let label = self.history.redo_label().map(str::to_owned);
        let edit = self.history.redo(&mut self.doc)?;
        Ok(self.stepped(edit).and(label))
    }

    fn stepped(&mut self, edit: Option<Edit>) -> Option<()> {
        let edit = edit?;
        self.revision += 1;
        self.commit(edit);
        Some(())
    }

    /// Number of steps that can be undone.
    pub(crate) fn depth(&self) -> usize {
        self.history.depth()
    }

    pub(crate) fn undo_label(&self) -> Option<&str> {
        self.history.undo_label()
    }

    pub(crate) fn redo_label(&self) -> Option<&str> {
        self.history.redo_label()
    }

    /// The step that the next undo takes back.
    pub(crate) fn undo_id(&self) -> Option<StepId> {
        self.history.undo_id()
    }

    /// The step that the next redo makes again.
    pub(crate) fn redo_id(&self) -> Option<StepId> {
        self.history.redo_id()
    }

    /// The change that undo would make, or redo; an open step has to be ended before.
    pub(crate) fn next_edit(&self, undo: bool) -> Option<&Edit> {
        if undo {
            self.history.undo_edit()
        } else {
            self.history.redo_edit()
        }
    }

    /// Something new has begun: what was undone does not come again.
    pub(crate) fn forget_redo(&mut self) {
        self.history.forget_redo();
    }

    /// Tries again what could not be written, if that may help and was not tried for a while: the disk may have room again.
    fn retry_when_due(&mut self, now: Instant) {
        if !matches!(self.saver.state(), Saving::Trouble(_)) || !self.can_retry() {
            return;
        }
        let since = *self.tried.get_or_insert(now);
        if now.saturating_duration_since(since) >= RETRY_EVERY {
            self.tried = Some(now);
            self.retry();
        }
    }

    /// Looks after the writing; call once per frame. Where the project was to be saved elsewhere, tells once where it is
    /// now, or why it is not.
    pub(crate) fn poll(&mut self) -> Option<Result<PathBuf, String>> {
        self.saver.poll();
        self.retry_when_due(Instant::now());
        let next = self.next.as_mut()?;
        next.poll();
        match &next.stage {
            Stage::Writing(_) => {
                let next = self.next.take()?;
                let path = next.path.clone()?;
                let old = std::mem::replace(&mut self.saver, next);
                // It may have much to write yet, which nobody needs to wait for: the new file has everything.
                let thread = std::thread::Builder::new().name("sparrow-close".to_owned());
                if let Err(error) = thread.spawn(move || drop(old)) {
                    tracing::warn!("the old project was closed in the window's thread: {error}");
                }
                Some(Ok(path))
            }
            Stage::Failed { why, .. } => {
                let why = why.clone();
                self.next = None;
                Some(Err(why))
            }
            Stage::Nothing { .. } | Stage::Making { .. } | Stage::Refused { .. } => None,
        }
    }

    /// How the saving stands.
    pub(crate) fn saving(&self) -> Saving {
        self.saver.state()
    }

    /// Tries again what could not be written.
    pub(crate) fn retry(&mut self) {
        self.saver.retry(&self.doc);
    }

    /// Whether trying again may help; a write-protected project takes nothing, however often, nor does one that another
    /// window has changed.
    pub(crate) fn can_retry(&self) -> bool {
        match &self.saver.stage {
            Stage::Refused { .. } => false,
            Stage::Writing(writer) => {
                let state = writer.state();
                state.trouble.is_none() || state.can_retry
            }
            Stage::Nothing { .. } | Stage::Making { .. } | Stage::Failed { .. } => true,
        }
    }

    /// Makes a new file at `place` with everything in it, and goes on there once it is whole; until then the old one
    /// gets every edit, too. [`Session::poll`] tells the end.
    pub(crate) fn save_elsewhere(&mut self, place: PathBuf, wake: Wake) {
        let mut next = Saver::new(vec![place], wake);
        next.make(&self.doc);
        self.next = Some(next);
    }

    /// Why leaving now would lose something, if it would.
    pub(crate) fn would_lose(&self) -> Option<String> {
        match (&self.saver.stage, self.saver.state()) {
            (Stage::Refused { lost: false, .. }, _) => None,
            (_, Saving::Trouble(why)) => Some(why),
            _ => None,
        }
    }

    fn commit(&mut self, edit: Edit) {
        if let Some(next) = &mut self.next {
            next.commit(edit.clone(), &self.doc);
        }
        self.saver.commit(edit, &self.doc);
        // Whoever has made room goes on working, and does not look for a button.
        if matches!(self.saver.state(), Saving::Trouble(_)) && self.can_retry() {
            self.tried = Some(Instant::now());
            self.retry();
        }
    }

    /// Where the project is or will be.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.saver.path.as_deref()
    }
}

/// How the saving stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Saving {
    /// Nothing to save yet.
    Nothing,
    /// Everything is on the disk.
    Saved,
    /// Edits on their way.
    Waiting,
    /// It does not work, and why.
    Trouble(String),
}

/// Called from other threads when there is something to look at.
pub(crate) type Wake = std::sync::Arc<dyn Fn() + Send + Sync>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        project::{Author, DriftSignal, FrameIndex, FrameMask, Provenance, Rle, Size, Thresholds},
        store::Store,
    };
    use std::sync::Arc;

    fn document() -> Document {
        crate::ui::fixture::document(Size::new(4, 4), 3)
    }

    fn mask(inside: u32) -> FrameMask {
        FrameMask {
            rle: Rle::new(Size::new(4, 4), vec![4, inside, 12 - inside]).unwrap(),
            score: 1.0,
            iou: 1.0,
            provenance: Provenance::Propagated,
            anchor: false,
            drift: DriftSignal::default(),
        }
    }

    fn wait_until_saved(session: &mut Session) {
        let start = Instant::now();
        while session.saving() != Saving::Saved {
            assert!(
                start.elapsed() < Duration::from_secs(120),
                "{:?}",
                session.saving()
            );
            session.poll();
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn the_first_edit_makes_the_file_and_later_ones_follow() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("clip.sparrow");
        let doc = document();
        let mut session = Session::unsaved(doc.clone(), vec![place.clone()], Arc::new(|| {}));
        assert_eq!(session.saving(), Saving::Nothing);
        session
            .edit(Edit::add_object(doc.new_object("a horse")), "add")
            .unwrap();
        let id = session.doc.objects[0].id;
        session
            .edit(
                Edit::Rename {
                    id,
                    name: "Bella".into(),
                },
                "rename",
            )
            .unwrap();
        assert_eq!(session.undo().unwrap().as_deref(), Some("rename"));
        wait_until_saved(&mut session);
        assert_eq!(Store::open(&place).unwrap().load().unwrap(), session.doc);
        assert_eq!(session.redo().unwrap().as_deref(), Some("rename"));
        wait_until_saved(&mut session);
        assert_eq!(
            Store::open(&place).unwrap().load().unwrap().objects[0].name,
            "Bella"
        );
    }

    #[test]
    fn what_was_edited_while_the_file_was_being_made_is_saved_on_closing() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("clip.sparrow");
        let doc = document();
        let mut session = Session::unsaved(doc.clone(), vec![place.clone()], Arc::new(|| {}));
        session
            .edit(Edit::add_object(doc.new_object("a horse")), "add")
            .unwrap();
        let id = session.doc.objects[0].id;
        let name = "Bella".to_owned();
        // Nobody has looked whether the file is there yet.
        session.edit(Edit::Rename { id, name }, "rename").unwrap();
        let kept = session.doc.clone();
        drop(session);
        assert_eq!(Store::open(&place).unwrap().load().unwrap(), kept);
    }

    #[test]
    fn a_taken_name_is_left_alone_and_a_bad_folder_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let taken = dir.path().join("clip.sparrow");
        std::fs::write(&taken, "something else").unwrap();
        // A file where a folder would be needed.
        let impossible = taken.join("below").join("clip.sparrow");
        let doc = document();
        let mut session = Session::unsaved(
            doc.clone(),
            vec![impossible, taken.clone()],
            Arc::new(|| {}),
        );
        session
            .edit(Edit::add_object(doc.new_object("")), "add")
            .unwrap();
        wait_until_saved(&mut session);
        assert_eq!(std::fs::read_to_string(&taken).unwrap(), "something else");
        assert_eq!(session.path().unwrap(), dir.path().join("clip 2.sparrow"));
    }

    /// A document that could not be saved, since a file stood where its folder goes; that is gone by now.
    fn could_not_be_saved(folder: &Path) -> Session {
        std::fs::write(folder, "no folder").unwrap();
        let place = folder.join("clip.sparrow");
        let doc = document();
        let edit = Edit::add_object(doc.new_object("a horse"));
        let mut session = Session::unsaved(doc, vec![place], Arc::new(|| {}));
        session.edit(edit, "add").unwrap();
        let start = Instant::now();
        while !matches!(session.saving(), Saving::Trouble(_)) {
            assert!(start.elapsed() < Duration::from_secs(120));
            session.poll();
            std::thread::sleep(Duration::from_millis(2));
        }
        std::fs::remove_file(folder).unwrap();
        session
    }

    /// The disk had room again, and the window stayed "not saved" whatever was done.
    #[test]
    fn what_could_not_be_saved_is_tried_again_with_the_next_edit() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("work");
        let mut session = could_not_be_saved(&folder);
        let id = session.doc.objects[0].id;
        let name = "Bella".to_owned();
        session.edit(Edit::Rename { id, name }, "rename").unwrap();
        wait_until_saved(&mut session);
        let saved = Store::open(&folder.join("clip.sparrow")).unwrap();
        assert_eq!(saved.load().unwrap(), session.doc);
    }

    #[test]
    fn what_could_not_be_saved_is_tried_again_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("work");
        let mut session = could_not_be_saved(&folder);
        let now = Instant::now();
        session.tried = Some(now);
        session.retry_when_due(now + RETRY_EVERY / 2);
        assert!(matches!(session.saving(), Saving::Trouble(_)), "not yet");
        session.retry_when_due(now + RETRY_EVERY);
        wait_until_saved(&mut session);
        assert!(folder.join("clip.sparrow").exists());
    }

    #[test]
    fn a_propagation_stays_one_step_whatever_is_edited_beside_it() {
        let mut doc = document();
        let object = doc.new_object("a horse");
        let id = object.id;
        doc.objects.push(object);
        let mut session = Session::unsaved(doc.clone(), Vec::new(), Arc::new(|| {}));
        let frame = |f: u32| Edit::set_mask(id, FrameIndex(f), mask(4), Author::Model);
        let collect = Collecting::Propagation;
        session.collect(collect, frame(0), "propagate").unwrap();
        let name = "Bella".to_owned();
        session.edit(Edit::Rename { id, name }, "rename").unwrap();
        session.collect(collect, frame(1), "propagate").unwrap();
        session.finish();
        assert_eq!(session.undo().unwrap().as_deref(), Some("propagate"));
        assert!(session.doc.objects[0].frames.is_empty());
        assert_eq!(session.doc.objects[0].name, "Bella");
        assert_eq!(session.undo().unwrap().as_deref(), Some("rename"));
        assert_eq!(session.doc, doc);
    }

    #[test]
    fn a_slider_moved_during_a_propagation_is_one_step_and_does_not_end_it() {
        let mut doc = document();
        let object = doc.new_object("a horse");
        let id = object.id;
        doc.objects.push(object);
        let mut session = Session::unsaved(doc.clone(), Vec::new(), Arc::new(|| {}));
        let carry = |session: &mut Session, f: u32| {
            let edit = Edit::set_mask(id, FrameIndex(f), mask(4), Author::Model);
            session
                .collect(Collecting::Propagation, edit, "propagate")
                .unwrap();
        };
        let slide = |session: &mut Session, keep: f32| {
            let thresholds = Thresholds {
                keep,
                ..session.doc.thresholds
            };
            let edit = Edit::SetThresholds { thresholds };
            session
                .collect(Collecting::Thresholds, edit, "thresholds")
                .unwrap();
        };
        carry(&mut session, 0);
        slide(&mut session, 0.1);
        carry(&mut session, 1);
        slide(&mut session, 0.2);
        session.finish_thresholds();
        carry(&mut session, 2);
        session.finish();
        assert_eq!(session.undo().unwrap().as_deref(), Some("propagate"));
        assert!(session.doc.objects[0].frames.is_empty());
        assert_eq!(session.doc.thresholds.keep, 0.2);
        assert_eq!(session.undo().unwrap().as_deref(), Some("thresholds"));
        assert_eq!(session.doc, doc);
        assert_eq!(session.redo().unwrap().as_deref(), Some("thresholds"));
        assert_eq!(session.doc.thresholds.keep, 0.2);
    }

    /// "Take back" undid its second half alone.
    #[test]
    fn a_step_of_the_model_that_a_hand_has_divided_is_not_taken_back_by_one_undo() {
        let mut doc = document();
        let mut object = doc.new_object("a horse");
        let id = object.id;
        for f in 0..3 {
            object.frames.insert(FrameIndex(f), mask(2));
        }
        doc.objects.push(object);
        let mut session = Session::unsaved(doc, Vec::new(), Arc::new(|| {}));
        let set = |f: u32, author| Edit::set_mask(id, FrameIndex(f), mask(6), author);
        let collect = Collecting::Propagation;
        session
            .collect(collect, set(0, Author::Model), "propagate")
            .unwrap();
        assert!(session.can_take_back());
        session.edit(set(1, Author::Person), "brush").unwrap();
        session
            .collect(collect, set(2, Author::Model), "propagate")
            .unwrap();
        assert!(session.review().is_some() && !session.can_take_back());
    }

    #[test]
    fn steps_of_one_kind_are_one_undo() {
        let doc = document();
        let mut session = Session::unsaved(doc.clone(), Vec::new(), Arc::new(|| {}));
        for keep in [0.1, 0.2, 0.3] {
            let thresholds = Thresholds {
                keep,
                ..doc.thresholds
            };
            session
                .collect(
                    Collecting::Thresholds,
                    Edit::SetThresholds { thresholds },
                    "thresholds",
                )
                .unwrap();
        }
        session.undo().unwrap();
        assert_eq!(session.doc.thresholds, doc.thresholds);
        assert_eq!(session.undo().unwrap(), None);
    }
}
