//! The open document with its history, and the way of its edits to the disk. Every change of the document goes through
//! here, so that none misses the history or the store.

use std::path::{Path, PathBuf};

use crossbeam_channel::{Receiver, bounded};

use super::review::Review;
use crate::{
    project::{Document, Edit, EditError, History, apply},
    store::{Existing, Store, StoreError, Writer},
};

/// What an open undo step collects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Collecting {
    Thresholds,
    Prompt,
    Propagation,
}

/// A document being worked on.
pub(crate) struct Session {
    pub(crate) doc: Document,
    history: History,
    collecting: Option<Collecting>,
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
    /// Grows with each change of the document.
    pub(crate) revision: u64,
}

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
            },
        )
    }

    /// A document whose file may only be read.
    pub(crate) fn read_only(doc: Document, path: PathBuf) -> Self {
        let why = format!("{} is write-protected", path.display());
        Self::with_saver(
            doc,
            Saver {
                path: Some(path),
                stage: Stage::Refused { why, lost: false },
            },
        )
    }

    fn with_saver(doc: Document, saver: Saver) -> Self {
        Self {
            doc,
            history: History::new(),
            collecting: None,
            review: None,
            noting: None,
            review_goes_on: false,
            kept: false,
            saver,
            next: None,
            revision: 1,
        }
    }

    /// Makes a change that can be undone, as a step of its own. A propagation goes on beside it as the one step that it
    /// is; beside a change of masks as two, since what was undone in another order would not be what there was.
    pub(crate) fn edit(&mut self, edit: Edit, label: &str) -> Result<(), EditError> {
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
            return self.beside(edit, label);
        }
        if self.collecting != Some(kind) {
            self.finish();
            self.history.open_group(label);
            self.collecting = Some(kind);
        }
        self.apply(edit, label)
    }

    /// Ends an open step.
    pub(crate) fn finish(&mut self) {
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

    pub(crate) fn undo_label(&self) -> Option<&str> {
        self.history.undo_label()
    }

    pub(crate) fn redo_label(&self) -> Option<&str> {
        self.history.redo_label()
    }

    /// Looks after the writing; call once per frame. Where the project was to be saved elsewhere, tells once where it is
    /// now, or why it is not.
    pub(crate) fn poll(&mut self) -> Option<Result<PathBuf, String>> {
        self.saver.poll();
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

/// So many projects of one name may lie in a folder.
pub(crate) const NAMES: u32 = 100;

/// Called from other threads when there is something to look at.
pub(crate) type Wake = std::sync::Arc<dyn Fn() + Send + Sync>;

struct Saver {
    path: Option<PathBuf>,
    stage: Stage,
}

enum Stage {
    /// No edit so far; where the file may go, the best place first.
    Nothing {
        places: Vec<PathBuf>,
        wake: Wake,
    },
    /// The file is being made, with everything up to now in it; what came since waits.
    Making {
        answer: Receiver<Result<(PathBuf, Writer), String>>,
        waiting: Vec<Edit>,
        places: Vec<PathBuf>,
        wake: Wake,
    },
    Writing(Writer),
    /// There is no file to write to.
    Refused {
        why: String,
        /// Something was to be written.
        lost: bool,
    },
    /// The file could not be made; a retry starts over.
    Failed {
        why: String,
        places: Vec<PathBuf>,
        wake: Wake,
    },
}

impl Saver {
    fn new(places: Vec<PathBuf>, wake: Wake) -> Self {
        Self {
            path: None,
            stage: Stage::Nothing { places, wake },
        }
    }

    fn commit(&mut self, edit: Edit, doc: &Document) {
        match &mut self.stage {
            Stage::Writing(writer) => writer.commit(edit),
            Stage::Making { waiting, .. } => waiting.push(edit),
            Stage::Nothing { .. } => self.make(doc),
            Stage::Refused { lost, .. } => *lost = true,
            Stage::Failed { .. } => {}
        }
    }

    fn make(&mut self, doc: &Document) {
        let (Stage::Nothing { places, wake } | Stage::Failed { places, wake, .. }) = &self.stage
        else {
            return;
        };
        let (places, wake) = (places.clone(), wake.clone());
        let (send, answer) = bounded(1);
        let thread = std::thread::Builder::new().name("sparrow-create".to_owned());
        let spawned = thread.spawn({
            let (places, wake, doc) = (places.clone(), wake.clone(), doc.clone());
            move || {
                // The window may have moved on; then nobody wants the answer.
                send.send(create(&places, &doc, &wake)).ok();
                wake();
            }
        });
        self.stage = match spawned {
            Ok(_) => Stage::Making {
                answer,
                waiting: Vec::new(),
                places,
                wake,
            },
            Err(error) => Stage::Failed {
                why: error.to_string(),
                places,
                wake,
            },
        };
    }

    fn poll(&mut self) {
        match &mut self.stage {
            Stage::Writing(writer) => writer.pass_on(),
            Stage::Making {
                answer,
                waiting,
                places,
                wake,
            } => match answer.try_recv() {
                Ok(Ok((path, mut writer))) => {
                    for edit in waiting.drain(..) {
                        writer.commit(edit);
                    }
                    self.path = Some(path);
                    self.stage = Stage::Writing(writer);
                }
                Ok(Err(why)) => {
                    self.stage = Stage::Failed {
                        why,
                        places: std::mem::take(places),
                        wake: wake.clone(),
                    };
                }
                Err(_) => {}
            },
            Stage::Nothing { .. } | Stage::Refused { .. } | Stage::Failed { .. } => {}
        }
    }

    fn state(&self) -> Saving {
        match &self.stage {
            Stage::Nothing { .. } => Saving::Nothing,
            Stage::Making { .. } => Saving::Waiting,
            Stage::Writing(writer) => {
                let state = writer.state();
                match state.trouble {
                    Some(why) => Saving::Trouble(why),
                    None if state.waiting == 0 => Saving::Saved,
                    None => Saving::Waiting,
                }
            }
            Stage::Refused { why, .. } | Stage::Failed { why, .. } => Saving::Trouble(why.clone()),
        }
    }

    fn retry(&mut self, doc: &Document) {
        match &mut self.stage {
            Stage::Writing(writer) => writer.retry(),
            Stage::Failed { .. } => self.make(doc),
            Stage::Nothing { .. } | Stage::Making { .. } | Stage::Refused { .. } => {}
        }
    }
}

impl Drop for Saver {
    /// What came while the file was being made is written, too; the writer's own end waits for the disk.
    fn drop(&mut self) {
        if let Stage::Making {
            answer, waiting, ..
        } = &mut self.stage
            && let Ok(Ok((_, mut writer))) = answer.recv()
        {
            for edit in waiting.drain(..) {
                writer.commit(edit);
            }
        }
    }
}

/// Makes the file at the first place that takes it. A name that is taken is left alone: a number is added.
fn create(places: &[PathBuf], doc: &Document, wake: &Wake) -> Result<(PathBuf, Writer), String> {
    let mut why = "there is no folder to save in".to_owned();
    for place in places {
        if let Some(folder) = place.parent() {
            // If it cannot be made, creating the file says why.
            std::fs::create_dir_all(folder).ok();
        }
        for number in 1..NAMES {
            let path = numbered(place, number);
            match Store::create(&path, doc, Existing::Refuse) {
                Ok(store) => {
                    let wake = wake.clone();
                    return Writer::start(store, move || wake())
                        .map(|writer| (path, writer))
                        .map_err(|e| e.to_string());
                }
                Err(_) if path.exists() => {}
                Err(error) => {
                    why = StoreError::to_string(&error);
                    break;
                }
            }
        }
    }
    Err(why)
}

/// The name that a project gets where others of its name are: "dog 2.sparrow"; 1 adds nothing.
pub(crate) fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 1 {
        return path.to_path_buf();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem} {number}.sparrow"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::{Size, Thresholds, VideoInfo};
    use std::{
        sync::Arc,
        time::{Duration, Instant},
    };

    fn document() -> Document {
        let video = VideoInfo {
            path: "clip.mp4".into(),
            size: Size::new(4, 4),
            frames: 3,
            fps: 25.0,
            hash: String::new(),
        };
        Document::new(video, "nano", Thresholds::default())
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

    #[test]
    fn a_propagation_stays_one_step_whatever_is_edited_beside_it() {
        let mut doc = document();
        let object = doc.new_object("a horse");
        let id = object.id;
        doc.objects.push(object);
        let mut session = Session::unsaved(doc.clone(), Vec::new(), Arc::new(|| {}));
        let frame = |f: u32| {
            let mask = crate::project::FrameMask {
                rle: crate::project::Rle::new(Size::new(4, 4), vec![4, 4, 8]).unwrap(),
                score: 1.0,
                iou: 1.0,
                provenance: crate::project::Provenance::Propagated,
                anchor: false,
                drift: crate::project::DriftSignal::default(),
            };
            Edit::set_mask(
                id,
                crate::project::FrameIndex(f),
                mask,
                crate::project::Author::Model,
            )
        };
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
