//! Every change to a document, as a value with an inverse. Leaves remembering inverses to [`super::history`] and keeping
//! edits on disk to the store.
//!
//! The one rule that no model may break stands here: an anchor (a frame whose mask a person made or accepted) changes
//! only by an edit whose author is a person, and a locked object's masks only likewise.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    document::{
        Document, Emission, FrameIndex, FrameMask, Object, ObjectId, Provenance, Thresholds,
        VideoInfo,
    },
    geometry::Size,
    mask::MaskError,
};

/// Who asks for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Author {
    /// A person: may change everything.
    Person,
    /// A model: may change neither anchors nor locked objects.
    Model,
}

/// A change to a document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Edit {
    /// Puts an object into the list, so that it stands at index `at` (past the end: at the end).
    AddObject {
        /// The object, masks included.
        object: Box<Object>,
        /// Where in the list.
        at: usize,
    },
    /// Takes an object and all its masks away.
    RemoveObject {
        /// Which.
        id: ObjectId,
    },
    /// Puts an object at another place in the list, so that it stands at index `at` (past the end: at the end).
    MoveObject {
        /// Which.
        id: ObjectId,
        /// Where in the list.
        at: usize,
    },
    /// Changes an object's name.
    Rename {
        /// Which.
        id: ObjectId,
        /// The new name.
        name: String,
    },
    /// Changes the phrase an object answers to.
    SetPhrase {
        /// Which.
        id: ObjectId,
        /// The new phrase.
        phrase: String,
    },
    /// Shows or hides an object.
    SetVisible {
        /// Which.
        id: ObjectId,
        /// Drawn on the canvas.
        visible: bool,
    },
    /// Gives an object another colour.
    SetColour {
        /// Which.
        id: ObjectId,
        /// Index into the palette.
        colour: u32,
    },
    /// Locks or unlocks an object.
    SetLocked {
        /// Which.
        id: ObjectId,
        /// Untouched by propagation.
        locked: bool,
    },
    /// Sets (`Some`) or removes (`None`) the masks of one object on any number of frames, as one step.
    SetMasks {
        /// The object.
        id: ObjectId,
        /// The frames that change.
        masks: BTreeMap<FrameIndex, Option<FrameMask>>,
        /// Who asks.
        by: Author,
    },
    /// Accepts a mask (a person vouches for it: it becomes an anchor of human provenance) or takes that back.
    SetAnchor {
        /// The object.
        id: ObjectId,
        /// The frame.
        frame: FrameIndex,
        /// Anchor or not.
        anchor: bool,
    },
    /// Puts an emission into the list, so that it stands at index `at` (past the end: at the end).
    AddEmission {
        /// The emission.
        emission: Box<Emission>,
        /// Where in the list.
        at: usize,
    },
    /// Takes an emission away; its objects stay.
    RemoveEmission {
        /// Which.
        at: usize,
    },
    /// Puts another emission in the place of one: a drawn box was scored, the phrase was asked again.
    ReplaceEmission {
        /// Which.
        at: usize,
        /// The new one.
        emission: Box<Emission>,
    },
    /// Says which proposals of an emission are kept, one flag each.
    SetSelection {
        /// Which emission.
        at: usize,
        /// One flag per proposal.
        selected: Vec<bool>,
    },
    /// Changes the thresholds in force.
    SetThresholds {
        /// The new ones.
        thresholds: Thresholds,
    },
    /// Notes which model is used.
    SetModel {
        /// Its id.
        model: String,
    },
    /// Points the document at the video's new place or state.
    SetVideo {
        /// The new identity; its size must fit the masks there are.
        video: Box<VideoInfo>,
    },
    /// Several changes that are one step.
    Group(Vec<Edit>),
}

/// Where a change shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Frames on which masks or emissions change.
    pub frames: BTreeSet<FrameIndex>,
    /// Objects that are there afterwards and whose masks change.
    pub objects: BTreeSet<ObjectId>,
}

