//! Masks by hand: clicks, boxes, brush, choosing proposals, accepting, deleting; and the picture of all masks on the
//! frame in view. Part of `logic`.

use std::sync::Arc;

use super::{
    app::App,
    brush::Painting,
    session::Collecting,
    state::{BoxUse, JobKind, Overlay, OverlayKey, Prompting, Weight},
};
use crate::{
    project::{
        Author, BoxPx, DriftSignal, Edit, FrameIndex, FrameMask, ObjectId, PointPx, Provenance, Rle,
    },
    render::MaskLayers,
    task::{JobId, Prompt, Request},
};

/// Anchors that a correction learns an object's colours from.
const VOUCHED: usize = 2;

impl App {
    /// The object that hand work goes to: the selected one, or a new one. Says why not if it is locked.
    pub(super) fn target(&mut self) -> Option<ObjectId> {
        let session = self.state.session.as_ref()?;
        let Some(id) = self.state.selected else {
            return self.new_target();
        };
        match session.doc.object(id) {
            Some(object) if object.locked => {
                let text = format!(
                    "“{}” is locked. Unlock it (L) to change its masks.",
                    object.name
                );
                self.say(Weight::Look, text);
                None
            }
            Some(_) => Some(id),
            None => self.new_target(),
        }
    }

    /// The object that is being made by clicks on this frame, else a free id.
    fn new_target(&self) -> Option<ObjectId> {
        let session = self.state.session.as_ref()?;
        let here = self.state.here();
        let held = self
            .state
            .prompting
            .as_ref()
            .filter(|p| p.by_hand && p.frame == here && session.doc.object(p.object).is_none());
        held.map(|p| p.object).or_else(|| self.state.free_id())
    }

    /// A person changes masks: a running propagation would fight with that, so it ends with what it has.
    pub(super) fn about_to_edit_masks(&mut self) {
        if self.state.propagation().is_some() {
            self.cancel_propagations();
        }
    }

    /// Puts a mask on a frame; an object that is not there yet is made.
    pub(super) fn put_mask(
        &mut self,
        id: ObjectId,
        frame: FrameIndex,
        mask: FrameMask,
    ) -> Option<Edit> {
        let doc = &self.state.session.as_ref()?.doc;
        if doc.object(id).is_some() {
            return Some(Edit::set_mask(id, frame, mask, Author::Person));
        }
        let mut object = doc.new_object("");
        object.id = id;
        object.colour = id.0.saturating_sub(1);
        object.name = format!("object {}", id.0);
        object.frames.insert(frame, mask);
        Some(Edit::add_object(object))
    }

    /// [`App::put_mask`] for an object that answers to a phrase: made now if it is not there yet, it is listed in the
    /// phrase's emission, in place of any that are gone.
    fn put_referent(
        &mut self,
        id: ObjectId,
        frame: FrameIndex,
        mask: FrameMask,
        phrase: &str,
    ) -> Option<Edit> {
        let doc = &self.state.session.as_ref()?.doc;
        let mut edits = Vec::new();
        if doc.object(id).is_some() {
            edits.push(Edit::set_mask(id, frame, mask, Author::Person));
        } else {
            let mut object = doc.new_object(phrase);
            object.id = id;
            object.colour = id.0.saturating_sub(1);
            object.frames.insert(frame, mask);
            edits.push(Edit::add_object(object));
        }
        let emissions = doc.emissions.iter();
        let at = emissions
            .clone()
            .rposition(|e| e.frame == frame && e.phrase == phrase);
        if let Some(at) = at {
            let mut emission = Box::new(doc.emissions[at].clone());
            emission.objects.retain(|id| doc.object(*id).is_some());
            emission.objects.push(id);
            edits.push(Edit::ReplaceEmission { at, emission });
        }
        Some(Edit::Group(edits))
    }

    // Clicks and boxes.

    fn prompt(&mut self, object: ObjectId, by_hand: bool) -> &mut Prompting {
        let frame = self.state.here();
        let fits = self
            .state
            .prompting
            .as_ref()
            .is_some_and(|p| p.object == object && p.frame == frame && p.by_hand == by_hand);
        if !fits {
            self.finish_prompt();
        }
        let doc = self.state.session.as_ref().map(|s| &s.doc);
        let before = doc
            .and_then(|d| d.mask(object, frame))
            .map(|m| m.rle.clone());
        self.state.prompting.get_or_insert(Prompting {
            object,
            frame,
            points: Vec::new(),
            box_px: None,
            before: before.filter(|_| by_hand),
            job: None,
            by_hand,
            phrase: None,
            answered: false,
        })
    }

