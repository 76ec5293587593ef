//! The way of edits to the disk: the file is made with the first one, on a thread of its own, and goes on in the store's
//! writer.

use std::path::{Path, PathBuf};

use crossbeam_channel::{Receiver, TryRecvError, bounded};

use super::{
    claim::{Claim, Claimed},
    session::{Saving, Wake},
};
use crate::{
    project::{Document, Edit},
    store::{Existing, Store, StoreError, Writer},
};

/// So many projects of one name may lie in a folder.
pub(crate) const NAMES: u32 = 100;

/// The way of a document's edits to its file.
pub(super) struct Saver {
    pub(super) path: Option<PathBuf>,
    pub(super) stage: Stage,
    /// Says to other windows that the file is open here.
    pub(super) claim: Option<Claim>,
}

/// A file that was made.
pub(super) struct Made {
    path: PathBuf,
    writer: Writer,
    claim: Option<Claim>,
}

/// How far the file is.
pub(super) enum Stage {
    /// No edit so far; where the file may go, the best place first.
    Nothing {
        places: Vec<PathBuf>,
        wake: Wake,
    },
    /// The file is being made, with everything up to now in it; what came since waits.
    Making {
        answer: Receiver<Result<Made, String>>,
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
    pub(super) fn new(places: Vec<PathBuf>, wake: Wake) -> Self {
        Self {
            path: None,
            stage: Stage::Nothing { places, wake },
            claim: None,
        }
    }

    pub(super) fn commit(&mut self, edit: Edit, doc: &Document) {
        match &mut self.stage {
            Stage::Writing(writer) => writer.commit(edit),
            Stage::Making { waiting, .. } => waiting.push(edit),
            Stage::Nothing { .. } => self.make(doc),
            Stage::Refused { lost, .. } => *lost = true,
            Stage::Failed { .. } => {}
        }
    }

    pub(super) fn make(&mut self, doc: &Document) {
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

    pub(super) fn poll(&mut self) {
        match &mut self.stage {
            Stage::Writing(writer) => writer.pass_on(),
            Stage::Making {
                answer,
                waiting,
                places,
                wake,
            } => {
                let made = match answer.try_recv() {
                    Ok(made) => made,
                    Err(TryRecvError::Empty) => return,
                    Err(TryRecvError::Disconnected) => {
                        Err("making the file crashed; please report this".to_owned())
                    }
                };
                match made {
                    Ok(mut made) => {
                        for edit in waiting.drain(..) {
                            made.writer.commit(edit);
                        }
                        self.path = Some(made.path);
                        self.claim = made.claim;
                        self.stage = Stage::Writing(made.writer);
                    }
                    Err(why) => {
                        self.stage = Stage::Failed {
                            why,
                            places: std::mem::take(places),
                            wake: wake.clone(),
                        };
                    }
                }
            }
            Stage::Nothing { .. } | Stage::Refused { .. } | Stage::Failed { .. } => {}
        }
    }

    pub(super) fn state(&self) -> Saving {
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

    pub(super) fn retry(&mut self, doc: &Document) {
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
            && let Ok(Ok(mut made)) = answer.recv()
        {
            for edit in waiting.drain(..) {
                made.writer.commit(edit);
            }
        }
    }
}

/// Makes the file and its writer, and claims it for this window.
fn create(places: &[PathBuf], doc: &Document, wake: &Wake) -> Result<Made, String> {
    let (path, store) = create_file(places, doc)?;
    let wake = wake.clone();
    let writer = Writer::start(store, move || wake()).map_err(|e| e.to_string())?;
    let claim = match Claim::of(&path) {
        Claimed::Here(claim) => Some(claim),
        Claimed::Elsewhere | Claimed::Unknown => None,
    };
    Ok(Made {
        path,
        writer,
        claim,
    })
}

/// Makes the file at the first place that takes it. A name that is taken is left alone: a number is added.
pub(super) fn create_file(places: &[PathBuf], doc: &Document) -> Result<(PathBuf, Store), String> {
    let mut why = "there is no folder to save in".to_owned();
    for place in places {
        if let Some(folder) = place.parent() {
            // If it cannot be made, creating the file says why.
            std::fs::create_dir_all(folder).ok();
        }
        for number in 1..NAMES {
            let path = numbered(place, number);
            match Store::create(&path, doc, Existing::Refuse) {
                Ok(store) => return Ok((path, store)),
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
    use std::sync::Arc;

    use super::*;
    use crate::project::Size;

    /// Nothing was ever saved, and every way of leaving waited for it.
    #[test]
    fn a_file_whose_making_crashed_is_trouble_and_may_be_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("clip.sparrow");
        let wake: Wake = Arc::new(|| {});
        let mut saver = Saver::new(vec![place.clone()], wake.clone());
        let (send, answer) = bounded(1);
        saver.stage = Stage::Making {
            answer,
            waiting: Vec::new(),
            places: vec![place],
            wake,
        };
        saver.poll();
        assert_eq!(saver.state(), Saving::Waiting);
        drop(send);
        saver.poll();
        assert!(matches!(saver.state(), Saving::Trouble(why) if why.contains("crashed")));
        saver.retry(&crate::ui::fixture::document(Size::new(4, 4), 3));
        assert!(matches!(saver.stage, Stage::Making { .. }));
    }
}