/// Why a change was refused; the document is as it was.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum EditError {
    /// No object has this id.
    #[error("there is no object {}", .0.0)]
    NoSuchObject(ObjectId),
    /// An object has this id already, or had it once.
    #[error("object {} exists already", .0.0)]
    ObjectExists(ObjectId),
    /// The object has no mask there.
    #[error("object {} has no mask on frame {}", .id.0, .frame.0)]
    NoMask {
        /// Object.
        id: ObjectId,
        /// Frame.
        frame: FrameIndex,
    },
    /// The video has no such frame.
    #[error("frame {} does not exist: the video has {frames} frames", .frame.0)]
    FrameOutOfRange {
        /// Frame asked for.
        frame: FrameIndex,
        /// Number of frames.
        frames: u32,
    },
    /// The mask is not of the video's size.
    #[error("a mask of {}×{} pixels does not fit a video of {}×{}", .mask.width, .mask.height, .video.width, .video.height)]
    WrongSize {
        /// The mask's.
        mask: Size,
        /// The video's.
        video: Size,
    },
    /// The mask's runs are damaged.
    #[error("frame {}: {source}", .frame.0)]
    BadMask {
        /// Frame.
        frame: FrameIndex,
        /// What is wrong.
        source: MaskError,
    },
    /// A score is not a number.
    #[error("a score on frame {} is not a number", .0.0)]
    NotANumber(FrameIndex),
    /// A model tried to change an anchor.
    #[error("frame {} of object {} was made or accepted by a person and stays as it is", .frame.0, .id.0)]
    Anchor {
        /// Object.
        id: ObjectId,
        /// Frame.
        frame: FrameIndex,
    },
    /// A model tried to make an anchor or to sign as a person.
    #[error("only a person makes anchors (frame {} of object {})", .frame.0, .id.0)]
    OnlyPeople {
        /// Object.
        id: ObjectId,
        /// Frame.
        frame: FrameIndex,
    },
    /// A model tried to change a locked object.
    #[error("object {} is locked", .0.0)]
    Locked(ObjectId),
    /// No emission has this index.
    #[error("there is no emission number {0}")]
    NoSuchEmission(usize),
    /// As many flags as proposals are needed.
    #[error("the emission has {proposals} proposals, the selection {flags} flags")]
    SelectionLength {
        /// Proposals of the emission.
        proposals: usize,
        /// Flags given.
        flags: usize,
    },
    /// The video's size or length cannot hold the masks there are.
    #[error("the project's masks do not fit that video: it has {}×{} pixels and {} frames", .0.size.width, .0.size.height, .0.frames)]
    MasksDoNotFit(Box<VideoInfo>),
}

impl Edit {
    /// Appends an object.
    pub fn add_object(object: Object) -> Self {
        Self::AddObject {
            object: Box::new(object),
            at: usize::MAX,
        }
    }

    /// Appends an emission.
    pub fn add_emission(emission: Emission) -> Self {
        Self::AddEmission {
            emission: Box::new(emission),
            at: usize::MAX,
        }
    }

    /// Whether masks come, go or change, so that its place among other changes of masks matters.
    pub fn touches_masks(&self) -> bool {
        match self {
            Self::AddObject { .. }
            | Self::RemoveObject { .. }
            | Self::SetMasks { .. }
            | Self::SetAnchor { .. } => true,
            Self::Group(edits) => edits.iter().any(Self::touches_masks),
            _ => false,
        }
    }

    /// Where the change shows if it is made to `doc` now.
    pub fn touched(&self, doc: &Document) -> Touched {
        let mut touched = Touched::default();
        self.add_touched(doc, &mut touched);
        touched
    }

    fn add_touched(&self, doc: &Document, touched: &mut Touched) {
        match self {
            Self::AddObject { object, .. } => {
                touched.frames.extend(object.frames.keys());
                touched.objects.insert(object.id);
            }
            Self::RemoveObject { id } => {
                let object = doc.object(*id);
                touched
                    .frames
                    .extend(object.into_iter().flat_map(|o| o.frames.keys()));
            }
            Self::SetMasks { id, masks, .. } => {
                touched.frames.extend(masks.keys());
                touched.objects.insert(*id);
            }
            Self::SetAnchor { id, frame, .. } => {
                touched.frames.insert(*frame);
                touched.objects.insert(*id);
            }
            Self::AddEmission { emission, .. } => {
                touched.frames.insert(emission.frame);
            }
            Self::RemoveEmission { at }
            | Self::ReplaceEmission { at, .. }
            | Self::SetSelection { at, .. } => {
                touched
                    .frames
                    .extend(doc.emissions.get(*at).map(|e| e.frame));
            }
            Self::Group(edits) => edits.iter().for_each(|e| e.add_touched(doc, touched)),
            _ => {}
        }
    }

    /// Sets one mask.
    pub fn set_mask(id: ObjectId, frame: FrameIndex, mask: FrameMask, by: Author) -> Self {
        Self::SetMasks {
            id,
            masks: BTreeMap::from([(frame, Some(mask))]),
            by,
        }
    }

    /// Removes one mask, of this frame only; a person asks.
    pub fn remove_mask(id: ObjectId, frame: FrameIndex) -> Self {
        Self::SetMasks {
            id,
            masks: BTreeMap::from([(frame, None)]),
            by: Author::Person,
        }
    }
}