    fn send_prompt(&mut self) {
        let Some(prompting) = &self.state.prompting else {
            return;
        };
        let request = Request::Segment {
            frame: prompting.frame,
            object: prompting.object,
            prompt: Prompt {
                box_px: prompting.box_px,
                points: prompting.points.clone(),
                mask: prompting.before.clone(),
                known: self.vouched_for(prompting.object, prompting.frame),
            },
        };
        let frame = prompting.frame;
        let job = self.submit(request, JobKind::Segment { frame });
        if let Some(prompting) = &mut self.state.prompting {
            prompting.job = job;
        }
    }

    /// The object's anchors nearest to a frame, but for that frame's own: what it looks like.
    fn vouched_for(&self, object: ObjectId, frame: FrameIndex) -> Vec<(FrameIndex, Rle)> {
        let doc = self.state.session.as_ref().map(|s| &s.doc);
        let Some(object) = doc.and_then(|d| d.object(object)) else {
            return Vec::new();
        };
        let anchors = object
            .frames
            .iter()
            .filter(|(f, m)| m.anchor && **f != frame);
        let mut nearest: Vec<_> = anchors.map(|(f, m)| (*f, m)).collect();
        nearest.sort_by_key(|(f, _)| f.0.abs_diff(frame.0));
        nearest.truncate(VOUCHED);
        nearest
            .into_iter()
            .map(|(f, m)| (f, m.rle.clone()))
            .collect()
    }

    pub(super) fn click(&mut self, point: PointPx, on: bool) {
        let Some(object) = self.target() else {
            return;
        };
        self.about_to_edit_masks();
        self.prompt(object, true).points.push((point, on));
        self.send_prompt();
    }

    pub(super) fn draw_box(&mut self, area: BoxPx) {
        let Some(session) = &self.state.session else {
            return;
        };
        let area = area.clamped(session.doc.video.size);
        if area.width() < 2.0 || area.height() < 2.0 {
            return;
        }
        let emitted = self.state.emission_here().map(|(_, e)| e.phrase.clone());
        let typed = self.state.phrase.trim().to_owned();
        let phrase = emitted.or((!typed.is_empty()).then_some(typed));
        match (self.state.box_use, phrase) {
            (BoxUse::Proposal, Some(phrase)) => {
                self.ground_phrase(phrase, false, Some(area));
            }
            _ => {
                let Some(object) = self.target() else {
                    return;
                };
                self.about_to_edit_masks();
                let prompting = self.prompt(object, true);
                prompting.box_px = Some(area);
                prompting.before = None;
                self.send_prompt();
            }
        }
    }

    pub(super) fn segmented(
        &mut self,
        job: JobId,
        object: ObjectId,
        frame: FrameIndex,
        mut mask: FrameMask,
    ) {
        let Some(prompting) = &self.state.prompting else {
            return;
        };
        if prompting.job != Some(job) || prompting.object != object || prompting.frame != frame {
            return;
        }
        if mask.rle.counts.len() < 2 {
            self.say(
                Weight::Look,
                "The model sees nothing there. Add a click on the object, or use the brush.",
            );
            return;
        }
        let (by_hand, phrase) = (prompting.by_hand, prompting.phrase.clone());
        mask.anchor = by_hand;
        mask.provenance = if by_hand {
            Provenance::Human
        } else {
            Provenance::Model
        };
        mask.drift = DriftSignal::default();
        let label = if by_hand {
            "clicks"
        } else {
            "choose a proposal"
        };
        let edit = match phrase {
            Some(phrase) => self.put_referent(object, frame, mask, &phrase),
            None => self.put_mask(object, frame, mask),
        };
        let Some(edit) = edit else {
            return;
        };
        if self.collect(Collecting::Prompt, edit, label) {
            self.state.selected = Some(object);
            if let Some(prompting) = &mut self.state.prompting {
                prompting.answered = true;
            }
        }
        if !by_hand {
            self.finish_prompt();
        }
    }

