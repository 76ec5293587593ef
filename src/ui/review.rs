//! What the model's last step replaced. The masks that stood before stay at hand until a person keeps the step or takes
//! it back, so that old and new can be compared frame by frame. Looks at edits; leaves making them to [`super::session`].

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use super::{app::App, state::Weight};
use crate::project::{Author, Document, Edit, FrameIndex, FrameMask, ObjectId};

/// A step of the model that replaced earlier masks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Review {
    /// What the step is called.
    pub(crate) label: String,
    /// The masks before the step, of every object and frame that it touched; `None` where there was none.
    before: BTreeMap<(ObjectId, FrameIndex), Option<FrameMask>>,
    /// Frames on which an earlier mask gave way.
    replaced: BTreeSet<FrameIndex>,
    /// Steps that could be undone right after this one; with more, undo would take back something else.
    depth: usize,
    /// Another step came into its midst, so that history holds it in two pieces.
    divided: bool,
}

impl Review {
    /// A step that has not changed anything yet.
    pub(crate) fn begin(label: &str) -> Self {
        Self {
            label: label.to_owned(),
            ..Self::default()
        }
    }

    /// Remembers what `edit` is about to replace in `doc`.
    pub(crate) fn note(&mut self, doc: &Document, edit: &Edit) {
        match edit {
            Edit::SetMasks {
                id,
                masks,
                by: Author::Model,
            } => {
                for (&frame, after) in masks {
                    let before = doc.mask(*id, frame);
                    // The same pixels again are nothing to compare.
                    if before.map(|m| &m.rle) != after.as_ref().map(|m| &m.rle) {
                        self.add(*id, frame, before.cloned());
                    }
                }
            }
            Edit::Group(edits) => edits.iter().for_each(|e| self.note(doc, e)),
            _ => {}
        }
    }

    /// Adds what the step's next edit replaced; so many steps can be undone now. A mask that one step sets twice keeps
    /// its first state.
    pub(crate) fn join(&mut self, next: Self, depth: usize) {
        for ((id, frame), mask) in next.before {
            self.add(id, frame, mask);
        }
        self.depth = depth;
    }

    /// Notes that a step of its own came into its midst.
    pub(crate) fn divide(&mut self) {
        self.divided = true;
    }

    fn add(&mut self, id: ObjectId, frame: FrameIndex, before: Option<FrameMask>) {
        if let Entry::Vacant(place) = self.before.entry((id, frame)) {
            if before.is_some() {
                self.replaced.insert(frame);
            }
            place.insert(before);
        }
    }

    /// Frames on which an earlier mask gave way.
    pub(crate) fn replaced(&self) -> usize {
        self.replaced.len()
    }

    /// Whether undo would take back exactly this step.
    pub(crate) fn is_last(&self, depth: usize) -> bool {
        self.depth == depth && !self.divided
    }

    /// The mask that stood on a frame before the step: `None` if the step did not touch it.
    pub(crate) fn before(&self, id: ObjectId, frame: FrameIndex) -> Option<Option<&FrameMask>> {
        self.before.get(&(id, frame)).map(Option::as_ref)
    }
}

impl App {
    /// The new masks stay; the old ones are let go (undo still brings them back).
    pub(super) fn keep_review(&mut self) {
        if let Some(session) = &mut self.state.session {
            session.keep_review();
        }
    }

    /// The old masks again, as undo does.
    pub(super) fn take_back_review(&mut self) {
        self.end_paint();
        let session = self.state.session.as_ref();
        if session.is_some_and(super::session::Session::can_take_back) {
            self.step_history(true);
        } else {
            self.say(
                Weight::Info,
                "The model's last step replaced nothing, or other steps came after it: undo those first.",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::{DriftSignal, Object, Provenance, Rle, Size};

    /// As many pixels as tenths of the score.
    fn mask(score: f32) -> FrameMask {
        let pixels = (score * 10.0) as u32;
        FrameMask {
            rle: Rle::new(Size::new(4, 4), vec![4, pixels, 12 - pixels]).unwrap(),
            score,
            iou: score,
            provenance: Provenance::Propagated,
            anchor: false,
            drift: DriftSignal::default(),
        }
    }

    fn document() -> (Document, ObjectId) {
        let mut doc = crate::ui::fixture::document(Size::new(4, 4), 3);
        let mut object: Object = doc.new_object("a horse");
        object.frames.insert(FrameIndex(0), mask(0.5));
        let id = object.id;
        doc.objects.push(object);
        (doc, id)
    }

    #[test]
    fn only_what_a_model_replaces_is_remembered_and_only_its_first_state() {
        let (mut doc, id) = document();
        let by_model = |f, score| Edit::set_mask(id, FrameIndex(f), mask(score), Author::Model);
        let by_person = Edit::set_mask(id, FrameIndex(2), mask(0.1), Author::Person);
        let noted = |doc: &Document, edit: &Edit| {
            let mut next = Review::begin("propagate");
            next.note(doc, edit);
            next
        };
        let mut review = noted(&doc, &Edit::Group(vec![by_model(0, 0.6), by_person]));
        review.join(noted(&doc, &by_model(1, 0.6)), 1);
        doc.objects[0].frames.insert(FrameIndex(0), mask(0.6));
        review.join(noted(&doc, &by_model(0, 0.7)), 1);
        doc.objects[0].frames.insert(FrameIndex(2), mask(0.3));
        review.join(noted(&doc, &by_model(2, 0.3)), 1);
        assert_eq!(review.replaced(), 1);
        assert!(review.is_last(1) && !review.is_last(2));
        let before = review.before(id, FrameIndex(0)).unwrap();
        assert_eq!(before.map(|m| m.score), Some(0.5));
        assert_eq!(review.before(id, FrameIndex(1)), Some(None));
        assert_eq!(review.before(id, FrameIndex(2)), None);
    }
}