fn find(doc: &Document, id: ObjectId) -> Result<usize, EditError> {
    doc.objects
        .iter()
        .position(|o| o.id == id)
        .ok_or(EditError::NoSuchObject(id))
}

fn check_mask(video: &VideoInfo, frame: FrameIndex, mask: &FrameMask) -> Result<(), EditError> {
    if frame.0 >= video.frames {
        return Err(EditError::FrameOutOfRange {
            frame,
            frames: video.frames,
        });
    }
    if mask.rle.size != video.size {
        return Err(EditError::WrongSize {
            mask: mask.rle.size,
            video: video.size,
        });
    }
    mask.rle
        .check()
        .map_err(|source| EditError::BadMask { frame, source })?;
    let signs = mask.drift.signs();
    if [mask.score, mask.iou]
        .iter()
        .chain(&signs)
        .all(|v| v.is_finite())
    {
        Ok(())
    } else {
        Err(EditError::NotANumber(frame))
    }
}

fn check_emission(doc: &Document, emission: &Emission) -> Result<(), EditError> {
    if emission.frame.0 >= doc.video.frames {
        return Err(EditError::FrameOutOfRange {
            frame: emission.frame,
            frames: doc.video.frames,
        });
    }
    let proposals = emission.proposals.iter().all(|p| {
        [p.objectness, p.filtration, p.confidence]
            .iter()
            .chain(&p.box_px.to_array())
            .all(|v| v.is_finite())
    });
    if proposals && emission.secs.is_finite() && emission.tokens.iter().all(|t| t.1.is_finite()) {
        Ok(())
    } else {
        Err(EditError::NotANumber(emission.frame))
    }
}

fn emission_at(doc: &mut Document, at: usize) -> Result<&mut Emission, EditError> {
    doc.emissions
        .get_mut(at)
        .ok_or(EditError::NoSuchEmission(at))
}

/// Makes a change and returns the change that takes it back.
///
/// # Errors
/// [`EditError`] if the change is refused; the document is then as it was, also for a group of which a part was done.
pub fn apply(doc: &mut Document, edit: Edit) -> Result<Edit, EditError> {
    match edit {
        Edit::AddObject { object, at } => add_object(doc, *object, at),
        Edit::RemoveObject { id } => {
            let at = find(doc, id)?;
            let object = Box::new(doc.objects.remove(at));
            Ok(Edit::AddObject { object, at })
        }
        Edit::MoveObject { id, at } => {
            let from = find(doc, id)?;
            let object = doc.objects.remove(from);
            let at = at.min(doc.objects.len());
            doc.objects.insert(at, object);
            Ok(Edit::MoveObject { id, at: from })
        }
        Edit::Rename { id, mut name } => {
            let at = find(doc, id)?;
            std::mem::swap(&mut doc.objects[at].name, &mut name);
            Ok(Edit::Rename { id, name })
        }
        Edit::SetPhrase { id, mut phrase } => {
            let at = find(doc, id)?;
            std::mem::swap(&mut doc.objects[at].phrase, &mut phrase);
            Ok(Edit::SetPhrase { id, phrase })
        }
        Edit::SetVisible { id, visible } => {
            let at = find(doc, id)?;
            let visible = std::mem::replace(&mut doc.objects[at].visible, visible);
            Ok(Edit::SetVisible { id, visible })
        }
        Edit::SetColour { id, colour } => {
            let at = find(doc, id)?;
            let colour = std::mem::replace(&mut doc.objects[at].colour, colour);
            Ok(Edit::SetColour { id, colour })
        }
        Edit::SetLocked { id, locked } => {
            let at = find(doc, id)?;
            let locked = std::mem::replace(&mut doc.objects[at].locked, locked);
            Ok(Edit::SetLocked { id, locked })
        }
        Edit::SetMasks { id, masks, by } => set_masks(doc, id, masks, by),
        Edit::SetAnchor { id, frame, anchor } => set_anchor(doc, id, frame, anchor),
        Edit::AddEmission { emission, at } => {
            check_emission(doc, &emission)?;
            let at = at.min(doc.emissions.len());
            doc.emissions.insert(at, *emission);
            Ok(Edit::RemoveEmission { at })
        }
        Edit::RemoveEmission { at } => {
            emission_at(doc, at)?;
            let emission = Box::new(doc.emissions.remove(at));
            Ok(Edit::AddEmission { emission, at })
        }
        Edit::ReplaceEmission { at, mut emission } => {
            check_emission(doc, &emission)?;
            std::mem::swap(emission_at(doc, at)?, &mut emission);
            Ok(Edit::ReplaceEmission { at, emission })
        }
        Edit::SetSelection { at, mut selected } => {
            let emission = emission_at(doc, at)?;
            if emission.proposals.len() != selected.len() {
                return Err(EditError::SelectionLength {
                    proposals: emission.proposals.len(),
                    flags: selected.len(),
                });
            }
            for (proposal, flag) in emission.proposals.iter_mut().zip(&mut selected) {
                std::mem::swap(&mut proposal.selected, flag);
            }
            Ok(Edit::SetSelection { at, selected })
        }
        Edit::SetThresholds { thresholds } => {
            let thresholds = std::mem::replace(&mut doc.thresholds, thresholds);
            Ok(Edit::SetThresholds { thresholds })
        }
        Edit::SetModel { mut model } => {
            std::mem::swap(&mut doc.model, &mut model);
            Ok(Edit::SetModel { model })
        }
        Edit::SetVideo { mut video } => {
            let fits = doc.objects.iter().all(|o| {
                let last = o.frames.last_key_value();
                last.is_none_or(|(f, _)| video.size == doc.video.size && f.0 < video.frames)
            });
            let emissions = doc.emissions.iter().all(|e| e.frame.0 < video.frames);
            if !fits || !emissions {
                return Err(EditError::MasksDoNotFit(video));
            }
            std::mem::swap(&mut doc.video, &mut video);
            Ok(Edit::SetVideo { video })
        }
        Edit::Group(edits) => group(doc, edits),
    }
}