    /// Ends the clicks and keeps their mask.
    pub(super) fn finish_prompt(&mut self) {
        let Some(prompting) = self.state.prompting.take() else {
            return;
        };
        if prompting.job.is_some() {
            self.cancel_prompts();
        }
        if let Some(session) = &mut self.state.session
            && session.collecting() == Some(Collecting::Prompt)
        {
            session.finish();
        }
    }

    /// Ends the clicks and takes their mask back.
    pub(super) fn drop_prompt(&mut self) {
        let answered = self.state.prompting.as_ref().is_some_and(|p| p.answered);
        let collecting = self.state.session.as_ref().and_then(|s| s.collecting());
        self.finish_prompt();
        if answered
            && collecting == Some(Collecting::Prompt)
            && let Some(session) = &mut self.state.session
            && let Err(error) = session.undo()
        {
            self.say(Weight::Error, format!("Nothing was changed: {error}."));
        }
    }

    // Proposals.

    pub(super) fn toggle_proposal(&mut self, index: usize) {
        let Some((at, emission)) = self.state.emission_here() else {
            return;
        };
        let mut selected: Vec<bool> = emission.proposals.iter().map(|p| p.selected).collect();
        let Some(flag) = selected.get_mut(index) else {
            return;
        };
        *flag = !*flag;
        let kept: Vec<usize> = (0..selected.len()).filter(|&i| selected[i]).collect();
        if self.edit(Edit::SetSelection { at, selected }, "choose proposals")
            && let [only] = kept.as_slice()
        {
            self.use_proposal(*only);
        }
    }

    /// Makes the mask of the emission's object from one proposal; where there is none, an object that answers to the phrase.
    pub(super) fn use_proposal(&mut self, index: usize) {
        let Some((_, emission)) = self.state.emission_here() else {
            return;
        };
        let Some(proposal) = emission.proposals.get(index) else {
            return;
        };
        let area = proposal.box_px;
        let phrase = emission.phrase.clone();
        let frame = self.state.here();
        let doc = self.state.session.as_ref().map(|s| &s.doc);
        let is_there = |id: &ObjectId| doc.is_some_and(|d| d.object(*id).is_some());
        let listed: Vec<ObjectId> = emission.objects.iter().copied().filter(is_there).collect();
        let chosen = listed
            .iter()
            .copied()
            .find(|id| Some(*id) == self.state.selected)
            .or_else(|| listed.first().copied());
        // A phrase that nothing answered to: what was selected before is another thing. A second try goes to the same new one.
        let held = self
            .state
            .prompting
            .as_ref()
            .filter(|p| p.frame == frame && p.phrase.as_ref() == Some(&phrase) && !p.answered);
        let held = held.map(|p| p.object);
        // Found on another frame, it is the same thing here.
        let known = |selected: bool| {
            let objects = doc.into_iter().flat_map(|d| &d.objects);
            let mut known = objects.filter(|o| o.phrase == phrase && !phrase.is_empty());
            known
                .find(|o| !selected || Some(o.id) == self.state.selected)
                .map(|o| o.id)
        };
        let known = known(true).or_else(|| known(false));
        let object = chosen.or(held).or(known);
        let Some(object) = object.or_else(|| self.state.free_id()) else {
            return;
        };
        let there = doc.and_then(|d| d.object(object));
        let is_anchor = there.is_some_and(|o| o.frames.get(&frame).is_some_and(|m| m.anchor));
        if is_anchor || there.is_some_and(|o| o.locked) {
            self.say(Weight::Look, "The mask on this frame is an anchor or its object is locked; take that back (K, L) to use a proposal.");
            return;
        }
        self.about_to_edit_masks();
        let prompting = self.prompt(object, false);
        prompting.box_px = Some(area);
        prompting.phrase = chosen.is_none().then_some(phrase);
        self.send_prompt();
    }

    // Brush and eraser.

    pub(super) fn paint(&mut self, point: PointPx) {
        let erases = self.state.tool == super::state::Tool::Eraser;
        if self.state.painting.is_none() {
            let Some(object) = self.target() else {
                return;
            };
            self.finish_prompt();
            self.about_to_edit_masks();
            let frame = self.state.here();
            let Some(session) = &self.state.session else {
                return;
            };
            let before = session.doc.mask(object, frame).map(|m| &m.rle);
            if erases && before.is_none() {
                self.say(
                    Weight::Info,
                    "There is no mask of the selected object here to erase from.",
                );
                return;
            }
            let size = session.doc.video.size;
            self.state.painting = Some(Painting::new(object, frame, size, erases, before));
        }
        let radius = self.state.brush_radius;
        if let Some(painting) = &mut self.state.painting {
            painting.draw_to(point, radius);
        }
    }