fn add_object(doc: &mut Document, object: Object, at: usize) -> Result<Edit, EditError> {
    let id = object.id;
    if doc.object(id).is_some() {
        return Err(EditError::ObjectExists(id));
    }
    for (&frame, mask) in &object.frames {
        check_mask(&doc.video, frame, mask)?;
    }
    doc.next_id = doc.next_id.max(id.0.saturating_add(1));
    let at = at.min(doc.objects.len());
    doc.objects.insert(at, object);
    Ok(Edit::RemoveObject { id })
}

fn set_masks(
    doc: &mut Document,
    id: ObjectId,
    masks: BTreeMap<FrameIndex, Option<FrameMask>>,
    by: Author,
) -> Result<Edit, EditError> {
    let at = find(doc, id)?;
    let object = &doc.objects[at];
    if by == Author::Model && object.locked {
        return Err(EditError::Locked(id));
    }
    // Everything is looked at before anything changes: a refused edit leaves no trace.
    for (&frame, mask) in &masks {
        let there = object.frames.get(&frame);
        if by == Author::Model && there.is_some_and(|m| m.anchor) {
            return Err(EditError::Anchor { id, frame });
        }
        match mask {
            Some(mask) => {
                check_mask(&doc.video, frame, mask)?;
                let signs_as_person = mask.anchor || mask.provenance == Provenance::Human;
                if by == Author::Model && signs_as_person {
                    return Err(EditError::OnlyPeople { id, frame });
                }
            }
            None if there.is_none() => return Err(EditError::NoMask { id, frame }),
            None => {}
        }
    }
    let frames = &mut doc.objects[at].frames;
    let before = masks
        .into_iter()
        .map(|(frame, mask)| {
            let old = match mask {
                Some(mask) => frames.insert(frame, mask),
                None => frames.remove(&frame),
            };
            (frame, old)
        })
        .collect();
    Ok(Edit::SetMasks {
        id,
        masks: before,
        // What was there may have been an anchor; taking a step back is a person's act.
        by: Author::Person,
    })
}

fn set_anchor(
    doc: &mut Document,
    id: ObjectId,
    frame: FrameIndex,
    anchor: bool,
) -> Result<Edit, EditError> {
    let at = find(doc, id)?;
    let mask = doc.objects[at]
        .frames
        .get_mut(&frame)
        .ok_or(EditError::NoMask { id, frame })?;
    let before = mask.clone();
    mask.anchor = anchor;
    if anchor {
        mask.provenance = Provenance::Human;
    }
    Ok(Edit::set_mask(id, frame, before, Author::Person))
}

fn group(doc: &mut Document, edits: Vec<Edit>) -> Result<Edit, EditError> {
    let mut inverses = Vec::with_capacity(edits.len());
    for edit in edits {
        match apply(doc, edit) {
            Ok(inverse) => inverses.push(inverse),
            Err(error) => {
                for inverse in inverses.into_iter().rev() {
                    apply(doc, inverse).expect("an inverse fits the document that it came from");
                }
                return Err(error);
            }
        }
    }
    inverses.reverse();
    Ok(Edit::Group(inverses))
}