    pub(super) fn end_paint(&mut self) {
        let Some(painting) = self.state.painting.take() else {
            return;
        };
        let rle = painting.rle();
        let doc = self.state.session.as_ref().map(|s| &s.doc);
        let before = doc.and_then(|d| d.mask(painting.object, painting.frame));
        if before.map_or(rle.counts.len() < 2, |m| m.rle == rle) {
            return;
        }
        let mask = FrameMask {
            rle,
            score: 1.0,
            iou: 1.0,
            provenance: Provenance::Human,
            anchor: true,
            drift: DriftSignal::default(),
        };
        let label = if painting.erases {
            "eraser"
        } else {
            "brush stroke"
        };
        if let Some(edit) = self.put_mask(painting.object, painting.frame, mask)
            && self.edit(edit, label)
        {
            self.state.selected = Some(painting.object);
        }
    }

    // Accepting and deleting.

    pub(super) fn accept_frame(&mut self) {
        self.finish_prompt();
        let frame = self.state.here();
        let Some(object) = self.state.selected_object() else {
            self.say(
                Weight::Info,
                "Select an object first, then accept its mask.",
            );
            return;
        };
        let id = object.id;
        let Some(mask) = object.frames.get(&frame) else {
            self.say(
                Weight::Info,
                "The selected object has no mask on this frame.",
            );
            return;
        };
        if mask.anchor {
            // Nobody vouches for it any more, whoever made it: a propagation may go over it again, unless it was emitted here.
            let doc = self.state.session.as_ref().map(|s| &s.doc);
            let mut emissions = doc.into_iter().flat_map(|d| &d.emissions);
            let emitted = emissions.any(|e| e.frame == frame && e.objects.contains(&id));
            let given_up = FrameMask {
                anchor: false,
                provenance: if emitted {
                    Provenance::Model
                } else {
                    Provenance::Propagated
                },
                ..mask.clone()
            };
            let edit = Edit::set_mask(id, frame, given_up, Author::Person);
            self.edit(edit, "take back anchor");
        } else {
            let anchor = true;
            self.edit(Edit::SetAnchor { id, frame, anchor }, "accept frame");
        }
    }

    pub(super) fn delete_mask(&mut self) {
        self.drop_prompt();
        let frame = self.state.here();
        let Some(object) = self.state.selected_object() else {
            return;
        };
        if object.frames.contains_key(&frame) {
            let edit = Edit::remove_mask(object.id, frame);
            self.about_to_edit_masks();
            self.edit(edit, "delete this frame's mask");
        }
    }

    // The picture of all masks.

    pub(super) fn refresh_overlay(&mut self) {
        let Some(session) = &self.state.session else {
            return;
        };
        let painting = self.state.painting.as_ref();
        let frame = self.state.here();
        let made_of = OverlayKey {
            frame,
            revision: session.revision,
            painting: painting.map_or(0, |p| p.version),
            comparing: self.state.comparing,
        };
        if self
            .state
            .overlay
            .as_ref()
            .is_some_and(|o| o.made_of == made_of)
        {
            return;
        }
        let review = session.review().filter(|_| self.state.comparing);
        let mut masks = MaskLayers::new(session.doc.video.size);
        let mut ids = Vec::new();
        let being_painted = painting.filter(|p| p.frame == frame);
        let is_new = being_painted.filter(|p| session.doc.object(p.object).is_none());
        for object in &session.doc.objects {
            let added = match being_painted.filter(|p| p.object == object.id) {
                Some(painting) => masks.push_columns(&painting.columns),
                None => match review
                    .and_then(|r| r.before(object.id, frame))
                    .unwrap_or_else(|| object.frames.get(&frame))
                {
                    Some(mask) if object.visible => masks.push(&mask.rle),
                    _ => continue,
                },
            };
            if added.is_some() {
                ids.push(object.id);
            }
        }
        if let Some(painting) = is_new
            && masks.push_columns(&painting.columns).is_some()
        {
            ids.push(painting.object);
        }
        let key = self.state.fresh_key();
        self.state.overlay = Some(Overlay {
            masks: Arc::new(masks),
            key,
            ids,
            made_of,
        });
    }
}
